/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The configuration of a stack's private dbus-daemon. */
#include "stack.h"
#include "strbuf.h"

#define BUSCONF_NAME "bus.conf"

/* Writes <runtime>/bus.conf. Errors are logged. */
int busconf_write(const Stack *s);
