/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The long operations: start, halt, reboot, destroy, and what follows the end of a guest. Each is written in
 * the order in which it happens. There is at most one (m->op); what interrupts it answers its request first.
 */
#include <stdarg.h>
#include <unistd.h>

#include "devices.h"
#include "domid.h"
#include "fs.h"
#include "log.h"
#include "operations.h"
#include "parse.h"
#include "strbuf.h"

#define ACKNOWLEDGE_MAX (30 * USEC_PER_SEC)
#define SHUTDOWN_MAX (30 * 60 * USEC_PER_SEC)
/* A power button that is pressed while the guest still boots is lost: it is pressed again. */
#define ASK_AGAIN (5 * USEC_PER_SEC)
#define RESTARTS_MAX 5
#define RESTART_WINDOW (60 * USEC_PER_SEC)

static const char *const op_names[] = {
        [OP_START] = "start",       [OP_HALT] = "halt",     [OP_REBOOT] = "reboot",         [OP_DESTROY] = "destroy",
        [OP_SUSPEND] = "suspend",   [OP_RESTORE] = "restore", [OP_CHECKPOINT] = "checkpoint", [OP_S3] = "s3suspend",
        [OP_S4] = "s4suspend",      [OP_AFTER] = "restart",
};

const char *op_name(OpKind kind)
{
        return op_names[kind];
}

/* Life of an Op */

Op *op_free(Op *op)
{
        if (!op)
                return NULL;
        sd_event_source_disable_unref(op->timer);
        sd_event_source_disable_unref(op->deadline);
        request_unref(op->request);
        op_forget_file(op);
        free(op);
        return NULL;
}

void op_done(Monitor *m, const char *text)
{
        Op *op = TAKE_PTR(m->op);

        monitor_set_intent(m, "");
        request_done(op->request, text);
        op_free(op);
        if (m->quitting)
                monitor_quit(m, 0);
}

void op_fail(Monitor *m, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        Op *op = TAKE_PTR(m->op);
        va_list ap;

        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        monitor_set_intent(m, "");
        if (!op->request)
                log_error("%s failed: %s", op_name(op->kind), strempty(text));
        request_fail(op->request, REQUEST_FAILED, "%s", text ? text : "out of memory");
        op_free(op);
        if (m->quitting)
                monitor_quit(m, 0);
}

static bool interruptible(const Op *op)
{
        return op->kind == OP_HALT || op->kind == OP_REBOOT || op->kind == OP_S3 || op->kind == OP_S4;
}

bool op_holds_vm(const Monitor *m)
{
        return m->op && !interruptible(m->op);
}

/* Begins an operation; NULL: the request was answered. forced: may interrupt. */
Op *op_new(Monitor *m, OpKind kind, Request *q, bool forced)
{
        Op *op;

        if (m->op && forced && interruptible(m->op))
                op_fail(m, "Vm_bad_state: interrupted by %s", op_name(kind));
        if (m->op) {
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: %s is under way (state %s)", op_name(m->op->kind),
                             vm_state_to_text(m->state));
                return NULL;
        }
        op = calloc(1, sizeof *op);
        if (!op) {
                request_fail(q, REQUEST_FAILED, "out of memory");
                return NULL;
        }
        *op = (Op) { .kind = kind, .request = request_ref(q), .fd = -EBADF, .begin = now_usec() };
        m->op = op;
        return op;
}

VmDone op_await(Monitor *m, VmDone by)
{
        m->op->awaits = by;
        return by;
}

bool op_answered(Monitor *m, VmDone by)
{
        if (!m->op || m->op->awaits != by)
                return false;
        m->op->awaits = NULL;
        return true;
}

/* Start */

static void start_failed(Monitor *m, const char *why)
{
        _cleanup_free_ char *text = vmconfig_locate(m->config, why), *line = NULL;

        timeline_fail(&m->timeline, why);
        line = timeline_line(&m->timeline);
        log_error("Start failed: %s", strempty(line));
        monitor_drop_vm(m);
        monitor_set_state(m, STATE_SHUTDOWN);
        op_fail(m, "%s", strempty(text));
}

static void start_finished(Monitor *m)
{
        _cleanup_free_ char *line = NULL;

        if (m->op->kind == OP_RESTORE && m->op->delete_file && unlink(m->op->file) < 0)
                log_warning("%s could not be removed: %s", m->op->file, strerror(errno));
        m->timeline.round_trips = m->backend->round_trips(m->vm);
        line = timeline_line(&m->timeline);
        log_info("Started, domid %lld: %s; %u QMP requests", (long long) m->domid, strempty(line), m->timeline.round_trips);
        op_done(m, NULL);
}

static void on_start_ran(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;

        if (!op_answered(m, on_start_ran))
                return;
        if (r < 0) {
                /* It stays created; whoever wants it to run can say so again. */
                log_warning("The VM is complete but did not begin to run: %s", text);
                start_finished(m);
                return;
        }
        timeline_reach(&m->timeline, TIMELINE_RUNNING);
        monitor_set_state(m, STATE_RUNNING);
        start_finished(m);
}

static void on_created(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;

        if (!op_answered(m, on_created))
                return;
        if (r < 0) {
                start_failed(m, text);
                return;
        }
        if (m->backend->domid)
                m->domid = m->backend->domid(m->vm);
        monitor_announce(m);
        m->acpi_state = 0;
        m->intent[0] = '\0';
        monitor_set_state(m, STATE_CREATED);
        if (m->op->paused) {
                start_finished(m);
                return;
        }
        r = m->backend->run(m->vm, op_await(m, on_start_ran), m);
        if (r < 0)
                on_start_ran(m, r, strerror(-r));
}

char *op_check_files(const VmConfig *c)
{
        const char *const files[] = { c->kernel, strempty(c->initrd) };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                if (files[i][0] && access(files[i], R_OK) < 0)
                        return strformat("%s %s cannot be read: %s", i == 0 ? "kernel" : "initrd", files[i], strerror(errno));
        for (size_t i = 0; i < c->disk.n; i++)
                if (c->disk.items[i].path[0] && access(c->disk.items[i].path, R_OK) < 0)
                        return strformat("Device.Tap2.Mount_failure: disk %s: %s cannot be read: %s", c->disk.items[i].virtpath,
                                         c->disk.items[i].path, strerror(errno));
        return NULL;
}

static char *check_memory(const Monitor *m)
{
        const VmConfig *c = m->config;
        _cleanup_free_ char *text = NULL;
        uint64_t need = vmconfig_required_kib(c);
        unsigned long long available;
        const char *line;

        if (c->no_mem_check || m->backend->checks_memory || read_file("/proc/meminfo", 64 * KIB, &text, NULL) < 0)
                return NULL;
        line = strstr(text, "MemAvailable:");
        if (!line || sscanf(line, "MemAvailable: %llu", &available) != 1 || need <= available)
                return NULL;
        return strformat("Not_enough_free_memory: %llu MiB are needed, %llu MiB are available",
                         (unsigned long long) need / 1024, available / 1024);
}

static bool random_hex(char *buf, size_t size)
{
        char uuid[37];
        size_t n = 0;

        if (!uuid_random(uuid))
                return false;
        for (const char *p = uuid; *p && n + 1 < size; p++)
                if (*p != '-')
                        buf[n++] = *p;
        buf[n] = '\0';
        return true;
}

/* Expects m->op; the VM does not exist. */
void op_start_begin(Monitor *m)
{
        VmSpec spec = { .paths = &m->paths, .event = m->event, .uuid = m->uuid, .dir = m->dir,
                        .restore_fd = TAKE_FD(m->op->fd), .restore_shape = m->op->header.shape,
                        .events = &monitor_vm_events, .userdata = m };
        _cleanup_free_ char *why = NULL;
        int r;

        monitor_switch_config(m);
        monitor_keep_config(m);
        if (m->op->header.devices && m->op->header.devices[0]) {
                devices_restore(m, m->op->header.devices);
                spec.shape_config = m->next;
                spec.plugged_nics = devices_plugged_nics(m);
        }
        spec.config = m->config;
        timeline_begin(&m->timeline);
        if (m->config->startup.mode == VM_STARTUP_PAUSED)
                m->op->paused = true;
        spec.runs_at_once = !m->op->paused;
        r = vmconfig_check_start(m->config, &why);
        if (r >= 0 && !why)
                why = op_check_files(m->config);
        if (!why)
                why = check_memory(m);
        if (why) {
                _cleanup_free_ char *text = vmconfig_locate(m->config, why);

                safe_close(spec.restore_fd);
                devices_forget(m);
                monitor_forget_config(m);
                timeline_fail(&m->timeline, why);
                if (m->state != STATE_SHUTDOWN)
                        monitor_set_state(m, STATE_SHUTDOWN);
                op_fail(m, "%s", strempty(text));
                return;
        }
        timeline_reach(&m->timeline, TIMELINE_CHECKED);
        m->memory_target_kib = m->memory_actual_kib = m->config->memory_kib;
        r = random_hex(m->start, sizeof m->start) ? 0 : -EIO;
        if (r >= 0 && !m->backend->domid)
                r = domid_next(&m->paths, &m->domid);
        if (r < 0) {
                safe_close(spec.restore_fd);
                monitor_drop_vm(m);
                op_fail(m, "no number for the domain: %s", strerror(-r));
                return;
        }
        spec.domid = m->domid;
        m->started_at = now_usec();
        snprintf(m->intent, sizeof m->intent, "start");
        monitor_set_state(m, STATE_CREATING_DOMAIN);
        r = m->backend->create(&spec, op_await(m, on_created), m, &m->vm, &why);
        if (r < 0)
                start_failed(m, why ? why : strerror(-r));
}

void op_start(Monitor *m, Request *q, bool paused)
{
        if (m->vm || (m->op && m->op->kind == OP_START)) {
                request_fail(q, REQUEST_FAILED, "Vm_is_already_created: domid %lld, state %s", (long long) m->domid,
                             vm_state_to_text(m->state));
                return;
        }
        if (!op_new(m, OP_START, q, false))
                return;
        m->op->paused = paused;
        m->restarts = 0;
        op_start_begin(m);
}

/* Killing, and what comes after it */

/* Expects m->op, which says what comes now. */
static void vm_ended(Monitor *m)
{
        Op *op = m->op;

        monitor_drop_vm(m);
        if (op->then == STATE_REBOOTED && op->kind == OP_REBOOT) {
                monitor_set_state(m, STATE_REBOOTING);
                if (!op->restart)
                        monitor_set_state(m, STATE_REBOOTED);
        } else if (!op->restart || op->then == STATE_REBOOTED)
                monitor_set_state(m, op->then);
        if (op->then_shutdown)
                monitor_set_state(m, STATE_SHUTDOWN);
        if (!op->restart) {
                op_done(m, NULL);
                return;
        }
        if (m->config->file) {
                _cleanup_free_ char *why = NULL;

                if (monitor_read_config(m, NULL, &why) < 0)
                        log_warning("The config is as before: %s", strempty(why));
        }
        op_start_begin(m);
}

static void on_killed(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;

        if (!op_answered(m, on_killed))
                return;
        if (r >= 0) {
                vm_ended(m);
                return;
        }
        if (r == -EBUSY) {
                char intent[sizeof m->intent];

                /* It is there still, and whoever wants its end can ask again; if it comes by itself, it was wanted. */
                snprintf(intent, sizeof intent, "%s", m->intent);
                if (m->state == STATE_SUSPENDING)
                        monitor_set_state(m, STATE_PAUSED);
                monitor_announce(m);
                op_fail(m, "%s", text);
                monitor_set_intent(m, intent);
                return;
        }
        /* The number is given up all the same, so that the VM can be started again. */
        monitor_drop_vm(m);
        monitor_set_state(m, STATE_SHUTDOWN);
        op_fail(m, "%s", text);
}

/* Expects m->op. */
void op_kill_begin(Monitor *m, bool gently, VmState then, bool restart)
{
        int r;

        m->op->then = then;
        m->op->restart = restart;
        m->op->timer = sd_event_source_disable_unref(m->op->timer);
        m->op->deadline = sd_event_source_disable_unref(m->op->deadline);
        /* For the next monitor, if this one does not live to see the end of it (op_resume). */
        monitor_set_intent(m, restart                   ? "restart"
                              : then == STATE_REBOOTED  ? "reboot"
                              : then == STATE_SUSPENDED ? "suspend"
                                                        : "destroy");
        (void) channel_record_remove(&m->paths, m->uuid);
        r = m->backend->kill(m->vm, gently, op_await(m, on_killed), m);
        if (r < 0)
                on_killed(m, r, strerror(-r));
}

void op_destroy(Monitor *m, Request *q)
{
        if (m->op && m->op->kind == OP_DESTROY && m->vm) {
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: destroy is under way");
                return;
        }
        /* At any moment, whatever hangs: that is what it is for. */
        if (m->op)
                op_fail(m, "Vm_bad_state: interrupted by destroy");
        if (!op_new(m, OP_DESTROY, q, false))
                return;
        if (m->vm) {
                op_kill_begin(m, false, STATE_SHUTDOWN, false);
                return;
        }
        if (m->state != STATE_SHUTDOWN)
                monitor_set_state(m, STATE_SHUTDOWN);
        op_done(m, NULL);
}

/* Halt and reboot */

static int ask_again(sd_event_source *s, uint64_t usec, void *userdata);

static void acknowledged(Monitor *m)
{
        Op *op = m->op;

        if (op->acknowledged)
                return;
        op->acknowledged = true;
        if (op->kind != OP_HALT && op->kind != OP_REBOOT)
                return;
        if (op->deadline)
                (void) sd_event_source_set_time_relative(op->deadline, monitor_scaled(SHUTDOWN_MAX));
        monitor_set_state(m, STATE_SHUTDOWNING);
}

/* Nobody is there to be asked, or is to be. */
static void stop_now(Monitor *m)
{
        Op *op = m->op;

        op->acknowledged = true;
        monitor_set_state(m, STATE_SHUTDOWNING);
        op_kill_begin(m, true, op->kind == OP_HALT ? STATE_SHUTDOWN : STATE_REBOOTED, op->auto_start);
}

static void on_asked(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;

        if (!m->op || (m->op->kind != OP_HALT && m->op->kind != OP_REBOOT))
                return;
        if (r < 0 && r != -ECANCELED)
                log_warning("The power button could not be pressed: %s", text);
        else if (r >= 0 && text && streq(text, ASK_ACKNOWLEDGED))
                acknowledged(m);
        else if (r >= 0 && text && streq(text, ASK_DEAF)) {
                log_info("The guest does not listen to its power button: it is ended");
                stop_now(m);
        }
}

static void ask(Monitor *m)
{
        Op *op = m->op;
        int r;

        if (!op->acknowledged || !op->asked_agent) {
                r = m->backend->ask(m->vm, op->kind == OP_REBOOT ? VM_ASK_REBOOT : VM_ASK_POWEROFF, on_asked, m);
                if (r < 0 && r != -EBUSY)
                        log_debug("The power button could not be pressed: %s", strerror(-r));
        }
        if (!op->asked_agent)
                (void) monitor_bus_ask_agent(m, op->kind == OP_REBOOT ? "request_reboot" : "request_shutdown");
}

static int ask_again(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Monitor *m = userdata;

        ask(m);
        (void) sd_event_source_set_time_relative(m->op->timer, monitor_scaled(ASK_AGAIN));
        (void) sd_event_source_set_enabled(m->op->timer, SD_EVENT_ONESHOT);
        return 0;
}

void op_agent_answered(Monitor *m, bool accepted)
{
        if (!m->op || !interruptible(m->op) || !accepted)
                return;
        m->op->asked_agent = true;
        acknowledged(m);
}

static int on_halt_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Monitor *m = userdata;

        if (m->state == STATE_SHUTDOWNING) {
                /* It goes on running, as far as anybody can tell. */
                monitor_set_state(m, STATE_RUNNING);
                op_fail(m, "Vm_didnt_shutdown: the guest did not end in time");
        } else
                op_fail(m, "Vm_not_listening_shutdown_request: the guest did not acknowledge the request");
        return 0;
}

static void stop_begin(Monitor *m, OpKind kind, Request *q, bool forced, bool auto_start)
{
        Op *op;
        int r;

        op = op_new(m, kind, q, forced);
        if (!op)
                return;
        op->forced = forced;
        op->auto_start = auto_start;
        if (!m->vm) {
                if (kind == OP_REBOOT && auto_start) {
                        op_start_begin(m);
                        return;
                }
                op_done(m, NULL);
                return;
        }
        if (forced || m->backend->status(m->vm) == VM_STATUS_ENDED || m->backend->status(m->vm) == VM_STATUS_CREATED) {
                stop_now(m);
                return;
        }
        if (m->state != STATE_RUNNING && m->state != STATE_SHUTDOWNING) {
                op_fail(m, "Vm_bad_state: the state is %s, running is expected", vm_state_to_text(m->state));
                return;
        }
        r = sd_event_add_time_relative(m->event, &op->timer, CLOCK_MONOTONIC, monitor_scaled(ASK_AGAIN), 0, ask_again, m);
        if (r >= 0)
                r = sd_event_add_time_relative(m->event, &op->deadline, CLOCK_MONOTONIC, monitor_scaled(ACKNOWLEDGE_MAX), 0,
                                               on_halt_deadline, m);
        if (r < 0) {
                op_fail(m, "no timer: %s", strerror(-r));
                return;
        }
        monitor_set_intent(m, op_name(kind));
        ask(m);
}

void op_halt(Monitor *m, Request *q, bool forced)
{
        stop_begin(m, OP_HALT, q, forced, false);
}

void op_reboot(Monitor *m, Request *q, bool forced, bool auto_start)
{
        stop_begin(m, OP_REBOOT, q, forced, auto_start);
}

/* The guest ends */

static bool restart_allowed(Monitor *m)
{
        if (now_usec() - m->started_at >= RESTART_WINDOW)
                m->restarts = 0;
        if (m->restarts >= RESTARTS_MAX)
                return false;
        m->restarts++;
        return true;
}

static void act(Monitor *m, VmEnd end)
{
        VmAction action = end == VM_END_POWEROFF ? m->config->on_halt
                          : end == VM_END_REBOOT ? m->config->on_reboot
                                                 : m->config->on_crash;
        bool reboot = end == VM_END_REBOOT, restart;

        /* The end that a former monitor had asked for, while none was there. */
        if (streq(m->intent, "halt") && end == VM_END_POWEROFF)
                action = VM_ACTION_DESTROY;
        else if (streq(m->intent, "reboot") && end != VM_END_CRASH) {
                reboot = true;
                action = VM_ACTION_PRESERVE;
        }
        if (end == VM_END_CRASH || end == VM_END_WATCHDOG)
                notify_send(m->notify, NOTIFY_ERROR, "error:crashed");
        if (action == VM_ACTION_PRESERVE && !reboot && m->vm) {
                log_info("The VM is preserved as it is");
                return;
        }
        restart = action == VM_ACTION_RESTART;
        if (restart && !restart_allowed(m)) {
                restart = reboot = false;
                log_error("The guest ended again and again within a minute of its start; it is not started once more");
                notify_send(m->notify, NOTIFY_ERROR, "error:restart-loop");
        }
        if (!op_new(m, OP_AFTER, NULL, false))
                return;
        m->op->then_shutdown = reboot && action == VM_ACTION_DESTROY;
        if (m->vm)
                op_kill_begin(m, true, reboot ? STATE_REBOOTED : STATE_SHUTDOWN, restart);
        else {
                m->op->then = STATE_SHUTDOWN;
                m->op->restart = restart;
                vm_ended(m);
        }
}

void op_resume(Monitor *m)
{
        static const struct {
                const char *intent;
                VmState then;
                bool restart;
        } ways[] = { { "reboot", STATE_REBOOTED, false },
                     { "restart", STATE_REBOOTED, true },
                     { "suspend", STATE_SUSPENDED, false } };
        VmState then = STATE_SHUTDOWN;
        bool restart = false;

        for (size_t i = 0; i < ELEMENTSOF(ways); i++)
                if (streq(m->intent, ways[i].intent)) {
                        then = ways[i].then;
                        restart = ways[i].restart;
                }
        if (!op_new(m, OP_AFTER, NULL, false))
                return;
        if (m->vm)
                op_kill_begin(m, true, then, restart);
        else {
                m->op->then = then;
                m->op->restart = restart;
                vm_ended(m);
        }
}

static bool accepts(const Op *op, VmEnd end, bool vanished)
{
        if (op->kind == OP_S4)
                return end == VM_END_POWEROFF;
        if (op->kind == OP_HALT)
                return end == VM_END_POWEROFF || vanished;
        if (op->kind == OP_REBOOT)
                return end == VM_END_POWEROFF || end == VM_END_REBOOT || vanished;
        return false;
}

/* How the contract tells that the VM's end ended an operation. */
static const char *op_ended_text(const Op *op)
{
        return op->kind == OP_S3   ? "failed to put domain into s3: Vm_shutdown_wrong_reason"
               : op->kind == OP_S4 ? "failed to put domain into s4: Vm_shutdown_wrong_reason"
                                   : "Vm_shutdown_wrong_reason";
}

static void on_ended(void *userdata, VmEnd end)
{
        static const char *const words[] = { "powered off", "rebooted", "crashed", "was stopped by its watchdog" };
        Monitor *m = userdata;

        log_info("The guest %s", words[end]);
        if (m->op && (m->op->kind == OP_DESTROY || m->op->kind == OP_AFTER))
                return;
        if (m->op && accepts(m->op, end, false)) {
                acknowledged(m);
                op_kill_begin(m, true, m->op->kind == OP_REBOOT ? STATE_REBOOTED : STATE_SHUTDOWN,
                           m->op->kind == OP_REBOOT && m->op->auto_start);
                return;
        }
        if (m->op && (m->op->kind == OP_START || m->op->kind == OP_RESTORE))
                op_done(m, NULL); /* it was started; that it ended at once is another matter */
        else if (m->op) {
                if (m->state == STATE_SUSPENDING) /* where the VM is preserved, it is as it was before */
                        monitor_set_state(m, m->op->before);
                op_fail(m, "%s: the guest %s", op_ended_text(m->op), words[end]);
        }
        act(m, end);
}

static void on_gone(void *userdata, const char *why)
{
        Monitor *m = userdata;
        _cleanup_free_ char *text = strdup(why);
        Op *op = m->op;
        char intent[sizeof m->intent];

        log_error("The VM is gone: %s", why);
        snprintf(intent, sizeof intent, "%s", m->intent);
        monitor_drop_vm(m);
        if (!op && intent[0] && !streq(intent, "start") && !streq(intent, "halt") && !streq(intent, "save")) {
                /* the former monitor's doing */
                snprintf(m->intent, sizeof m->intent, "%s", intent);
                op_resume(m);
                return;
        }
        if (op && accepts(op, VM_END_CRASH, true)) {
                acknowledged(m);
                op->then = op->kind == OP_REBOOT ? STATE_REBOOTED : STATE_SHUTDOWN;
                op->restart = op->kind == OP_REBOOT && op->auto_start;
                vm_ended(m);
                return;
        }
        if (op && (op->kind == OP_S3 || op->kind == OP_S4))
                op_fail(m, "%s: the VM is gone: %s", op_ended_text(op), strempty(text));
        else if (op)
                op_fail(m, "the VM is gone: %s", strempty(text));
        if (m->backend->end_stays) /* it is as if it had been destroyed here */
                monitor_set_state(m, STATE_SHUTDOWN);
        else
                act(m, VM_END_CRASH);
}

static void on_phase(void *userdata, TimelinePhase phase)
{
        Monitor *m = userdata;

        if (phase >= _TIMELINE_MAX)
                return;
        timeline_reach(&m->timeline, phase);
        if (phase == TIMELINE_SPAWNED)
                monitor_save_record(m);
        if (phase == TIMELINE_QMP_READY && m->state == STATE_CREATING_DOMAIN)
                monitor_set_state(m, STATE_CREATING_DEVICES);
}

static void on_silent(void *userdata)
{
        Monitor *m = userdata;

        log_warning("The VM is there, but its QEMU does not answer; it is kept, in the state %s that was written down", vm_state_to_text(m->state));
        m->adopted(m);
}

static void on_unplugged(void *userdata, VmDeviceKind kind, const char *id)
{
        devices_unplugged(userdata, kind, id);
}

static void on_power_state(void *userdata, int state)
{
        Monitor *m = userdata;

        if (m->acpi_state == state)
                return;
        m->acpi_state = state;
        monitor_save_record(m);
        notify_send(m->notify, NOTIFY_NODE, "power-state:%d", state);
        op_power_state_changed(m);
}

static void on_node(void *userdata, const char *untrusted_node, const char *untrusted_value)
{
        Monitor *m = userdata;
        int64_t *kib = streq(untrusted_node, "memory/target")   ? &m->memory_target_kib
                       : streq(untrusted_node, "memory/actual") ? &m->memory_actual_kib
                                                                : NULL;

        if (kib && m->vm && parse_i64(untrusted_value, kib) >= 0)
                monitor_save_record(m);
        notify_send(m->notify, NOTIFY_NODE, "%s:%s", untrusted_node, untrusted_value);
}

static void on_clock_changed(void *userdata, int64_t offset)
{
        Monitor *m = userdata;

        notify_send(m->notify, NOTIFY_RTC, "rtc:%lld", (long long) offset);
}

static void on_stopped(void *userdata, _unused_ const char *why)
{
        Monitor *m = userdata;

        notify_send(m->notify, NOTIFY_ERROR, "error:io");
        monitor_set_state(m, STATE_PAUSED);
}

static void on_progress(void *userdata, uint64_t done, uint64_t total)
{
        Monitor *m = userdata;

        if (m->op) {
                m->op->done = done;
                m->op->total = total;
        }
}

const VmEvents monitor_vm_events = {
        .phase = on_phase,
        .ended = on_ended,
        .gone = on_gone,
        .silent = on_silent,
        .unplugged = on_unplugged,
        .power_state = on_power_state,
        .clock_changed = on_clock_changed,
        .stopped = on_stopped,
        .node = on_node,
        .progress = on_progress,
};
