/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "history.h"

#include <time.h>

#include "db-secrets.h"
#include "json-tree.h"
#include "path.h"
#include "store-internal.h"

/* What a row takes beside its texts, roughly. */
#define ROW_SIZE 128

char *history_text(const Node *n, const char *path, int *flags)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *text;

        if (!n)
                return NULL;
        if (json_write_hiding(&b, n, HISTORY_TEXT_MAX, path, db_path_secret))
                *flags |= HISTORY_SECRET;
        if (b.len > HISTORY_TEXT_MAX) {
                *flags |= HISTORY_CUT;
                return NULL;
        }
        if (strbuf_take(&b, &text) < 0) {
                *flags |= HISTORY_CUT;
                return NULL;
        }
        return text;
}

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
        if (text)
                (void) sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
        else
                (void) sqlite3_bind_null(st, i);
}

int64_t history_entry_size(const HistoryEntry *e)
{
        return ROW_SIZE + (int64_t) (strlen(e->path) + strlen(strempty(e->old)) + strlen(strempty(e->new)));
}

int history_add(Store *s, const HistoryEntry *e)
{
        sqlite3_stmt *st;
        int r;

        r = store_prepare(s, STATEMENT_HISTORY, &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(st, 1, (int64_t) e->revision);
        (void) sqlite3_bind_int64(st, 2, e->time);
        bind_text(st, 3, e->who);
        bind_text(st, 4, e->path);
        bind_text(st, 5, e->old);
        bind_text(st, 6, e->new);
        (void) sqlite3_bind_int(st, 7, e->flags);
        (void) sqlite3_bind_int64(st, 8, history_entry_size(e));
        return store_step(s, st);
}

static int query(Store *s, const char *sql, sqlite3_stmt **ret)
{
        int code = sqlite3_prepare_v2(s->db, sql, -1, ret, NULL);

        return code == SQLITE_OK ? 0 : store_errno(s, code);
}

static int run_once(Store *s, const char *sql, int64_t argument)
{
        sqlite3_stmt *st;
        int r = query(s, sql, &st);

        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(st, 1, argument);
        r = store_step(s, st);
        sqlite3_finalize(st);
        return r;
}

int history_prune(Store *s, int64_t older_than, int64_t max_bytes)
{
        int r;

        r = run_once(s, "DELETE FROM history WHERE time < ?1", older_than);
        if (r < 0)
                return r;
        r = run_once(s,
                     "DELETE FROM history WHERE n IN (SELECT n FROM (SELECT n, sum(size) OVER (PARTITION BY substr(who, 1, 39)"
                     " ORDER BY n DESC) AS total FROM history WHERE who LIKE '" HISTORY_GUEST_PREFIX "%') WHERE total > ?1)",
                     max_bytes / HISTORY_GUEST_PART);
        if (r < 0)
                return r;
        return run_once(s,
                        "DELETE FROM history WHERE n <= (SELECT max(n) FROM (SELECT n, sum(size) OVER (ORDER BY n DESC) AS total"
                        " FROM history) WHERE total > ?1)",
                        max_bytes);
}

int history_size(Store *s, int64_t *ret)
{
        sqlite3_stmt *st;
        int r = query(s, "SELECT ifnull(sum(size), 0) FROM history", &st), code;

        if (r < 0)
                return r;
        code = sqlite3_step(st);
        r = code == SQLITE_ROW ? 0 : store_errno(s, code);
        if (r == 0)
                *ret = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
        return r;
}

int history_read(Store *s, const char *path, uint64_t first_revision, uint64_t last_revision,
                 int (*each)(const HistoryEntry *e, void *userdata), void *userdata)
{
        sqlite3_stmt *st;
        int code = SQLITE_DONE, r;

        r = query(s, "SELECT revision, time, who, path, old, new, flags FROM history WHERE revision BETWEEN ?1 AND ?2"
                     " ORDER BY n", &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(st, 1, (int64_t) first_revision);
        (void) sqlite3_bind_int64(st, 2, (int64_t) MIN2(last_revision, (uint64_t) INT64_MAX));
        while (r == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                HistoryEntry e = {
                        .revision = (uint64_t) sqlite3_column_int64(st, 0),
                        .time = sqlite3_column_int64(st, 1),
                        .who = strempty((const char *) sqlite3_column_text(st, 2)),
                        .path = strempty((const char *) sqlite3_column_text(st, 3)),
                        .old = (const char *) sqlite3_column_text(st, 4),
                        .new = (const char *) sqlite3_column_text(st, 5),
                        .flags = sqlite3_column_int(st, 6),
                };

                if (path_within(e.path, path) || path_within(path, e.path))
                        r = each(&e, userdata);
        }
        if (r == 0 && code != SQLITE_DONE)
                r = store_errno(s, code);
        sqlite3_finalize(st);
        return r;
}

int store_replace(Store *s, const Tree *t, uint64_t revision, const char *who, const char *how)
{
        HistoryEntry e = { revision, (int64_t) time(NULL), NULL, "/", NULL, NULL, HISTORY_ALL };
        _cleanup_free_ char *text = strformat("%s (%s)", who, how);
        int r;

        if (!text)
                return -ENOMEM;
        e.who = text;
        r = store_begin(s);
        if (r >= 0)
                r = store_put_tree(s, t);
        if (r >= 0)
                r = history_add(s, &e);
        if (r >= 0)
                r = store_set_meta(s, "revision", (int64_t) revision);
        if (r >= 0)
                r = store_commit(s);
        if (r < 0)
                store_rollback(s);
        return r;
}
