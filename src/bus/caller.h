/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which VM is a message from?
 *
 * rpc-proxy makes one bus connection for each connection of a guest, and before it forwards anything
 * takes on it a marker name
 *
 *     org.oxt.conn.d<domid>.u<uuid, '-' as '_'>.s<0|1>.r<32 hex digits>
 *
 * so a service that follows NameOwnerChanged below that prefix knows of a guest's connection before
 * it can see a message of it. A connection without a marker is the host's. On the system bus, where
 * only the proxy's user may own the prefix, a connection of that user without a marker is refused.
 * rpc-proxy's own connection, which carries nobody's messages, takes org.oxt.conn.proxy.r<32 hex digits>.
 */
#include <systemd/sd-bus.h>

#include "util.h"

#define MARKER_PREFIX "org.oxt.conn"

typedef struct Caller {
        bool guest;   /* false: the host */
        int64_t domid; /* 0 for the host */
        char uuid[37]; /* of the guest's VM; all zeros for the host */
        bool stubdom;
        bool proxy;    /* rpc-proxy itself: of the host, but with no business beyond reading */
} Caller;

/* Writes a marker name with a fresh random part. Returns buf or NULL (no entropy, bad uuid). */
#define MARKER_NAME_MAX 160
char *marker_format(const Caller *c, char buf[static MARKER_NAME_MAX]);
/* The same for rpc-proxy's own connection. */
char *marker_format_proxy(char buf[static MARKER_NAME_MAX]);
/* Reads one. Returns 0 or -EINVAL. */
int marker_parse(const char *name, Caller *ret);

typedef struct CallerMap CallerMap;

/*
 * Follows the markers of a bus. Start before requesting a name of one's own: the list of names that
 * exist already is asked for here (this call waits for it, which is fine at start-up only).
 * proxy_uid: the proxy's user, whose unmarked connections are refused; (uid_t) -1: none such.
 */
int callermap_new(sd_bus *bus, uid_t proxy_uid, CallerMap **ret);
CallerMap *callermap_free(CallerMap *m);
DEFINE_CLEANUP(CallerMap *, callermap_free)

/*
 * Tells who sent a message with that unique name. Returns 0 (host), 1 (a guest), -EACCES (a connection
 * of the proxy's user without a marker), -EAGAIN: not known yet; then on_known is called exactly once,
 * from the event loop, when asking again will not give -EAGAIN.
 */
int callermap_lookup(CallerMap *m, const char *sender, Caller *ret, void (*on_known)(void *userdata), void *userdata);
/* Forgets a waiting on_known. */
void callermap_cancel(CallerMap *m, void *userdata);
