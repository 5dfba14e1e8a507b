/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Bridges of this host. */
#include <net/if.h>

#include "util.h"

/* The first one, for cards that name none; "" if there is none. */
void bridge_first(char buf[static IFNAMSIZ]);
bool bridge_exists(const char *name);
/*
 * Moves a network interface from one bridge to another, or onto one; then it is up. Returns 0 or negative errno: it is where it
 * was. Takes root, or a tap device of the caller's own.
 */
int bridge_move(const char *interface, const char *bridge);
