/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "name-owners.h"

#include "strbuf.h"

#define BUS "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"

int name_owners_follow(sd_bus *bus, sd_bus_message_handler_t on_changed, bool (*wanted)(const char *name),
                       int (*on_name)(void *userdata, const char *name, const char *owner), void *userdata, sd_bus_slot **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *list = NULL;
        _cleanup_strv_ char **names = NULL;
        int r;

        r = sd_bus_add_match(bus, ret,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged'",
                             on_changed, userdata);
        if (r >= 0)
                r = sd_bus_call_method(bus, BUS, "ListNames", NULL, &list, NULL);
        if (r >= 0)
                r = sd_bus_message_read_strv(list, &names);
        for (char **n = names; r >= 0 && n && *n; n++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                const char *owner;

                /* One that ends between the two calls has no owner any more, which is fine. */
                if (wanted(*n) && sd_bus_call_method(bus, BUS, "GetNameOwner", NULL, &reply, "s", *n) >= 0 &&
                    sd_bus_message_read(reply, "s", &owner) >= 0)
                        r = on_name(userdata, *n, owner);
        }
        return r < 0 ? r : 0;
}
