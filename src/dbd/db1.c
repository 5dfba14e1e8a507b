/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.oxt.Db1: transactions, watches and what tools need. Its members are documented in db-client.h. */
#include "db-client.h"
#include "server.h"

static int method_watch(Call *c)
{
        Server *s = c->userdata;
        const char *path;
        uint64_t last;
        bool missed;
        char *full;
        Watch *w;
        int r;

        r = sd_bus_message_read(c->message, "st", &path, &last);
        if (r >= 0)
                r = caller_path(c, path, &full);
        if (r >= 0)
                r = watch_add(s, c, full, last, &w, &missed);
        return r < 0 ? r : call_reply(c, "ttb", watch_id(w), s->revision, (int) missed);
}

static int method_unwatch(Call *c)
{
        uint64_t id;
        int r;

        r = sd_bus_message_read(c->message, "t", &id);
        if (r < 0)
                return r;
        if (!watch_remove(c->userdata, sd_bus_message_get_sender(c->message), id))
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "This connection has no watch %llu", (unsigned long long) id);
        return 1;
}

static int read_snapshot(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        _cleanup_free_ char *text = NULL;
        const Node *n = tree_find(&s->tree, full);
        StrBuf b = STRBUF_INIT;
        int r;

        /* Nothing at all for a missing node: "null" is a node that is empty. */
        if (n)
                json_write_bounded(&b, n, SIZE_MAX);
        limit_charge(s, c, b.len);
        r = strbuf_take(&b, &text);
        if (r >= 0)
                r = call_new_reply(c, ret);
        return r < 0 ? r : sd_bus_message_append(*ret, "ts", s->revision, text);
}

static int method_snapshot(Call *c)
{
        return server_read(c, read_snapshot);
}

static OperationKind operation_find(const char *name)
{
        OperationKind k;

        for (k = 0; k < _OPERATION_MAX; k++)
                if (streq(operation_names[k], name))
                        break;
        return k;
}

static int count_operations(Call *c, size_t *ret)
{
        int r = sd_bus_message_enter_container(c->message, 'a', "(sss)");
        size_t n = 0;

        while (r >= 0 && (r = sd_bus_message_skip(c->message, "(sss)")) > 0)
                n++;
        /* Skipping at the end of the array fails; the message itself has been checked already. */
        r = sd_bus_message_rewind(c->message, true);
        *ret = n;
        return r;
}

static int method_transact(Call *c)
{
        const char *kind, *path, *value;
        Request *q;
        size_t n;
        int r;

        r = count_operations(c, &n);
        if (r >= 0)
                r = limit_call(c, LIMIT_OPERATIONS, n);
        if (r < 0)
                return r;
        q = request_new(c->userdata, c, n);
        if (!q)
                return -ENOMEM;
        q->transaction = true;
        r = sd_bus_message_enter_container(c->message, 'a', "(sss)");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                Operation *o = &q->operations[i];

                r = sd_bus_message_read(c->message, "(sss)", &kind, &path, &value);
                if (r < 0)
                        break;
                o->kind = operation_find(kind);
                if (o->kind == _OPERATION_MAX) {
                        request_free(q);
                        return call_fail(c, DB1_ERROR_FAILED, "%zu: there is no operation '%s'", i, kind);
                }
                o->path = path;
                o->value = value;
                r = caller_path(c, path, &o->full);
                if (r >= 0)
                        r = limit_call(c, LIMIT_VALUE, strlen(value));
        }
        if (r < 0) {
                request_free(q);
                return r;
        }
        server_submit(c->userdata, q);
        return 0;
}

static const BusMethod methods[] = {
        { "Watch", "st", "path last_revision", "ttb", "id revision missed", method_watch, NULL },
        { "Unwatch", "t", "id", "", "", method_unwatch, NULL },
        { "Snapshot", "s", "path", "ts", "revision json", method_snapshot, NULL },
        { "Transact", "a(sss)", "operations", "t", "revision", method_transact, NULL },
        { 0 }
};

static const BusSignal signals[] = { { "Changed", "tta(sss)", "id revision changes" }, { 0 } };

const BusInterface db1_interface = { DB1_INTERFACE, methods, NULL, signals, NULL };
