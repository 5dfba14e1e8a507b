/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The host's memory and CPUs as the hypervisor counts them: the kernel of dom0 knows only its own. It takes root to
 * ask, so oxt-helper is asked, or xenvm where xenmgr itself is root.
 */
#include "manager.h"

typedef struct XenFacts XenFacts;

/* Asks anew, unless that was done a moment ago; the answer comes later. Nothing on a host without Xen. */
void host_xen_refresh(Manager *m);
XenFacts *host_xen_free(XenFacts *x);

/* What it said last, MiB or a number; -1: nothing yet. */
int64_t host_xen_total_mib(Manager *m);
int64_t host_xen_free_mib(Manager *m);
int64_t host_xen_cpus(Manager *m);
