/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Clients of --websockets-in. HTTP and WebSockets are spoken by a process of its own, rpc-proxy-web, started
 * with the first such client; what comes from it are JSON texts on one socket for each client, which are
 * judged here like any other's.
 */
#include "connection.h"

/* Serves one client; takes over the link, also when it fails. Returns 0 or negative errno. */
int web_process_serve(Proxy *p, Peer *peer, const Instance *instance, Link *client);
WebProcess *web_process_free(WebProcess *w);
