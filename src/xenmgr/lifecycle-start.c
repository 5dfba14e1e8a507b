/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a VM, in the order in which it happens. */
#include "lifecycle-internal.h"

#include <fcntl.h>
#include <unistd.h>

#include "cd-drives.h"
#include "config-writer.h"
#include "guest-nodes.h"
#include "intent.h"
#include "log.h"
#include "network-backends.h"
#include "networks.h"
#include "shutdown-all.h"

#define START_USEC (300 * USEC_PER_SEC)
#define SHORT_USEC (30 * USEC_PER_SEC)
#define CREATED_USEC (60 * USEC_PER_SEC)
#define SENTINEL_USEC (60 * USEC_PER_SEC)
#define NETWORKS_USEC (30 * USEC_PER_SEC)
#define NETWORKS_POLL_USEC (250 * USEC_PER_MSEC)
#define DEPENDENCIES_USEC (1800 * USEC_PER_SEC) /* disks of theirs may be measured */
#define MEASURE_TURN_USEC (1800 * USEC_PER_SEC)

static void start_checked(Job *j);
static void start_monitor(Job *j);
static void start_hibernated(Job *j);
static void start_pre_boot(Job *j);
static void start_build(Job *j);
static void start_built(Job *j);
static void start_unpause(Job *j);
static void start_unpaused(Job *j);
static void start_booted(Job *j);
static void start_done(Job *j);

void start_intent_set(Vm *vm, bool on)
{
        const Paths *p = manager_paths(vm->manager);
        int r = 0;

        if (on)
                r = intent_set(p, vm->uuid, INTENT_START, NULL);
        else
                intent_clear(p, vm->uuid, INTENT_START);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "The start of %s cannot be written down", vm->uuid);
}

bool start_interrupted(Vm *vm, VmState state)
{
        return (state == VM_CREATED || state == VM_CREATING_DEVICES || state == VM_CREATING_DOMAIN || state == VM_RESTORING) &&
               intent_is(manager_paths(vm->manager), vm->uuid, INTENT_START);
}

static void start_first_resumed(Job *j)
{
        job_wait_states(j, STATE_BIT(VM_CREATED) | STATE_BIT(VM_RUNNING), CREATED_USEC,
                        "The VM was not created in time", start_unpause, NULL);
}

void start_resume(Vm *vm)
{
        log_notice("The start of %s was interrupted; it goes on", vm->uuid);
        (void) lifecycle_request(vm, JOB_START, JOB_INTERNAL | JOB_RESUMED, NULL, NULL, NULL, NULL);
}

/* 1: what has to be known and to run before */

static void start_dependencies(Job *j);

/* Who serves a network card, and of what kind it is, is the network daemon's to say, where there is one. */
static void start_networks(Job *j)
{
        unsigned ids[NICS_MAX];

        if (!networks_known(j->vm->manager) && vm_record_ids(j->vm, "nic", ids, NICS_MAX) > 0) {
                if (j->attempts++ < NETWORKS_USEC / NETWORKS_POLL_USEC)
                        job_deadline(j, NETWORKS_POLL_USEC, "", start_networks);
                else
                        job_end_code(j, ERROR_NETWORK_DAEMON, NULL);
                return;
        }
        j->attempts = 0;
        if (vm_bool(j->vm, "track-dependencies", false))
                start_dependencies(j);
        else
                start_checked(j);
}

static void on_dependency(_unused_ const char *error, void *userdata)
{
        Job *j = userdata;

        if (--j->waits_others > 0)
                return;
        j->timer = sd_event_source_disable_unref(j->timer);
        j->deadline = 0;
        /* A backend that does not run ends the start silently, as clients expect; the log has its error. */
        Vm **deps = NULL;
        size_t n = 0;

        if (lifecycle_dependencies(j->vm, &deps, &n) >= 0)
                for (size_t i = 0; i < n; i++)
                        if (!vm_is_running(deps[i])) {
                                log_warning("%s is not started: %s, which serves it, does not run", j->vm->uuid,
                                            deps[i]->uuid);
                                timeline_fail(j->vm, "a VM that serves it does not run");
                                free(deps);
                                job_end(j, NULL);
                                return;
                        }
        free(deps);
        start_checked(j);
}

static void start_dependencies(Job *j)
{
        Vm **deps = NULL;
        size_t n = 0;
        int r;

        j->doing = "starting the VMs that serve it";

        r = lifecycle_dependencies(j->vm, &deps, &n);
        if (r < 0) {
                job_end(j, r == -ELOOP ? "The VM needs a VM that needs it: its network backends form a cycle"
                                       : "Out of memory");
                return;
        }
        /* One of its own, so that answers which come at once do not end the wait before all were asked. */
        j->waits_others = 1;
        job_deadline(j, DEPENDENCIES_USEC, "The VMs that serve it did not start in time", NULL);
        for (size_t i = 0; i < n; i++)
                if (!vm_is_running(deps[i]) || (deps[i]->job && deps[i]->job->kind == JOB_START)) {
                        j->waits_others++;
                        if (lifecycle_request(deps[i], JOB_START, 0, NULL, NULL, on_dependency, j) < 0)
                                j->waits_others--;
                }
        free(deps);
        on_dependency(NULL, j);
}

bool start_allowed(Job *j)
{
        const char *why = shutdown_all_running(j->vm->manager) ? "All VMs are being shut down"
                          : !vm_node(j->vm)                    ? "The VM is not in the database"
                                                               : NULL;

        if (why)
                job_end(j, why);
        return !why;
}

void start_begins(Job *j, const char *what)
{
        j->begun = true;
        j->vm->keep_alive = sd_event_source_disable_unref(j->vm->keep_alive);
        timeline_begin(j->vm, what, j->asked);
}

static void start_stood_in(Job *j)
{
        job_end(j, NULL);
}

void start_first(Job *j)
{
        Vm *vm = j->vm;

        if (vm->unknown_state) {
                j->doing = "waiting for its monitor to tell what runs";
                job_wait_monitor(j, start_first);
                return;
        }
        if (j->flags & JOB_RESUMED || start_interrupted(vm, vm->state)) {
                j->begun = j->launched = true;
                start_first_resumed(j);
                return;
        }
        if (!start_allowed(j))
                return;
        if (!(j->flags & JOB_INTERNAL) && *vm_text(vm, "run-insteadof-start", "")) {
                j->stands_in = true;
                j->doing = "running run-insteadof-start";
                job_hook(j, "run-insteadof-start", NULL, start_stood_in);
                return;
        }
        if (vm_is_running(vm)) {
                log_warning("%s runs already (%s); nothing is done", vm->uuid, vm_state_word(vm->state));
                job_end(j, NULL);
                return;
        }
        start_begins(j, j->flags & JOB_AGAIN ? "restart" : "start");
        start_networks(j);
}

/* 2: checks and the configuration file */

static void start_extract(Job *j);
static void start_configure(Job *j);

/* A VM whose disks have changed is not started, and whoever asked is told both sums; so is the host's console. */
static void on_measured(bool good, const char *why, void *userdata)
{
        _cleanup_close_ int console = -EBADF;
        Job *j = userdata;

        j->measure = NULL;
        j->progress = sd_event_source_disable_unref(j->progress);
        if (good) {
                timeline_mark(j->vm, "measured");
                start_extract(j);
                return;
        }
        log_error("%s is not started: %s", j->vm->uuid, why);
        log_notice("The action %s is the platform's to carry out",
                   db_text(j->vm->manager, "/xenmgr/measure-fail-action", "forced-shutdown"));
        console = open("/dev/hvc0", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (console >= 0)
                (void) dprintf(console, "\r\nThe VM %s is not started: %s\r\n", j->vm->uuid, why);
        job_end_code(j, ERROR_MEASURED, why);
}

static void start_measure(Job *j)
{
        int r = measure_start(j->vm, on_measured, j, &j->measure);

        if (r == -EBUSY && j->attempts++ < lifecycle_scaled(MEASURE_TURN_USEC) / USEC_PER_SEC) {
                j->doing = "waiting for others' disks to be measured";
                job_deadline(j, USEC_PER_SEC, "", start_measure);
        } else if (r < 0)
                job_end_code(j, ERROR_IO, r == -EBUSY ? "too many disks are being measured" : strerror(-r));
        else if (r == 0)
                start_extract(j);
        else {
                j->doing = "measuring its disks";
                job_tell_progress(j);
        }
}

bool start_passes(Job *j)
{
        _cleanup_(findings_done) Findings found = { 0 };
        int r = start_check(j->vm, true, &found);

        if (r < 0 || found.texts) {
                if (found.texts)
                        job_end(j, found.texts[0]);
                else
                        job_end_code(j, ERROR_IO, strerror(-r));
                return false;
        }
        timeline_mark(j->vm, "checked");
        return true;
}

static void start_checked(Job *j)
{
        j->attempts = 0;
        if (start_passes(j))
                start_measure(j);
}

static void on_extracted(const char *error, void *userdata)
{
        Job *j = userdata;

        j->extract = NULL;
        if (error) {
                job_end_code(j, ERROR_IO, error);
                return;
        }
        timeline_mark(j->vm, "kernel");
        start_configure(j);
}

/* Only out of disks that are what they were. */
static void start_extract(Job *j)
{
        _cleanup_free_ char *why = NULL;
        int r = extract_start(j->vm, on_extracted, j, &j->extract, &why);

        j->doing = "taking the kernel out of its disk";
        if (r < 0)
                job_end_code(j, ERROR_IO, why ? why : strerror(-r));
        else if (r == 0)
                start_configure(j);
}

static void start_configure(Job *j)
{
        _cleanup_free_ char *why = NULL;
        int r;

        r = config_write_for_start(j->vm, &why);
        if (r < 0) {
                if (why)
                        job_end(j, why);
                else
                        job_end_code(j, ERROR_IO, strerror(-r));
                return;
        }
        timeline_mark(j->vm, "configured");
        start_monitor(j);
}

/* 3: the monitor */

static void start_monitor(Job *j)
{
        Vm *vm = j->vm;

        j->doing = "bringing up its monitor";

        if (vm->monitor && !vm->monitor_quitting)
                job_monitor(j, "read_config", NULL, SHORT_USEC, start_hibernated);
        else
                job_wait_monitor(j, start_hibernated);
}

static void start_hibernated(Job *j)
{
        if (vm_is_running(j->vm)) {
                /* The new monitor found it running: nobody had known. */
                job_end(j, NULL);
                return;
        }
        timeline_mark(j->vm, "monitor");
        if (vm_bool(j->vm, "hibernated", false))
                vm_write_quietly(j->vm, "hibernated", "false");
        start_memory(j);
}

void start_granted(Job *j)
{
        timeline_mark(j->vm, "memory");
        if (j->kind == JOB_RESTORE)
                restore_granted(j);
        else
                start_pre_boot(j);
}

/* 4: the VM is built, paused, and then let go */

static void start_pre_boot(Job *j)
{
        j->doing = "running run-pre-boot";
        job_hook(j, "run-pre-boot", NULL, start_build);
}

static void start_build(Job *j)
{
        static const char *const paused[] = { "paused", "true", NULL };
        const char *image = vm_text(j->vm, "start-from-suspend-image", "");
        _cleanup_free_ char *file = paths_map(manager_paths(j->vm->manager), image);

        start_intent_set(j->vm, true);
        j->launched = j->vm->building = true;
        j->doing = "building it";
        if (file && *file && access(file, R_OK) == 0) {
                const char *const restore[] = { "file", file, "delete", "false", "paused", "true", NULL };

                job_monitor(j, "restore", restore, START_USEC, start_built);
        } else
                job_monitor(j, "start", paused, START_USEC, start_built);
}

static void start_built(Job *j)
{
        j->vm->building = false;
        timeline_mark(j->vm, "built");
        job_wait_states(j, STATE_BIT(VM_CREATED) | STATE_BIT(VM_RUNNING), CREATED_USEC,
                        "The VM was not created in time", start_unpause, NULL);
}

static void start_unpause(Job *j)
{
        cd_drives_apply(j->vm);
        if (j->vm->state == VM_RUNNING)
                start_unpaused(j);
        else
                job_monitor(j, "unpause", NULL, SHORT_USEC, start_unpaused);
}

static void start_unpaused(Job *j)
{
        job_wait_states(j, STATE_BIT(VM_RUNNING) | STATE_BIT(VM_SHUTDOWN) | STATE_BIT(VM_REBOOTED), SHORT_USEC,
                        "The VM did not begin to run in time", start_booted, NULL);
}

/* A VM with a boot sentinel is up when its guest says that its services are. Not for ever, and no error. */
static void start_booted(Job *j)
{
        Vm *vm = j->vm;

        start_intent_set(vm, false);
        if (!*vm_text(vm, "boot-sentinel", "") || guest_sentinel(vm) || !vm_is_running(vm) || (j->next && !j->next->stands_in)) {
                start_done(j);
                return;
        }
        j->waits_sentinel = true;
        j->doing = "waiting for the guest to say that it is up";
        job_wait_states(j, STATE_BIT(VM_SHUTDOWN) | STATE_BIT(VM_REBOOTED), SENTINEL_USEC, "", start_done, start_done);
}

static void start_done(Job *j)
{
        timeline_mark(j->vm, "started");
        network_backend_up(j->vm);
        job_end(j, NULL);
}
