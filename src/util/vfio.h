/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * PCI devices for VMs: taking one from its driver and giving it to vfio-pci, and back (the kernel's
 * Documentation/ABI/testing/sysfs-bus-pci, driver_override). root: "" is this host; tests have a tree of their own.
 * For root alone, but vfio_host_can() and vfio_is_bound().
 */
#include <sys/types.h>

#include "util.h"

/* DDDD:BB:SS.F, hexadecimal in lower case. */
bool pci_name_valid(const char *name);

/* Whether the host has an IOMMU that the kernel uses; without one no device goes to a VM. */
bool vfio_host_can(const char *root);

bool vfio_is_bound(const char *root, const char *device);
/* Returns 1, or 0 when it was vfio-pci's already, or negative errno with *ret_why (static). After a failure its driver has it again. */
int vfio_bind(const char *root, const char *device, const char **ret_why);
/* Back to the driver that the kernel finds for it. -EBUSY: a VM has it. */
int vfio_release(const char *root, const char *device, const char **ret_why);
/* Lets that user, and nobody else, open the device's group. */
int vfio_give(const char *root, const char *device, uid_t uid, const char **ret_why);
