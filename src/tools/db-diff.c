/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* db-diff: the live tree against what was exported or dumped earlier. */
#include <sys/stat.h>

#include "db-client-tool.h"
#include "db-print.h"
#include "files.h"
#include "fs.h"
#include "json-tree.h"
#include "options.h"
#include "path.h"

#define DUMP_SIZE_MAX (256 * MIB)

static const Option options[] = { { 0 } };

static const Program program = {
        .name = "db-diff",
        .synopsis = "FILE [PATH]",
        .summary = "Show how the configuration database differs from FILE.",
        .options = options,
        .flags = PROGRAM_PERMUTE,
        .footer = "FILE is a folder written by `oxt db export`, or JSON as `db-read --json PATH` prints it.\n"
                  "Lines: `- PATH = VALUE` is in FILE alone, `+ PATH = VALUE` in the database alone.\n"
                  "Exit status: 0 no difference, 1 some, 2 trouble.",
};

static void report(const char *path, const char *why, _unused_ void *userdata)
{
        fprintf(stderr, "%s: left out: %s\n", path, why);
}

/* JSON, which is all that the live tree is read as, has null for binary nodes. */
static void binaries_to_null(Node *n)
{
        if (n->kind == NODE_BINARY) {
                content_free(NODE_BINARY, TAKE_PTR(n->content));
                n->kind = NODE_EMPTY;
        }
        for (const Node *k = node_first(n); k; k = k->next)
                binaries_to_null((Node *) k);
}

static int read_folder(const char *dir, const char *path, Node **ret)
{
        Tree t;
        Node *n;
        int r = files_read(dir, &t, report, NULL);

        if (r < 0)
                return r;
        n = tree_find(&t, path);
        if (n) {
                *ret = node_new("", 0, n->kind, TAKE_PTR(n->content));
                n->kind = NODE_EMPTY;
                if (*ret)
                        binaries_to_null(*ret);
        }
        tree_done(&t);
        return 0;
}

static int read_dump(const char *file, Node **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = read_file(file, DUMP_SIZE_MAX, &text, &size);
        if (r >= 0)
                r = json_read(text, size, TREE_DEPTH_MAX, ret, NULL);
        if (r < 0)
                fprintf(stderr, "db-diff: %s: %s\n", file, r == -EBADMSG || r == -ENODATA ? "this is not JSON" : strerror(-r));
        return r;
}

static int read_live(const char *path, Node **ret)
{
        _cleanup_free_ char *text = NULL;
        sd_bus *bus = NULL;
        int r;

        r = dbtool_connect(&bus);
        if (r < 0)
                return r;
        r = dbtool_snapshot(bus, path, &text);
        if (r >= 0 && *text)
                r = json_read(text, strlen(text), TREE_DEPTH_MAX, ret, NULL);
        sd_bus_flush_close_unref(bus);
        return r;
}

int main(int argc, char *argv[])
{
        _cleanup_(node_freep) Node *old = NULL, *new = NULL;
        _cleanup_free_ char *path = NULL;
        int status, first, r;
        struct stat st;

        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        if (argc - first < 1 || argc - first > 2) {
                fprintf(stderr, "Try 'db-diff --help'.\n");
                return 2;
        }
        path = path_normalize(argc - first > 1 ? argv[first + 1] : "/");
        if (!path)
                return 2;
        if (stat(argv[first], &st) < 0) {
                fprintf(stderr, "db-diff: %s: %s\n", argv[first], strerror(errno));
                return 2;
        }
        r = S_ISDIR(st.st_mode) ? read_folder(argv[first], path, &old) : read_dump(argv[first], &old);
        if (r < 0 || read_live(path, &new) < 0)
                return 2;
        status = trees_compare(old, new, path, print_difference, NULL) > 0;
        return fflush(stdout) == 0 ? status : 2;
}
