/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where clients come from: -i unix:PATH, tcp:PORT, vsock:PORT, serial:DEVICE, or guest: for all VMs of
 * this stack that announce a guest channel. Who a client is, is known from the channel, or from -d; of a
 * client of whom nothing is known nothing is exempt from the rules.
 */
#include "proxy.h"

/* 0 if the text is of one of these forms; else -EINVAL with *ret_why (static). */
int listener_check(const char *channel, const char **ret_why);
int listener_new(Proxy *p, Listener **ret);
Listener *listener_free(Listener *l);
DEFINE_CLEANUP(Listener *, listener_free)

/* Connections can be made: begins to accept. */
int listener_start(Listener *l);
/* There is no bus: stops accepting; guest channels are given up, so that guests see the end of what was open. */
void listener_stop(Listener *l);

/* One conversation, then the process ends. */
bool listener_is_serial(const Listener *l);
/* Guest channels that are attached. */
unsigned listener_channels(const Listener *l);
