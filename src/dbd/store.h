/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The database on disk: one SQLite file (WAL, synchronous=FULL) in the directory PATH_DB. A row is a
 * node; the order of ids is the order of children and parents come before children (tree.h). All
 * functions block, so in the daemon only the writer's thread calls them after start-up.
 *
 * Errors are negative errno: -ENOSPC (full), -EROFS, -EIO, -EUCLEAN (damaged), -EPROTO (made by a
 * newer version), -EBUSY, -ENOMEM. store_error() has a text for people.
 */
#include "tree.h"

typedef struct Store Store;

#define STORE_FILE "oxt.db"
#define STORE_VERSION 2 /* older files are brought to it when they are opened for writing */
#define STORE_LOCK "lock" /* held by who may write: dbd, or a tool while dbd does not run */

/* Whether somebody holds the lock file: 1, 0, or negative. */
int store_in_use(const char *lock);

/* create: make the file if it is missing. Opens for reading alone if !write. */
int store_open(const char *path, bool write, bool create, Store **ret);
Store *store_free(Store *s);
DEFINE_CLEANUP(Store *, store_free)
const char *store_error(const Store *s);

/* PRAGMA quick_check or integrity_check: 0, or -EUCLEAN with *ret_why (to be freed, may be NULL). */
int store_check(Store *s, bool full, char **ret_why);

int store_load(Store *s, Tree *t);
/* Of a damaged database what can be read. */
int store_salvage(Store *s, Tree *t);

int store_begin(Store *s);
int store_apply(Store *s, const TreeRow *rows, size_t n);
int store_commit(Store *s);
void store_rollback(Store *s);

/*
 * SQLite moves the log into the file within the commit that makes the log long, so whoever waits for that
 * commit waits for two more syncs. With store_defer_checkpoints() it is done by store_checkpoint() instead, to be
 * called after each commit; it does nothing while the log is short. A failure is no loss: the log stays, and
 * the next call tries again.
 */
void store_defer_checkpoints(Store *s);
void store_checkpoint(Store *s);

int store_get_meta(Store *s, const char *key, int64_t *ret); /* -ENOENT: 0 is meant */
int store_set_meta(Store *s, const char *key, int64_t value);

/* Replaces all nodes by those of a tree, within a transaction. */
int store_put_tree(Store *s, const Tree *t);
/* The same as a transaction of its own. */
int store_save(Store *s, const Tree *t);

/* Replaces everything by the tree as one transaction, which the history shows as done by who ("import", …). */
int store_replace(Store *s, const Tree *t, uint64_t revision, const char *who, const char *how);

/*
 * Makes the file as small as it can be, and the log beside it empty. Readers go on meanwhile.
 * store_file_size: of the database file, in bytes.
 */
int store_compact(Store *s);
/* Leaves everything in the one file, without a log beside it. */
int store_finish(Store *s);
int store_file_size(Store *s, int64_t *ret);

/* Copies the database, as the last commit left it, to a new file; also while others write. */
int store_backup(Store *s, const char *path);
