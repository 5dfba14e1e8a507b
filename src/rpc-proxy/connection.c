/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include <unistd.h>

#include "filter.h"
#include "json-link.h"
#include "listener.h"
#include "log.h"
#include "names.h"
#include "outgoing.h"
#include "vminfo.h"

#define SCRATCH_SIZE (256 * KIB)
#define ARENA_SIZE (160 * KIB)
#define ARENA_MESSAGE_MAX (72 * KIB) /* larger ones are sent on their own */
#define BATCH_MAX 64
#define CONTENDED_USEC (20 * USEC_PER_MSEC) /* how long after calls of two peers the window is a quarter */
#define HELD_MAX (64 * KIB) /* bytes that are read from one that waits, in search of answers */
#define TURN_MESSAGES 32 /* handled before others have their turn */
#define BUS_QUEUE_MAX (1 * MIB) /* of answers that we made up towards the bus */
#define SETUP_LINE_MAX 1024

/*
 * One message is handled at a time in one process, so these are shared by all connections and empty
 * between two events. Batches refer to scratch, a side's `in`, or arena.
 */
static struct {
        uint8_t scratch[SCRATCH_SIZE];
        uint8_t arena[ARENA_SIZE];
        size_t arena_used;
        struct Batch {
                struct iovec iov[BATCH_MAX];
                int n;
        } to_client, to_bus;
} io;

/* Times are looked at once a second, and only while something is under way. */
static void tick_again(Proxy *p)
{
        (void) sd_event_source_set_time_relative(p->tick, USEC_PER_SEC);
        (void) sd_event_source_set_enabled(p->tick, SD_EVENT_ONESHOT);
}

static uint32_t now_seconds(void)
{
        return (uint32_t) (now_usec() / USEC_PER_SEC);
}

static bool side_busy(const Side *s)
{
        return s->out_used > s->out_at;
}

static size_t side_waiting(const Side *s)
{
        return s->in_used - s->in_at;
}

void connection_end(Connection *c, const char *why)
{
        if (c->dead)
                return;
        c->dead = true;
        log_full(why ? LOG_WARNING : LOG_DEBUG, "Connection %llu of domain %lld ends: %s", (unsigned long long) c->number,
                 (long long) c->peer->domid, why ? why : "closed by its owner");
}

/* Adds n bytes to a buffer with room for `size`; max bounds what the peer may have kept. */
static int buffer_add(Connection *c, uint8_t **buffer, size_t *at, size_t *used, size_t *size, const void *data, size_t n)
{
        Peer *p = c->peer;

        if (*at > 0) {
                memmove(*buffer, *buffer + *at, *used - *at);
                *used -= *at;
                *at = 0;
        }
        if (*size - *used < n) {
                size_t want = MAX2(*used + n, MIN2(*size * 2, (size_t) c->proxy->limits.message_size));
                uint8_t *b;

                if (p->queued - *size + want > (size_t) c->proxy->limits.queued) {
                        connection_end(c, "more bytes would be kept for this client than proxy.queued allows");
                        return -ENOBUFS;
                }
                b = realloc(*buffer, want);
                if (!b) {
                        connection_end(c, "out of memory");
                        return -ENOMEM;
                }
                p->queued += want - *size;
                *buffer = b;
                *size = want;
        }
        memcpy(*buffer + *used, data, n);
        *used += n;
        return 0;
}

static void buffer_free(Connection *c, uint8_t **buffer, size_t *at, size_t *used, size_t *size)
{
        c->peer->queued -= *size;
        free(*buffer);
        *buffer = NULL;
        *at = *used = *size = 0;
}

static int side_keep_in(Connection *c, Side *s, const void *data, size_t n)
{
        return n == 0 ? 0 : buffer_add(c, &s->in, &s->in_at, &s->in_used, &s->in_size, data, n);
}

static int side_keep_out(Connection *c, Side *s, const void *data, size_t n)
{
        return n == 0 ? 0 : buffer_add(c, &s->out, &s->out_at, &s->out_used, &s->out_size, data, n);
}

/* Writes what was kept. */
static void side_flush(Connection *c, Side *s)
{
        while (side_busy(s)) {
                struct iovec v = { s->out + s->out_at, s->out_used - s->out_at };
                ssize_t n = link_write(s->link, &v, 1);

                if (n == -EAGAIN)
                        return;
                if (n < 0) {
                        connection_end(c, NULL);
                        return;
                }
                s->out_at += (size_t) n;
        }
        if (s->out)
                buffer_free(c, &s->out, &s->out_at, &s->out_used, &s->out_size);
}

static void batch_flush(Connection *c, Side *s, struct Batch *b)
{
        struct iovec *v = b->iov;
        int n = b->n;

        b->n = 0;
        while (n > 0 && !side_busy(s)) {
                ssize_t w = link_write(s->link, v, n);

                if (w == -EAGAIN)
                        break;
                if (w < 0) {
                        connection_end(c, NULL);
                        return;
                }
                for (; n > 0 && (size_t) w >= v->iov_len; v++, n--)
                        w -= (ssize_t) v->iov_len;
                if (w > 0) {
                        v->iov_base = (uint8_t *) v->iov_base + w;
                        v->iov_len -= (size_t) w;
                        break; /* a short write: the next one would find no room */
                }
        }
        for (; n > 0; v++, n--)
                if (side_keep_out(c, s, v->iov_base, v->iov_len) < 0)
                        return;
}

static void flush(Connection *c)
{
        if (io.to_bus.n > 0)
                batch_flush(c, &c->bus, &io.to_bus);
        if (io.to_client.n > 0)
                batch_flush(c, &c->client, &io.to_client);
        io.arena_used = 0;
}

static void batch_add(Connection *c, Side *to, const void *data, size_t n)
{
        struct Batch *b = to == &c->bus ? &io.to_bus : &io.to_client;
        struct iovec *last = b->n > 0 ? &b->iov[b->n - 1] : NULL;

        if (last && (const uint8_t *) last->iov_base + last->iov_len == data) {
                last->iov_len += n;
                return;
        }
        if (b->n == BATCH_MAX)
                batch_flush(c, to, b); /* the arena stays as it is: the other batch may refer to it */
        b->iov[b->n++] = (struct iovec) { (void *) data, n };
}

void connection_send(Connection *c, Side *to, const WireMessage *m)
{
        bool fits = m->body_size <= ARENA_MESSAGE_MAX - WIRE_FIELDS_MAX / 8;
        ssize_t n;

        if (ARENA_SIZE - io.arena_used < ARENA_MESSAGE_MAX)
                flush(c);
        n = wire_encode(m, io.arena + io.arena_used, ARENA_MESSAGE_MAX);
        if (n < 0) {
                connection_end(c, "a message could not be encoded");
                return;
        }
        batch_add(c, to, io.arena + io.arena_used, (size_t) n);
        io.arena_used += (size_t) n;
        if (m->body_size == 0)
                return;
        if (fits && ARENA_SIZE - io.arena_used >= m->body_size) {
                memcpy(io.arena + io.arena_used, m->body, m->body_size);
                batch_add(c, to, io.arena + io.arena_used, m->body_size);
                io.arena_used += m->body_size;
        } else { /* a large body goes from where it is, at once, since its owner may not keep it */
                batch_add(c, to, m->body, m->body_size);
                flush(c);
        }
}

void connection_reply(Connection *c, const WireMessage *m, const char *signature, const WireBody *body)
{
        WireMessage reply = { .big_endian = m->big_endian, .type = WIRE_RETURN, .flags = WIRE_NO_REPLY_EXPECTED,
                              .serial = UINT32_MAX, .reply_serial = m->serial, .sender = BUS_DRIVER,
                              .destination = c->unique, .signature = signature };

        if (m->flags & WIRE_NO_REPLY_EXPECTED)
                return;
        if (body) {
                reply.body = body->data;
                reply.body_size = (uint32_t) body->used;
        }
        connection_send(c, &c->client, &reply);
}

void connection_reply_error(Connection *c, const WireMessage *m, const char *name, const char *text)
{
        uint8_t data[512];
        WireBody body = { .data = data, .size = sizeof data, .big_endian = m->big_endian };
        WireMessage reply = { .big_endian = m->big_endian, .type = WIRE_ERROR, .flags = WIRE_NO_REPLY_EXPECTED,
                              .serial = UINT32_MAX, .reply_serial = m->serial, .error_name = name,
                              .sender = BUS_DRIVER, .destination = c->unique, .signature = "s" };

        if (m->type != WIRE_CALL || (m->flags & WIRE_NO_REPLY_EXPECTED))
                return;
        wire_put_text(&body, text);
        reply.body = data;
        reply.body_size = (uint32_t) body.used;
        connection_send(c, &c->client, &reply);
}

static unsigned window(const Proxy *p)
{
        unsigned w = (unsigned) p->limits.window;

        return p->contended_until && now_usec() < p->contended_until ? MAX2(w / 4, 1u) : w;
}

bool connection_window_open(const Connection *c)
{
        return peer_is_host(c->peer) || c->peer->in_flight < window(c->proxy);
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
                tick_again(c->proxy);
        c->calls[c->n_calls++] = (PendingCall) { .serial = m->serial, .since = now_seconds(), .kind = (uint8_t) kind,
                                                 .in_window = true };
        c->peer->in_flight++;
        c->peer->n_pending++;
        note_caller(c);
        return true;
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

        if (!m->sender || strlen(m->sender) >= sizeof h->sender || c->n_host_calls >= HOST_CALLS_MAX ||
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
                        c->host_calls[i] = c->host_calls[--c->n_host_calls];
                        return true;
                }
        return false;
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
        c->scanned = 0;
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

/* Has the bus say when it has seen the messages without a reply that went before. */
static void barrier_send(Connection *c)
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
                barrier_send(c);
        return true;
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
                        connection_end(c, "a message is larger than proxy.message-size allows");
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
                        batch_add(c, from_client ? &c->bus : &c->client, data + at, (size_t) size);
                at += (size_t) size;
                c->proxy->n_messages++;
        }
        if (c->n_one_way > 0 && !c->barrier && !c->dead)
                barrier_send(c);
        flush(c);
        return at;
}

/* Messages that wait in a side's buffer. */
static void pump_kept(Connection *c, Side *from)
{
        if (c->dead || side_waiting(from) == 0)
                return;
        from->in_at += messages(c, from, from->in + from->in_at, side_waiting(from));
        if (side_waiting(from) == 0)
                buffer_free(c, &from->in, &from->in_at, &from->in_used, &from->in_size);
}

/* Sends answers on that stand behind what waits for a place, and marks them as done. */
static void overtake(Connection *c)
{
        Side *s = &c->client;

        while (c->held && !c->dead && !side_busy(&c->client) && !side_busy(&c->bus)) {
                uint8_t *d = s->in + s->in_at + c->scanned;
                size_t have = side_waiting(s) - c->scanned;
                const char *why;
                ssize_t size = have > 0 ? wire_size(d, have, &why) : 0;
                WireMessage m;

                if (size <= 0 || (size_t) size > have)
                        break;
                if (d[1] == WIRE_RETURN || d[1] == WIRE_ERROR) {
                        if (wire_parse(d, (size_t) size, &m, &why) < 0)
                                break; /* told when its turn comes */
                        if (filter_from_client(c, &m) == FATE_PASS)
                                batch_add(c, &c->bus, d, (size_t) size);
                        flush(c);
                        d[1] = UINT8_MAX; /* a type that is ignored */
                }
                c->scanned += (size_t) size;
        }
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
                pump_kept(c, from);
        if (c->dead || from->ended || (from == &c->client ? !can_read_client(c) : bus_blocked(c)))
                return;
        n = link_read(from->link, io.scratch, from == &c->client && c->held ? HELD_MAX : sizeof io.scratch);
        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                side_end(c, from, n);
                return;
        }
        if (side_waiting(from) > 0) {
                if (side_keep_in(c, from, io.scratch, (size_t) n) >= 0 && !(from == &c->client && c->held))
                        pump_kept(c, from);
        } else {
                size_t done = messages(c, from, io.scratch, (size_t) n);

                if (!c->dead)
                        (void) side_keep_in(c, from, io.scratch + done, (size_t) n - done);
        }
        if (from == &c->client && c->held)
                overtake(c);
}

static void on_bus(void *userdata, bool in, bool out);

static void setup_call(Connection *c, uint32_t serial, const char *member, const char *signature, const WireBody *body)
{
        WireMessage m = { .type = WIRE_CALL, .serial = serial, .path = "/org/freedesktop/DBus", .interface = BUS_DRIVER,
                          .member = member, .destination = BUS_DRIVER, .signature = signature };

        if (body) {
                m.body = body->data;
                m.body_size = (uint32_t) body->used;
        }
        connection_send(c, &c->bus, &m);
}

/* Opens the bus connection and says all that makes it the client's in one go. */
static void bus_connect(Connection *c)
{
        char auth[80], id[16], marker[MARKER_NAME_MAX];
        uint8_t data[MARKER_NAME_MAX + 16];
        WireBody body = { .data = data, .size = sizeof data };
        int fd, n, r;

        fd = outgoing_connect(c->proxy->outgoing);
        r = fd < 0 ? fd : link_new_fd(c->proxy->event, fd, PRIORITY_CLIENTS, &c->bus.link);
        if (r < 0) {
                log_errno_full(LOG_WARNING, r, "Cannot connect to %s", c->proxy->outgoing);
                connection_end(c, "there is no bus");
                return;
        }
        if (c->instance->json_out) {
                const JsonLinkSpec json = { .proxy = c->proxy, .instance = c->instance, .client = true, .authenticates = true };

                r = json_link_new(TAKE_PTR(c->bus.link), &json, &c->bus.link);
                if (r < 0) {
                        connection_end(c, "out of memory");
                        return;
                }
        }
        c->bus.link->on_event = on_bus;
        c->bus.link->userdata = c;
        n = snprintf(id, sizeof id, "%u", (unsigned) geteuid());
        auth[0] = '\0';
        r = 1 + snprintf(auth + 1, sizeof auth - 1, "AUTH EXTERNAL ");
        for (int i = 0; i < n; i++)
                r += snprintf(auth + r, sizeof auth - (size_t) r, "%02x", (unsigned char) id[i]);
        r += snprintf(auth + r, sizeof auth - (size_t) r, "\r\nBEGIN\r\n");
        batch_add(c, &c->bus, auth, (size_t) r);
        setup_call(c, 1, "Hello", "", NULL);
        if (!peer_is_host(c->peer) && !c->instance->no_marker) {
                Caller caller;

                peer_caller(c->peer, &caller);
                c->marker = marker_format(&caller, marker) ? strdup(marker) : NULL;
                if (!c->marker) {
                        connection_end(c, "no marker name could be made");
                        io.to_bus.n = 0;
                        return;
                }
                wire_put_text(&body, c->marker);
                wire_put_u32(&body, 4 /* do not queue */);
                setup_call(c, 2, "RequestName", "su", &body);
        }
        c->bus_state = BUS_AUTH;
        flush(c);
}

static void go_on(Connection *c);

/* One message of the time before the client's first. Returns what is wrong, or NULL. */
static const char *setup_message(Connection *c, const WireMessage *m)
{
        uint32_t expected = c->bus_state == BUS_HELLO ? 1 : 2;
        const char *text = "";

        if (m->type == WIRE_SIGNAL || m->type == WIRE_CALL)
                return NULL; /* NameAcquired, which the client gets from us at its Hello */
        if (m->reply_serial != expected)
                return "the bus answered what nobody asked";
        if (m->type == WIRE_ERROR) {
                (void) wire_body_texts(m, &text, 1);
                log_warning("The bus refused %s: %s: %s", expected == 1 ? "Hello" : strempty(c->marker), m->error_name, text);
                return expected == 1 ? "the bus refused Hello" : "the bus refused the marker name";
        }
        if (expected == 1) {
                if (wire_body_texts(m, &text, 1) != 1 || !wire_bus_name_valid(text, strlen(text)))
                        return "the bus gave no name at Hello";
                c->unique = strdup(text);
                if (!c->unique)
                        return "out of memory";
                c->bus_state = c->marker ? BUS_MARKER : BUS_READY;
                return NULL;
        }
        if (!streq(m->signature, "u") || m->body_size != 4 || wire_get_u32(m->body, m->big_endian) != 1)
                return "the marker name is taken";
        c->bus_state = BUS_READY;
        return NULL;
}

/* The lines and messages that set up the bus connection. */
static void setup_input(Connection *c)
{
        Side *s = &c->bus;
        ssize_t n = link_read(s->link, io.scratch, sizeof io.scratch);

        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                connection_end(c, "the bus closed the connection at once");
                return;
        }
        if (side_keep_in(c, s, io.scratch, (size_t) n) < 0)
                return;
        while (!c->dead && c->bus_state < BUS_READY) {
                const uint8_t *d = s->in + s->in_at;
                size_t have = side_waiting(s);
                const char *why = NULL;
                WireMessage m;
                ssize_t size;

                if (c->bus_state == BUS_AUTH) {
                        const uint8_t *end = memmem(d, have, "\r\n", 2);

                        if (!end && have < SETUP_LINE_MAX)
                                return;
                        if (!end || have < 3 || memcmp(d, "OK ", 3) != 0) {
                                connection_end(c, "the bus did not accept us");
                                return;
                        }
                        s->in_at += (size_t) (end - d) + 2;
                        c->bus_state = BUS_HELLO;
                        continue;
                }
                size = wire_size(d, have, &why);
                if (size == 0 || (size > 0 && (size_t) size > have))
                        return;
                if (size > 0 && wire_parse(d, (size_t) size, &m, &why) >= 0)
                        why = setup_message(c, &m);
                if (why) {
                        connection_end(c, why);
                        return;
                }
                s->in_at += (size_t) size;
        }
        if (side_waiting(s) == 0)
                buffer_free(c, &s->in, &s->in_at, &s->in_used, &s->in_size);
}

/* Begins with the client's messages once everything is there that they are judged by. */
static void go_on(Connection *c)
{
        if (c->dead || c->running || c->bus_state != BUS_READY || c->sasl)
                return;
        if (!peer_is_host(c->peer) && !c->instance->no_firewall && c->peer->uuid[0] && !vminfo_loaded(c->proxy->vminfo) &&
            now_seconds() - c->opened < 2)
                return;
        c->running = true;
        pump_kept(c, &c->client);
}

static void sasl_data(Connection *c, const uint8_t *data, size_t n)
{
        size_t at = 0;

        while (at < n && c->sasl && !c->dead) {
                char reply[SASL_REPLY_MAX];

                at += sasl_input(c->sasl, data + at, n - at, c->proxy->guid,
                                 c->instance->send_uuid && c->peer->uuid[0] ? c->peer->uuid : NULL, reply);
                if (c->bus_state == BUS_NONE && c->sasl->state > SASL_NUL && c->sasl->state < SASL_FAILED)
                        bus_connect(c);
                if (reply[0]) {
                        struct iovec v = { reply, strlen(reply) };
                        ssize_t w = side_busy(&c->client) ? -EAGAIN : link_write(c->client.link, &v, 1);

                        if (w < 0 && w != -EAGAIN)
                                connection_end(c, NULL);
                        else
                                (void) side_keep_out(c, &c->client, reply + MAX2(w, 0), v.iov_len - (size_t) MAX2(w, 0));
                }
                if (c->sasl->state == SASL_FAILED)
                        connection_end(c, c->sasl->why);
                else if (c->sasl->state == SASL_DONE) {
                        free(c->sasl);
                        c->sasl = NULL;
                }
        }
        if (!c->dead && side_keep_in(c, &c->client, data + at, n - at) >= 0)
                go_on(c);
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
        n = link_read(c->client.link, io.scratch, sizeof io.scratch);
        if (n == -EAGAIN)
                return;
        if (n <= 0)
                side_end(c, &c->client, n);
        else
                sasl_data(c, io.scratch, (size_t) n);
}

/* What is waited for next; frees a connection that is over. */
static void settle(Connection *c)
{
        /* What the client sent before it ended is still sent on, as far as it was whole. */
        if (c->client.ended && !side_busy(&c->bus) && !c->held && !c->ready)
                connection_end(c, NULL);
        if (c->bus.ended && !side_busy(&c->client))
                connection_end(c, NULL);
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

        while (left-- > 0 && p->waiting && p->in_flight < window(p->proxy)) {
                Connection *c = p->waiting;

                unhold(c);
                pump_kept(c, &c->client);
                settle(c);
        }
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
                pump_kept(c, &c->bus);
                pump_kept(c, &c->client);
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
                more = check_time(c, now_seconds()) || more;
        connections_retry(p);
        for (Peer *i = p->peers, *next; i; i = next) {
                peer_ref(i);
                peer_run(i);
                next = i->next;
                peer_unref(i);
        }
        if (more)
                tick_again(p);
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
        return r;
}

void connections_stop(Proxy *p)
{
        connections_end(p, NULL, NULL);
        p->turn = sd_event_source_disable_unref(p->turn);
        p->tick = sd_event_source_disable_unref(p->tick);
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
                        pump_kept(c, &c->bus);
                        pump_kept(c, &c->client);
                }
        }
        if (in && !c->dead)
                client_input(c);
        leave(c);
}

static void on_bus(void *userdata, bool in, bool out)
{
        Connection *c = userdata;

        if (out) {
                side_flush(c, &c->bus);
                if (c->running && !side_busy(&c->bus))
                        pump_kept(c, &c->client);
        }
        if (in && !c->dead) {
                if (c->bus_state < BUS_READY) {
                        setup_input(c);
                        go_on(c);
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
                log_warning("Domain %lld has %u connections already; another one is refused", (long long) peer->domid,
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
        c->opened = now_seconds();
        c->number = ++p->n_connections;
        c->next = p->connections;
        c->pprev = &p->connections;
        if (c->next)
                c->next->pprev = &c->next;
        p->connections = c;
        peer->n_connections++;
        tick_again(p);
        log_debug("Connection %llu opens for domain %lld", (unsigned long long) c->number, (long long) peer->domid);
        if (instance->auto_auth)
                bus_connect(c);
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
        if (c->next)
                c->next->pprev = c->pprev;
        *c->pprev = c->next;
        for (Side *s = &c->client; s; s = s == &c->client ? &c->bus : NULL) {
                link_free(s->link);
                buffer_free(c, &s->in, &s->in_at, &s->in_used, &s->in_size);
                buffer_free(c, &s->out, &s->out_at, &s->out_used, &s->out_size);
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
                go_on(c);
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
