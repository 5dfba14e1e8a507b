/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What xec-vm does itself with a VM, in place of becoming xec: looking at it. */
#include <systemd/sd-bus.h>

#include "options.h"

/* Which VM: userdata of the commands. */
typedef struct LookTarget {
        sd_bus *bus;
        const char *path; /* its object */
} LookTarget;

/* console, screen, log, timeline, and start for --dry-run. run gives the exit status. */
extern const Verb look_verbs[];
/* The row for these words of xec's command line; NULL: they are xec's. */
const Verb *look_find(char *const words[]);
