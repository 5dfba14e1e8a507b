/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one place where daemons start programs. What may be started is a fixed table (spawn.c) of
 * absolute paths; arguments are an array, never a shell text; the child has no descriptor but those
 * named here, default signal handling, and a clean environment.
 */
#include <sys/types.h>

#include "util.h"

typedef enum SpawnProgram {
        SPAWN_QEMU,     /* qemu-system-x86_64 */
        SPAWN_QEMU_IMG,
        SPAWN_PASST,
        SPAWN_SWTPM,
        SPAWN_SWTPM_SETUP,
        SPAWN_DBUS_DAEMON,
        SPAWN_TAR,
        SPAWN_XENVM,    /* our own programs: beside the running one */
        SPAWN_DBD,
        SPAWN_RPC_PROXY,
        SPAWN_RPC_PROXY_WEB,
        SPAWN_XENMGR,
        SPAWN_HELPER,
        SPAWN_EXTRACT,
        SPAWN_HOOK,     /* a hook program of xenmgr; the path is checked by the caller, see `path` */
        _SPAWN_MAX,
} SpawnProgram;

/* A child that is handed to another user, for root alone. */
typedef struct SpawnUser {
        uid_t uid;      /* and the group of the same number */
        gid_t group;    /* one more, or (gid_t) -1 */
        int folder_fd;  /* where it runs */
        int group_fd;   /* folder of its control group, or -EBADF */
        int pid_fd;     /* where it writes its number */
        bool pinned;    /* may lock memory in place */
} SpawnUser;

typedef struct SpawnOptions {
        int stdin_fd, stdout_fd, stderr_fd; /* -EBADF: /dev/null (stderr: inherited) */
        const int *fds;                     /* handed over as 3, 4, … in this order */
        size_t n_fds;
        char *const *env;                   /* NULL: PATH, HOME, LANG, where the screen is, and the OXT_ and DBUS_ variables only */
        char *const *env_extra;             /* NAME=value added to either; NULL: none */
        bool new_session;                   /* lives on when we end; not killed with our process group */
        const char *path;                   /* only for SPAWN_HOOK */
        bool bare;                          /* no core dumps, nor ever more rights than it begins with */
        const SpawnUser *user;              /* NULL: as we are; else also bare */
} SpawnOptions;

#define SPAWN_OPTIONS_INIT { .stdin_fd = -EBADF, .stdout_fd = -EBADF, .stderr_fd = -EBADF }

/* The path that would be started, or NULL if no such program is installed. Static. */
const char *spawn_program_path(SpawnProgram program);

/*
 * Starts program with args (args[0] is the first argument behind the program's name; NULL-terminated).
 * On success *ret_pid and *ret_pidfd (each may be NULL) are set; the caller reaps the child.
 * Returns 0, -ENOENT when the program is not installed, or another negative errno; a failing exec
 * is reported here, not by the exit status of a child.
 */
int spawn(SpawnProgram program, char *const args[], const SpawnOptions *options, pid_t *ret_pid, int *ret_pidfd);
/* The same for a program of which its output is wanted: returns a descriptor to read that from, which does not block, or negative errno. */
int spawn_read(SpawnProgram program, char *const args[], int *ret_pidfd);
