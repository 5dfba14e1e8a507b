/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The daemons of a stack: one table, how each is started, and the runtime record
 * <runtime>/daemon/<name>.json ("version": 1) that lets the next supervisor, and `oxt down`, find
 * what this one has started.
 */
#include <sys/types.h>

#include "spawn.h"
#include "stack.h"

typedef enum DaemonId {
        DAEMON_BUS,
        DAEMON_HELPER,
        DAEMON_DBD,
        DAEMON_PROXY,
        DAEMON_XENMGR,
        DAEMON_SUPERVISOR, /* is not supervised; has a record like the others */
        _DAEMON_MAX,
} DaemonId;

typedef struct DaemonRow {
        const char *name; /* of its record and its log */
        const char *user; /* what it becomes where root starts it (data/sysusers.d/oxt.conf); NULL: root */
        SpawnProgram program;
        const char *args[6];
        unsigned needs; /* bits of those that must be ready before its first start */
        bool private_bus_only, root_only;
} DaemonRow;

extern const DaemonRow daemon_table[_DAEMON_MAX];

/* Whether this stack has that daemon. */
bool daemon_wanted(const Stack *s, DaemonId id);

typedef struct DaemonRecord {
        pid_t pid;
        uint64_t start;    /* see process_start_time() */
        int64_t since;     /* wall clock, seconds */
        int64_t restarts;
        bool ready;
} DaemonRecord;

int daemon_record_write(const Paths *p, DaemonId id, const DaemonRecord *r);
/* Returns 0, -ENOENT (none), -EBADMSG (not one of ours). */
int daemon_record_read(const Paths *p, DaemonId id, DaemonRecord *ret);
void daemon_record_remove(const Paths *p, DaemonId id);
/* Reads the record and opens the process that it names. Returns a pidfd, or -ESRCH when it is gone. */
int daemon_record_open(const Paths *p, DaemonId id, DaemonRecord *ret);

/*
 * The same, and where there is no record, looks for the process among all by its program and command line:
 * a supervisor can be killed after it started a daemon and before it wrote the record.
 */
int daemon_find(const Stack *s, DaemonId id, DaemonRecord *ret);

/* Makes the directories, the bus's configuration and what else must be there. Errors are logged. */
int stack_prepare(const Stack *s);

/*
 * Starts the daemon with its log as output and writes its record. Readiness comes through sd_notify, but
 * dbus-daemon's: it drops the group that may write to that socket first, so it is given a pipe (in
 * *ret_ready_fd, else -EBADF) in which something arrives. Returns 0 or -errno (-ENOENT: not installed).
 */
int daemon_start(const Stack *s, DaemonId id, int64_t restarts, DaemonRecord *ret, int *ret_ready_fd);

/* Gives the bus's socket to root and the group oxt once dbus-daemon has made it. */
void bus_socket_restrict(const Stack *s);

/* It runs that program, with that word on its command line. Whose it is, is another question. */
bool process_runs(pid_t pid, const char *program, const char *word);
