/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/*
 * Limits a network device in both directions to so many bytes in a second: what goes out of it is held back (the queueing
 * discipline tbf), what comes in beyond is dropped (nftables, table netdev oxt, a chain of the device's name). Both end with
 * the device. Returns 0, -EOPNOTSUPP when this kernel has not what that takes, or another errno.
 */
int limit_device(const char *name, uint64_t bytes_per_second);
