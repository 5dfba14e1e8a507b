/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model: rules with their memory, what a condition means, and the decision. */
#include "policy-internal.h"

#include <inttypes.h>

#include "parse.h"

struct PolicyChunk {
        struct PolicyChunk *next;
        size_t used, size;
        _Alignas(8) char data[];
};

static const char *const field_words[_POLICY_FIELD_MAX] = {
        [POLICY_DESTINATION] = "destination", [POLICY_INTERFACE] = "interface", [POLICY_MEMBER] = "member",
        [POLICY_PATH] = "path",               [POLICY_PROPERTY] = "property",   [POLICY_ARG0] = "arg0",
        [POLICY_SENDER] = "sender",           [POLICY_DOM_UUID] = "dom-uuid",   [POLICY_DOM_ID] = "dom-id",
        [POLICY_DOM_TYPE] = "dom-type",       [POLICY_DOM_NAME] = "dom-name",   [POLICY_BOOLEAN] = "if-boolean",
};

static const char *const subjects[][_POLICY_TYPE_MAX] = {
        [POLICY_INC] = { "inc-any", "inc-method-call", "inc-method-return", "inc-error", "inc-signal" },
        [POLICY_OUT] = { "out-any", "out-method-call", "out-method-return", "out-error", "out-signal" },
};

const char *policy_field_word(PolicyField f)
{
        return field_words[f];
}

const char *policy_subject(PolicyDirection d, PolicyType t)
{
        return subjects[d][t];
}

int policy_subject_parse(const char *s, PolicyDirection *ret_direction, PolicyType *ret_type)
{
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_ANY; t < _POLICY_TYPE_MAX; t++)
                        if (streq(s, subjects[d][t])) {
                                *ret_direction = d;
                                *ret_type = t;
                                return 0;
                        }
        return -EINVAL;
}

Policy *policy_new(Policy *base)
{
        Policy *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->refs = 1;
        p->base = policy_ref(base);
        p->n_base = base ? policy_count(base) : 0;
        return p;
}

Policy *policy_ref(Policy *p)
{
        if (p)
                p->refs++;
        return p;
}

Policy *policy_unref(Policy *p)
{
        struct PolicyChunk *next;

        if (!p || --p->refs > 0)
                return NULL;
        for (struct PolicyChunk *c = p->chunks; c; c = next) {
                next = c->next;
                free(c);
        }
        policy_index_free(p->index);
        free(p->rules);
        policy_unref(p->base);
        free(p);
        return NULL;
}

void *policy_alloc(Policy *p, size_t size)
{
        struct PolicyChunk *c = p->chunks;
        size_t n = (size + 7) & ~(size_t) 7;
        void *r;

        if (!c || c->size - c->used < n) {
                size_t room = MAX2(n, c ? MIN2(c->size * 2, 64 * KIB) : (size_t) 1024);

                c = malloc(sizeof(*c) + room);
                if (!c)
                        return NULL;
                *c = (struct PolicyChunk) { .next = p->chunks, .size = room };
                p->chunks = c;
        }
        r = c->data + c->used;
        c->used += n;
        return r;
}

char *policy_strndup(Policy *p, const char *s, size_t n)
{
        char *r = policy_alloc(p, n + 1);

        if (r) {
                memcpy(r, s, n);
                r[n] = '\0';
        }
        return r;
}

PolicyRule *policy_add_rule(Policy *p)
{
        if (p->n_rules == p->n_allocated) {
                size_t n = p->n_allocated ? p->n_allocated * 2 : 16;
                PolicyRule *rules = reallocarray(p->rules, n, sizeof(*rules));

                if (!rules)
                        return NULL;
                p->rules = rules;
                p->n_allocated = n;
        }
        p->rules[p->n_rules] = (PolicyRule) {};
        return p->rules + p->n_rules;
}

size_t policy_count(const Policy *p)
{
        return p->n_base + p->n_rules;
}

const PolicyRule *policy_rule(const Policy *p, size_t i)
{
        while (i < p->n_base)
                p = p->base;
        return p->rules + (i - p->n_base);
}

PolicyTruth message_is_property_call(const PolicyMessage *m)
{
        if (m->type != POLICY_CALL || (m->interface && !streq(m->interface, PROPERTIES_INTERFACE)))
                return POLICY_FALSE;
        if (m->member && !streq(m->member, "Get") && !streq(m->member, "Set") && !streq(m->member, "GetAll"))
                return POLICY_FALSE;
        return m->interface && m->member ? POLICY_TRUE : POLICY_UNKNOWN;
}

static PolicyTruth both(PolicyTruth a, PolicyTruth b)
{
        if (a == POLICY_FALSE || b == POLICY_FALSE)
                return POLICY_FALSE;
        return a == POLICY_TRUE && b == POLICY_TRUE ? POLICY_TRUE : POLICY_UNKNOWN;
}

static PolicyTruth compare(const char *value, const char *wanted)
{
        if (!value)
                return POLICY_UNKNOWN;
        return streq(value, wanted) ? POLICY_TRUE : POLICY_FALSE;
}

static PolicyTruth interface_holds(const char *wanted, const PolicyMessage *m)
{
        PolicyTruth is_property_call;

        if (!m->interface)
                return POLICY_UNKNOWN; /* receivers may go by the member alone */
        if (streq(m->interface, wanted))
                return POLICY_TRUE;
        is_property_call = message_is_property_call(m);
        return is_property_call == POLICY_FALSE ? POLICY_FALSE
                                                : both(is_property_call, compare(message_property_interface(m), wanted));
}

static PolicyTruth property_holds(const PolicyCondition *c, const PolicyMessage *m)
{
        PolicyTruth r = message_is_property_call(m);
        const char *name = m->member && streq(m->member, "GetAll") ? NULL : m->property_name;

        if (r == POLICY_FALSE)
                return r;
        return both(r, both(compare(message_property_interface(m), c->name), compare(name, c->value)));
}

static PolicyTruth domid_holds(const char *wanted, int64_t domid)
{
        int64_t n;

        if (domid < 0)
                return POLICY_UNKNOWN;
        return parse_i64(wanted, &n) == 0 && n == domid ? POLICY_TRUE : POLICY_FALSE;
}

PolicyTruth condition_holds(const PolicyCondition *c, const PolicyClient *client, const PolicyMessage *m,
                            const char **found)
{
        const char *value = NULL;
        PolicyTruth r;

        switch (c->field) {
        case POLICY_DESTINATION:
                value = m->destination;
                r = compare(value, c->value);
                break;
        case POLICY_INTERFACE:
                value = m->interface;
                r = interface_holds(c->value, m);
                break;
        case POLICY_MEMBER:
                value = m->member;
                r = compare(value, c->value);
                break;
        case POLICY_PATH:
                value = m->path;
                r = compare(value, c->value);
                break;
        case POLICY_PROPERTY:
                value = m->property_name;
                r = property_holds(c, m);
                break;
        case POLICY_ARG0:
                value = m->arg0;
                r = compare(value, c->value);
                break;
        case POLICY_SENDER:
                value = m->sender;
                r = compare(value, c->value);
                break;
        case POLICY_DOM_UUID:
                value = client->uuid;
                r = compare(value, c->value);
                break;
        case POLICY_DOM_ID:
                r = domid_holds(c->value, client->domid);
                break;
        case POLICY_BOOLEAN:
        case POLICY_DOM_TYPE:
        case POLICY_DOM_NAME:
                value = client->property ? client->property(client->userdata, c->name) : NULL;
                if (value && c->field == POLICY_BOOLEAN && !streq(value, "true") && !streq(value, "false"))
                        value = NULL;
                r = compare(value, c->value);
                break;
        default:
                r = POLICY_UNKNOWN;
        }
        if (found)
                *found = value;
        return r;
}

bool rule_has_subject(const PolicyRule *r, const PolicyMessage *m)
{
        if (r->direction != m->direction)
                return false;
        return r->type == m->type || (r->type == POLICY_ANY && !(m->solicited && m->direction == POLICY_INC));
}

bool rule_matches(const PolicyRule *r, const PolicyClient *client, const PolicyMessage *m)
{
        if (r->stubdom != client->stubdom)
                return false;
        for (unsigned i = 0; i < r->n_conditions; i++) {
                PolicyTruth t = condition_holds(r->conditions + i, client, m, NULL);

                if (t == POLICY_FALSE || (r->allow && t == POLICY_UNKNOWN))
                        return false;
        }
        return true;
}

PolicyVerdict policy_judge_each(const Policy *p, const PolicyClient *client, const PolicyMessage *m)
{
        for (; p; p = p->base)
                for (size_t i = p->n_rules; i > 0; i--) {
                        const PolicyRule *r = p->rules + i - 1;

                        if (rule_has_subject(r, m) && rule_matches(r, client, m))
                                return (PolicyVerdict) { .allow = r->allow, .rule = r };
                }
        return (PolicyVerdict) { .allow = m->solicited };
}

PolicyVerdict policy_judge(const Policy *p, const PolicyClient *client, const PolicyMessage *m)
{
        PolicyKey key;

        policy_key_init(&key);
        for (; p; p = p->base) {
                const PolicyRule *r = policy_index_judge(p->index, p->rules, &key, client, m);

                if (r)
                        return (PolicyVerdict) { .allow = r->allow, .rule = r };
        }
        return (PolicyVerdict) { .allow = m->solicited };
}

PolicyVerdict policy_decide(const Policy *p, const PolicyClient *client, const PolicyMessage *m)
{
        if (client->domid == 0)
                return (PolicyVerdict) { .allow = true };
        return policy_judge(p, client, m);
}
