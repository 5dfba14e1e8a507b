/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The framing of the guest channel (docs/guest-channel.md): many streams over the one byte stream of a
 * virtio-serial port or vsock connection. It does no I/O: the owner gives it what it read and writes
 * what it has to write. The guest opens streams, the host accepts them. libc only.
 *
 * Host role: one Mux for one connection to the channel's socket; made anew with the connection. Guest
 * role: one Mux for the life of the program; each hello of the host begins a new attach, and ends all
 * streams of the attach before.
 *
 * Everything received is untrusted: each length, number and order is checked, and the first thing
 * that is wrong ends the attach. What one Mux can hold is bounded by MuxLimits alone.
 */
#include "util.h"

#define MUX_VERSION 1
#define MUX_DATA_MAX 16384u                    /* payload of one frame */
#define MUX_FRAME_MAX (MUX_DATA_MAX + 12 + 4)  /* with header and trailer; the length of a hello, too */
#define MUX_WINDOW_MIN MUX_DATA_MAX
#define MUX_WINDOW_MAX (16u << 20)
#define MUX_STREAMS_MAX 4096u

typedef enum MuxRole { MUX_HOST, MUX_GUEST } MuxRole;

/* Why a stream ended, as carried by its close frame. */
typedef enum MuxReason {
        MUX_REASON_END,      /* its owner is done with it */
        MUX_REASON_SERVICE,  /* the host has no such service */
        MUX_REASON_LIMIT,    /* too many */
        MUX_REASON_FAILED,   /* the host could not connect it */
        MUX_REASON_DETACHED, /* never sent: the attach ended */
        _MUX_REASON_MAX,
} MuxReason;

/* In words, for logs; any number is fine. */
const char *mux_reason_to_string(MuxReason reason);

typedef struct Mux Mux;
typedef struct MuxStream MuxStream;

typedef struct MuxLimits {
        uint32_t streams; /* at once, up to MUX_STREAMS_MAX */
        uint32_t window;  /* bytes that may be under way to us on one stream: what its owner may have to keep */
        size_t output;    /* bytes waiting to be written, at least 2 * MUX_FRAME_MAX */
} MuxLimits;

#define MUX_LIMITS_DEFAULT { .streams = 256, .window = 64 * 1024, .output = 256 * 1024 }

/*
 * Called from inside mux_input(), mux_written() and mux_detach(). They may use every function but
 * mux_free() and these three. Each may be NULL.
 */
typedef struct MuxEvents {
        /* Both sides have said hello: streams can be opened. */
        void (*attached)(Mux *m, void *userdata);
        /* The attach is over; every stream had its closed() before. */
        void (*detached)(Mux *m, const char *why, void *userdata);
        /* Host: the guest opened a stream. MUX_REASON_END accepts, anything else refuses it with that. */
        MuxReason (*opened)(MuxStream *s, uint32_t untrusted_service, void *userdata);
        /* Bytes for the owner to keep or pass on, never more than `window` without mux_stream_consumed(). */
        void (*data)(MuxStream *s, const void *untrusted_data, size_t size, void *userdata);
        /* After mux_stream_send() took less than it was given: there is room again. */
        void (*writable)(MuxStream *s, void *userdata);
        /* The other side closed it, or the attach ended. The last event; s is gone afterwards. */
        void (*closed)(MuxStream *s, MuxReason reason, void *userdata);
} MuxEvents;

/* limits NULL: the defaults; events stays the owner's. A host's hello is in the output at once. 0 or -errno. */
int mux_new(MuxRole role, const MuxLimits *limits, const MuxEvents *events, void *userdata, Mux **ret);
/* Calls no events. */
Mux *mux_free(Mux *m);
DEFINE_CLEANUP(Mux *, mux_free)

/*
 * Takes what was read. Host: -EPROTO when the guest broke the protocol or asks for a new attach; detached()
 * was called, and the owner is to close the connection and may make a new one. Guest: always 0.
 */
int mux_input(Mux *m, const void *untrusted_data, size_t size);

/* What waits to be written: *ret_size bytes (0: nothing) from the result on; then mux_written() of what was. */
const void *mux_output(const Mux *m, size_t *ret_size);
void mux_written(Mux *m, size_t size);

/* The connection is gone: ends the attach, if there is one. Guest: the next hello begins another. */
void mux_detach(Mux *m, const char *why);
/* Guest, not attached though connected: asks the host for a hello (a former guest program may have eaten it). */
void mux_ask(Mux *m);

/* Whether both sides have said hello, and how many streams there are. */
bool mux_attached(const Mux *m);
size_t mux_streams(const Mux *m);

/* Guest: opens a stream. -ENOTCONN: not attached; -EMFILE: too many. */
int mux_open(Mux *m, uint32_t service, void *stream_userdata, MuxStream **ret);

/* Takes up to size bytes and returns how many; fewer: writable() comes when the rest can be tried. */
size_t mux_stream_send(MuxStream *s, const void *data, size_t size);
/* The owner is done with that many received bytes: the other side may send as many more. */
void mux_stream_consumed(MuxStream *s, size_t size);
/* Ends a stream; what mux_stream_send() took is still delivered. No event of it follows, s is gone. */
void mux_stream_close(MuxStream *s, MuxReason reason);

/* The number that the frames carry. */
uint32_t mux_stream_id(const MuxStream *s);
void *mux_stream_userdata(const MuxStream *s);
void mux_stream_set_userdata(MuxStream *s, void *userdata);
