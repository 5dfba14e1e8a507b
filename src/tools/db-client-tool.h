/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the database's command line tools share. */
#include <systemd/sd-bus.h>

#include "db-client.h"

/* The exit status of the tools for anything that the bus or dbd refuses. */
#define DB_TOOL_FAILED 2

/* Connects to the stack that the environment names, or prints why not. */
int dbtool_connect(sd_bus **ret);

/*
 * Calls dbd; while nobody owns its name, tries again up to four times, one second apart. Prints
 * an error. types and arguments as in sd_bus_call_method(). reply may be NULL.
 */
int dbtool_call(sd_bus *bus, const char *interface, const char *member, sd_bus_message **reply, const char *types, ...);

/* The JSON of a subtree (to be freed), "" if there is none. Prints an error. */
int dbtool_snapshot(sd_bus *bus, const char *path, char **ret);
