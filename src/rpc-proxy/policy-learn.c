/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each record becomes the rule that names what the message had: subject, destination, interface and
 * member, or the one property. A rule that a wider one among them covers is left out.
 */
#include "policy-learn.h"

#include "policy-space.h"
#include "strbuf.h"

/* Adds `word value` if the language can write the value. */
static int add_condition(StrBuf *b, const char *word, const char *value)
{
        _cleanup_free_ char *rule = strformat("allow %s %s\n", word, value);
        _cleanup_policy_ Policy *p = NULL;
        int r;

        if (!rule)
                return -ENOMEM;
        r = policy_parse(rule, strlen(rule), "", NULL, &p);
        if (r < 0)
                return r;
        if (policy_count(p) != 1 || policy_rule(p, 0)->n_conditions != 1)
                return -EBADMSG;
        strbuf_addf(b, " %s %s", word, value);
        return 0;
}

static int add_property(StrBuf *b, const char *member, const char *interface, const char *property)
{
        _cleanup_free_ char *name = NULL;
        int r;

        if (property && !streq(member, "GetAll") && !strchr(property, '.')) {
                name = strformat("%s.%s", interface, property);
                if (!name)
                        return -ENOMEM;
                r = add_condition(b, "property", name);
                if (r != -EBADMSG)
                        return r;
        }
        return add_condition(b, "interface", interface);
}

/* Returns 0 (*ret is the rule), or -EBADMSG: it cannot be written. */
static int record_rule(json_object *o, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *interface = json_get_text(o, "interface", NULL), *member = json_get_text(o, "member", NULL);
        const char *arg0 = json_get_text(o, "arg0", NULL), *destination = json_get_text(o, "destination", NULL);
        const char *direction = json_get_text(o, "direction", ""), *type = json_get_text(o, "type", "");
        _cleanup_free_ char *subject = strformat("%s-%s", direction, type);
        PolicyMessage m = { .interface = interface, .member = member };
        PolicyDirection d;
        int r = 0;

        if (!subject)
                return -ENOMEM;
        if (policy_subject_parse(subject, &d, &m.type) < 0)
                return -EBADMSG;
        strbuf_addf(&b, "allow %s", subject);
        if (json_get_bool(o, "stubdom", false))
                strbuf_add(&b, " stubdom true");
        /* What goes to the guest is addressed to its connection, whose name says nothing. */
        if (destination && d == POLICY_INC)
                r = add_condition(&b, "destination", destination);
        if (r == 0 && message_is_property_call(&m) == POLICY_TRUE && arg0 && arg0[0])
                r = add_property(&b, member, arg0, json_get_text(o, "property", NULL));
        else if (r == 0 && interface)
                r = add_condition(&b, "interface", interface);
        if (r == 0 && member)
                r = add_condition(&b, "member", member);
        return r < 0 ? r : strbuf_take(&b, ret);
}

static int add_note(char ***notes, json_object *o, const char *why)
{
        _cleanup_free_ char *s = strformat("%s.%s to %s: %s", json_get_text(o, "interface", "(no interface)"),
                                           json_get_text(o, "member", "(no member)"),
                                           json_get_text(o, "destination", "(no destination)"), why);

        if (!s)
                return -ENOMEM;
        return strv_contains(*notes, s) ? 0 : strv_extend(notes, s);
}

/* More for what says more: so many words, and one property is less than its interface. */
static unsigned narrowness(const char *rule)
{
        unsigned n = strstr(rule, " property ") != NULL;

        for (; *rule; rule++)
                n += *rule == ' ';
        return n;
}

/* The narrow before the wide: the last that matches decides, so that a wide one makes all that it covers superfluous. */
static int narrow_first(char **rules, char ***ret)
{
        unsigned next = 0;
        int r = 0;

        for (char **x = rules; x && *x; x++)
                next = MAX2(next, narrowness(*x));
        for (unsigned n = next; r == 0 && n > 0; n = next) {
                next = 0;
                for (char **x = rules; r == 0 && *x; x++)
                        if (narrowness(*x) == n)
                                r = strv_extend(ret, *x);
                        else if (narrowness(*x) < n)
                                next = MAX2(next, narrowness(*x));
        }
        return r;
}

/* Leaves out the rules that others make superfluous. */
static int minimise(char **rules, char ***ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_policy_ Policy *p = NULL;
        _cleanup_free_ bool *decides = NULL;
        _cleanup_(space_freep) Space *space = NULL;
        int r;

        strbuf_add(&b, "");
        for (size_t i = 0; rules && rules[i]; i++)
                strbuf_addf(&b, "%s\n", rules[i]);
        if (b.oom)
                return -ENOMEM;
        r = policy_parse(b.data, b.len, "", NULL, &p);
        if (r < 0)
                return r;
        decides = calloc(policy_count(p) + 1, sizeof(bool));
        if (!decides)
                return -ENOMEM;
        r = space_new(p, NULL, false, &space);
        if (r == 0)
                r = space_deciders(space, decides);
        for (size_t i = 0; r == 0 && i < policy_count(p); i++)
                if (decides[i])
                        r = strv_extend(ret, rules[i]);
        return r;
}

int policy_learn(json_object *records, const char *uuid, char ***ret_rules, char ***ret_notes)
{
        _cleanup_strv_ char **all = NULL, **ordered = NULL, **rules = NULL, **notes = NULL;
        int64_t omitted = 0;
        int r = 0;

        for (size_t i = 0; r == 0 && i < json_object_array_length(records); i++) {
                json_object *o = json_object_array_get_idx(records, i);
                const char *reason = json_get_text(o, "reason", NULL);
                _cleanup_free_ char *rule = NULL;

                if (!json_object_is_type(o, json_type_object) || streq(json_get_text(o, "verdict", "deny"), "allow") ||
                    (uuid && !streq(json_get_text(o, "uuid", ""), uuid)))
                        continue;
                omitted += json_get_int(o, "omitted", 0);
                if (reason && !json_get_text(o, "rule", NULL) && !streq(reason, "no rule matches")) {
                        r = add_note(&notes, o, reason);
                        continue;
                }
                r = record_rule(o, &rule);
                if (r == -EBADMSG)
                        r = add_note(&notes, o, "the rule language cannot name this");
                else if (r == 0 && !strv_contains(all, rule))
                        r = strv_extend(&all, rule);
        }
        if (r == 0 && omitted > 0)
                r = strv_extendf(&notes, "%lld records that were left out, as there were more than proxy.denials in a second",
                                 (long long) omitted);
        if (r == 0)
                r = narrow_first(all, &ordered);
        if (r == 0)
                r = minimise(ordered, &rules);
        if (r < 0)
                return r;
        *ret_rules = TAKE_PTR(rules);
        *ret_notes = TAKE_PTR(notes);
        return 0;
}
