/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From here on this process can read and write the descriptors that it has, use a bounded amount of memory and
 * time, and end. Any other system call kills it.
 */
#include "util.h"

/* Returns 0 or negative errno; then nothing must be gone on with. */
int sandbox_enter(uint64_t memory, uint64_t output, unsigned cpu_seconds);
