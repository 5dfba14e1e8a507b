/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Whose memory is it? Memory that a VM may take counts as taken from the moment its start is granted it, though
 * its guest touches it little by little; so two starts at once do not both get the last of it. Where it does not
 * suffice, running VMs give back what they hold above their memory-min, lowest domain first; and where that does not
 * suffice, a VM with a memory-min starts with that.
 *
 * On Xen the hypervisor has the memory, and each start asks it through its monitor; there a VM is counted by its target, and
 * as not there yet until its memory is built.
 */
#include "vm.h"

/* MiB that a start could get now; -1: not known here. */
int64_t memory_free_mib(Manager *m);
/* What running VMs (but this one) hold above their lower limit. */
int64_t memory_reclaimable_mib(Manager *m, const Vm *except);
/* What the running VM is to have, whatever is configured by now; 0: it does not run. */
int64_t memory_target_mib(Vm *vm);
/* The VM was found running: it has what its monitor's record says. */
void memory_adopt(Vm *vm);
/* A VM's balloon has this size now, or is to have it. */
void memory_changed(Vm *vm, bool target, int64_t kib);
/* It has ended, or its start has. */
void memory_release(Vm *vm);
