/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Carries texts between a WebSocket and a socket on which each is followed by a NUL byte. */
#include <systemd/sd-event.h>

#include "util.h"

typedef struct WsRelaySpec {
        int fd, json_fd;                 /* both are taken over, also on failure */
        const void *first;               /* bytes of the client that were read already */
        size_t n_first;
        void (*on_free)(void *userdata); /* called at the end, also on failure */
        void *userdata;
} WsRelaySpec;

/* The relay frees itself when either side ends. */
int ws_relay_new(sd_event *event, const WsRelaySpec *spec);
