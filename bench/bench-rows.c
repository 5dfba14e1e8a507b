/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench-rows.h"

#include <err.h>

#include "history.h"
#include "store.h"
#include "tree.h"

struct Rows {
        Store *store;
        int64_t *ids; /* of leaves */
        size_t n;
        uint32_t random_state;
        uint64_t revision;
};

Rows *rows_open(const char *path)
{
        Rows *r = calloc(1, sizeof *r);
        size_t nodes = 0, bytes = 0;
        Tree t;

        if (!r || store_open(path, true, false, &r->store) < 0 || store_load(r->store, &t) < 0)
                errx(1, "cannot open %s", path);
        node_measure(t.root, &nodes, &bytes);
        r->ids = calloc(nodes, sizeof *r->ids);
        for (const Node *vm = node_first(tree_find(&t, "/vm")); r->ids && vm; vm = vm->next)
                for (const Node *k = node_first(vm); k; k = k->next)
                        r->ids[r->n++] = k->id;
        if (r->n == 0)
                errx(1, "%s has no VMs", path);
        tree_done(&t);
        r->revision = 1000000;
        return r;
}

void rows_commit(Rows *r)
{
        char value[24];
        TreeRow row = { .type = ROW_UPDATE, .kind = NODE_STRING, .content = value };
        HistoryEntry e = { .revision = ++r->revision, .time = 1, .who = "uid 0 pid 12345 oxt-bench-db-load",
                           .path = "/vm/00000000-0000-4000-8000-000000000000/k0", .old = "\"1234567890\"",
                           .new = "\"1234567891\"" };

        r->random_state = r->random_state * 1664525 + 1013904223;
        row.id = r->ids[(size_t) (((uint64_t) r->random_state * r->n) >> 32)];
        snprintf(value, sizeof value, "%llu", (unsigned long long) now_usec());
        if (store_begin(r->store) < 0 || store_apply(r->store, &row, 1) < 0 || history_add(r->store, &e) < 0 ||
            store_set_meta(r->store, "revision", (int64_t) r->revision) < 0 || store_commit(r->store) < 0)
                errx(1, "SQLite: %s", store_error(r->store));
}
