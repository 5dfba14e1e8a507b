/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * upgrade-db: run before dbd starts. The database of this version has one schema; there is nothing to
 * do for it, and any other is refused rather than served wrongly.
 */
#include <sys/file.h>
#include <unistd.h>

#include "log.h"
#include "options.h"
#include "paths.h"
#include "store.h"

#define SCHEMA_VERSION "42"

static const char *arg_state_dir, *arg_runtime_dir, *arg_bus;

static const Option options[] = {
        { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept", NULL },
        { "runtime-dir", 0, "DIR", OPTION_STRING, &arg_runtime_dir, "Where sockets and runtime files are", NULL },
        { "bus", 0, "BUS", OPTION_STRING, &arg_bus, "Which bus the stack uses", "private system" },
        { 0 }
};

static const Program program = {
        .name = "upgrade-db",
        .synopsis = "[OPTIONS]",
        .summary = "Checks the schema version of the configuration database.",
        .options = options,
        .flags = PROGRAM_PERMUTE,
        .footer = "Databases of schema version " SCHEMA_VERSION " need nothing; others are refused.",
};

static int check_database(const char *path)
{
        _cleanup_(store_freep) Store *store = NULL;
        const Node *version;
        Tree t = { 0 };
        int r;

        r = store_open(path, false, false, &store);
        if (r == -ENOENT) {
                printf("There is no database yet; dbd makes one of schema version %s.\n", SCHEMA_VERSION);
                return 0;
        }
        if (r >= 0)
                r = store_load(store, &t);
        if (r < 0) {
                printf("Cannot read %s: %s\n", path, store ? store_error(store) : strerror(-r));
                return 1;
        }
        version = tree_find(&t, "/db-version");
        if (version && version->kind == NODE_STRING && streq(version->content, SCHEMA_VERSION)) {
                printf("The database has schema version %s: nothing to do.\n", SCHEMA_VERSION);
                r = 0;
        } else {
                printf("The database has %s%s. This version of oxt knows only schema version %s and leaves it as it is.\n",
                       version && node_has_text(version) ? "schema version " : "no schema version",
                       version && node_has_text(version) ? (const char *) version->content : "", SCHEMA_VERSION);
                r = 1;
        }
        tree_done(&t);
        return r;
}

int main(int argc, char *argv[])
{
        _cleanup_free_ char *path = NULL, *lock = NULL;
        int status, first, r;
        Paths paths;

        log_init(program.name, LOG_INFO);
        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        if (paths_init(&paths, arg_state_dir, arg_runtime_dir, arg_bus) < 0)
                return 1;
        path = paths_format(&paths, PATH_DB, STORE_FILE);
        lock = paths_format(&paths, PATH_DB, STORE_LOCK);
        paths_done(&paths);
        if (!path || !lock)
                return log_oom() < 0;
        r = store_in_use(lock);
        if (r > 0) {
                printf("dbd is running; end it first.\n");
                return 1;
        }
        status = check_database(path);
        return fflush(stdout) == 0 ? status : 1;
}
