/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What a VM has used of the host since its start. The numbers only grow; -1: unknown. */
#include "util.h"

typedef struct VmUsage {
        int64_t cpu_usec;   /* of all its processors, and of the device model */
        int64_t memory_kib; /* at present */
        int64_t disk_read, disk_written, net_in, net_out; /* bytes, as the guest sees it */
} VmUsage;

#define VM_USAGE_UNKNOWN { -1, -1, -1, -1, -1, -1 }

/*
 * Adds what the host's interface of a card has counted: what it received the guest has sent. Leaves u alone
 * where there are no counters.
 */
void usage_add_interface(VmUsage *u, const char *interface);
/* JSON: an object with the names above, null for what is unknown, and the time it was looked at, "at_usec". To free. */
char *usage_text(const VmUsage *u);
