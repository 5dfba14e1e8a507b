/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events.h"

#include "cd-drives.h"
#include "guest-nodes.h"
#include "hooks.h"
#include "host-xen.h"
#include "lifecycle.h"
#include "log.h"
#include "memory.h"
#include "monitor-client.h"
#include "network-backends.h"
#include "ovf.h"
#include "parse.h"
#include "shutdown-all.h"
#include "xen-nodes.h"

#define EVENTS_MAX 256
#define KEEP_ALIVE_QUICK_USEC (10 * USEC_PER_SEC)
#define KEEP_ALIVE_MAX_USEC (60 * USEC_PER_SEC)
#define QUICK_REBOOTS_MAX 5
#define QUERY_USEC (10 * USEC_PER_SEC)

struct VmEvent {
        VmEvent *next;
        char text[];
};

static void events_run(Vm *vm);

/* Signals and hooks */

static void tell_state(Vm *vm, VmState s)
{
        manager_emit(vm->manager, "vm_state_changed", "sosi", vm->uuid, vm->path, vm_state_public(s),
                     (int32_t) vm_acpi_state(vm));
}

static void run_hook(Vm *vm, const char *key, const char *argument)
{
        int r = hook_queue(vm, key, argument);

        if (r < 0)
                log_warning("The hook %s of %s cannot be run: %s", key, vm->uuid, strerror(-r));
}

static void run_acpi_hook(Vm *vm, int64_t n)
{
        char text[24];

        snprintf(text, sizeof text, "%lld", (long long) n);
        run_hook(vm, "run-on-acpi-state-change", text);
}

/* States */

static void on_running(Vm *vm)
{
        Manager *m = vm->manager;

        if (vm_bool(vm, "usb-enabled", true))
                manager_notify_service(m, "com.citrix.xenclient.usbdaemon", "/", "com.citrix.xenclient.usbdaemon",
                                       "new_vm", "i", (int32_t) vm->domid);
        if (vm_bool(vm, "provides-network-backend", false))
                manager_notify_service(m, "com.citrix.xenclient.networkdaemon", "/",
                                       "com.citrix.xenclient.networkdaemon", "ndvm_status", "siu", vm->uuid,
                                       (int32_t) vm->domid, (uint32_t) 1);
}

static void on_stopped(Vm *vm)
{
        Manager *m = vm->manager;

        if (vm_bool(vm, "provides-network-backend", false))
                manager_notify_service(m, "com.citrix.xenclient.networkdaemon", "/",
                                       "com.citrix.xenclient.networkdaemon", "ndvm_status", "siu", vm->uuid,
                                       (int32_t) -1, (uint32_t) 0);
        manager_notify_service(m, "com.citrix.xenclient.usbdaemon", "/", "com.citrix.xenclient.usbdaemon", "vm_stopped",
                               "i", (int32_t) vm->domid);
        cd_drives_released(vm);
        network_reconnects_drop(vm);
        guest_nodes_forget(vm);
        ovf_cd_remove(vm);
        memory_release(vm);
        vm->domid = vm->stubdomid = -1;
        vm->acpi_state = 5;
}

static int on_keep_alive(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        vm->keep_alive = sd_event_source_disable_unref(vm->keep_alive);
        if (vm->state == VM_REBOOTED)
                (void) lifecycle_request(vm, JOB_START, JOB_AGAIN, NULL, NULL, NULL, NULL);
        else if (vm_bool(vm, "keep-alive", false))
                (void) lifecycle_request(vm, JOB_START, 0, NULL, NULL, NULL, NULL);
        else
                lifecycle_rest(vm);
        return 0;
}

/* The next one in a row of quick ends: 1 s, 2 s, 4 s … 60 s. */
static void start_later(Vm *vm, unsigned nth)
{
        uint64_t delay = MIN2(USEC_PER_SEC << MIN2(nth, 10u), KEEP_ALIVE_MAX_USEC);

        log_notice("%s ended soon after its start; it is started again in %llu s", vm->uuid,
                   (unsigned long long) (delay / USEC_PER_SEC));
        vm->keep_alive = sd_event_source_disable_unref(vm->keep_alive);
        (void) sd_event_add_time_relative(vm->manager->event, &vm->keep_alive, CLOCK_MONOTONIC, delay, 0, on_keep_alive, vm);
}

static bool ended_quickly(const Vm *vm)
{
        return !vm->started_usec || now_usec() - vm->started_usec < KEEP_ALIVE_QUICK_USEC;
}

/* A guest that reboots is started at once; one that does nothing else, after a while. */
static void start_again(Vm *vm)
{
        vm->quick_reboots = ended_quickly(vm) ? vm->quick_reboots + 1 : 0;
        if (vm->quick_reboots > QUICK_REBOOTS_MAX)
                start_later(vm, vm->quick_reboots - QUICK_REBOOTS_MAX - 1);
        else
                (void) lifecycle_request(vm, JOB_START, JOB_AGAIN, NULL, NULL, NULL, NULL);
}

/* A VM that dies at once is not started in a tight loop, until it lives for 10 s. */
static void keep_alive(Vm *vm)
{
        if (ended_quickly(vm)) {
                start_later(vm, vm->quick_deaths++);
                return;
        }
        vm->quick_deaths = 0;
        vm->keep_alive = sd_event_source_disable_unref(vm->keep_alive);
        (void) sd_event_add_time_relative(vm->manager->event, &vm->keep_alive, CLOCK_MONOTONIC, 0, 0, on_keep_alive, vm);
}

static void after_stop(Vm *vm, VmState s)
{
        if (shutdown_all_running(vm->manager) || (s == VM_REBOOTED && lifecycle_is_ending(vm)))
                return;
        if (s == VM_REBOOTED && !vm_bool(vm, "preserve-on-reboot", false)) {
                start_again(vm);
                return;
        }
        if (s == VM_SHUTDOWN && vm_bool(vm, "keep-alive", false) && vm_node(vm) && !vm->deleting)
                keep_alive(vm);
        lifecycle_rest(vm);
}

static void book_reason(Vm *vm, VmState s)
{
        switch (s) {
        case VM_CREATING_DOMAIN:
                vm->reason = REASON_CREATION_FAILURE;
                break;
        case VM_CREATED:
                vm->reason = REASON_HALT;
                break;
        case VM_REBOOTING:
                vm->reason = REASON_RESTARTING;
                break;
        case VM_REBOOTED:
                vm->reason = REASON_REBOOT;
                break;
        default:
                break;
        }
}

/*
 * A VM with control-platform-power-state takes the host with it. Who may put the host to sleep or off is the platform;
 * what a VM did that asks for it is told.
 */
static void power_link(Vm *vm, const char *action)
{
        Manager *m = vm->manager;

        if (!vm_bool(vm, "control-platform-power-state", false) || !m->serving || shutdown_all_running(m))
                return;
        log_notice("%s wants the host to %s with it: the platform is told", vm->uuid, action);
        (void) service_emit(m->daemon->service, vm->path, "org.oxt.Xenmgr1", "PowerLink", "s", action);
}

/*
 * A guest's reboot is told as an end with another reason: clients see rebooting, stopped, creating,
 * running. The internal state keeps the difference.
 */
static void handle_state(Vm *vm, VmState s)
{
        VmState shown = s == VM_REBOOTED ? VM_SHUTDOWN : s;
        char text[64];

        /* The monitor says `rebooting` only of a reboot that was asked for; clients hear it of every one. */
        if (s == VM_REBOOTED && vm->state != VM_REBOOTING && vm->state != VM_SHUTDOWN)
                handle_state(vm, VM_REBOOTING);
        log_info("%s: %s", vm->uuid, vm_state_word(s));
        /* One that waits for its restart is told as stopped already; now it stays so. */
        if (s == VM_SHUTDOWN && vm->state == VM_REBOOTED) {
                vm->state = s;
                lifecycle_state_changed(vm);
                after_stop(vm, s);
                return;
        }
        snprintf(text, sizeof text, "vm:state:%s", vm_state_word(shown));
        manager_emit(vm->manager, "notify", "ss", vm->uuid, text);
        timeline_mark(vm, vm_state_word(s));
        book_reason(vm, s);
        if (s == VM_RUNNING) {
                if (vm->state != VM_PAUSED)
                        vm->started_usec = now_usec();
                vm->acpi_state = 0;
                on_running(vm);
        }
        if (shown == VM_SHUTDOWN || s == VM_SUSPENDED)
                on_stopped(vm);
        vm->state = s;
        if (s != VM_CREATING_DOMAIN && s != VM_CREATING_DEVICES && s != VM_CREATED)
                run_hook(vm, "run-on-state-change", vm_state_public(shown));
        if (s == VM_RUNNING || s == VM_SUSPENDED || shown == VM_SHUTDOWN)
                run_acpi_hook(vm, s == VM_RUNNING ? 0 : s == VM_SUSPENDED ? 3 : 5);
        /* Not after a reboot, which must not end the host, nor for a VM that never came to be. */
        if (s == VM_SHUTDOWN && (vm->reason == REASON_HALT || vm->reason == REASON_ACPI_POWEROFF || vm->reason == REASON_HIBERNATE))
                power_link(vm, vm->reason == REASON_HIBERNATE ? "hibernate" : "shutdown");
        tell_state(vm, shown);
        if (s == VM_RUNNING || s == VM_SHUTDOWN)
                host_xen_refresh(vm->manager); /* its memory is taken, or free again */
        /* The start after a reboot is a part of it, and comes before what waits. */
        if (s == VM_REBOOTED)
                after_stop(vm, s);
        lifecycle_state_changed(vm);
        if (s == VM_CREATED) {
                xen_nodes_tell(vm);
                network_served(vm);
        }
        if (s == VM_SHUTDOWN)
                after_stop(vm, s);
}

/* Of a guest that sleeps or hibernates nothing is to be seen: the host's user interface is shown. */
static void show_ui(const Vm *vm)
{
        Vm *ui = manager_find_vm(vm->manager, "00000000-0000-0000-0000-000000000001");

        if (ui && ui != vm)
                lifecycle_show(ui);
}

static void handle_acpi(Vm *vm, int64_t n)
{
        char text[64];

        vm->acpi_state = n;
        if (n == 3 || n == 4)
                show_ui(vm);
        snprintf(text, sizeof text, "power-state:%lld", (long long) n);
        manager_emit(vm->manager, "notify", "ss", vm->uuid, text);
        if (n == 4) {
                vm->reason = REASON_HIBERNATE;
                vm_write_quietly(vm, "hibernated", "true");
        } else if (n == 5)
                vm->reason = REASON_ACPI_POWEROFF;
        else if (n == 3 && vm_bool(vm, "control-platform-power-state", false))
                power_link(vm, "sleep");
        else if (n == 3 && vm_bool(vm, "auto-s3-wake", false))
                (void) lifecycle_request(vm, JOB_RESUME, 0, NULL, NULL, NULL, NULL);
        run_acpi_hook(vm, n);
        tell_state(vm, vm->state == VM_REBOOTED ? VM_SHUTDOWN : vm->state);
        lifecycle_state_changed(vm);
}

static void handle(Vm *vm, const char *status)
{
        const char *rest;
        int64_t n;

        if ((rest = startswith(status, "vm:state:"))) {
                VmState s = vm_state_from_word(rest);
                char shown[64];

                /* A monitor that found its VM again tells where it is: no news. */
                if (s < _VM_STATE_MAX && s == vm->state)
                        log_debug("%s is still %s", vm->uuid, rest);
                else if (s < _VM_STATE_MAX)
                        handle_state(vm, s);
                else
                        log_warning("The monitor of %s tells an unknown state: %s", vm->uuid,
                                    log_untrusted(shown, sizeof shown, rest));
        } else if ((rest = startswith(status, "power-state:"))) {
                if (parse_i64(rest, &n) >= 0)
                        handle_acpi(vm, n);
        } else if ((rest = startswith(status, "rtc:"))) {
                if (parse_i64(rest, &n) >= 0)
                        vm_write_quietly(vm, "time-offset", rest);
        } else if ((rest = startswith(status, "error:"))) {
                char shown[256];

                log_warning("%s: %s", vm->uuid, log_untrusted(shown, sizeof shown, rest));
        } else if ((rest = startswith(status, "memory/actual:")) || (rest = startswith(status, "memory/target:"))) {
                if (parse_i64(rest, &n) >= 0)
                        memory_changed(vm, startswith(status, "memory/target:"), n);
        } else if ((rest = strchr(status, ':'))) {
                _cleanup_free_ char *node = strndup(status, (size_t) (rest - status));

                if (node)
                        guest_node_written(vm, node, rest + 1);
        }
}

/* The queue */

static void on_domid(Vm *vm, const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        int64_t v;

        if (!error && parse_i64(reply, &v) >= 0 && v >= 0)
                vm->domid = v;
        vm->event_waits = false;
        if (vm->events) {
                VmEvent *e = vm->events;

                vm->events = e->next;
                if (!vm->events)
                        vm->events_end = &vm->events;
                handle(vm, e->text);
                free(e);
        }
        events_run(vm);
}

/* Who hears that a VM is created or running finds its domid in place. */
static bool needs_domid(Vm *vm, const char *status)
{
        const char *word = startswith(status, "vm:state:");

        if (!word || vm->domid >= 0)
                return false;
        return streq(word, "creating-devices") || streq(word, "created") || streq(word, "running") ||
               streq(word, "paused");
}

static void events_run(Vm *vm)
{
        while (vm->events && !vm->event_waits) {
                VmEvent *e = vm->events;

                if (needs_domid(vm, e->text) &&
                    monitor_call(vm, "get_domid", NULL, QUERY_USEC, on_domid, NULL, NULL) >= 0) {
                        vm->event_waits = true;
                        return;
                }
                vm->events = e->next;
                if (!vm->events)
                        vm->events_end = &vm->events;
                handle(vm, e->text);
                free(e);
        }
}

void lifecycle_notify(Vm *vm, const char *status)
{
        size_t n = strlen(status), waiting = 0;
        VmEvent *e;

        for (e = vm->events; e; e = e->next)
                waiting++;
        e = waiting < EVENTS_MAX && n < 4096 ? malloc(sizeof *e + n + 1) : NULL;
        if (!e) {
                log_warning("An event of %s is dropped", vm->uuid);
                return;
        }
        e->next = NULL;
        memcpy(e->text, status, n + 1);
        *vm->events_end = e;
        vm->events_end = &e->next;
        events_run(vm);
}

void lifecycle_event_state(Vm *vm, const char *word)
{
        char text[64];

        snprintf(text, sizeof text, "vm:state:%s", word);
        lifecycle_notify(vm, text);
}

void events_adopt(Vm *vm, VmState state)
{
        log_info("%s was found %s", vm->uuid, vm_state_word(state));
        if (state != vm->state) {
                vm->state = state;
                vm->reason = REASON_HALT;
                guest_nodes_adopt(vm);
                if (vm_is_running(vm))
                        memory_adopt(vm);
                if (state == VM_RUNNING)
                        on_running(vm);
        }
        /* It has a monitor, so it ran, or was to: what follows upon an end was still to come. */
        if (!vm_is_running(vm) && !vm->keep_alive)
                after_stop(vm, state);
}

void events_drop(Vm *vm)
{
        while (vm->events) {
                VmEvent *e = vm->events;

                vm->events = e->next;
                free(e);
        }
        vm->events_end = &vm->events;
        vm->event_waits = false;
}
