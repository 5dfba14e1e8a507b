/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs: their queue, what they wait for, and how they end. The rules are in lifecycle.h. */
#include "lifecycle-internal.h"

#include "events.h"
#include "list.h"
#include "log.h"
#include "memory.h"
#include "network-backends.h"
#include "parse.h"
#include "strbuf.h"
#include "vm-look.h"

static const struct {
        const char *text;
        JobStep first;
} kinds[_JOB_MAX] = {
        [JOB_START] = { "start", start_first },
        [JOB_SHUTDOWN] = { "shutdown", shutdown_first },
        [JOB_DESTROY] = { "destroy", destroy_first },
        [JOB_REBOOT] = { "reboot", reboot_first },
        [JOB_SLEEP] = { "sleep", sleep_first },
        [JOB_RESUME] = { "resume", resume_first },
        [JOB_HIBERNATE] = { "hibernate", hibernate_first },
        [JOB_PAUSE] = { "pause", pause_first },
        [JOB_UNPAUSE] = { "unpause", unpause_first },
        [JOB_SUSPEND] = { "suspend to file", suspend_first },
        [JOB_RESTORE] = { "resume from file", restore_first },
};

const char *job_kind_text(JobKind kind)
{
        return kinds[kind].text;
}

static void job_go_on(Job *j);

#define JOBS_MAX 64 /* of one VM */
#define DESTROYED_TEXT "The VM was destroyed meanwhile"
#define MONITOR_UP_USEC (30 * USEC_PER_SEC)
#define MONITOR_BUILDS_USEC (300 * USEC_PER_SEC)

/* The queue */

/* Forgets a done that is waiting. */
static void cancel_wait(Vm *vm, void *userdata)
{
        for (Job *j = vm->job; j; j = j->next)
                for (Waiter *w = j->waiters; w; w = w->next)
                        if (w->done && w->userdata == userdata)
                                w->done = NULL;
}

static void job_stop_waiting(Job *j)
{
        j->call = monitor_call_cancel(j->call);
        j->hook = hook_cancel(j->hook);
        j->measure = measure_cancel(j->measure);
        j->extract = extract_cancel(j->extract);
        j->slot = sd_bus_slot_unref(j->slot);
        j->timer = sd_event_source_disable_unref(j->timer);
        j->progress = sd_event_source_disable_unref(j->progress);
        j->deadline = 0;
        j->state_mask = 0;
        j->waits_monitor = j->waits_memory = j->waits_sentinel = false;
        j->step = NULL;
        j->on_deadline = NULL;
        if (j->waits_others > 0)
                for (size_t i = 0; i < j->vm->manager->n_vms; i++)
                        cancel_wait(j->vm->manager->vms[i], j);
        j->waits_others = 0;
}

static void job_free(Job *j, const char *error)
{
        Waiter *waiters = TAKE_PTR(j->waiters);

        job_stop_waiting(j);
        memory_turn_over(j->vm->manager, j);
        free(j->file);
        free(j->reply);
        free(j->reply_error);
        free(j->failure);
        free(j);
        while (waiters) {
                Waiter *w = waiters;

                waiters = w->next;
                if (w->call) {
                        if (error)
                                (void) call_fail_text(w->call, error);
                        else
                                (void) call_reply(w->call, NULL);
                        call_unref(w->call);
                }
                if (w->done)
                        w->done(error, w->userdata);
                free(w);
        }
}

static int on_begin(_unused_ sd_event_source *s, void *userdata)
{
        Job *j = userdata;

        j->timer = sd_event_source_disable_unref(j->timer);
        kinds[j->kind].first(j);
        return 0;
}

/* From the loop: a job never runs inside the call that asked for it, nor inside another's end. */
static void job_begin(Job *j)
{
        j->running = true;
        j->began = now_usec();
        if (sd_event_add_defer(j->vm->manager->event, &j->timer, on_begin, j) < 0)
                job_end(j, "Out of memory");
}

/* A start that fails leaves nothing: what was built is destroyed before anybody is told. */
static void job_undo(Job *j, const char *error)
{
        log_warning("%s of %s failed, and is undone: %s", kinds[j->kind].text, j->vm->uuid, error);
        timeline_fail(j->vm, error);
        j->failure = strdup(error);
        j->launched = false;
        j->attempts = 0;
        j->doing = "undoing it";
        job_stop_waiting(j);
        destroy_first(j);
}

void job_end(Job *j, const char *error)
{
        _cleanup_free_ char *failure = NULL;
        Vm *vm = j->vm;

        if (error && j->launched) {
                job_undo(j, error);
                return;
        }
        failure = TAKE_PTR(j->failure);
        error = failure ? failure : error;
        LIST_TAKE_OUT(vm->job, j);
        if (error)
                log_warning("%s of %s failed: %s", kinds[j->kind].text, vm->uuid, error);
        /* While nobody can tell what runs, what was written down of a start is not settled by this. */
        if (j->running && !j->stands_in && !vm->unknown_state && (j->kind == JOB_START || !vm_is_running(vm)))
                start_intent_set(vm, false);
        if (j->begun) {
                if (error) {
                        timeline_fail(vm, error);
                        if (!vm_is_running(vm) && !vm->building)
                                memory_release(vm);
                }
                timeline_log(vm);
        }
        job_free(j, error);
        if (vm->job && !vm->job->running)
                job_begin(vm->job);
        else
                lifecycle_rest(vm);
}

/*
 * A VM that is not there needs no process. A new start makes a new one, of the version installed then. The one of a VM that keep-alive
 * is about to start says so to another manager.
 */
void lifecycle_rest(Vm *vm)
{
        if (!vm->job && !vm->keep_alive && vm->state == VM_SHUTDOWN && !vm_may_run(vm))
                monitor_quit(vm);
}

void job_end_code(Job *j, ErrorCode code, const char *detail)
{
        _cleanup_free_ char *text = error_format(code, detail);

        job_end(j, text ? text : "Out of memory");
}

static int waiter_add(Job *j, Call *c, JobDone done, void *userdata)
{
        Waiter *w;

        if (!c && !done)
                return 0;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (Waiter) { .call = c ? call_ref(c) : NULL, .done = done, .userdata = userdata, .next = j->waiters };
        j->waiters = w;
        return 0;
}

/* The caller hears it now, and not from a job. */
static int refuse(Call *c, JobDone done, void *userdata, const char *text)
{
        if (c)
                (void) call_fail_text(c, text);
        if (done)
                done(text, userdata);
        return 0;
}

/* Ends all that waits, the last one first, so that none of it begins. */
static void drop_waiting(Vm *vm, const char *error)
{
        while (vm->job && vm->job->next) {
                Job *last = vm->job;

                while (last->next)
                        last = last->next;
                job_end(last, error);
        }
}

/* A start by a hook in its place, and the start itself, are two things. */
static bool same_request(const Job *j, JobKind kind, unsigned flags)
{
        if (j->kind != kind || (flags & JOB_AGAIN))
                return false;
        return !((j->flags ^ flags) & JOB_INTERNAL) || !*vm_text(j->vm, "run-insteadof-start", "");
}

int lifecycle_request(Vm *vm, JobKind kind, unsigned flags, const char *file, Call *c, JobDone done, void *userdata)
{
        Job *last = vm->job, *running, *j;
        bool goes_first = false;
        size_t n = 1;
        int r;

        if (kind == JOB_DESTROY)
                drop_waiting(vm, DESTROYED_TEXT);
        for (last = vm->job; last && last->next; last = last->next)
                n++;
        running = vm->job;
        if (running && kind == JOB_START && (flags & JOB_INTERNAL)) {
                /* The hook that stands in for a start asks for the start itself. */
                if (running->next && running->next->stands_in)
                        return waiter_add(running, c, done, userdata);
                goes_first = running->stands_in;
        }
        if (last && same_request(last, kind, flags) && !file && !goes_first)
                return waiter_add(last, c, done, userdata);
        if (vm->deleting && (kind == JOB_START || kind == JOB_RESTORE))
                return refuse(c, done, userdata, "The VM is being deleted");
        if (n >= JOBS_MAX)
                return refuse(c, done, userdata, "Too many requests wait for this VM");
        j = calloc(1, sizeof *j);
        if (!j)
                return -ENOMEM;
        *j = (Job) { .vm = vm, .kind = kind, .flags = flags, .file = file ? strdup(file) : NULL, .asked = now_usec() };
        r = waiter_add(j, c, done, userdata);
        if (r < 0 || (file && !j->file)) {
                job_free(j, "Out of memory");
                return 0;
        }
        if (!running || goes_first) {
                j->next = running;
                vm->job = j;
                job_begin(j);
                return 0;
        }
        if (flags & JOB_AGAIN)
                last = running;
        j->next = last->next;
        last->next = j;
        if (kind == JOB_DESTROY) {
                running->launched = false; /* the one that goes first sees to it */
                job_end(running, DESTROYED_TEXT);
        } else if (running->waits_sentinel)
                job_go_on(running);
        return 0;
}

void lifecycle_show(Vm *vm)
{
        if (vm->domid < 0)
                return;
        if (vm->acpi_state == 3)
                (void) lifecycle_request(vm, JOB_RESUME, 0, NULL, NULL, NULL, NULL);
        tell_input_daemon(vm->manager, "switch_focus", "ib", (int32_t) vm->domid, 0);
}

bool lifecycle_is_ending(const Vm *vm)
{
        return vm->job && vm->job->running && (vm->job->kind == JOB_SHUTDOWN || vm->job->kind == JOB_DESTROY);
}

/* Waiting */

static void job_go_on(Job *j)
{
        JobStep step = j->step;

        j->timer = sd_event_source_disable_unref(j->timer);
        j->deadline = 0;
        j->step = NULL;
        j->on_deadline = NULL;
        j->state_mask = 0;
        j->waits_monitor = j->waits_memory = j->waits_sentinel = false;
        step(j);
}

static int on_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Job *j = userdata;
        JobStep next = j->on_deadline;
        const char *text = j->deadline_text;

        job_stop_waiting(j);
        if (next)
                next(j);
        else {
                _cleanup_free_ char *full = strformat("%s (%s is %s)", text, vm_text(j->vm, "name", j->vm->uuid),
                                                      vm_state_word(j->vm->state));

                job_end(j, strempty(full));
        }
        return 0;
}

/* Tests lower all limits by the factor that the monitor takes too, but to no less than a busy machine needs. */
uint64_t lifecycle_scaled(uint64_t usec)
{
        const char *e = getenv("XENVM_TIMEOUT_SCALE");
        double factor = e ? strtod(e, NULL) : 1;

        return factor > 0 && factor < 1 ? MAX2((uint64_t) ((double) usec * factor), 5 * USEC_PER_SEC) : usec;
}

void job_deadline(Job *j, uint64_t usec, const char *text, JobStep next)
{
        j->timer = sd_event_source_disable_unref(j->timer);
        j->deadline_text = text;
        j->on_deadline = next;
        usec = usec > USEC_PER_SEC ? lifecycle_scaled(usec) : usec;
        j->deadline = now_usec() + usec;
        (void) sd_event_add_time_relative(j->vm->manager->event, &j->timer, CLOCK_MONOTONIC, usec, 0, on_deadline, j);
}

static void on_reply(_unused_ Vm *vm, const char *reply, const sd_bus_error *error, void *userdata)
{
        Job *j = userdata;

        j->call = NULL;
        if (error && manager_bus_lost(j->vm->manager))
                return;
        j->vm->building = false;
        free(j->reply);
        j->reply = strdup(reply);
        free(TAKE_PTR(j->reply_error));
        if (error) {
                j->reply_error = error_from_monitor(error->message ? error->message : error->name);
                if (!j->tolerant) {
                        _cleanup_free_ char *text = TAKE_PTR(j->reply_error);

                        job_end(j, text ? text : "Out of memory");
                        return;
                }
        }
        job_go_on(j);
}

static void job_monitor_full(Job *j, const char *member, const char *const *args, uint64_t usec, JobStep step,
                             bool tolerant)
{
        int r;

        j->step = step;
        j->tolerant = tolerant;
        r = monitor_call(j->vm, member, args, lifecycle_scaled(usec), on_reply, j, &j->call);
        if (r < 0)
                job_end_code(j, ERROR_MONITOR, strerror(-r));
}

void job_monitor(Job *j, const char *member, const char *const *args, uint64_t usec, JobStep step)
{
        job_monitor_full(j, member, args, usec, step, false);
}

void job_monitor_tolerant(Job *j, const char *member, const char *const *args, uint64_t usec, JobStep step)
{
        job_monitor_full(j, member, args, usec, step, true);
}

void job_wait_states(Job *j, uint32_t mask, uint64_t usec, const char *text, JobStep step, JobStep on_late)
{
        j->step = step;
        if (mask & STATE_BIT(j->vm->state)) {
                job_go_on(j);
                return;
        }
        j->state_mask = mask;
        job_deadline(j, usec, text, on_late);
}

/* One that hangs while it comes up would keep the next one from it. */
static void on_monitor_late(Job *j)
{
        monitor_kill(j->vm);
        job_end_code(j, ERROR_MONITOR, "it did not come up");
}

void job_wait_monitor(Job *j, JobStep step)
{
        if (!j->vm->monitor && monitor_spawn(j->vm) < 0) {
                job_end_code(j, ERROR_MONITOR, "it cannot be started");
                return;
        }
        j->step = step;
        j->waits_monitor = true;
        job_deadline(j, j->vm->building ? MONITOR_BUILDS_USEC : MONITOR_UP_USEC, "", on_monitor_late);
}

static void on_hook(const char *error, void *userdata)
{
        Job *j = userdata;

        j->hook = NULL;
        if (error && manager_bus_lost(j->vm->manager))
                return; /* it was a call on the bus */
        if (error)
                job_end_code(j, ERROR_IO, error);
        else
                job_go_on(j);
}

void job_hook(Job *j, const char *key, const char *argument, JobStep step)
{
        int r;

        j->step = step;
        r = hook_run(j->vm, key, argument, on_hook, j, &j->hook);
        if (r < 0)
                job_end_code(j, ERROR_IO, strerror(-r));
        else if (r == 0)
                job_go_on(j);
}

static int on_agent(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Job *j = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        j->slot = sd_bus_slot_unref(j->slot);
        if (error)
                log_info("The agent of %s answered: %s", j->vm->uuid, strempty(error->message));
        return 0;
}

void job_agent(Job *j, const char *member)
{
        char name[96], u[37];
        sd_bus_message *m = NULL;
        int r = -ENOTCONN;

        snprintf(name, sizeof name, "com.citrix.xenclient.guest.uuid_%s", uuid_to_path(j->vm->uuid, u));
        if (j->vm->manager->bus)
                r = sd_bus_message_new_method_call(j->vm->manager->bus, &m, name, "/", "com.citrix.xenclient.guest",
                                                   member);
        if (r >= 0)
                r = sd_bus_call_async(j->vm->manager->bus, &j->slot, m, on_agent, j, 60 * USEC_PER_SEC);
        sd_bus_message_unref(m);
        if (r < 0)
                log_warning("Cannot call the agent of %s: %s", j->vm->uuid, strerror(-r));
}

/* What happens meanwhile */

void lifecycle_state_changed(Vm *vm)
{
        if (vm->job && vm->job->running && vm->job->state_mask & STATE_BIT(vm->state))
                job_go_on(vm->job);
}

/* Nothing of the running job was done yet, and the start after a reboot comes before what waits. */
static void let_restart_pass(Vm *vm)
{
        Job *j = vm->job, *restart = j->next;

        job_stop_waiting(j);
        j->running = false;
        j->next = restart->next;
        restart->next = j;
        vm->job = restart;
        job_begin(restart);
}

void lifecycle_monitor_up(Vm *vm, VmState state)
{
        bool found = vm->unknown_state, fresh = found && vm->fresh;
        Job *j;

        vm->unknown_state = vm->building = vm->fresh = false;
        if (state < _VM_STATE_MAX && state != vm->state && !fresh)
                lifecycle_event_state(vm, vm_state_word(state));
        else if (state < _VM_STATE_MAX && found)
                events_adopt(vm, state);
        if (vm->state == VM_RUNNING)
                network_found(vm);
        j = vm->job;
        if (j && j->running && j->waits_monitor && j->step == kinds[j->kind].first && j->next && j->next->flags & JOB_AGAIN)
                let_restart_pass(vm);
        else if (j && j->running && j->waits_monitor)
                job_go_on(j);
        else if (!j && start_interrupted(vm, state))
                start_resume(vm);
        else if (!j)
                start_intent_set(vm, false);
}

void lifecycle_monitor_failed(Vm *vm, const char *why)
{
        Job *j = vm->job;

        if (j && j->running && j->waits_monitor)
                job_end_code(j, ERROR_MONITOR, why);
        else
                log_warning("The monitor of %s could not be started: %s", vm->uuid, why);
}

/* A start that came while the old monitor was ending waits for that, then starts a new one. */
void lifecycle_monitor_left(Vm *vm)
{
        Job *j = vm->job;

        if (j && j->running && j->waits_monitor && monitor_spawn(vm) < 0)
                job_end_code(j, ERROR_MONITOR, "it cannot be started");
}

void lifecycle_agent_changed(Vm *vm)
{
        log_debug("The agent of %s %s", vm->uuid, vm->agent ? "is there" : "went away");
        /* A start that is over was logged without it. */
        if (vm->agent && timeline_mark_once(vm, "agent") && (!vm->job || vm->job->kind != JOB_START))
                timeline_log(vm);
}

static void on_told(_unused_ Vm *vm, _unused_ const char *reply, _unused_ const sd_bus_error *error, _unused_ void *userdata)
{
}

void lifecycle_sentinel(Vm *vm)
{
        /* The monitor has it in its own timeline, which outlives us. */
        if (vm->monitor)
                (void) monitor_call(vm, "boot_sentinel", NULL, 10 * USEC_PER_SEC, on_told, NULL, NULL);
        timeline_mark(vm, "sentinel");
        if (vm->job && vm->job->waits_sentinel)
                job_go_on(vm->job);
}

void lifecycle_bus_down(Manager *m)
{
        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];

                events_drop(vm);
                network_reconnects_drop(vm);
                looks_drop(vm);
                while (vm->job) {
                        Job *j = vm->job;
                        bool resume = j->kind == JOB_START && j->launched;

                        /* Not rolled back: it goes on when the bus and the monitor are there again. */
                        j->launched = false;
                        vm->job = j->next;
                        job_free(j, "The bus went away");
                        if (resume)
                                start_intent_set(vm, true);
                }
        }
}

void lifecycle_forget(Vm *vm)
{
        events_drop(vm);
        looks_drop(vm);
        while (vm->job) {
                Job *j = vm->job;

                vm->job = j->next;
                job_free(j, "The VM was deleted");
        }
        vm->keep_alive = sd_event_source_disable_unref(vm->keep_alive);
        vm->timeline = timeline_free(vm->timeline);
}
