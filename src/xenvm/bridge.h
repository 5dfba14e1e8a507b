/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Bridges of this host. */
#include <net/if.h>

#include "util.h"

/* The first one, for cards that name none; "" if there is none. */
void bridge_first(char buf[static IFNAMSIZ]);
bool bridge_exists(const char *name);
