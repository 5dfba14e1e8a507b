/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A client as the rules and limits see it: one VM's start, or what a listener without VMs names. All
 * connections of it share its rules, window and limits, so that nothing is gained by opening more.
 */
#include "caller.h"
#include "proxy.h"

/* How much is said of a peer: so many in a second, the others are counted. */
typedef struct Rate {
        uint64_t second;
        unsigned count, omitted;
} Rate;

struct Peer {
        unsigned refs;
        Proxy *proxy;
        Peer *next;
        int64_t domid; /* -1: unknown */
        char uuid[37]; /* "": unknown */
        bool stubdom;
        char *start;   /* of the VM, by its record, where that alone says whose a socket is (listener.c); NULL: nothing is known */
        bool over;     /* this start of the VM ended: nobody new joins */
        PolicyClient client;

        Policy *policy;    /* the rules in force for it; NULL: none can be used */
        char *policy_why;  /* with NULL: why */

        unsigned n_connections;
        unsigned in_flight; /* calls that fill a place of the window */
        unsigned n_pending; /* unanswered calls */
        unsigned n_matches;
        size_t queued;      /* bytes kept */
        Connection *waiting, **waiting_end; /* connections that wait for a place, first come first */

        Rate denials, allowed, notes; /* audit.h */
        uint64_t n_denied;
};

/* The peer of that identity, made if there is none. One reference for the caller; NULL: out of memory. */
Peer *peer_get(Proxy *p, int64_t domid, const char *uuid, bool stubdom);
Peer *peer_ref(Peer *p);
Peer *peer_unref(Peer *p);
DEFINE_CLEANUP(Peer *, peer_unref)

/* The VM's start is over: a later start of the same domid or uuid gets a peer of its own. */
void peer_over(Peer *p);

/* Exempt from the rules: the host itself. */
static inline bool peer_is_host(const Peer *p)
{
        return p->domid == 0;
}

/* How the marker names it; what is not known gets values that no VM has. */
void peer_caller(const Peer *p, Caller *ret);
