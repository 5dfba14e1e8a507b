/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What SQLite alone commits: the rows of one write of dbd (node, history, revision), one commit for each, on
 * a database made by dbd.
 *
 *     oxt-bench-sqlite FILE SECONDS
 *
 * FILE is changed. Prints commits a second and the median of one in microseconds.
 */
#include <assert.h>

#include "history.h"
#include "store.h"
#include "tree.h"

#define SAMPLES_MAX 1000000

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
        uint32_t *samples = calloc(SAMPLES_MAX, sizeof *samples), random_state = 7;
        uint64_t begin, now, end, revision = 1000000;
        Store *s = NULL;
        int64_t *ids;
        size_t n = 0, n_ids = 0, size = 1 << 21;
        Tree t;

        assert(argc == 3 && samples);
        assert(store_open(argv[1], true, false, &s) >= 0 && store_load(s, &t) >= 0);
        ids = calloc(size, sizeof *ids);
        /* Leaves only. */
        for (const Node *vm = node_first(tree_find(&t, "/vm")); vm; vm = vm->next)
                for (const Node *k = node_first(vm); k && n_ids < size; k = k->next)
                        ids[n_ids++] = k->id;
        assert(n_ids > 0);
        end = now_usec() + (uint64_t) (atof(argv[2]) * 1e6);
        do {
                char value[24];
                TreeRow row = { .type = ROW_UPDATE, .kind = NODE_STRING, .content = value };
                HistoryEntry e = { .time = 1, .who = "uid 0 pid 12345 oxt-bench-db-load",
                                   .path = "/vm/00000000-0000-4000-8000-000000000000/k0", .old = "\"1234567890\"", .new = "\"1234567891\"" };

                random_state = random_state * 1664525 + 1013904223;
                row.id = ids[(size_t) (((uint64_t) random_state * n_ids) >> 32)];
                begin = now_usec();
                snprintf(value, sizeof value, "%llu", (unsigned long long) begin);
                e.revision = ++revision;
                assert(store_begin(s) >= 0 && store_apply(s, &row, 1) >= 0 && history_add(s, &e) >= 0 &&
                       store_set_meta(s, "revision", (int64_t) revision) >= 0 && store_commit(s) >= 0);
                now = now_usec();
                if (n < SAMPLES_MAX)
                        samples[n++] = (uint32_t) (now - begin);
        } while (now < end);
        qsort(samples, n, sizeof *samples, compare);
        printf("%.0f %u\n", (double) n / atof(argv[2]), samples[n / 2]);
        return 0;
}
