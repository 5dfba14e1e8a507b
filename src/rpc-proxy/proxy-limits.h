/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What one guest may use: one row for each limit, from the settings (proxy.*). */
#include "util.h"

typedef struct Limits {
        int64_t connections;   /* at once */
        int64_t message_size;  /* bytes of one message */
        int64_t queued;        /* bytes kept for it in each direction */
        int64_t window;        /* calls at the bus at once; the rest waits */
        int64_t pending;       /* unanswered calls, those that outlived the window's patience included */
        int64_t matches;       /* match rules */
        int64_t patience;      /* seconds after which an unanswered call no longer fills a place of the window */
        int64_t auth_timeout;  /* seconds until the client must have said Hello */
        int64_t denials;       /* audit records for each second */
} Limits;

void limits_load(Limits *ret);
