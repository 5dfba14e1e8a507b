/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/*
 * Limits a network device in both directions to so many bytes in a second: what goes out of it is held back (the queueing
 * discipline tbf), what comes in beyond is dropped (nftables, table netdev oxt, a chain of the device's name). Both end with
 * the device; but since Linux 6.16 the chain stays, and would hold for the next device of that name. Returns 0, -EOPNOTSUPP when this kernel has not what that takes, or another errno.
 */
int limit_device(const char *name, uint64_t bytes_per_second);
/* A device of that name was made: nothing of one before it holds. */
void limit_forget(const char *name);
/* Removes what is left of devices that are gone. */
void limit_sweep(void);

/* A socket, which does not block, that tells of network devices; or negative errno. */
int links_watch(void);
/* Takes what it tells. Returns whether one has gone, or may have. */
bool links_gone(int fd);
