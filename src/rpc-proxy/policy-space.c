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
#include <inttypes.h>

#include "parse.h"
#include "policy-space-list.h"
#include "strbuf.h"

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
                        s->solicited && policy_can_be_solicited(s->message.direction, s->message.type);
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

/* What is cut into branches. */
typedef struct Node {
        const List *a, *b;
        Sieve sieve_a, sieve_b; /* where no other variable has a say */
} Node;

static bool can_sieve(size_t variable)
{
        return variable == SPACE_DESTINATION || variable == SPACE_PATH || variable == SPACE_SENDER || variable == SPACE_UUID;
}

typedef enum ValueKind { VALUE_LISTED, VALUE_MISSING, VALUE_OTHER } ValueKind;

static int branches_add(Space *s, Branches *b, size_t variable, const Node *node, const char *value, ValueKind kind)
{
        Branch new = { .value = value }, *l, *found = NULL;
        bool sieved = node->sieve_a.rows && kind == VALUE_LISTED;
        int r;

        assign(s, variable, value);
        r = list_filter(s, node->a, variable, sieved ? &node->sieve_a : NULL, &new.a);
        if (r == 0)
                r = list_filter(s, node->b, variable, sieved ? &node->sieve_b : NULL, &new.b);
        if (r < 0) {
                list_done(&new.a);
                return r;
        }
        if (variable < SPACE_PROPERTY && (list_has_open_joint(&new.a) || list_has_open_joint(&new.b)))
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
                return values_add(&found->values, &found->n, value);
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
        ret->values = calloc((b->others ? n_all : b->n) + 1, sizeof(char *));
        if (!ret->values)
                return -ENOMEM;
        for (size_t i = 0; !b->others && i < b->n; i++)
                ret->values[n++] = b->values[i];
        for (size_t i = 0; b->others && i < n_all; i++) {
                bool in = false;

                for (size_t k = 0; k < b->n && !in; k++)
                        in = all[i] == b->values[k];
                if (!in)
                        ret->values[n++] = all[i];
        }
        ret->n = n;
        return 0;
}

static size_t rule_number(const Policy *p, const PolicyRule *r)
{
        while (r < p->rules || r >= p->rules + p->n_rules)
                p = p->base;
        return p->n_base + (size_t) (r - p->rules);
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
                if (c.a)
                        s->marks[rule_number(s->a, c.a)] = true;
                return 0;
        case MODE_SHADOWS:
                if (!c.b)
                        return 0;
                s->matched = true;
                if (c.a)
                        s->marks[rule_number(s->a, c.a)] = true;
                return 0;
        }
        return 0;
}

static bool all_marked(const Space *s, const List *l)
{
        for (size_t i = 0; i < l->n; i++)
                if (!s->marks[rule_number(s->a, l->entries[i].rule)])
                        return false;
        return true;
}

/* Nothing below this node is of interest. */
static bool can_prune(const Space *s, const List *a, const List *b)
{
        switch (s->mode) {
        case MODE_DIFF:
                return lists_equivalent(s, a, b);
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
        Node node = { .a = a, .b = b };
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
                                r = values_add(&all, &n_all, policy_subject(d, t));
        } else if (variable == SPACE_STUBDOM) {
                for (size_t i = 0; r == 0 && i < 2; i++)
                        r = values_add(&all, &n_all, stubdoms[i]);
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
        if (r == 0 && can_sieve(variable)) {
                r = sieve_init(a, variable, &node.sieve_a);
                if (r == 0)
                        r = sieve_init(b, variable, &node.sieve_b);
        }
        for (size_t i = 0; r == 0 && i < n_all; i++)
                if (variable != SPACE_DOMID || !streq(all[i], "0"))
                        r = branches_add(s, &branches, variable, &node, all[i], VALUE_LISTED);
        if (r == 0 && variable > SPACE_STUBDOM) {
                r = branches_add(s, &branches, variable, &node, NULL, VALUE_MISSING);
                if (r == 0)
                        r = branches_add(s, &branches, variable, &node, variable == SPACE_DOMID ? s->other_domid : s->other,
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
        sieve_done(&node.sieve_a);
        sieve_done(&node.sieve_b);
        branches_done(&branches);
        free(all);
        if (r == 0 && variable > SPACE_STUBDOM && (s->mode != MODE_DIFF || !reported))
                r = known_node(s, variable, a, b, true);
        *ret_reported = reported;
        return r;
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
