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

struct NameWatch {
        sd_bus_slot *match, *asking;
        void (*on_gone)(void *userdata);
        void *userdata;
};

static int watch_gone(NameWatch *w)
{
        w->match = sd_bus_slot_unref(w->match);
        w->asking = sd_bus_slot_unref(w->asking);
        w->on_gone(w->userdata);
        return 0;
}

static int on_lost(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *name, *old, *new;

        return sd_bus_message_read(m, "sss", &name, &old, &new) >= 0 && !*new ? watch_gone(userdata) : 0;
}

static int on_asked(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        NameWatch *w = userdata;
        int there;

        w->asking = sd_bus_slot_unref(w->asking);
        return sd_bus_message_read(reply, "b", &there) >= 0 && !there ? watch_gone(w) : 0;
}

int name_watch_new(sd_bus *bus, const char *name, void (*on_gone)(void *userdata), void *userdata, NameWatch **ret)
{
        _cleanup_(name_watch_freep) NameWatch *w = calloc(1, sizeof *w);
        _cleanup_free_ char *match = strformat("type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                               "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'", name);
        int r;

        if (!w || !match)
                return -ENOMEM;
        w->on_gone = on_gone;
        w->userdata = userdata;
        /* The bus answers in order: one that leaves behind the question is told of. */
        r = sd_bus_add_match_async(bus, &w->match, match, on_lost, NULL, w);
        if (r >= 0)
                r = sd_bus_call_method_async(bus, &w->asking, BUS, "NameHasOwner", on_asked, w, "s", name);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

NameWatch *name_watch_free(NameWatch *w)
{
        if (!w)
                return NULL;
        sd_bus_slot_unref(w->match);
        sd_bus_slot_unref(w->asking);
        free(w);
        return NULL;
}
