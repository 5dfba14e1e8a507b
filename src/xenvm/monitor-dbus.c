/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor on D-Bus: every command as a method of org.xen.vm.uuid_U, notifications as signals. The bus
 * may go away and come back at any time; the VM does not notice.
 */
#include <stdlib.h>

#include "daemon.h"
#include "log.h"
#include "monitor.h"
#include "parse.h"
#include "strbuf.h"
#include "xenvm-commands.h"

#define RECONNECT_MIN_USEC (50 * USEC_PER_MSEC)
#define RECONNECT_MAX_USEC (1 * USEC_PER_SEC)
#define AGENT_MAX_USEC (5 * USEC_PER_SEC)
#define ARGUMENTS_MAX 64

typedef struct BusLink {
        Monitor *monitor;
        char *address;
        char name[64], path[64], agent[96];
        sd_bus *bus;      /* NULL: away */
        bool ready;       /* the name is ours */
        Service *service;
        sd_event_source *reconnect;
        sd_bus_slot *agent_call, *agent_match, *agent_query;
        uint64_t delay;
        BusMethod *methods;
        char **names;     /* of the methods */
        BusInterface interface;
        const BusInterface *interfaces[3];
} BusLink;

static void answer_call(Request *q, RequestResult result, const char *text)
{
        Call *c = TAKE_PTR(q->transport);

        switch (result) {
        case REQUEST_OK:
                (void) call_reply(c, text ? "s" : NULL, text);
                break;
        case REQUEST_UNKNOWN:
                (void) call_fail(c, DBUS_ERROR_UNKNOWN_METHOD, "%s", text);
                break;
        case REQUEST_BAD_ARGUMENTS:
        case REQUEST_FAILED:
                (void) call_fail(c, DBUS_ERROR_FAILED, "exception: %s", text);
        }
        call_unref(c);
}

/* a{ss} or a{sv} with texts, made into "name=value". */
static int read_arguments(sd_bus_message *m, char ***ret)
{
        bool variant = streq(sd_bus_message_get_signature(m, true), "a{sv}");
        _cleanup_strv_ char **l = NULL;
        int r;

        r = sd_bus_message_enter_container(m, 'a', variant ? "{sv}" : "{ss}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', variant ? "sv" : "ss")) > 0) {
                const char *name, *value;

                r = variant ? sd_bus_message_read(m, "sv", &name, "s", &value) : sd_bus_message_read(m, "ss", &name, &value);
                if (r >= 0 && strv_length(l) >= ARGUMENTS_MAX)
                        r = -E2BIG;
                if (r >= 0)
                        r = strv_extendf(&l, "%s=%s", name, value);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

static int run_method(Call *c)
{
        BusLink *b = c->userdata;
        _cleanup_strv_ char **arguments = NULL;
        Request *q;

        if (read_arguments(c->message, &arguments) < 0)
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "one dictionary of texts is expected");
        q = request_new(answer_call, call_ref(c));
        if (!q) {
                call_unref(c);
                return -ENOMEM;
        }
        command_run(b->monitor, q, c->method->name, arguments);
        request_unref(q);
        return 0;
}

static const BusInterface *const *find(void *userdata, _unused_ const char *path, void **ret_object)
{
        BusLink *b = userdata;

        *ret_object = b->monitor;
        return b->interfaces;
}

static const ServiceSpec service = { .find = find, .any_interface = true, .optional_interface = true };

static const BusSignal notify_signals[] = { { "notify", "sis", "uuid code message" }, { 0 } };
static const BusInterface notify_interface = { "xenvm.signal.notify", NULL, NULL, notify_signals, NULL };

static int make_method(BusLink *b, size_t i, const char *name)
{
        int r = strv_extend(&b->names, name);

        if (r < 0)
                return r;
        for (char *p = b->names[i]; *p; p++)
                if (*p == '-')
                        *p = '_';
        b->methods[i] = (BusMethod) { .name = b->names[i], .in = "a{ss}", .in_names = "params", .out = "s",
                                      .out_names = "rval", .run = run_method, .in_also = "a{sv}" };
        return 0;
}

static int make_methods(BusLink *b)
{
        size_t n = 0;
        int r = 0;

        for (const XenvmAlias *a = xenvm_aliases; a->name; a++)
                n++;
        b->methods = calloc(_XENVM_CMD_MAX + n + 1, sizeof *b->methods);
        if (!b->methods)
                return -ENOMEM;
        for (size_t i = 0; i < _XENVM_CMD_MAX + n && r >= 0; i++)
                r = make_method(b, i, i < _XENVM_CMD_MAX ? xenvm_commands[i].name : xenvm_aliases[i - _XENVM_CMD_MAX].name);
        b->interface = (BusInterface) { .name = b->name, .methods = b->methods };
        b->interfaces[0] = &b->interface;
        b->interfaces[1] = &notify_interface;
        return r;
}

int monitor_bus_emit(void *userdata, int code, const char *message)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        Monitor *m = userdata;

        if (!m->bus || !m->bus->ready)
                return -ENOTCONN;
        strbuf_add_utf8(&b, message); /* one that cannot be sent would keep back all that follow */
        return service_emit(m->bus->service, m->bus->path, "xenvm.signal.notify", "notify", "sis", m->uuid, code, strempty(b.data));
}

static void drop(BusLink *b)
{
        b->ready = false;
        b->agent_call = sd_bus_slot_unref(b->agent_call);
        b->agent_match = sd_bus_slot_unref(b->agent_match);
        b->agent_query = sd_bus_slot_unref(b->agent_query);
        b->service = service_free(b->service);
        if (b->bus) {
                sd_bus_detach_event(b->bus);
                b->bus = sd_bus_close_unref(b->bus);
        }
}

static int on_reconnect(sd_event_source *s, uint64_t usec, void *userdata);

static void schedule(BusLink *b)
{
        b->reconnect = sd_event_source_disable_unref(b->reconnect);
        if (sd_event_add_time_relative(b->monitor->event, &b->reconnect, CLOCK_MONOTONIC, b->delay, 0, on_reconnect, b) < 0)
                log_error("The bus cannot be tried again");
        b->delay = MIN2(b->delay * 2, RECONNECT_MAX_USEC);
}

static int on_filter(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        BusLink *b = userdata;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected") > 0) {
                log_warning("The bus is gone; connecting again");
                b->ready = false;
                b->delay = RECONNECT_MIN_USEC;
                schedule(b);
        }
        return 0;
}

static int on_name(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        BusLink *b = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        uint32_t answer = 0;

        if (e) { /* the connection broke, or policy denies the name */
                log_error("Cannot own the bus name %s: %s", b->name, strempty(e->message));
                return 0;
        }
        if (sd_bus_message_read(reply, "u", &answer) < 0 || (answer != 1 && answer != 4)) {
                log_error("The bus name %s is owned by another monitor", b->name);
                monitor_quit(b->monitor, 1);
                return 0;
        }
        b->ready = true;
        b->delay = RECONNECT_MIN_USEC;
        /* What waited goes first, in its order; then: commands are taken. */
        notify_bus_up(b->monitor->notify);
        if (b->monitor->failed_start)
                monitor_quit(b->monitor, 2);
        else
                notify_send(b->monitor->notify, NOTIFY_PING, "dbus-rpc-up");
        return 0;
}

/* The guest's agent: that it owns its name says that the guest has come so far. */

static int on_agent_owner(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        BusLink *b = userdata;
        const char *name, *old, *new;

        if (sd_bus_message_read(message, "sss", &name, &old, &new) >= 0 && *new)
                monitor_guest_reached(b->monitor, TIMELINE_AGENT);
        return 0;
}

static int on_agent_exists(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        BusLink *b = userdata;
        int exists = 0;

        if (sd_bus_message_read(reply, "b", &exists) >= 0 && exists)
                monitor_guest_reached(b->monitor, TIMELINE_AGENT);
        return 0;
}

static int follow_agent(BusLink *b)
{
        _cleanup_free_ char *rule = strformat("type='signal',sender='org.freedesktop.DBus',"
                                              "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'", b->agent);
        int r = rule ? sd_bus_add_match_async(b->bus, &b->agent_match, rule, on_agent_owner, NULL, b) : -ENOMEM;

        /* It may have come while no monitor was there. */
        if (r >= 0)
                r = sd_bus_call_method_async(b->bus, &b->agent_query, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                             "org.freedesktop.DBus", "NameHasOwner", on_agent_exists, b, "s", b->agent);
        return r;
}

static int connect_bus(BusLink *b)
{
        int r;

        r = bus_open(b->address, &b->bus);
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, b->monitor->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_filter(b->bus, NULL, on_filter, b);
        if (r >= 0)
                r = service_new(b->bus, NULL, &service, b, &b->service);
        if (r >= 0)
                r = follow_agent(b);
        if (r >= 0) /* 4: do not queue */
                r = sd_bus_call_method_async(b->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                             "org.freedesktop.DBus", "RequestName", on_name, b, "su", b->name, 4);
        return r;
}

static int on_reconnect(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        BusLink *b = userdata;

        drop(b);
        if (connect_bus(b) < 0) {
                drop(b);
                schedule(b);
        }
        return 0;
}

static int on_agent_reply(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        BusLink *b = userdata;

        b->agent_call = sd_bus_slot_unref(b->agent_call);
        op_agent_answered(b->monitor, !sd_bus_message_is_method_error(reply, NULL));
        return 0;
}

int monitor_bus_ask_agent(Monitor *m, const char *member)
{
        BusLink *b = m->bus;
        sd_bus_message *call = NULL;
        int r;

        if (!b || !b->ready)
                return -ENOTCONN;
        if (b->agent_call)
                return 0; /* it is still thinking */
        r = sd_bus_message_new_method_call(b->bus, &call, b->agent, "/", "com.citrix.xenclient.guest", member);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, false);
        if (r >= 0)
                r = sd_bus_call_async(b->bus, &b->agent_call, call, on_agent_reply, b, AGENT_MAX_USEC);
        sd_bus_message_unref(call);
        return r;
}

int monitor_bus_start(Monitor *m, const char *address)
{
        BusLink *b = calloc(1, sizeof *b);
        char uuid[37];
        int r;

        if (!b)
                return -ENOMEM;
        m->bus = b;
        b->monitor = m;
        b->delay = RECONNECT_MIN_USEC;
        b->address = strdup(address);
        (void) uuid_to_path(m->uuid, uuid);
        snprintf(b->name, sizeof b->name, "org.xen.vm.uuid_%s", uuid);
        snprintf(b->path, sizeof b->path, "/org/xen/vm/%s", uuid);
        snprintf(b->agent, sizeof b->agent, "com.citrix.xenclient.guest.uuid_%s", uuid);
        r = b->address ? make_methods(b) : -ENOMEM;
        if (r >= 0)
                r = connect_bus(b);
        if (r < 0) {
                log_warning("There is no bus at %s (%s); trying again", address, strerror(-r));
                drop(b);
                schedule(b);
        }
        return 0;
}

void monitor_bus_stop(Monitor *m)
{
        BusLink *b = TAKE_PTR(m->bus);

        if (!b)
                return;
        if (b->bus)
                (void) sd_bus_flush(b->bus);
        drop(b);
        sd_event_source_disable_unref(b->reconnect);
        free(b->address);
        free(b->methods);
        strv_free(b->names);
        free(b);
}
