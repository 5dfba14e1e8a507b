/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include "audit.h"
#include "connection-internal.h"
#include "filter.h"
#include "list.h"
#include "listener.h"
#include "log.h"

#define HELD_MAX (64 * KIB) /* bytes that are read from one that waits, in search of answers */
#define TURN_MESSAGES 32 /* handled before others have their turn */
#define BUS_QUEUE_MAX (1 * MIB) /* of answers that we made up towards the bus */

/* Times are looked at once a second, and only while something is under way. */
void connections_tick(Proxy *p)
{
        (void) sd_event_source_set_time_relative(p->tick, USEC_PER_SEC);
        (void) sd_event_source_set_enabled(p->tick, SD_EVENT_ONESHOT);
}

uint32_t connection_seconds(void)
{
        return (uint32_t) (now_usec() / USEC_PER_SEC);
}

void connection_end(Connection *c, const char *why)
{
        if (c->dead)
                return;
        c->dead = true;
        if (why)
                audit_note(c->peer, "Connection %llu of domain %lld ends: %s", (unsigned long long) c->number,
                           (long long) c->peer->domid, why);
        else
                log_debug("Connection %llu of domain %lld ends: closed by its owner", (unsigned long long) c->number,
                          (long long) c->peer->domid);
}

/* Whether bytes of the client may be looked at: its answers and what it sends must have somewhere to go. */
static bool client_blocked(const Connection *c)
{
        return c->dead || c->held || c->ready || side_busy(&c->client) || side_busy(&c->bus);
}

static bool bus_blocked(const Connection *c)
{
        return c->dead || c->ready || side_busy(&c->client);
}

static void hold(Connection *c)
{
        c->held = true;
        c->next_waiting = NULL;
        *c->peer->waiting_end = c;
        c->peer->waiting_end = &c->next_waiting;
}

static void unhold(Connection *c)
{
        Peer *p = c->peer;

        for (Connection **w = &p->waiting; *w; w = &(*w)->next_waiting)
                if (*w == c) {
                        *w = c->next_waiting;
                        if (!*w)
                                p->waiting_end = w;
                        break;
                }
        c->held = false;
}

static void ready_remove(Connection *c)
{
        Proxy *p = c->proxy;

        for (Connection **r = &p->ready; *r; r = &(*r)->next_ready)
                if (*r == c) {
                        *r = c->next_ready;
                        if (!*r)
                                p->ready_end = r;
                        break;
                }
        c->ready = false;
}

/* Its next turn comes after those of all others that are ready. */
static void ready_add(Connection *c)
{
        Proxy *p = c->proxy;

        if (c->ready)
                return;
        c->ready = true;
        c->next_ready = NULL;
        *p->ready_end = c;
        p->ready_end = &c->next_ready;
        (void) sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
}

/* A caller whose message is too large learns why, before its connection ends: the header's first bytes are there. */
static void refuse_large(Connection *c, const uint8_t *data, const char *why)
{
        bool big_endian = data[0] == 'B';
        WireMessage m = { .big_endian = big_endian, .type = data[1], .flags = data[2], .serial = wire_get_u32(data + 8, big_endian) };

        if (m.serial != 0)
                connection_reply_error(c, &m, "org.freedesktop.DBus.Error.LimitsExceeded", why);
        connection_end(c, why);
}

/* Handles whole messages; returns how many bytes are done with. */
static size_t messages(Connection *c, Side *from, const uint8_t *data, size_t n)
{
        bool from_client = from == &c->client;
        unsigned turn = 0;
        size_t at = 0;

        while (at < n && !(from_client ? client_blocked(c) : bus_blocked(c))) {
                const char *why = "";
                ssize_t size = wire_size(data + at, n - at, &why);
                WireMessage m;
                Fate fate;

                if (size > (ssize_t) c->proxy->limits.message_size) {
                        why = "a message is larger than proxy.message-size allows";
                        if (from_client)
                                refuse_large(c, data + at, why);
                        else
                                connection_end(c, why);
                        break;
                }
                if (size >= 0 && (size == 0 || (size_t) size > n - at))
                        break;
                if (turn++ == TURN_MESSAGES) {
                        ready_add(c);
                        break;
                }
                if (size < 0 || wire_parse(data + at, (size_t) size, &m, &why) < 0) {
                        char text[200];

                        snprintf(text, sizeof text, "a message from %s is malformed: %s", from_client ? "it" : "the bus", why);
                        connection_end(c, text);
                        break;
                }
                fate = from_client ? filter_from_client(c, &m) : filter_from_bus(c, &m);
                if (fate == FATE_HOLD) {
                        hold(c);
                        break;
                }
                if (fate == FATE_PASS)
                        connection_batch(c, from_client ? &c->bus : &c->client, data + at, (size_t) size);
                at += (size_t) size;
                c->proxy->n_messages++;
        }
        if (c->n_one_way > 0 && !c->barrier && !c->dead)
                connection_send_barrier(c);
        connection_flush(c);
        return at;
}

/* Sees to what needs no place though it stands behind what waits for one, and marks it as done. */
static void overtake(Connection *c)
{
        Side *s = &c->client;
        unsigned turn = 0;

        while (c->held && !c->dead && !side_busy(&c->client) && !side_busy(&c->bus)) {
                uint8_t *d = s->in + s->in_at + c->scanned;
                size_t have = side_waiting(s) - c->scanned;
                const char *why;
                ssize_t size = have > 0 ? wire_size(d, have, &why) : 0;
                WireMessage m;
                Fate fate;

                if (size <= 0 || (size_t) size > have)
                        break;
                if (d[1] == WIRE_RETURN || d[1] == WIRE_ERROR || (d[1] == WIRE_CALL && !(d[2] & WIRE_NO_REPLY_EXPECTED))) {
                        if (turn++ == TURN_MESSAGES) {
                                ready_add(c);
                                break;
                        }
                        if (wire_parse(d, (size_t) size, &m, &why) < 0)
                                break; /* told when its turn comes */
                        fate = filter_overtaking(c, &m);
                        if (fate == FATE_PASS)
                                connection_batch(c, &c->bus, d, (size_t) size);
                        if (fate != FATE_HOLD) {
                                connection_flush(c);
                                d[1] = UINT8_MAX; /* a type that is ignored */
                        }
                }
                c->scanned += (size_t) size;
        }
}

/* Messages that wait in a side's buffer. */
void connection_pump_kept(Connection *c, Side *from)
{
        size_t n;

        if (c->dead || side_waiting(from) == 0)
                return;
        n = messages(c, from, from->in + from->in_at, side_waiting(from));
        from->in_at += n;
        if (from == &c->client) {
                c->scanned -= MIN2(c->scanned, n);
                overtake(c);
        }
        if (side_waiting(from) == 0)
                side_drop_in(c, from);
}

static bool can_read_client(const Connection *c)
{
        if (c->client.ended)
                return false;
        return c->held ? !c->dead && !side_busy(&c->client) && !side_busy(&c->bus) && side_waiting(&c->client) < HELD_MAX
                       : !client_blocked(c);
}

static void side_end(Connection *c, Side *s, ssize_t error)
{
        s->ended = true;
        if (error < 0)
                log_debug("Connection %llu: %s", (unsigned long long) c->number, strerror((int) -error));
}

/* Reads once and handles what came. */
static void pump(Connection *c, Side *from)
{
        ssize_t n;

        if (from != &c->client || !client_blocked(c))
                connection_pump_kept(c, from);
        if (c->dead || from->ended || (from == &c->client ? !can_read_client(c) : bus_blocked(c)))
                return;
        n = link_read(from->link, connection_scratch, from == &c->client && c->held ? HELD_MAX : sizeof connection_scratch);
        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                side_end(c, from, n);
                return;
        }
        if (side_waiting(from) > 0) {
                if (side_keep_in(c, from, connection_scratch, (size_t) n) >= 0 && !(from == &c->client && c->held))
                        connection_pump_kept(c, from);
        } else {
                size_t done = messages(c, from, connection_scratch, (size_t) n);

                if (!c->dead)
                        (void) side_keep_in(c, from, connection_scratch + done, (size_t) n - done);
        }
        if (from == &c->client && c->held)
                overtake(c);
}

static void client_input(Connection *c)
{
        ssize_t n;

        if (c->running) {
                pump(c, &c->client);
                return;
        }
        if (!c->sasl)
                return;
        n = link_read(c->client.link, connection_scratch, sizeof connection_scratch);
        if (n == -EAGAIN)
                return;
        if (n <= 0)
                side_end(c, &c->client, n);
        else
                connection_sasl(c, connection_scratch, (size_t) n);
}

/* What is waited for next; frees a connection that is over. */
static void settle(Connection *c)
{
        /* What the client sent before it ended is still sent on, as far as it was whole. */
        if (c->client.ended && !side_busy(&c->bus) && !c->held && !c->ready)
                connection_end(c, NULL);
        if (c->bus.ended && !side_busy(&c->client))
                connection_end(c, BUS_CLOSED);
        if (!c->dead && c->bus.out_used - c->bus.out_at > BUS_QUEUE_MAX + (size_t) c->proxy->limits.message_size)
                connection_end(c, "the bus does not take what is for it");
        if (c->dead) {
                connection_free(c);
                return;
        }
        link_watch(c->client.link, c->running ? can_read_client(c) : !c->client.ended && c->sasl, side_busy(&c->client));
        if (c->bus.link)
                link_watch(c->bus.link, !c->bus.ended && (c->running ? !bus_blocked(c) : c->bus_state < BUS_READY),
                           side_busy(&c->bus));
}

/* Lets connections of the peer go on that waited for a place, one after the other. */
static void peer_run(Peer *p)
{
        unsigned left = p->n_connections;

        while (left-- > 0 && p->waiting && p->in_flight < connections_window(p->proxy)) {
                Connection *c = p->waiting;

                unhold(c);
                connection_pump_kept(c, &c->client);
                settle(c);
        }
        if (p->waiting)
                connections_await_calm(p->proxy);
}

static void peers_run(Proxy *p)
{
        for (Peer *i = p->peers, *next; i; i = next) {
                peer_ref(i);
                peer_run(i);
                next = i->next;
                peer_unref(i);
        }
}

static int on_calm(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        peers_run(userdata);
        return 0;
}

/* One turn for each connection that was ready when it began. */
static int on_turn(_unused_ sd_event_source *source, void *userdata)
{
        Proxy *p = userdata;
        unsigned n = 0;

        for (Connection *c = p->ready; c; c = c->next_ready)
                n++;
        for (; n > 0 && p->ready; n--) {
                Connection *c = p->ready;
                Peer *peer = peer_ref(c->peer);

                ready_remove(c);
                connection_pump_kept(c, &c->bus);
                connection_pump_kept(c, &c->client);
                settle(c);
                peer_run(peer);
                peer_unref(peer);
        }
        if (p->ready)
                (void) sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
        return 0;
}

/* What has taken too long. Returns whether to look again. */
static bool check_time(Connection *c, uint32_t now)
{
        const Limits *l = &c->proxy->limits;
        bool more = !c->hello_done;

        if (!c->hello_done && now - c->opened > l->auth_timeout)
                connection_end(c, "it did not authenticate and say Hello in time");
        for (unsigned i = 0; i < c->n_calls; i++) {
                if (c->calls[i].in_window && now - c->calls[i].since >= l->patience) {
                        c->calls[i].in_window = false;
                        c->peer->in_flight--;
                }
                more = more || c->calls[i].in_window;
        }
        return more;
}

static int on_tick(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        Proxy *p = userdata;
        bool more = false;

        for (Connection *c = p->connections; c; c = c->next)
                more = check_time(c, connection_seconds()) || more;
        connections_retry(p);
        peers_run(p);
        if (more)
                connections_tick(p);
        return 0;
}

int connections_start(Proxy *p)
{
        int r;

        p->ready_end = &p->ready;
        r = sd_event_add_defer(p->event, &p->turn, on_turn, p);
        if (r >= 0)
                r = sd_event_source_set_priority(p->turn, PRIORITY_CLIENTS);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->turn, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(p->event, &p->tick, CLOCK_MONOTONIC, USEC_PER_SEC, 0, on_tick, p);
        if (r >= 0)
                r = sd_event_add_time(p->event, &p->calm, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_calm, p);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->calm, SD_EVENT_OFF);
        return r;
}

void connections_stop(Proxy *p)
{
        connections_end(p, NULL, NULL);
        p->turn = sd_event_source_disable_unref(p->turn);
        p->tick = sd_event_source_disable_unref(p->tick);
        p->calm = sd_event_source_disable_unref(p->calm);
}

/* Every event of a connection ends here. */
static void leave(Connection *c)
{
        Peer *p = peer_ref(c->peer);

        settle(c);
        peer_run(p);
        peer_unref(p);
}

static void on_client(void *userdata, bool in, bool out)
{
        Connection *c = userdata;

        if (out) {
                side_flush(c, &c->client);
                if (c->running && !side_busy(&c->client)) {
                        connection_pump_kept(c, &c->bus);
                        connection_pump_kept(c, &c->client);
                }
        }
        if (in && !c->dead)
                client_input(c);
        leave(c);
}

void connection_on_bus(void *userdata, bool in, bool out)
{
        Connection *c = userdata;

        if (out) {
                side_flush(c, &c->bus);
                if (c->running && !side_busy(&c->bus))
                        connection_pump_kept(c, &c->client);
        }
        if (in && !c->dead) {
                if (c->bus_state < BUS_READY) {
                        connection_setup(c);
                        connection_go_on(c);
                } else
                        pump(c, &c->bus);
        }
        leave(c);
}

int connection_new(Proxy *p, Peer *peer, const Instance *instance, Link *client)
{
        _cleanup_(link_freep) Link *link = client;
        Connection *c;

        if (peer->n_connections >= (unsigned) p->limits.connections) {
                audit_note(peer, "Domain %lld has %u connections already; another one is refused", (long long) peer->domid,
                           peer->n_connections);
                return -EMFILE;
        }
        c = calloc(1, sizeof *c);
        if (!c)
                return -ENOMEM;
        if (!instance->auto_auth) {
                c->sasl = calloc(1, sizeof *c->sasl);
                if (!c->sasl) {
                        free(c);
                        return -ENOMEM;
                }
        }
        c->proxy = p;
        c->peer = peer_ref(peer);
        c->instance = instance;
        c->client.link = TAKE_PTR(link);
        c->client.link->on_event = on_client;
        c->client.link->userdata = c;
        c->opened = connection_seconds();
        c->number = ++p->n_connections;
        LIST_LINK(p->connections, c);
        peer->n_connections++;
        connections_tick(p);
        log_debug("Connection %llu opens for domain %lld", (unsigned long long) c->number, (long long) peer->domid);
        if (instance->auto_auth)
                connection_open_bus(c);
        settle(c);
        return 0;
}

Connection *connection_free(Connection *c)
{
        PendingCall call;

        if (!c)
                return NULL;
        if (c->held)
                unhold(c);
        if (c->ready)
                ready_remove(c);
        c->peer->in_flight -= c->n_one_way + c->n_barrier;
        while (c->n_calls > 0) {
                (void) connection_take_call(c, c->calls[0].serial, &call);
                free(call.asked);
        }
        LIST_UNLINK(c);
        for (Side *s = &c->client; s; s = s == &c->client ? &c->bus : NULL) {
                link_free(s->link);
                side_drop_in(c, s);
                side_drop_out(c, s);
        }
        c->peer->n_matches -= c->n_matches;
        c->peer->n_connections--;
        peer_unref(c->peer);
        free(c->sasl);
        free(c->unique);
        free(c->marker);
        free(c->calls);
        free(c->host_calls);
        if (!c->proxy->connections && c->proxy->listener && listener_is_serial(c->proxy->listener))
                daemon_exit(c->proxy->daemon, 0); /* a line has one conversation */
        free(c);
        return NULL;
}

void connections_retry(Proxy *p)
{
        for (Connection *c = p->connections, *next; c; c = next) {
                next = c->next;
                if (c->running && !c->dead)
                        continue;
                connection_go_on(c);
                settle(c);
        }
}

void connections_end(Proxy *p, const Peer *peer, const char *why)
{
        for (Connection *c = p->connections, *next; c; c = next) {
                next = c->next;
                if (peer && c->peer != peer)
                        continue;
                connection_end(c, why);
                connection_free(c);
        }
}
