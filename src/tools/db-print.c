/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "db-print.h"

#include "json-tree.h"

/* JSON of a node on one line; inner nodes with children give NULL. To be freed. */
static char *leaf_text(const Node *n)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *text, *to;

        if (node_first(n))
                return NULL;
        if (n->kind == NODE_BINARY)
                return strformat("(%zu bytes)", ((const Blob *) n->content)->size);
        json_write_bounded(&b, n, SIZE_MAX);
        if (strbuf_take(&b, &text) < 0)
                return NULL;
        /* Only an array has lines: join them, without their indentation. */
        to = text;
        for (char *from = text; *from; from++) {
                if (*from == '\n') {
                        *to++ = ' ';
                        from += strspn(from + 1, " ");
                } else
                        *to++ = *from;
        }
        *to = '\0';
        return text;
}

typedef struct Compare {
        void (*each)(const char *path, const char *old, const char *new, void *userdata);
        void *userdata;
        size_t n;
} Compare;

static void compare(Compare *c, const Node *a, const Node *b, const char *path)
{
        _cleanup_free_ char *old = a ? leaf_text(a) : NULL, *new = b ? leaf_text(b) : NULL;
        bool same = a && b && !node_first(a) && !node_first(b) && node_equal(a, b);

        if ((old || new) && !same) {
                c->n++;
                c->each(*path ? path : "/", old, new, c->userdata);
        }
        for (const Node *k = a ? node_first(a) : NULL; k; k = k->next) {
                _cleanup_free_ char *child = strformat("%s/%s", path, k->name);

                compare(c, k, b ? node_child(b, k->name, k->name_len) : NULL, strempty(child));
        }
        for (const Node *k = b ? node_first(b) : NULL; k; k = k->next) {
                _cleanup_free_ char *child = NULL;

                if (a && node_child(a, k->name, k->name_len))
                        continue;
                child = strformat("%s/%s", path, k->name);
                compare(c, NULL, k, strempty(child));
        }
}

size_t trees_compare(const Node *a, const Node *b, const char *path,
                     void (*each)(const char *path, const char *old, const char *new, void *userdata), void *userdata)
{
        Compare c = { each, userdata, 0 };

        compare(&c, a, b, streq(path, "/") ? "" : path);
        return c.n;
}

void print_difference(const char *path, const char *old, const char *new, _unused_ void *userdata)
{
        if (old)
                printf("- %s = %s\n", path, old);
        if (new)
                printf("+ %s = %s\n", path, new);
}
