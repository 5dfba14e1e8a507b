/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt db: looks after the database. What only reads (check, backup, export, log, diff) reads the file
 * itself, whether dbd runs or not: SQLite gives each reader one state of it. What changes something
 * goes through dbd where it runs.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "db-client-tool.h"
#include "files.h"
#include "fs.h"
#include "log.h"
#include "oxt-db.h"
#include "store.h"
#include "strbuf.h"

static bool arg_force;
const char *command_database;

static const Option database_options[] = {
        { "database", 0, "FILE", OPTION_STRING, &command_database, "Another database file than the stack's", NULL },
        { 0 }
};

static const Option output_options[] = {
        { "database", 0, "FILE", OPTION_STRING, &command_database, "Another database file than the stack's", NULL },
        { "force", 'f', NULL, OPTION_FLAG, &arg_force, "Replace what is there", NULL },
        { 0 }
};

static const Option no_options[] = { { 0 } };

void command_done(Command *c)
{
        if (c->database)
                stack_done(&c->stack);
        free(c->database);
        free(c->lock);
}

int command_open(Command *c, const char *name, const char *synopsis, const char *summary, const Option *options,
                 int min, int max, int argc, char *argv[], int *ret_exit)
{
        Program program = { .name = name, .synopsis = synopsis, .summary = summary, .options = options,
                            .flags = PROGRAM_PERMUTE };
        int first = stack_open(&c->stack, &program, argc, argv, ret_exit);

        if (first < 0)
                return first;
        c->database = command_database ? strdup(command_database) : paths_format(&c->stack.paths, PATH_DB, STORE_FILE);
        c->lock = paths_format(&c->stack.paths, PATH_DB, STORE_LOCK);
        *ret_exit = 2;
        if (!c->database || !c->lock)
                return log_oom();
        if (argc - first < min || argc - first > max) {
                fprintf(stderr, "Usage: %s %s\n", name, synopsis);
                return -EINVAL;
        }
        c->words = argv + first;
        return 0;
}

int command_open_store(const Command *c, Store **ret)
{
        int r = store_open(c->database, false, false, ret);

        if (r == -ENOENT)
                fprintf(stderr, "There is no database %s. Is this the right stack (--state-dir), and has it run?\n", c->database);
        else if (r < 0)
                fprintf(stderr, "Cannot open %s: %s\n%s", c->database, *ret ? store_error(*ret) : strerror(-r),
                        access(c->database, R_OK) < 0 && errno == EACCES ? "Run this as root.\n" : "");
        return r;
}

int command_open_tree(const Command *c, Store **ret_store, Tree *ret)
{
        int r = command_open_store(c, ret_store);

        if (r >= 0) {
                r = store_load(*ret_store, ret);
                if (r < 0)
                        fprintf(stderr, "Cannot read %s: %s\n", c->database, store_error(*ret_store));
        }
        return r;
}

static void report(const char *path, const char *why, _unused_ void *userdata)
{
        fprintf(stderr, "%s: left out: %s\n", path, why);
}

/* check */

static void list_set_aside(const Command *c)
{
        const char *dir = paths_get(&c->stack.paths, PATH_DB);
        DIR *d = opendir(dir);
        struct dirent *e;

        if (!d)
                return;
        while ((e = readdir(d)))
                if (startswith(e->d_name, STORE_FILE ".damaged-") && !endswith(e->d_name, "-wal") && !endswith(e->d_name, "-shm"))
                        printf("A damaged database was set aside as %s/%s. What can be read of it: oxt db export --database "
                               "FILE DIR\n", dir, e->d_name);
        closedir(d);
}

static int db_check(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        size_t nodes = 0, bytes = 0;
        int status, r;
        Tree t;

        if (command_open(&c, "oxt db check", "[OPTIONS]", "Checks the whole database. Exit status: 0 good, 1 damaged, 2 cannot tell.",
                         database_options, 0, 0, argc, argv, &status) < 0)
                return status;
        r = command_open_store(&c, &store);
        if (r < 0 && r != -EUCLEAN)
                return 2;
        if (r >= 0)
                r = store_check(store, true, NULL);
        if (r >= 0)
                r = store_load(store, &t);
        if (r < 0) {
                printf("%s: %s\n", c.database, store_error(store));
                return r == -EUCLEAN ? 1 : 2;
        }
        node_measure(t.root, &nodes, &bytes);
        printf("%s: good, %zu nodes with %zu bytes of names and values\n", c.database, nodes, bytes);
        tree_done(&t);
        if (!command_database)
                list_set_aside(&c);
        return 0;
}

/* backup */

static int db_backup(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        _cleanup_free_ char *tmp = NULL;
        int status, r;

        if (command_open(&c, "oxt db backup", "[OPTIONS] FILE", "Copies the database, history included, while it is in use.",
                         output_options, 1, 1, argc, argv, &status) < 0)
                return status;
        if (!arg_force && access(c.words[0], F_OK) == 0) {
                fprintf(stderr, "%s exists. --force replaces it.\n", c.words[0]);
                return 1;
        }
        if (command_open_store(&c, &store) < 0)
                return 2;
        tmp = strformat("%s.part-%d", c.words[0], (int) getpid());
        if (!tmp)
                return 2;
        (void) umask(0077); /* it holds whatever the database holds */
        r = store_backup(store, tmp);
        if (r < 0)
                fprintf(stderr, "Cannot write %s: %s\n", tmp, store_error(store));
        else if (rename(tmp, c.words[0]) < 0)
                r = log_errno(errno, "Cannot write %s", c.words[0]);
        if (r < 0)
                (void) unlink(tmp);
        return r < 0 ? 2 : 0;
}

/* restore and import */

/* As dbd's own files, so that dbd can open them afterwards. */
static int give_away(const char *path, const char *dir)
{
        struct stat st;

        return stat(dir, &st) < 0 || chown(path, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int replace_offline(const Command *c, const char *file, const char *how)
{
        _cleanup_(store_freep) Store *in = NULL, *store = NULL;
        _cleanup_close_ int lock = lock_file(c->lock);
        const char *dir = paths_get(&c->stack.paths, PATH_DB);
        int64_t revision = 0;
        bool is_new;
        Tree t;
        int r;

        if (lock < 0)
                return log_errno(lock, "Cannot lock %s; has the stack ever run?", c->lock);
        (void) umask(0077);
        is_new = access(c->database, F_OK) < 0;
        r = store_open(file, false, false, &in);
        if (r >= 0)
                r = store_check(in, true, NULL);
        if (r >= 0)
                r = store_load(in, &t);
        if (r < 0) {
                fprintf(stderr, "%s cannot be used: %s\n", file, in ? store_error(in) : strerror(-r));
                return r;
        }
        if (is_new) {
                _cleanup_close_ int fd = open(c->database, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

                if (fd < 0 || give_away(c->database, dir) < 0)
                        r = log_errno(errno, "Cannot make %s", c->database);
        }
        if (r >= 0)
                r = store_open(c->database, true, true, &store);
        if (r >= 0)
                (void) store_get_meta(store, "revision", &revision);
        if (r >= 0)
                r = store_replace(store, &t, (uint64_t) revision + 1, "oxt db", how);
        if (r < 0 && store)
                fprintf(stderr, "Cannot change %s: %s\n", c->database, store_error(store));
        tree_done(&t);
        return r;
}

static int replace_online(const Command *c, const char *file, const char *how)
{
        _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *address = stack_bus_address(&c->stack);
        sd_bus *bus = NULL;
        int r;

        if (fd < 0)
                return log_errno(errno, "Cannot open %s", file);
        r = address ? bus_open(address, &bus) : -ENOMEM;
        if (r < 0)
                return log_errno(r, "dbd runs, but its bus cannot be reached at %s", strempty(address));
        r = dbtool_call(bus, DB1_HOST_INTERFACE, "Replace", NULL, "hs", fd, how);
        sd_bus_flush_close_unref(bus);
        return r;
}

static int replace(const Command *c, const char *file, const char *how)
{
        return store_in_use(c->lock) > 0 ? replace_online(c, file, how) : replace_offline(c, file, how);
}

static int db_restore(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(command_done) Command c = { 0 };
        int status;

        if (command_open(&c, "oxt db restore", "[OPTIONS] FILE",
                         "Replaces everything by what a backup holds. The history goes on; running clients are told of the change.",
                         no_options, 1, 1, argc, argv, &status) < 0)
                return status;
        if (access(c.words[0], R_OK) < 0) {
                fprintf(stderr, "Cannot read %s: %s\n", c.words[0], strerror(errno));
                return 2;
        }
        return replace(&c, c.words[0], "restore") < 0 ? 2 : 0;
}

static void check_schema(const Tree *t)
{
        const Node *n = tree_find(t, "/db-version");

        if (!n || !node_has_text(n) || !streq(n->content, "42"))
                fprintf(stderr, "Warning: this tree has %s%s; oxt knows schema version 42.\n",
                        n && node_has_text(n) ? "schema version " : "no schema version",
                        n && node_has_text(n) ? (const char *) n->content : "");
}

static int db_import(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        char file[] = "/tmp/oxt-import-XXXXXX";
        _cleanup_close_ int fd = -EBADF;
        int status, r;
        Tree t;

        if (command_open(&c, "oxt db import", "[OPTIONS] DIR",
                         "Replaces everything by what OpenXT's files in DIR (db, vms/, dom-store/) hold. They are not changed.",
                         no_options, 1, 1, argc, argv, &status) < 0)
                return status;
        if (files_read(c.words[0], &t, report, NULL) < 0)
                return 2;
        check_schema(&t);
        fd = mkostemp(file, O_CLOEXEC);
        if (fd < 0) {
                tree_done(&t);
                log_errno(errno, "Cannot make a temporary file");
                return 2;
        }
        r = store_open(file, true, true, &store);
        if (r >= 0)
                r = store_save(store, &t);
        if (r < 0)
                fprintf(stderr, "Cannot write %s: %s\n", file, store ? store_error(store) : strerror(-r));
        if (r >= 0)
                r = store_finish(store);
        store = store_free(store); /* all is in the one file now */
        if (r >= 0)
                r = replace(&c, file, "import");
        (void) unlink(file);
        tree_done(&t);
        return r < 0 ? 2 : 0;
}

/* export */

static bool folder_empty(const char *path)
{
        bool empty = true;
        DIR *d = opendir(path);
        struct dirent *e;

        if (!d)
                return true;
        while (empty && (e = readdir(d)))
                empty = streq(e->d_name, ".") || streq(e->d_name, "..");
        closedir(d);
        return empty;
}

static int db_export(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        int status, r;
        Tree t;

        if (command_open(&c, "oxt db export", "[OPTIONS] DIR", "Writes the database as OpenXT's files into the folder DIR.",
                         output_options, 1, 1, argc, argv, &status) < 0)
                return status;
        if (!arg_force && !folder_empty(c.words[0])) {
                fprintf(stderr, "%s is not empty. --force writes into it nevertheless.\n", c.words[0]);
                return 1;
        }
        r = command_open_tree(&c, &store, &t);
        if (r == -EUCLEAN && command_database && store) {
                fprintf(stderr, "Going on with what can be read.\n");
                r = store_salvage(store, &t);
        }
        if (r < 0)
                return 2;
        r = files_write(c.words[0], &t, report, NULL);
        if (r < 0)
                log_errno(r, "Cannot write into %s", c.words[0]);
        tree_done(&t);
        return r < 0 ? 2 : 0;
}

/* compact */

static int compact_offline(const Command *c, int64_t *before, int64_t *after)
{
        _cleanup_close_ int lock = lock_file(c->lock);
        _cleanup_(store_freep) Store *store = NULL;
        int r;

        if (lock < 0)
                return log_errno(lock, "Cannot lock %s", c->lock);
        r = store_open(c->database, true, false, &store);
        if (r >= 0)
                r = store_file_size(store, before);
        if (r >= 0)
                r = store_compact(store);
        if (r >= 0)
                r = store_file_size(store, after);
        if (r < 0)
                fprintf(stderr, "Cannot compact %s: %s\n", c->database, store ? store_error(store) : strerror(-r));
        return r;
}

static int db_compact(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(command_done) Command c = { 0 };
        _cleanup_free_ char *address = NULL;
        sd_bus_message *reply = NULL;
        int64_t before = 0, after = 0;
        sd_bus *bus = NULL;
        int status, r;

        if (command_open(&c, "oxt db compact", "[OPTIONS]", "Makes the database file as small as it can be, and cuts its history.",
                         no_options, 0, 0, argc, argv, &status) < 0)
                return status;
        if (store_in_use(c.lock) > 0) {
                address = stack_bus_address(&c.stack);
                r = address ? bus_open(address, &bus) : -ENOMEM;
                if (r < 0)
                        log_errno(r, "Cannot reach dbd");
                else
                        r = dbtool_call(bus, DB1_HOST_INTERFACE, "Compact", &reply, NULL);
                if (r >= 0)
                        r = sd_bus_message_read(reply, "tt", (uint64_t *) &before, (uint64_t *) &after);
                sd_bus_message_unref(reply);
                sd_bus_flush_close_unref(bus);
        } else
                r = compact_offline(&c, &before, &after);
        if (r < 0)
                return 2;
        printf("%lld bytes before, %lld after\n", (long long) before, (long long) after);
        return 0;
}

static const Verb verbs[] = {
        { "check", "[OPTIONS]", 0, -1, db_check, "Check the whole database" },
        { "backup", "[OPTIONS] FILE", 0, -1, db_backup, "Copy the database while it is in use" },
        { "restore", "[OPTIONS] FILE", 0, -1, db_restore, "Replace everything by a backup" },
        { "export", "[OPTIONS] DIR", 0, -1, db_export, "Write the database as OpenXT's files" },
        { "import", "[OPTIONS] DIR", 0, -1, db_import, "Replace everything by what OpenXT's files hold" },
        { "compact", "[OPTIONS]", 0, -1, db_compact, "Make the database file small" },
        { "log", "[OPTIONS] [PATH]", 0, -1, db_log, "Show who changed what, and when" },
        { "diff", "[OPTIONS] [PATH]", 0, -1, db_diff, "Show what is different from what it was" },
        { "undo", "[OPTIONS] REVISION", 0, -1, db_undo, "Take one change back" },
        { 0 }
};

int oxt_db(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt db", .synopsis = "[OPTIONS] COMMAND ...", .verbs = verbs,
                                         .summary = "Looks after the configuration database." };

        return stack_group(&program, argc, argv);
}
