/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The names of a bus and who owns them, from what they are now through all changes. */
#include <systemd/sd-bus.h>

#include "util.h"

/*
 * on_changed gets each signal NameOwnerChanged from now on, those of unique names too. on_name is called at once, from
 * here, for each name that is wanted and has an owner: the bus is asked and waited for, which is fine at start-up only.
 * Returns 0, what on_name has failed with, or negative errno; *ret may be set also then.
 */
int name_owners_follow(sd_bus *bus, sd_bus_message_handler_t on_changed, bool (*wanted)(const char *name),
                       int (*on_name)(void *userdata, const char *name, const char *owner), void *userdata, sd_bus_slot **ret);
