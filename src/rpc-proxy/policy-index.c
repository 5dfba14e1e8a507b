/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the rules that may match a message without looking at the others.
 *
 * Rules that compare the same fields form a group; within a group the values of those fields are one
 * hash key. A message is looked up once in each group, so the work grows with the kinds of rules that
 * a file has, not with their number. What is found is a candidate: rule_matches() has the last word,
 * so the index can be wrong in one way only, by missing a rule, and the tests compare it with
 * policy_judge_each().
 *
 * An allow rule cannot match a message that lacks one of its fields. A deny rule can: it is entered once
 * for each set of its fields that may be missing, under the values of the rest. To bound that, a deny
 * rule's key has at most DENY_FIELDS_MAX fields; the others are compared with the candidates.
 */
#include "policy-internal.h"

#include <inttypes.h>

#define DENY_FIELDS_MAX 4
#define KEY_FIELDS POLICY_BOOLEAN /* those before it can be in keys */

typedef struct Group {
        PolicyDirection direction;
        PolicyType type;
        bool allow, stubdom;
        uint16_t mask;    /* fields that its rules compare */
        uint16_t missing; /* of these, the ones that the message must lack */
} Group;

typedef struct Slot {
        uint32_t hash;
        uint32_t first; /* entry + 1; 0: empty */
} Slot;

typedef struct Entry {
        uint32_t rule;
        uint32_t next; /* entry + 1 of one with a smaller rule; 0: none */
} Entry;

struct PolicyIndex {
        Group *groups;
        size_t n_groups, groups_allocated;
        uint16_t *lists[2][_POLICY_TYPE_MAX]; /* groups for messages of that direction and type */
        size_t n_lists[2][_POLICY_TYPE_MAX];
        uint16_t needed[2][_POLICY_TYPE_MAX]; /* fields that these compare */
        Slot *slots;
        size_t n_slots, n_used;
        Entry *entries;
        size_t n_entries, entries_allocated;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
        h = ((h + 0x632be59bd9b4e019u) ^ v) * 0x9e3779b97f4a7c15u;
        return h ^ h >> 32;
}

static uint64_t hash_text(const char *s)
{
        uint64_t h = 0x243f6a8885a308d3u, v;
        size_t n = strlen(s);

        for (; n >= 8; s += 8, n -= 8) {
                memcpy(&v, s, 8);
                h = mix(h, v);
        }
        v = n;
        for (; n > 0; n--)
                v = v << 8 | (unsigned char) *s++;
        return mix(h, v);
}

static uint64_t hash_pair(const char *a, const char *b)
{
        return mix(hash_text(a), hash_text(b));
}

static uint64_t hash_key(uint64_t h, PolicyField f, uint64_t value)
{
        return mix(h, value + (uint64_t) f);
}

/* The condition whose value stands in the key. */
static const PolicyCondition *key_condition(const PolicyRule *r, PolicyField f)
{
        for (unsigned i = 0; i < r->n_conditions; i++)
                if (r->conditions[i].field == f)
                        return r->conditions + i;
        return NULL;
}

static uint16_t rule_mask(const PolicyRule *r)
{
        uint16_t mask = 0;
        unsigned n = 0;

        for (PolicyField f = 0; f < KEY_FIELDS && (r->allow || n < DENY_FIELDS_MAX); f++)
                if (key_condition(r, f)) {
                        mask |= (uint16_t) (1u << f);
                        n++;
                }
        return mask;
}

static uint64_t condition_hash(const PolicyCondition *c)
{
        switch (c->field) {
        case POLICY_PROPERTY:
                return hash_pair(c->name, c->value);
        case POLICY_DOM_ID:
                return strtoull(c->value, NULL, 10);
        default:
                return hash_text(c->value);
        }
}

static ssize_t group_find(PolicyIndex *x, const Group *g)
{
        Group *l;

        for (size_t i = 0; i < x->n_groups; i++) {
                const Group *o = x->groups + i;

                if (o->direction == g->direction && o->type == g->type && o->allow == g->allow &&
                    o->stubdom == g->stubdom && o->mask == g->mask && o->missing == g->missing)
                        return (ssize_t) i;
        }
        if (x->n_groups == UINT16_MAX)
                return -E2BIG;
        if (x->n_groups == x->groups_allocated) {
                size_t n = x->groups_allocated ? x->groups_allocated * 2 : 16;

                l = reallocarray(x->groups, n, sizeof(*l));
                if (!l)
                        return -ENOMEM;
                x->groups = l;
                x->groups_allocated = n;
        }
        x->groups[x->n_groups] = *g;
        return (ssize_t) x->n_groups++;
}

static Slot *slot_find(Slot *slots, size_t n_slots, uint32_t hash)
{
        for (size_t i = hash;; i++) {
                Slot *s = slots + (i & (n_slots - 1));

                if (!s->first || s->hash == hash)
                        return s;
        }
}

static int slots_grow(PolicyIndex *x)
{
        size_t n = x->n_slots ? x->n_slots * 2 : 64;
        Slot *slots;

        if (x->n_used * 2 < x->n_slots)
                return 0;
        slots = calloc(n, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < x->n_slots; i++)
                if (x->slots[i].first)
                        *slot_find(slots, n, x->slots[i].hash) = x->slots[i];
        free(x->slots);
        x->slots = slots;
        x->n_slots = n;
        return 0;
}

/* Whenever b matches, a does. */
static bool rule_covers(const PolicyRule *a, const PolicyRule *b)
{
        if (a->allow != b->allow || a->stubdom != b->stubdom || a->direction != b->direction || a->type != b->type)
                return false;
        for (unsigned i = 0; i < a->n_conditions; i++) {
                bool found = false;

                for (unsigned k = 0; k < b->n_conditions && !found; k++)
                        found = a->conditions[i].field == b->conditions[k].field &&
                                streq_ptr(a->conditions[i].name, b->conditions[k].name) &&
                                streq(a->conditions[i].value, b->conditions[k].value);
                if (!found)
                        return false;
        }
        return true;
}

static int index_put(PolicyIndex *x, const PolicyRule *rules, uint32_t rule, uint32_t hash)
{
        Slot *s;

        if (slots_grow(x) < 0)
                return -ENOMEM;
        if (x->n_entries == x->entries_allocated) {
                size_t n = x->entries_allocated ? x->entries_allocated * 2 : 32;
                Entry *l = reallocarray(x->entries, n, sizeof(*l));

                if (!l)
                        return -ENOMEM;
                x->entries = l;
                x->entries_allocated = n;
        }
        s = slot_find(x->slots, x->n_slots, hash);
        x->n_used += !s->first;
        s->hash = hash;
        /* Of equals only the last can decide. */
        while (s->first && rule_covers(rules + rule, rules + x->entries[s->first - 1].rule))
                s->first = x->entries[s->first - 1].next;
        x->entries[x->n_entries++] = (Entry) { .rule = rule, .next = s->first };
        s->first = (uint32_t) x->n_entries;
        return 0;
}

static int index_add(PolicyIndex *x, const PolicyRule *rules, uint32_t rule)
{
        const PolicyRule *r = rules + rule;
        Group g = { .direction = r->direction, .type = r->type, .allow = r->allow, .stubdom = r->stubdom,
                    .mask = rule_mask(r) };

        for (uint16_t missing = g.mask;; missing = (uint16_t) ((missing - 1) & g.mask)) {
                /* all subsets for a deny rule, the empty one for an allow rule */
                if (!r->allow || missing == 0) {
                        uint64_t h;
                        ssize_t i;

                        g.missing = missing;
                        i = group_find(x, &g);
                        if (i < 0)
                                return (int) i;
                        h = (uint64_t) i;
                        for (PolicyField f = 0; f < KEY_FIELDS; f++)
                                if ((g.mask & ~g.missing) >> f & 1)
                                        h = hash_key(h, f, condition_hash(key_condition(r, f)));
                        if (index_put(x, rules, rule, (uint32_t) h) < 0)
                                return -ENOMEM;
                }
                if (missing == 0)
                        return 0;
        }
}

static int index_make_lists(PolicyIndex *x)
{
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_CALL; t < _POLICY_TYPE_MAX; t++) {
                        uint16_t *l = calloc(x->n_groups + 1, sizeof(*l));

                        if (!l)
                                return -ENOMEM;
                        x->lists[d][t] = l;
                        for (size_t i = 0; i < x->n_groups; i++) {
                                const Group *g = x->groups + i;

                                if (g->direction != d || (g->type != t && g->type != POLICY_ANY))
                                        continue;
                                l[x->n_lists[d][t]++] = (uint16_t) i;
                                x->needed[d][t] |= g->mask;
                        }
                }
        return 0;
}

PolicyIndex *policy_index_free(PolicyIndex *x)
{
        if (!x)
                return NULL;
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_CALL; t < _POLICY_TYPE_MAX; t++)
                        free(x->lists[d][t]);
        free(x->groups);
        free(x->slots);
        free(x->entries);
        free(x);
        return NULL;
}

int policy_index_new(const PolicyRule *rules, size_t n, PolicyIndex **ret)
{
        PolicyIndex *x = calloc(1, sizeof(*x));
        int r = x ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < n; i++)
                r = index_add(x, rules, (uint32_t) i);
        if (r == 0)
                r = slots_grow(x);
        if (r == 0)
                r = index_make_lists(x);
        if (r < 0) {
                policy_index_free(x);
                return r;
        }
        *ret = x;
        return 0;
}

void policy_key_init(PolicyKey *k)
{
        k->done = k->unknown = k->vague = k->never = 0;
        k->has_property_interface = false;
}

static void key_text(PolicyKey *k, PolicyField f, const char *s)
{
        if (s)
                k->values[f] = hash_text(s);
        else
                k->unknown |= (uint16_t) (1u << f);
        k->vague |= k->unknown;
}

/* Hashes the fields of the message and client that are needed and not there yet. */
static void key_fill(PolicyKey *k, uint16_t needed, const PolicyClient *client, const PolicyMessage *m)
{
        PolicyTruth is_property_call = POLICY_FALSE;
        const char *interface;

        needed &= (uint16_t) ~k->done;
        if (!needed)
                return;
        k->done |= needed;
        if (needed & (1u << POLICY_INTERFACE | 1u << POLICY_PROPERTY))
                is_property_call = message_is_property_call(m);
        interface = is_property_call == POLICY_FALSE ? NULL : message_property_interface(m);
        for (PolicyField f = 0; f < KEY_FIELDS; f++) {
                if (!(needed >> f & 1))
                        continue;
                switch (f) {
                case POLICY_DESTINATION:
                        key_text(k, f, m->destination);
                        break;
                case POLICY_INTERFACE:
                        key_text(k, f, m->interface);
                        if (is_property_call == POLICY_FALSE)
                                break;
                        if (!interface)
                                k->vague |= 1u << POLICY_INTERFACE;
                        else {
                                k->has_property_interface = true;
                                k->property_interface = hash_text(interface);
                        }
                        break;
                case POLICY_MEMBER:
                        key_text(k, f, m->member);
                        break;
                case POLICY_PATH:
                        key_text(k, f, m->path);
                        break;
                case POLICY_PROPERTY:
                        if (is_property_call == POLICY_FALSE)
                                k->never |= 1u << POLICY_PROPERTY;
                        else if (!interface || !m->property_name || !m->member || streq(m->member, "GetAll"))
                                key_text(k, f, NULL);
                        else
                                k->values[f] = hash_pair(interface, m->property_name);
                        break;
                case POLICY_ARG0:
                        key_text(k, f, m->arg0);
                        break;
                case POLICY_SENDER:
                        key_text(k, f, m->sender);
                        break;
                case POLICY_DOM_UUID:
                        key_text(k, f, client->uuid);
                        break;
                case POLICY_DOM_ID:
                        if (client->domid < 0)
                                key_text(k, f, NULL);
                        else
                                k->values[f] = (uint64_t) client->domid;
                        break;
                default:
                        key_text(k, f, client->property ? client->property(client->userdata,
                                                                           f == POLICY_DOM_TYPE ? "type" : "name")
                                                        : NULL);
                }
        }
}

/*
 * The last rule with this key that matches and comes behind `best` (rule + 1). Two groups can come to
 * the same key by chance, so the subject is compared, too.
 */
static uint32_t index_look(const PolicyIndex *x, const PolicyRule *rules, uint32_t hash, uint32_t best,
                           const PolicyClient *client, const PolicyMessage *m)
{
        for (uint32_t e = slot_find(x->slots, x->n_slots, hash)->first; e; e = x->entries[e - 1].next) {
                uint32_t rule = x->entries[e - 1].rule;

                if (rule < best)
                        break;
                if (rule_has_subject(rules + rule, m) && rule_matches(rules + rule, client, m))
                        return rule + 1;
        }
        return best;
}

const PolicyRule *policy_index_judge(const PolicyIndex *x, const PolicyRule *rules, PolicyKey *k,
                                     const PolicyClient *client, const PolicyMessage *m)
{
        const uint16_t *list = x->lists[m->direction][m->type];
        size_t n = x->n_lists[m->direction][m->type];
        uint32_t best = 0; /* rule + 1 */

        key_fill(k, x->needed[m->direction][m->type], client, m);
        for (size_t i = 0; i < n; i++) {
                const Group *g = x->groups + list[i];
                uint16_t compared = (uint16_t) (g->mask & ~g->missing);
                uint64_t h = list[i], with_property = h;
                bool twice = compared >> POLICY_INTERFACE & 1 && k->has_property_interface;

                if ((g->mask & (g->allow ? k->unknown : k->vague)) != g->missing || (g->mask & k->never) || g->stubdom != client->stubdom ||
                    (g->type == POLICY_ANY && m->solicited && m->direction == POLICY_INC))
                        continue;
                for (unsigned rest = compared; rest; rest &= rest - 1) {
                        PolicyField f = (PolicyField) __builtin_ctz(rest);

                        if (twice)
                                with_property = hash_key(with_property, f,
                                                         f == POLICY_INTERFACE ? k->property_interface : k->values[f]);
                        h = hash_key(h, f, k->values[f]);
                }
                best = index_look(x, rules, (uint32_t) h, best, client, m);
                if (twice)
                        best = index_look(x, rules, (uint32_t) with_property, best, client, m);
        }
        return best ? rules + best - 1 : NULL;
}
