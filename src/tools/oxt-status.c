/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt status: what the supervisor, xenmgr and rpc-proxy tell. */
#include <time.h>

#include "daemons.h"
#include "json.h"
#include "log.h"
#include "oxt.h"
#include "supervisor.h"
#include "units.h"
#include "vms.h"

#define PROXY_SERVICE "com.citrix.xenclient.rpc_proxy"

static bool arg_json;

static json_object *daemon_to_json(DaemonId id, const char *state, const DaemonRecord *r, const char *last_end)
{
        json_object *d = json_object_new_object();

        json_object_object_add(d, "name", json_object_new_string(daemon_table[id].name));
        json_object_object_add(d, "state", json_object_new_string(state));
        json_object_object_add(d, "pid", json_object_new_int((int) r->pid));
        json_object_object_add(d, "since", json_object_new_int64(r->since));
        json_object_object_add(d, "restarts", json_object_new_int64(r->restarts));
        json_object_object_add(d, "last_end", json_object_new_string(last_end));
        return d;
}

/* Without a supervisor the records, or systemd where it runs the daemons, still tell what runs. */
static json_object *status_without_supervisor(const Stack *s, sd_bus *bus)
{
        json_object *o = json_object_new_object(), *list = json_object_new_array();
        bool units = units_used(s), ready = units;

        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                DaemonRecord r = { 0 };
                UnitInfo info;
                int fd;

                if (!daemon_wanted(s, id))
                        continue;
                if (units) {
                        if (!bus || unit_info(bus, id, &info) < 0)
                                info = (UnitInfo) { .state = "unknown" };
                        ready &= streq(info.state, "ready");
                        json_object_array_add(list, daemon_to_json(id, info.state, &info.record, info.last_end));
                        continue;
                }
                fd = daemon_record_open(&s->paths, id, &r);
                json_object_array_add(list, daemon_to_json(id, fd >= 0 ? "unsupervised" : "ended", &r, ""));
                safe_close(fd);
        }
        json_object_object_add(o, "pid", json_object_new_int(units ? 1 : 0));
        json_object_object_add(o, "ready", json_object_new_boolean(ready));
        json_object_object_add(o, "daemons", list);
        return o;
}

static json_object *get_supervisor(const Stack *s, sd_bus *bus)
{
        _cleanup_free_ char *text = NULL;
        json_object *o;

        if (supervisor_call(&s->paths, "status", 5 * USEC_PER_SEC, &text) >= 0 && json_parse(text, strlen(text), 8, &o) >= 0)
                return o;
        return status_without_supervisor(s, bus);
}

static json_object *text_or_null(const char *s)
{
        return s ? json_object_new_string(s) : NULL;
}

/* NULL: xenmgr does not answer. */
static json_object *get_vms(sd_bus *bus)
{
        _cleanup_(vmlist_done) VmList l = { 0 };
        json_object *list;

        if (!bus || vmlist_get(bus, &l) < 0)
                return NULL;
        list = json_object_new_array();
        for (size_t i = 0; i < l.n; i++) {
                json_object *o = json_object_new_object();

                json_object_object_add(o, "name", text_or_null(l.vm[i].name));
                json_object_object_add(o, "uuid", text_or_null(l.vm[i].uuid));
                json_object_object_add(o, "state", text_or_null(l.vm[i].state));
                json_object_object_add(o, "domid", json_object_new_int(l.vm[i].domid));
                json_object_object_add(o, "memory", json_object_new_int(l.vm[i].memory));
                json_object_object_add(o, "path", text_or_null(l.vm[i].path));
                json_object_array_add(list, o);
        }
        return list;
}

/* NULL: rpc-proxy does not answer. */
static json_object *get_proxy(sd_bus *bus)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        json_object *o = NULL;
        const char *text;

        if (bus && sd_bus_call_method(bus, PROXY_SERVICE, "/", "org.oxt.RpcProxy1", "Status", NULL, &reply, NULL) >= 0 &&
            sd_bus_message_read_basic(reply, 's', &text) > 0)
                (void) json_parse(text, strlen(text), 16, &o);
        return o;
}

static void print_age(int64_t since)
{
        int64_t s = since > 0 ? (int64_t) time(NULL) - since : 0;
        char text[32];

        if (s < 120)
                snprintf(text, sizeof text, "%lld s", (long long) s);
        else if (s < 7200)
                snprintf(text, sizeof text, "%lld min", (long long) s / 60);
        else
                snprintf(text, sizeof text, "%lld h", (long long) s / 3600);
        printf("%-8s", text);
}

static void print_daemons(json_object *o)
{
        json_object *list = json_get_member(o, "daemons", json_type_array);

        printf("%-12s %-12s %-8s %-8s %-8s %s\n", "DAEMON", "STATE", "PID", "SINCE", "RESTARTS", "LAST END");
        for (size_t i = 0; list && i < json_object_array_length(list); i++) {
                json_object *d = json_object_array_get_idx(list, i);

                printf("%-12s %-12s %-8d ", json_get_text(d, "name", "?"), json_get_text(d, "state", "?"), (int) json_get_int(d, "pid", 0));
                print_age(json_get_int(d, "pid", 0) ? json_get_int(d, "since", 0) : 0);
                printf(" %-8d %s\n", (int) json_get_int(d, "restarts", 0), json_get_text(d, "last_end", ""));
        }
        if (json_get_int(o, "pid", 0) == 0)
                printf("There is no supervisor: nothing restarts what ends (oxt up)\n");
}

static void print_vms(json_object *list)
{
        if (!list) {
                printf("\nVMs: xenmgr does not answer\n");
                return;
        }
        printf("\n%-20s %-36s %-6s %-10s %s\n", "VM", "UUID", "DOMID", "STATE", "MEMORY");
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *o = json_object_array_get_idx(list, i);

                printf("%-20s %-36s %-6d %-10s %d MiB\n", json_get_text(o, "name", "?"), json_get_text(o, "uuid", "?"),
                       (int) json_get_int(o, "domid", -1), json_get_text(o, "state", "?"), (int) json_get_int(o, "memory", 0));
        }
}

static long long count_of(json_object *o, const char *member)
{
        return (long long) json_get_int(o, member, 0);
}

static void print_proxy(json_object *o)
{
        json_object *rules = json_get_member(o, "rules", json_type_object), *clients = json_get_member(o, "clients", json_type_array);
        const char *error = json_get_text(rules, "error", NULL);

        if (!o) {
                printf("\nGuest channels: rpc-proxy does not answer\n");
                return;
        }
        printf("\nGuest channels: %lld, with %lld connections; %lld messages so far, %lld denied%s\n", count_of(o, "channels"),
               count_of(o, "connections"), count_of(o, "messages"), count_of(o, "denied"),
               count_of(o, "denied") > 0 ? " (oxt policy log)" : "");
        printf("Rules: %lld of %s%s%s\n", count_of(rules, "count"), json_get_text(rules, "file", "?"), error ? "; " : "", strempty(error));
        if (!json_get_bool(o, "database", false))
                printf("rpc-proxy does not have the database: rules of VMs are not in force\n");
        if (!clients || json_object_array_length(clients) == 0)
                return;
        printf("\n%-36s %-6s %-12s %-8s %-8s %s\n", "GUEST", "DOMID", "CONNECTIONS", "WAITING", "DENIED", "");
        for (size_t i = 0; i < json_object_array_length(clients); i++) {
                json_object *c = json_object_array_get_idx(clients, i);

                printf("%-36s %-6lld %-12lld %-8lld %-8lld %s\n", json_get_text(c, "uuid", "?"), count_of(c, "domid"),
                       count_of(c, "connections"), count_of(c, "in_flight"), count_of(c, "denied"), json_get_text(c, "error", ""));
        }
}

int oxt_status(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = { { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print one JSON value, for scripts", NULL }, { 0 } };
        static const Program program = { .name = "oxt status", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Shows daemons, VMs, guest channels and denied calls.",
                                         .footer = "The exit status is 0 when every daemon is ready, else 3." };
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_json_ json_object *all = NULL;
        json_object *up, *vms, *proxy;
        int status;
        Stack s;

        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        if (stack_bus_open(&s, &bus) < 0)
                bus = NULL;
        up = get_supervisor(&s, bus);
        vms = get_vms(bus);
        proxy = get_proxy(bus);
        all = json_object_new_object();
        json_object_object_add(all, "version", json_object_new_int(1));
        json_object_object_add(all, "state_dir", json_object_new_string(paths_get(&s.paths, PATH_STATE)));
        json_object_object_add(all, "runtime_dir", json_object_new_string(paths_get(&s.paths, PATH_RUNTIME)));
        json_object_object_add(all, "bus", json_object_new_string(s.private_bus ? "private" : "system"));
        json_object_object_add(all, "supervisor", up);
        json_object_object_add(all, "vms", vms);
        json_object_object_add(all, "proxy", proxy);
        if (arg_json)
                puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
        else {
                print_daemons(up);
                print_vms(vms);
                print_proxy(proxy);
        }
        stack_done(&s);
        return json_get_bool(up, "ready", false) ? 0 : 3;
}
