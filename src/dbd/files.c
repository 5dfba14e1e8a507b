/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include "fs.h"
#include "json-tree.h"

#define FILE_SIZE_MAX (256 * MIB)
#define FOLDER_DEPTH_MAX 32

static const struct {
        const char *path, *folder;
} places[] = { { "/vm", "vms" }, { "/dom-store", "dom-store" } };

typedef struct Reading {
        Tree *tree;
        FilesReport report;
        void *userdata;
} Reading;

/* 0 and the subtree, or why not. */
static int read_json(const char *path, Node **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = read_file(path, FILE_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;
        r = json_read(text, size, TREE_DEPTH_MAX - 100, ret, NULL);
        if (r == -ENODATA) {
                *ret = node_new("", 0, NODE_INNER, NULL);
                r = *ret ? 0 : -ENOMEM;
        }
        return r;
}

/* Prefers the complete file, else the complete temporary one. */
static int read_either(const char *path, Node **ret)
{
        _cleanup_free_ char *tmp = strformat("%s.tmp", path);
        int r, e;

        if (!tmp)
                return -ENOMEM;
        r = read_json(path, ret);
        if (r != -ENOENT && r != -EBADMSG)
                return r;
        e = read_json(tmp, ret);
        return e < 0 ? r : 0;
}

static const char *why_text(int r)
{
        return r == -EBADMSG ? "it is not JSON" : r == -EFBIG ? "it is too large" : strerror(-r);
}

static int inject(Tree *t, const char *path, Node *n)
{
        TreeLog log = { .tree = t };
        int r = tree_inject(&log, path, n);

        if (r < 0)
                treelog_undo(&log);
        treelog_done(&log);
        return r < 0 ? r : 0;
}

static int read_binary(const char *path, Node **ret)
{
        _cleanup_free_ char *data = NULL;
        Blob *b;
        size_t size;
        int r;

        r = read_file(path, FILE_SIZE_MAX, &data, &size);
        if (r < 0)
                return r;
        b = blob_new(data, size);
        *ret = b ? node_new("", 0, NODE_BINARY, b) : NULL;
        return *ret ? 0 : -ENOMEM;
}

static int name_compare(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int name_wanted(const struct dirent *e)
{
        return !streq(e->d_name, ".") && !streq(e->d_name, "..");
}

/* One regular file of a folder that stands for path. */
static int read_entry(Reading *r, const char *dir, const char *name, const char *path)
{
        const char *tmp = endswith(name, ".tmp");
        _cleanup_free_ char *base = strndup(name, tmp ? (size_t) (tmp - name) : strlen(name)), *file = NULL, *node = NULL;
        const char *end = base ? endswith(base, ".db") : NULL;
        struct stat st;
        Node *n;
        int e;

        file = path_join(dir, end ? base : name);
        node = end ? strformat("%s/%.*s", path, (int) (end - base), base) : strformat("%s/%s", path, name);
        if (!base || !file || !node)
                return -ENOMEM;
        if (end && tmp && lstat(file, &st) == 0)
                return 0; /* read in place of its complete file, if need be */
        e = end ? read_either(file, &n) : read_binary(file, &n);
        if (e >= 0)
                e = inject(r->tree, node, n);
        if (e == -ENOMEM)
                return e;
        if (e < 0)
                r->report(file, e == -EROFS ? "a binary file is in its way" : why_text(e), r->userdata);
        return 0;
}

static int read_folder(Reading *r, const char *dir, const char *path, int depth)
{
        struct dirent **list = NULL;
        int n, e = 0;

        n = scandir(dir, &list, name_wanted, name_compare);
        if (n < 0) {
                if (errno != ENOENT)
                        r->report(dir, strerror(errno), r->userdata);
                return 0;
        }
        for (int folders = 0; folders < 2; folders++) /* the files of a level come before its folders */
                for (int i = 0; e >= 0 && i < n; i++) {
                        _cleanup_free_ char *file = path_join(dir, list[i]->d_name), *below = NULL;
                        struct stat st;

                        if (!file) {
                                e = -ENOMEM;
                                break;
                        }
                        if (lstat(file, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
                                if (!folders)
                                        r->report(file, "neither a file nor a folder", r->userdata);
                                continue;
                        }
                        if (S_ISREG(st.st_mode) && !folders)
                                e = read_entry(r, dir, list[i]->d_name, path);
                        else if (S_ISDIR(st.st_mode) && folders) {
                                below = strformat("%s/%s", path, list[i]->d_name);
                                if (!below)
                                        e = -ENOMEM;
                                else if (depth >= FOLDER_DEPTH_MAX)
                                        r->report(file, "too deep", r->userdata);
                                else
                                        e = read_folder(r, file, below, depth + 1);
                        }
                }
        for (int i = 0; i < n; i++)
                free(list[i]);
        free(list);
        return e;
}

int files_read(const char *dir, Tree *ret, FilesReport report, void *userdata)
{
        _cleanup_free_ char *main_file = path_join(dir, "db");
        Reading reading = { ret, report, userdata };
        Node *n = NULL;
        int r;

        if (!main_file)
                return -ENOMEM;
        r = read_either(main_file, &n);
        if (r < 0) {
                report(main_file, why_text(r), userdata);
                return r;
        }
        r = tree_init(ret);
        if (r < 0) {
                node_free(n);
                return r;
        }
        r = inject(ret, "/", n);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *folder = path_join(dir, places[i].folder);

                r = folder ? read_folder(&reading, folder, places[i].path, 0) : -ENOMEM;
        }
        if (r < 0)
                tree_done(ret);
        return r;
}

/* Writing */

static int write_json(const char *path, const Node *n)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        json_write(&b, n);
        return b.oom ? -ENOMEM : write_file_atomic(path, b.data, b.len, 0644);
}

/* The binary nodes below n, each as a file of its own in dir. */
static int write_binaries(const Node *n, const char *dir, FilesReport report, void *userdata)
{
        _cleanup_free_ char *path = NULL;
        const Blob *b = n->content;
        int r = 0;

        if (n->kind != NODE_BINARY && !node_first(n))
                return 0;
        if (streq(n->name, ".") || streq(n->name, "..")) {
                report(dir, "a node of that name cannot be a file", userdata);
                return 0;
        }
        path = path_join(dir, n->name);
        if (!path)
                return -ENOMEM;
        if (n->kind == NODE_BINARY) {
                r = mkdir_parents(dir, 0755);
                return r < 0 ? r : write_file_atomic(path, b->data, b->size, 0644);
        }
        for (const Node *k = node_first(n); r >= 0 && k; k = k->next)
                r = write_binaries(k, path, report, userdata);
        return r;
}

static int write_place(const char *dir, const Node *parent, FilesReport report, void *userdata)
{
        int r = mkdir_parents(dir, 0755);

        for (const Node *k = parent ? node_first(parent) : NULL; r >= 0 && k; k = k->next) {
                _cleanup_free_ char *path = strformat("%s/%s.db", dir, k->name);

                if (!path)
                        return -ENOMEM;
                if (k->name_len > NAME_MAX - 16) {
                        report(path, "the name is too long for a file", userdata);
                        continue;
                }
                if (k->kind != NODE_BINARY)
                        r = write_json(path, k);
                if (r >= 0)
                        r = write_binaries(k, dir, report, userdata);
        }
        return r;
}

int files_write(const char *dir, const Tree *t, FilesReport report, void *userdata)
{
        _cleanup_free_ char *main_file = path_join(dir, "db");
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r;

        if (!main_file)
                return -ENOMEM;
        r = mkdir_parents(dir, 0755);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *folder = path_join(dir, places[i].folder);

                r = folder ? write_place(folder, tree_find(t, places[i].path), report, userdata) : -ENOMEM;
        }
        if (r < 0)
                return r;
        /* The main file is last, as everything is there then. */
        json_write_without(&b, t->root, (const char *const[]) { "vm", "dom-store", NULL });
        return b.oom ? -ENOMEM : write_file_atomic(main_file, b.data, b.len, 0644);
}
