/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <stdarg.h>

#include "list.h"
#include "log.h"
#include "strbuf.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"
#define PEER "org.freedesktop.DBus.Peer"

/* Calls of one sender whose identity is being asked for; more than this is a flood. */
#define WAITING_MAX 1024

struct Service {
        sd_bus *bus;
        sd_bus_slot *filter;
        CallerMap *callers;
        const ServiceSpec *spec;
        void *userdata;
        struct Waiting *waiting;
        unsigned n_waiting;
};

/* A call that waits until it is known who sent it. */
typedef struct Waiting {
        Service *service;
        sd_bus_message *message;
        struct Waiting *next, **pprev;
} Waiting;

Call *call_ref(Call *c)
{
        c->refs++;
        return c;
}

Call *call_unref(Call *c)
{
        if (!c || --c->refs > 0)
                return NULL;
        if (!c->replied) {
                log_debug("A call of %s was given up without an answer", strempty(sd_bus_message_get_member(c->message)));
                call_fail(c, DBUS_ERROR_FAILED, "The call could not be completed");
        }
        sd_bus_message_unref(c->message);
        free(c);
        return NULL;
}

static bool call_wants_reply(Call *c)
{
        return sd_bus_message_get_expect_reply(c->message) > 0;
}

int call_new_reply(Call *c, sd_bus_message **ret)
{
        return sd_bus_message_new_method_return(c->message, ret);
}

int call_reply_message(Call *c, sd_bus_message *reply)
{
        int r = 0;

        if (!c->replied && call_wants_reply(c))
                r = sd_bus_send(sd_bus_message_get_bus(c->message), reply, NULL);
        c->replied = true;
        sd_bus_message_unref(reply);
        if (r < 0)
                log_debug("Cannot send a reply: %s", strerror(-r));
        return 0;
}

int call_reply(Call *c, const char *signature, ...)
{
        sd_bus_message *reply = NULL;
        va_list ap;
        int r;

        if (c->replied)
                return 0;
        r = call_new_reply(c, &reply);
        if (r >= 0 && signature && signature[0]) {
                va_start(ap, signature);
                r = sd_bus_message_appendv(reply, signature, ap);
                va_end(ap);
        }
        if (r < 0) {
                sd_bus_message_unref(reply);
                return call_fail(c, DBUS_ERROR_FAILED, "The answer cannot be sent over D-Bus: %s", strerror(-r));
        }
        return call_reply_message(c, reply);
}

int call_fail(Call *c, const char *error_name, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        va_list ap;
        int r;

        if (c->replied)
                return 0;
        c->replied = true;
        if (!call_wants_reply(c))
                return 0;
        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        /* A path in it can have any bytes, and D-Bus carries no others than UTF-8. */
        strbuf_add_utf8(&b, text ? text : "Out of memory");
        sd_bus_error_set(&error, error_name, b.oom ? "Out of memory" : strempty(b.data));
        r = sd_bus_reply_method_error(c->message, &error);
        sd_bus_error_free(&error);
        if (r < 0)
                log_debug("Cannot send an error: %s", strerror(-r));
        return 0;
}

/* Introspection */

static void xml_args(StrBuf *b, const char *signature, const char *names, const char *direction)
{
        while (*signature) {
                const char *start = signature;
                int depth = 0;
                size_t n;

                /* One complete type: array and dict prefixes, then a basic type or a container. */
                while (*signature == 'a')
                        signature++;
                do {
                        if (*signature == '(' || *signature == '{')
                                depth++;
                        if (*signature == ')' || *signature == '}')
                                depth--;
                        signature++;
                } while (depth > 0 && *signature);
                n = strcspn(names, " ");
                strbuf_add(b, "      <arg");
                if (n > 0)
                        strbuf_addf(b, " name=\"%.*s\"", (int) n, names);
                strbuf_addf(b, " type=\"%.*s\"", (int) (signature - start), start);
                if (direction)
                        strbuf_addf(b, " direction=\"%s\"", direction);
                strbuf_add(b, "/>\n");
                names += n;
                names += *names == ' ';
        }
}

static void xml_interface(StrBuf *b, const BusInterface *i)
{
        static const char *const access[] = { "", "read", "write", "readwrite" };

        strbuf_addf(b, "  <interface name=\"%s\">\n", i->name);
        for (const BusMethod *m = i->methods; m && m->name; m++) {
                if (!m->in[0] && !m->out[0]) {
                        strbuf_addf(b, "    <method name=\"%s\"/>\n", m->name);
                        continue;
                }
                strbuf_addf(b, "    <method name=\"%s\">\n", m->name);
                xml_args(b, m->in, m->in_names, "in");
                xml_args(b, m->out, m->out_names, "out");
                strbuf_add(b, "    </method>\n");
        }
        for (const BusSignal *s = i->signals; s && s->name; s++) {
                if (!s->signature[0]) {
                        strbuf_addf(b, "    <signal name=\"%s\"/>\n", s->name);
                        continue;
                }
                strbuf_addf(b, "    <signal name=\"%s\">\n", s->name);
                xml_args(b, s->signature, s->names, NULL);
                strbuf_add(b, "    </signal>\n");
        }
        for (const BusProperty *p = i->properties; p && p->name; p++)
                strbuf_addf(b, "    <property name=\"%s\" type=\"%s\" access=\"%s\"/>\n", p->name, p->signature,
                            access[p->access]);
        strbuf_add(b, "  </interface>\n");
}

static const BusMethod introspectable_methods[] = { { "Introspect", "", "", "s", "xml_data", NULL, NULL }, { 0 } };
static const BusMethod peer_methods[] = { { "Ping", "", "", "", "", NULL, NULL },
                                          { "GetMachineId", "", "", "s", "machine_uuid", NULL, NULL },
                                          { 0 } };
static const BusMethod properties_methods[] = {
        { "Get", "ss", "interface_name property_name", "v", "value", NULL, NULL },
        { "GetAll", "s", "interface_name", "a{sv}", "properties", NULL, NULL },
        { "Set", "ssv", "interface_name property_name value", "", "", NULL, NULL },
        { 0 }
};
static const BusSignal properties_signals[] = {
        { "PropertiesChanged", "sa{sv}as", "interface_name changed_properties invalidated_properties" }, { 0 }
};
static const BusInterface introspectable = { INTROSPECTABLE, introspectable_methods, NULL, NULL, NULL };
static const BusInterface peer = { PEER, peer_methods, NULL, NULL, NULL };
static const BusInterface properties = { PROPERTIES, properties_methods, NULL, properties_signals, NULL };

/* The XML of an object, as Introspect gives it. */
static int service_introspect(const BusInterface *const *interfaces, char *const *children, char **ret)
{
        StrBuf b = STRBUF_INIT;
        bool has_properties = false;

        strbuf_add(&b, "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
                       "\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n");
        for (; interfaces && *interfaces; interfaces++) {
                xml_interface(&b, *interfaces);
                has_properties |= (*interfaces)->properties != NULL;
        }
        xml_interface(&b, &introspectable);
        xml_interface(&b, &peer);
        if (has_properties) /* last, as the contract has it */
                xml_interface(&b, &properties);
        for (; children && *children; children++)
                strbuf_addf(&b, "  <node name=\"%s\"/>\n", *children);
        strbuf_add(&b, "</node>\n");
        return strbuf_take(&b, ret);
}

/* Dispatch */

static int fail_bad_arguments(Call *c, const char *expected)
{
        const ServiceSpec *spec = c->service->spec;
        const char *error = spec->bad_arguments_error ? spec->bad_arguments_error : DBUS_ERROR_INVALID_ARGS;

        if (spec->bad_arguments_text)
                return call_fail(c, error, "%s", spec->bad_arguments_text);
        return call_fail(c, error, "%s takes arguments of signature '%s', not '%s'",
                         sd_bus_message_get_member(c->message), expected,
                         strempty(sd_bus_message_get_signature(c->message, true)));
}

static int fail_unknown_method(Call *c)
{
        const ServiceSpec *spec = c->service->spec;

        return call_fail(c, DBUS_ERROR_UNKNOWN_METHOD, "%s",
                         spec->unknown_method_text ? spec->unknown_method_text : sd_bus_message_get_member(c->message));
}

static const BusProperty *interface_find_property(const BusInterface *i, const char *name)
{
        for (const BusProperty *p = i->properties; p && p->name; p++)
                if (streq(p->name, name))
                        return p;
        return NULL;
}

static const char *property_error(const Service *s)
{
        return s->spec->property_error ? s->spec->property_error : DBUS_ERROR_INVALID_ARGS;
}

/* An empty interface name means: the first that has the property, as D-Bus allows. */
static const BusProperty *find_property(Call *c, const BusInterface *const *interfaces, const char *interface,
                                        const char *name)
{
        for (; *interfaces; interfaces++) {
                const BusProperty *p;

                if (interface[0] && !streq((*interfaces)->name, interface))
                        continue;
                p = interface_find_property(*interfaces, name);
                if (p) {
                        c->interface = *interfaces;
                        return p;
                }
        }
        call_fail(c, property_error(c->service), "there is no property %s in interface %s", name, interface);
        return NULL;
}

static int check_call(Call *c)
{
        return c->service->spec->check ? c->service->spec->check(c, c->userdata) : 0;
}

static int append_property(Call *c, const BusProperty *p, sd_bus_message *reply)
{
        int r;

        r = sd_bus_message_open_container(reply, 'v', p->signature);
        if (r >= 0)
                r = p->get(c, p, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int properties_get(Call *c, const BusInterface *const *interfaces)
{
        sd_bus_message *reply = NULL;
        const char *interface, *name;
        const BusProperty *p;
        int r;

        if (sd_bus_message_read(c->message, "ss", &interface, &name) < 0)
                return fail_bad_arguments(c, "ss");
        p = find_property(c, interfaces, interface, name);
        if (!p || check_call(c) < 0)
                return 0;
        if (!(p->access & BUS_READ))
                return call_fail(c, property_error(c->service), "property %s cannot be read", name);
        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = append_property(c, p, reply);
        if (r < 0 || c->replied) {
                sd_bus_message_unref(reply);
                return r < 0 ? r : 0;
        }
        return call_reply_message(c, reply);
}

static int properties_get_all(Call *c, const BusInterface *const *interfaces)
{
        sd_bus_message *reply = NULL;
        const char *interface;
        bool known = false;
        int r;

        if (sd_bus_message_read(c->message, "s", &interface) < 0)
                return fail_bad_arguments(c, "s");
        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        for (; r >= 0 && *interfaces; interfaces++) {
                if (interface[0] && !streq((*interfaces)->name, interface))
                        continue;
                known = true;
                c->interface = *interfaces;
                if (check_call(c) < 0)
                        goto finish;
                for (const BusProperty *p = (*interfaces)->properties; r >= 0 && p && p->name; p++) {
                        if (!(p->access & BUS_READ))
                                continue;
                        r = sd_bus_message_open_container(reply, 'e', "sv");
                        if (r >= 0)
                                r = sd_bus_message_append_basic(reply, 's', p->name);
                        if (r >= 0)
                                r = append_property(c, p, reply);
                        if (r >= 0)
                                r = sd_bus_message_close_container(reply);
                        if (c->replied)
                                goto finish;
                }
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0)
                goto finish;
        if (!known && !(streq(interface, INTROSPECTABLE) || streq(interface, PEER) || streq(interface, PROPERTIES))) {
                call_fail(c, property_error(c->service), "there is no interface %s", interface);
                goto finish;
        }
        return call_reply_message(c, TAKE_PTR(reply));
finish:
        sd_bus_message_unref(reply);
        return r < 0 ? r : 0;
}

static int properties_set(Call *c, const BusInterface *const *interfaces)
{
        const char *interface, *name, *type;
        const BusProperty *p;
        int r;

        if (sd_bus_message_read(c->message, "ss", &interface, &name) < 0 ||
            sd_bus_message_peek_type(c->message, NULL, &type) < 0)
                return fail_bad_arguments(c, "ssv");
        p = find_property(c, interfaces, interface, name);
        if (!p || check_call(c) < 0)
                return 0;
        if (!(p->access & BUS_WRITE) || !p->set)
                return call_fail(c, property_error(c->service), "property %s cannot be written", name);
        if (!p->accept_any && !streq(type, p->signature))
                return call_fail(c, property_error(c->service), "property %s takes a value of type '%s', not '%s'", name,
                                 p->signature, type);
        r = sd_bus_message_enter_container(c->message, 'v', type);
        if (r < 0)
                return r;
        r = p->set(c, p, c->message, type);
        return r > 0 ? call_reply(c, NULL) : r;
}

static int serve_introspect(Call *c, const BusInterface *const *interfaces)
{
        const ServiceSpec *spec = c->service->spec;
        _cleanup_strv_ char **children = NULL;
        _cleanup_free_ char *xml = NULL;
        int r = 0;

        if (spec->children)
                r = spec->children(c->userdata, call_path(c), &children);
        if (r >= 0)
                r = service_introspect(interfaces, children, &xml);
        return r < 0 ? r : call_reply(c, "s", xml);
}

static int serve_standard(Call *c, const BusInterface *const *interfaces, const char *interface, const char *member)
{
        const char *signature = strempty(sd_bus_message_get_signature(c->message, true));

        if (streq(interface, INTROSPECTABLE) && streq(member, "Introspect"))
                return signature[0] ? fail_bad_arguments(c, "") : serve_introspect(c, interfaces);
        if (streq(interface, PEER)) {
                sd_id128_t id;

                if (streq(member, "Ping"))
                        return call_reply(c, NULL);
                if (streq(member, "GetMachineId") && sd_id128_get_machine(&id) >= 0) {
                        char text[SD_ID128_STRING_MAX];

                        return call_reply(c, "s", sd_id128_to_string(id, text));
                }
                return fail_unknown_method(c);
        }
        if (streq(interface, PROPERTIES)) {
                if (streq(member, "Get"))
                        return streq(signature, "ss") ? properties_get(c, interfaces) : fail_bad_arguments(c, "ss");
                if (streq(member, "GetAll"))
                        return streq(signature, "s") ? properties_get_all(c, interfaces) : fail_bad_arguments(c, "s");
                if (streq(member, "Set"))
                        return streq(signature, "ssv") ? properties_set(c, interfaces) : fail_bad_arguments(c, "ssv");
        }
        return fail_unknown_method(c);
}

static int serve(Call *c)
{
        const ServiceSpec *spec = c->service->spec;
        const char *interface = sd_bus_message_get_interface(c->message);
        const char *member = sd_bus_message_get_member(c->message);
        const BusInterface *const *interfaces;

        interfaces = spec->find(c->userdata, call_path(c), &c->object);
        if (!interfaces) {
                _cleanup_strv_ char **children = NULL;

                /* Nodes on the way to an object answer Introspect, so that browsing tools find it. */
                if (streq_ptr(interface, INTROSPECTABLE) && spec->children &&
                    spec->children(c->userdata, call_path(c), &children) >= 0 && strv_length(children) > 0) {
                        static const BusInterface *const none[] = { NULL };

                        return serve_introspect(c, none);
                }
                return call_fail(c, DBUS_ERROR_UNKNOWN_OBJECT, "%s", call_path(c));
        }
        if (!interface && !spec->optional_interface && !spec->any_interface)
                return fail_unknown_method(c);
        if (interface && (streq(interface, INTROSPECTABLE) || streq(interface, PEER) || streq(interface, PROPERTIES)))
                return serve_standard(c, interfaces, interface, member);
        for (; *interfaces; interfaces++) {
                if (interface && !spec->any_interface && !streq((*interfaces)->name, interface))
                        continue;
                for (const BusMethod *m = (*interfaces)->methods; m && m->name; m++) {
                        const char *signature;
                        int r;

                        if (!streq(m->name, member))
                                continue;
                        c->interface = *interfaces;
                        c->method = m;
                        signature = strempty(sd_bus_message_get_signature(c->message, true));
                        if (!streq(signature, m->in) && !(m->in_also && streq(signature, m->in_also)))
                                return fail_bad_arguments(c, m->in);
                        if (check_call(c) < 0)
                                return 0;
                        r = m->run ? m->run(c) : call_reply_array(c, m->out + 1, m->fill);
                        return r > 0 ? call_reply(c, NULL) : r;
                }
        }
        return fail_unknown_method(c);
}

static void dispatch(Service *s, sd_bus_message *message, const Caller *caller)
{
        Call *c = calloc(1, sizeof *c);
        int r;

        if (!c) {
                log_oom();
                return;
        }
        *c = (Call) { .refs = 1, .service = s, .message = sd_bus_message_ref(message), .caller = *caller,
                      .userdata = s->userdata };
        r = serve(c);
        if (r < 0)
                call_fail(c, DBUS_ERROR_FAILED, "%s", strerror(-r));
        call_unref(c);
}

static void refuse(sd_bus_message *message)
{
        log_warning("A call of %s was refused: it comes from the proxy's user, but no VM is named for it",
                    strempty(sd_bus_message_get_sender(message)));
        (void) sd_bus_reply_method_errorf(message, DBUS_ERROR_ACCESS_DENIED,
                                          "This connection does not say which VM it serves");
}

static void waiting_free(Waiting *w)
{
        LIST_UNLINK(w);
        w->service->n_waiting--;
        sd_bus_message_unref(w->message);
        free(w);
}

static void identified(Service *s, sd_bus_message *message, const Caller *caller)
{
        if (!caller->proxy || s->spec->serves_proxy)
                dispatch(s, message, caller);
        else
                (void) sd_bus_reply_method_errorf(message, DBUS_ERROR_ACCESS_DENIED, "rpc-proxy has no business here");
}

static void on_known(void *userdata)
{
        Waiting *w = userdata;
        Caller caller;

        if (callermap_lookup(w->service->callers, sd_bus_message_get_sender(w->message), &caller, NULL, NULL) < 0)
                refuse(w->message);
        else
                identified(w->service, w->message, &caller);
        waiting_free(w);
}

static int on_message(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        Service *s = userdata;
        const char *sender = sd_bus_message_get_sender(message);
        Caller caller = { .uuid = "00000000-0000-0000-0000-000000000000" };
        Waiting *w;
        uint8_t type;
        int r = 0;

        if (sd_bus_message_get_type(message, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        if (s->callers) {
                w = s->n_waiting < WAITING_MAX ? calloc(1, sizeof *w) : NULL;
                if (!w) {
                        (void) sd_bus_reply_method_errorf(message, DBUS_ERROR_LIMITS_EXCEEDED,
                                                          "Too many calls are waiting");
                        return 1;
                }
                r = callermap_lookup(s->callers, sender, &caller, on_known, w);
                if (r == -EAGAIN) {
                        *w = (Waiting) { .service = s, .message = sd_bus_message_ref(message) };
                        LIST_LINK(s->waiting, w);
                        s->n_waiting++;
                        return 1;
                }
                free(w);
        }
        if (r < 0)
                refuse(message);
        else
                identified(s, message, &caller);
        return 1;
}

int service_new(sd_bus *bus, CallerMap *callers, const ServiceSpec *spec, void *userdata, Service **ret)
{
        _cleanup_(service_freep) Service *s = calloc(1, sizeof *s);
        int r;

        if (!s)
                return -ENOMEM;
        *s = (Service) { .bus = sd_bus_ref(bus), .callers = callers, .spec = spec, .userdata = userdata };
        r = sd_bus_add_filter(bus, &s->filter, on_message, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Service *service_free(Service *s)
{
        if (!s)
                return NULL;
        while (s->waiting) {
                if (s->callers)
                        callermap_cancel(s->callers, s->waiting);
                waiting_free(s->waiting);
        }
        sd_bus_slot_unref(s->filter);
        sd_bus_unref(s->bus);
        free(s);
        return NULL;
}

int service_emit(Service *s, const char *path, const char *interface, const char *member, const char *signature, ...)
{
        sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_signal(s->bus, &m, path, interface, member);
        if (r >= 0 && signature && signature[0]) {
                va_start(ap, signature);
                r = sd_bus_message_appendv(m, signature, ap);
                va_end(ap);
        }
        if (r >= 0)
                r = sd_bus_send(s->bus, m, NULL);
        sd_bus_message_unref(m);
        return r < 0 ? r : 0;
}
