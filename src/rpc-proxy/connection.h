/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One client connection and the bus connection made for it.
 *
 * Life: the client authenticates (sasl.h); at its first byte the bus connection is opened, says Hello
 * and takes the marker name (caller.h). Only when that is done, and the database is known, is the first
 * message read. From then on messages pass unchanged in both directions as filter.h decides. Serials are
 * the client's own: ours were used up before its first message, and what we make up ourselves are
 * replies and signals, whose serials nobody looks at. Whichever side ends, both do.
 *
 * Flow: bytes are read into one shared buffer and written from there in one go. What the other side
 * does not take is kept, and then nothing more is read from either side that would add to it. In one turn
 * a connection has a few messages handled; if there are more, others come first.
 *
 * Window: at most proxy.window messages of a peer are at the bus at once (a quarter of that while another peer
 * calls as well, so that nobody stands behind a full one), the rest waits in the peer's own buffers and
 * sockets. A call gives its place back with its reply. Messages without a reply take
 * places as well: a Ping of ours goes behind them, and its answer says that the bus has seen them.
 * Answers of the client need no place and overtake what waits, since its calls may wait for them; so do calls that the rules
 * deny, which are to be answered at once.
 */
#include "link.h"
#include "peer.h"
#include "proxy.h"
#include "sasl.h"
#include "wire.h"

typedef struct Side {
        Link *link;
        uint8_t *in; /* bytes that do not make a whole message yet, or wait; [in_at, in_used) */
        size_t in_at, in_used, in_size;
        uint8_t *out; /* what was not taken; [out_at, out_used) */
        size_t out_at, out_used, out_size;
        bool ended;
} Side;

typedef enum CallKind {
        KIND_PLAIN,
        KIND_ADD_MATCH,
        KIND_REMOVE_MATCH,
        KIND_LIST_NAMES,
        KIND_OWNER_NAME, /* --owner-name: the name that was asked for is in Connection.owner_names */
} CallKind;

/* A call of the client that has no reply yet. */
typedef struct PendingCall {
        uint32_t serial;
        uint32_t since; /* seconds, monotonic */
        uint8_t kind;
        bool in_window;
        bool quiet;  /* the client wants no reply: it is for us alone */
        char *asked; /* KIND_OWNER_NAME */
} PendingCall;

/* A call that was delivered to the client and has no reply yet. */
typedef struct HostCall {
        uint32_t serial;
        char sender[44]; /* unique names are ":1.<number>" on every bus there is; longer ones are refused */
} HostCall;

#define HOST_CALLS_MAX 128 /* for each connection; the oldest first */

typedef enum BusState {
        BUS_NONE,
        BUS_AUTH,   /* everything was sent; waiting for OK */
        BUS_HELLO,  /* waiting for our Hello's reply */
        BUS_MARKER, /* waiting for the marker's */
        BUS_READY,
} BusState;

struct Connection {
        Proxy *proxy;
        Peer *peer;
        const Instance *instance;
        Connection *next, **pprev;       /* all */
        Connection *next_waiting;        /* of the peer; with held */
        Connection *next_ready;          /* with ready */
        Side client, bus;
        Sasl *sasl;                      /* until it is done */
        BusState bus_state;
        bool running;                    /* messages are read from the client */
        bool hello_done;
        bool held;                       /* waits for a place in the window */
        bool ready;                      /* waits for its next turn */
        size_t scanned;                  /* bytes of client.in in which what may overtake was looked for */
        bool dead;
        uint32_t opened;                 /* seconds */
        uint64_t number;
        char *unique, *marker;
        uint32_t barrier;                /* serial of our Ping that is at the bus; 0: none */
        unsigned n_one_way, n_barrier;   /* messages without a reply since that Ping, and before it */
        PendingCall *calls;
        unsigned n_calls, n_calls_allocated;
        unsigned n_matches;
        HostCall *host_calls;
        unsigned n_host_calls, n_host_calls_allocated;
};

/* Takes over client (also on failure) and a reference of its own to peer. */
int connection_new(Proxy *p, Peer *peer, const Instance *instance, Link *client);
Connection *connection_free(Connection *c);

/* Ends it at the next chance; why is logged (NULL: an orderly end, at debug level). */
void connection_end(Connection *c, const char *why);

/* What all connections share; before the first and after the last. */
int connections_start(Proxy *p);
void connections_stop(Proxy *p);

/* Something that connections wait for came to be: goes on with those that can. */
void connections_retry(Proxy *p);
/* Ends all connections of that peer, or all (NULL). */
void connections_end(Proxy *p, const Peer *peer, const char *why);

/* For the filter: a message from us to one side, copied; body may be NULL. */
void connection_send(Connection *c, Side *to, const WireMessage *m);
/* A reply to the client's message m, from the bus driver. */
void connection_reply(Connection *c, const WireMessage *m, const char *signature, const WireBody *body);
void connection_reply_error(Connection *c, const WireMessage *m, const char *name, const char *text);

/* Whether the peer has a place for one more message at the bus. */
bool connection_window_open(const Connection *c);
/* Notes a forwarded message that has no reply. */
void connection_add_one_way(Connection *c);
/* Whether the bus's reply is the one to our Ping; then places are given back. */
bool connection_take_barrier(Connection *c, const WireMessage *m);

/* Notes a forwarded call. False: out of memory. */
bool connection_add_call(Connection *c, const WireMessage *m, CallKind kind);
/* Whether a call of that serial waits for its reply. */
bool connection_call_pending(const Connection *c, uint32_t serial);
/* Takes the call of that serial out into *ret. False: nobody asked. */
bool connection_take_call(Connection *c, uint32_t serial, PendingCall *ret);
bool connection_add_host_call(Connection *c, const WireMessage *m);
bool connection_take_host_call(Connection *c, uint32_t serial, const char *destination);
