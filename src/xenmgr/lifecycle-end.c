/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything but starting: shutdown in growing severity, reboot, sleep, pause, files. */
#include "lifecycle-internal.h"

#include <unistd.h>

#include "config-writer.h"
#include "log.h"
#include "network-backends.h"

#define SHORT_USEC (30 * USEC_PER_SEC)
#define WAKE_USEC (30 * USEC_PER_SEC)
#define AGENT_USEC (120 * USEC_PER_SEC)
#define HALT_USEC (300 * USEC_PER_SEC)
#define FORCE_USEC (120 * USEC_PER_SEC)
#define SLEEP_USEC (180 * USEC_PER_SEC)
#define DESTROY_ATTEMPTS 4
#define FILE_USEC (1800 * USEC_PER_SEC)

#define GONE (STATE_BIT(VM_SHUTDOWN) | STATE_BIT(VM_REBOOTED))

/*
 * true: nothing runs, and the job has ended; or the VM has no monitor at present, or one that has not told what runs, and `again`
 * is called when it has.
 */
static bool job_nothing_runs(Job *j, JobStep again)
{
        Vm *vm = j->vm;

        if (!vm_may_run(vm))
                job_end(j, NULL);
        /* A destroy is the same in every state. */
        else if (!vm->monitor || vm->monitor_quitting || (vm->unknown_state && again != destroy_first))
                job_wait_monitor(j, again);
        else
                return false;
        return true;
}

static void job_succeed(Job *j)
{
        job_end(j, NULL);
}

/* A guest that took the shutdown for a reboot, or was in the middle of one, is not started again. */
static void shutdown_gone(Job *j)
{
        if (j->vm->state == VM_REBOOTED)
                destroy_first(j);
        else
                job_end(j, NULL);
}

/* Shutdown: the agent is asked, then ACPI or PV drivers, then it is ended; each for a bounded time. */

static void shutdown_force(Job *j)
{
        static const char *const forced[] = { "forced", "true", NULL };

        if (job_nothing_runs(j, shutdown_force))
                return;
        log_warning("%s does not shut down; it is ended", j->vm->uuid);
        j->doing = "ending it by force";
        j->attempts = 0;
        job_monitor_tolerant(j, "halt", forced, FORCE_USEC, destroy_first);
}

static void shutdown_halted(Job *j)
{
        if (vm_is_running(j->vm) && j->reply_error) {
                log_info("%s: %s", j->vm->uuid, j->reply_error);
                shutdown_force(j);
        } else
                job_wait_states(j, GONE, SHORT_USEC, "The VM did not shut down", shutdown_gone, shutdown_force);
}

static void shutdown_halt(Job *j)
{
        if (job_nothing_runs(j, shutdown_halt))
                return;
        j->doing = "waiting for the guest to shut down";
        job_monitor_tolerant(j, "halt", NULL, HALT_USEC, shutdown_halted);
}

static void shutdown_ask(Job *j)
{
        if (!j->vm->agent) {
                shutdown_halt(j);
                return;
        }
        j->doing = "waiting for the agent to shut it down";
        job_agent(j, "request_shutdown");
        job_wait_states(j, GONE, AGENT_USEC, "The agent did not shut the VM down", shutdown_gone, shutdown_halt);
}

static void hibernate_ask(Job *j);

static void wake_wait(Job *j)
{
        if (j->vm->acpi_state == 3 && j->attempts++ < lifecycle_scaled(WAKE_USEC) / USEC_PER_SEC) {
                job_deadline(j, USEC_PER_SEC, "", wake_wait);
                return;
        }
        if (j->vm->acpi_state == 3)
                log_warning("%s sleeps, and does not wake", j->vm->uuid);
        (j->kind == JOB_HIBERNATE ? hibernate_ask : shutdown_ask)(j);
}

static const char *const wake[] = { "params", "s3resume", NULL };

void shutdown_first(Job *j)
{
        /* A guest that reboots all the time waits for its next start. */
        if (j->vm->state == VM_REBOOTED && j->vm->keep_alive) {
                destroy_first(j);
                return;
        }
        if (job_nothing_runs(j, shutdown_first))
                return;
        if (j->vm->state == VM_PAUSED)
                job_monitor_tolerant(j, "unpause", NULL, SHORT_USEC, shutdown_ask);
        else if (j->vm->acpi_state == 3)
                job_monitor_tolerant(j, "trigger", wake, WAKE_USEC, wake_wait);
        else
                shutdown_ask(j);
}

/* Destroy */

static void destroy_late(Job *j)
{
        job_end_code(j, ERROR_DID_NOT_SHUT_DOWN, "its monitor does not end it");
}

static void destroy_done(Job *j)
{
        job_wait_states(j, GONE, SHORT_USEC, "", job_succeed, destroy_late);
}

/* Where a monitor hung, or died of it, the next one is asked. */
static void destroy_told(Job *j)
{
        if (!j->reply_error)
                destroy_done(j);
        else if (j->attempts++ < DESTROY_ATTEMPTS)
                destroy_first(j);
        else {
                _cleanup_free_ char *why = TAKE_PTR(j->reply_error);

                job_end(j, why);
        }
}

void destroy_first(Job *j)
{
        if (j->vm->state == VM_REBOOTED)
                j->vm->keep_alive = sd_event_source_disable_unref(j->vm->keep_alive);
        if (j->vm->state == VM_REBOOTED && !j->vm->monitor)
                job_end(j, NULL);
        else if (j->vm->state == VM_REBOOTED || !job_nothing_runs(j, destroy_first))
                job_monitor_tolerant(j, "destroy", NULL, FORCE_USEC, destroy_told);
}

/* Reboot: the monitor leaves the VM in "rebooted"; what happens then is in events.c. */

static void reboot_done(Job *j)
{
        job_wait_states(j, GONE, HALT_USEC, "The VM did not reboot", job_succeed, NULL);
}

static void reboot_forced(Job *j)
{
        static const char *const forced[] = { "forced", "true", NULL };

        if (j->reply_error)
                job_monitor(j, "reboot", forced, FORCE_USEC, reboot_done);
        else
                reboot_done(j);
}

static void reboot_monitor(Job *j)
{
        job_monitor_tolerant(j, "reboot", NULL, HALT_USEC, reboot_forced);
}

static void reboot_ask(Job *j)
{
        if (!j->vm->agent) {
                reboot_monitor(j);
                return;
        }
        job_agent(j, "request_reboot");
        job_wait_states(j, GONE, AGENT_USEC, "The agent did not reboot the VM", job_succeed,
                        reboot_monitor);
}

void reboot_first(Job *j)
{
        if (job_nothing_runs(j, reboot_first))
                return;
        reboot_ask(j);
}

/* Sleep and hibernation */

static void sleep_wait(Job *j)
{
        if (j->vm->acpi_state == 3)
                job_end(j, NULL);
        else if (!vm_is_running(j->vm) || ++j->attempts > lifecycle_scaled(SLEEP_USEC) / USEC_PER_SEC)
                job_end_code(j, ERROR_NO_SLEEP, NULL);
        else
                job_deadline(j, USEC_PER_SEC, "", sleep_wait);
}

static void sleep_done(Job *j)
{
        job_end(j, NULL);
}

void sleep_first(Job *j)
{
        static const char *const args[] = { "timeout", "90", NULL };

        if (job_nothing_runs(j, sleep_first))
                return;
        if (j->vm->acpi_state == 3)
                job_end(j, NULL);
        else if (j->vm->agent) {
                job_agent(j, "request_sleep");
                sleep_wait(j);
        } else if (!vm_bool(j->vm, "pv-addons-installed", false))
                job_end_code(j, ERROR_NEEDS_TOOLS, NULL);
        else
                job_monitor(j, "s3suspend", args, SLEEP_USEC, sleep_done);
}

static void resume_wait(Job *j)
{
        if (j->vm->acpi_state == 3 && j->attempts++ < 10)
                job_deadline(j, USEC_PER_SEC, "", resume_wait);
        else
                job_end(j, NULL);
}

void resume_first(Job *j)
{
        if (job_nothing_runs(j, resume_first))
                return;
        job_monitor_tolerant(j, "trigger", wake, SHORT_USEC, resume_wait);
}

static void hibernate_done(Job *j)
{
        vm_write_quietly(j->vm, "hibernated", "true");
        job_end(j, NULL);
}

static void hibernate_late(Job *j)
{
        job_end_code(j, ERROR_NO_HIBERNATE, NULL);
}

/* A guest that reboots instead is started again, and has not hibernated. */
static void hibernate_gone(Job *j)
{
        (j->vm->state == VM_SHUTDOWN ? hibernate_done : hibernate_late)(j);
}

static void hibernate_ask(Job *j)
{
        static const char *const args[] = { "timeout", "90", NULL };

        if (!j->vm->agent) {
                job_monitor(j, "s4suspend", args, SLEEP_USEC, hibernate_done);
                return;
        }
        job_agent(j, "request_hibernate");
        job_wait_states(j, GONE, SLEEP_USEC, "", hibernate_gone, hibernate_late);
}

void hibernate_first(Job *j)
{
        if (job_nothing_runs(j, hibernate_first))
                return;
        if (!j->vm->agent && !vm_bool(j->vm, "pv-addons-installed", false))
                job_end_code(j, ERROR_NEEDS_TOOLS, NULL);
        else if (j->vm->acpi_state == 3)
                job_monitor_tolerant(j, "trigger", wake, WAKE_USEC, wake_wait);
        else
                hibernate_ask(j);
}

/* Pause, files */

void pause_first(Job *j)
{
        if (!job_nothing_runs(j, pause_first))
                job_monitor(j, "pause", NULL, SHORT_USEC, job_succeed);
}

void unpause_first(Job *j)
{
        if (!job_nothing_runs(j, unpause_first))
                job_monitor(j, "unpause", NULL, SHORT_USEC, job_succeed);
}

void suspend_first(Job *j)
{
        const char *const args[] = { "file", j->file, NULL };

        if (!job_nothing_runs(j, suspend_first))
                job_monitor(j, "suspend", args, FILE_USEC, job_succeed);
}

static void restore_done(Job *j)
{
        timeline_mark(j->vm, "started");
        network_backend_up(j->vm);
        job_end(j, NULL);
}

/* Its monitor ends it alone, should we be killed meanwhile: there is nothing to write down. */
void restore_granted(Job *j)
{
        const char *const args[] = { "file", j->file, "delete", "false", "paused", "false", NULL };

        j->launched = j->vm->building = true;
        j->doing = "reading it from the file";
        job_monitor(j, "restore", args, FILE_USEC, restore_done);
}

void restore_first(Job *j)
{
        _cleanup_free_ char *why = NULL;
        int r;

        if (j->vm->unknown_state) {
                job_wait_monitor(j, restore_first);
                return;
        }
        if (vm_is_running(j->vm) && j->vm->state != VM_SUSPENDED) {
                job_end_code(j, ERROR_ALREADY_CREATED, NULL);
                return;
        }
        if (!start_allowed(j))
                return;
        start_begins(j, "restore");
        if (!start_passes(j))
                return;
        r = config_write_for_start(j->vm, &why);
        if (r < 0) {
                job_end(j, why ? why : strerror(-r));
                return;
        }
        if (j->vm->monitor && !j->vm->monitor_quitting)
                job_monitor(j, "read_config", NULL, SHORT_USEC, start_memory);
        else
                job_wait_monitor(j, start_memory);
}
