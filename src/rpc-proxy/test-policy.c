/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rule language against tables: what is read, what is refused and where, what is decided. */
#include <assert.h>

#include "policy.h"
#include "policy-learn.h"
#include "strbuf.h"

#define UUID "11111111-2222-3333-4444-555555555555"

static const char *vm_property(void *userdata, const char *name)
{
        const char *const *l = userdata;

        for (; l && *l; l += 2)
                if (streq(*l, name))
                        return l[1];
        return NULL;
}

static const char *const svm[] = { "type", "svm", "p", "true", NULL };

static void collect(void *userdata, const PolicyError *e)
{
        strbuf_addf(userdata, "%s:%u:%u: %s\n", e->file, e->line, e->column, e->message);
}

/* `;` separates rules, as in the tables. */
static Policy *rules(const char *text)
{
        _cleanup_free_ char *s = strformat("%s\n", text);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        Policy *p = NULL;

        for (char *c = s; *c; c++)
                if (*c == ';')
                        *c = '\n';
        if (policy_parse(s, strlen(s), "t", &(PolicyErrors) { collect, &b }, &p) < 0) {
                fprintf(stderr, "%s: %s", text, b.data);
                abort();
        }
        return p;
}

#define CALL(d, i, m, ...)                                                                         \
        { .type = POLICY_CALL, .destination = d, .path = "/", .interface = i, .member = m, ##__VA_ARGS__ }
#define PROPERTIES(d, m, i, p) CALL(d, "org.freedesktop.DBus.Properties", m, .arg0 = i, .property_name = p)

/* Contract rpc-proxy.md 5.8 and what our own words add; the intended results. */
static const struct Vector {
        const char *rules;
        PolicyMessage m;
        bool allow;
        bool stubdom, host, unknown; /* the client, else a known service VM */
} vectors[] = {
        { "", CALL("a.b", "i.j", "M"), false },
        { "deny all ; allow destination a.b", CALL("a.b", "i.j", "M"), true },
        { "allow destination a.b ; deny member M", CALL("a.b", "i.j", "M"), false },
        { "allow destination a.b interface i.j", CALL("a.b", "i.k", "M"), false },
        { "allow destination a.b interface i.j", CALL("a.b", "i.j", "M"), true },
        { "allow destination a.b interface i.j", PROPERTIES("a.b", "Get", "i.j", "x"), true },
        { "allow destination a.b interface i.j", PROPERTIES("a.b", "Get", "i.k", "x"), false },
        { "allow destination a.b interface i.j", PROPERTIES("a.b", "GetAll", "i.j", NULL), true },
        { "allow destination a.b interface i.j", PROPERTIES("a.b", "Get", "", "x"), false },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", PROPERTIES("a.b", "Set", "i.j", "x"), false },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", PROPERTIES("a.b", "Set", "i.k", "x"), true },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", PROPERTIES("a.b", "Set", "", "x"), false },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", PROPERTIES("a.b", "Set", NULL, NULL), false },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", CALL("a.b", "i.k", "Set"), true },
        { "allow destination a.b ; deny destination a.b interface i.j member Set", CALL("a.b", NULL, "Set"), false },
        { "allow inc-signal", CALL("a.b", "i.j", "M"), false },
        { "allow out-any", CALL("a.b", "i.j", "M"), false },
        { "allow if-boolean p true", CALL("a.b", "i.j", "M"), true },
        { "allow if-boolean p false", CALL("a.b", "i.j", "M"), false },
        { "allow if-boolean q true", CALL("a.b", "i.j", "M"), false },
        { "allow ; deny if-boolean q true", CALL("a.b", "i.j", "M"), false },
        { "allow ; deny if-boolean p false", CALL("a.b", "i.j", "M"), true },
        { "allow ; deny if-boolean p true", CALL("a.b", "i.j", "M"), false },
        { "allow if-boolean type true", CALL("a.b", "i.j", "M"), false },
        { "allow dom-type svm", CALL("a.b", "i.j", "M"), true },
        { "allow dom-type svm dom-type ndvm", CALL("a.b", "i.j", "M"), false },
        { "allow member A member B", CALL("x", "i", "B"), true },
        { "allow member A member B", CALL("x", "i", "A"), false },
        { "allow stubdom true", CALL("a.b", "i.j", "M"), false },
        { "allow all", CALL("a.b", "i.j", "M"), false, .stubdom = true },
        { "allow stubdom true", CALL("a.b", "i.j", "M"), true, .stubdom = true },
        { "allow stubdom true ; deny all", CALL("a.b", "i.j", "M"), true, .stubdom = true },
        { "allow destination a.b", { .type = POLICY_SIGNAL, .path = "/", .interface = "i.j", .member = "M" }, false },
        { "allow inc-signal", { .type = POLICY_SIGNAL, .path = "/", .interface = "i.j", .member = "M" }, true },
        { "deny all", CALL("a.b", "i.j", "M"), true, .host = true },
        { "", CALL("a.b", "i.j", "M"), true, .host = true },

        /* A missing field: never for an allow rule, always for a deny rule. */
        { "allow interface i.j", CALL("a.b", NULL, "M"), false },
        { "allow ; deny destination a.b", CALL(NULL, "i.j", "M"), false },
        { "allow ; deny sender s.t", CALL("a.b", "i.j", "M"), false },
        { "allow sender s.t", CALL("a.b", "i.j", "M"), false },
        { "allow sender s.t", CALL("a.b", "i.j", "M", .sender = "s.t"), true },
        { "allow ; deny member M", { .type = POLICY_RETURN, .destination = "a.b" }, false },
        { "allow dom-uuid " UUID, CALL("a.b", "i.j", "M"), true },
        { "allow dom-uuid " UUID, CALL("a.b", "i.j", "M"), false, .unknown = true },
        { "allow ; deny dom-uuid 0", CALL("a.b", "i.j", "M"), false, .unknown = true },
        { "allow ; deny dom-uuid 0", CALL("a.b", "i.j", "M"), true },
        { "allow dom-id 5", CALL("a.b", "i.j", "M"), true },
        { "allow dom-id 005", CALL("a.b", "i.j", "M"), true },
        { "allow dom-id 6", CALL("a.b", "i.j", "M"), false },
        { "allow dom-id 5", CALL("a.b", "i.j", "M"), false, .unknown = true },
        { "allow dom-type svm", CALL("a.b", "i.j", "M"), false, .unknown = true },
        { "allow dom-name n", CALL("a.b", "i.j", "M"), false },

        /* Our own words. */
        { "allow path /a/b", CALL("a.b", "i.j", "M"), false },
        { "allow path /", CALL("a.b", "i.j", "M"), true },
        { "allow arg0 \"type='signal'\"", CALL("a.b", "i.j", "M", .arg0 = "type='signal'"), true },
        { "allow arg0 \"q\\\"\\\\\"", CALL("a.b", "i.j", "M", .arg0 = "q\"\\"), true },
        { "allow arg0 \"\"", CALL("a.b", "i.j", "M", .arg0 = ""), true },
        { "allow arg0 x", CALL("a.b", "i.j", "M"), false },
        { "allow ; deny arg0 x", CALL("a.b", "i.j", "M"), false },
        { "allow property i.j.x", PROPERTIES("a.b", "Get", "i.j", "x"), true },
        { "allow property i.j.x", PROPERTIES("a.b", "Set", "i.j", "x"), true },
        { "allow property i.j.x", PROPERTIES("a.b", "Set", "i.j", "y"), false },
        { "allow property i.j.x", PROPERTIES("a.b", "Set", "i", "j.x"), false },
        { "allow property i.j.x", PROPERTIES("a.b", "GetAll", "i.j", NULL), false },
        { "allow property i.j.x", PROPERTIES("a.b", "GetAll", "i.j", "x"), false },
        { "allow property i.j.x", CALL("a.b", "i.j", "Get", .arg0 = "i.j", .property_name = "x"), false },
        { "allow ; deny property i.j.x", PROPERTIES("a.b", "Get", "i.j", "x"), false },
        { "allow ; deny property i.j.x", PROPERTIES("a.b", "Get", "i.j", "y"), true },
        { "allow ; deny property i.j.x", PROPERTIES("a.b", "Get", "i.k", "x"), true },
        { "allow ; deny property i.j.x", PROPERTIES("a.b", "Get", "", "x"), false },
        { "allow ; deny property i.j.x", PROPERTIES("a.b", "GetAll", "i.j", NULL), false },
        { "allow ; deny property i.j.x", CALL("a.b", NULL, "Get", .arg0 = "i.j", .property_name = "x"), false },
        { "allow ; deny property i.j.x", CALL("a.b", "i.j", "M"), true },

        /* Replies to calls that the proxy delivered: only what speaks of replies counts. */
        { "deny all", { .type = POLICY_RETURN, .destination = ":1.5", .solicited = true }, true },
        { "deny all", { .type = POLICY_RETURN, .destination = ":1.5" }, false },
        { "deny inc-method-return", { .type = POLICY_RETURN, .solicited = true }, false },
        { "deny inc-method-return ; allow", { .type = POLICY_RETURN, .solicited = true }, false },
        { "deny inc-method-return", { .type = POLICY_ERROR, .solicited = true }, true },
        { "deny out-any", { .direction = POLICY_OUT, .type = POLICY_RETURN, .solicited = true }, false },
        { "", { .direction = POLICY_OUT, .type = POLICY_RETURN, .solicited = true }, true },
        { "", { .direction = POLICY_OUT, .type = POLICY_SIGNAL }, false },
        { "allow out-signal interface i.j", { .direction = POLICY_OUT, .type = POLICY_SIGNAL, .interface = "i.j" }, true },
};

static PolicyClient client_of(const struct Vector *v)
{
        if (v->unknown)
                return (PolicyClient) { .domid = -1 };
        return (PolicyClient) { .domid = v->host ? 0 : 5,
                                .uuid = UUID,
                                .stubdom = v->stubdom,
                                .property = vm_property,
                                .userdata = (void *) svm };
}

static void test_vectors(void)
{
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                const struct Vector *v = vectors + i;
                _cleanup_policy_ Policy *p = rules(v->rules);
                PolicyClient c = client_of(v);

                if (policy_decide(p, &c, &v->m).allow != v->allow) {
                        fprintf(stderr, "vector %zu: %s\n", i, v->rules);
                        abort();
                }
        }
}

/* Each subject decides exactly the messages of its direction and kind. */
static void test_subjects(void)
{
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_ANY; t < _POLICY_TYPE_MAX; t++) {
                        _cleanup_free_ char *s = strformat("allow %s", policy_subject(d, t));
                        _cleanup_policy_ Policy *p = rules(s);

                        for (PolicyDirection md = POLICY_INC; md <= POLICY_OUT; md++)
                                for (PolicyType mt = POLICY_CALL; mt < _POLICY_TYPE_MAX; mt++)
                                        assert(policy_decide(p, &(PolicyClient) { .domid = 3 },
                                                             &(PolicyMessage) { .direction = md, .type = mt })
                                                       .allow == (md == d && (t == POLICY_ANY || t == mt)));
                }
}

static const struct {
        const char *text;
        const char *errors; /* NULL: accepted; else what the messages start with */
        unsigned n;         /* rules, if accepted */
} texts[] = {
        { "", NULL, 0 },
        { "allow", NULL, 1 },
        { "\n\n# c\nallow\n\n", NULL, 1 },
        { "allow# directly behind a word\n", NULL, 1 },
        { "\t allow \t inc-any all  \n", NULL, 1 },
        { "allow destination destination member allow\n", NULL, 1 },
        { "allow dom-name B\xc3\xbcro\n", NULL, 1 },
        { "deny\nallow destination a.b # c\n", NULL, 2 },
        { "allow path /a_B/1 arg0 \"a b\" property a.b.c-d\n", NULL, 1 },
        { "allow # c", "t:1:7: comment without a line end", 0 },
        { "allow destination a.b\r\n", "t:1:22: unexpected carriage return", 0 },
        { "permit\n", "t:1:1: unknown word 'permit'; expected allow or deny", 0 },
        { "allow all member M\n", "t:1:11: expected the end of the line behind 'all', found 'member'", 0 },
        { "allow member M all\n", "t:1:16: unknown word 'all'; expected destination", 0 },
        { "allow inc-any out-any\n", "t:1:15: unknown word 'out-any'; expected all, destination", 0 },
        { "allow inc-call\n", "t:1:7: unknown word 'inc-call'; expected a subject", 0 },
        { "allow destination\n", "t:1:18: expected a bus name behind 'destination', found the end of the line", 0 },
        { "allow destination :1.5\n", "t:1:19: unexpected ':'; expected a bus name", 0 },
        { "allow destination a.*\n", "t:1:21: unexpected '*'", 0 },
        { "allow destination _a\n", "t:1:19: unexpected '_'", 0 },
        { "allow destination \"a\"\n", "t:1:19: unexpected '\"'", 0 },
        { "allow member /a\n", "t:1:14: unexpected '/'", 0 },
        { "allow path a\n", "t:1:12: expected an object path behind 'path', found 'a'", 0 },
        { "allow arg0 \"a\n", "t:1:12: text without its closing", 0 },
        { "allow arg0 \"\\n\"\n", "t:1:13: expected \\\" or \\\\", 0 },
        { "allow property a\n", "t:1:16: expected INTERFACE.PROPERTY", 0 },
        { "allow property a.\n", "t:1:16: expected INTERFACE.PROPERTY", 0 },
        { "allow dom-id x\n", "t:1:14: expected a decimal number", 0 },
        { "allow dom-id 99999999999999999999\n", "t:1:14: expected a decimal number", 0 },
        { "allow stubdom yes\n", "t:1:15: expected true or false behind 'stubdom', found 'yes'", 0 },
        { "allow if-boolean p\n", "t:1:19: expected true or false behind 'p', found the end of the line", 0 },
        { "allow dom-name B\xc3\xbcro x\n", "t:1:21: unknown word 'x'", 0 },
        { "allow dom-name \xff\n", "t:1:16: unexpected byte 0xff", 0 },
        { "deny\npermit\nallow\ngrant\n", "t:2:1: unknown word 'permit'; expected allow or deny\nt:4:1: ", 0 },
};

static void test_texts(void)
{
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                _cleanup_policy_ Policy *p = NULL;
                int r = policy_parse(texts[i].text, strlen(texts[i].text), "t", &(PolicyErrors) { collect, &b }, &p);

                if (texts[i].errors ? r != -EBADMSG || !startswith(strempty(b.data), texts[i].errors)
                                    : r < 0 || policy_count(p) != texts[i].n || b.data) {
                        fprintf(stderr, "text %zu: %s -> %d %s\n", i, texts[i].text, r, strempty(b.data));
                        abort();
                }
        }
        /* A NUL is no way to hide the rest of a file. */
        assert(policy_parse("allow\0x", 7, "t", NULL, &(Policy *) { NULL }) == -EBADMSG);
}

static void test_vm_rules(void)
{
        _cleanup_policy_ Policy *base = rules("deny all ; deny destination a.c"), *p = NULL, *bad = NULL, *own = NULL;
        const PolicyText texts_of_vm[] = {
                { "allow destination a.b dom-uuid 99999999-0000-0000-0000-000000000000", "/vm/u/rpc-firewall-rules/0" },
                { "allow destination a.c behind", "/vm/u/rpc-firewall-rules/7" },
        };
        PolicyClient client = { .domid = 5, .uuid = UUID }, other = { .domid = 6, .uuid = "other" };
        PolicyMessage m = CALL("a.b", "i.j", "M"), n = CALL("a.c", "i.j", "M");
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        PolicyVerdict v;

        assert(policy_with_vm_rules(base, UUID, texts_of_vm, 2, NULL, &p) == 0 && policy_count(p) == 4);
        v = policy_decide(p, &client, &m);
        assert(v.allow && streq(v.rule->file, "/vm/u/rpc-firewall-rules/0") && v.rule->line == 1);
        assert(startswith(v.rule->text, "allow destination a.b dom-uuid 9999"));
        v = policy_decide(p, &client, &n);
        assert(v.allow && streq(v.rule->text, "allow destination a.c"));
        assert(!policy_decide(p, &other, &m).allow);
        assert(streq(policy_rule(p, 1)->text, "deny destination a.c") && policy_rule(p, 1)->line == 2);
        /* One bad rule refuses all of them; text behind is no excuse for a word without its value. */
        assert(policy_with_vm_rules(base, UUID, &(PolicyText) { "allow member", "f" }, 1, &(PolicyErrors) { collect, &b },
                                    &bad) == -EBADMSG);
        assert(startswith(b.data, "f:1:13: expected a member name") && !bad);
        assert(policy_with_vm_rules(base, UUID, &(PolicyText) { "", "f" }, 1, NULL, &bad) == -EBADMSG);
        /* Run-time rules are one whole rule each. */
        assert(policy_extend(p, NULL, &(PolicyText) { "deny destination a.b", "runtime" }, 1, NULL, &own) == 0);
        assert(!policy_decide(own, &client, &m).allow && policy_decide(own, &client, &n).allow);
        assert(policy_extend(p, NULL, &(PolicyText) { "deny x", "runtime" }, 1, NULL, &bad) == -EBADMSG);
        assert(policy_extend(p, NULL, &(PolicyText) { "deny\nallow", "runtime" }, 1, NULL, &bad) == -EBADMSG);
}

static void check_near_miss(const char *text, const PolicyMessage *m, const char *rule, const char *expected)
{
        _cleanup_policy_ Policy *p = rules(text);
        PolicyClient c = { .domid = 5, .uuid = UUID, .property = vm_property, .userdata = (void *) svm };
        _cleanup_free_ char *s = NULL;
        PolicyNearMiss n;

        policy_explain(p, &c, m, &n);
        assert(policy_near_miss_text(&n, &s) == 0);
        if (!streq_ptr(n.rule ? n.rule->text : NULL, rule) || !streq(s, expected)) {
                fprintf(stderr, "%s\n  %s\n", n.rule ? n.rule->text : "-", s);
                abort();
        }
}

static void test_near_miss(void)
{
        check_near_miss("deny all ; allow destination a.b member X ; allow destination a.b interface i.j member N",
                        &(PolicyMessage) CALL("a.b", "i.j", "M"), "allow destination a.b interface i.j member N",
                        "member is \"M\", not \"N\"");
        check_near_miss("allow destination a.b if-boolean q true", &(PolicyMessage) CALL("a.b", "i.j", "M"),
                        "allow destination a.b if-boolean q true", "if-boolean q is missing or unknown, not \"true\"");
        check_near_miss("allow destination a.b ; deny all", &(PolicyMessage) CALL("a.b", "i.j", "M"),
                        "allow destination a.b", "it matches, but the deciding rule stands behind it");
        check_near_miss("deny ; allow out-any ; allow destination z.z", &(PolicyMessage) CALL("a.b", "i.j", "M"), NULL,
                        "no allow rule has anything in common with the message");
        check_near_miss("allow interface i.j stubdom true", &(PolicyMessage) CALL("a.b", "i.j", "M"),
                        "allow interface i.j stubdom true", "stubdom is \"false\", not \"true\"");
}

/* What a rule asks for, as a message and a client. */
typedef struct Asked {
        PolicyMessage m;
        const char *vm[8][2];
        size_t n_vm;
        const char *uuid;
        bool stubdom;
} Asked;

static const char *asked_property(void *userdata, const char *name)
{
        const Asked *a = userdata;

        for (size_t i = 0; i < a->n_vm; i++)
                if (streq(a->vm[i][0], name))
                        return a->vm[i][1];
        return NULL;
}

static Asked asked_by(const PolicyRule *r)
{
        Asked a = { .m = { .direction = r->direction, .type = r->type ? r->type : POLICY_CALL,
                           .destination = "no.such", .path = "/", .interface = "no.such", .member = "None",
                           .sender = "no.such" },
                    .stubdom = r->stubdom };

        for (unsigned i = 0; i < r->n_conditions; i++) {
                const PolicyCondition *c = r->conditions + i;

                if (c->field == POLICY_DESTINATION)
                        a.m.destination = c->value;
                else if (c->field == POLICY_INTERFACE)
                        a.m.interface = c->value;
                else if (c->field == POLICY_MEMBER)
                        a.m.member = c->value;
                else if (c->field == POLICY_SENDER)
                        a.m.sender = c->value;
                else {
                        assert(c->field >= POLICY_DOM_TYPE && a.n_vm < ELEMENTSOF(a.vm));
                        a.vm[a.n_vm][0] = c->name;
                        a.vm[a.n_vm++][1] = c->value;
                }
        }
        return a;
}

/* Each rule of the files that are in use decides the message that it describes, as do both ways of looking. */
static void test_file(const char *path, size_t n)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_policy_ Policy *p = NULL;

        if (policy_load_file(path, &(PolicyErrors) { collect, &b }, &p) < 0) {
                fprintf(stderr, "%s: %s", path, strempty(b.data));
                abort();
        }
        assert(n == 0 || policy_count(p) == n);
        for (size_t i = 0; i < policy_count(p); i++) {
                const PolicyRule *r = policy_rule(p, i);
                Asked a = asked_by(r);
                PolicyClient client = { .domid = 5, .uuid = UUID, .stubdom = a.stubdom, .property = asked_property, .userdata = &a };
                PolicyVerdict v = policy_decide(p, &client, &a.m);

                if (v.rule != r || v.allow != r->allow || policy_judge_each(p, &client, &a.m).rule != r) {
                        fprintf(stderr, "%s:%u decides, not line %u\n", path, v.rule ? v.rule->line : 0, r->line);
                        abort();
                }
                /* Nothing else of that message may be missing for it. */
                if (r->allow && r->n_conditions > 0) {
                        a.m = (PolicyMessage) { .direction = r->direction, .type = a.m.type };
                        a.n_vm = 0;
                        assert(policy_decide(p, &client, &a.m).rule != r);
                }
        }
}

/* One rule for all that it covers, in whatever order they were recorded; and what is missing is said. */
static void test_learn(void)
{
#define MESSAGE "{\"direction\":\"inc\",\"type\":\"method-call\",\"destination\":\"a.b\",\"member\":\"M\""
#define WIDE MESSAGE ",\"omitted\":3}"
#define NARROW MESSAGE ",\"interface\":\"i.j\",\"omitted\":4}"
        static const char *const tries[] = {
                "[" NARROW "," WIDE "]",
                "[" WIDE "," NARROW "," MESSAGE ",\"verdict\":\"allow\",\"omitted\":9}]",
        };

        for (size_t i = 0; i < ELEMENTSOF(tries); i++) {
                _cleanup_strv_ char **rules = NULL, **notes = NULL;
                _cleanup_json_ json_object *records = NULL;

                assert(json_parse(tries[i], strlen(tries[i]), 8, &records) == 0);
                assert(policy_learn(records, NULL, &rules, &notes) == 0);
                assert(strv_length(rules) == 1 && streq(rules[0], "allow inc-method-call destination a.b member M"));
                assert(strv_length(notes) == 1 && startswith(notes[0], "7 records that were left out"));
        }
}

int main(void)
{
        test_file(TEST_DATA "/rules/openxt.rules", 33);
        test_file(TEST_DATA "/rules/guide.rules", 0);
        test_file(TEST_DATA "/../../data/rpc-proxy.rules", 0);
        test_vectors();
        test_subjects();
        test_texts();
        test_vm_rules();
        test_near_miss();
        test_learn();
        return 0;
}
