/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A control group (version 2) for each VM, <where cgroup2 is mounted>/oxt/<uuid>, on hosts without systemd: there a scope
 * is asked for instead.
 */
#include "util.h"

#define CGROUP_WEIGHT_NONE 0

/*
 * Makes it. weight: share of the CPU, 1 to 10000, where 100 is what others have, or CGROUP_WEIGHT_NONE. Returns a
 * descriptor of its folder, for a process to be made in; -EOPNOTSUPP when this host has no
 * cgroup2 or only one that is not ours to change. A weight that is not to be had is no error: cgroup_weight() tells.
 */
int cgroup_make(const char *uuid, unsigned weight);
/* The weight that is in force, or CGROUP_WEIGHT_NONE. */
unsigned cgroup_weight(const char *uuid);
/* Removes that group, once nothing is in it any more, and the one above when it was the last. Nothing to remove is fine. */
void cgroup_remove(const char *uuid);
/* Removes all groups of VMs in which nothing is. */
void cgroup_sweep(void);
