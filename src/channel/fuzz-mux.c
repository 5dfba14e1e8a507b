/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes into both roles. A peer knows the tag of its attach, so the harness puts it in: the input
 * is a list of pieces; a piece is a kind, a size, and bytes.
 */
#include "mux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Side {
        Mux *mux;
        MuxStream *last;
        size_t held;
} Side;

static MuxReason on_opened(MuxStream *s, uint32_t untrusted_service, void *userdata)
{
        Side *side = userdata;

        side->last = s;
        return untrusted_service == 5555 ? MUX_REASON_END : MUX_REASON_SERVICE;
}

static void on_data(MuxStream *s, const void *untrusted_data, size_t size, void *userdata)
{
        Side *side = userdata;
        const uint8_t *p = untrusted_data;

        if (size == 0 || size > MUX_DATA_MAX)
                abort();
        switch (p[0] % 4) {
        case 0: /* kept: no credit */
                break;
        case 1:
                mux_stream_close(s, MUX_REASON_FAILED);
                if (side->last == s)
                        side->last = NULL;
                break;
        case 2:
                mux_stream_send(s, p, size);
                mux_stream_consumed(s, size);
                break;
        default:
                mux_stream_consumed(s, size);
        }
}

static void on_writable(MuxStream *s, void *userdata _unused_)
{
        mux_stream_send(s, "more", 4);
}

static void on_closed(MuxStream *s, MuxReason reason _unused_, void *userdata)
{
        Side *side = userdata;

        if (side->last == s)
                side->last = NULL;
}

static const MuxEvents events = {
        .opened = on_opened, .data = on_data, .writable = on_writable, .closed = on_closed,
};

/* Writes the piece into buf as the peer would; returns its size. */
static size_t craft(uint8_t kind, const uint8_t *p, size_t n, const uint8_t epoch[static 16],
                    uint8_t buf[static 512])
{
        uint8_t size[4] = { (uint8_t) n };

        if (kind == 1) { /* a frame: type, stream, payload */
                if (n < 2)
                        return 0;
                size[0] = (uint8_t) (n - 2);
                memcpy(buf, (uint8_t[]) { p[0] % 6, 0, p[1] % 8, 0 }, 4);
                memcpy(buf + 4, size, 4);
                memcpy(buf + 8, epoch, 4);
                memcpy(buf + 12, p + 2, n - 2);
                memcpy(buf + 12 + n - 2, epoch, 4);
                return n + 14;
        }
        if (kind == 2) { /* a hello */
                memset(buf, 0, 48);
                memcpy(buf, "oxt-guest-chan1\n", 16);
                memcpy(buf + 16, (uint8_t[]) { 1, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0 }, 12);
                memcpy(buf + 32, epoch, 16);
                memcpy(buf + 16, p, MIN2(n, (size_t) 32));
                return 48;
        }
        memcpy(buf, p, n);
        return n;
}

static void drive(MuxRole role, const uint8_t *data, size_t size)
{
        MuxLimits limits = { .streams = 6, .window = MUX_WINDOW_MIN, .output = 2 * MUX_FRAME_MAX };
        uint8_t epoch[16] = "epoch of fuzzers", buf[512];
        Side side = { 0 };
        size_t n;

        if (mux_new(role, &limits, &events, &side, &side.mux) < 0)
                abort();
        if (role == MUX_HOST)
                memcpy(epoch, (const uint8_t *) mux_output(side.mux, &n) + 32, 16);
        while (size >= 2) {
                size_t length = MIN2((size_t) data[1], size - 2);

                n = craft(data[0] % 8, data + 2, length, epoch, buf);
                if (mux_input(side.mux, buf, n) < 0)
                        break;
                switch (data[0] % 8) {
                case 3:
                        mux_written(side.mux, length * 64);
                        break;
                case 4:
                        if (mux_open(side.mux, 5555, NULL, &side.last) < 0)
                                side.last = NULL;
                        break;
                case 5:
                        if (side.last)
                                mux_stream_close(side.last, MUX_REASON_END);
                        side.last = NULL;
                        break;
                case 6:
                        mux_ask(side.mux);
                        break;
                case 7:
                        if (role == MUX_GUEST)
                                mux_detach(side.mux, "end of file");
                        break;
                default:
                        break;
                }
                mux_output(side.mux, &n);
                if (n > limits.output || mux_streams(side.mux) > limits.streams)
                        abort();
                data += 2 + length;
                size -= 2 + length;
        }
        mux_free(side.mux);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        drive(MUX_HOST, data, size);
        drive(MUX_GUEST, data, size);
        return 0;
}
