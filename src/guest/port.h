/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The guest's end of the channel: finds and opens it, reads and writes it, keeps the Mux on it, and
 * starts again by itself whenever the host side or the device goes away.
 */
#include "mux.h"

#define PORT_NAME "org.oxt.rpc.0"
#define VCHAN_SOCKET "/run/oxt/vchan.sock" /* of oxt-guest-vchan, in a guest of Xen */

/*
 * where: "auto" (the virtio port of that name, else vsock), the path of a port or unix socket, or
 * "vsock[:PORT]" (the host's). Goes on trying for ever; events are those of the mux. 0 or -errno.
 */
int port_start(const char *where, const MuxEvents *events, void *userdata);
Mux *port_mux(void);
/* Something was put into the mux from outside its events: writes it. */
void port_flush(void);
