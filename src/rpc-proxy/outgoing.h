/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Where connections are forwarded to: -o unix:PATH, serial:DEVICE, or a D-Bus address unix:path=PATH. */
#include "util.h"

/* 0 if the text is of one of these forms, else -EINVAL with *ret_why (static). */
int outgoing_check(const char *channel, const char **ret_why);
/* Connects without blocking. Returns a descriptor or negative errno. */
int outgoing_connect(const char *channel);
