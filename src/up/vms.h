/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The VMs of a stack as xenmgr tells of them. Synchronous, for tools. */
#include <systemd/sd-bus.h>

#include "stack.h"

#define XENMGR_SERVICE "com.citrix.xenclient.xenmgr"
#define XENMGR_VM_INTERFACE "com.citrix.xenclient.xenmgr.vm"

typedef struct VmInfo {
        char *path, *name, *uuid, *state;
        int32_t domid, memory, priority; /* of shutting down: higher goes first */
} VmInfo;

typedef struct VmList {
        VmInfo *vm;
        size_t n;
} VmList;

void vmlist_done(VmList *l);
/* Returns 0 or -errno: xenmgr is not there, or does not answer. */
int vmlist_get(sd_bus *bus, VmList *ret);

/* Connects to the stack's bus, with a bound on how long calls may take. */
int stack_bus_open(const Stack *s, sd_bus **ret);

/*
 * Asks xenmgr to shut all running VMs down and waits until they are: those of the highest shutdown-priority first,
 * and the next when they are down, or when their share of the time is over. say is told of each step.
 * Returns how many still run after timeout, or -errno when xenmgr cannot be asked.
 */
int vms_shutdown(const Stack *s, uint64_t timeout_usec, void (*say)(const char *text));
