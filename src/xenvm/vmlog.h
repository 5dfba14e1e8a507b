/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The monitor's log file: <state>/vm-log/<uuid>.log, or the config's debug file. */
#include <systemd/sd-event.h>

#include "config.h"
#include "paths.h"

/* Returns a descriptor, or negative errno (logged). debug: whether the command line asks for more. */
int vmlog_open(const Paths *paths, const VmConfig *c, bool debug);
/* From now on stderr is that file. One that has grown beyond the setting log.size is turned over: renamed to FILE.1. */
int vmlog_watch(sd_event *event);
