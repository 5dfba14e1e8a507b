/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests, batches and commits; see server.h for the whole. */
#include "db-client.h"
#include "log.h"
#include "server.h"

/* Requests in one commit: a bound for how long the loop works on a batch at a time. */
#define BATCH_MAX 1024

typedef struct Batch {
        Job job;
        Server *server;
        Request *requests;
        uint64_t revision;
} Batch;

const char *const operation_names[_OPERATION_MAX] = {
        [OPERATION_WRITE] = "write",   [OPERATION_RM] = "rm",         [OPERATION_INJECT] = "inject",
        [OPERATION_EQUALS] = "equals", [OPERATION_SAME] = "equals-json", [OPERATION_EXISTS] = "exists",
        [OPERATION_ABSENT] = "absent",
};

const char *caller_root(const Call *c, char buf[static 64])
{
        if (!c->caller.guest)
                return "";
        snprintf(buf, 64, "/dom-store/%s", c->caller.uuid);
        return buf;
}

char *caller_path(const Call *c, const char *path)
{
        char buf[64];

        return path_below(caller_root(c, buf), path);
}

Request *request_free(Request *r)
{
        if (!r)
                return NULL;
        for (size_t i = 0; i < r->n_operations; i++) {
                Operation *o = &r->operations[i];

                free(o->full);
                free(o->top);
                free(o->old);
                free(o->new);
        }
        free(r->operations);
        treelog_done(&r->log);
        free(r->full);
        sd_bus_message_unref(r->answer);
        call_unref(r->call);
        sender_release(r->sender);
        free(r);
        return NULL;
}

Request *request_new(Server *s, Call *c, size_t n_operations)
{
        Request *r = calloc(1, sizeof *r);

        if (!r)
                return NULL;
        r->sender = sender_get(s, sd_bus_message_get_sender(c->message));
        r->operations = n_operations ? calloc(n_operations, sizeof *r->operations) : NULL;
        if (!r->sender || (n_operations && !r->operations)) {
                free(r->operations);
                free(r);
                return NULL;
        }
        r->n_operations = n_operations;
        r->call = call_ref(c);
        return r;
}

static void request_answer(Server *s, Request *r)
{
        if (r->answer)
                (void) call_reply_message(r->call, TAKE_PTR(r->answer));
        s->n_waiting--;
        r->sender->n_waiting--;
        request_free(r);
}

static void request_refuse(Request *r, const char *error, const char *text)
{
        sd_bus_message_unref(r->answer);
        r->answer = NULL;
        r->refused = true;
        (void) sd_bus_message_new_method_errorf(r->call->message, &r->answer, error, "%s", text);
}

/* Carrying out */

static const char *node_text(const Node *n)
{
        return n && node_has_text(n) && n->kind != NODE_ARRAY ? n->content : "";
}

static char *json_of(const Node *n)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        if (!n)
                return NULL;
        json_write_bounded(&b, n, SIZE_MAX);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static const char *failure_text(int r, OperationKind kind)
{
        switch (r) {
        case -EROFS:
                return kind == OPERATION_RM ? "cannot remove binary file nodes" : "cannot overwrite binary file nodes";
        case -EBADMSG:
        case -ENODATA:
                return "exception occured";
        case -ENAMETOOLONG:
                return "the path is too deep";
        default:
                return strerror(-r);
        }
}

static int operation_change(Request *r, Operation *o)
{
        Tree *t = r->log.tree;
        Node *subtree;
        TreeTop top;
        int e;

        tree_top(t, o->full, &top);
        switch (o->kind) {
        case OPERATION_WRITE:
                e = tree_write(&r->log, o->full, o->value);
                break;
        case OPERATION_RM:
                e = tree_rm(&r->log, o->full);
                break;
        default:
                e = json_read(o->value, strlen(o->value), TREE_DEPTH_MAX, &subtree, NULL);
                if (e >= 0)
                        e = tree_inject(&r->log, o->full, subtree);
        }
        o->changed = e > 0;
        return e;
}

/* Returns NULL or why the operation cannot be. *ret_error: the error's name. */
static const char *operation_run(Request *r, Operation *o, const char **ret_error)
{
        Tree *t = r->log.tree;
        _cleanup_free_ char *json = NULL;
        Node *n;
        int e;

        *ret_error = DBUS_ERROR_FAILED;
        switch (o->kind) {
        case OPERATION_EQUALS:
                n = tree_find(t, o->full);
                return n && node_has_text(n) && n->kind != NODE_ARRAY && streq(node_text(n), o->value)
                               ? NULL : "the value is another";
        case OPERATION_SAME:
                json = json_of(tree_find(t, o->full));
                return json && streq(json, o->value) ? NULL : "the value is another";
        case OPERATION_EXISTS:
                return tree_find(t, o->full) ? NULL : "it does not exist";
        case OPERATION_ABSENT:
                return !tree_find(t, o->full) ? NULL : "it exists";
        default:
                e = operation_change(r, o);
                return e < 0 ? failure_text(e, o->kind) : NULL;
        }
}

static void request_run(Server *s, Request *r)
{
        if (r->read) {
                if (r->read(s, r->call, r->full, &r->answer) < 0)
                        request_refuse(r, DBUS_ERROR_FAILED, "Out of memory");
                return;
        }
        r->log.tree = &s->tree;
        for (size_t i = 0; i < r->n_operations; i++) {
                const char *error, *why = operation_run(r, &r->operations[i], &error);
                char text[160];

                if (!why)
                        continue;
                treelog_undo(&r->log);
                treelog_done(&r->log);
                if (!r->transaction)
                        request_refuse(r, error, why);
                else {
                        snprintf(text, sizeof text, "%zu: %s", i, why);
                        request_refuse(r, DB1_ERROR_FAILED, text);
                }
                return;
        }
        if (r->log.n_rows > 0)
                r->revision = ++s->revision;
        if (sd_bus_message_new_method_return(r->call->message, &r->answer) >= 0 && r->transaction)
                (void) sd_bus_message_append(r->answer, "t", s->revision);
}

/* Committing */

static int batch_write(Job *job, Store *store)
{
        Batch *b = (Batch *) job;
        int r;

        r = store_begin(store);
        for (Request *q = b->requests; r >= 0 && q; q = q->next)
                r = store_apply(store, q->log.rows, q->log.n_rows);
        if (r >= 0)
                r = store_set_meta(store, "revision", (int64_t) b->revision);
        if (r >= 0)
                r = store_commit(store);
        if (r < 0) {
                snprintf(job->error, sizeof job->error, "%s", store_error(store));
                store_rollback(store);
        }
        return r;
}

static void batch_failed(Server *s, Batch *b, int result)
{
        char text[400];

        snprintf(text, sizeof text, "The change could not be stored, nothing was changed: %s", b->job.error);
        log_errno(result, "A commit failed: %s", b->job.error);
        for (Request *q = b->requests; q; q = q->next) {
                if (q->read) { /* what it saw has never been */
                        q->answer = sd_bus_message_unref(q->answer);
                        request_run(s, q);
                } else if (!q->refused)
                        request_refuse(q, DBUS_ERROR_FAILED, text);
        }
}

static void batch_finished(Server *s, Batch *b)
{
        for (Request *q = b->requests; q; q = q->next) {
                if (!q->revision)
                        continue;
                treelog_redo(&q->log);
                for (size_t i = 0; i < q->n_operations; i++)
                        if (q->operations[i].changed)
                                watches_note(s, &q->operations[i], q->revision);
        }
        s->revision = b->revision;
        watches_flush(s);
}

static void server_next(Server *s);

static void batch_end(Job *job, int result)
{
        Batch *b = (Batch *) job;
        Server *s = b->server;

        if (result < 0)
                batch_failed(s, b, result);
        else
                batch_finished(s, b);
        for (Request *q = b->requests, *next; q; q = next) {
                next = q->next;
                request_answer(s, q);
        }
        free(b);
        s->batch = NULL;
        server_next(s);
}

static void undo_backwards(Request *q)
{
        /* Newest first; the list is the oldest first, and at most BATCH_MAX long. */
        if (!q)
                return;
        undo_backwards(q->next);
        treelog_undo(&q->log);
}

static void server_next(Server *s)
{
        uint64_t before = s->revision;
        Request **end, *q;
        unsigned n = 0;
        Batch *b;

        if (!s->queue || s->batch)
                return;
        b = calloc(1, sizeof *b);
        if (!b) {
                log_oom();
                return;
        }
        *b = (Batch) { .job = { .run = batch_write, .done = batch_end }, .server = s, .requests = s->queue };
        s->batch = b;
        for (end = &b->requests; *end && n < BATCH_MAX; end = &(*end)->next, n++)
                request_run(s, *end);
        s->queue = *end;
        *end = NULL;
        if (!s->queue)
                s->queue_end = &s->queue;
        undo_backwards(b->requests);
        b->revision = s->revision;
        s->revision = before;
        for (q = b->requests; q && !q->revision; q = q->next)
                ;
        if (q)
                writer_submit(s->writer, &b->job);
        else
                batch_end(&b->job, 0);
}

void server_submit(Server *s, Request *r)
{
        s->n_waiting++;
        r->sender->n_waiting++;
        *s->queue_end = r;
        s->queue_end = &r->next;
        server_next(s);
}

int server_read(Server *s, Call *c, char *full, int (*read)(Server *, Call *, const char *, sd_bus_message **))
{
        sd_bus_message *answer = NULL;
        Sender *sender;
        Request *q;
        int r;

        sender = full && s->n_waiting > 0 ? sender_find(s, sd_bus_message_get_sender(c->message)) : NULL;
        if (!full || !sender || sender->n_waiting == 0) {
                r = full ? read(s, c, full, &answer) : -ENOMEM;
                free(full);
                return r < 0 ? r : call_reply_message(c, answer);
        }
        q = request_new(s, c, 0);
        if (!q) {
                free(full);
                return -ENOMEM;
        }
        q->full = full;
        q->read = read;
        server_submit(s, q);
        return 0;
}

void server_drain(Server *s)
{
        while (s->batch)
                writer_wait(s->writer);
}
