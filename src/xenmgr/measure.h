/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Measured VMs: the hashes of disk files are compared with those stored before a start. Files are read
 * by a thread, so that the loop goes on.
 */
#include "vm.h"

typedef struct Measure Measure;

/* good: all sums fit (or were stored for the first time); why: what did not, for the log. */
typedef void (*MeasureDone)(bool good, const char *why, void *userdata);

/*
 * Returns 0 when nothing is to be measured (done is not called), 1 when it is under way, or a negative
 * errno. Without a sum for disk 0 its present one is stored: the first boot is trusted.
 */
int measure_start(Vm *vm, MeasureDone done, void *userdata, Measure **ret);
/* Forgets it; done is not called. */
Measure *measure_cancel(Measure *m);

/* Exposed for its test: the SHA-1 of a file as 40 hex digits. 0 or negative errno. stop: looked at between blocks. */
int sha1_file(const char *path, const volatile bool *stop, char ret[static 41]);
