/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mux.h"

#include <sys/random.h>

#include "unaligned.h"

/* Layout: docs/guest-channel.md. Numbers are little-endian. */
#define HEADER_SIZE 12u
#define TRAILER_SIZE 4u
#define TAG_SIZE 4u
#define MAGIC "oxt-guest-chan1\n"
#define MAGIC_SIZE 16u
#define EPOCH_SIZE 16u
#define HELLO_SIZE 48u /* without its padding */

enum { FRAME_PAD, FRAME_OPEN, FRAME_DATA, FRAME_CLOSE, FRAME_CREDIT, _FRAME_MAX };

typedef enum State {
        STATE_WAITING, /* for the hello; everything else is bytes of an earlier life */
        STATE_ATTACHED,
        STATE_BROKEN,  /* host: this connection is of no more use */
} State;

struct MuxStream {
        Mux *mux;
        void *userdata;
        bool used;
        bool open_due, close_due; /* frames that wait for room in the output */
        bool local_closed;        /* the owner is done with it: no more events */
        bool close_sent, close_received;
        bool want_write;
        MuxReason reason;
        uint32_t service;
        uint32_t may_send;    /* credit that we have */
        uint32_t may_receive; /* credit that the other side has */
        uint32_t consumed;    /* credit not yet given back */
};

struct Mux {
        MuxRole role;
        MuxLimits limits;
        const MuxEvents *events;
        void *userdata;
        State state;
        uint8_t epoch[EPOCH_SIZE];
        uint32_t peer_window;
        uint32_t max_streams; /* of this attach: the smaller of both sides' */
        size_t n_streams, n_due, n_want_write;
        size_t turn; /* where the next round of writable() begins */

        uint8_t in[MUX_FRAME_MAX];
        size_t in_len;
        uint8_t *out;
        size_t out_start, out_len;
        MuxStream *streams; /* the index is the id on the wire */
};

static const char *const reason_names[_MUX_REASON_MAX] = {
        [MUX_REASON_END] = "ended",
        [MUX_REASON_SERVICE] = "no such service",
        [MUX_REASON_LIMIT] = "too many",
        [MUX_REASON_FAILED] = "could not be connected",
        [MUX_REASON_DETACHED] = "the channel was cut",
};

const char *mux_reason_to_string(MuxReason reason)
{
        return (unsigned) reason < _MUX_REASON_MAX ? reason_names[reason] : "unknown reason";
}

static bool all_zero(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (p[i])
                        return false;
        return true;
}

/* --- output ------------------------------------------------------------------------------------ */

static size_t out_room(const Mux *m)
{
        return m->limits.output - m->out_len;
}

/* n bytes at the end of the output; the caller has checked that there is room. */
static uint8_t *out_add(Mux *m, size_t n)
{
        uint8_t *p;

        if (m->out_start + m->out_len + n > m->limits.output) {
                memmove(m->out, m->out + m->out_start, m->out_len);
                m->out_start = 0;
        }
        p = m->out + m->out_start + m->out_len;
        m->out_len += n;
        return p;
}

static void out_hello(Mux *m, const uint8_t epoch[static EPOCH_SIZE])
{
        uint8_t *p = out_add(m, MUX_FRAME_MAX);

        memset(p, 0, MUX_FRAME_MAX);
        memcpy(p, MAGIC, MAGIC_SIZE);
        put_le32(p + 16, MUX_VERSION);
        put_le32(p + 20, m->limits.window);
        put_le32(p + 24, m->limits.streams);
        memcpy(p + 32, epoch, EPOCH_SIZE);
}

/* Adds a frame and returns where its payload goes, or NULL if there is no room. */
static uint8_t *out_frame(Mux *m, unsigned type, uint16_t stream, uint32_t size)
{
        uint8_t *p;

        if (out_room(m) < HEADER_SIZE + size + TRAILER_SIZE)
                return NULL;
        p = out_add(m, HEADER_SIZE + size + TRAILER_SIZE);
        p[0] = (uint8_t) type;
        p[1] = 0;
        put_le16(p + 2, stream);
        put_le32(p + 4, size);
        memcpy(p + 8, m->epoch, TAG_SIZE);
        memcpy(p + HEADER_SIZE + size, m->epoch, TAG_SIZE);
        return p + HEADER_SIZE;
}

static bool out_number(Mux *m, unsigned type, uint16_t stream, uint32_t value)
{
        uint8_t *p = out_frame(m, type, stream, sizeof value);

        if (!p)
                return false;
        put_le32(p, value);
        return true;
}

/* Credit is given back in large pieces: a frame for each read would double the traffic. */
static bool credit_due(const MuxStream *s)
{
        return s->consumed >= s->mux->limits.window / 4 && !s->local_closed && !s->close_received;
}

static bool stream_due(const MuxStream *s)
{
        return s->used && (s->open_due || s->close_due || credit_due(s));
}

static void stream_free_if_over(MuxStream *s)
{
        Mux *m = s->mux;

        if (!s->close_sent || !s->close_received)
                return;
        if (s->want_write)
                m->n_want_write--;
        *s = (MuxStream) { .mux = m };
        m->n_streams--;
}

static void stream_flush(MuxStream *s)
{
        Mux *m = s->mux;
        uint16_t id = (uint16_t) (s - m->streams);

        if (s->open_due && out_number(m, FRAME_OPEN, id, s->service))
                s->open_due = false;
        if (s->open_due)
                return;
        if (credit_due(s) && out_number(m, FRAME_CREDIT, id, s->consumed)) {
                s->may_receive += s->consumed;
                s->consumed = 0;
        }
        if (s->close_due && out_number(m, FRAME_CLOSE, id, s->reason)) {
                s->close_due = false;
                s->close_sent = true;
                stream_free_if_over(s);
        }
}

/* Flushes a stream now, or remembers that something has to be done when there is room. */
static void stream_kick(MuxStream *s)
{
        Mux *m = s->mux;

        if (!stream_due(s))
                return;
        stream_flush(s);
        if (stream_due(s))
                m->n_due++; /* a hint that the next mux_written() has work, recounted there */
}

static void flush_due(Mux *m)
{
        if (m->n_due == 0)
                return;
        m->n_due = 0;
        for (size_t i = 0; i < m->max_streams; i++) {
                MuxStream *s = m->streams + i;

                if (!stream_due(s))
                        continue;
                stream_flush(s);
                if (stream_due(s))
                        m->n_due++;
        }
}

/* Offers the room to those who wait for it, each time beginning behind the one who was served last. */
static void offer_room(Mux *m)
{
        size_t first = m->turn;

        for (size_t i = 0; i < m->max_streams && m->n_want_write > 0; i++) {
                size_t at = (first + i) % m->max_streams;
                MuxStream *s = m->streams + at;

                if (out_room(m) < MUX_FRAME_MAX)
                        return;
                if (!s->used || !s->want_write || s->may_send == 0 || s->open_due || s->local_closed)
                        continue;
                s->want_write = false;
                m->n_want_write--;
                m->turn = at + 1;
                if (m->events->writable)
                        m->events->writable(s, m->userdata);
        }
}

const void *mux_output(const Mux *m, size_t *ret_size)
{
        *ret_size = m->out_len;
        return m->out + m->out_start;
}

void mux_written(Mux *m, size_t size)
{
        size = MIN2(size, m->out_len);
        m->out_start += size;
        m->out_len -= size;
        if (m->out_len == 0)
                m->out_start = 0;
        if (m->state != STATE_ATTACHED)
                return;
        flush_due(m);
        offer_room(m);
}

/* --- the attach -------------------------------------------------------------------------------- */

static void end_attach(Mux *m, const char *why)
{
        bool was_attached = m->state == STATE_ATTACHED;

        m->state = m->role == MUX_HOST ? STATE_BROKEN : STATE_WAITING;
        for (size_t i = 0; was_attached && i < m->max_streams; i++) {
                MuxStream *s = m->streams + i;

                if (!s->used || s->local_closed)
                        continue;
                s->local_closed = true;
                if (m->events->closed)
                        m->events->closed(s, MUX_REASON_DETACHED, m->userdata);
        }
        for (size_t i = 0; i < m->limits.streams; i++)
                m->streams[i] = (MuxStream) { .mux = m };
        m->n_streams = m->n_due = m->n_want_write = m->turn = 0;
        m->out_start = m->out_len = 0;
        if (was_attached && m->events->detached)
                m->events->detached(m, why, m->userdata);
}

static void begin_attach(Mux *m, uint32_t window, uint32_t streams)
{
        m->peer_window = window;
        m->max_streams = MIN2(m->limits.streams, streams);
        m->state = STATE_ATTACHED;
        if (m->events->attached)
                m->events->attached(m, m->userdata);
}

/* A whole hello is at p. Returns 0, or -EPROTO when it cannot be answered. */
static int take_hello(Mux *m, const uint8_t *untrusted)
{
        uint32_t untrusted_version = get_le32(untrusted + 16), untrusted_window = get_le32(untrusted + 20),
                 untrusted_streams = get_le32(untrusted + 24);
        const uint8_t *untrusted_epoch = untrusted + 32;
        bool ask = all_zero(untrusted_epoch, EPOCH_SIZE);
        uint32_t window, streams;

        if (untrusted_version < 1 || untrusted_window < MUX_WINDOW_MIN || untrusted_window > MUX_WINDOW_MAX ||
            untrusted_streams < 1) {
                end_attach(m, "bad hello");
                return -EPROTO;
        }
        window = untrusted_window;
        streams = untrusted_streams;
        if (m->role == MUX_GUEST) {
                end_attach(m, "the host side started anew");
                if (all_zero(untrusted_epoch, TAG_SIZE))
                        return 0; /* no host says this: the tag must not look like padding */
                memcpy(m->epoch, untrusted_epoch, EPOCH_SIZE);
                out_hello(m, m->epoch);
                begin_attach(m, window, streams);
                return 0;
        }
        if (m->state == STATE_ATTACHED) {
                end_attach(m, ask ? "the guest side started anew" : "hello in the middle");
                return -EPROTO;
        }
        if (ask) {
                /* Whoever got our hello is gone. Once is enough for one that is still to be written. */
                if (m->out_len == 0)
                        out_hello(m, m->epoch);
        } else if (memcmp(untrusted_epoch, m->epoch, EPOCH_SIZE) == 0)
                begin_attach(m, window, streams);
        return 0; /* any other: the answer to an earlier host side */
}

void mux_detach(Mux *m, const char *why)
{
        end_attach(m, why);
        m->in_len = 0;
}

void mux_ask(Mux *m)
{
        static const uint8_t nobody[EPOCH_SIZE];

        if (m->role == MUX_GUEST && m->state == STATE_WAITING && m->out_len == 0)
                out_hello(m, nobody);
}

/* --- input ------------------------------------------------------------------------------------- */

/* Each returns NULL, or what is wrong. The payload has `size` bytes, at most MUX_DATA_MAX. */
typedef const char *(*FrameHandler)(Mux *m, MuxStream *s, const uint8_t *untrusted, uint32_t size);

static const char *take_open(Mux *m, MuxStream *s, const uint8_t *untrusted, uint32_t size)
{
        MuxReason reason = MUX_REASON_SERVICE;

        if (m->role != MUX_HOST)
                return "open from the host";
        if (size != 4)
                return "open frame of a wrong size";
        if (s->used)
                return "open of a stream that is open";
        s->used = true;
        s->may_send = m->peer_window;
        s->may_receive = m->limits.window;
        m->n_streams++;
        if (m->events->opened)
                reason = m->events->opened(s, get_le32(untrusted), m->userdata);
        if (reason != MUX_REASON_END && s->used && !s->local_closed)
                mux_stream_close(s, reason);
        return NULL;
}

static const char *take_data(Mux *m, MuxStream *s, const uint8_t *untrusted, uint32_t size)
{
        if (!s->used || s->close_received)
                return "data for a stream that is not open";
        if (size == 0)
                return "data frame without data";
        if (size > s->may_receive)
                return "more data than was allowed";
        s->may_receive -= size;
        if (!s->local_closed && m->events->data)
                m->events->data(s, untrusted, size, m->userdata);
        return NULL;
}

static const char *take_close(Mux *m, MuxStream *s, const uint8_t *untrusted, uint32_t size)
{
        uint32_t untrusted_reason;

        if (size != 4)
                return "close frame of a wrong size";
        if (!s->used || s->close_received)
                return "close of a stream that is not open";
        untrusted_reason = get_le32(untrusted);
        s->close_received = true;
        if (!s->local_closed) {
                s->local_closed = true;
                if (m->events->closed)
                        m->events->closed(s, untrusted_reason < MUX_REASON_DETACHED ? (MuxReason) untrusted_reason
                                                                                    : MUX_REASON_FAILED,
                                          m->userdata);
                s->reason = MUX_REASON_END;
                s->close_due = true;
        }
        stream_kick(s);
        if (s->used)
                stream_free_if_over(s);
        return NULL;
}

static const char *take_credit(Mux *m, MuxStream *s, const uint8_t *untrusted, uint32_t size)
{
        uint32_t untrusted_more;

        if (size != 4)
                return "credit frame of a wrong size";
        if (!s->used || s->close_received)
                return "credit for a stream that is not open";
        untrusted_more = get_le32(untrusted);
        if (untrusted_more == 0 || untrusted_more > m->peer_window - s->may_send)
                return "more credit than there can be";
        s->may_send += untrusted_more;
        offer_room(m);
        return NULL;
}

static const FrameHandler frame_handlers[_FRAME_MAX] = {
        [FRAME_OPEN] = take_open,
        [FRAME_DATA] = take_data,
        [FRAME_CLOSE] = take_close,
        [FRAME_CREDIT] = take_credit,
};

/* What is known of the bytes at p (n, not 0), in an attach. Returns NULL if nothing is wrong so far. */
static const char *check_frame(const Mux *m, const uint8_t *untrusted, size_t n, size_t *ret_size)
{
        uint32_t untrusted_size;
        size_t size;

        if (untrusted[0] >= _FRAME_MAX)
                return "unknown frame";
        *ret_size = HEADER_SIZE;
        if (n < HEADER_SIZE)
                return NULL;
        if (memcmp(untrusted + 8, m->epoch, TAG_SIZE) != 0)
                return "frame of another attach";
        untrusted_size = get_le32(untrusted + 4);
        if (untrusted[1] != 0 || untrusted_size > MUX_DATA_MAX)
                return "frame that is too long";
        if (get_le16(untrusted + 2) >= m->max_streams)
                return "stream number that is too high";
        size = untrusted_size;
        *ret_size = HEADER_SIZE + size + TRAILER_SIZE;
        if (n >= *ret_size && memcmp(untrusted + HEADER_SIZE + size, m->epoch, TAG_SIZE) != 0)
                return "frame that was cut";
        return NULL;
}

/* Is there a magic at p, as far as the n bytes go? */
static bool maybe_magic(const uint8_t *p, size_t n)
{
        return memcmp(p, MAGIC, MIN2(n, MAGIC_SIZE)) == 0;
}

/*
 * Takes one item off the front of the n bytes at p. Returns how many bytes it was, 0 when more are
 * needed, or negative when the connection is of no more use.
 */
static ssize_t take_one(Mux *m, const uint8_t *untrusted, size_t n)
{
        const char *wrong = NULL;
        size_t size = 0, skip;

        if (maybe_magic(untrusted, n)) {
                if (n < HELLO_SIZE)
                        return 0;
                return take_hello(m, untrusted) < 0 && m->role == MUX_HOST ? -EPROTO : (ssize_t) HELLO_SIZE;
        }
        if (untrusted[0] == FRAME_PAD) {
                for (skip = 1; skip < n && untrusted[skip] == FRAME_PAD; skip++)
                        ;
                return (ssize_t) skip;
        }
        if (m->state == STATE_ATTACHED) {
                wrong = check_frame(m, untrusted, n, &size);
                if (!wrong && n < size)
                        return 0;
                if (!wrong)
                        wrong = frame_handlers[untrusted[0]](m, m->streams + get_le16(untrusted + 2),
                                                             untrusted + HEADER_SIZE,
                                                             (uint32_t) (size - HEADER_SIZE - TRAILER_SIZE));
                if (!wrong)
                        return (ssize_t) size;
                end_attach(m, wrong);
                if (m->role == MUX_HOST)
                        return -EPROTO;
        }
        /* Not in step: go on to where a hello may begin; behind a cut frame that is inside what we have. */
        for (skip = 1; skip < n && !maybe_magic(untrusted + skip, n - skip); skip++)
                ;
        return (ssize_t) skip;
}

int mux_input(Mux *m, const void *untrusted_data, size_t size)
{
        const uint8_t *p = untrusted_data;

        if (m->state == STATE_BROKEN)
                return -EPROTO;
        while (size > 0) {
                size_t n = MIN2(size, sizeof m->in - m->in_len), done = 0;

                memcpy(m->in + m->in_len, p, n);
                m->in_len += n;
                p += n;
                size -= n;
                while (done < m->in_len) {
                        ssize_t k = take_one(m, m->in + done, m->in_len - done);

                        if (k < 0)
                                return (int) k;
                        if (k == 0)
                                break;
                        done += (size_t) k;
                }
                m->in_len -= done;
                if (done > 0)
                        memmove(m->in, m->in + done, m->in_len);
        }
        return 0;
}

/* --- the object and its streams ---------------------------------------------------------------- */

int mux_new(MuxRole role, const MuxLimits *limits, const MuxEvents *events, void *userdata, Mux **ret)
{
        static const MuxLimits defaults = MUX_LIMITS_DEFAULT;
        const MuxLimits *l = limits ? limits : &defaults;
        _cleanup_(mux_freep) Mux *m = NULL;

        if (l->streams < 1 || l->streams > MUX_STREAMS_MAX || l->window < MUX_WINDOW_MIN ||
            l->window > MUX_WINDOW_MAX || l->output < 2 * MUX_FRAME_MAX)
                return -EINVAL;
        m = calloc(1, sizeof *m);
        if (!m)
                return -ENOMEM;
        m->role = role;
        m->limits = *l;
        m->events = events;
        m->userdata = userdata;
        m->out = malloc(l->output);
        m->streams = calloc(l->streams, sizeof *m->streams);
        if (!m->out || !m->streams)
                return -ENOMEM;
        for (size_t i = 0; i < l->streams; i++)
                m->streams[i].mux = m;
        if (role == MUX_HOST) {
                do
                        if (getrandom(m->epoch, EPOCH_SIZE, 0) != EPOCH_SIZE)
                                return -EIO;
                while (all_zero(m->epoch, TAG_SIZE)); /* the tag must not look like padding */
                out_hello(m, m->epoch);
        }
        *ret = TAKE_PTR(m);
        return 0;
}

Mux *mux_free(Mux *m)
{
        if (!m)
                return NULL;
        free(m->out);
        free(m->streams);
        free(m);
        return NULL;
}

bool mux_attached(const Mux *m)
{
        return m->state == STATE_ATTACHED;
}

size_t mux_streams(const Mux *m)
{
        return m->n_streams;
}

int mux_open(Mux *m, uint32_t service, void *stream_userdata, MuxStream **ret)
{
        if (m->role != MUX_GUEST || m->state != STATE_ATTACHED)
                return -ENOTCONN;
        for (size_t i = 0; i < m->max_streams; i++) {
                MuxStream *s = m->streams + i;

                if (s->used)
                        continue;
                s->used = s->open_due = true;
                s->service = service;
                s->userdata = stream_userdata;
                s->may_send = m->peer_window;
                s->may_receive = m->limits.window;
                m->n_streams++;
                stream_kick(s);
                *ret = s;
                return 0;
        }
        return -EMFILE;
}

size_t mux_stream_send(MuxStream *s, const void *data, size_t size)
{
        Mux *m = s->mux;
        const uint8_t *p = data;
        size_t sent = 0;

        if (!s->used || s->local_closed)
                return 0;
        /* Room for a whole frame: no crumbs, and what is left serves the small frames. */
        while (!s->open_due && sent < size && s->may_send > 0 && out_room(m) >= MUX_FRAME_MAX) {
                size_t n = MIN2(MIN2(size - sent, (size_t) s->may_send), (size_t) MUX_DATA_MAX);

                memcpy(out_frame(m, FRAME_DATA, (uint16_t) (s - m->streams), (uint32_t) n), p + sent, n);
                s->may_send -= (uint32_t) n;
                sent += n;
        }
        if (sent < size && !s->want_write) {
                s->want_write = true;
                m->n_want_write++;
        }
        return sent;
}

void mux_stream_consumed(MuxStream *s, size_t size)
{
        if (!s->used || s->local_closed)
                return;
        s->consumed += (uint32_t) MIN2(size, (size_t) (s->mux->limits.window - s->may_receive - s->consumed));
        stream_kick(s);
}

void mux_stream_close(MuxStream *s, MuxReason reason)
{
        if (!s->used || s->local_closed)
                return;
        s->local_closed = true;
        s->close_due = true;
        s->reason = reason;
        stream_kick(s);
}

uint32_t mux_stream_id(const MuxStream *s)
{
        return (uint32_t) (s - s->mux->streams);
}

void *mux_stream_userdata(const MuxStream *s)
{
        return s->userdata;
}

void mux_stream_set_userdata(MuxStream *s, void *userdata)
{
        s->userdata = userdata;
}
