/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of connections: what is kept for each side, and batches of what goes out in one write. */
#include "connection-internal.h"
#include "log.h"

#define ARENA_SIZE (160 * KIB)
#define ARENA_MESSAGE_MAX (72 * KIB) /* larger ones are sent on their own */
#define BATCH_MAX 64

uint8_t connection_scratch[SCRATCH_SIZE];

/*
 * One message is handled at a time in one process, so these are shared by all connections and empty
 * between two events. Batches refer to scratch, a side's `in`, or arena.
 */
static struct {
        uint8_t arena[ARENA_SIZE];
        size_t arena_used;
        struct Batch {
                struct iovec iov[BATCH_MAX];
                int n;
        } to_client, to_bus;
} io;

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

int side_keep_in(Connection *c, Side *s, const void *data, size_t n)
{
        return n == 0 ? 0 : buffer_add(c, &s->in, &s->in_at, &s->in_used, &s->in_size, data, n);
}

int side_keep_out(Connection *c, Side *s, const void *data, size_t n)
{
        return n == 0 ? 0 : buffer_add(c, &s->out, &s->out_at, &s->out_used, &s->out_size, data, n);
}

void side_drop_in(Connection *c, Side *s)
{
        buffer_free(c, &s->in, &s->in_at, &s->in_used, &s->in_size);
}

void side_drop_out(Connection *c, Side *s)
{
        buffer_free(c, &s->out, &s->out_at, &s->out_used, &s->out_size);
}

/* Writes what was kept. */
void side_flush(Connection *c, Side *s)
{
        while (side_busy(s)) {
                struct iovec v = { s->out + s->out_at, s->out_used - s->out_at };
                ssize_t n = link_write(s->link, &v, 1);

                if (n == -EAGAIN)
                        return;
                if (n < 0) {
                        connection_end(c, s == &c->bus ? BUS_CLOSED : NULL);
                        return;
                }
                s->out_at += (size_t) n;
        }
        if (s->out)
                side_drop_out(c, s);
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
                        connection_end(c, s == &c->bus ? BUS_CLOSED : NULL);
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

void connection_flush(Connection *c)
{
        if (io.to_bus.n > 0)
                batch_flush(c, &c->bus, &io.to_bus);
        if (io.to_client.n > 0)
                batch_flush(c, &c->client, &io.to_client);
        io.arena_used = 0;
}

void connection_batch(Connection *c, Side *to, const void *data, size_t n)
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
                connection_flush(c);
        n = wire_encode(m, io.arena + io.arena_used, ARENA_MESSAGE_MAX);
        if (n < 0) {
                connection_end(c, "a message could not be encoded");
                return;
        }
        connection_batch(c, to, io.arena + io.arena_used, (size_t) n);
        io.arena_used += (size_t) n;
        if (m->body_size == 0)
                return;
        if (fits && ARENA_SIZE - io.arena_used >= m->body_size) {
                memcpy(io.arena + io.arena_used, m->body, m->body_size);
                connection_batch(c, to, io.arena + io.arena_used, m->body_size);
                io.arena_used += m->body_size;
        } else { /* a large body goes from where it is, at once, since its owner may not keep it */
                connection_batch(c, to, m->body, m->body_size);
                connection_flush(c);
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
