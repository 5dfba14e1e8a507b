/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The host's end of the guest channel on Xen: serves <dir>/rpc.sock as QEMU does elsewhere, and carries
 * what rpc-proxy says there over the ring that the domain offers. That the other end is that domain is the
 * hypervisor's word: the ring is mapped by domid, and a channel belongs to one start of the domain.
 */
#include <systemd/sd-event.h>

#include "util.h"

typedef struct XenChannel XenChannel;

int xenchannel_new(sd_event *event, const char *dir, uint32_t domid, XenChannel **ret);
XenChannel *xenchannel_free(XenChannel *c);
