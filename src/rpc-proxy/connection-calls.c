/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is under way: calls and their answers, the window of a guest, barriers behind what has no answer. */
#include "connection-internal.h"

#define CONTENDED_USEC (20 * USEC_PER_MSEC) /* how long after calls of two peers the window is a quarter */

static bool contended(const Proxy *p)
{
        return p->contended_until && now_usec() < p->contended_until;
}

unsigned connections_window(const Proxy *p)
{
        unsigned w = (unsigned) p->limits.window;

        return contended(p) ? MAX2(w / 4, 1u) : w;
}

void connections_await_calm(Proxy *p)
{
        int enabled;

        if (!contended(p) || (sd_event_source_get_enabled(p->calm, &enabled) >= 0 && enabled != SD_EVENT_OFF))
                return;
        (void) sd_event_source_set_time(p->calm, p->contended_until);
        (void) sd_event_source_set_enabled(p->calm, SD_EVENT_ONESHOT);
}

bool connection_window_open(const Connection *c)
{
        return peer_is_host(c->peer) || c->peer->in_flight < connections_window(c->proxy);
}

static void note_caller(Connection *c)
{
        Proxy *p = c->proxy;

        if (p->last_caller == c->peer)
                return;
        if (p->last_caller)
                p->contended_until = now_usec() + CONTENDED_USEC;
        p->last_caller = c->peer;
}

static bool grow(void **list, unsigned n, unsigned *allocated, size_t size)
{
        unsigned want = *allocated ? *allocated * 2 : 4;
        void *grown;

        if (n < *allocated)
                return true;
        grown = reallocarray(*list, want, size);
        if (!grown)
                return false;
        *list = grown;
        *allocated = want;
        return true;
}

bool connection_add_call(Connection *c, const WireMessage *m, CallKind kind)
{
        int enabled;

        if (!grow((void **) &c->calls, c->n_calls, &c->n_calls_allocated, sizeof *c->calls))
                return false;
        if (c->peer->n_pending == 0 && sd_event_source_get_enabled(c->proxy->tick, &enabled) >= 0 && enabled == SD_EVENT_OFF)
                connections_tick(c->proxy);
        c->calls[c->n_calls++] = (PendingCall) { .serial = m->serial, .since = connection_seconds(), .kind = (uint8_t) kind,
                                                 .in_window = true };
        c->peer->in_flight++;
        c->peer->n_pending++;
        note_caller(c);
        return true;
}

bool connection_call_pending(const Connection *c, uint32_t serial)
{
        for (unsigned i = 0; i < c->n_calls; i++)
                if (c->calls[i].serial == serial)
                        return true;
        return false;
}

bool connection_take_call(Connection *c, uint32_t serial, PendingCall *ret)
{
        for (unsigned i = 0; i < c->n_calls; i++) {
                if (c->calls[i].serial != serial)
                        continue;
                *ret = c->calls[i];
                c->n_calls--;
                memmove(c->calls + i, c->calls + i + 1, (c->n_calls - i) * sizeof *c->calls);
                c->peer->in_flight -= ret->in_window;
                c->peer->n_pending--;
                return true;
        }
        return false;
}

bool connection_add_host_call(Connection *c, const WireMessage *m)
{
        HostCall *h;

        if (!m->sender || strlen(m->sender) >= sizeof h->sender ||
            !grow((void **) &c->host_calls, c->n_host_calls, &c->n_host_calls_allocated, sizeof *c->host_calls))
                return false;
        h = &c->host_calls[c->n_host_calls++];
        h->serial = m->serial;
        strcpy(h->sender, m->sender);
        return true;
}

bool connection_take_host_call(Connection *c, uint32_t serial, const char *destination)
{
        for (unsigned i = 0; i < c->n_host_calls; i++)
                if (c->host_calls[i].serial == serial && streq(c->host_calls[i].sender, destination)) {
                        c->n_host_calls--;
                        memmove(c->host_calls + i, c->host_calls + i + 1, (c->n_host_calls - i) * sizeof *c->host_calls);
                        return true;
                }
        return false;
}

/* Has the bus say when it has seen the messages without a reply that went before. */
void connection_send_barrier(Connection *c)
{
        WireMessage ping = { .type = WIRE_CALL, .serial = UINT32_MAX, .path = "/org/freedesktop/DBus",
                             .interface = "org.freedesktop.DBus.Peer", .member = "Ping", .destination = BUS_DRIVER,
                             .signature = "" };

        for (unsigned i = 0; i < c->n_calls; i++)
                if (c->calls[i].serial == ping.serial) {
                        ping.serial--;
                        i = (unsigned) -1;
                }
        c->barrier = ping.serial;
        c->n_barrier = c->n_one_way;
        c->n_one_way = 0;
        connection_send(c, &c->bus, &ping);
}

void connection_add_one_way(Connection *c)
{
        if (peer_is_host(c->peer))
                return;
        c->n_one_way++;
        c->peer->in_flight++;
        note_caller(c);
}

bool connection_take_barrier(Connection *c, const WireMessage *m)
{
        if (!c->barrier || m->reply_serial != c->barrier)
                return false;
        c->barrier = 0;
        c->peer->in_flight -= c->n_barrier;
        c->n_barrier = 0;
        if (c->n_one_way > 0)
                connection_send_barrier(c);
        return true;
}
