/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where systemd runs the daemons: the system stack, with oxt's units installed. systemd is asked over
 * the host's bus; there is no supervisor of ours then.
 */
#include <systemd/sd-bus.h>

#include "daemons.h"

/* Whether systemd runs this stack's daemons. */
bool units_used(const Stack *s);

typedef struct UnitInfo {
        char state[32]; /* a word as the supervisor's: ready, starting, restarting, ended, missing */
        DaemonRecord record;
        char last_end[64];
} UnitInfo;

/* Start or stop the target with all daemons; stopping waits for their end. Errors are logged. */
int units_start(sd_bus *bus);
int units_stop(sd_bus *bus);
/* Returns 0 or -errno (systemd does not answer). */
int unit_info(sd_bus *bus, DaemonId id, UnitInfo *ret);
