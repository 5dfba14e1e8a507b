/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two muxes back to back: what goes in on one side must come out on the other, whatever happens between. */
#include <assert.h>

#include "mux.h"

#define N_STREAMS 100

typedef struct Side {
        Mux *mux;
        unsigned attached, detached, opened, closed, writable;
        uint32_t service;
        MuxReason refuse, reason;
        MuxStream *streams[N_STREAMS];
        size_t received[N_STREAMS];
        uint8_t *bytes[N_STREAMS];
        bool hold; /* keeps what it gets without giving credit back */
        char why[80];
} Side;

static void on_attached(Mux *m, void *userdata)
{
        Side *s = userdata;

        assert(mux_attached(m));
        s->attached++;
}

static void on_detached(Mux *m, const char *why, void *userdata)
{
        Side *s = userdata;

        assert(!mux_attached(m));
        s->detached++;
        snprintf(s->why, sizeof s->why, "%s", why);
}

static MuxReason on_opened(MuxStream *stream, uint32_t service, void *userdata)
{
        Side *s = userdata;

        s->opened++;
        s->service = service;
        assert(mux_stream_id(stream) < N_STREAMS);
        s->streams[mux_stream_id(stream)] = stream;
        s->received[mux_stream_id(stream)] = 0;
        return s->refuse;
}

static void on_data(MuxStream *stream, const void *data, size_t size, void *userdata)
{
        Side *s = userdata;
        uint32_t id = mux_stream_id(stream);

        assert(s->received[id] + size <= 4 * MIB);
        if (!s->bytes[id])
                s->bytes[id] = malloc(4 * MIB);
        memcpy(s->bytes[id] + s->received[id], data, size);
        s->received[id] += size;
        if (!s->hold)
                mux_stream_consumed(stream, size);
}

static void on_writable(MuxStream *stream _unused_, void *userdata)
{
        Side *s = userdata;

        s->writable++;
}

static void on_closed(MuxStream *stream, MuxReason reason, void *userdata)
{
        Side *s = userdata;

        s->closed++;
        s->reason = reason;
        s->streams[mux_stream_id(stream)] = NULL;
}

static const MuxEvents events = {
        .attached = on_attached,
        .detached = on_detached,
        .opened = on_opened,
        .data = on_data,
        .writable = on_writable,
        .closed = on_closed,
};

static void side_init(Side *s, MuxRole role)
{
        MuxLimits limits = { .streams = N_STREAMS, .window = 64 * 1024, .output = 128 * 1024 };

        *s = (Side) { 0 };
        assert(mux_new(role, &limits, &events, s, &s->mux) == 0);
}

static void side_done(Side *s)
{
        for (size_t i = 0; i < N_STREAMS; i++)
                free(s->bytes[i]);
        mux_free(s->mux);
}

/* Moves at most max bytes; in pieces of `piece`. Returns what mux_input gave. */
static int move(Side *from, Side *to, size_t max, size_t piece)
{
        while (max > 0) {
                size_t n;
                const void *p = mux_output(from->mux, &n);
                _cleanup_free_ void *copy = NULL;
                int r;

                n = MIN2(MIN2(n, max), piece);
                if (n == 0)
                        return 0;
                copy = malloc(n);
                memcpy(copy, p, n);
                mux_written(from->mux, n);
                max -= n;
                r = mux_input(to->mux, copy, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static size_t pending(Side *s)
{
        size_t n;

        mux_output(s->mux, &n);
        return n;
}

static void settle(Side *a, Side *b, size_t piece)
{
        while (pending(a) || pending(b)) {
                assert(move(a, b, SIZE_MAX, piece) == 0);
                assert(move(b, a, SIZE_MAX, piece) == 0);
        }
}

static void attach(Side *host, Side *guest)
{
        side_init(host, MUX_HOST);
        side_init(guest, MUX_GUEST);
        settle(host, guest, 777);
        assert(host->attached == 1 && guest->attached == 1);
}

static void test_many_streams(void)
{
        Side host, guest;
        static uint8_t block[1 * MIB];
        size_t sent[N_STREAMS] = { 0 };
        bool more = true;

        for (size_t i = 0; i < sizeof block; i++)
                block[i] = (uint8_t) (i * 7 + i / 251);
        side_init(&guest, MUX_GUEST);
        assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == -ENOTCONN);
        side_done(&guest);

        attach(&host, &guest);
        for (size_t i = 0; i < N_STREAMS; i++)
                assert(mux_open(guest.mux, 5555 + (uint32_t) i, NULL, &guest.streams[i]) == 0);
        assert(mux_open(guest.mux, 1, NULL, &guest.streams[0]) == -EMFILE);
        settle(&guest, &host, 100);
        assert(host.opened == N_STREAMS && host.service == 5555 + N_STREAMS - 1);

        /* Each stream carries bytes of its own start, both ways at once. */
        while (more) {
                more = false;
                for (size_t i = 0; i < N_STREAMS; i++) {
                        size_t want = 200 * 1024 - sent[i], n;

                        if (want == 0)
                                continue;
                        more = true;
                        n = mux_stream_send(guest.streams[i], block + i + sent[i], want);
                        sent[i] += n;
                        assert(mux_stream_send(host.streams[i], block + i + sent[i] - n, n) <= n);
                }
                settle(&guest, &host, 5000);
        }
        for (size_t i = 0; i < N_STREAMS; i++) {
                assert(host.received[i] == 200 * 1024);
                assert(memcmp(host.bytes[i], block + i, host.received[i]) == 0);
        }
        assert(guest.writable > 0);

        for (size_t i = 0; i < N_STREAMS; i += 2)
                mux_stream_close(guest.streams[i], MUX_REASON_END);
        for (size_t i = 1; i < N_STREAMS; i += 2)
                mux_stream_close(host.streams[i], MUX_REASON_FAILED);
        settle(&guest, &host, 1);
        assert(mux_streams(guest.mux) == 0 && mux_streams(host.mux) == 0);
        assert(host.closed == N_STREAMS / 2 && host.reason == MUX_REASON_END);
        assert(guest.closed == N_STREAMS / 2 && guest.reason == MUX_REASON_FAILED);
        side_done(&host);
        side_done(&guest);
}

/* One stream whose owner takes nothing holds up itself alone. */
static void test_stuck_stream(void)
{
        Side host, guest;
        static uint8_t block[256 * 1024];
        size_t n;

        attach(&host, &guest);
        assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == 0);
        assert(mux_open(guest.mux, 5555, NULL, &guest.streams[1]) == 0);
        host.hold = true;
        n = mux_stream_send(guest.streams[0], block, sizeof block);
        settle(&guest, &host, 4096);
        assert(n == 64 * 1024 && host.received[0] == n); /* the window, and not one byte more */
        assert(mux_stream_send(guest.streams[0], block, 1) == 0);
        host.hold = false;
        assert(mux_stream_send(guest.streams[1], block, 1000) == 1000);
        settle(&guest, &host, 4096);
        assert(host.received[1] == 1000 && host.received[0] == n);

        guest.writable = 0;
        mux_stream_consumed(host.streams[0], n);
        settle(&guest, &host, 4096);
        assert(guest.writable == 1);
        assert(mux_stream_send(guest.streams[0], block, 1) == 1);
        /* A close comes behind what was sent, and its number can be used again. */
        mux_stream_close(guest.streams[0], MUX_REASON_END);
        settle(&guest, &host, 4096);
        assert(host.received[0] == n + 1 && host.closed == 1);
        assert(mux_open(guest.mux, 5556, NULL, &guest.streams[0]) == 0 && mux_stream_id(guest.streams[0]) == 0);
        host.refuse = MUX_REASON_SERVICE;
        settle(&guest, &host, 4096);
        assert(guest.closed == 1 && guest.reason == MUX_REASON_SERVICE && mux_streams(host.mux) == 1);
        side_done(&host);
        side_done(&guest);
}

/* The host side dies at any byte, in either direction; the next one must get into step and see no old byte. */
static void test_restart(void)
{
        static uint8_t block[40000];

        memset(block, 'x', sizeof block);
        for (size_t cut = 0; cut < 70000; cut += 997) {
                Side host, guest, second;

                attach(&host, &guest);
                assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == 0);
                settle(&guest, &host, 4096);
                mux_stream_send(guest.streams[0], block, sizeof block);
                mux_stream_send(host.streams[0], block, sizeof block);
                assert(move(&guest, &host, cut, 4096) == 0);
                assert(move(&host, &guest, cut, 4096) == 0);
                side_done(&host); /* with it goes what it had not yet written */

                side_init(&second, MUX_HOST);
                settle(&second, &guest, 4096);
                assert(second.attached == 1 && guest.attached == 2 && guest.detached == 1);
                assert(guest.closed == 1 && guest.reason == MUX_REASON_DETACHED && mux_streams(guest.mux) == 0);
                assert(second.opened == 0 && guest.received[0] <= cut);
                for (size_t i = 0; i < guest.received[0]; i++)
                        assert(guest.bytes[0][i] == 'x'); /* a cut frame is never delivered */
                assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == 0);
                assert(mux_stream_send(guest.streams[0], "new", 3) == 3);
                settle(&second, &guest, 4096);
                assert(second.received[0] == 3 && memcmp(second.bytes[0], "new", 3) == 0);
                side_done(&second);
                side_done(&guest);
        }
}

/* The guest program dies at any byte; the host learns of it and asks for a new connection. */
static void test_guest_restart(void)
{
        static uint8_t block[40000];

        for (size_t cut = 0; cut < 41000; cut += 1009) {
                Side host, guest, second;

                attach(&host, &guest);
                assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == 0);
                settle(&guest, &host, 4096);
                mux_stream_send(guest.streams[0], block, sizeof block);
                assert(move(&guest, &host, cut, 4096) == 0);
                side_done(&guest);

                side_init(&second, MUX_GUEST);
                mux_ask(second.mux);
                assert(pending(&second) == MUX_FRAME_MAX);
                mux_ask(second.mux); /* once is enough */
                assert(pending(&second) == MUX_FRAME_MAX);
                assert(move(&second, &host, SIZE_MAX, 4096) == -EPROTO);
                assert(host.detached == 1 && host.closed == 1 && !mux_attached(host.mux));
                assert(mux_input(host.mux, "", 1) == -EPROTO);
                side_done(&host);
                side_done(&second);
        }

        /* Asked before the attach the host says hello again, but keeps no pile of them. */
        Side host, guest;
        side_init(&host, MUX_HOST);
        side_init(&guest, MUX_GUEST);
        mux_ask(guest.mux);
        assert(move(&guest, &host, SIZE_MAX, 4096) == 0);
        assert(pending(&host) == MUX_FRAME_MAX);
        mux_written(host.mux, SIZE_MAX); /* eaten by a former program */
        mux_ask(guest.mux);
        settle(&guest, &host, 4096);
        assert(guest.attached == 1 && host.attached == 1);
        side_done(&host);
        side_done(&guest);
}

static void expect_end(const char *name, const uint8_t *frame, size_t size, const char *why)
{
        Side host, guest;
        uint8_t copy[64];
        const uint8_t *hello;
        size_t n;

        side_init(&host, MUX_HOST);
        side_init(&guest, MUX_GUEST);
        hello = mux_output(host.mux, &n);
        memcpy(copy, frame, size);
        if (size >= 12)
                memcpy(copy + 8, hello + 32, 4);
        if (size >= 16)
                memcpy(copy + size - 4, hello + 32, 4);
        settle(&host, &guest, 4096);
        if (mux_input(host.mux, copy, size) != -EPROTO || host.detached != 1 || !streq(host.why, why)) {
                fprintf(stderr, "%s: '%s' instead of '%s'\n", name, host.why, why);
                abort();
        }
        side_done(&host);
        side_done(&guest);
}

static void test_wrong_frames(void)
{
        static const struct {
                const char *bytes;
                size_t size;
                const char *why;
        } table[] = {
#define FRAME(b, w) { b, sizeof(b) - 1, w }
                FRAME("\x07", "unknown frame"),
                FRAME("\x01\x01\0\0\x04\0\0\0tttt\xb3\x15\0\0tttt", "frame that is too long"),
                FRAME("\x02\0\0\0\x01\x40\0\0tttt....tttt", "frame that is too long"),
                FRAME("\x02\0\0\0\xff\xff\xff\xfftttt....tttt", "frame that is too long"),
                FRAME("\x01\0\x64\0\x04\0\0\0tttt\xb3\x15\0\0tttt", "stream number that is too high"),
                FRAME("\x01\0\0\0\x03\0\0\0tttt\xb3\x15\0tttt", "open frame of a wrong size"),
                FRAME("\x02\0\0\0\x01\0\0\0tttt!tttt", "data for a stream that is not open"),
                FRAME("\x03\0\0\0\x04\0\0\0tttt\0\0\0\0tttt", "close of a stream that is not open"),
                FRAME("\x03\0\0\0\0\0\0\0tttttttt", "close frame of a wrong size"),
                FRAME("\x04\0\0\0\x04\0\0\0tttt\x01\0\0\0tttt", "credit for a stream that is not open"),
                FRAME("\x04\0\0\0\x01\0\0\0tttt\x01tttt", "credit frame of a wrong size"),
                FRAME("\x02\0\0\0\0\0\0\0tttt", NULL), /* no trailer yet: nothing can be said */
#undef FRAME
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].why)
                        expect_end(table[i].why, (const uint8_t *) table[i].bytes, table[i].size, table[i].why);

        /* Those that need a stream, sent by a guest that cheats. */
        Side host, guest;
        uint8_t frame[12 + 4 + 4], tag[4];
        const uint8_t *hello;
        size_t n;

        side_init(&host, MUX_HOST);
        side_init(&guest, MUX_GUEST);
        hello = mux_output(host.mux, &n);
        memcpy(tag, hello + 32, 4);
        settle(&host, &guest, 4096);
        assert(mux_open(guest.mux, 5555, NULL, &guest.streams[0]) == 0);
        settle(&host, &guest, 4096);
        memcpy(frame, "\x04\0\0\0\x04\0\0\0tttt\x01\0\0\0tttt", sizeof frame);
        memcpy(frame + 8, tag, 4);
        memcpy(frame + 16, tag, 4);
        assert(mux_input(host.mux, frame, sizeof frame) == -EPROTO);
        assert(streq(host.why, "more credit than there can be"));
        side_done(&host);
        side_done(&guest);

        attach(&host, &guest);
        assert(mux_input(host.mux, "\x02\0\0\0\x01\0\0\0????", 12) == -EPROTO);
        assert(streq(host.why, "frame of another attach"));
        side_done(&host);
        side_done(&guest);
}

int main(void)
{
        test_many_streams();
        test_stuck_stream();
        test_restart();
        test_guest_restart();
        test_wrong_frames();
        for (int i = 0; i < _MUX_REASON_MAX; i++)
                assert(mux_reason_to_string((MuxReason) i));
        return 0;
}
