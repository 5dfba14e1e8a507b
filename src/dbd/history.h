/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The history of changes, a table beside the tree in the same file and written in the same commit. A
 * change is kept as the path where it begins and the JSON of that subtree before and after (NULL: there
 * was nothing), so taking it back is putting the old one there again. Secrets (db-secrets.h) are left
 * out, texts over HISTORY_TEXT_MAX are too.
 */
#include "store.h"

#define HISTORY_TEXT_MAX (256 * KIB)
/* The part of its size that the changes of one guest may take, so that none can push out all others'. */
#define HISTORY_GUEST_PART 8
/* How a guest is named in it; the host's processes are named otherwise. */
#define HISTORY_GUEST_PREFIX "vm "

typedef enum HistoryFlags {
        HISTORY_SECRET = 1 << 0, /* something secret or binary was left out: shown as null, cannot be taken back */
        HISTORY_CUT = 1 << 1,    /* too long to be kept */
        HISTORY_ALL = 1 << 2,    /* the whole database was replaced (import, restore) */
} HistoryFlags;

typedef struct HistoryEntry {
        uint64_t revision;
        int64_t time; /* seconds since 1970 */
        const char *who, *path, *old, *new;
        int flags;
} HistoryEntry;

/* What the history keeps of a node (NULL: nothing); to be freed. *flags is added to. */
char *history_text(const Node *n, const char *path, int *flags);

int history_add(Store *s, const HistoryEntry *e);
/* What an entry counts for in the history's size. */
int64_t history_entry_size(const HistoryEntry *e);
/* Removes what is older than that or beyond that many bytes, the oldest first. */
int history_prune(Store *s, int64_t older_than, int64_t max_bytes);
/* Bytes that the history takes. */
int history_size(Store *s, int64_t *ret);

/*
 * Gives each entry from first_revision on, oldest first, that concerns path (normal; "/" for all) to
 * each(); stops when that returns other than 0, and returns it.
 */
int history_read(Store *s, const char *path, uint64_t first_revision, uint64_t last_revision,
                 int (*each)(const HistoryEntry *e, void *userdata), void *userdata);
