/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contract's interface, com.citrix.xenclient.db. */
#include "db-client.h"
#include "server.h"

static int answer(Call *c, sd_bus_message **ret, const char *signature, ...)
{
        va_list ap;
        int r;

        r = call_new_reply(c, ret);
        if (r < 0)
                return r;
        va_start(ap, signature);
        r = sd_bus_message_appendv(*ret, signature, ap);
        va_end(ap);
        return r;
}

static int read_value(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        const Node *n = tree_find(&s->tree, full);
        _cleanup_free_ char *file = NULL;
        char root[64];

        if (n && n->kind == NODE_BINARY) {
                /* The host sees where OpenXT had the file; a guest sees its own path and nothing of the host's. */
                file = strformat("file:%s%s", c->caller.guest ? "" : "/config", full + strlen(caller_root(c, root)));
                return file ? answer(c, ret, "s", file) : -ENOMEM;
        }
        if (!n || !node_has_text(n) || n->kind == NODE_ARRAY)
                return answer(c, ret, "s", "");
        limit_charge(s, c, strlen(n->content));
        return answer(c, ret, "s", n->content);
}

static int read_binary(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        const Node *n = tree_find(&s->tree, full);
        const Blob *b;
        int r;

        if (!n || n->kind != NODE_BINARY)
                return sd_bus_message_new_method_errorf(c->message, ret, DBUS_ERROR_FAILED, "not a binary node");
        b = n->content;
        limit_charge(s, c, b->size);
        r = call_new_reply(c, ret);
        return r < 0 ? r : sd_bus_message_append_array(*ret, 'y', b->data, b->size);
}

static int read_exists(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        return answer(c, ret, "b", tree_find(&s->tree, full) != NULL);
}

static int read_list(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        const Node *n = tree_find(&s->tree, full);
        size_t bytes = 0;
        int r;

        r = call_new_reply(c, ret);
        if (r >= 0)
                r = sd_bus_message_open_container(*ret, 'a', "s");
        for (const Node *k = n ? node_first(n) : NULL; r >= 0 && k; k = k->next) {
                bytes += k->name_len + 8;
                r = sd_bus_message_append_basic(*ret, 's', k->name);
        }
        limit_charge(s, c, bytes);
        return r < 0 ? r : sd_bus_message_close_container(*ret);
}

static int read_dump(Server *s, Call *c, const char *full, sd_bus_message **ret)
{
        _cleanup_free_ char *text = NULL;
        StrBuf b = STRBUF_INIT;
        int r;

        json_write(&b, tree_find(&s->tree, full));
        limit_charge(s, c, b.len);
        r = strbuf_take(&b, &text);
        return r < 0 ? r : answer(c, ret, "s", text);
}

static int method_read(Call *c)
{
        return server_read(c, c->method->data);
}

static int method_change(Call *c)
{
        Request *q = request_new(c->userdata, c, 1);
        Operation *o;
        int r;

        if (!q)
                return -ENOMEM;
        o = q->operations;
        o->kind = (OperationKind) (intptr_t) c->method->data;
        r = sd_bus_message_read(c->message, o->kind == OPERATION_RM ? "s" : "ss", &o->path, &o->value);
        if (r >= 0)
                r = caller_path(c, o->path, &o->full);
        if (r >= 0 && o->value)
                r = limit_call(c, LIMIT_VALUE, strlen(o->value));
        if (r < 0) {
                request_free(q);
                return r;
        }
        server_submit(c->userdata, q);
        return 0;
}

#define LOOK(name, out, out_names, function) { name, "s", "path", out, out_names, method_read, function }
#define CHANGE(name, in, in_names, kind) { name, in, in_names, "", "", method_change, (void *) kind }

static const BusMethod methods[] = {
        LOOK("read", "s", "value", read_value),
        LOOK("read_binary", "ay", "value", read_binary),
        CHANGE("write", "ss", "path value", OPERATION_WRITE),
        LOOK("dump", "s", "value", read_dump),
        CHANGE("inject", "ss", "path value", OPERATION_INJECT),
        LOOK("list", "as", "value", read_list),
        CHANGE("rm", "s", "path", OPERATION_RM),
        LOOK("exists", "b", "ex", read_exists),
        { 0 }
};

const BusInterface db_interface = { DB_INTERFACE, methods, NULL, NULL, NULL };
