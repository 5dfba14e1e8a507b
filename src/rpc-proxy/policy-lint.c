/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-lint.h"

#include <stdarg.h>

#include "policy-space.h"
#include "strbuf.h"

typedef struct Lint {
        const Policy *policy;
        const Interfaces *known;
        void (*on_finding)(void *userdata, const Finding *f);
        void *userdata;
        bool *decides, *shadows;
        Space *space;
} Lint;

static const char *const kind_words[_LINT_MAX] = {
        [LINT_SHADOWED] = "shadowed",         [LINT_NEVER] = "never-matches",
        [LINT_DUPLICATE] = "duplicate",       [LINT_WIDE] = "wide",
        [LINT_INTERFACE] = "unknown-interface", [LINT_MEMBER] = "unknown-member",
        [LINT_PATH] = "bad-path",
};

const char *lint_kind_word(LintKind k)
{
        return kind_words[k];
}

static int _printf_(5, 6) find(Lint *l, LintKind kind, const PolicyRule *r, const PolicyRule *other, const char *fmt, ...)
{
        _cleanup_free_ char *message = NULL;
        va_list ap;

        va_start(ap, fmt);
        message = strformatv(fmt, ap);
        va_end(ap);
        if (!message)
                return -ENOMEM;
        l->on_finding(l->userdata, &(Finding) { kind, r, other, message });
        return 0;
}

static const char *rule_value(const PolicyRule *r, PolicyField f)
{
        for (unsigned i = 0; i < r->n_conditions; i++)
                if (r->conditions[i].field == f)
                        return r->conditions[i].value;
        return NULL;
}

static bool has_condition(const PolicyRule *r, const PolicyCondition *c)
{
        for (unsigned i = 0; i < r->n_conditions; i++)
                if (r->conditions[i].field == c->field && streq_ptr(r->conditions[i].name, c->name) &&
                    streq(r->conditions[i].value, c->value))
                        return true;
        return false;
}

static bool same_rule(const PolicyRule *a, const PolicyRule *b)
{
        if (a->allow != b->allow || a->stubdom != b->stubdom || a->direction != b->direction || a->type != b->type ||
            a->n_conditions != b->n_conditions)
                return false;
        for (unsigned i = 0; i < a->n_conditions; i++)
                if (!has_condition(b, a->conditions + i))
                        return false;
        return true;
}

/* A rule that never decides: why not. */
static int check_dead(Lint *l, size_t i)
{
        const PolicyRule *r = policy_rule(l->policy, i), *other = NULL;
        size_t n = 0, count = policy_count(l->policy);
        int matches;

        for (size_t k = i + 1; k < count; k++)
                if (same_rule(r, policy_rule(l->policy, k))) {
                        other = policy_rule(l->policy, k);
                        return find(l, LINT_DUPLICATE, r, other, "says the same as line %u: %s", other->line, other->text);
                }
        matches = space_shadows(l->space, i, l->shadows);
        if (matches < 0)
                return matches;
        if (!matches)
                return find(l, LINT_NEVER, r, NULL, "no message can match all of its conditions");
        for (size_t k = i + 1; k < count; k++)
                if (l->shadows[k] && n++ == 0)
                        other = policy_rule(l->policy, k);
        if (n == 1)
                return find(l, LINT_SHADOWED, r, other, "never decides: line %u takes all its messages: %s", other->line,
                            other->text);
        return find(l, LINT_SHADOWED, r, other, "never decides: line %u and %zu more later rules take all its messages",
                    other->line, n - 1);
}

/* Allows that do not say whom they are about. A signal has no destination; there any field will do. */
static int check_wide(Lint *l, const PolicyRule *r)
{
        bool speaks = r->direction == POLICY_INC && (r->type == POLICY_ANY || r->type == POLICY_CALL);
        bool reply = r->type == POLICY_RETURN || r->type == POLICY_ERROR;

        if (!r->allow || reply || rule_value(r, POLICY_DESTINATION))
                return 0;
        if (speaks)
                return find(l, LINT_WIDE, r, NULL, "allows calls to every service: no destination");
        for (unsigned i = 0; i < r->n_conditions; i++)
                if (r->conditions[i].field < POLICY_DOM_UUID)
                        return 0;
        return find(l, LINT_WIDE, r, NULL, "allows %s without a condition on the message",
                    policy_subject(r->direction, r->type));
}

static int check_interface(Lint *l, const PolicyRule *r, const char *interface)
{
        if (interfaces_has(l->known, interface))
                return 0;
        return find(l, LINT_INTERFACE, r, NULL, "unknown interface %s", interface) < 0 ? -ENOMEM : 1;
}

static int check_names(Lint *l, const PolicyRule *r)
{
        const char *interface = rule_value(r, POLICY_INTERFACE), *member = rule_value(r, POLICY_MEMBER);
        unsigned kinds = r->type == POLICY_SIGNAL ? MEMBER_SIGNAL
                         : r->type == POLICY_CALL ? MEMBER_METHOD
                                                  : MEMBER_METHOD | MEMBER_SIGNAL;
        int k = 0;

        if (!l->known)
                return 0;
        if (interface)
                k = check_interface(l, r, interface);
        if (k == 0 && member) {
                /* An interface stands for access to its properties too. */
                bool property = r->type != POLICY_SIGNAL &&
                                interfaces_has_member(l->known, PROPERTIES_INTERFACE, member, MEMBER_METHOD);

                if (!property && !interfaces_has_member(l->known, interface, member, kinds))
                        k = find(l, LINT_MEMBER, r, NULL, "%s%s%s has no %s %s", interface ? "interface " : "no interface",
                                 strempty(interface), interface ? "" : " that is known",
                                 kinds == MEMBER_SIGNAL ? "signal" : kinds == MEMBER_METHOD ? "method" : "member", member);
        }
        for (unsigned i = 0; k >= 0 && i < r->n_conditions; i++) {
                const PolicyCondition *c = r->conditions + i;

                if (c->field != POLICY_PROPERTY)
                        continue;
                k = check_interface(l, r, c->name);
                if (k == 0 && !interfaces_has_member(l->known, c->name, c->value, MEMBER_PROPERTY))
                        k = find(l, LINT_MEMBER, r, NULL, "interface %s has no property %s", c->name, c->value);
        }
        return k < 0 ? k : 0;
}

static int check_path(Lint *l, const PolicyRule *r)
{
        const char *path = rule_value(r, POLICY_PATH);

        if (!path || (!strstr(path, "//") && (path[1] == '\0' || !endswith(path, "/"))))
                return 0;
        return find(l, LINT_PATH, r, NULL, "%s is no object path: no message has it", path);
}

int policy_lint(const Policy *p, const Interfaces *known, void (*on_finding)(void *userdata, const Finding *f),
                void *userdata)
{
        size_t n = policy_count(p);
        _cleanup_free_ bool *decides = calloc(n + 1, sizeof(bool)), *shadows = calloc(n + 1, sizeof(bool));
        _cleanup_(space_freep) Space *space = NULL;
        Lint l = { p, known, on_finding, userdata, decides, shadows };
        int r;

        if (!decides || !shadows)
                return -ENOMEM;
        r = space_new(p, NULL, false, &space);
        if (r < 0)
                return r;
        l.space = space;
        r = space_deciders(space, decides);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (!decides[i])
                        r = check_dead(&l, i);
                if (r >= 0)
                        r = check_wide(&l, policy_rule(p, i));
                if (r >= 0)
                        r = check_names(&l, policy_rule(p, i));
                if (r >= 0)
                        r = check_path(&l, policy_rule(p, i));
        }
        return r < 0 ? r : 0;
}
