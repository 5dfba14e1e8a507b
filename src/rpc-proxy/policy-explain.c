/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why was it denied: the allow rule that came closest to the message, and what differed. */
#include "policy-internal.h"

#include "log.h"
#include "strbuf.h"

typedef struct Score {
        unsigned failed, held;
} Score;

static void add_difference(PolicyNearMiss *n, const char *condition, const char *name, const char *wanted,
                           const char *found)
{
        if (n->n_differences < POLICY_DIFFERENCES_MAX)
                n->differences[n->n_differences++] =
                        (PolicyDifference) { .condition = condition, .name = name, .wanted = wanted, .found = found };
}

/* Counts what holds and what does not; with ret the differences are noted. */
static Score compare_rule(const PolicyRule *r, const PolicyClient *client, const PolicyMessage *m, PolicyNearMiss *ret)
{
        Score s = {};

        if (!rule_has_subject(r, m)) {
                s.failed++;
                if (ret)
                        add_difference(ret, "subject", NULL, policy_subject(r->direction, r->type),
                                       policy_subject(m->direction, m->type));
        }
        for (PolicyField f = 0; f < _POLICY_FIELD_MAX; f++)
                for (unsigned i = 0; i < r->n_conditions; i++) {
                        const PolicyCondition *c = r->conditions + i;
                        const char *found;

                        if (c->field != f)
                                continue;
                        if (condition_holds(c, client, m, &found) == POLICY_TRUE) {
                                s.held++;
                                continue;
                        }
                        s.failed++;
                        if (ret)
                                add_difference(ret, policy_field_word(f),
                                               f == POLICY_BOOLEAN || f == POLICY_PROPERTY ? c->name : NULL, c->value,
                                               found);
                }
        if (r->stubdom != client->stubdom) {
                s.failed++;
                if (ret)
                        add_difference(ret, "stubdom", NULL, r->stubdom ? "true" : "false",
                                       client->stubdom ? "true" : "false");
        }
        return s;
}

void policy_explain(const Policy *p, const PolicyClient *client, const PolicyMessage *m, PolicyNearMiss *ret)
{
        const PolicyRule *best = NULL;
        Score best_score = {};

        *ret = (PolicyNearMiss) {};
        for (size_t i = policy_count(p); i > 0; i--) {
                const PolicyRule *r = policy_rule(p, i - 1);
                Score s;

                /* A rule of the other direction or type never was about this message. */
                if (!r->allow || !rule_has_subject(r, m))
                        continue;
                s = compare_rule(r, client, m, NULL);
                if (s.failed > 0 && s.held == 0 && r->n_conditions > 0)
                        continue;
                if (!best || s.failed < best_score.failed ||
                    (s.failed == best_score.failed && s.held > best_score.held)) {
                        best = r;
                        best_score = s;
                }
        }
        if (!best)
                return;
        ret->rule = best;
        compare_rule(best, client, m, ret);
}

int policy_near_miss_text(const PolicyNearMiss *n, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char found[160];

        for (unsigned i = 0; i < n->n_differences; i++) {
                const PolicyDifference *d = n->differences + i;

                strbuf_addf(&b, "%s%s", i ? "; " : "", d->condition);
                if (d->name)
                        strbuf_addf(&b, " %s", d->name);
                if (d->found)
                        strbuf_addf(&b, " is \"%s\", not \"%s\"", log_untrusted(found, sizeof(found), d->found), d->wanted);
                else
                        strbuf_addf(&b, " is missing or unknown, not \"%s\"", d->wanted);
        }
        if (n->rule && n->n_differences == 0)
                strbuf_add(&b, "it matches, but the deciding rule stands behind it");
        if (!n->rule)
                strbuf_add(&b, "no allow rule has anything in common with the message");
        return strbuf_take(&b, ret);
}
