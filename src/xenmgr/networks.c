/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "networks.h"

#include "log.h"
#include "network-backends.h"
#include "parse.h"
#include "strbuf.h"

#define CALL_USEC (5 * USEC_PER_SEC)
#define RETRY_USEC (1 * USEC_PER_SEC)
#define SETTLE_USEC (100 * USEC_PER_MSEC) /* signals come in bursts */
#define TEXT_MAX 256

struct Networks {
        Manager *manager;
        Network *list, *next;  /* next: being filled */
        size_t n, n_next;
        sd_bus_slot *calls[2 * REPLY_PATHS_MAX + 2], *match;
        size_t n_calls, waiting;
        sd_event_source *timer;
        bool known, again;
};

static void list_free(Network *list, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                free(list[i].path);
                free(list[i].type);
                free(list[i].bridge);
                free(list[i].backend);
        }
        free(list);
}

static void round_drop(Networks *n)
{
        while (n->n_calls > 0)
                sd_bus_slot_unref(n->calls[--n->n_calls]);
        n->waiting = 0;
        list_free(TAKE_PTR(n->next), n->n_next);
        n->n_next = 0;
}

Networks *networks_free(Networks *n)
{
        if (!n)
                return NULL;
        round_drop(n);
        list_free(n->list, n->n);
        sd_event_source_disable_unref(n->timer);
        sd_bus_slot_unref(n->match);
        free(n);
        return NULL;
}

static int ask(Networks *n, const char *path, const char *interface, const char *member, sd_bus_message_handler_t done,
               void *userdata, const char *argument)
{
        sd_bus_message *message = NULL;
        int r = n->n_calls == ELEMENTSOF(n->calls) ? -ENOBUFS : 0;

        if (r >= 0)
                r = sd_bus_message_new_method_call(n->manager->bus, &message, NETWORK_DAEMON, path, interface, member);
        if (r >= 0 && argument)
                r = sd_bus_message_append(message, "s", argument);
        if (r >= 0)
                r = sd_bus_call_async(n->manager->bus, &n->calls[n->n_calls], message, done, userdata, CALL_USEC);
        sd_bus_message_unref(message);
        if (r < 0)
                return r;
        n->n_calls++;
        n->waiting++;
        return 0;
}

static void later(Networks *n, uint64_t usec)
{
        if (sd_event_source_set_time_relative(n->timer, usec) >= 0)
                (void) sd_event_source_set_enabled(n->timer, SD_EVENT_ONESHOT);
}

/* A round ends with its last answer. Networks that went meanwhile have no type and are not found. */
static void answered(Networks *n)
{
        if (--n->waiting > 0)
                return;
        for (size_t i = 0; i < n->n_next; i++)
                if (!n->next[i].type)
                        log_warning("The network daemon lists %s and does not tell of it; it is left out", n->next[i].path);
        list_free(n->list, n->n);
        n->list = TAKE_PTR(n->next);
        n->n = n->n_next;
        n->n_next = 0;
        n->known = true;
        round_drop(n);
        if (n->again)
                later(n, SETTLE_USEC);
        n->again = false;
}

/* Only plain words get into a VM's configuration. */
static char *plain(const char *text)
{
        return *text && strlen(text) <= TEXT_MAX && !strpbrk(text, ",\n\r\t ") ? strdup(text) : NULL;
}

/* Which network of the round a call is about. */
typedef struct Place {
        Networks *networks;
        size_t index;
} Place;

static int on_config(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Place *p = userdata;
        Networks *n = p->networks;
        Network *network = &n->next[p->index];
        const char *name, *contents, *text;
        int r = sd_bus_message_get_error(reply) ? -EIO : sd_bus_message_enter_container(reply, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &name);
                if (r >= 0)
                        r = sd_bus_message_peek_type(reply, NULL, &contents);
                if (r >= 0 && streq(contents, "s")) {
                        r = sd_bus_message_read(reply, "v", "s", &text);
                        if (r >= 0 && streq(name, "type") && !network->type)
                                network->type = strdup(text);
                        else if (r >= 0 && streq(name, "bridge") && !network->bridge)
                                network->bridge = plain(text);
                } else if (r >= 0)
                        r = sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        answered(n);
        return 0;
}

static int on_backend(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Place *p = userdata;
        Networks *n = p->networks;
        const char *uuid;

        if (!sd_bus_message_get_error(reply) && sd_bus_message_read(reply, "s", &uuid) >= 0 && uuid_valid(uuid))
                n->next[p->index].backend = strdup(uuid);
        answered(n);
        return 0;
}

static int ask_of(Networks *n, size_t index)
{
        const char *path = n->next[index].path;
        int r = -ENOMEM;

        for (int i = 0; i < 2; i++) {
                Place *p = malloc(sizeof *p);

                if (!p)
                        return -ENOMEM;
                *p = (Place) { .networks = n, .index = index };
                r = i == 0 ? ask(n, path, "org.freedesktop.DBus.Properties", "GetAll", on_config, p,
                                 "com.citrix.xenclient.network.config")
                           : ask(n, "/", NETWORK_DAEMON, "get_network_backend", on_backend, p, path);
                if (r < 0) {
                        free(p);
                        return r;
                }
                (void) sd_bus_slot_set_destroy_callback(n->calls[n->n_calls - 1], free);
        }
        return r;
}

static int on_list(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Networks *n = userdata;
        _cleanup_strv_ char **paths = NULL;
        int r = sd_bus_message_get_error(reply) ? -EIO : reply_read_paths(reply, "object", &paths);

        n->next = calloc(REPLY_PATHS_MAX, sizeof *n->next);
        if (!n->next)
                r = -ENOMEM;
        for (char **p = paths; r >= 0 && p && *p; p++)
                if (!(n->next[n->n_next++].path = strdup(*p)))
                        r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < n->n_next; i++)
                r = ask_of(n, i);
        if (r >= 0) {
                answered(n);
                return 0;
        }
        round_drop(n);
        later(n, RETRY_USEC);
        return 0;
}

static int on_initialized(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Networks *n = userdata;
        int yes = 0;

        if (sd_bus_message_get_error(reply) || sd_bus_message_read(reply, "b", &yes) < 0 || !yes ||
            ask(n, "/", NETWORK_DAEMON, "list", on_list, n, NULL) < 0) {
                round_drop(n);
                later(n, RETRY_USEC);
                return 0;
        }
        n->waiting--;
        return 0;
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Networks *n = userdata;

        if (n->waiting > 0)
                n->again = true; /* a round is under way */
        else if (ask(n, "/", NETWORK_DAEMON, "is_initialized", on_initialized, n, NULL) < 0)
                later(n, RETRY_USEC);
        return 0;
}

static int on_signal(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        const char *network, *state, *backend;
        Networks *n = userdata;

        if (sd_bus_message_is_signal(message, NETWORK_DAEMON ".notify", "network_state_changed") &&
            sd_bus_message_read(message, "sss", &network, &state, &backend) >= 0)
                network_backend_state(n->manager, state, backend);
        later(userdata, SETTLE_USEC);
        return 0;
}

void networks_owner_changed(Manager *m, bool owned)
{
        Networks *n;

        m->networks = networks_free(m->networks);
        if (!owned)
                return;
        n = calloc(1, sizeof *n);
        if (!n || sd_event_add_time_relative(m->event, &n->timer, CLOCK_MONOTONIC, 0, 1, on_timer, n) < 0 ||
            sd_bus_add_match_async(m->bus, &n->match,
                                   "type='signal',sender='" NETWORK_DAEMON "',interface='" NETWORK_DAEMON ".notify'",
                                   on_signal, NULL, n) < 0) {
                log_oom();
                networks_free(n);
                return;
        }
        n->manager = m;
        m->networks = n;
}

bool networks_known(const Manager *m)
{
        return !m->networks || m->networks->known;
}

const Network *networks_find(const Manager *m, const char *path)
{
        for (size_t i = 0; m->networks && i < m->networks->n; i++)
                if (m->networks->list[i].type && streq(m->networks->list[i].path, path))
                        return &m->networks->list[i];
        return NULL;
}

bool networks_wireless(const Manager *m, const char *path)
{
        const Network *n = networks_find(m, path);

        if (m->networks)
                return n && (streq(n->type, "wifi") || streq(n->type, "modem"));
        return startswith(path, "/wifi/") || startswith(path, "/modem/");
}
