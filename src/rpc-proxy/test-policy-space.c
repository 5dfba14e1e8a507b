/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The exact classes against brute force: random rules over a small alphabet, and every message that
 * alphabet can make. A message is in a class exactly if the two lists decide it differently.
 */
#include <assert.h>

#include "policy-space.h"
#include "strbuf.h"

static uint64_t seed = 1;

static unsigned pick(unsigned n)
{
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (unsigned) (seed >> 33) % n;
}

#define PICK(list) list[pick(ELEMENTSOF(list))]

static const char *const interfaces[] = { NULL, "i.j", "i.k", "z", PROPERTIES_INTERFACE };
static const char *const members[] = { NULL, "M", "Get", "GetAll", "z" };
static const char *const args[] = { NULL, "", "i.j", "i.k", "z" };
static const char *const names[] = { NULL, "x", "z" };
static const char *const destinations[] = { NULL, "d", "z" };
static const char *const paths[] = { NULL, "/p", "/z" };
static const char *const uuids[] = { NULL, "u", "z" };
static const char *const types[] = { NULL, "svm", "true", "z" };
static const char *const booleans[] = { NULL, "true", "false" };
static const int64_t domids[] = { -1, 5, 77 };

static void random_rule(StrBuf *b)
{
        static const char *const words[] = { "destination d", "interface i.j", "interface i.k",
                                             ("interface " PROPERTIES_INTERFACE), "member M", "member Get",
                                             "member GetAll", "arg0 i.j", "arg0 \"\"", "property i.j.x", "property i.k.x",
                                             "path /p", "sender d", "dom-uuid u", "dom-id 5", "dom-id 0", "dom-type svm",
                                             "if-boolean type true", "if-boolean p true", "if-boolean p false",
                                             "stubdom true" };
        static const char *const subjects[] = { "", "", "", "", "inc-any", "inc-method-call", "inc-method-return",
                                                "inc-error", "inc-signal", "out-any", "out-signal" };
        unsigned n = pick(4);

        strbuf_addf(b, "%s %s", pick(3) ? "allow" : "deny", PICK(subjects));
        while (n-- > 0)
                strbuf_addf(b, " %s", PICK(words));
        strbuf_addc(b, '\n');
}

static Policy *parse(const char *text)
{
        Policy *p;

        assert(policy_parse(text, strlen(text), "t", NULL, &p) == 0);
        return p;
}

/* A random list, and often a second that differs little or only in form. */
static void random_policies(Policy **a, Policy **b)
{
        _cleanup_strbuf_ StrBuf x = STRBUF_INIT, y = STRBUF_INIT;
        unsigned n = pick(6), kind = pick(4);


        strbuf_add(&x, "");
        strbuf_add(&y, kind == 0 ? "deny all\n" : "");
        for (unsigned i = 0; i < n; i++) {
                _cleanup_strbuf_ StrBuf r = STRBUF_INIT;

                random_rule(&r);
                strbuf_add(&x, r.data);
                if (kind == 1 && pick(4) == 0)
                        random_rule(&y);
                if (kind == 2 && pick(3) == 0)
                        continue;
                strbuf_add(&y, r.data);
                if (kind == 3)
                        strbuf_add(&y, r.data);
        }
        *a = parse(x.data);
        *b = parse(y.data);
}

typedef struct Copy {
        bool a_allows;
        size_t n;
        SpaceSet sets[SPACE_VM + 8];
} Copy;

typedef struct Classes {
        Copy *list;
        size_t n;
} Classes;

static int on_class(void *userdata, const SpaceClass *c)
{
        Classes *l = userdata;
        Copy *copy;

        assert(c->a_allows != c->b_allows && c->n_sets <= ELEMENTSOF(copy->sets));
        assert((c->a ? c->a->allow : false) == c->a_allows || !c->a);
        l->list = reallocarray(l->list, l->n + 1, sizeof(Copy));
        assert(l->list);
        copy = l->list + l->n++;
        *copy = (Copy) { .a_allows = c->a_allows, .n = c->n_sets };
        for (size_t i = 0; i < c->n_sets; i++) {
                copy->sets[i] = c->sets[i];
                copy->sets[i].values = calloc(c->sets[i].n + 1, sizeof(char *));
                for (size_t k = 0; k < c->sets[i].n; k++)
                        copy->sets[i].values[k] = c->sets[i].values[k];
        }
        return 0;
}

typedef struct Values {
        const char *type, *p;
} Values;

static const char *vm(void *userdata, const char *name)
{
        const Values *v = userdata;

        return streq(name, "type") ? v->type : streq(name, "p") ? v->p : NULL;
}

static bool class_contains(const Space *s, const Copy *c, const PolicyMessage *m, const PolicyClient *client)
{
        char domid[32];
        const char *values[SPACE_VM] = {
                [SPACE_SUBJECT] = policy_subject(m->direction, m->type),
                [SPACE_STUBDOM] = client->stubdom ? "true" : "false",
                [SPACE_DESTINATION] = m->destination, [SPACE_INTERFACE] = m->interface, [SPACE_MEMBER] = m->member,
                [SPACE_ARG0] = m->arg0, [SPACE_PROPERTY] = m->property_name, [SPACE_PATH] = m->path,
                [SPACE_SENDER] = m->sender, [SPACE_UUID] = client->uuid,
                [SPACE_DOMID] = client->domid < 0 ? NULL : domid,
        };

        snprintf(domid, sizeof(domid), "%lld", (long long) client->domid);
        for (size_t i = 0; i < c->n; i++) {
                const char *name = space_variable_name(s, i);
                const char *value = i < SPACE_VM             ? values[i]
                                    : streq(name, "dom-type") ? vm(client->userdata, "type")
                                                              : vm(client->userdata, "p");

                if (!space_set_contains(c->sets + i, value))
                        return false;
        }
        return true;
}

static void check_message(const Space *s, const Policy *a, const Policy *b, const Classes *l, const PolicyMessage *m,
                          const PolicyClient *client, unsigned *differing)
{
        bool va = policy_judge_each(a, client, m).allow, vb = policy_judge_each(b, client, m).allow;
        unsigned n = 0;

        for (size_t i = 0; i < l->n; i++)
                if (class_contains(s, l->list + i, m, client)) {
                        n++;
                        assert(l->list[i].a_allows == va);
                }
        /* In one class or in none; and the index gives what looking at each rule gives. */
        if (n != (va != vb) || policy_judge(a, client, m).rule != policy_judge_each(a, client, m).rule) {
                for (int i = 0; i < 2; i++)
                        for (size_t k = 0; k < policy_count(i ? b : a); k++)
                                fprintf(stderr, "%c: %s\n", i ? 'b' : 'a', policy_rule(i ? b : a, k)->text);
                fprintf(stderr, "%s %s.%s arg0 %s %s to %s: %d, %d, in %u classes\n", policy_subject(m->direction, m->type),
                        strempty(m->interface), strempty(m->member), strempty(m->arg0), strempty(m->property_name),
                        strempty(m->destination), va, vb, n);
                fprintf(stderr, "%s / %s\n", policy_judge(a, client, m).rule ? policy_judge(a, client, m).rule->text : "-", policy_judge_each(a, client, m).rule ? policy_judge_each(a, client, m).rule->text : "-"); abort();
        }
        *differing += n;
}

static const char *member_of(const SpaceSet *set, const char *other)
{
        if (set->any || set->missing)
                return NULL;
        return set->others ? other : set->values[0];
}

/* A class that no message is in would be an invented difference. */
static void check_witness(const Space *s, const Policy *a, const Policy *b, const Copy *c, bool solicited)
{
        const char *subject = member_of(c->sets + SPACE_SUBJECT, NULL), *type = NULL, *p = NULL;
        const char *stubdom = member_of(c->sets + SPACE_STUBDOM, NULL);
        const char *domid = member_of(c->sets + SPACE_DOMID, "9999");
        Values v;
        PolicyClient client = { .domid = domid ? atoi(domid) : -1, .uuid = member_of(c->sets + SPACE_UUID, "other"),
                                .stubdom = stubdom && streq(stubdom, "true"), .property = vm, .userdata = &v };
        PolicyMessage m = {
                .type = POLICY_CALL,
                .destination = member_of(c->sets + SPACE_DESTINATION, "other"),
                .interface = member_of(c->sets + SPACE_INTERFACE, "other"),
                .member = member_of(c->sets + SPACE_MEMBER, "other"),
                .arg0 = member_of(c->sets + SPACE_ARG0, "other"),
                .property_name = member_of(c->sets + SPACE_PROPERTY, "other"),
                .path = member_of(c->sets + SPACE_PATH, "/other"),
                .sender = member_of(c->sets + SPACE_SENDER, "other"),
        };

        for (size_t i = SPACE_VM; i < c->n; i++)
                *(streq(space_variable_name(s, i), "dom-type") ? &type : &p) = member_of(c->sets + i, "other");
        v = (Values) { type, p };
        if (subject)
                assert(policy_subject_parse(subject, &m.direction, &m.type) == 0);
        m.solicited = solicited && policy_can_be_solicited(m.direction, m.type);
        assert(class_contains(s, c, &m, &client));
        assert(policy_judge_each(a, &client, &m).allow == c->a_allows);
        assert(policy_judge_each(b, &client, &m).allow != c->a_allows);
}

static void check_pair(const Policy *a, const Policy *b, unsigned *n_equal, unsigned *n_different)
{
        _cleanup_(space_freep) Space *s = NULL;
        Classes l = {};
        unsigned differing = 0;
        bool solicited = pick(4) == 0;

        assert(space_new(a, b, solicited, &s) == 0 && space_differences(s, on_class, &l) == 0);
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_CALL; t < _POLICY_TYPE_MAX; t++)
                        for (size_t i = 0; i < ELEMENTSOF(interfaces); i++)
                                for (size_t m = 0; m < ELEMENTSOF(members); m++)
                                        for (size_t x = 0; x < ELEMENTSOF(args); x++)
                                                for (size_t k = 0; k < ELEMENTSOF(names); k++) {
                                                        /* the variables that know nothing of each other are drawn, often */
                                                        for (int round = 0; round < 12; round++) {
                                                                Values v = { PICK(types), PICK(booleans) };
                                                                PolicyClient client = { PICK(domids), PICK(uuids),
                                                                                        pick(4) == 0, vm, &v };
                                                                PolicyMessage msg = {
                                                                        .direction = d, .type = t,
                                                                        .interface = interfaces[i], .member = members[m],
                                                                        .arg0 = args[x], .property_name = names[k],
                                                                        .destination = PICK(destinations),
                                                                        .path = PICK(paths), .sender = PICK(destinations),
                                                                        .solicited = solicited && policy_can_be_solicited(d, t),
                                                                };

                                                                check_message(s, a, b, &l, &msg, &client, &differing);
                                                        }
                                                }
        if (l.n == 0)
                ++*n_equal;
        else
                ++*n_different;
        for (size_t i = 0; i < l.n; i++)
                check_witness(s, a, b, l.list + i, solicited);
        for (size_t i = 0; i < l.n; i++)
                for (size_t k = 0; k < l.list[i].n; k++)
                        free(l.list[i].sets[k].values);
        free(l.list);
}

static void test_random(unsigned rounds)
{
        unsigned equal = 0, different = 0;

        for (unsigned i = 0; i < rounds; i++) {
                _cleanup_policy_ Policy *a = NULL, *b = NULL;

                random_policies(&a, &b);
                check_pair(a, b, &equal, &different);
        }
        assert(equal > rounds / 10 && different > rounds / 10);
}

int main(void)
{
        test_random(300);
        return 0;
}
