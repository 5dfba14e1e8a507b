/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-space-list.h"

static const SpaceVariable simple_variables[_POLICY_FIELD_MAX] = {
        [POLICY_DESTINATION] = SPACE_DESTINATION, [POLICY_INTERFACE] = SPACE_INTERFACE,
        [POLICY_MEMBER] = SPACE_MEMBER,           [POLICY_PATH] = SPACE_PATH,
        [POLICY_PROPERTY] = SPACE_PROPERTY,       [POLICY_ARG0] = SPACE_ARG0,
        [POLICY_SENDER] = SPACE_SENDER,           [POLICY_DOM_UUID] = SPACE_UUID,
        [POLICY_DOM_ID] = SPACE_DOMID,
};

static bool is_joint(PolicyField f)
{
        return f == POLICY_INTERFACE || f == POLICY_PROPERTY;
}

static bool is_property_member(const char *m)
{
        return streq(m, "Get") || streq(m, "Set") || streq(m, "GetAll");
}

/*
 * Whether the condition's value is settled once this variable has a value too. Only interface and
 * property look at several variables, and they may be settled early.
 */
static bool is_settled(const Space *s, const PolicyCondition *c, size_t variable)
{
        const PolicyMessage *m = &s->message;

        if (!is_joint(c->field))
                return variable >= SPACE_VM ? c->name && streq(c->name, s->vm[variable - SPACE_VM])
                                            : c->field < POLICY_DOM_TYPE && simple_variables[c->field] == variable;
        switch (variable) {
        case SPACE_SUBJECT:
                return c->field == POLICY_PROPERTY && m->type != POLICY_CALL;
        case SPACE_INTERFACE:
                if (c->field == POLICY_PROPERTY)
                        return m->interface && !streq(m->interface, PROPERTIES_INTERFACE);
                return !m->interface || streq(m->interface, c->value) || m->type != POLICY_CALL ||
                       !streq(m->interface, PROPERTIES_INTERFACE);
        case SPACE_MEMBER:
                return m->member && !is_property_member(m->member);
        case SPACE_ARG0:
                return c->field == POLICY_INTERFACE || (m->arg0 && m->arg0[0] && !streq(m->arg0, c->name));
        case SPACE_PROPERTY:
                return c->field == POLICY_PROPERTY;
        default:
                return false;
        }
}

/* What open interface and property conditions can still tell apart of a variable that has its value. */
unsigned joint_state(const Space *s, size_t variable)
{
        const PolicyMessage *m = &s->message;

        switch (variable) {
        case SPACE_SUBJECT:
                return m->type == POLICY_CALL;
        case SPACE_INTERFACE:
                return !m->interface ? 0 : streq(m->interface, PROPERTIES_INTERFACE) ? 1 : 2;
        case SPACE_MEMBER:
                return !m->member ? 0 : streq(m->member, "GetAll") ? 1 : is_property_member(m->member) ? 2 : 3;
        case SPACE_ARG0:
                return m->arg0 && m->arg0[0];
        default:
                return 0;
        }
}

bool list_has_open_joint(const List *l)
{
        for (size_t i = 0; i < l->n; i++)
                for (unsigned k = 0; k < l->entries[i].rule->n_conditions; k++)
                        if (l->entries[i].open >> k & 1 && is_joint(l->entries[i].rule->conditions[k].field))
                                return true;
        return false;
}

static bool has_condition(const Entry *e, const PolicyCondition *c)
{
        for (unsigned i = 0; i < e->rule->n_conditions; i++) {
                const PolicyCondition *d = e->rule->conditions + i;

                if (e->open >> i & 1 && d->field == c->field && streq_ptr(d->name, c->name) && streq(d->value, c->value))
                        return true;
        }
        return false;
}

/* All open conditions of a are open conditions of b. */
static bool entry_within(const Entry *a, const Entry *b)
{
        if (a->rule == b->rule)
                return (a->open & ~b->open) == 0;
        for (unsigned i = 0; i < a->rule->n_conditions; i++)
                if (a->open >> i & 1 && !has_condition(b, a->rule->conditions + i))
                        return false;
        return true;
}

/* In front of e: whatever e matches, front matches too. An allow rule does not match the unknown. */
static bool entry_covers(const Entry *front, const Entry *e)
{
        return (!front->rule->allow || e->rule->allow) && entry_within(front, e);
}

static void list_simplify(List *l)
{
        size_t n = 0;

        for (size_t i = 0; i < l->n; i++) {
                bool covered = false;

                /* Bounded work: what is left in only makes a branch longer. */
                for (size_t k = n > 32 ? n - 32 : 0; k < n && !covered; k++)
                        covered = entry_covers(l->entries + k, l->entries + i);
                if (covered)
                        continue;
                l->entries[n++] = l->entries[i];
                if (l->entries[n - 1].open == 0)
                        break;
        }
        l->n = n;
}

int list_init(const Policy *p, size_t first, List *ret)
{
        size_t n = p ? policy_count(p) : 0;

        *ret = (List) { .entries = calloc(n - MIN2(first, n) + 1, sizeof(Entry)) };
        if (!ret->entries)
                return -ENOMEM;
        for (size_t i = n; i > first; i--) {
                const PolicyRule *r = policy_rule(p, i - 1);

                ret->entries[ret->n++] = (Entry) {
                        .rule = r,
                        .open = r->n_conditions == POLICY_CONDITIONS_MAX ? UINT64_MAX : (1ull << r->n_conditions) - 1,
                };
        }
        return 0;
}

static int by_value(const void *a, const void *b)
{
        const SieveRow *x = a, *y = b;
        int c = x->value && y->value ? strcmp(x->value, y->value) : (x->value != NULL) - (y->value != NULL);

        return c ? c : x->entry < y->entry ? -1 : 1;
}

int sieve_init(const List *l, size_t variable, Sieve *ret)
{
        Sieve s = { .rows = calloc(l->n + 1, sizeof(SieveRow)), .n = l->n };

        if (!s.rows)
                return -ENOMEM;
        for (size_t i = 0; i < l->n; i++) {
                const Entry *e = l->entries + i;

                s.rows[i].entry = i;
                for (unsigned k = 0; k < e->rule->n_conditions; k++)
                        if (e->open >> k & 1 && simple_variables[e->rule->conditions[k].field] == variable &&
                            e->rule->conditions[k].field < POLICY_DOM_TYPE)
                                s.rows[i].value = e->rule->conditions[k].value;
                s.n_free += !s.rows[i].value;
        }
        if (s.n > 0)
                qsort(s.rows, s.n, sizeof(SieveRow), by_value);
        *ret = s;
        return 0;
}

void sieve_done(Sieve *s)
{
        free(s->rows);
        *s = (Sieve) {};
}

/* The rows of one value: [*ret_first, *ret_end). */
static void sieve_range(const Sieve *s, const char *value, size_t *ret_first, size_t *ret_end)
{
        size_t first = s->n_free, end = s->n;

        while (first < end) {
                size_t middle = first + (end - first) / 2;

                if (strcmp(s->rows[middle].value, value) < 0)
                        first = middle + 1;
                else
                        end = middle;
        }
        while (end < s->n && streq(s->rows[end].value, value))
                end++;
        *ret_first = first;
        *ret_end = end;
}

/* Adds the entry to ret if its rule is still possible. Returns whether entries behind it can matter. */
static bool filter_entry(const Space *s, Entry e, size_t variable, List *ret)
{
        bool possible = variable == SPACE_SUBJECT   ? rule_has_subject(e.rule, &s->message)
                        : variable == SPACE_STUBDOM ? e.rule->stubdom == s->client.stubdom
                                                    : true;

        for (unsigned k = 0; possible && k < e.rule->n_conditions; k++) {
                const PolicyCondition *c = e.rule->conditions + k;
                PolicyTruth t;

                if (!(e.open >> k & 1) || !is_settled(s, c, variable))
                        continue;
                t = condition_holds(c, &s->client, &s->message, NULL);
                possible = t == POLICY_TRUE || (t == POLICY_UNKNOWN && !e.rule->allow);
                e.open &= ~(1ull << k);
        }
        if (possible)
                ret->entries[ret->n++] = e;
        return !possible || e.open != 0 || variable < SPACE_STUBDOM;
}

int list_filter(const Space *s, const List *l, size_t variable, const Sieve *sieve, List *ret)
{
        size_t n_free = sieve ? sieve->n_free : 0, free_row = 0, row = 0, end = 0;
        List r = {};

        if (sieve)
                sieve_range(sieve, s->values[variable], &row, &end);
        r.entries = malloc(((sieve ? n_free + end - row : l->n) + 1) * sizeof(Entry));
        if (!r.entries)
                return -ENOMEM;
        if (!sieve)
                for (size_t i = 0; i < l->n && filter_entry(s, l->entries[i], variable, &r); i++)
                        ;
        while (sieve && (free_row < n_free || row < end)) {
                bool take_free = row == end || (free_row < n_free && sieve->rows[free_row].entry < sieve->rows[row].entry);

                if (!filter_entry(s, l->entries[sieve->rows[take_free ? free_row++ : row++].entry], variable, &r))
                        break;
        }
        if (variable >= SPACE_STUBDOM)
                list_simplify(&r);
        *ret = r;
        return 0;
}

static bool lists_equal(const List *a, const List *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                const Entry *x = a->entries + i, *y = b->entries + i;

                if (x->rule == y->rule ? x->open != y->open
                                       : x->rule->allow != y->rule->allow || !entry_within(x, y) || !entry_within(y, x))
                        return false;
        }
        return true;
}

/* Without the rules at the end that only say what holds without them. */
static List list_core(const Space *s, const List *l)
{
        List r = *l;

        while (r.n > 0 && r.entries[r.n - 1].rule->allow == default_verdict(s))
                r.n--;
        return r;
}

bool list_decided(const List *l)
{
        return l->n == 0 || l->entries[0].open == 0;
}

bool list_allows(const Space *s, const List *l)
{
        return l->n == 0 ? default_verdict(s) : l->entries[0].rule->allow;
}

/* -1: depends. */
static int list_constant(const Space *s, const List *l)
{
        bool verdict = list_allows(s, l), closed = l->n > 0 && l->entries[l->n - 1].open == 0;

        for (size_t i = 0; i < l->n; i++)
                if (l->entries[i].rule->allow != verdict)
                        return -1;
        return closed || verdict == default_verdict(s) ? verdict : -1;
}

bool lists_equivalent(const Space *s, const List *a, const List *b)
{
        List core_a = list_core(s, a), core_b = list_core(s, b);
        int verdict = list_constant(s, a);

        return lists_equal(&core_a, &core_b) || (verdict >= 0 && verdict == list_constant(s, b));
}

static uint64_t list_hash(const List *l, uint64_t h)
{
        for (size_t i = 0; i < l->n; i++)
                h = (h ^ (uintptr_t) l->entries[i].rule ^ l->entries[i].open << 48 ^ l->entries[i].open) * 0x9e3779b97f4a7c15u;
        return h ^ h >> 29;
}

bool lists_same(const List *a, const List *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (a->entries[i].rule != b->entries[i].rule || a->entries[i].open != b->entries[i].open)
                        return false;
        return true;
}

static unsigned node_joint(const Space *s, size_t variable, const List *a, const List *b)
{
        unsigned joint = s->message.solicited;

        if (list_has_open_joint(a) || list_has_open_joint(b))
                for (size_t v = 0; v < MIN2(variable, (size_t) SPACE_PATH); v++)
                        joint = joint * 4 + joint_state(s, v);
        return joint;
}

static int list_copy(const List *l, List *ret)
{
        ret->entries = malloc((l->n + 1) * sizeof(Entry));
        if (!ret->entries)
                return -ENOMEM;
        memcpy(ret->entries, l->entries, l->n * sizeof(Entry));
        ret->n = l->n;
        return 0;
}

void known_clear(Space *s)
{
        for (size_t i = 0; i < ELEMENTSOF(s->known); i++)
                while (s->known[i]) {
                        Known *k = s->known[i];

                        s->known[i] = k->next;
                        list_done(&k->a);
                        list_done(&k->b);
                        free(k);
                }
}

/* 1: it is known already. 0: noted now by add, or not known. */
int known_node(Space *s, size_t variable, const List *a, const List *b, bool add)
{
        unsigned joint = node_joint(s, variable, a, b);
        uint64_t h = list_hash(b, list_hash(a, variable * 4096 + joint));
        Known *k, **bucket = s->known + h % ELEMENTSOF(s->known);

        for (k = *bucket; k && !add; k = k->next)
                if (k->hash == h && k->variable == variable && k->joint == joint && lists_same(&k->a, a) &&
                    lists_same(&k->b, b))
                        return 1;
        if (!add)
                return 0;
        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        *k = (Known) { .next = *bucket, .hash = h, .variable = variable, .joint = joint };
        *bucket = k;
        return list_copy(a, &k->a) < 0 || list_copy(b, &k->b) < 0 ? -ENOMEM : 0;
}

int values_add(const char ***values, size_t *n, const char *v)
{
        const char **l;

        for (size_t i = 0; i < *n; i++)
                if (streq((*values)[i], v))
                        return 0;
        l = reallocarray(*values, *n + 1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l[(*n)++] = v;
        *values = l;
        return 0;
}

/* The values of a variable that open conditions of the list ask for. */
int list_values(const Space *s, const List *l, size_t variable, const char ***values, size_t *n)
{
        int r = 0;

        for (size_t i = 0; i < l->n; i++) {
                const PolicyRule *rule = l->entries[i].rule;

                for (unsigned k = 0; k < rule->n_conditions; k++) {
                        const PolicyCondition *c = rule->conditions + k;

                        if (!(l->entries[i].open >> k & 1))
                                continue;
                        if (variable >= SPACE_VM) {
                                if (!c->name || is_joint(c->field) || !streq(c->name, s->vm[variable - SPACE_VM]))
                                        continue;
                                r |= values_add(values, n, c->value);
                                if (c->field == POLICY_BOOLEAN) /* any other text is no boolean, so unknown */
                                        r |= values_add(values, n, "true") | values_add(values, n, "false");
                                continue;
                        }
                        if (c->field < POLICY_DOM_TYPE && simple_variables[c->field] == variable)
                                r |= values_add(values, n, c->value);
                        if (!is_joint(c->field))
                                continue;
                        if (variable == SPACE_INTERFACE && s->message.type == POLICY_CALL)
                                r |= values_add(values, n, PROPERTIES_INTERFACE);
                        if (variable == SPACE_MEMBER)
                                r |= values_add(values, n, "Get") | values_add(values, n, "Set") |
                                     values_add(values, n, "GetAll");
                        if (variable == SPACE_ARG0)
                                r |= values_add(values, n, c->field == POLICY_PROPERTY ? c->name : c->value) |
                                     values_add(values, n, "");
                }
        }
        return r < 0 ? -ENOMEM : 0;
}
