/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "db-client.h"

#include "json.h"
#include "log.h"
#include "service.h"
#include "strbuf.h"

/* As deep as dbd lets a tree become, and a little. */
#define JSON_DEPTH_MAX 2100
#define RETRY_USEC (200 * USEC_PER_MSEC)

/* A node with more children than this finds them by their names' hashes: there are thousands of VMs, and few others. */
#define INDEX_FROM 64

typedef struct DbIndex {
        size_t size, used; /* places: a power of two; those that are taken or were once */
        DbNode *places[];
} DbIndex;

struct DbNode {
        DbNode *parent, *first, *next;
        DbNode *prev; /* the one before it; of the first one the last */
        union {
                char *text;     /* of a leaf; NULL: an empty one */
                DbIndex *index; /* of an inner node; NULL: it has few children */
        };
        bool inner;
        uint16_t n_children; /* counted until there is an index */
        char name[];
};

/* Nodes */

static void dbnode_clear(DbNode *n)
{
        for (DbNode *k = n->first, *next; k; k = next) {
                next = k->next;
                dbnode_clear(k);
                free(k);
        }
        n->first = NULL;
        free(TAKE_PTR(n->text));
        n->inner = false;
        n->n_children = 0;
}

static DbNode *dbnode_free(DbNode *n)
{
        if (n)
                dbnode_clear(n);
        free(n);
        return NULL;
}
DEFINE_CLEANUP(DbNode *, dbnode_free)

static DbNode removed_node; /* stands where one was removed, so that those behind it are found */

static size_t hash_name(const char *name, size_t len)
{
        uint32_t h = 2166136261; /* FNV-1a */

        for (size_t i = 0; i < len; i++)
                h = (h ^ (unsigned char) name[i]) * 16777619;
        return h;
}

/* The place of the child of that name, or the free one where it would be. */
static DbNode **index_place(DbIndex *x, const char *name, size_t len)
{
        for (size_t i = hash_name(name, len);; i++) {
                DbNode **place = &x->places[i & (x->size - 1)];

                if (!*place || (*place != &removed_node && strncmp((*place)->name, name, len) == 0 && !(*place)->name[len]))
                        return place;
        }
}

/* Made anew, with room for twice the children. Without memory there is none, and children are looked for in turn. */
static void index_make(DbNode *n)
{
        size_t count = 0, size = 2 * INDEX_FROM;

        for (DbNode *k = n->first; k; k = k->next)
                count++;
        while (size < count * 4)
                size *= 2;
        free(n->index);
        n->index = calloc(1, sizeof *n->index + size * sizeof n->index->places[0]);
        if (!n->index)
                return;
        n->index->size = size;
        n->index->used = count;
        for (DbNode *k = n->first; k; k = k->next)
                *index_place(n->index, k->name, strlen(k->name)) = k;
}

static void index_add(DbNode *n, DbNode *child)
{
        if (!n->index && n->n_children < INDEX_FROM)
                n->n_children++;
        else if (!n->index || n->index->used + 1 > n->index->size / 2)
                index_make(n);
        else {
                *index_place(n->index, child->name, strlen(child->name)) = child;
                n->index->used++;
        }
}

static DbNode *dbnode_add(DbNode *parent, const char *name, size_t len)
{
        DbNode *n = calloc(1, sizeof *n + len + 1);

        if (!n)
                return NULL;
        memcpy(n->name, name, len);
        n->parent = parent;
        if (parent) {
                n->prev = parent->first ? parent->first->prev : n;
                *(parent->first ? &n->prev->next : &parent->first) = n;
                parent->first->prev = n;
                parent->inner = true;
                index_add(parent, n);
        }
        return n;
}

static DbNode *dbnode_child(const DbNode *n, const char *name, size_t len)
{
        if (n->inner && n->index)
                return *index_place(n->index, name, len);
        for (DbNode *k = n->first; k; k = k->next)
                if (strncmp(k->name, name, len) == 0 && !k->name[len])
                        return k;
        return NULL;
}

static const char *next_name(const char **p, size_t *ret_len)
{
        const char *s = *p + strspn(*p, "/");

        *ret_len = strcspn(s, "/");
        *p = s + *ret_len;
        return *ret_len > 0 ? s : NULL;
}

const DbNode *dbnode_find(const DbNode *n, const char *path)
{
        const char *name;
        size_t len;

        path = strempty(path);
        while (n && (name = next_name(&path, &len)))
                n = dbnode_child(n, name, len);
        return n;
}

const char *dbnode_name(const DbNode *n)
{
        return n->name;
}

const char *dbnode_text(const DbNode *n, const char *path)
{
        n = dbnode_find(n, path);
        return n && !n->inner ? strempty(n->text) : "";
}

const DbNode *dbnode_first(const DbNode *n)
{
        return n ? n->first : NULL;
}

const DbNode *dbnode_next(const DbNode *n)
{
        return n->next;
}

/* Makes the node and those on the way; leaves in the way become inner nodes. */
static DbNode *dbnode_make(DbNode *n, const char *path)
{
        const char *name;
        size_t len;

        while (n && (name = next_name(&path, &len))) {
                DbNode *child = dbnode_child(n, name, len);

                if (!child) {
                        if (!n->inner)
                                free(TAKE_PTR(n->text));
                        child = dbnode_add(n, name, len);
                }
                n = child;
        }
        return n;
}

static void dbnode_unlink(DbNode *n)
{
        DbNode *first = n->parent->first;

        *(n == first ? &n->parent->first : &n->prev->next) = n->next;
        if (n->next)
                n->next->prev = n->prev;
        else
                first->prev = n->prev;
        if (n->parent->index)
                *index_place(n->parent->index, n->name, strlen(n->name)) = &removed_node;
        else
                n->parent->n_children--;
}

static int dbnode_fill(DbNode *n, json_object *o)
{
        switch (json_object_get_type(o)) {
        case json_type_null:
        case json_type_array: /* an opaque leaf, whose text is "" */
                return 0;
        case json_type_object:
                n->inner = true;
                json_object_object_foreach(o, key, value) {
                        DbNode *child = dbnode_add(n, key, strlen(key));
                        int r = child ? dbnode_fill(child, value) : -ENOMEM;

                        if (r < 0)
                                return r;
                }
                return 0;
        default:
                n->text = strdup(json_object_get_string(o));
                return n->text ? 0 : -ENOMEM;
        }
}

static int dbnode_inject(DbNode *root, const char *path, const char *json)
{
        _cleanup_json_ json_object *o = NULL;
        DbNode *n;
        int r = 0;

        /* json-c gives NULL for the value null as it does for an error. */
        if (!streq(json, "null"))
                r = json_parse(json, strlen(json), JSON_DEPTH_MAX, &o);
        if (r < 0)
                return r;
        n = dbnode_make(root, path);
        if (!n)
                return -ENOMEM;
        dbnode_clear(n);
        return dbnode_fill(n, o);
}

/* Mirrors */

struct DbMirror {
        sd_bus *bus;
        char *path; /* without a '/' at the end; "" for the root */
        const DbMirrorEvents *events;
        void *userdata;
        DbNode *root;     /* the copy; NULL until loaded */
        bool missing;     /* loaded, but there is no such node */
        bool loaded;
        uint64_t id, revision;
        sd_bus_slot *changed_match, *owner_match, *call;
        sd_event_source *retry;
};

static int mirror_watch(DbMirror *m);

static void mirror_retry(DbMirror *m, const char *what, const sd_bus_error *e);

static int mirror_apply(DbMirror *m, const char *path, const char *kind, const char *value)
{
        const char *rel = startswith(path, m->path);
        DbNode *n;

        if (!rel || (*rel && *rel != '/'))
                return 0;
        if (streq(kind, "rm")) {
                n = (DbNode *) dbnode_find(m->root, rel);
                if (!n)
                        return 0;
                if (n->parent)
                        dbnode_unlink(n);
                else
                        m->root = NULL;
                dbnode_free(n);
                return 0;
        }
        if (!m->root)
                m->root = dbnode_add(NULL, "", 0);
        if (!m->root)
                return -ENOMEM;
        if (streq(kind, "inject"))
                return dbnode_inject(m->root, rel, value);
        n = dbnode_make(m->root, rel);
        if (!n || n->first)
                return n ? 0 : -ENOMEM;
        dbnode_clear(n);
        n->text = strdup(value);
        return n->text ? 0 : -ENOMEM;
}

static int on_changed(sd_bus_message *msg, void *userdata, _unused_ sd_bus_error *error)
{
        DbMirror *m = userdata;
        const char *path, *kind, *value;
        uint64_t id, revision;
        int r;

        r = sd_bus_message_read(msg, "tt", &id, &revision);
        if (r < 0 || id != m->id || !m->loaded || m->call)
                return 0;
        m->revision = revision;
        r = sd_bus_message_enter_container(msg, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(msg, "(sss)", &path, &kind, &value)) > 0) {
                r = mirror_apply(m, path, kind, value);
                if (r >= 0 && m->events->changed)
                        m->events->changed(m, path, kind, m->userdata);
        }
        if (r < 0) {
                log_errno(r, "A change of the database could not be followed; reading %s again", m->path);
                m->revision = 1;
                m->loaded = false;
                (void) mirror_watch(m);
        }
        return 0;
}

static int on_snapshot(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        DbMirror *m = userdata;
        _cleanup_(dbnode_freep) DbNode *root = NULL;
        const char *json;
        uint64_t revision;
        int r;

        m->call = sd_bus_slot_unref(m->call);
        if (sd_bus_message_is_method_error(reply, NULL)) {
                mirror_retry(m, "read", sd_bus_message_get_error(reply));
                return 0;
        }
        r = sd_bus_message_read(reply, "ts", &revision, &json);
        if (r >= 0 && *json) {
                root = dbnode_add(NULL, "", 0);
                r = root ? dbnode_inject(root, "", json) : -ENOMEM;
        }
        if (r < 0) {
                log_errno(r, "Cannot read the copy of %s from the database", m->path);
                mirror_retry(m, "read", NULL);
                return 0;
        }
        dbnode_free(m->root);
        m->root = TAKE_PTR(root);
        m->revision = revision;
        m->loaded = true;
        if (m->events->loaded)
                m->events->loaded(m, m->userdata);
        return 0;
}

static int on_watched(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        DbMirror *m = userdata;
        uint64_t revision;
        int missed, r;

        m->call = sd_bus_slot_unref(m->call);
        if (sd_bus_message_is_method_error(reply, NULL)) {
                mirror_retry(m, "watch", sd_bus_message_get_error(reply));
                return 0;
        }
        r = sd_bus_message_read(reply, "ttb", &m->id, &revision, &missed);
        if (r >= 0 && m->loaded && !missed) {
                m->revision = revision;
                return 0;
        }
        if (r >= 0)
                r = sd_bus_call_method_async(m->bus, &m->call, DB_SERVICE, "/", DB1_INTERFACE, "Snapshot", on_snapshot,
                                             m, "s", *m->path ? m->path : "/");
        if (r < 0)
                mirror_retry(m, "read", NULL);
        return 0;
}

static int mirror_watch(DbMirror *m)
{
        m->call = sd_bus_slot_unref(m->call);
        m->id = 0;
        return sd_bus_call_method_async(m->bus, &m->call, DB_SERVICE, "/", DB1_INTERFACE, "Watch", on_watched, m, "st",
                                        *m->path ? m->path : "/", m->loaded ? m->revision : 0);
}

static int on_retry(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        DbMirror *m = userdata;

        if (!m->call)
                (void) mirror_watch(m);
        return 0;
}

static void mirror_retry(DbMirror *m, const char *what, const sd_bus_error *e)
{
        sd_event *event = sd_bus_get_event(m->bus);

        /* Without a daemon there is nothing to do: its name will have an owner some time. */
        if (e && (sd_bus_error_has_name(e, DBUS_ERROR_SERVICE_UNKNOWN) ||
                  sd_bus_error_has_name(e, "org.freedesktop.DBus.Error.NameHasNoOwner") ||
                  sd_bus_error_has_name(e, DBUS_ERROR_NO_REPLY)))
                return;
        log_debug("Cannot %s %s in the database: %s", what, m->path, e && e->message ? e->message : "no answer");
        m->retry = sd_event_source_disable_unref(m->retry);
        if (event)
                (void) sd_event_add_time_relative(event, &m->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, m);
}

static int on_owner(sd_bus_message *msg, void *userdata, _unused_ sd_bus_error *error)
{
        DbMirror *m = userdata;
        const char *name, *old, *new;

        if (sd_bus_message_read(msg, "sss", &name, &old, &new) < 0)
                return 0;
        if (*old) {
                m->call = sd_bus_slot_unref(m->call);
                m->id = 0;
                if (m->events->lost)
                        m->events->lost(m, m->userdata);
        }
        if (*new)
                (void) mirror_watch(m);
        return 0;
}

int dbmirror_new(sd_bus *bus, const char *path, const DbMirrorEvents *events, void *userdata, DbMirror **ret)
{
        _cleanup_(dbmirror_freep) DbMirror *m = calloc(1, sizeof *m);
        size_t len;
        int r;

        if (!m)
                return -ENOMEM;
        m->bus = sd_bus_ref(bus);
        m->events = events;
        m->userdata = userdata;
        m->path = strdup(path);
        if (!m->path)
                return -ENOMEM;
        for (len = strlen(m->path); len > 0 && m->path[len - 1] == '/';)
                m->path[--len] = '\0';
        /* Asynchronous matches and the call go out in this order, so nothing can be missed between them. */
        r = sd_bus_add_match_async(bus, &m->changed_match,
                                   "type='signal',sender='" DB_SERVICE "',interface='" DB1_INTERFACE
                                   "',member='Changed',path='/'",
                                   on_changed, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &m->owner_match,
                                           "type='signal',sender='org.freedesktop.DBus',"
                                           "interface='org.freedesktop.DBus',member='NameOwnerChanged',"
                                           "arg0='" DB_SERVICE "'",
                                           on_owner, NULL, m);
        if (r >= 0)
                r = mirror_watch(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

DbMirror *dbmirror_free(DbMirror *m)
{
        if (!m)
                return NULL;
        if (m->id)
                (void) sd_bus_call_method_async(m->bus, NULL, DB_SERVICE, "/", DB1_INTERFACE, "Unwatch", NULL, NULL, "t",
                                                m->id);
        sd_event_source_disable_unref(m->retry);
        sd_bus_slot_unref(m->call);
        sd_bus_slot_unref(m->changed_match);
        sd_bus_slot_unref(m->owner_match);
        dbnode_free(m->root);
        free(m->path);
        sd_bus_unref(m->bus);
        free(m);
        return NULL;
}

const DbNode *dbmirror_root(const DbMirror *m)
{
        return m->root;
}

/* Transactions */

struct DbTx {
        char **fields; /* three for each operation */
};

typedef struct Commit {
        DbDone done;
        void *userdata;
} Commit;

DbTx *db_tx_new(void)
{
        return calloc(1, sizeof(DbTx));
}

DbTx *db_tx_free(DbTx *t)
{
        if (t)
                strv_free(t->fields);
        free(t);
        return NULL;
}

static int tx_add(DbTx *t, const char *kind, const char *path, const char *value)
{
        int r;

        if (!t)
                return -ENOMEM;
        r = strv_extend(&t->fields, kind);
        if (r >= 0)
                r = strv_extend(&t->fields, path);
        return r < 0 ? r : strv_extend(&t->fields, strempty(value));
}

int db_tx_write(DbTx *t, const char *path, const char *value)
{
        return tx_add(t, "write", path, value);
}

int db_tx_rm(DbTx *t, const char *path)
{
        return tx_add(t, "rm", path, NULL);
}

int db_tx_inject(DbTx *t, const char *path, const char *json)
{
        return tx_add(t, "inject", path, json);
}

int db_tx_require(DbTx *t, const char *kind, const char *path, const char *value)
{
        return tx_add(t, kind, path, value);
}

static int on_committed(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        Commit *c = userdata;

        c->done(sd_bus_message_get_error(reply), c->userdata);
        return 0;
}

static void commit_free(void *p)
{
        free(p);
}

int db_tx_commit(DbTx *t, sd_bus *bus, DbDone done, void *userdata)
{
        sd_bus_message *m = NULL;
        sd_bus_slot *slot = NULL;
        Commit *c = NULL;
        int r;

        if (!t)
                return -ENOMEM;
        r = sd_bus_message_new_method_call(bus, &m, DB_SERVICE, "/", DB1_INTERFACE, "Transact");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        for (char **f = t->fields; r >= 0 && f && *f; f += 3)
                r = sd_bus_message_append(m, "(sss)", f[0], f[1], f[2]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0 && done) {
                c = calloc(1, sizeof *c);
                r = c ? 0 : -ENOMEM;
        }
        if (r >= 0 && done) {
                *c = (Commit) { done, userdata };
                r = sd_bus_call_async(bus, &slot, m, on_committed, c, 0);
                if (r >= 0) {
                        /* From here on the slot lives as long as the connection or the answer, and c with it. */
                        (void) sd_bus_slot_set_destroy_callback(slot, commit_free);
                        (void) sd_bus_slot_set_floating(slot, true);
                        c = NULL;
                }
                sd_bus_slot_unref(slot);
        } else if (r >= 0)
                r = sd_bus_send(bus, m, NULL);
        free(c);
        sd_bus_message_unref(m);
        db_tx_free(t);
        return r < 0 ? r : 0;
}
