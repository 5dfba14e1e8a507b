/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The thread that owns the store: it runs one job after the other and reports each through the event
 * loop, so that nothing but this thread ever waits for the disk.
 */
#include <systemd/sd-event.h>

#include "store.h"

typedef struct Writer Writer;

typedef struct Job Job;
struct Job {
        int (*run)(Job *job, Store *store);      /* in the thread; its result goes to done */
        void (*done)(Job *job, int result);      /* in the event loop */
        char error[256];                         /* the store's text when run failed */
};

/* Takes over store. */
int writer_new(sd_event *event, Store *store, Writer **ret);
/* Ends the thread; a job under way is finished first, but not reported. */
Writer *writer_free(Writer *w);
/* Starts a job, which stays the caller's until done is called. None may be under way. */
void writer_submit(Writer *w, Job *job);
/* Blocks until the job under way (if any) is finished and reported. For the end of the program. */
void writer_wait(Writer *w);
