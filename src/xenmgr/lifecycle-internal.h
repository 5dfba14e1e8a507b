/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of the life cycle share: jobs and their steps. */
#include "extract.h"
#include "hooks.h"
#include "lifecycle.h"
#include "measure.h"
#include "monitor-client.h"

typedef struct Waiter {
        Call *call;
        JobDone done;
        void *userdata;
        struct Waiter *next;
} Waiter;

typedef void (*JobStep)(Job *j);

struct Job {
        Vm *vm;
        JobKind kind;
        unsigned flags;
        char *file;
        Job *next;
        Waiter *waiters;
        bool running; /* not: waits behind another */
        bool begun;    /* a start, of whatever kind, that came past what it found at first */
        bool stands_in; /* a start whose hook run-insteadof-start runs in its place */
        bool launched; /* the monitor was told to build the VM: a failure must destroy it */
        char *failure; /* of a start whose VM is being destroyed: what it ends with */

        /* What the job waits for. One at a time, but for the deadline. */
        const char *doing;     /* for those who ask; a static text */
        JobStep step;          /* the next one, when what it waits for is there */
        JobStep on_deadline;   /* NULL: the job fails with deadline_text */
        const char *deadline_text;
        uint32_t state_mask;   /* waits for one of these states */
        bool waits_monitor;
        bool waits_memory;     /* for another start to get its own */
        bool waits_sentinel;   /* for nothing else, and so gives way to any other job */
        unsigned waits_others; /* other VMs' jobs */
        MonitorCall *call;
        bool tolerant; /* an error answer is kept in `reply_error`, not fatal */
        char *reply, *reply_error;
        Hook *hook;
        Measure *measure;
        Extract *extract;
        sd_bus_slot *slot;     /* a call of an agent */
        sd_event_source *timer;
        sd_event_source *progress; /* while it can tell how far it is */
        uint64_t asked, began, deadline; /* 0: not begun, none */
        unsigned attempts;
        int64_t memory_mib;    /* what a start needs */
};

#define STATE_BIT(s) (1u << (s))

/* The jobs' first steps, by kind. */
extern const JobStep job_first_steps[_JOB_MAX];
void start_first(Job *j);
void shutdown_first(Job *j);
void destroy_first(Job *j);
void reboot_first(Job *j);
void sleep_first(Job *j);
void resume_first(Job *j);
void hibernate_first(Job *j);
void pause_first(Job *j);
void unpause_first(Job *j);
void suspend_first(Job *j);
void restore_first(Job *j);

/* Tells every quarter of a second how far the measuring of disks is. In operation.c. */
void job_tell_progress(Job *j);
/* error NULL: success. Frees j; callers return at once. */
void job_end(Job *j, const char *error);
void job_end_code(Job *j, ErrorCode code, const char *detail);

/* Each lets the job go on with `step`, or ends it with an error. deadline_text: kept by reference. */
void job_deadline(Job *j, uint64_t usec, const char *text, JobStep on_deadline);
void job_monitor(Job *j, const char *member, const char *const *args, uint64_t usec, JobStep step);
void job_monitor_tolerant(Job *j, const char *member, const char *const *args, uint64_t usec, JobStep step);
void job_wait_states(Job *j, uint32_t mask, uint64_t usec, const char *text, JobStep step, JobStep on_deadline);
/* Until the VM has a monitor that has told its state; one is started where none is coming up. */
void job_wait_monitor(Job *j, JobStep step);
void job_hook(Job *j, const char *key, const char *argument, JobStep step);
/* Calls the guest's agent; the answer does not matter (the state that follows does). */
void job_agent(Job *j, const char *member);

/* What forbids any start. False: the job has ended. */
bool start_allowed(Job *j);
void start_begins(Job *j, const char *what);
/* The checks of a start. False: the job has ended with the first finding. */
bool start_passes(Job *j);

/* memory.c: finds memory, then goes on with start_granted(). */
void start_memory(Job *j);
void start_granted(Job *j);
void restore_granted(Job *j);
/* j needs it no more (or ends): the next one has its turn. */
void memory_turn_over(Manager *m, Job *j);

/* A failed or interrupted start leaves nothing: writes down that one is under way, and takes it back. */
void start_intent_set(Vm *vm, bool on);
/* The VM, in that state, was being started by somebody who did not come to its end. */
bool start_interrupted(Vm *vm, VmState state);
/* Queues the end of a start that was under way when we were killed. */
void start_resume(Vm *vm);
