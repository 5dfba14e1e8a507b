/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What is done with a VM, and what happens to it.
 *
 * Each request is a job. A VM has one job at a time, others wait behind it, in order. The rules:
 *
 *   - a request that equals the last one in the queue joins it and gets its result;
 *   - destroy ends what is under way and all that waits (their callers get an error), and begins;
 *   - start of a VM that runs succeeds and does nothing; behind a job that ends the VM it waits, and starts it;
 *   - run-insteadof-start is run in place of each start, whoever asked, but of start_internal: that one is what the hook
 *     itself may ask for, and goes before the job that waits for the hook;
 *   - shutdown, destroy, pause … of a VM that does not run succeed and do nothing;
 *   - delete is refused (204) while the VM runs or a job of it is under way; start, while it is being deleted.
 *
 * A job is a chain of steps; each step waits for one thing (an answer, a state, a hook, another VM)
 * and has a deadline. A start that fails behind the point where the monitor was told to build the VM
 * destroys it again before its callers hear of it, so that the next start finds nothing. A VM whose monitor
 * has died has another one soon: its jobs wait for that. A monitor that does not answer is killed.
 *
 * Events of a VM are handled one after the other: everything about one is done, and vm_state_changed
 * sent as the last, before the next is looked at.
 */
#include "vm.h"

typedef enum JobKind {
        JOB_START,
        JOB_SHUTDOWN,
        JOB_DESTROY,
        JOB_REBOOT,
        JOB_SLEEP,
        JOB_RESUME,
        JOB_HIBERNATE,
        JOB_PAUSE,
        JOB_UNPAUSE,
        JOB_SUSPEND, /* to file */
        JOB_RESTORE, /* from file */
        _JOB_MAX,
} JobKind;

typedef enum JobFlags {
        JOB_INTERNAL = 1 << 0, /* start: itself, without run-insteadof-start */
        JOB_AGAIN = 1 << 1,    /* start: after a reboot, of which it is a part: before all that waits */
        JOB_RESUMED = 1 << 2,  /* start: the rest of one that was interrupted */
} JobFlags;

/* Why it ended: NULL, or the whole error text. */
typedef void (*JobDone)(const char *error, void *userdata);

/* Queues or joins a job. c (may be NULL) is answered at its end; so is done called. file: for those that have one. */
int lifecycle_request(Vm *vm, JobKind kind, unsigned flags, const char *file, Call *c, JobDone done, void *userdata);
/*
 * Calls off what is being done with the VM and what waits behind it: callers get an error, a start is rolled back,
 * a pending restart of keep-alive forgotten. Not a destroy, and not what a guest was already asked to do. Returns
 * whether there was anything; a second call finds nothing.
 */
bool lifecycle_cancel(Vm *vm);
/* JSON array of what is being done: {"what", "state", "step", "seconds", "left", "done", "total"}. */
int lifecycle_operations_json(Vm *vm, char **ret);
/* Shows the VM, if it runs, where there is an input daemon to do so; one that sleeps is woken. */
void lifecycle_show(Vm *vm);
/* A job that is to end the VM is running. */
bool lifecycle_is_ending(const Vm *vm);
const char *job_kind_text(JobKind kind);
/* A time limit, lowered by XENVM_TIMEOUT_SCALE as those of the monitor are. */
uint64_t lifecycle_scaled(uint64_t usec);

/* What the monitor tells. status: the text of its notification. */
void lifecycle_notify(Vm *vm, const char *status);
void lifecycle_monitor_up(Vm *vm, VmState state);
void lifecycle_monitor_failed(Vm *vm, const char *why);
void lifecycle_monitor_left(Vm *vm); /* it ended, and was to */
void lifecycle_agent_changed(Vm *vm);
void lifecycle_sentinel(Vm *vm); /* the guest says that it is up */
void lifecycle_bus_down(Manager *m);
void lifecycle_forget(Vm *vm); /* the VM goes away */

/*
 * The checks of a start, in the contract's order: lifecycle-checks.c. Findings are collected with
 * their error texts; with only_first the first one ends the search.
 */
typedef struct Findings {
        char **steps, **texts;
        bool dry; /* of a dry run, whose texts are for people: they may say more than the contract's */
} Findings;
int start_check(Vm *vm, bool only_first, Findings *ret);
void findings_done(Findings *f);

/* VMs that serve this one, deepest first, each once. Returns 0, or -ELOOP when they need each other. */
int lifecycle_dependencies(Vm *vm, Vm ***ret, size_t *ret_n);

/* Phases of the last start with times: timeline.c */
void timeline_begin(Vm *vm, const char *what, uint64_t asked); /* when, by now_usec() */
void timeline_mark(Vm *vm, const char *phase);
bool timeline_mark_once(Vm *vm, const char *phase); /* false: it was before, or cannot be */
void timeline_fail(Vm *vm, const char *why);
void timeline_log(Vm *vm);
int timeline_json(Vm *vm, char **ret);
struct Timeline *timeline_free(struct Timeline *t);
