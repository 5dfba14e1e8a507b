/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A link that speaks JSON outside and D-Bus inside, so that the rest of the proxy need not know. Each
 * JSON object is followed by a NUL byte.
 *
 * Every request gets exactly one answer: what cannot become a D-Bus message is answered here, what
 * cannot become JSON on the way back is answered as an error. Where a request does not say the types of
 * its arguments, the object is introspected on the proxy's own connection, but only if the rules would
 * let the call pass, and for a bounded time; requests behind it wait.
 */
#include "link.h"
#include "peer.h"

typedef struct JsonLinkSpec {
        Proxy *proxy;
        Peer *peer;          /* whose rules say what may be introspected, and who is charged for what is kept */
        const Instance *instance;
        bool client;         /* we are the side that sends requests: --json-out */
        bool authenticates;  /* D-Bus authentication lines come before the JSON */
} JsonLinkSpec;

/* Takes over inner, also when it fails. */
int json_link_new(Link *inner, const JsonLinkSpec *spec, Link **ret);
