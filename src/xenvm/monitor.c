/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "operations.h"
#include "strbuf.h"

static const char *const state_words[_STATE_MAX] = {
        [STATE_SHUTDOWN] = "shutdown",
        [STATE_CREATING_DOMAIN] = "creating-domain",
        [STATE_CREATING_DEVICES] = "creating-devices",
        [STATE_CREATED] = "created",
        [STATE_RUNNING] = "running",
        [STATE_PAUSED] = "paused",
        [STATE_SHUTDOWNING] = "shutdowning",
        [STATE_REBOOTING] = "rebooting",
        [STATE_REBOOTED] = "rebooted",
        [STATE_SUSPENDING] = "suspending",
        [STATE_SUSPENDED] = "suspended",
        [STATE_RESTORING] = "restoring",
};

const char *vm_state_to_text(VmState s)
{
        return state_words[s];
}

/* _STATE_MAX: none. */
static VmState vm_state_from_text(const char *s)
{
        VmState i = 0;

        while (i < _STATE_MAX && !streq(state_words[i], s))
                i++;
        return i;
}

void monitor_save_record(Monitor *m)
{
        MonitorRecord r = { .domid = m->domid, .acpi_state = m->acpi_state, .serial_restarts = m->restarts,
                            .memory_target_kib = m->memory_target_kib, .memory_actual_kib = m->memory_actual_kib };
        _cleanup_free_ char *details = NULL, *timeline = timeline_save(&m->timeline);
        int k;

        snprintf(r.uuid, sizeof r.uuid, "%s", m->uuid);
        r.name = m->config->name;
        r.backend = (char *) m->backend->name;
        r.state = (char *) vm_state_to_text(m->state);
        r.intent = m->intent[0] ? m->intent : NULL;
        r.config = m->config->file;
        r.start = m->start[0] ? m->start : NULL;
        r.saving = m->op ? m->op->tmp_file : NULL;
        r.monitor.pid = getpid();
        (void) process_start_time(r.monitor.pid, &r.monitor.start);
        if (m->vm) {
                r.vm = m->backend->process(m->vm);
                details = m->backend->details(m->vm);
                r.details = details;
                r.timeline = timeline;
        }
        k = monitor_record_write(&m->paths, &r);
        if (k < 0)
                log_errno(k, "Cannot write the runtime record");
}

void monitor_set_state(Monitor *m, VmState s)
{
        m->state = s;
        log_info("State %s", vm_state_to_text(s));
        if (s == STATE_SHUTDOWN)
                monitor_switch_config(m);
        monitor_save_record(m);
        if (m->backend->publish)
                m->backend->publish(m->uuid, m->config->name ? m->config->name : m->uuid, m->vm ? m->domid : -1, vm_state_to_text(s));
        notify_send(m->notify, NOTIFY_STATE, "vm:state:%s", vm_state_to_text(s));
}

void monitor_set_intent(Monitor *m, const char *intent)
{
        if (streq(m->intent, intent))
                return;
        snprintf(m->intent, sizeof m->intent, "%s", intent);
        monitor_save_record(m);
}

void monitor_guest_reached(Monitor *m, TimelinePhase phase)
{
        _cleanup_free_ char *line = NULL;

        if (!m->vm || !timeline_reach(&m->timeline, phase))
                return;
        line = timeline_line(&m->timeline);
        log_info("The guest got further: %s", strempty(line));
        monitor_save_record(m);
}

void monitor_announce(Monitor *m)
{
        ChannelRecord c = { .domid = m->domid, .start = m->start };
        _cleanup_free_ char *socket = path_join(m->dir, "rpc.sock");
        int r;

        snprintf(c.uuid, sizeof c.uuid, "%s", m->uuid);
        c.socket = socket;
        r = socket ? channel_record_write(&m->paths, &c) : -ENOMEM;
        if (r < 0)
                log_errno(r, "The guest channel could not be announced");
}

static void free_vm(Monitor *m)
{
        Vm *vm = TAKE_PTR(m->vm);

        if (m->op) /* there is nobody left to answer it */
                m->op->awaits = NULL;
        if (vm)
                (void) m->backend->free(vm);
}

/* The config with which the VM was started: its file may say another thing by the time that a next monitor comes. */
static char *kept_config(const Monitor *m)
{
        return path_join(m->dir, "config");
}

void monitor_keep_config(const Monitor *m)
{
        _cleanup_free_ char *path = kept_config(m), *tmp = path ? strformat("%s.new", path) : NULL, *text = NULL;
        _cleanup_fclose_ FILE *f = tmp && vmconfig_text(m->config, &text) >= 0 ? fopen(tmp, "we") : NULL;

        if (!f || fchmod(fileno(f), 0600) < 0 || fputs(text, f) < 0 || fflush(f) != 0 || rename(tmp, path) < 0)
                log_warning("The config cannot be kept for the next monitor, which will take what the file then says");
}

void monitor_forget_config(const Monitor *m)
{
        _cleanup_free_ char *path = kept_config(m);

        if (path)
                (void) unlink(path);
}

static void adopt_config(Monitor *m)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_free_ char *path = kept_config(m), *file = m->config->file ? strdup(m->config->file) : NULL, *text = NULL;
        int r = path && (file || !m->config->file) ? read_file(path, 2 * CONFIG_FILE_MAX, &text, NULL) : -ENOMEM;

        if (r >= 0)
                r = vmconfig_from_text(text, m->uuid, &c);
        if (r < 0) {
                if (r != -ENOENT) /* a VM of an older build */
                        log_errno(r, "The config with which the VM was started cannot be read");
                return;
        }
        c->file = TAKE_PTR(file);
        m->next = m->config;
        m->config = TAKE_PTR(c);
        notify_set_target(m->notify, &m->config->notify);
}

void monitor_drop_vm(Monitor *m)
{
        monitor_forget_config(m);
        (void) channel_record_remove(&m->paths, m->uuid);
        free_vm(m);
        devices_forget(m);
        m->domid = -1;
        m->acpi_state = 5;
        m->memory_target_kib = m->memory_actual_kib = 0;
        m->start[0] = '\0';
        m->intent[0] = '\0';
        if (m->adopted) /* if it was still being taken on, there is nothing more to wait for */
                m->adopted(m);
}

const VmConfig *monitor_next_config(const Monitor *m)
{
        return m->next ? m->next : m->config;
}

void monitor_switch_config(Monitor *m)
{
        /* A Vm keeps a pointer to its config. */
        if (!m->next || m->vm)
                return;
        notify_set_target(m->notify, &m->next->notify);
        vmconfig_free(m->config);
        m->config = TAKE_PTR(m->next);
}

int monitor_copy_next(Monitor *m, VmConfig **ret)
{
        return vmconfig_copy(monitor_next_config(m), ret);
}

void monitor_take_next(Monitor *m, VmConfig *c)
{
        vmconfig_free(m->next);
        m->next = c;
        if (m->state == STATE_SHUTDOWN)
                monitor_switch_config(m);
}

int monitor_read_config(Monitor *m, const char *path, char **ret_why)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL;
        int r;

        if (!path)
                path = m->config->file;
        if (!path) {
                *ret_why = strdup("this monitor was started without a config file");
                return -ENOENT;
        }
        r = vmconfig_load(path, m->uuid, &problems, &c);
        for (size_t i = 0; i < problems.n; i++) {
                _cleanup_free_ char *text = config_problem_format(&problems.items[i], path, m->strict);

                log_warning("%s", strempty(text));
        }
        if (r >= 0 && config_problems_stop(&problems, m->strict))
                r = -EBADMSG;
        if (r < 0) {
                *ret_why = problems.n > 0 ? config_problem_format(&problems.items[0], path, m->strict)
                                          : strformat("cannot read %s: %s", path, strerror(-r));
                return r;
        }
        monitor_take_next(m, TAKE_PTR(c));
        return 0;
}

void monitor_quit(Monitor *m, int status)
{
        m->exit_status = status;
        /* While the loop still runs: nothing can be sent any more once it has ended. */
        notify_send(m->notify, NOTIFY_HUP, "hup");
        notify_flush(m->notify);
        (void) sd_event_exit(m->event, status);
}

/* Adoption */


/*
 * What was going on when the former monitor died is given up: a VM that was not complete is killed, a halt
 * or suspend was the monitor's doing and is forgotten, the VM itself decides what its state is.
 */
static void on_goes_on(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;

        if (r == -ECANCELED)
                return;
        if (r < 0)
                log_warning("The VM stays paused: %s", text);
        else if (!m->op) /* else it has ended meanwhile */
                monitor_set_state(m, STATE_RUNNING);
        m->adopted(m);
}

static void on_adopted(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;
        bool go_on;

        if (r < 0 && !(m->op && m->op->awaits)) {
                monitor_vm_events.gone(m, text);
                return;
        }
        if (m->op) { /* an event from the journal has led to an operation, or a command while it was silent */
                m->adopted(m);
                return;
        }
        switch (m->backend->status(m->vm)) {
        case VM_STATUS_RUNNING:
                m->state = STATE_RUNNING;
                break;
        case VM_STATUS_PAUSED:
                m->state = STATE_PAUSED;
                break;
        case VM_STATUS_CREATED:
                m->state = STATE_CREATED;
                if (streq(m->intent, "start"))
                        m->intent[0] = '\0';
                break;
        case VM_STATUS_ENDED:
                /* It was seen and acted upon before: on_* is preserve, or the kill was under way. */
                if (!m->intent[0])
                        break;
                op_resume(m);
                m->adopted(m);
                return;
        case VM_STATUS_OTHER:
                log_warning("The VM was not complete; it is destroyed");
                op_destroy(m, NULL);
                m->adopted(m);
                return;
        }
        go_on = m->state == STATE_PAUSED && streq(m->intent, "save");
        m->intent[0] = '\0';
        monitor_announce(m);
        log_notice("Found the VM running, domid %lld", (long long) m->domid);
        monitor_set_state(m, m->state);
        /* It was stopped to be saved, which came to nothing. */
        if (!go_on || m->backend->run(m->vm, on_goes_on, m) < 0)
                m->adopted(m);
}

int monitor_adopt(Monitor *m, const MonitorRecord *record, void (*done)(Monitor *m))
{
        VmSpec spec = { .paths = &m->paths, .event = m->event, .uuid = m->uuid, .dir = m->dir, .domid = record->domid,
                        .restore_fd = -EBADF, .events = &monitor_vm_events, .userdata = m };
        VmState state = record->state ? vm_state_from_text(record->state) : _STATE_MAX;
        int r;

        if (record->saving && unlink(record->saving) >= 0)
                log_info("%s, which was not whole, is removed", record->saving);
        m->adopted = done;
        m->restarts = record->serial_restarts;
        adopt_config(m);
        spec.config = m->config;
        if (m->backend->domid ? record->domid < 0 : record->vm.pid <= 0) {
                /* States without a VM outlive the monitor. */
                if (state == STATE_REBOOTED || state == STATE_SUSPENDED)
                        m->state = state;
                (void) channel_record_remove(&m->paths, m->uuid);
                /* One that was killed while it built the VM has left files, and programs that were to serve it. */
                if (!m->backend->domid && streq_ptr(record->intent, "start"))
                        (void) m->backend->adopt(&spec, record, on_adopted, m, &m->vm);
                monitor_forget_config(m);
                monitor_switch_config(m);
                return 0;
        }
        m->domid = record->domid;
        m->acpi_state = (int) record->acpi_state;
        m->memory_target_kib = record->memory_target_kib;
        m->memory_actual_kib = record->memory_actual_kib;
        m->state = state < _STATE_MAX ? state : STATE_RUNNING;
        snprintf(m->start, sizeof m->start, "%s", strempty(record->start));
        snprintf(m->intent, sizeof m->intent, "%s", strempty(record->intent));
        if (record->timeline)
                timeline_load(&m->timeline, record->timeline);
        m->started_at = m->timeline.begin ? m->timeline.begin : now_usec();
        devices_replay(m);
        r = m->backend->adopt(&spec, record, on_adopted, m, &m->vm);
        if (r < 0) {
                if (r != -ESRCH)
                        log_errno(r, "The VM that ran cannot be taken on");
                monitor_vm_events.gone(m, "the VM ended while no monitor was there");
                return 0;
        }
        return 1;
}

int monitor_new(const Paths *paths, const char *uuid, VmConfig *config, Monitor **ret)
{
        _cleanup_(monitor_freep) Monitor *m = calloc(1, sizeof *m);
        int r;

        if (!m) {
                vmconfig_free(config);
                return -ENOMEM;
        }
        *m = (Monitor) { .paths = *paths, .config = config, .domid = -1, .acpi_state = 5, .lock_fd = -EBADF };
        snprintf(m->uuid, sizeof m->uuid, "%s", uuid);
        m->timeline.failed = _TIMELINE_MAX;
        m->dir = paths_format(paths, PATH_VM, "%s", uuid);
        if (!m->dir)
                return -ENOMEM;
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = notify_new(m->event, uuid, monitor_bus_emit, m, &m->notify);
        if (r < 0)
                return r;
        notify_set_target(m->notify, &config->notify);
        *ret = TAKE_PTR(m);
        return 0;
}

Monitor *monitor_free(Monitor *m)
{
        if (!m)
                return NULL;
        free_vm(m); /* first, since who waits for it is answered, */
        m->op = op_free(m->op); /* and who waits for this */
        monitor_bus_stop(m);
        monitor_socket_stop(m);
        notify_free(m->notify);
        vmconfig_free(m->config);
        vmconfig_free(m->next);
        strv_free(m->changes);
        strv_free(m->usb);
        timeline_done(&m->timeline);
        safe_close(m->lock_fd);
        free(m->dir);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}
