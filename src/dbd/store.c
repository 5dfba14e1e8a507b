/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>

#include "store-internal.h"

#define APPLICATION_ID 0x6f787464 /* "oxtd" */
#define BUSY_MSEC 10000
#define CHECKPOINT_PAGES 1000 /* as SQLite does it by itself */

static const char schema[] =
        "CREATE TABLE node(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,"
        " content);"
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
        "INSERT INTO meta VALUES('revision', 0);"
        "CREATE TABLE history(n INTEGER PRIMARY KEY, revision INTEGER NOT NULL, time INTEGER NOT NULL,"
        " who TEXT NOT NULL, path TEXT NOT NULL, old TEXT, new TEXT, flags INTEGER NOT NULL, size INTEGER NOT NULL DEFAULT 0);";

/* [n]: what makes format n + 1 of format n. */
static const char *const upgrades[STORE_VERSION] = {
        [1] = "ALTER TABLE history ADD COLUMN size INTEGER NOT NULL DEFAULT 0;"
              "UPDATE history SET size = 128 + length(path) + ifnull(length(old), 0) + ifnull(length(new), 0);",
};

static const char *const statement_text[_STATEMENT_MAX] = {
        [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
        [STATEMENT_COMMIT] = "COMMIT",
        [STATEMENT_INSERT] = "INSERT INTO node VALUES(?1, ?2, ?3, ?4, ?5)",
        [STATEMENT_UPDATE] = "UPDATE node SET kind = ?2, content = ?3 WHERE id = ?1",
        [STATEMENT_DELETE] = "DELETE FROM node WHERE id = ?1",
        [STATEMENT_GET_META] = "SELECT value FROM meta WHERE key = ?1",
        [STATEMENT_SET_META] = "INSERT OR REPLACE INTO meta VALUES(?1, ?2)",
        [STATEMENT_HISTORY] = "INSERT INTO history VALUES(NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
};

int store_errno(Store *s, int code)
{
        int system = s->db ? sqlite3_system_errno(s->db) : 0;

        snprintf(s->error, sizeof s->error, "%s%s%s", s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code),
                 system ? ": " : "", system ? strerror(system) : "");
        switch (code & 0xff) {
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
        case SQLITE_PERM:
                return -EROFS;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EUCLEAN;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_CANTOPEN:
                return system == ENOENT ? -ENOENT : -EIO;
        default:
                return -EIO;
        }
}

const char *store_error(const Store *s)
{
        return s->error;
}

static int store_exec(Store *s, const char *sql)
{
        int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

        return code == SQLITE_OK ? 0 : store_errno(s, code);
}

int store_prepare(Store *s, Statement which, sqlite3_stmt **ret)
{
        int code;

        *ret = NULL;
        if (!s->statement[which]) {
                code = sqlite3_prepare_v3(s->db, statement_text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                          &s->statement[which], NULL);
                if (code != SQLITE_OK)
                        return store_errno(s, code);
        }
        *ret = s->statement[which];
        return 0;
}

/* Runs a statement that gives no rows. */
int store_step(Store *s, sqlite3_stmt *st)
{
        int code = sqlite3_step(st), r = code == SQLITE_DONE ? 0 : store_errno(s, code);

        (void) sqlite3_reset(st);
        return r;
}

static int get_pragma(Store *s, const char *sql, int64_t *ret)
{
        sqlite3_stmt *st;
        int code, r;

        code = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
        if (code != SQLITE_OK)
                return store_errno(s, code);
        code = sqlite3_step(st);
        r = code == SQLITE_ROW ? 0 : store_errno(s, code);
        if (r == 0)
                *ret = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
        return r;
}

static int make_schema(Store *s)
{
        char sql[128];
        int r;

        snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID, STORE_VERSION);
        r = store_begin(s);
        if (r >= 0)
                r = store_exec(s, sql);
        if (r >= 0)
                r = store_exec(s, schema);
        if (r >= 0)
                r = store_commit(s);
        return r;
}

static int upgrade(Store *s, int64_t version)
{
        char sql[64];
        int r;

        r = store_begin(s);
        for (; r >= 0 && version < STORE_VERSION; version++)
                r = upgrades[version] ? store_exec(s, upgrades[version]) : -EUCLEAN;
        snprintf(sql, sizeof sql, "PRAGMA user_version = %d", STORE_VERSION);
        if (r >= 0)
                r = store_exec(s, sql);
        if (r >= 0)
                r = store_commit(s);
        if (r < 0)
                store_rollback(s);
        return r;
}

static int check_version(Store *s, bool write, bool create)
{
        int64_t application, version;
        int r;

        r = get_pragma(s, "PRAGMA application_id", &application);
        if (r >= 0)
                r = get_pragma(s, "PRAGMA user_version", &version);
        if (r < 0)
                return r;
        if (application == 0 && version == 0 && create)
                return make_schema(s);
        if (application != APPLICATION_ID) {
                snprintf(s->error, sizeof s->error, "this is not a database of oxt");
                return -EUCLEAN;
        }
        if (version > STORE_VERSION) {
                snprintf(s->error, sizeof s->error, "the database has format %lld, this version of oxt knows formats up to %d",
                         (long long) version, STORE_VERSION);
                return -EPROTO;
        }
        return version < STORE_VERSION && write ? upgrade(s, version) : 0;
}

int store_in_use(const char *lock)
{
        _cleanup_close_ int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
                return 0;
        return errno == EWOULDBLOCK ? 1 : -errno;
}

int store_open(const char *path, bool write, bool create, Store **ret)
{
        int flags = write ? SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0) : SQLITE_OPEN_READONLY, code, r;
        Store *s = calloc(1, sizeof *s);

        if (!s)
                return -ENOMEM;
        *ret = s; /* on failure too: it has the text of the error */
        code = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
        if (code != SQLITE_OK)
                return store_errno(s, code);
        (void) sqlite3_busy_timeout(s->db, BUSY_MSEC);
        /* Untrusted values reach SQL as bound values alone; the schema of a damaged file may do nothing either. */
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        /* Until it is known that all can be read (store_load), closing the file must not write into it. */
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        r = write ? store_exec(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;") : 0;
        return r < 0 ? r : check_version(s, write, create);
}

Store *store_free(Store *s)
{
        if (!s)
                return NULL;
        for (size_t i = 0; i < _STATEMENT_MAX; i++)
                sqlite3_finalize(s->statement[i]);
        sqlite3_close(s->db);
        free(s);
        return NULL;
}

int store_check(Store *s, bool full, char **ret_why)
{
        sqlite3_stmt *st;
        const char *text;
        int code, r;

        code = sqlite3_prepare_v2(s->db, full ? "PRAGMA integrity_check" : "PRAGMA quick_check", -1, &st, NULL);
        if (code != SQLITE_OK)
                return store_errno(s, code);
        code = sqlite3_step(st);
        text = code == SQLITE_ROW ? (const char *) sqlite3_column_text(st, 0) : NULL;
        r = text && streq(text, "ok") ? 0 : -EUCLEAN;
        if (r < 0) {
                if (code != SQLITE_ROW)
                        r = store_errno(s, code);
                else
                        snprintf(s->error, sizeof s->error, "%s", strempty(text));
                if (ret_why)
                        *ret_why = strdup(s->error);
        }
        sqlite3_finalize(st);
        return r;
}

/* Loading */

static void *row_content(sqlite3_stmt *st, int column, NodeKind kind, size_t *ret_size)
{
        size_t size = (size_t) sqlite3_column_bytes(st, column);
        const void *p = sqlite3_column_blob(st, column);

        *ret_size = size;
        return kind == NODE_BINARY ? (void *) blob_new(p, size) : (void *) strndup(p ? p : "", size);
}

typedef struct Loaded {
        Node **nodes; /* inner ones by position, in the order of ids */
        size_t n, size;
} Loaded;

static Node *loaded_find(const Loaded *l, int64_t id)
{
        size_t a = 0, b = l->n;

        while (a < b) {
                size_t m = (a + b) / 2;

                if (l->nodes[m]->id == id)
                        return l->nodes[m];
                if (l->nodes[m]->id < id)
                        a = m + 1;
                else
                        b = m;
        }
        return NULL;
}

static int loaded_add(Loaded *l, Node *n)
{
        if (l->n == l->size) {
                size_t size = l->size ? l->size * 2 : 256;
                Node **p = reallocarray(l->nodes, size, sizeof *p);

                if (!p)
                        return -ENOMEM;
                l->nodes = p;
                l->size = size;
        }
        l->nodes[l->n++] = n;
        return 0;
}

static int damaged(Store *s, int64_t id, const char *what)
{
        snprintf(s->error, sizeof s->error, "node %lld %s", (long long) id, what);
        return -EUCLEAN;
}

static int load_row(Store *s, Tree *t, Loaded *l, sqlite3_stmt *st)
{
        int64_t id = sqlite3_column_int64(st, 0), parent_id = sqlite3_column_int64(st, 1);
        NodeKind kind = (NodeKind) sqlite3_column_int(st, 2);
        const char *name = (const char *) sqlite3_column_text(st, 3);
        size_t len = (size_t) sqlite3_column_bytes(st, 3), size;
        void *content = NULL;
        Node *n, *parent;

        if ((unsigned) kind >= _NODE_KIND_MAX || !name)
                return damaged(s, id, "is of no known kind");
        if (kind != NODE_INNER && kind != NODE_EMPTY) {
                content = row_content(st, 4, kind, &size);
                if (!content)
                        return -ENOMEM;
        }
        if (id == NODE_ROOT_ID) {
                n = t->root;
                n->kind = (uint8_t) kind;
                n->content = content;
        } else {
                parent = loaded_find(l, parent_id);
                if (!parent || len == 0 || memchr(name, '/', len) || node_child(parent, name, len)) {
                        content_free(kind, content);
                        return damaged(s, id, !parent ? "has no parent" : "has a bad or doubled name");
                }
                n = node_new(name, len, kind, content);
                if (!n)
                        return -ENOMEM;
                n->id = id;
                if (node_add(parent, n) < 0) {
                        node_free(n);
                        return -ENOMEM;
                }
        }
        t->next_id = id + 1;
        return kind == NODE_INNER ? loaded_add(l, n) : 0;
}

static int load(Store *s, Tree *t, bool salvage)
{
        Loaded l = { 0 };
        sqlite3_stmt *st;
        int code, r;

        code = sqlite3_prepare_v2(s->db, "SELECT id, parent, kind, name, content FROM node ORDER BY id", -1, &st, NULL);
        if (code != SQLITE_OK)
                return store_errno(s, code);
        r = tree_init(t);
        while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                r = load_row(s, t, &l, st);
                if (r == -EUCLEAN && salvage)
                        r = 0;
        }
        if (r >= 0 && code != SQLITE_DONE && !salvage)
                r = store_errno(s, code);
        sqlite3_finalize(st);
        free(l.nodes);
        if (r < 0)
                tree_done(t);
        else if (!salvage)
                (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        return r;
}

int store_load(Store *s, Tree *t)
{
        return load(s, t, false);
}

int store_salvage(Store *s, Tree *t)
{
        return load(s, t, true);
}

/* Saving */

static int run_statement(Store *s, Statement which)
{
        sqlite3_stmt *st;
        int r = store_prepare(s, which, &st);

        return r < 0 ? r : store_step(s, st);
}

int store_begin(Store *s)
{
        return run_statement(s, STATEMENT_BEGIN);
}

int store_commit(Store *s)
{
        return run_statement(s, STATEMENT_COMMIT);
}

static int on_commit(void *userdata, _unused_ sqlite3 *db, _unused_ const char *name, int pages)
{
        Store *s = userdata;

        s->log_pages = pages;
        return SQLITE_OK;
}

void store_defer_checkpoints(Store *s)
{
        (void) sqlite3_wal_hook(s->db, on_commit, s);
}

void store_checkpoint(Store *s)
{
        if (s->log_pages < CHECKPOINT_PAGES)
                return;
        s->log_pages = 0;
        (void) sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

void store_rollback(Store *s)
{
        if (s->db && !sqlite3_get_autocommit(s->db))
                (void) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

static void bind_content(sqlite3_stmt *st, int i, NodeKind kind, const void *content)
{
        const Blob *b = content;

        if (kind == NODE_INNER || kind == NODE_EMPTY)
                (void) sqlite3_bind_null(st, i);
        else if (kind == NODE_BINARY)
                (void) sqlite3_bind_blob64(st, i, b->data, b->size, SQLITE_STATIC);
        else
                (void) sqlite3_bind_text(st, i, content, -1, SQLITE_STATIC);
}

static int apply_row(Store *s, const TreeRow *row)
{
        static const Statement which[] = { [ROW_INSERT] = STATEMENT_INSERT, [ROW_UPDATE] = STATEMENT_UPDATE,
                                           [ROW_DELETE] = STATEMENT_DELETE };
        sqlite3_stmt *st;
        int r;

        r = store_prepare(s, which[row->type], &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(st, 1, row->id);
        if (row->type == ROW_INSERT) {
                (void) sqlite3_bind_int64(st, 2, row->parent);
                (void) sqlite3_bind_int(st, 3, row->kind);
                (void) sqlite3_bind_text(st, 4, row->name, (int) row->name_len, SQLITE_STATIC);
                bind_content(st, 5, row->kind, row->content);
        } else if (row->type == ROW_UPDATE) {
                (void) sqlite3_bind_int(st, 2, row->kind);
                bind_content(st, 3, row->kind, row->content);
        }
        r = store_step(s, st);
        if (r >= 0 && row->type != ROW_INSERT && sqlite3_changes(s->db) != 1)
                return damaged(s, row->id, "is missing on disk");
        return r;
}

int store_apply(Store *s, const TreeRow *rows, size_t n)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = apply_row(s, &rows[i]);
        return r;
}

int store_get_meta(Store *s, const char *key, int64_t *ret)
{
        sqlite3_stmt *st;
        int code, r;

        r = store_prepare(s, STATEMENT_GET_META, &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
        code = sqlite3_step(st);
        r = code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : store_errno(s, code);
        if (r == 0)
                *ret = sqlite3_column_int64(st, 0);
        (void) sqlite3_reset(st);
        return r;
}

int store_set_meta(Store *s, const char *key, int64_t value)
{
        sqlite3_stmt *st;
        int r;

        r = store_prepare(s, STATEMENT_SET_META, &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
        (void) sqlite3_bind_int64(st, 2, value);
        return store_step(s, st);
}

static int save_node(Store *s, const Node *n, int64_t parent)
{
        TreeRow row = { .type = ROW_INSERT, .kind = n->kind, .id = n->id, .parent = parent, .name = n->name,
                        .name_len = n->name_len, .content = n->kind == NODE_INNER ? NULL : n->content };
        int r = apply_row(s, &row);

        for (const Node *k = node_first(n); r >= 0 && k; k = k->next)
                r = save_node(s, k, n->id);
        return r;
}

int store_put_tree(Store *s, const Tree *t)
{
        int r = store_exec(s, "DELETE FROM node");

        return r < 0 ? r : save_node(s, t->root, 0);
}

int store_save(Store *s, const Tree *t)
{
        int r = store_begin(s);

        if (r >= 0)
                r = store_put_tree(s, t);
        if (r >= 0)
                r = store_commit(s);
        if (r < 0)
                store_rollback(s);
        return r;
}

int store_compact(Store *s)
{
        int r = store_exec(s, "VACUUM");

        return r < 0 ? r : store_exec(s, "PRAGMA wal_checkpoint(TRUNCATE)");
}

int store_finish(Store *s)
{
        return store_exec(s, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE");
}

int store_file_size(Store *s, int64_t *ret)
{
        int64_t pages, size;
        int r;

        r = get_pragma(s, "PRAGMA page_count", &pages);
        if (r >= 0)
                r = get_pragma(s, "PRAGMA page_size", &size);
        if (r >= 0)
                *ret = pages * size;
        return r;
}

int store_backup(Store *s, const char *path)
{
        sqlite3_stmt *st;
        int code, r;

        code = sqlite3_prepare_v2(s->db, "VACUUM INTO ?1", -1, &st, NULL);
        if (code != SQLITE_OK)
                return store_errno(s, code);
        (void) sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
        r = store_step(s, st);
        sqlite3_finalize(st);
        return r;
}
