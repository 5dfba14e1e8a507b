/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The guest channels of this stack: follows the announcements in <runtime>/channel, keeps one connection
 * to each VM's socket (src/channel/mux.h carries many streams over it) and makes a Connection of each
 * stream that a guest opens. The service number of a stream chooses the Instance.
 */
#include "proxy.h"

typedef struct GuestChannels GuestChannels;

int guest_channels_new(Proxy *p, GuestChannels **ret);
GuestChannels *guest_channels_free(GuestChannels *g);
DEFINE_CLEANUP(GuestChannels *, guest_channels_free)

/* How many channels are attached; for Status(). */
unsigned guest_channels_attached(const GuestChannels *g);
