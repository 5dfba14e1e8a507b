/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * SIGUSR2: all VMs are shut down, those of the highest shutdown-priority first, equal ones at once; then xenmgr ends.
 * Meanwhile nothing is started, by nobody.
 */
#include "manager.h"

/* Before the process has any thread. Returns 0 or negative errno. */
int shutdown_all_init(Manager *m);
/* No VM is to be started any more. */
bool shutdown_all_running(const Manager *m);
