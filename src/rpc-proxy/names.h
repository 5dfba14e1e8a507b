/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which well-known names a connection of the bus owns, followed through NameOwnerChanged. Marker names
 * (caller.h) are left out: they say who somebody is, not what may be reached there.
 */
#include <systemd/sd-bus.h>

#include "util.h"

typedef struct Names Names;

/* Asks for the names that exist (waits for the answers, at start-up). */
int names_new(sd_bus *bus, Names **ret);
Names *names_free(Names *n);
DEFINE_CLEANUP(Names *, names_free)

/* The names that a unique name owns, NULL-terminated; NULL: none. Valid until the loop runs again. */
char *const *names_of(const Names *n, const char *unique);
/* The same, or for one that owns none (any more) those that it lost: for messages about its end. */
char *const *names_last_of(const Names *n, const char *unique);
/* The owner of a name, or NULL. */
const char *names_owner(const Names *n, const char *name);
