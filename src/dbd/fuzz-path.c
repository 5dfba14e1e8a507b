/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths and the operations on them. Each line of the input is a guest's request (first byte: which one);
 * whatever it says, nothing outside the guest's own tree changes, and what is taken back is gone.
 */
#include "json-tree.h"
#include "parse.h"
#include "path.h"

#define ROOT "/dom-store/11111111-2222-3333-4444-555555555555"

static void check_path(const char *path)
{
        const char *p = path, *name;
        size_t len, depth = 0;

        if (path[0] != '/' || (path[1] && path[strlen(path) - 1] == '/') || strstr(path, "//"))
                abort();
        while ((name = path_next(&p, &len))) {
                if (len == 0 || memchr(name, '/', len))
                        abort();
                depth++;
        }
        if (depth != path_depth(path))
                abort();
}

static void request(Tree *t, const char *line)
{
        _cleanup_free_ char *full = path_below(ROOT, line + 1), *normal = path_normalize(line + 1);
        _cleanup_strbuf_ StrBuf before = STRBUF_INIT, after = STRBUF_INIT;
        TreeLog log = { .tree = t };
        Node *subtree;
        TreeTop top;
        int r = 0;

        if (!full || !normal)
                return;
        check_path(full);
        check_path(normal);
        if (!path_within(full, ROOT))
                abort();
        json_write(&before, t->root);
        tree_top(t, full, &top);
        if (top.path_len > strlen(full))
                abort();
        switch (line[0] % 4) {
        case 0:
                r = tree_write(&log, full, "value");
                break;
        case 1:
                r = tree_rm(&log, full);
                break;
        case 2:
                if (json_read("{\"a\":{\"b\":1},\"c\":null}", 23, 10, &subtree, NULL) >= 0)
                        r = tree_inject(&log, full, subtree);
                break;
        default:
                (void) tree_find(t, full);
        }
        if (r < 0 || line[0] % 8 < 4) {
                treelog_undo(&log);
                json_write(&after, t->root);
                if (!streq(before.data, after.data))
                        abort();
        }
        treelog_done(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = strndup((const char *) data, size);
        TreeLog log = { 0 };
        Tree t;

        if (!text || !utf8_valid(text, strlen(text)) || tree_init(&t) < 0)
                return 0; /* the bus lets no other texts through */
        log.tree = &t;
        (void) tree_write(&log, "/outside", "kept");
        (void) tree_write(&log, "/dom-store/other/x", "kept");
        treelog_done(&log);
        for (char *line = text, *next; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                if (line[0])
                        request(&t, line);
        }
        if (!tree_find(&t, "/outside") || !tree_find(&t, "/dom-store/other/x"))
                abort();
        tree_done(&t);
        return 0;
}
