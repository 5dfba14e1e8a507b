/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One variable after the other gets each value that some rule still asks for, "missing", and one
 * value that stands for all others. What rules remain possible shrinks with each; values after which
 * the same rules with the same open conditions remain are one branch. A branch ends where the first
 * possible rule of both lists has no open condition left, or where both lists have become the same.
 *
 * Conditions are evaluated by condition_holds(), as for a real message, so that this cannot differ
 * from what the proxy does.
 */
#include "policy-space.h"

#include <inttypes.h>

#include "parse.h"
#include "strbuf.h"

/* A rule that is still possible, and which of its conditions are open. */
typedef struct Entry {
        const PolicyRule *rule;
        uint64_t open;
} Entry;

typedef struct List { /* the last rule, which decides first, is in front */
        Entry *entries;
        size_t n;
} List;

bool space_set_contains(const SpaceSet *set, const char *value)
{
        if (set->any)
                return true;
        if (!value)
                return set->missing;
        for (size_t i = 0; i < set->n; i++)
                if (streq(set->values[i], value))
                        return !set->others;
        return set->others;
}

typedef enum Mode { MODE_DIFF, MODE_DECIDERS, MODE_SHADOWS } Mode;

/* A node that is known to have nothing to report. */
typedef struct Known {
        struct Known *next;
        uint64_t hash;
        size_t variable;
        unsigned joint;
        List a, b;
} Known;

struct Space {
        const Policy *a, *b;
        bool solicited;
        char **vm; /* names of VM properties */
        size_t n_variables;
        char **names;
        char *other; /* a text that no rule has */
        char other_domid[32];

        /* the values of the branch being walked */
        const char **values;
        SpaceSet *sets;
        PolicyMessage message;
        PolicyClient client;

        Mode mode;
        bool *marks;
        bool matched;
        int (*on_class)(void *userdata, const SpaceClass *c);
        void *userdata;

        Known *known[4096];
};

static bool default_verdict(const Space *s)
{
        return s->message.solicited;
}

static void list_done(List *l)
{
        free(l->entries);
        *l = (List) {};
}

static const char *vm_value(void *userdata, const char *name)
{
        const Space *s = userdata;

        for (size_t i = 0; s->vm && s->vm[i]; i++)
                if (streq(s->vm[i], name))
                        return s->values[SPACE_VM + i];
        return NULL;
}

static void assign(Space *s, size_t variable, const char *value)
{
        int64_t n;

        s->values[variable] = value;
        switch (variable) {
        case SPACE_SUBJECT:
                policy_subject_parse(value, &s->message.direction, &s->message.type);
                s->message.solicited =
                        s->solicited && (s->message.type == POLICY_RETURN || s->message.type == POLICY_ERROR);
                break;
        case SPACE_STUBDOM:
                s->client.stubdom = streq(value, "true");
                break;
        case SPACE_DESTINATION:
                s->message.destination = value;
                break;
        case SPACE_INTERFACE:
                s->message.interface = value;
                break;
        case SPACE_MEMBER:
                s->message.member = value;
                break;
        case SPACE_ARG0:
                s->message.arg0 = value;
                break;
        case SPACE_PROPERTY:
                s->message.property_name = value;
                break;
        case SPACE_PATH:
                s->message.path = value;
                break;
        case SPACE_SENDER:
                s->message.sender = value;
                break;
        case SPACE_UUID:
                s->client.uuid = value;
                break;
        case SPACE_DOMID:
                s->client.domid = value && parse_i64(value, &n) == 0 ? n : -1;
                break;
        }
}

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
static unsigned joint_state(const Space *s, size_t variable)
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

static bool has_open_joint(const List *l)
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

/* What remains of a list after the variable got its value. */
static int list_filter(const Space *s, const List *l, size_t variable, List *ret)
{
        List r = { .entries = malloc((l->n + 1) * sizeof(Entry)) };

        if (!r.entries)
                return -ENOMEM;
        for (size_t i = 0; i < l->n; i++) {
                Entry e = l->entries[i];
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
                        r.entries[r.n++] = e;
                if (possible && e.open == 0 && variable >= SPACE_STUBDOM)
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

static bool list_decided(const List *l)
{
        return l->n == 0 || l->entries[0].open == 0;
}

static bool list_allows(const Space *s, const List *l)
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

static uint64_t list_hash(const List *l, uint64_t h)
{
        for (size_t i = 0; i < l->n; i++)
                h = (h ^ (uintptr_t) l->entries[i].rule ^ l->entries[i].open << 48 ^ l->entries[i].open) * 0x9e3779b97f4a7c15u;
        return h ^ h >> 29;
}

static bool lists_same(const List *a, const List *b)
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

        if (has_open_joint(a) || has_open_joint(b))
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

static void known_clear(Space *s)
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
static int known_node(Space *s, size_t variable, const List *a, const List *b, bool add)
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

static int add_value(const char ***values, size_t *n, const char *v)
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
static int list_values(const Space *s, const List *l, size_t variable, const char ***values, size_t *n)
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
                                r |= add_value(values, n, c->value);
                                if (c->field == POLICY_BOOLEAN) /* any other text is no boolean, so unknown */
                                        r |= add_value(values, n, "true") | add_value(values, n, "false");
                                continue;
                        }
                        if (c->field < POLICY_DOM_TYPE && simple_variables[c->field] == variable)
                                r |= add_value(values, n, c->value);
                        if (!is_joint(c->field))
                                continue;
                        if (variable == SPACE_INTERFACE && s->message.type == POLICY_CALL)
                                r |= add_value(values, n, PROPERTIES_INTERFACE);
                        if (variable == SPACE_MEMBER)
                                r |= add_value(values, n, "Get") | add_value(values, n, "Set") |
                                     add_value(values, n, "GetAll");
                        if (variable == SPACE_ARG0)
                                r |= add_value(values, n, c->field == POLICY_PROPERTY ? c->name : c->value) |
                                     add_value(values, n, "");
                }
        }
        return r < 0 ? -ENOMEM : 0;
}

typedef struct Branch {
        List a, b;
        unsigned joint;
        const char *value;   /* of the first in it */
        const char **values; /* the listed ones in it */
        size_t n;
        bool missing, others;
} Branch;

typedef struct Branches {
        Branch *list;
        size_t n;
} Branches;

static void branches_done(Branches *b)
{
        for (size_t i = 0; i < b->n; i++) {
                list_done(&b->list[i].a);
                list_done(&b->list[i].b);
                free(b->list[i].values);
        }
        free(b->list);
        *b = (Branches) {};
}

typedef enum ValueKind { VALUE_LISTED, VALUE_MISSING, VALUE_OTHER } ValueKind;

static int branches_add(Space *s, Branches *b, size_t variable, const List *la, const List *lb, const char *value,
                        ValueKind kind)
{
        Branch new = { .value = value }, *l, *found = NULL;
        int r;

        assign(s, variable, value);
        r = list_filter(s, la, variable, &new.a);
        if (r == 0)
                r = list_filter(s, lb, variable, &new.b);
        if (r < 0) {
                list_done(&new.a);
                return r;
        }
        if (variable < SPACE_PROPERTY && (has_open_joint(&new.a) || has_open_joint(&new.b)))
                new.joint = joint_state(s, variable);
        if (variable == SPACE_SUBJECT)
                new.joint = new.joint * 2 + s->message.solicited;
        for (size_t i = 0; i < b->n && !found; i++)
                if (b->list[i].joint == new.joint && lists_same(&b->list[i].a, &new.a) &&
                    lists_same(&b->list[i].b, &new.b))
                        found = b->list + i;
        if (!found) {
                l = reallocarray(b->list, b->n + 1, sizeof(*l));
                if (!l) {
                        list_done(&new.a);
                        list_done(&new.b);
                        return -ENOMEM;
                }
                b->list = l;
                found = l + b->n++;
                *found = new;
        } else {
                list_done(&new.a);
                list_done(&new.b);
        }
        if (kind == VALUE_LISTED)
                return add_value(&found->values, &found->n, value);
        if (kind == VALUE_MISSING)
                found->missing = true;
        else
                found->others = true;
        return 0;
}

/* The set of one branch. A branch with the "others" lists what is not in it. */
static int branch_set(const Branch *b, const char *const *all, size_t n_all, SpaceSet *ret)
{
        size_t n = 0;

        *ret = (SpaceSet) { .missing = b->missing, .others = b->others };
        ret->values = calloc(n_all + 1, sizeof(char *));
        if (!ret->values)
                return -ENOMEM;
        for (size_t i = 0; i < n_all; i++) {
                bool in = false;

                for (size_t k = 0; k < b->n && !in; k++)
                        in = streq(all[i], b->values[k]);
                if (in != b->others)
                        ret->values[n++] = all[i];
        }
        ret->n = n;
        return 0;
}

static int leaf(Space *s, const List *a, const List *b)
{
        SpaceClass c = {
                .a = a->n > 0 ? a->entries[0].rule : NULL,
                .b = b->n > 0 ? b->entries[0].rule : NULL,
                .a_allows = list_allows(s, a),
                .b_allows = list_allows(s, b),
                .n_sets = s->n_variables,
                .sets = s->sets,
        };

        switch (s->mode) {
        case MODE_DIFF:
                return c.a_allows == c.b_allows ? 0 : s->on_class(s->userdata, &c);
        case MODE_DECIDERS:
                for (size_t i = policy_count(s->a); c.a && i > 0; i--)
                        if (policy_rule(s->a, i - 1) == c.a)
                                s->marks[i - 1] = true;
                return 0;
        case MODE_SHADOWS:
                if (!c.b)
                        return 0;
                s->matched = true;
                for (size_t i = policy_count(s->a); c.a && i > 0; i--)
                        if (policy_rule(s->a, i - 1) == c.a)
                                s->marks[i - 1] = true;
                return 0;
        }
        return 0;
}

static bool all_marked(const Space *s, const List *l)
{
        for (size_t i = 0, k = policy_count(s->a); i < l->n; i++) {
                while (k > 0 && policy_rule(s->a, k - 1) != l->entries[i].rule)
                        k--;
                if (k > 0 && !s->marks[k - 1])
                        return false;
        }
        return true;
}

/* Nothing below this node is of interest. */
static bool can_prune(const Space *s, const List *a, const List *b)
{
        List ca, cb;
        int va;

        switch (s->mode) {
        case MODE_DIFF:
                ca = list_core(s, a);
                cb = list_core(s, b);
                if (lists_equal(&ca, &cb))
                        return true;
                va = list_constant(s, a);
                return va >= 0 && va == list_constant(s, b);
        case MODE_DECIDERS:
                return all_marked(s, a);
        case MODE_SHADOWS:
                return b->n == 0;
        }
        return false;
}

static int walk(Space *s, size_t variable, const List *a, const List *b, bool *ret_reported)
{
        static const char *const stubdoms[] = { "false", "true" };
        Branches branches = {};
        const char **all = NULL;
        size_t n_all = 0;
        bool reported = false;
        int r = 0;

        if (variable > SPACE_STUBDOM) { /* before that, rules of all subjects are in the lists */
                if (list_decided(a) && list_decided(b)) {
                        *ret_reported = list_allows(s, a) != list_allows(s, b);
                        return leaf(s, a, b);
                }
                if (can_prune(s, a, b))
                        return 0;
                if (known_node(s, variable, a, b, false) > 0)
                        return 0;
        }
        if (variable == s->n_variables)
                return 0; /* not reached: all conditions are settled by now */

        if (variable == SPACE_SUBJECT) {
                for (PolicyDirection d = POLICY_INC; r == 0 && d <= POLICY_OUT; d++)
                        for (PolicyType t = POLICY_CALL; r == 0 && t < _POLICY_TYPE_MAX; t++)
                                r = add_value(&all, &n_all, policy_subject(d, t));
        } else if (variable == SPACE_STUBDOM) {
                for (size_t i = 0; r == 0 && i < 2; i++)
                        r = add_value(&all, &n_all, stubdoms[i]);
        } else {
                r = list_values(s, a, variable, &all, &n_all);
                if (r == 0)
                        r = list_values(s, b, variable, &all, &n_all);
        }
        if (r == 0 && n_all == 0) {
                /* No rule asks for it: it stays as it is. */
                assign(s, variable, NULL);
                s->sets[variable] = (SpaceSet) { .any = true };
                r = walk(s, variable + 1, a, b, &reported);
                goto finish;
        }
        for (size_t i = 0; r == 0 && i < n_all; i++)
                if (variable != SPACE_DOMID || !streq(all[i], "0"))
                        r = branches_add(s, &branches, variable, a, b, all[i], VALUE_LISTED);
        if (r == 0 && variable > SPACE_STUBDOM) {
                r = branches_add(s, &branches, variable, a, b, NULL, VALUE_MISSING);
                if (r == 0)
                        r = branches_add(s, &branches, variable, a, b, variable == SPACE_DOMID ? s->other_domid : s->other,
                                         VALUE_OTHER);
        }
        for (size_t i = 0; r == 0 && i < branches.n; i++) {
                Branch *branch = branches.list + i;
                bool below = false;

                assign(s, variable, branch->value);
                if (branches.n == 1)
                        s->sets[variable] = (SpaceSet) { .any = true };
                else
                        r = branch_set(branch, all, n_all, s->sets + variable);
                if (r == 0)
                        r = walk(s, variable + 1, &branch->a, &branch->b, &below);
                free(s->sets[variable].values);
                s->sets[variable] = (SpaceSet) { .any = true };
                reported |= below;
        }
finish:
        branches_done(&branches);
        free(all);
        if (r == 0 && variable > SPACE_STUBDOM && (s->mode != MODE_DIFF || !reported))
                r = known_node(s, variable, a, b, true);
        *ret_reported = reported;
        return r;
}

/* All rules of a policy from the one with index `first` on, the last in front. */
static int list_init(const Policy *p, size_t first, List *ret)
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

static int space_walk(Space *s, Mode mode, const List *a, const List *b)
{
        bool reported;
        int r;

        s->mode = mode;
        for (size_t i = 0; i < s->n_variables; i++)
                s->sets[i] = (SpaceSet) { .any = true };
        r = walk(s, SPACE_SUBJECT, a, b, &reported);
        known_clear(s);
        return r;
}

int space_differences(Space *s, int (*on_class)(void *userdata, const SpaceClass *c), void *userdata)
{
        _cleanup_(list_done) List a = {}, b = {};

        if (list_init(s->a, 0, &a) < 0 || list_init(s->b, 0, &b) < 0)
                return -ENOMEM;
        s->on_class = on_class;
        s->userdata = userdata;
        return space_walk(s, MODE_DIFF, &a, &b);
}

int space_deciders(Space *s, bool *decides)
{
        _cleanup_(list_done) List a = {}, none = {};

        if (list_init(s->a, 0, &a) < 0 || list_init(NULL, 0, &none) < 0)
                return -ENOMEM;
        memset(decides, 0, policy_count(s->a));
        s->marks = decides;
        return space_walk(s, MODE_DECIDERS, &a, &none);
}

int space_shadows(Space *s, size_t i, bool *ret)
{
        _cleanup_(list_done) List later = {}, it = {};
        int r;

        if (list_init(s->a, i, &later) < 0 || list_init(s->a, i, &it) < 0)
                return -ENOMEM;
        it.entries[0] = it.entries[it.n - 1];
        it.n = 1;
        later.n--;
        memset(ret, 0, policy_count(s->a));
        s->marks = ret;
        s->matched = false;
        r = space_walk(s, MODE_SHADOWS, &later, &it);
        return r < 0 ? r : s->matched;
}

static const char *const variable_names[] = {
        [SPACE_SUBJECT] = "subject",     [SPACE_STUBDOM] = "stubdom",   [SPACE_DESTINATION] = "destination",
        [SPACE_INTERFACE] = "interface", [SPACE_MEMBER] = "member",     [SPACE_ARG0] = "arg0",
        [SPACE_PROPERTY] = "property",   [SPACE_PATH] = "path",         [SPACE_SENDER] = "sender",
        [SPACE_UUID] = "dom-uuid",       [SPACE_DOMID] = "dom-id",
};

size_t space_variables(const Space *s)
{
        return s->n_variables;
}

const char *space_variable_name(const Space *s, size_t variable)
{
        return variable < SPACE_VM ? variable_names[variable] : s->names[variable - SPACE_VM];
}

/* Does a rule have this text anywhere? */
static bool policy_has_text(const Policy *p, const char *text)
{
        for (size_t i = 0; p && i < policy_count(p); i++) {
                const PolicyRule *r = policy_rule(p, i);

                for (unsigned k = 0; k < r->n_conditions; k++)
                        if (streq(r->conditions[k].value, text) || streq_ptr(r->conditions[k].name, text))
                                return true;
        }
        return false;
}

/* The texts that stand for "all others" must be no rule's. */
static int space_choose_others(Space *s)
{
        char *longer;

        for (int64_t n = INT64_MAX;; n--) {
                snprintf(s->other_domid, sizeof(s->other_domid), "%" PRId64, n);
                if (!policy_has_text(s->a, s->other_domid) && !policy_has_text(s->b, s->other_domid))
                        break;
        }
        s->other = strdup("\1other");
        while (s->other && (policy_has_text(s->a, s->other) || policy_has_text(s->b, s->other))) {
                longer = strformat("%s'", s->other);
                free(s->other);
                s->other = longer;
        }
        return s->other ? 0 : -ENOMEM;
}

static int space_add_vm(Space *s, const Policy *p)
{
        int r = 0;

        for (size_t i = 0; p && i < policy_count(p); i++) {
                const PolicyRule *rule = policy_rule(p, i);

                for (unsigned k = 0; k < rule->n_conditions; k++) {
                        const char *name = rule->conditions[k].name;

                        if (rule->conditions[k].field < POLICY_DOM_TYPE || strv_contains(s->vm, name))
                                continue;
                        r = strv_extend(&s->vm, name);
                        if (r == 0)
                                r = strv_extendf(&s->names, "%s%s",
                                                 streq(name, "type") || streq(name, "name") ? "dom-" : "if-boolean ",
                                                 name);
                        if (r < 0)
                                return r;
                }
        }
        return r;
}

int space_new(const Policy *a, const Policy *b, bool solicited, Space **ret)
{
        _cleanup_(space_freep) Space *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->a = a;
        s->b = b;
        s->solicited = solicited;
        s->client = (PolicyClient) { .domid = -1, .property = vm_value, .userdata = s };
        if (space_choose_others(s) < 0 || space_add_vm(s, a) < 0 || space_add_vm(s, b) < 0)
                return -ENOMEM;
        s->n_variables = SPACE_VM + strv_length(s->vm);
        s->values = calloc(s->n_variables, sizeof(char *));
        s->sets = calloc(s->n_variables, sizeof(SpaceSet));
        if (!s->values || !s->sets)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

Space *space_free(Space *s)
{
        if (!s)
                return NULL;
        known_clear(s);
        strv_free(s->vm);
        strv_free(s->names);
        free(s->other);
        free(s->values);
        free(s->sets);
        free(s);
        return NULL;
}
