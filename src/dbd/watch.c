/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watches: who is told of which changes. What a commit changes below a watched path is gathered while
 * the tree takes the changes, one by one (so the JSON of a subtree is as it was at that point), and
 * goes out as one signal for each watch.
 */
#include "db-client.h"
#include "history.h"
#include "log.h"
#include "server.h"

#define RING_SIZE 4096

typedef struct Noted {
        char *path;
        OperationKind kind;
        char *value;
} Noted;

struct Watch {
        Watch *next;
        uint64_t id, revision;
        Sender *sender;
        char *path;      /* normal, in the whole tree */
        size_t root_len; /* how much of a path the watcher does not see */
        Noted *noted;
        size_t n_noted, size_noted;
        bool existed;    /* the watched node, as last told */
};

/* The paths of the last changes, so that a client that comes back need not read all again. */
struct Ring {
        struct {
                uint64_t revision;
                char *path;
        } entry[RING_SIZE];
        size_t next;
        uint64_t complete_from; /* changes behind this revision are all here */
};

static bool ring_touched(const Server *s, const char *path, uint64_t since)
{
        const struct Ring *ring = s->ring;

        if (since > s->revision || since < ring->complete_from)
                return true;
        for (size_t i = 0; i < RING_SIZE; i++)
                if (ring->entry[i].path && ring->entry[i].revision > since &&
                    (path_within(ring->entry[i].path, path) || path_within(path, ring->entry[i].path)))
                        return true;
        return false;
}

static void ring_note(Server *s, const char *path, uint64_t revision)
{
        struct Ring *ring = s->ring;
        char *copy = strdup(path);

        if (ring->entry[ring->next].path)
                ring->complete_from = ring->entry[ring->next].revision;
        if (!copy)
                ring->complete_from = revision;
        free(ring->entry[ring->next].path);
        ring->entry[ring->next].path = copy;
        ring->entry[ring->next].revision = revision;
        ring->next = (ring->next + 1) % RING_SIZE;
}

typedef struct Loading {
        Server *server;
        uint64_t last;
} Loading;

static int load_entry(const HistoryEntry *e, void *userdata)
{
        Loading *l = userdata;

        if (e->revision > l->last + 1)
                l->server->ring->complete_from = e->revision - 1; /* there is a gap before it */
        l->last = e->revision;
        ring_note(l->server, e->path, e->revision);
        return 0;
}

int watches_load(Server *s, Store *store)
{
        Loading l = { .server = s };
        int r;

        s->ring = calloc(1, sizeof *s->ring);
        if (!s->ring)
                return -ENOMEM;
        r = history_read(store, "/", s->revision > RING_SIZE ? s->revision - RING_SIZE : 1, UINT64_MAX, load_entry, &l);
        if (l.last != s->revision)
                s->ring->complete_from = s->revision;
        return r;
}

static void watch_forget(Watch *w)
{
        for (size_t i = 0; i < w->n_noted; i++) {
                free(w->noted[i].path);
                free(w->noted[i].value);
        }
        w->n_noted = 0;
}

static void watch_free(Watch *w)
{
        watch_forget(w);
        free(w->noted);
        free(w->path);
        w->sender->n_watches--;
        if (w->sender->guest)
                w->sender->guest->n_watches--;
        sender_release(w->sender);
        free(w);
}

int watch_add(Server *s, Call *c, char *full, uint64_t last_revision, Watch **ret, bool *ret_missed)
{
        Watch *w = calloc(1, sizeof *w);
        Sender *sender = w ? sender_get(s, c) : NULL;
        char root[64];
        int r = sender ? 0 : -ENOMEM;

        if (r >= 0 && sender->guest)
                r = limit_call(c, LIMIT_WATCHES, sender->guest->n_watches + 1);
        if (r < 0) {
                free(full);
                free(w);
                return r;
        }
        w->path = full;
        w->sender = sender;
        sender->n_watches++;
        if (sender->guest)
                sender->guest->n_watches++;
        w->id = ++s->last_watch;
        w->revision = s->revision;
        w->root_len = strlen(caller_root(c, root));
        w->existed = tree_find(&s->tree, w->path);
        w->next = s->watches;
        s->watches = w;
        *ret = w;
        *ret_missed = last_revision > 0 && last_revision != s->revision && ring_touched(s, w->path, last_revision);
        return 0;
}

uint64_t watch_id(const Watch *w)
{
        return w->id;
}

bool watch_remove(Server *s, const char *sender, uint64_t id)
{
        for (Watch **w = &s->watches; *w; w = &(*w)->next)
                if ((*w)->id == id && streq((*w)->sender->name, sender)) {
                        Watch *gone = *w;

                        *w = gone->next;
                        watch_free(gone);
                        return true;
                }
        return false;
}

void watches_remove_all(Server *s, const Sender *sender)
{
        for (Watch **w = &s->watches; *w;) {
                Watch *gone = *w;

                if (gone->sender == sender) {
                        *w = gone->next;
                        watch_free(gone);
                } else
                        w = &gone->next;
        }
}

static char *json_at(Server *s, const char *path)
{
        const Node *n = tree_find(&s->tree, path);
        StrBuf b = STRBUF_INIT;
        char *text;

        json_write_bounded(&b, n, SIZE_MAX);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static void watch_add_noted(Watch *w, const char *path, OperationKind kind, char *value)
{
        const char *seen = path + w->root_len;

        /* A value that is written several times in one commit is told once, where nothing else came between. */
        if (kind == OPERATION_WRITE && w->n_noted > 0) {
                Noted *last = &w->noted[w->n_noted - 1];

                if (last->kind == OPERATION_WRITE && value && streq(last->path, *seen ? seen : "/")) {
                        free(last->value);
                        last->value = value;
                        return;
                }
        }
        if (w->n_noted == w->size_noted) {
                size_t size = w->size_noted ? w->size_noted * 2 : 4;
                Noted *p = reallocarray(w->noted, size, sizeof *p);

                if (!p)
                        goto lost;
                w->noted = p;
                w->size_noted = size;
        }
        seen = strdup(*seen ? seen : "/");
        if (!value || !seen) {
                free((char *) seen);
                goto lost;
        }
        w->noted[w->n_noted++] = (Noted) { (char *) seen, kind, value };
        return;
lost:
        log_oom();
        free(value);
}

void watches_note(Server *s, const Operation *o, uint64_t revision)
{
        ring_note(s, o->full, revision);
        for (Watch *w = s->watches; w; w = w->next) {
                if (path_within(o->full, w->path)) {
                        watch_add_noted(w, o->full, o->kind,
                                        o->kind == OPERATION_RM       ? strdup("")
                                        : o->kind == OPERATION_INJECT ? json_at(s, o->full)
                                                                      : strdup(o->value));
                } else if (path_within(w->path, o->full)) {
                        /* The change was above: what became of the watched node itself? */
                        bool exists = tree_find(&s->tree, w->path);

                        if (exists)
                                watch_add_noted(w, w->path, OPERATION_INJECT, json_at(s, w->path));
                        else if (w->existed)
                                watch_add_noted(w, w->path, OPERATION_RM, strdup(""));
                } else
                        continue;
                w->revision = revision;
                w->existed = tree_find(&s->tree, w->path);
        }
}

static int watch_send(Server *s, const Watch *w)
{
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_signal(s->daemon->bus, &m, "/", DB1_INTERFACE, "Changed");
        if (r >= 0)
                r = sd_bus_message_set_destination(m, w->sender->name);
        if (r >= 0)
                r = sd_bus_message_append(m, "tt", w->id, w->revision);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        for (size_t i = 0; r >= 0 && i < w->n_noted; i++)
                r = sd_bus_message_append(m, "(sss)", w->noted[i].path, operation_names[w->noted[i].kind],
                                          w->noted[i].value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_send(s->daemon->bus, m, NULL);
        sd_bus_message_unref(m);
        return r;
}

void watches_flush(Server *s)
{
        for (Watch *w = s->watches; w; w = w->next) {
                int r;

                if (w->n_noted == 0)
                        continue;
                r = s->daemon->bus ? watch_send(s, w) : 0;
                if (r < 0)
                        log_errno(r, "Cannot tell %s of a change", w->sender->name);
                watch_forget(w);
        }
}

void watches_done(Server *s)
{
        for (size_t i = 0; s->ring && i < RING_SIZE; i++)
                free(s->ring->entry[i].path);
        free(s->ring);
        s->ring = NULL;
}
