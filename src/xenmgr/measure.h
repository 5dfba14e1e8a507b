/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Measured VMs: the sums of their disks are compared before a start, in a thread, so that nothing else waits.
 * A disk has the SHA-1 that databases of old hold (config/disk/<n>/sha1sum) and a SHA-256 (sha256sum); what is
 * there must fit. Disk 0 of a VM without sums is trusted at its first start; a disk with SHA-1 alone gets its SHA-256
 * once that fits.
 */
#include "vm.h"

typedef struct Measure Measure;

/* good false: why is the log's and the caller's text. From the event loop, once. */
typedef void (*MeasureDone)(bool good, const char *why, void *userdata);

/*
 * Returns 0 when there is nothing to measure, 1 when it is under way, -EBUSY when too many others are measured, or another
 * negative errno. A disk of which nothing comes for a minute is one that cannot be read.
 */
int measure_start(Vm *vm, MeasureDone done, void *userdata, Measure **ret);
/* Bytes that were looked at, and all. */
void measure_progress(const Measure *w, uint64_t *ret_done, uint64_t *ret_total);
/* Waits for nothing, whatever the disk does. */
Measure *measure_cancel(Measure *w);
