/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Listens where guest programs expect the host's bus, and gives each connection a stream of its own. */
#include "mux.h"

/*
 * Adds a listening socket: "unix:PATH" or "tcp:PORT" (loopback alone), with "=SERVICE" behind it if
 * not 5555. Returns 0, or -errno after saying why.
 */
int relay_listen(const char *address);
/* The channel is attached (connections are taken) or not (they wait). */
void relay_attached(bool attached);

/* Events of the relay's streams; the userdata of a stream is its connection. */
void relay_data(MuxStream *s, const void *untrusted_data, size_t size);
void relay_writable(MuxStream *s);
void relay_closed(MuxStream *s, MuxReason reason);
