/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A new client, whatever it speaks. */
#include "connection.h"

/* Takes over link (also on failure) and a reference of its own to peer. */
int client_accept(Proxy *p, Peer *peer, const Instance *instance, Link *link);
