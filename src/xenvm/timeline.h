/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What happened when during a start of the VM, and where and why it failed. */
#include "util.h"

typedef enum TimelinePhase {
        TIMELINE_CHECKED,
        TIMELINE_SPAWNED,
        TIMELINE_QMP_READY,
        TIMELINE_DEVICES,
        TIMELINE_RUNNING,
        TIMELINE_AGENT,    /* the guest's agent has spoken */
        TIMELINE_SENTINEL, /* the guest has said that it is up */
        _TIMELINE_MAX,
} TimelinePhase;

typedef struct Timeline {
        uint64_t begin; /* monotonic; 0: no start yet */
        uint64_t at[_TIMELINE_MAX]; /* microseconds after begin; 0: not (yet) */
        TimelinePhase failed; /* the phase that was not reached; _TIMELINE_MAX: none failed */
        char *cause;
        unsigned round_trips; /* requests that were sent to the device model */
} Timeline;

void timeline_begin(Timeline *t);
/* The first time counts: then true. */
bool timeline_reach(Timeline *t, TimelinePhase phase);
void timeline_fail(Timeline *t, const char *cause);
void timeline_done(Timeline *t);
/* Several lines, without LF at the end. Returns NULL on out of memory. */
char *timeline_text(const Timeline *t);
/* For the runtime record, so that a new monitor of the VM knows it; and back. NULL: no start, or out of memory. */
char *timeline_save(const Timeline *t);
void timeline_load(Timeline *t, const char *text);
/* The same as timeline_text() on one line, for the log. */
char *timeline_line(const Timeline *t);
