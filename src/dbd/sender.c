/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who changes or watches something: one record for each connection, and how history names it. */
#include <search.h>

#include "fs.h"
#include "history.h"
#include "list.h"
#include "server.h"

#define DRIVER "org.freedesktop.DBus"

static int sender_compare(const void *a, const void *b)
{
        return strcmp(((const Sender *) a)->name, ((const Sender *) b)->name);
}

Sender *sender_find(Server *s, const char *name)
{
        Sender key = { .name = (char *) strempty(name) }, **found = tfind(&key, &s->senders, sender_compare);

        return found ? *found : NULL;
}

static void sender_free(Sender *sender)
{
        sd_bus_slot_unref(sender->asking);
        free(sender->who);
        free(sender->name);
        free(sender);
}

static char *describe(uint32_t uid, uint32_t pid)
{
        _cleanup_free_ char *comm = NULL;
        char path[64];

        snprintf(path, sizeof path, "/proc/%u/comm", pid);
        if (read_file(path, 256, &comm, NULL) >= 0)
                comm[strcspn(comm, "\n")] = '\0';
        return strformat("uid %u pid %u%s%s", uid, pid, comm ? " " : "", strempty(comm));
}

static int read_credentials(sd_bus_message *m, uint32_t *uid, uint32_t *pid)
{
        const char *name, *type;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0)
                        r = sd_bus_message_peek_type(m, NULL, &type);
                if (r >= 0 && streq(name, "UnixUserID") && streq(type, "u"))
                        r = sd_bus_message_read(m, "v", "u", uid);
                else if (r >= 0 && streq(name, "ProcessID") && streq(type, "u"))
                        r = sd_bus_message_read(m, "v", "u", pid);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int on_credentials(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        Sender *sender = userdata;
        uint32_t uid = 0, pid = 0;

        sender->asking = sd_bus_slot_unref(sender->asking);
        if (!sd_bus_message_is_method_error(reply, NULL) && read_credentials(reply, &uid, &pid) >= 0) {
                char *who = describe(uid, pid);

                if (who) {
                        free(sender->who);
                        sender->who = who;
                }
        }
        server_sender_known(sender->server);
        return 0;
}

Sender *sender_get(Server *s, const Call *c)
{
        const char *name = strempty(sd_bus_message_get_sender(c->message));
        Sender *sender = sender_find(s, name);

        if (sender)
                return sender;
        sender = calloc(1, sizeof *sender);
        if (!sender)
                return NULL;
        sender->server = s;
        sender->name = strdup(name);
        if (c->caller.guest) {
                sender->guest = guest_get(s, c->caller.uuid);
                sender->who = strformat(HISTORY_GUEST_PREFIX "%s domid %lld", c->caller.uuid, (long long) c->caller.domid);
        } else
                sender->who = strdup(name);
        if (!sender->name || !sender->who || (c->caller.guest && !sender->guest) ||
            !tsearch(sender, &s->senders, sender_compare)) {
                sender_free(sender);
                return NULL;
        }
        LIST_LINK(s->all_senders, sender);
        /* If asking fails, the connection's name has to do. */
        if (!sender->guest && s->daemon->bus)
                (void) sd_bus_call_method_async(s->daemon->bus, &sender->asking, DRIVER, "/org/freedesktop/DBus", DRIVER,
                                                "GetConnectionCredentials", on_credentials, sender, "s", name);
        return sender;
}

void sender_release(Sender *sender)
{
        if (sender->gone && sender->n_waiting == 0 && sender->n_watches == 0)
                sender_free(sender);
}

/* From here on the name may come again, of another connection; requests under way keep the record. */
static void sender_left(Sender *sender)
{
        Server *s = sender->server;

        watches_remove_all(s, sender);
        tdelete(sender, &s->senders, sender_compare);
        LIST_UNLINK(sender);
        sender->asking = sd_bus_slot_unref(sender->asking);
        sender->gone = true;
        sender_release(sender);
}

static int on_name_lost(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *name, *old, *new;
        Server *s = userdata;
        Sender *sender;

        if (sd_bus_message_read(m, "sss", &name, &old, &new) < 0 || name[0] != ':' || *new)
                return 0;
        sender = sender_find(s, name);
        if (sender) {
                sender_left(sender);
                server_sender_known(s);
        }
        return 0;
}

int senders_follow(Server *s)
{
        return sd_bus_add_match(s->daemon->bus, &s->match,
                                "type='signal',sender='" DRIVER "',path='/org/freedesktop/DBus',interface='" DRIVER
                                "',member='NameOwnerChanged',arg2=''",
                                on_name_lost, s);
}

void senders_clear(Server *s)
{
        s->match = sd_bus_slot_unref(s->match);
        while (s->all_senders)
                sender_left(s->all_senders);
        server_sender_known(s);
}
