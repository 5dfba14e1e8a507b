/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Copies bytes between a libxenvchan ring and a stream socket, for both ends of the guest channel on
 * Xen: in the guest towards oxt-guest, on the host towards rpc-proxy. Who waits for what is the owner's
 * business: call pump whenever the ring's descriptor or the socket has something to say.
 */
#include <libxenvchan.h>

#include "util.h"

#define VCHAN_PATH "data/oxt-rpc" /* below the guest's own xenstore node */
#define VCHAN_RING_SIZE (16 * KIB)

typedef struct VchanBridge VchanBridge;

/* Takes over both; ring and socket are closed by free. The ring is made non-blocking here. */
int vchan_bridge_new(struct libxenvchan *ring, int fd, VchanBridge **ret);
VchanBridge *vchan_bridge_free(VchanBridge *b);
DEFINE_CLEANUP(VchanBridge *, vchan_bridge_free)

int vchan_bridge_ring_fd(const VchanBridge *b); /* wait for input */
int vchan_bridge_socket_fd(const VchanBridge *b);
/* EPOLLIN, EPOLLOUT, both or none: what to wait for on the socket. */
uint32_t vchan_bridge_wanted(const VchanBridge *b);
/*
 * Copies what can be copied now, within a bound. ring_ready: the ring's descriptor was readable. Returns 0, 1 (call
 * again soon: there is more), -EPIPE (the socket's end is gone), -ECONNRESET (the ring's other end is gone, or broke
 * the rules) or another errno.
 */
int vchan_bridge_pump(VchanBridge *b, bool ring_ready);
