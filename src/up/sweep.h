/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Ending what runs of a stack, from the runtime records alone: works with and without a supervisor,
 * bus or xenmgr. Blocks; not for an event loop that is to go on.
 */
#include "stack.h"

typedef struct SweepReport {
        void (*ended)(const char *what, const char *how, void *userdata); /* one process; may be NULL */
        void *userdata;
        unsigned n_daemons, n_vms;
} SweepReport;

/*
 * Ends xenmgr, then monitors and VMs, then the other daemons (SIGTERM, after 5 s SIGKILL), and
 * removes sockets and records. Returns 0, or -EBUSY when a process could not be ended.
 */
int stack_sweep(const Stack *s, SweepReport *report);

/* Ends one process: SIGTERM, after timeout SIGKILL. Returns 1 when it needed SIGKILL, 0, or -errno. Reaps a child. */
int process_end(int pidfd, uint64_t timeout_usec);
