/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Client of dbd for daemons: asynchronous, ordered, and with watches.
 *
 * Beside the contract's interface com.citrix.xenclient.db, dbd serves on the same name and path "/"
 * the interface org.oxt.Db1:
 *
 *     Watch(s path, t last_revision) -> (t id, t revision, b missed)
 *     Unwatch(t id)
 *     Snapshot(s path) -> (t revision, s json)
 *     Transact(a(sss) operations) -> (t revision)   error org.oxt.Db1.Error.Failed: "<index>: <why>"
 *     signal Changed(t id, t revision, a(sss) changes), to the watching connection alone: one for each
 *         commit; a change is (path, kind, value) with kind write (a leaf has that text now), inject
 *         (the subtree is now that JSON) or rm (value "").
 *
 * Operations are (kind, path, value): write, rm, inject, and the preconditions equals (value), equals-json
 * (the whole subtree, as Snapshot gives it), exists, absent, within (after the operations before it, the subtree has at most
 * so many nodes and bytes, "NODES BYTES", or "" for what a guest's own tree may have). A missing node's Snapshot is "". Last_revision 0
 * means a new watch. A Changed signal is sent before the writer has its reply. Paths are those that the caller sees.
 *
 * For the host alone there is org.oxt.Db1.Host:
 *
 *     Replace(h file, s how) -> (t revision)     everything becomes what that database file holds; how
 *                                                ("import", "restore") is for the history
 *     Compact() -> (t bytes_before, t bytes_after)
 *     Status() -> (s json)
 */
#include <systemd/sd-bus.h>

#include "util.h"

#define DB_SERVICE "com.citrix.xenclient.db"
#define DB_INTERFACE "com.citrix.xenclient.db"
#define DB1_INTERFACE "org.oxt.Db1"
#define DB1_HOST_INTERFACE "org.oxt.Db1.Host"
#define DB1_ERROR_FAILED "org.oxt.Db1.Error.Failed"

/* An in-memory copy of a subtree: an ordered tree of texts. */
typedef struct DbNode DbNode;

/* path is relative to node; NULL or "" is node itself. NULL result: missing. */
const DbNode *dbnode_find(const DbNode *node, const char *path);
const char *dbnode_name(const DbNode *node);
/* The text as dbd's `read` gives it: "" for missing and inner nodes. Never NULL. */
const char *dbnode_text(const DbNode *node, const char *path);
/* Children in the database's order: first and next, NULL at the end. */
const DbNode *dbnode_first(const DbNode *node);
const DbNode *dbnode_next(const DbNode *node);

/*
 * A mirror follows one subtree (e.g. "/vm"): watch, snapshot, then every change. It recovers by
 * itself when dbd restarts (watch with the last revision, new snapshot if something was missed).
 */
typedef struct DbMirror DbMirror;

/* None of them may free the mirror. */
typedef struct DbMirrorEvents {
        /* The first snapshot is there (also after dbd came back and things were missed). */
        void (*loaded)(DbMirror *m, void *userdata);
        /* One change was applied to the copy; path is absolute; kind as in Changed. */
        void (*changed)(DbMirror *m, const char *path, const char *kind, void *userdata);
        /* dbd went away; the copy stays as it was. */
        void (*lost)(DbMirror *m, void *userdata);
} DbMirrorEvents;

/* Begins at once; loaded() tells when it is there. A reference to bus is kept. Returns 0 or negative errno. */
int dbmirror_new(sd_bus *bus, const char *path, const DbMirrorEvents *events, void *userdata, DbMirror **ret);
DbMirror *dbmirror_free(DbMirror *m);
DEFINE_CLEANUP(DbMirror *, dbmirror_free)
/*
 * The subtree, NULL until loaded. Valid until the loop runs again; a node that is kept stays where it is
 * until it or one above it is removed, one above it is injected, or the mirror is loaded anew.
 */
const DbNode *dbmirror_root(const DbMirror *m);

/*
 * Writing. A DbTx collects operations; db_tx_commit sends them as one Transact and calls done once:
 * error NULL means that they are durable. done may be NULL. The tx is used up in any case.
 */
typedef struct DbTx DbTx;
typedef void (*DbDone)(const sd_bus_error *error, void *userdata);

DbTx *db_tx_new(void); /* NULL: out of memory; all below then return -ENOMEM */
int db_tx_write(DbTx *t, const char *path, const char *value);
int db_tx_rm(DbTx *t, const char *path);
int db_tx_inject(DbTx *t, const char *path, const char *json);
int db_tx_require(DbTx *t, const char *kind /* equals exists absent within */, const char *path, const char *value);
int db_tx_commit(DbTx *t, sd_bus *bus, DbDone done, void *userdata);
/* For one that is not committed after all. */
DbTx *db_tx_free(DbTx *t);
