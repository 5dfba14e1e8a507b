/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * HTTP for clients of --websockets-in, by libmicrohttpd: the upgrade to a WebSocket, and the files of the
 * user interface (PATH_XUI) where they are installed. Nothing of it is loaded before the first client.
 */
#include "connection.h"

/* Serves one client; takes over the link, also when it fails. Returns 0 or negative errno. */
int web_serve(Proxy *p, Peer *peer, const Instance *instance, Link *client);
Web *web_free(Web *w);
DEFINE_CLEANUP(Web *, web_free)
