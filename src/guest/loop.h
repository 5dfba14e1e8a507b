/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A small event loop on epoll, because a static binary cannot have sd-event. One for the process. */
#include <sys/epoll.h>

#include "util.h"

/* Kept by its owner, who must remove it before it goes away. */
typedef struct Source {
        int fd;
        uint32_t events; /* as registered; 0: not registered */
        void (*run)(struct Source *s, uint32_t events);
        void *userdata;
} Source;

typedef struct Timer {
        uint64_t at; /* CLOCK_MONOTONIC in microseconds; 0: off */
        void (*run)(struct Timer *t);
        void *userdata;
        struct Timer *next;
        bool known;
} Timer;

int loop_init(void);
/* Waits for `events` on s->fd from now on; 0: no more. */
int loop_watch(Source *s, uint32_t events);
/* Runs t once, usec from now. A timer is known to the loop for ever: only for what lives as long as the process. */
void loop_after(Timer *t, uint64_t usec);
void loop_cancel(Timer *t);
/* Runs until an error, which it returns as negative errno. */
int loop_run(void);
