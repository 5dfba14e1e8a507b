/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A Service on one end of a socket pair, a plain sd-bus client on the other. */
#include <assert.h>
#include <sys/socket.h>

#include "service.h"
#include "strbuf.h"

static int64_t stored = 5;
static Call *kept;

static int method_add(Call *c)
{
        int32_t a, b;

        assert(sd_bus_message_read(c->message, "ii", &a, &b) > 0);
        return call_reply(c, "i", a + b);
}

static int method_nothing(_unused_ Call *c)
{
        return 1;
}

static int method_errno(_unused_ Call *c)
{
        return -ENOENT;
}

static int method_forget(_unused_ Call *c)
{
        return 0;
}

static int method_later(Call *c)
{
        kept = call_ref(c);
        return 0;
}

static int fill_rows(_unused_ Call *c, sd_bus_message *reply)
{
        int r = reply_add_row(reply, "id", "1", "name", NULL, NULL);

        return r < 0 ? r : reply_add_row(reply, "id", "/b", NULL);
}

static int fill_failing(Call *c, _unused_ sd_bus_message *reply)
{
        return call_fail(c, "a.b.Full", "no room");
}

static int fill_errno(_unused_ Call *c, _unused_ sd_bus_message *reply)
{
        return -ENOENT;
}

static int method_paths(Call *c)
{
        char *paths[] = { (char *) "/a", (char *) "/b", NULL };

        return call_reply_strv(c, 'o', paths);
}

static int method_no_texts(Call *c)
{
        return call_reply_strv(c, 's', NULL);
}

static int get_stored(_unused_ Call *c, _unused_ const BusProperty *p, sd_bus_message *reply)
{
        return sd_bus_message_append(reply, "x", stored);
}

static int set_stored(Call *c, _unused_ const BusProperty *p, sd_bus_message *value, const char *type)
{
        const char *text;

        if (streq(type, "x"))
                return sd_bus_message_read(value, "x", &stored) < 0 ? -EINVAL : 1;
        if (!streq(type, "s") || sd_bus_message_read(value, "s", &text) < 0)
                return call_fail(c, DBUS_ERROR_FAILED, "no number");
        stored = atoi(text);
        return 1;
}

static const BusMethod methods[] = { { "Add", "ii", "a b", "i", "sum", method_add, NULL },
                                     { "Nothing", "", "", "", "", method_nothing, NULL },
                                     { "Errno", "", "", "", "", method_errno, NULL },
                                     { "Forget", "", "", "", "", method_forget, NULL },
                                     { "Later", "", "", "s", "text", method_later, NULL },
                                     { "Many", "a{sv}(ii)", "map pair", "", "", method_nothing, NULL },
                                     { "Rows", "", "", "aa{ss}", "rows", NULL, NULL, .fill = fill_rows },
                                     { "FailingRows", "", "", "as", "rows", NULL, NULL, .fill = fill_failing },
                                     { "ErrnoRows", "", "", "as", "rows", NULL, NULL, .fill = fill_errno },
                                     { "Paths", "", "", "ao", "paths", method_paths, NULL },
                                     { "NoTexts", "", "", "as", "texts", method_no_texts, NULL },
                                     { 0 } };
static const BusProperty properties[] = { { "start-on-boot", "x", BUS_READWRITE, get_stored, set_stored, true, NULL },
                                          { "strict", "x", BUS_READWRITE, get_stored, set_stored, false, NULL },
                                          { "fixed", "x", BUS_READ, get_stored, NULL, false, NULL },
                                          { 0 } };
static const BusSignal signals[] = { { "Changed", "sx", "name value" }, { 0 } };
static const BusInterface interface = { "a.b", methods, properties, signals, NULL };
static const BusInterface *const interfaces[] = { &interface, NULL };

static const BusInterface *const *find(_unused_ void *userdata, const char *path, _unused_ void **ret_object)
{
        return streq(path, "/o") ? interfaces : NULL;
}

static int children(_unused_ void *userdata, const char *path, char ***ret)
{
        return streq(path, "/") ? strv_extend(ret, "o") : 0;
}

static const ServiceSpec spec = { .find = find, .children = children };

static sd_bus *client, *server;

/* Calls and runs both ends until the answer is there. The result is to be unreferenced. */
static sd_bus_message *call(const char *path, const char *i, const char *member, const char *signature, ...)
{
        sd_bus_message *m, *reply = NULL;
        uint64_t cookie, answers;
        va_list ap;

        assert(sd_bus_message_new_method_call(client, &m, NULL, path, i, member) >= 0);
        va_start(ap, signature);
        assert(sd_bus_message_appendv(m, signature, ap) >= 0);
        va_end(ap);
        assert(sd_bus_send(client, m, &cookie) >= 0);
        sd_bus_message_unref(m);
        for (int n = 0; n < 1000; n++) {
                sd_bus_message *in = NULL;

                while (sd_bus_process(server, NULL) > 0)
                        ;
                if (kept) {
                        call_reply(kept, "s", "late");
                        kept = call_unref(kept);
                }
                assert(sd_bus_process(client, &in) >= 0);
                if (in && sd_bus_message_get_reply_cookie(in, &answers) >= 0 && answers == cookie) {
                        reply = in;
                        break;
                }
                sd_bus_message_unref(in);
        }
        assert(reply);
        return reply;
}

static void expect_error(sd_bus_message *m, const char *name, const char *text)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);

        assert(e && streq(e->name, name));
        assert(!text || streq(e->message, text));
        sd_bus_message_unref(m);
}

static void expect_ok(sd_bus_message *m)
{
        assert(!sd_bus_message_is_method_error(m, NULL));
        sd_bus_message_unref(m);
}

static int64_t read_property(const char *name)
{
        sd_bus_message *m = call("/o", "org.freedesktop.DBus.Properties", "Get", "ss", "a.b", name);
        int64_t v;

        assert(sd_bus_message_read(m, "v", "x", &v) > 0);
        sd_bus_message_unref(m);
        return v;
}

static void test_calls(void)
{
        sd_bus_message *m = call("/o", "a.b", "Add", "ii", 2, 3);
        const char *text;
        int32_t sum;

        assert(sd_bus_message_read(m, "i", &sum) > 0 && sum == 5);
        sd_bus_message_unref(m);
        expect_ok(call("/o", "a.b", "Nothing", ""));
        expect_error(call("/o", "a.b", "Errno", ""), DBUS_ERROR_FAILED, "No such file or directory");
        expect_error(call("/o", "a.b", "Forget", ""), DBUS_ERROR_FAILED, NULL);
        m = call("/o", "a.b", "Later", "");
        assert(sd_bus_message_read(m, "s", &text) > 0 && streq(text, "late"));
        sd_bus_message_unref(m);
        expect_error(call("/o", "a.b", "Add", "i", 2), DBUS_ERROR_INVALID_ARGS, NULL);
        expect_error(call("/o", "a.b", "Missing", ""), DBUS_ERROR_UNKNOWN_METHOD, "Missing");
        expect_error(call("/o", "a.c", "Add", "ii", 1, 1), DBUS_ERROR_UNKNOWN_METHOD, "Add");
        expect_error(call("/o", NULL, "Add", "ii", 1, 1), DBUS_ERROR_UNKNOWN_METHOD, "Add");
        expect_error(call("/p", "a.b", "Add", "ii", 1, 1), DBUS_ERROR_UNKNOWN_OBJECT, "/p");
        expect_ok(call("/o", "org.freedesktop.DBus.Peer", "Ping", ""));
}

static void test_lists(void)
{
        sd_bus_message *m = call("/o", "a.b", "Rows", "");
        const char *key, *value;
        char **l = NULL;

        assert(sd_bus_message_has_signature(m, "aa{ss}") && sd_bus_message_enter_container(m, 'a', "a{ss}") > 0);
        assert(sd_bus_message_read(m, "a{ss}", 2, &key, &value, &key, &value) > 0 && streq(key, "name") && streq(value, ""));
        assert(sd_bus_message_read(m, "a{ss}", 1, &key, &value) > 0 && streq(key, "id") && streq(value, "/b"));
        assert(sd_bus_message_at_end(m, false) > 0);
        assert(sd_bus_message_rewind(m, true) >= 0 && reply_read_paths(m, "id", &l) == 0);
        assert(strv_length(l) == 1 && streq(l[0], "/b"));
        l = strv_free(l);
        assert(sd_bus_message_rewind(m, true) >= 0 && reply_read_paths(m, "none", &l) == 0 && !l);
        sd_bus_message_unref(m);
        expect_error(call("/o", "a.b", "FailingRows", ""), "a.b.Full", "no room");
        expect_error(call("/o", "a.b", "ErrnoRows", ""), DBUS_ERROR_FAILED, "No such file or directory");
        m = call("/o", "a.b", "Paths", "");
        assert(reply_read_paths(m, "id", &l) < 0 && !l && sd_bus_message_rewind(m, true) >= 0);
        assert(sd_bus_message_has_signature(m, "ao") && sd_bus_message_read(m, "ao", 2, &key, &value) > 0 &&
               streq(key, "/a") && streq(value, "/b"));
        sd_bus_message_unref(m);
        m = call("/o", "a.b", "NoTexts", "");
        assert(sd_bus_message_read_strv(m, &l) >= 0 && strv_length(l) == 0);
        strv_free(l);
        sd_bus_message_unref(m);
}

static void test_properties(void)
{
        sd_bus_message *m;
        int n = 0;

        expect_ok(call("/o", "org.freedesktop.DBus.Properties", "Set", "ssv", "a.b", "start-on-boot", "x", (int64_t) 7));
        assert(read_property("start-on-boot") == 7);
        expect_ok(call("/o", "org.freedesktop.DBus.Properties", "Set", "ssv", "a.b", "start-on-boot", "s", "9"));
        assert(read_property("fixed") == 9);
        expect_error(call("/o", "org.freedesktop.DBus.Properties", "Set", "ssv", "a.b", "strict", "s", "1"),
                     DBUS_ERROR_INVALID_ARGS, NULL);
        expect_error(call("/o", "org.freedesktop.DBus.Properties", "Set", "ssv", "a.b", "fixed", "x", (int64_t) 1),
                     DBUS_ERROR_INVALID_ARGS, NULL);
        expect_error(call("/o", "org.freedesktop.DBus.Properties", "Get", "ss", "a.b", "none"), DBUS_ERROR_INVALID_ARGS, NULL);
        expect_error(call("/o", "org.freedesktop.DBus.Properties", "GetAll", "s", "a.c"), DBUS_ERROR_INVALID_ARGS, NULL);
        assert(read_property("start-on-boot") == 9);
        m = call("/o", "org.freedesktop.DBus.Properties", "GetAll", "s", "a.b");
        assert(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        while (sd_bus_message_skip(m, "{sv}") > 0)
                n++;
        assert(n == 3);
        sd_bus_message_unref(m);
}

static void test_introspection(void)
{
        sd_bus_message *m = call("/o", "org.freedesktop.DBus.Introspectable", "Introspect", "");
        const char *xml;

        assert(sd_bus_message_read(m, "s", &xml) > 0);
        assert(strstr(xml, "<property name=\"start-on-boot\" type=\"x\" access=\"readwrite\"/>"));
        assert(strstr(xml, "<arg name=\"map\" type=\"a{sv}\" direction=\"in\"/>\n      <arg name=\"pair\" type=\"(ii)\" direction=\"in\"/>"));
        assert(strstr(xml, "<signal name=\"Changed\">\n      <arg name=\"name\" type=\"s\"/>\n      <arg name=\"value\" type=\"x\"/>"));
        sd_bus_message_unref(m);
        m = call("/", "org.freedesktop.DBus.Introspectable", "Introspect", "");
        assert(sd_bus_message_read(m, "s", &xml) > 0 && strstr(xml, "<node name=\"o\"/>"));
        sd_bus_message_unref(m);
        expect_error(call("/q", "org.freedesktop.DBus.Introspectable", "Introspect", ""), DBUS_ERROR_UNKNOWN_OBJECT, "/q");
}

int main(void)
{
        sd_id128_t id = SD_ID128_MAKE(00, 11, 22, 33, 44, 55, 66, 77, 88, 99, aa, bb, cc, dd, ee, ff);
        Service *service;
        int fds[2];

        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        assert(sd_bus_new(&server) >= 0 && sd_bus_set_fd(server, fds[0], fds[0]) >= 0);
        assert(sd_bus_set_server(server, true, id) >= 0 && sd_bus_start(server) >= 0);
        assert(sd_bus_new(&client) >= 0 && sd_bus_set_fd(client, fds[1], fds[1]) >= 0 && sd_bus_start(client) >= 0);
        assert(service_new(server, NULL, &spec, NULL, &service) >= 0);
        test_calls();
        test_lists();
        test_properties();
        test_introspection();
        service_free(service);
        sd_bus_close_unref(client);
        sd_bus_close_unref(server);
        return 0;
}
