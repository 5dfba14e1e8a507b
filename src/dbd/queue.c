/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests, batches and commits; see server.h for the whole. */
#include "db-client.h"
#include "history.h"
#include "log.h"
#include "server.h"
#include "settings.h"

#include <time.h>

/* Requests in one commit: a bound for how long the loop works on a batch at a time. */
#define BATCH_MAX 1024

typedef struct Batch {
        Job job;
        Server *server;
        Request *requests;
        uint64_t revision;
        bool history, empty;
        int64_t time;
} Batch;

Request *request_free(Request *r)
{
        if (!r)
                return NULL;
        for (size_t i = 0; i < r->n_operations; i++) {
                Operation *o = &r->operations[i];

                free(o->full);
                free(o->old);
                free(o->new);
        }
        free(r->operations);
        treelog_done(&r->log);
        if (r->special)
                r->special->free(r->special);
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
        r->sender = sender_get(s, c);
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
        if (r->sender->guest)
                r->sender->guest->n_waiting--;
        request_free(r);
}

static void request_refuse(Request *r, size_t operation, const Refusal *why)
{
        /* A transaction's failure names the operation; what another request was refused for is its own error. */
        bool named = r->transaction && streq(why->error, DBUS_ERROR_FAILED);

        r->answer = sd_bus_message_unref(r->answer);
        r->refused = true;
        if (r->transaction)
                (void) sd_bus_message_new_method_errorf(r->call->message, &r->answer, named ? DB1_ERROR_FAILED : why->error,
                                                        "%zu: %s", operation, why->text);
        else
                (void) sd_bus_message_new_method_errorf(r->call->message, &r->answer, why->error, "%s", why->text);
}

static void request_not_stored(Request *r, const char *text)
{
        r->answer = sd_bus_message_unref(r->answer);
        (void) sd_bus_message_new_method_errorf(r->call->message, &r->answer, DBUS_ERROR_FAILED,
                                                "The change could not be stored, nothing was changed: %s", text);
}

static void request_run(Server *s, Request *r)
{
        if (r->read) {
                if (r->read(s, r->call, r->full, &r->answer) < 0)
                        request_refuse(r, 0, &(Refusal) { DBUS_ERROR_FAILED, "Out of memory" });
                return;
        }
        r->who = r->sender->who;
        r->log.tree = &s->tree;
        for (size_t i = 0; i < r->n_operations; i++) {
                Refusal why;

                if (operation_run(s, r, &r->operations[i], &why) >= 0)
                        continue;
                treelog_undo(&r->log);
                treelog_done(&r->log);
                if (r->sender->guest)
                        r->sender->guest->counted = false;
                request_refuse(r, i, &why);
                return;
        }
        if (r->log.n_rows > 0)
                r->revision = ++s->revision;
        if (sd_bus_message_new_method_return(r->call->message, &r->answer) >= 0 && r->transaction)
                (void) sd_bus_message_append(r->answer, "t", s->revision);
}

/* Committing */

/* In the writer's thread; nobody touches the requests meanwhile. */
static int write_history(Store *store, Request *q, int64_t time, int64_t *bytes)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < q->n_operations; i++) {
                Operation *o = &q->operations[i];
                HistoryEntry e = { q->revision, time, q->who, o->full, o->old, o->new, o->flags };
                char kept = o->full[o->top_len];

                if (!o->changed)
                        continue;
                o->full[o->top_len] = '\0';
                r = history_add(store, &e);
                *bytes += history_entry_size(&e);
                o->full[o->top_len] = kept;
        }
        return r;
}

/*
 * The sum of sizes is kept here rather than asked for each time. Once in a while a tenth more than must
 * go goes, so that this is rarely done.
 */
static int prune_history(Store *store, const Batch *b)
{
        Server *s = b->server;
        int64_t max = setting_int(SETTING_DB_HISTORY_SIZE), oldest = b->time - setting_int(SETTING_DB_HISTORY_DAYS) * 86400;
        int r;

        if (s->history_bytes <= max && b->time < s->history_pruned + 3600)
                return 0;
        s->history_pruned = b->time;
        r = history_prune(store, oldest, max - max / 10);
        return r < 0 ? r : history_size(store, &s->history_bytes);
}

static int batch_write(Job *job, Store *store)
{
        Batch *b = (Batch *) job;
        int r;

        r = store_begin(store);
        for (Request *q = b->requests; r >= 0 && q; q = q->next) {
                r = store_apply(store, q->log.rows, q->log.n_rows);
                if (r >= 0 && b->history && q->revision)
                        r = write_history(store, q, b->time, &b->server->history_bytes);
        }
        if (r >= 0 && b->history)
                r = prune_history(store, b);
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
        guests_uncount(s);
        s->n_failed++;
        log_errno(result, "A commit failed: %s", b->job.error);
        for (Request *q = b->requests; q; q = q->next) {
                if (q->read) { /* what it saw has never been */
                        q->answer = sd_bus_message_unref(q->answer);
                        request_run(s, q);
                } else if (!q->refused)
                        request_not_stored(q, b->job.error);
        }
}

static void batch_finished(Server *s, Batch *b)
{
        for (Request *q = b->requests; q; q = q->next) {
                if (!q->revision)
                        continue;
                s->n_committed++;
                /* Step by step: each watcher is told what a subtree was at that point. */
                for (size_t i = 0; i < q->n_operations; i++) {
                        Operation *o = &q->operations[i];

                        if (!o->changed)
                                continue;
                        treelog_redo(&q->log, o->n_mutations);
                        watches_note(s, o, q->revision);
                }
        }
        s->revision = b->revision;
        s->n_commits += !b->empty;
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

/* In the writer's thread. */
static int special_write(Job *job, Store *store)
{
        Batch *b = (Batch *) job;

        return b->requests->special->run(b->requests->special, store, job->error);
}

static void special_end(Job *job, int result)
{
        Batch *b = (Batch *) job;
        Server *s = b->server;
        Request *q = b->requests;

        q->special->done(s, q, result, job->error);
        request_answer(s, q);
        free(b);
        s->batch = NULL;
        server_next(s);
}

static void special_start(Server *s, Batch *b)
{
        Request *q = b->requests;

        b->job = (Job) { .run = special_write, .done = special_end };
        s->queue = q->next;
        q->next = NULL;
        if (!s->queue)
                s->queue_end = &s->queue;
        if (q->special->begin)
                q->special->begin(s, q);
        writer_submit(s->writer, &b->job);
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

        if (!s->queue || s->batch || s->queue->sender->asking)
                return;
        b = calloc(1, sizeof *b);
        if (!b) {
                log_oom();
                return;
        }
        *b = (Batch) { .job = { .run = batch_write, .done = batch_end }, .server = s, .requests = s->queue,
                       .history = setting_int(SETTING_DB_HISTORY_DAYS) > 0, .time = (int64_t) time(NULL) };
        s->batch = b;
        if (b->requests->special) {
                special_start(s, b);
                return;
        }
        /* Who asks has to be known for the history; the bus tells that at once. */
        for (end = &b->requests; *end && n < BATCH_MAX && !(*end)->sender->asking && !(*end)->special; end = &(*end)->next, n++)
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
        else {
                b->empty = true;
                batch_end(&b->job, 0);
        }
}

void server_submit(Server *s, Request *r)
{
        if (r->sender->guest && limit_call(r->call, LIMIT_WAITING, r->sender->guest->n_waiting + 1) < 0) {
                request_free(r);
                return;
        }
        s->n_waiting++;
        r->sender->n_waiting++;
        if (r->sender->guest)
                r->sender->guest->n_waiting++;
        *s->queue_end = r;
        s->queue_end = &r->next;
        server_next(s);
}

int server_read(Call *c, int (*read)(Server *, Call *, const char *, sd_bus_message **))
{
        sd_bus_message *answer = NULL;
        Server *s = c->userdata;
        const char *path;
        char *full;
        Sender *sender;
        Request *q;
        int r;

        r = sd_bus_message_read(c->message, "s", &path);
        if (r >= 0)
                r = caller_path(c, path, &full);
        if (r < 0)
                return r;
        sender = s->n_waiting > 0 ? sender_find(s, sd_bus_message_get_sender(c->message)) : NULL;
        if (!sender || sender->n_waiting == 0) {
                r = read(s, c, full, &answer);
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

void server_sender_known(Server *s)
{
        server_next(s);
}

void server_drain(Server *s)
{
        while (s->batch)
                writer_wait(s->writer);
}
