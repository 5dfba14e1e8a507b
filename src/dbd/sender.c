/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is kept for each connection on the bus: requests under way and watches. */
#include <search.h>

#include "log.h"
#include "server.h"

static int sender_compare(const void *a, const void *b)
{
        return strcmp(((const Sender *) a)->name, ((const Sender *) b)->name);
}

Sender *sender_find(Server *s, const char *name)
{
        Sender key = { .name = (char *) strempty(name) }, **found = tfind(&key, &s->senders, sender_compare);

        return found ? *found : NULL;
}

static void sender_free(void *p)
{
        Sender *sender = p;

        free(sender->name);
        free(sender);
}

Sender *sender_get(Server *s, const char *name)
{
        Sender *sender = sender_find(s, name);

        if (sender)
                return sender;
        sender = calloc(1, sizeof *sender);
        if (!sender)
                return NULL;
        sender->server = s;
        sender->name = strdup(strempty(name));
        if (!sender->name || !tsearch(sender, &s->senders, sender_compare)) {
                sender_free(sender);
                return NULL;
        }
        return sender;
}

void sender_release(Sender *sender)
{
        if (sender->n_waiting > 0 || sender->n_watches > 0)
                return;
        tdelete(sender, &sender->server->senders, sender_compare);
        sender_free(sender);
}

static int on_name_lost(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *name, *old, *new;

        if (sd_bus_message_read(m, "sss", &name, &old, &new) >= 0 && name[0] == ':' && !*new)
                watches_remove_all(userdata, name);
        return 0;
}

int senders_follow(Server *s)
{
        return sd_bus_add_match(s->daemon->bus, &s->match,
                                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                                on_name_lost, s);
}

void senders_clear(Server *s)
{
        s->match = sd_bus_slot_unref(s->match);
        watches_remove_all(s, NULL);
}
