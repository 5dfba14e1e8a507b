/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the database at the start. A damaged file is set aside, never changed or overwritten; what
 * takes its place is the copy that dbd makes by itself once a day, or a new database.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"
#include "history.h"
#include "log.h"
#include "server.h"

#define COPY_FILE "daily-copy.db"
#define COPY_AGE (24 * 3600)
/* Revisions must only grow, though nobody knows how far those of a lost database went. */
#define REVISION_LEAP (1 << 20)

/* A new database starts with the contract's default keys. */
static int fill_default(Store *store, Tree *t)
{
        _cleanup_free_ char *path = path_join(data_dir(), "db.default"), *text = NULL;
        TreeLog log = { .tree = t };
        Node *defaults;
        size_t size;
        int r;

        if (!path)
                return log_oom();
        r = read_file(path, MIB, &text, &size);
        if (r >= 0)
                r = json_read(text, size, TREE_DEPTH_MAX, &defaults, NULL);
        if (r < 0)
                return log_errno(r, "Cannot read the default database %s", path);
        r = tree_inject(&log, "/", defaults);
        treelog_done(&log);
        if (r >= 0)
                r = store_save(store, t);
        return r < 0 ? log_errno(r, "Cannot store the default database: %s", store_error(store)) : 0;
}

/* Opens and reads everything. -EUCLEAN: damaged. Not logged. */
static int database_read(Server *s, const char *path, Store **ret)
{
        int64_t revision = 0;
        int r;

        r = store_open(path, true, true, ret);
        if (r >= 0)
                r = store_check(*ret, false, NULL);
        if (r >= 0)
                r = store_get_meta(*ret, "revision", &revision);
        if (r >= 0)
                r = store_load(*ret, &s->tree);
        if (r < 0)
                return r;
        s->revision = (uint64_t) revision;
        r = watches_load(s, *ret);
        if (r >= 0)
                r = history_size(*ret, &s->history_bytes);
        if (r < 0) {
                watches_done(s);
                tree_done(&s->tree);
        }
        return r;
}

static int set_aside(Server *s, const char *path, const char *why)
{
        static const char *const parts[] = { "-wal", "-shm", "" };
        char stamp[32];
        time_t now = time(NULL);
        struct tm tm;

        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
        s->set_aside = strformat("%s.damaged-%s", path, stamp);
        if (!s->set_aside)
                return log_oom();
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                _cleanup_free_ char *from = strformat("%s%s", path, parts[i]), *to = strformat("%s%s", s->set_aside, parts[i]);

                if (!from || !to)
                        return log_oom();
                if (rename(from, to) < 0 && errno != ENOENT)
                        return log_errno(errno, "Cannot set the damaged database %s aside", from);
        }
        log_error("The database %s is damaged: %s. It was set aside, unchanged, as %s.", path, why, s->set_aside);
        return 0;
}

/* The daily copy takes the damaged file's place. -ENOENT: there is none that is good. */
static int restore_copy(const char *copy, const char *path)
{
        _cleanup_(store_freep) Store *store = NULL, *new = NULL;
        int64_t revision = 0;
        struct stat st;
        Tree t;
        int r;

        if (stat(copy, &st) < 0)
                return -ENOENT;
        r = store_open(copy, false, false, &store);
        if (r >= 0)
                r = store_check(store, true, NULL);
        if (r >= 0)
                r = store_load(store, &t);
        if (r < 0)
                return -ENOENT;
        tree_done(&t);
        r = store_backup(store, path);
        if (r >= 0)
                r = store_open(path, true, false, &new);
        if (r >= 0)
                r = store_get_meta(new, "revision", &revision);
        if (r >= 0)
                r = store_set_meta(new, "revision", revision + REVISION_LEAP);
        return r;
}

static void copy_daily(Store *store, const char *copy)
{
        _cleanup_free_ char *tmp = strformat("%s.tmp", copy);
        struct stat st;
        int r;

        if (!tmp || (stat(copy, &st) == 0 && st.st_mtime > time(NULL) - COPY_AGE))
                return;
        (void) unlink(tmp);
        r = store_backup(store, tmp);
        if (r >= 0 && rename(tmp, copy) < 0)
                r = -errno;
        if (r < 0) {
                log_errno_full(LOG_WARNING, r, "Cannot make the daily copy of the database: %s", store_error(store));
                (void) unlink(tmp);
        }
}

static int database_recover(Server *s, const char *path, const char *copy, const char *why, Store **ret)
{
        int r;

        r = set_aside(s, path, why);
        if (r < 0)
                return r;
        r = restore_copy(copy, path);
        if (r >= 0)
                log_error("Starting with the copy of the last day, %s. Newer changes are missing. To use a backup of your own: "
                          "oxt db restore FILE", copy);
        else
                log_error("Starting with an empty database. To use a backup: oxt db restore FILE; to see what can still be "
                          "read of the old one: oxt db export --database %s DIR", s->set_aside);
        r = database_read(s, path, ret);
        return r < 0 ? log_errno(r, "Cannot read the database %s: %s", path, *ret ? store_error(*ret) : "") : 0;
}

int database_open(Server *s)
{
        _cleanup_free_ char *path = paths_format(&s->daemon->paths, PATH_DB, STORE_FILE);
        _cleanup_free_ char *copy = paths_format(&s->daemon->paths, PATH_DB, COPY_FILE);
        _cleanup_(store_freep) Store *store = NULL;
        char why[256];
        int r;

        if (!path || !copy)
                return log_oom();
        (void) umask(0077);
        r = database_read(s, path, &store);
        if (r == -EUCLEAN) {
                snprintf(why, sizeof why, "%s", store_error(store));
                store = store_free(store);
                r = database_recover(s, path, copy, why, &store);
                if (r < 0)
                        return r;
        } else if (r < 0)
                return log_errno(r, "Cannot read the database %s: %s", path, store ? store_error(store) : "");
        if (s->tree.next_id <= NODE_ROOT_ID + 1 && s->revision == 0) {
                r = fill_default(store, &s->tree);
                if (r < 0)
                        return r;
        }
        copy_daily(store, copy);
        r = writer_new(s->daemon->event, TAKE_PTR(store), &s->writer);
        return r < 0 ? log_errno(r, "Cannot start the writer") : 0;
}
