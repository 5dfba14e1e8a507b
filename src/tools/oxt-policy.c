/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt policy: what rules decide, what is wrong with them, how they differ. Exit status 2 is an error. */
#include "oxt-policy.h"

#include <systemd/sd-bus.h>

#include "log.h"
#include "oxt.h"
#include "parse.h"
#include "policy-diff.h"
#include "policy-json.h"
#include "policy-lint.h"
#include "strbuf.h"
#include "vms.h"

static bool arg_json, arg_strict, arg_running, arg_solicited;

static void print_json(json_object *o)
{
        puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void on_error(_unused_ void *userdata, const PolicyError *e)
{
        fprintf(stderr, "%s:%u:%u: error: %s\n", e->file, e->line, e->column, e->message);
}

static const PolicyErrors print_errors = { .on_error = on_error };

static int load(const char *path, const PolicyErrors *errors, Policy *base, Policy **ret)
{
        int r = policy_load_behind(base, path, errors, ret);

        if (r < 0 && r != -EBADMSG)
                fprintf(stderr, "%s: error: %s\n", path, strerror(-r));
        return r;
}

/* ---- test ---- */

static json_object *question;

static int ask_text(const char *member, const char *value)
{
        json_object_object_add(question, member, json_object_new_string(value));
        return 0;
}

static int ask_vm(const char *property, const char *value)
{
        json_object *vm;

        if (!json_object_object_get_ex(question, "vm", &vm)) {
                vm = json_object_new_object();
                json_object_object_add(question, "vm", vm);
        }
        json_object_object_add(vm, property, json_object_new_string(value));
        return 0;
}

static int ask_subject(const char *value)
{
        PolicyDirection d;
        PolicyType t;

        if (policy_subject_parse(value, &d, &t) < 0 || t == POLICY_ANY) {
                fprintf(stderr, "oxt policy test: a message is inc- or out- with method-call, method-return, signal or error, not %s\n",
                        value);
                return -EINVAL;
        }
        return ask_text("subject", value);
}

static int ask_domid(const char *value)
{
        int64_t n;

        if (parse_i64(value, &n) < 0 || n < 0) {
                fprintf(stderr, "oxt policy test: %s is no domain id\n", value);
                return -EINVAL;
        }
        json_object_object_add(question, "domid", json_object_new_int64(n));
        return 0;
}

static int ask_stubdom(const char *value)
{
        if (!streq(value, "true") && !streq(value, "false")) {
                fprintf(stderr, "oxt policy test: --stubdom takes true or false\n");
                return -EINVAL;
        }
        json_object_object_add(question, "stubdom", json_object_new_boolean(streq(value, "true")));
        return 0;
}

static int ask_boolean(const char *value)
{
        const char *equals = strchr(value, '=');
        _cleanup_free_ char *name = equals ? strndup(value, (size_t) (equals - value)) : NULL;

        if (!name || !name[0] || (!streq(equals, "=true") && !streq(equals, "=false"))) {
                fprintf(stderr, "oxt policy test: --boolean takes PROPERTY=true or PROPERTY=false\n");
                return -EINVAL;
        }
        return ask_vm(name, equals + 1);
}

/* Fills in the call of Properties that reads this property, where nothing else was said. */
static int ask_property(const char *value)
{
        const char *dot = strrchr(value, '.');
        _cleanup_free_ char *interface = dot ? strndup(value, (size_t) (dot - value)) : NULL;

        if (!interface || !interface[0] || !dot[1]) {
                fprintf(stderr, "oxt policy test: --property takes INTERFACE.PROPERTY\n");
                return -EINVAL;
        }
        ask_text("arg0", interface);
        ask_text("property", dot + 1);
        ask_text("interface", PROPERTIES_INTERFACE);
        if (!json_object_object_get_ex(question, "member", NULL))
                ask_text("member", "Get");
        return 0;
}

#define ASK(name)                                                                                  \
        static int ask_##name(const char *value)                                                   \
        {                                                                                          \
                return ask_text(#name, value);                                                     \
        }
ASK(destination)
ASK(path)
ASK(interface)
ASK(member)
ASK(sender)
ASK(arg0)
ASK(uuid)

static int ask_vm_name(const char *value)
{
        return ask_vm("name", value);
}

static int ask_vm_type(const char *value)
{
        return ask_vm("type", value);
}

static const Option test_options[] = {
        { "subject", 0, "SUBJECT", OPTION_CALLBACK, ask_subject, "Direction and type (default: inc-method-call)",
          "inc-method-call inc-method-return inc-error inc-signal out-method-call out-method-return out-error out-signal" },
        { "destination", 0, "NAME", OPTION_CALLBACK, ask_destination, "The message's destination", NULL },
        { "path", 0, "PATH", OPTION_CALLBACK, ask_path, "Its object path", NULL },
        { "interface", 0, "NAME", OPTION_CALLBACK, ask_interface, "Its interface", NULL },
        { "member", 0, "NAME", OPTION_CALLBACK, ask_member, "Its member", NULL },
        { "sender", 0, "NAME", OPTION_CALLBACK, ask_sender, "Its sender", NULL },
        { "arg0", 0, "TEXT", OPTION_CALLBACK, ask_arg0, "Its first argument", NULL },
        { "property", 0, "INTERFACE.NAME", OPTION_CALLBACK, ask_property, "A call of Properties.Get (or --member Set) for it", NULL },
        { "solicited", 0, NULL, OPTION_FLAG, &arg_solicited, "It is expected: a reply to a delivered call, a signal of the agent, a call of the host", NULL },
        { "domid", 0, "N", OPTION_CALLBACK, ask_domid, "The VM's domain id", NULL },
        { "vm-uuid", 0, "UUID", OPTION_CALLBACK, ask_uuid, "The VM's uuid", NULL },
        { "vm-name", 0, "NAME", OPTION_CALLBACK, ask_vm_name, "The VM's name", NULL },
        { "vm-type", 0, "TYPE", OPTION_CALLBACK, ask_vm_type, "The VM's type", NULL },
        { "stubdom", 0, "BOOL", OPTION_CALLBACK, ask_stubdom, "Whether it is a stub domain (default: false)", "true false" },
        { "boolean", 0, "P=BOOL", OPTION_CALLBACK, ask_boolean, "A boolean property of the VM; may be repeated", NULL },
        { "running", 0, NULL, OPTION_FLAG, &arg_running, "Ask the running proxy instead of files; a VM that runs is judged as it is", NULL },
        { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
        { 0 }
};

static int ask_running(const Stack *s, json_object **ret)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *text;
        int r = stack_bus_open(s, &bus);

        if (r < 0)
                return log_errno(r, "Cannot reach the bus");
        r = sd_bus_call_method(bus, "com.citrix.xenclient.rpc_proxy", "/", "org.oxt.RpcProxy1", "Judge", &error, &reply, "s",
                               json_object_to_json_string(question));
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return log_errno(r, "rpc-proxy did not answer: %s", error.message ? error.message : strerror(-r));
        r = json_parse(text, strlen(text), 16, ret);
        return r < 0 ? log_errno(r, "rpc-proxy's answer is no JSON") : 0;
}

static int ask_files(char *files[], json_object **ret)
{
        _cleanup_policy_ Policy *p = NULL;
        PolicyQuestion q;
        int r = 0;

        for (; r == 0 && *files; files++) {
                Policy *more = NULL;

                r = load(*files, &print_errors, p, &more);
                if (r == 0) {
                        policy_unref(p);
                        p = more;
                }
        }
        if (r == 0)
                r = policy_question_read(question, &q);
        return r < 0 ? r : policy_answer(p, &q.client, &q.message, ret);
}

static void print_rule(const char *what, json_object *rule)
{
        printf("%s %s:%lld: %s\n", what, json_get_text(rule, "file", ""), (long long) json_get_int(rule, "line", 0),
               json_get_text(rule, "rule", ""));
}

static void print_answer(json_object *answer)
{
        json_object *rule = json_get_member(answer, "rule", json_type_object);
        json_object *near = json_get_member(answer, "near", json_type_object);

        puts(json_get_text(answer, "verdict", "deny"));
        if (rule)
                print_rule("rule", rule);
        else
                puts(json_get_text(answer, "reason", "no rule matches"));
        if (near) {
                print_rule("near miss", json_get_member(near, "rule", json_type_object));
                printf("differs: %s\n", json_get_text(near, "differs", ""));
        }
}

static int policy_test(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt policy test", .synopsis = "[OPTIONS] FILE...", .options = test_options,
                                         .flags = PROGRAM_PERMUTE,
                                         .summary = "Shows how rules decide one message. What is not given is missing from the message "
                                                    "or unknown of the VM. Exit status: 0 allow, 1 deny, 2 error." };
        _cleanup_json_ json_object *answer = NULL;
        int first, status, r;
        Stack s;

        question = json_object_new_object();
        first = stack_open(&s, &program, argc, argv, &status);
        if (first < 0)
                return status == 1 ? 2 : status;
        if ((first == argc) != arg_running) {
                fprintf(stderr, "oxt policy test: needs either rule files or --running\n");
                r = -EINVAL;
        } else {
                json_object_object_add(question, "solicited", json_object_new_boolean(arg_solicited));
                r = arg_running ? ask_running(&s, &answer) : ask_files(argv + first, &answer);
        }
        stack_done(&s);
        json_object_put(question);
        if (r < 0)
                return 2;
        if (arg_json)
                print_json(answer);
        else
                print_answer(answer);
        return streq(json_get_text(answer, "verdict", "deny"), "allow") ? 0 : 1;
}

/* ---- lint ---- */

typedef struct LintRun {
        json_object *list; /* NULL: print as text */
        unsigned errors, warnings;
} LintRun;

static void lint_add(LintRun *l, const char *level, const char *kind, const char *file, unsigned line, unsigned column,
                     const char *rule, const PolicyRule *other, const char *message)
{
        json_object *o;

        if (!l->list) {
                printf("%s:%u:", file, line);
                if (column)
                        printf("%u:", column);
                printf(" %s: %s [%s]\n", level, message, kind);
                if (rule)
                        printf("    %s\n", rule);
                return;
        }
        o = json_object_new_object();
        json_object_object_add(o, "level", json_object_new_string(level));
        json_object_object_add(o, "kind", json_object_new_string(kind));
        json_object_object_add(o, "file", json_object_new_string(file));
        json_object_object_add(o, "line", json_object_new_int64(line));
        if (column)
                json_object_object_add(o, "column", json_object_new_int64(column));
        if (rule)
                json_object_object_add(o, "rule", json_object_new_string(rule));
        if (other)
                json_object_object_add(o, "other", policy_rule_json(other));
        json_object_object_add(o, "message", json_object_new_string(message));
        json_object_array_add(l->list, o);
}

static void on_lint_error(void *userdata, const PolicyError *e)
{
        LintRun *l = userdata;

        l->errors++;
        lint_add(l, "error", "syntax", e->file, e->line, e->column, NULL, NULL, e->message);
}

static void on_finding(void *userdata, const Finding *f)
{
        LintRun *l = userdata;

        l->warnings++;
        lint_add(l, "warning", lint_kind_word(f->kind), f->rule->file, f->rule->line, 0, f->rule->text, f->other, f->message);
}

static int policy_lint_files(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "strict", 0, NULL, OPTION_FLAG, &arg_strict, "Exit status 1 if there are warnings", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt policy lint", .synopsis = "[OPTIONS] FILE...", .options = options,
                                         .flags = PROGRAM_PERMUTE, .more_options = stack_options,
                                         .summary = "Looks for mistakes in rule files. Exit status: 0 no error, 1 warnings with "
                                                    "--strict, 2 errors." };
        _cleanup_(interfaces_freep) Interfaces *known = NULL;
        _cleanup_free_ char *table = strformat("%s/interfaces.tsv", data_dir());
        LintRun l = {};
        int status, first = options_parse(&program, argc, argv, 2, &status), r;

        if (first < 0)
                return status;
        if (first == argc) {
                fprintf(stderr, "oxt policy lint: which file?\n");
                return 2;
        }
        r = table ? interfaces_load(table, &known) : -ENOMEM;
        if (r < 0) {
                log_errno(r, "Cannot read %s", strempty(table));
                return 2;
        }
        l.list = arg_json ? json_object_new_array() : NULL;
        for (int i = first; i < argc; i++) {
                _cleanup_policy_ Policy *p = NULL;

                r = load(argv[i], &(PolicyErrors) { on_lint_error, &l }, NULL, &p);
                if (r == 0)
                        r = policy_lint(p, known, on_finding, &l);
                if (r < 0 && r != -EBADMSG) {
                        l.errors++;
                        if (p)
                                log_errno(r, "Cannot check %s", argv[i]);
                }
        }
        if (l.list)
                print_json(l.list);
        json_object_put(l.list);
        return l.errors ? 2 : l.warnings && arg_strict ? 1 : 0;
}

/* ---- diff ---- */

static json_object *set_json(const SpaceSet *s)
{
        json_object *o = json_object_new_object(), *list = json_object_new_array();

        for (size_t i = 0; i < s->n; i++)
                json_object_array_add(list, json_object_new_string(s->values[i]));
        if (s->missing != s->others)
                json_object_array_add(list, NULL); /* null: missing or unknown */
        json_object_object_add(o, s->others ? "not_in" : "in", list);
        return o;
}

static json_object *class_json(const PolicyDiff *d, const SpaceClass *c)
{
        json_object *o = json_object_new_object(), *sets = json_object_new_object();

        json_object_object_add(o, "old", json_object_new_string(c->a_allows ? "allow" : "deny"));
        json_object_object_add(o, "new", json_object_new_string(c->b_allows ? "allow" : "deny"));
        json_object_object_add(o, "old_rule", policy_rule_json(c->a));
        json_object_object_add(o, "new_rule", policy_rule_json(c->b));
        json_object_object_add(o, "class", sets);
        for (size_t i = 0; i < c->n_sets; i++)
                if (!c->sets[i].any)
                        json_object_object_add(sets, space_variable_name(d->space, i), set_json(c->sets + i));
        return o;
}

static void print_value(const char *value, const char *before)
{
        _cleanup_json_ json_object *s = json_object_new_string(value);
        bool plain = *value && !value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/")];

        printf("%s%s", before, plain ? value : json_object_to_json_string_ext(s, JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* `member=A|B`, or `member!=A|(missing)` for all but these. */
static void print_set(const char *name, const SpaceSet *s)
{
        printf(" %s%s", name, s->others ? "!=" : "=");
        for (size_t i = 0; i < s->n; i++)
                print_value(s->values[i], i ? "|" : "");
        if (s->missing != s->others)
                printf("%s(missing)", s->n ? "|" : "");
}

static void print_class(const PolicyDiff *d, const SpaceClass *c)
{
        bool any = true;

        printf("%s -> %s:", c->a_allows ? "allow" : "deny", c->b_allows ? "allow" : "deny");
        for (size_t i = 0; i < c->n_sets; i++)
                if (!c->sets[i].any) {
                        print_set(space_variable_name(d->space, i), c->sets + i);
                        any = false;
                }
        puts(any ? " every message" : "");
        for (int i = 0; i < 2; i++) {
                const PolicyRule *r = i ? c->b : c->a;

                if (r)
                        printf("    %s %s:%u: %s\n", i ? "new" : "old", r->file, r->line, r->text);
                else
                        printf("    %s: no rule\n", i ? "new" : "old");
        }
}

static int policy_diff_files(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "solicited", 0, NULL, OPTION_FLAG, &arg_solicited, "Judge what can be expected (replies, agents' signals, the host's calls) as that", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt policy diff", .synopsis = "[OPTIONS] OLD NEW", .options = options,
                                         .flags = PROGRAM_PERMUTE, .more_options = stack_options,
                                         .summary = "Shows exactly the classes of messages that two rule files decide differently. Exit "
                                                    "status: 0 none (nothing is printed), 1 some, 2 error." };
        _cleanup_policy_ Policy *old = NULL, *new = NULL;
        json_object *list = NULL;
        PolicyDiff d = {};
        int status, first = options_parse(&program, argc, argv, 2, &status), r;

        if (first < 0)
                return status;
        if (argc - first != 2) {
                fprintf(stderr, "oxt policy diff: needs two rule files\n");
                return 2;
        }
        if (load(argv[first], &print_errors, NULL, &old) < 0 || load(argv[first + 1], &print_errors, NULL, &new) < 0)
                return 2;
        r = policy_diff(old, new, arg_solicited, &d);
        if (r < 0) {
                log_errno(r, "Cannot compare");
                return 2;
        }
        if (arg_json)
                list = json_object_new_array();
        for (size_t i = 0; i < d.n; i++)
                if (list)
                        json_object_array_add(list, class_json(&d, d.classes + i));
                else
                        print_class(&d, d.classes + i);
        if (list)
                print_json(list);
        json_object_put(list);
        status = d.n > 0;
        policy_diff_done(&d);
        return status;
}

static const Verb verbs[] = {
        { "test", "[OPTIONS] FILE...", 0, -1, policy_test, "Show how rules decide one message" },
        { "lint", "[OPTIONS] FILE...", 0, -1, policy_lint_files, "Look for mistakes in rules" },
        { "diff", "[OPTIONS] OLD NEW", 0, -1, policy_diff_files, "Show which messages two rule files decide differently" },
        { "log", "[OPTIONS]", 0, -1, policy_log, "Show what was denied, and why" },
        { "learn", "[OPTIONS]", 0, -1, policy_learn_rules, "Write rules that would have allowed what was denied" },
        { 0 }
};

int oxt_policy(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt policy", .synopsis = "[OPTIONS] COMMAND ...", .verbs = verbs,
                                         .summary = "Explains and checks the rules of rpc-proxy." };

        return stack_group(&program, argc, argv);
}
