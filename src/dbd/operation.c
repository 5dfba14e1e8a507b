/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One operation of a request, on the tree: what it does, what it may not, what the history keeps of it. */
#include "db-secrets.h"
#include "history.h"
#include "log.h"
#include "server.h"
#include "settings.h"

const char *const operation_names[_OPERATION_MAX] = {
        [OPERATION_WRITE] = "write",   [OPERATION_RM] = "rm",         [OPERATION_INJECT] = "inject",
        [OPERATION_EQUALS] = "equals", [OPERATION_SAME] = "equals-json", [OPERATION_EXISTS] = "exists",
        [OPERATION_ABSENT] = "absent", [OPERATION_WITHIN] = "within",
};

static int refuse(Refusal *ret, const char *text)
{
        *ret = (Refusal) { .error = DBUS_ERROR_FAILED };
        snprintf(ret->text, sizeof ret->text, "%s", text);
        return -1;
}

/* The contract's texts, where it has one. */
static int refuse_errno(Refusal *ret, OperationKind kind, int r)
{
        switch (r) {
        case -EROFS:
                return refuse(ret, kind == OPERATION_RM ? "cannot remove binary file nodes"
                                                        : "cannot overwrite binary file nodes");
        case -EBADMSG:
        case -ENODATA:
                return refuse(ret, "exception occured");
        case -ENAMETOOLONG:
                snprintf(ret->text, sizeof ret->text, "The tree would be deeper than %d", TREE_DEPTH_MAX);
                ret->error = DBUS_ERROR_LIMITS_EXCEEDED;
                return -1;
        default:
                return refuse(ret, strerror(-r));
        }
}

static bool text_equals(const Node *n, const char *value)
{
        return n && node_has_text(n) && n->kind != NODE_ARRAY && streq(n->content, value);
}

static bool json_equals(const Node *n, const char *value)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        if (!n)
                return false;
        json_write_bounded(&b, n, strlen(value));
        return b.data && streq(b.data, value);
}

static int operation_apply(Request *r, const Operation *o)
{
        size_t depth = TREE_DEPTH_MAX;
        Node *subtree;
        int e;

        if (o->kind == OPERATION_WRITE)
                return tree_write(&r->log, o->full, o->value);
        if (o->kind == OPERATION_RM)
                return tree_rm(&r->log, o->full);
        if (r->sender->guest)
                depth = limit_get(LIMIT_DEPTH) + 1 - MIN2(path_depth(o->path), limit_get(LIMIT_DEPTH));
        e = json_read(o->value, strlen(o->value), depth, &subtree, NULL);
        return e < 0 ? e : tree_inject(&r->log, o->full, subtree);
}

/* The node at the first len bytes of path. */
static Node *find_prefix(const Tree *t, char *path, size_t len)
{
        char kept = path[len];
        Node *n;

        path[len] = '\0';
        n = tree_find(t, path);
        path[len] = kept;
        return n;
}

static char *keep(const Node *n, char *path, size_t len, int *flags)
{
        char kept = path[len], *text;

        path[len] = '\0';
        text = history_text(n, path, flags);
        path[len] = kept;
        return text;
}

/* The guest's tree grew: is it still within its limits? One that is too large already may shrink. */
static int check_size(Guest *g, size_t nodes, size_t bytes, Refusal *ret)
{
        if (g->nodes > nodes && limit_check(LIMIT_NODES, g->nodes, ret) < 0)
                return -1;
        if (g->bytes > bytes && limit_check(LIMIT_BYTES, g->bytes, ret) < 0)
                return -1;
        return 0;
}

static int operation_change(Server *s, Request *r, Operation *o, Refusal *ret)
{
        size_t nodes = 0, bytes = 0, old_nodes = 0, old_bytes = 0, new_nodes = 0, new_bytes = 0;
        bool history = setting_int(SETTING_DB_HISTORY_DAYS) > 0;
        Guest *g = r->sender->guest;
        const Node *after;
        TreeTop top;
        int e;

        tree_top(&s->tree, o->full, &top);
        o->top_len = top.path_len;
        if (g) {
                if (!g->counted)
                        guest_count(s, g);
                nodes = g->nodes;
                bytes = g->bytes;
                if (top.node)
                        node_measure(top.node, &old_nodes, &old_bytes);
        }
        if (history)
                o->old = keep(top.node, o->full, top.path_len, &o->flags);
        e = operation_apply(r, o);
        if (e <= 0)
                return e < 0 ? refuse_errno(ret, o->kind, e) : 0;
        o->changed = true;
        o->n_mutations = r->log.n_mutations;
        after = find_prefix(&s->tree, o->full, top.path_len);
        if (history)
                o->new = keep(after, o->full, top.path_len, &o->flags);
        if (!g) {
                if (path_within(o->full, "/dom-store") || path_within("/dom-store", o->full))
                        guests_uncount(s);
                return 0;
        }
        if (after)
                node_measure(after, &new_nodes, &new_bytes);
        g->nodes = nodes - old_nodes + new_nodes;
        g->bytes = bytes - old_bytes + new_bytes;
        return check_size(g, nodes, bytes, ret);
}

static void operation_log(const Request *r, const Operation *o)
{
        char path[256], value[256];

        log_debug("%s %s %s '%s'", sd_bus_message_get_sender(r->call->message), operation_names[o->kind],
                  log_untrusted(path, sizeof path, o->full),
                  db_path_secret(o->full) ? "(secret)" : log_untrusted(value, sizeof value, strempty(o->value)));
}

/* "NODES BYTES", or "": what a guest's own tree may have. */
static int check_within(const Node *n, const char *value, Refusal *ret)
{
        size_t nodes = 0, bytes = 0;
        unsigned long long max_nodes, max_bytes;
        Guest g;

        if (n)
                node_measure(n, &nodes, &bytes);
        g = (Guest) { .nodes = nodes, .bytes = bytes };
        if (!*value)
                return check_size(&g, 0, 0, ret);
        if (sscanf(value, "%llu %llu", &max_nodes, &max_bytes) != 2)
                return refuse(ret, "the limits are two numbers");
        if (nodes <= max_nodes && bytes <= max_bytes)
                return 0;
        (void) refuse(ret, "");
        snprintf(ret->text, sizeof ret->text, "At most %llu nodes with %llu bytes in all", max_nodes, max_bytes);
        return -1;
}

int operation_run(Server *s, Request *r, Operation *o, Refusal *ret)
{
        const Node *n;

        if (log_get_level() >= LOG_DEBUG)
                operation_log(r, o);
        limit_charge(s, r->call, strlen(strempty(o->value)));
        switch (o->kind) {
        case OPERATION_WRITE:
        case OPERATION_RM:
        case OPERATION_INJECT:
                return operation_change(s, r, o, ret);
        default:
                break;
        }
        n = tree_find(&s->tree, o->full);
        switch (o->kind) {
        case OPERATION_EQUALS:
                return text_equals(n, o->value) ? 0 : refuse(ret, "the value is another");
        case OPERATION_SAME:
                return json_equals(n, o->value) ? 0 : refuse(ret, "the value is another");
        case OPERATION_WITHIN:
                return check_within(n, o->value, ret);
        case OPERATION_EXISTS:
                return n ? 0 : refuse(ret, "it does not exist");
        default:
                return !n ? 0 : refuse(ret, "it exists");
        }
}
