/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON reader: whatever it takes is bounded, valid, and comes back the same from what is written of it. */
#include "json-tree.h"
#include "parse.h"

#define DEPTH 64

static void check(const Node *n, size_t depth)
{
        if (depth == 0 || !utf8_valid(n->name, n->name_len) || memchr(n->name, '/', n->name_len))
                abort();
        if (node_has_text(n) && !utf8_valid(n->content, strlen(n->content)))
                abort();
        for (const Node *k = node_first(n); k; k = k->next) {
                if (k->name_len == 0 || node_child(n, k->name, k->name_len) != k)
                        abort();
                check(k, depth - 1);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        StrBuf first = STRBUF_INIT, second = STRBUF_INIT;
        Node *n, *again;
        size_t at = 0;

        if (json_read((const char *) data, size, DEPTH, &n, &at) < 0) {
                if (at > size)
                        abort();
                return 0;
        }
        check(n, DEPTH);
        json_write(&first, n);
        if (json_read(first.data, first.len, DEPTH, &again, NULL) < 0 || !node_equal(n, again))
                abort();
        json_write(&second, again);
        if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
                abort();
        strbuf_done(&first);
        strbuf_done(&second);
        node_free(n);
        node_free(again);
        return 0;
}
