/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Files: bounded reading, atomic durable writing, directories, process identity. */
#include <sys/types.h>

#include "util.h"

/*
 * Reads a whole regular file of at most max bytes. *ret is terminated by an extra NUL; *ret_size may
 * be NULL. Returns 0, -EFBIG when it is larger, or the errno of open/read.
 */
int read_file(const char *path, size_t max, char **ret, size_t *ret_size);

/* The same of what is open, a pipe too, up to its end: it waits as reading of fd does. */
int read_stream(int fd, size_t max, char **ret, size_t *ret_size);

/*
 * Writes path through a temporary file in the same directory: write, fsync, rename, fsync of the
 * directory. After success the new content survives a crash; after failure the old one is untouched.
 */
int write_file_atomic(const char *path, const void *data, size_t size, mode_t mode);

/*
 * Opens a path below the folder root without ever leaving it, whoever made links there. flags as open(2) takes them, nothing
 * is made. Returns the descriptor, -EXDEV when the way leads out, or another errno; -ENOENT also when path is not below root.
 */
int open_below(const char *root, const char *path, int flags);

/* mkdir with parents; existing directories are fine, and keep their mode. */
int mkdir_parents(const char *path, mode_t mode);

/*
 * Removes a folder with all that is in it; a link is removed, never followed. Goes on after a failure.
 * Returns 0 (also when there is nothing) or the first -errno.
 */
int remove_tree(const char *path);

/* Joins with one '/' between; NULL on out of memory. */
char *path_join(const char *a, const char *b);

/*
 * A process is named by pid and start time (field 22 of /proc/PID/stat, clock ticks since boot), since
 * pids are used again. process_start_time: 0 or -ESRCH.
 */
int process_start_time(pid_t pid, uint64_t *ret);
/* A pidfd of the process if it still is the one meant, else -ESRCH. */
int process_open(pid_t pid, uint64_t start_time);

/*
 * The terminal that a process is the master of, N of /dev/pts/N, or -1. The kernel says which; a QEMU, where a guest may have
 * broken out, is not asked, for somebody will type his password there. Another user's process shows it to root alone.
 */
int64_t process_terminal(pid_t pid);

/* Takes an exclusive flock on path (made if missing, mode 0600). Returns the fd, -EAGAIN if taken. */
int lock_file(const char *path);

/*
 * Stream sockets, non-blocking; the result is the descriptor or negative errno. Paths over
 * 107 bytes (sun_path) are refused with -ENAMETOOLONG. unix_listen() puts its socket in place of what is there.
 */
int unix_connect(const char *path);
int unix_listen(const char *path, mode_t mode);
