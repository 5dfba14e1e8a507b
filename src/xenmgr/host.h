/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Facts about the host, from sysfs, procfs and the files of OpenXT. Those that cannot change are read
 * once; nothing here runs a program or waits.
 */
#include "manager.h"

HostState *host_new(Manager *m);
HostState *host_free(HostState *h);

/* MiB; -1: not known. */
int64_t host_total_memory_mib(Manager *m);
int64_t host_free_memory_mib(Manager *m);
int64_t host_cpus(Manager *m);
/* Xen is below us: memory is the hypervisor's, and one VM can serve another's devices. */
bool host_is_xen(void);

/* SCSI addresses "a:b:c:d" of CD drives; NULL-terminated, belongs to the host state; NULL: none. */
char *const *host_cd_drives(Manager *m);

/* The address for a VM with AMT passthrough that has none of its own, made of the host's; NULL: it has no such thing. */
const char *host_amt_mac(Vm *vm, char buf[static 18]);

/* Whether the text is part of the address of one of the GPUs of the host. */
bool host_gpu_matches(Manager *m, const char *text);

/* The slot of the VM that the pointer comes to when it leaves this one at its left or right edge; -1: none. */
int64_t host_seamless_slot(Vm *vm, bool left);
/* The index of the place next to that of `own` on that side; -1: there is none. */
int nearest_place(const int64_t *places, size_t n, size_t own, bool left);

/* The node at path, or what is below it, is another now: tells those whom it concerns. */
void host_changed(Manager *m, const char *path);

/* The objects "/host". */
extern const BusInterface *const host_interfaces[];
