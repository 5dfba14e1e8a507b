/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt policy log and learn: the records of denied messages (with its --verbose of all) that rpc-proxy keeps. */
#include <systemd/sd-bus.h>
#include <time.h>

#include "log.h"
#include "oxt-policy.h"
#include "oxt-vm.h"
#include "parse.h"
#include "policy-learn.h"
#include "strbuf.h"
#include "vms.h"

#define PROXY_SERVICE "com.citrix.xenclient.rpc_proxy"
#define PROXY_INTERFACE "org.oxt.RpcProxy1"
#define RECORDS_MAX 1000000

static bool arg_json, arg_follow;
static const char *arg_vm;
static int64_t arg_lines = 50;

/* Whom records must be of: "" is everybody. */
static char vm_uuid[37];
static int64_t vm_domid = -1;

static int open_bus(const Stack *s, sd_bus **ret)
{
        int r = stack_bus_open(s, ret);

        return r < 0 ? log_errno(r, "Cannot reach the bus") : 0;
}

/* A VM is named by uuid, domain id or name; xenmgr alone knows names. */
static int find_vm(sd_bus *bus, const char *vm)
{
        VmCommand c = { .name = "oxt policy", .bus = bus };
        _cleanup_free_ char *path = NULL;
        int r;

        if (uuid_valid(vm)) {
                snprintf(vm_uuid, sizeof(vm_uuid), "%s", vm);
                return 0;
        }
        if (parse_i64(vm, &vm_domid) == 0)
                return 0;
        r = vmcommand_choose(&c, vm, &path);
        if (r < 0)
                return r;
        return uuid_from_path(path + strlen("/vm/"), vm_uuid) ? 0 : -EBADMSG;
}

static bool is_wanted(json_object *record)
{
        if (vm_uuid[0])
                return streq(json_get_text(record, "uuid", ""), vm_uuid);
        return vm_domid < 0 || json_get_int(record, "domid", -1) == vm_domid;
}

static void print_field(const char *name, const char *value)
{
        if (value)
                printf(" %s=%s", name, value);
}

static void print_record(json_object *o)
{
        static const char *const fields[] = { "sender", "destination", "path", "interface", "member", "arg0", "property" };
        json_object *near = json_get_member(o, "near", json_type_object);
        int64_t usec = json_get_int(o, "time", 0), omitted = json_get_int(o, "omitted", 0);
        time_t t = (time_t) (usec / (int64_t) USEC_PER_SEC);
        char when[64] = "";
        struct tm tm;

        if (!is_wanted(o))
                return;
        if (arg_json) {
                puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                return;
        }
        if (localtime_r(&t, &tm))
                strftime(when, sizeof(when), "%F %T", &tm);
        printf("%s domain %lld", when, (long long) json_get_int(o, "domid", -1));
        print_field("uuid", json_get_text(o, "uuid", NULL));
        printf(" %s %s-%s", json_get_text(o, "verdict", "deny"), json_get_text(o, "direction", "inc"),
               json_get_text(o, "type", "any"));
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                print_field(fields[i], json_get_text(o, fields[i], NULL));
        putchar('\n');
        if (json_get_text(o, "rule", NULL))
                printf("    rule %s:%lld: %s\n", json_get_text(o, "file", ""), (long long) json_get_int(o, "line", 0),
                       json_get_text(o, "rule", ""));
        else
                printf("    %s\n", json_get_text(o, "reason", "no rule matches"));
        if (near)
                printf("    near miss %s:%lld: %s\n    differs: %s\n", json_get_text(near, "file", ""),
                       (long long) json_get_int(near, "line", 0), json_get_text(near, "rule", ""),
                       json_get_text(near, "differs", ""));
        if (omitted > 0)
                printf("    %lld records before this one were left out\n", (long long) omitted);
}

static int get_records(sd_bus *bus, uint32_t n, json_object **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_json_ json_object *o = NULL;
        const char *text;
        int r;

        r = sd_bus_call_method(bus, PROXY_SERVICE, "/", PROXY_INTERFACE, "Denials", &error, &reply, "u", n);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return log_errno(r, "rpc-proxy did not answer: %s", error.message ? error.message : strerror(-r));
        r = json_parse(text, strlen(text), 16, &o);
        if (r < 0 || !json_object_is_type(o, json_type_array))
                return log_errno(-EBADMSG, "rpc-proxy's answer is no list of records");
        *ret = TAKE_PTR(o);
        return 0;
}

static int on_record(sd_bus_message *m, _unused_ void *userdata, _unused_ sd_bus_error *ret_error)
{
        _cleanup_json_ json_object *o = NULL;
        const char *text;

        if (sd_bus_message_read(m, "s", &text) >= 0 && json_parse(text, strlen(text), 16, &o) == 0)
                print_record(o);
        fflush(stdout);
        return 0;
}

static int follow(sd_bus *bus)
{
        int r;

        for (;;) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r < 0)
                        return log_errno(r, "Lost the bus");
        }
}

/* What both commands begin with. Returns 0, or negative with *ret_exit set. */
static int begin(const Program *program, int argc, char *argv[], Stack *ret, sd_bus **ret_bus, int *ret_exit)
{
        int r = stack_open(ret, program, argc, argv, ret_exit);

        if (r < 0) {
                *ret_exit = *ret_exit == 1 ? 2 : *ret_exit;
                return r;
        }
        *ret_exit = 2;
        r = open_bus(ret, ret_bus);
        if (r >= 0 && arg_vm)
                r = find_vm(*ret_bus, arg_vm);
        if (r < 0)
                stack_done(ret);
        return r;
}

int policy_log(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "vm", 0, "VM", OPTION_STRING, &arg_vm, "Only this VM: uuid, domain id or name", NULL },
                { "follow", 'f', NULL, OPTION_FLAG, &arg_follow, "Go on with what is denied from now on", NULL },
                { "lines", 'n', "N", OPTION_INT, &arg_lines, "How many records (default: 50)", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print a JSON object for each record", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt policy log", .synopsis = "[OPTIONS]", .options = options,
                                         .flags = PROGRAM_PERMUTE,
                                         .summary = "Shows the messages that rpc-proxy denied, the rule that decided, and the allow "
                                                    "rule that came closest." };
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_json_ json_object *records = NULL;
        int status, r;
        Stack s;

        r = begin(&program, argc, argv, &s, &bus, &status);
        if (r < 0)
                return status;
        if (arg_follow) {
                r = sd_bus_match_signal(bus, NULL, PROXY_SERVICE, "/", PROXY_INTERFACE, NULL, on_record, NULL);
                if (r < 0)
                        log_errno(r, "Cannot follow");
        }
        if (r >= 0)
                r = get_records(bus, RECORDS_MAX, &records);
        if (r >= 0) {
                size_t n = json_object_array_length(records), first = n;

                for (int64_t wanted = 0; first > 0 && wanted < arg_lines; first--)
                        wanted += is_wanted(json_object_array_get_idx(records, first - 1));
                for (; first < n; first++)
                        print_record(json_object_array_get_idx(records, first));
                fflush(stdout);
                if (arg_follow)
                        r = follow(bus);
        }
        stack_done(&s);
        return r < 0 ? 2 : 0;
}

static int print_rules(json_object *records)
{
        _cleanup_strv_ char **rules = NULL, **notes = NULL;
        _cleanup_json_ json_object *wanted = json_object_new_array();
        int r;

        for (size_t i = 0; i < json_object_array_length(records); i++) {
                json_object *o = json_object_array_get_idx(records, i);

                if (is_wanted(o))
                        json_object_array_add(wanted, json_object_get(o));
        }
        r = policy_learn(wanted, NULL, &rules, &notes);
        if (r < 0)
                return log_errno(r, "Cannot make rules");
        if (arg_json) {
                _cleanup_json_ json_object *o = json_object_new_object();
                json_object *l = json_object_new_array(), *n = json_object_new_array();

                for (char **x = rules; x && *x; x++)
                        json_object_array_add(l, json_object_new_string(*x));
                for (char **x = notes; x && *x; x++)
                        json_object_array_add(n, json_object_new_string(*x));
                json_object_object_add(o, "rules", l);
                json_object_object_add(o, "notes", n);
                puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                return 0;
        }
        for (char **x = notes; x && *x; x++)
                printf("# no rule for %s\n", *x);
        for (char **x = rules; x && *x; x++)
                puts(*x);
        return 0;
}

int policy_learn_rules(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "vm", 0, "VM", OPTION_STRING, &arg_vm, "Whose denials: uuid, domain id or name", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt policy learn", .synopsis = "--vm VM", .options = options,
                                         .flags = PROGRAM_PERMUTE,
                                         .summary = "Prints the smallest set of rules that would have allowed what was denied to a VM, "
                                                    "for review. It applies nothing." };
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_json_ json_object *records = NULL;
        int status, r;
        Stack s;

        r = begin(&program, argc, argv, &s, &bus, &status);
        if (r < 0)
                return status;
        if (!arg_vm) {
                fprintf(stderr, "oxt policy learn: which VM? (--vm)\n");
                r = -EINVAL;
        } else
                r = get_records(bus, RECORDS_MAX, &records);
        if (r >= 0)
                r = print_rules(records);
        stack_done(&s);
        return r < 0 ? 2 : 0;
}
