/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the database's command line tools share. */
#include <systemd/sd-bus.h>

#include "db-client.h"

/* The exit status of the tools for anything that the bus or dbd refuses. */
#define DB_TOOL_FAILED 2

/* Connects, or prints why not. address_state: --state-dir and so on come from the environment. */
int dbtool_connect(sd_bus **ret);

/*
 * Calls dbd; while nobody owns its name, tries again up to four times, one second apart. Prints
 * an error. types and arguments as in sd_bus_call_method(). reply may be NULL.
 */
int dbtool_call(sd_bus *bus, const char *interface, const char *member, sd_bus_message **reply, const char *types, ...);
