/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The names of a bus and who owns them, from what they are now through all changes; and when a connection ends. */
#include <systemd/sd-bus.h>

#include "util.h"

/*
 * on_changed gets each signal NameOwnerChanged from now on, those of unique names too. on_name is called at once, from
 * here, for each name that is wanted and has an owner: the bus is asked and waited for, which is fine at start-up only.
 * Returns 0, what on_name has failed with, or negative errno; *ret may be set also then.
 */
int name_owners_follow(sd_bus *bus, sd_bus_message_handler_t on_changed, bool (*wanted)(const char *name),
                       int (*on_name)(void *userdata, const char *name, const char *owner), void *userdata, sd_bus_slot **ret);

/*
 * One connection, by its unique name: on_gone is called once, from the event loop, when it has left the bus, be it before we
 * asked. Nothing is waited for. The watch is the owner's to free, in on_gone too.
 */
typedef struct NameWatch NameWatch;
int name_watch_new(sd_bus *bus, const char *name, void (*on_gone)(void *userdata), void *userdata, NameWatch **ret);
NameWatch *name_watch_free(NameWatch *w);
DEFINE_CLEANUP(NameWatch *, name_watch_free)
