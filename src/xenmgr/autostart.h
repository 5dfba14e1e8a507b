/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Starting VMs when the daemon comes up: by priority, then slot, one after the other. The queue is kept
 * in the database, so that a manager that died goes on where it was. A manager that comes back while
 * the host runs starts nothing anew.
 */
#include "manager.h"

void autostart_begin(Manager *m);
/* Has the input daemon ask for a login, if that is wanted at boot. */
void autostart_login(Manager *m);
void autostart_end(Manager *m);
