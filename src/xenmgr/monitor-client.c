/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "monitor-client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "delete.h"
#include "fs.h"
#include "guest-nodes.h"
#include "helper-client.h"
#include "lifecycle.h"
#include "host.h"
#include "intent.h"
#include "list.h"
#include "log.h"
#include "networks.h"
#include "parse.h"
#include "runtime.h"
#include "spawn.h"
#include "strbuf.h"
#include "xen-nodes.h"

#define MONITOR_PREFIX "org.xen.vm.uuid_"
#define AGENT_PREFIX "com.citrix.xenclient.guest.uuid_"
#define SERVICE_PREFIX "com.citrix.xenclient."
#define QUERY_USEC (10 * USEC_PER_SEC)
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)
#define COMING_USEC (10 * USEC_PER_SEC)
#define SPAWN_RETRY_USEC (50 * USEC_PER_MSEC)
#define SPAWN_ATTEMPTS_MAX 60

/* A monitor answers short commands from memory, whatever its VM does: one that does not hangs. */
#define WATCH_USEC (10 * USEC_PER_SEC)

struct MonitorCall {
        Vm *vm;
        sd_bus_slot *slot;
        MonitorReply done;
        void *userdata;
        MonitorCall *next, **pprev;
};

/* Calls */

MonitorCall *monitor_call_cancel(MonitorCall *c)
{
        if (!c)
                return NULL;
        LIST_UNLINK(c);
        sd_bus_slot_unref(c->slot);
        free(c);
        return NULL;
}

static int on_reply(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        MonitorCall *c = userdata;
        MonitorCall copy = *c;
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        const char *text = "";

        if (!error && sd_bus_message_has_signature(reply, "s"))
                (void) sd_bus_message_read(reply, "s", &text);
        monitor_call_cancel(c);
        copy.done(copy.vm, text, error, copy.userdata);
        return 0;
}

static void monitor_watch(Vm *vm);

int monitor_call(Vm *vm, const char *member, const char *const *args, uint64_t timeout_usec, MonitorReply done,
                 void *userdata, MonitorCall **ret)
{
        sd_bus *bus = vm->manager->bus;
        sd_bus_message *message = NULL;
        char name[80], path[64], u[37];
        MonitorCall *c;
        int r;

        if (!bus)
                return -ENOTCONN;
        c = calloc(1, sizeof *c);
        if (!c)
                return -ENOMEM;
        *c = (MonitorCall) { .vm = vm, .done = done, .userdata = userdata };
        uuid_to_path(vm->uuid, u);
        snprintf(name, sizeof name, MONITOR_PREFIX "%s", u);
        snprintf(path, sizeof path, "/org/xen/vm/%s", u);
        r = sd_bus_message_new_method_call(bus, &message, name, path, name, member);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(message, false);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "{ss}");
        for (; r >= 0 && args && args[0]; args += 2)
                r = sd_bus_message_append(message, "{ss}", args[0], args[1]);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r >= 0)
                r = sd_bus_call_async(bus, &c->slot, message, on_reply, c, timeout_usec);
        sd_bus_message_unref(message);
        if (r < 0) {
                free(c);
                return r;
        }
        LIST_LINK(vm->calls, c);
        if (ret)
                *ret = c;
        monitor_watch(vm);
        return 0;
}

/* Monitors that hang. While answers are awaited they are asked again and again whether they are there. */

static uint64_t watch_usec(void)
{
        return lifecycle_scaled(WATCH_USEC);
}

static void on_probed(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        vm->probe = NULL;
        if (!error || !vm->monitor || manager_bus_lost(vm->manager))
                return;
        log_warning("The monitor of %s does not answer: it is ended, and a new one takes the VM on", vm->uuid);
        monitor_kill(vm);
}

static int on_watch(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        if (!vm->calls || !vm->monitor)
                return 0;
        /* Xen's library does not come back while it fills a domain's memory; the start itself has a limit. */
        if (!vm->probe && !(vm->building && host_is_xen()))
                (void) monitor_call(vm, "get_status", NULL, watch_usec(), on_probed, NULL, &vm->probe);
        (void) sd_event_source_set_time_relative(s, watch_usec());
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void monitor_watch(Vm *vm)
{
        int enabled;

        if (!vm->monitor_watch)
                (void) sd_event_add_time_relative(vm->manager->event, &vm->monitor_watch, CLOCK_MONOTONIC, watch_usec(), 0,
                                                  on_watch, vm);
        else if (sd_event_source_get_enabled(vm->monitor_watch, &enabled) >= 0 && enabled == SD_EVENT_OFF) {
                (void) sd_event_source_set_time_relative(vm->monitor_watch, watch_usec());
                (void) sd_event_source_set_enabled(vm->monitor_watch, SD_EVENT_ONESHOT);
        }
}

void monitor_kill(Vm *vm)
{
        MonitorRecord record = { 0 };

        if (vm->monitor_pidfd >= 0) {
                (void) pidfd_send_signal(vm->monitor_pidfd, SIGKILL, NULL, 0);
                vm->spawn_over = true;
        }
        if (monitor_record_read(manager_paths(vm->manager), vm->uuid, &record) >= 0) {
                _cleanup_close_ int fd = record.monitor.pid > 0 ? process_open(record.monitor.pid, record.monitor.start) : -ESRCH;

                if (fd >= 0 && pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0)
                        log_errno_full(LOG_WARNING, errno, "The monitor of %s cannot be ended", vm->uuid);
        }
        monitor_record_done(&record);
}

/* State of a monitor that came up */

static void on_acpi(Vm *vm, const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        int64_t v;

        if (!error && parse_i64(reply, &v) >= 0)
                vm->acpi_state = v;
}

static void on_domid(Vm *vm, const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        int64_t v;

        if (!error && parse_i64(reply, &v) >= 0)
                vm->domid = v < 0 ? -1 : v;
}

static void query_state(Vm *vm);

static void on_status(Vm *vm, const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        Manager *m = vm->manager;

        if (m->n_adopting > 0)
                m->n_adopting--;
        if ((error && !vm->monitor) || manager_bus_lost(m))
                return; /* it is gone, and that was or will be seen to */
        if (error) {
                log_warning("The monitor of %s does not tell its state: %s", vm->uuid, strempty(error->message));
                /* It is busy, or hangs: then on_watch() sees to it. */
                if (vm_may_run(vm) && sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY))
                        query_state(vm);
                else
                        lifecycle_monitor_failed(vm, strempty(error->message));
                return;
        }
        vm->monitor_deaths = vm->spawn_attempts = 0;
        lifecycle_monitor_up(vm, vm_state_from_word(reply));
}

static void query_state(Vm *vm)
{
        Manager *m = vm->manager;

        m->n_adopting++;
        /* In this order: the domid is known when the state is. */
        if (monitor_call(vm, "get_domid", NULL, QUERY_USEC, on_domid, NULL, NULL) < 0 ||
            monitor_call(vm, "get_acpi_state", NULL, QUERY_USEC, on_acpi, NULL, NULL) < 0 ||
            monitor_call(vm, "get_status", NULL, QUERY_USEC, on_status, NULL, NULL) < 0)
                m->n_adopting--;
}

/* Names that come and go */

static Vm *vm_of_name(Manager *m, const char *name, const char *prefix)
{
        const char *u = startswith(name, prefix);
        char uuid[37];

        return u && uuid_from_path(u, uuid) ? manager_find_vm(m, uuid) : NULL;
}

static void monitor_failed(Vm *vm, const char *why);

static int on_retry(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        vm->monitor_retry = sd_event_source_disable_unref(vm->monitor_retry);
        if (vm->monitor || !vm->manager->bus)
                return 0;
        if (vm->spawn_attempts == 0)
                log_notice("Starting the monitor of %s again", vm->uuid);
        if (monitor_spawn(vm) < 0)
                monitor_failed(vm, "it cannot be started");
        return 0;
}

static void schedule_retry(Vm *vm, uint64_t least)
{
        uint64_t delay = vm->monitor_deaths ? USEC_PER_SEC / 4 << MIN2(vm->monitor_deaths, 10u) : 0;

        vm->monitor_deaths++;
        if (!vm->monitor_retry)
                (void) sd_event_add_time_relative(vm->manager->event, &vm->monitor_retry, CLOCK_MONOTONIC,
                                                  MIN2(MAX2(delay, least), RETRY_MAX_USEC), 1, on_retry, vm);
}

/* Whether there is more than a monitor, for the next one to find. A guest's reboot and a save leave a state without a VM. */
static bool names_vm(const MonitorRecord *r)
{
        return r->domid >= 0 || r->start || r->intent || r->vm.pid > 0 || streq_ptr(r->state, "rebooted") ||
               streq_ptr(r->state, "suspended");
}

/*
 * One that ends in order takes its record away. Where one is left, it was killed, and nobody else will: with nothing built it is of
 * no use to the next one. True: there may be a VM, which the next one finds.
 */
static bool left_something(Vm *vm)
{
        const Paths *paths = manager_paths(vm->manager);
        bool next_one = (vm->monitor_pidfd >= 0 || vm->monitor_helper) && !vm->spawn_over; /* the record may be its own */
        MonitorRecord record = { 0 };
        bool built = false;

        if (!next_one && monitor_record_read(paths, vm->uuid, &record) >= 0) {
                built = names_vm(&record);
                if (!built)
                        (void) monitor_record_remove(paths, vm->uuid);
        }
        monitor_record_done(&record);
        return built;
}

/* Whether all that the last monitor has written down of is known to be gone. A domain of Xen, or what was being built, only a monitor finds. */
static bool nothing_left(Vm *vm)
{
        MonitorRecord record = { 0 };
        int r = monitor_record_read(manager_paths(vm->manager), vm->uuid, &record);
        bool nothing = r == -ENOENT || (r >= 0 && record.domid < 0 && !record.intent);

        if (r >= 0 && record.vm.pid > 0 && !host_is_xen()) {
                _cleanup_close_ int fd = process_open(record.vm.pid, record.vm.start);

                nothing = fd < 0 ? fd == -ESRCH : poll(&(struct pollfd) { .fd = fd, .events = POLLIN }, 1, 0) > 0;
        }
        monitor_record_done(&record);
        return nothing;
}

/* It did not come up. What may run without one gets another; what is gone has ended. */
static void monitor_failed(Vm *vm, const char *why)
{
        if (!vm->monitor && vm_may_run(vm) && nothing_left(vm)) {
                log_warning("The monitor of %s could not be started (%s), and its VM is gone", vm->uuid, why);
                lifecycle_monitor_up(vm, VM_SHUTDOWN);
                return;
        }
        lifecycle_monitor_failed(vm, why);
        if (!vm->monitor && vm_may_run(vm))
                schedule_retry(vm, 0);
}

static void monitor_gone(Vm *vm)
{
        free(TAKE_PTR(vm->monitor));
        vm->probe = monitor_call_cancel(vm->probe);
        /* What it had built so far, the next one finds. */
        vm->unknown_state = vm->unknown_state || vm->building;
        vm->building = false;
        if (vm->monitor_quitting) {
                vm->monitor_quitting = false;
                (void) left_something(vm); /* killed before it could */
                lifecycle_monitor_left(vm);
                return;
        }
        if (vm->state == VM_SHUTDOWN && !vm->unknown_state)
                vm->unknown_state = left_something(vm);
        if (vm->state == VM_SHUTDOWN && !vm->unknown_state)
                lifecycle_monitor_left(vm);
        else {
                log_warning("The monitor of %s died while the VM is %s", vm->uuid, vm_state_word(vm->state));
                schedule_retry(vm, 0);
        }
}

static void name_changed(Manager *m, const char *name, const char *owner)
{
        Vm *vm = vm_of_name(m, name, MONITOR_PREFIX);

        if (vm) {
                if (vm->monitor)
                        monitor_gone(vm);
                if (*owner) {
                        vm->monitor = strdup(owner);
                        vm->spawn_over = true;
                        vm->monitor_retry = sd_event_source_disable_unref(vm->monitor_retry);
                        if (!m->serving) { /* it may have been at anything meanwhile */
                                vm->unknown_state = true;
                                vm->building = intent_is(manager_paths(m), vm->uuid, INTENT_START);
                        }
                        query_state(vm);
                }
                return;
        }
        if (startswith(name, MONITOR_PREFIX)) {
                char uuid[37];

                /* The last of a VM that was deleted. */
                if (!*owner && uuid_from_path(name + strlen(MONITOR_PREFIX), uuid))
                        delete_runtime(m, uuid);
                return;
        }
        vm = vm_of_name(m, name, AGENT_PREFIX);
        if (vm) {
                vm->agent = *owner;
                lifecycle_agent_changed(vm);
        } else if (startswith(name, SERVICE_PREFIX) && !startswith(name, AGENT_PREFIX)) {
                bool known = manager_has_name(m, name);

                if (streq(name, NETWORK_DAEMON))
                        networks_owner_changed(m, *owner);
                if (*owner && !known)
                        (void) strv_extend(&m->names, name);
                for (char **n = m->names; !*owner && n && *n; n++)
                        if (streq(*n, name)) {
                                free(*n);
                                for (; *n; n++)
                                        n[0] = n[1];
                                break;
                        }
        }
}

static int on_name_owner_changed(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        const char *name, *before, *after;

        if (sd_bus_message_read(message, "sss", &name, &before, &after) >= 0)
                name_changed(userdata, name, after);
        return 0;
}

static int on_notify(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        Manager *m = userdata;
        const char *uuid, *text;
        int32_t code;
        Vm *vm;

        if (sd_bus_message_read(message, "sis", &uuid, &code, &text) < 0)
                return 0;
        vm = manager_find_vm(m, uuid);
        /* Only the VM's own monitor is believed. */
        if (vm && vm->monitor && streq_ptr(vm->monitor, sd_bus_message_get_sender(message)))
                lifecycle_notify(vm, text);
        return 0;
}

int monitor_bus_up(Manager *m)
{
        static const char *const namespaces[] = { "org.xen.vm", "com.citrix.xenclient" };
        char **names = NULL;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(namespaces); i++) {
                char match[256];

                snprintf(match, sizeof match,
                         "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0namespace='%s'",
                         namespaces[i]);
                r = sd_bus_add_match(m->bus, &m->slots[m->n_slots++], match, on_name_owner_changed, m);
                if (r < 0)
                        return log_errno(r, "Cannot follow bus names");
        }
        r = sd_bus_add_match(m->bus, &m->slots[m->n_slots++],
                             "type='signal',interface='xenvm.signal.notify',member='notify'", on_notify, m);
        if (r >= 0)
                r = guest_nodes_bus_up(m);
        if (r >= 0)
                r = sd_bus_list_names(m->bus, &names, NULL);
        if (r < 0)
                return log_errno(r, "Cannot find the monitors on the bus");
        m->names = strv_free(m->names);
        for (char **n = names; n && *n; n++) {
                sd_bus_creds *creds = NULL;
                const char *owner;

                if (!startswith(*n, MONITOR_PREFIX) && !startswith(*n, SERVICE_PREFIX))
                        continue;
                if (sd_bus_get_name_creds(m->bus, *n, SD_BUS_CREDS_UNIQUE_NAME, &creds) >= 0 &&
                    sd_bus_creds_get_unique_name(creds, &owner) >= 0)
                        name_changed(m, *n, owner);
                sd_bus_creds_unref(creds);
        }
        strv_free(names);
        return 0;
}

void monitor_bus_down(Manager *m)
{
        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];

                while (vm->calls)
                        monitor_call_cancel(vm->calls);
                free(TAKE_PTR(vm->monitor));
                vm->probe = NULL;
                vm->monitor_quitting = vm->building = false;
                vm->agent = false;
        }
        m->n_adopting = 0;
}

/* Processes */

static void child_done(Vm *vm)
{
        vm->monitor_exit = sd_event_source_disable_unref(vm->monitor_exit);
        vm->monitor_pidfd = safe_close(vm->monitor_pidfd);
        vm->monitor_errors = safe_close(vm->monitor_errors);
}

/* The start of a monitor ended. why NULL: it is in the background. already: another one serves this VM. */
static void spawn_ended(Vm *vm, const char *why, bool already)
{
        _cleanup_free_ char *text = NULL;

        if (vm->spawn_again && !vm->monitor) {
                if (monitor_spawn(vm) < 0)
                        monitor_failed(vm, "it cannot be started");
                return;
        }
        if (!why && !vm->monitor && vm_may_run(vm))
                schedule_retry(vm, COMING_USEC); /* it may die before it has its name */
        if (!why)
                return;
        if (already && vm->monitor)
                return; /* and we know it */
        /* It is not on the bus: most likely it is just coming or ending. */
        vm->monitor_retry = sd_event_source_disable_unref(vm->monitor_retry);
        if (already && vm->spawn_attempts++ < SPAWN_ATTEMPTS_MAX &&
            sd_event_add_time_relative(vm->manager->event, &vm->monitor_retry, CLOCK_MONOTONIC, SPAWN_RETRY_USEC, 0,
                                       on_retry, vm) >= 0)
                return;
        if (already)
                monitor_kill(vm); /* whatever it waits for, it serves nobody */
        text = strdup(why);
        for (char *p = text; p && *p; p++)
                if (*p == '\n')
                        *p = ' ';
        monitor_failed(vm, strempty(text));
}

/* The process that we started ends once the monitor is in the background (status 0) or could not start. */
static int on_child_exit(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        Vm *vm = userdata;
        char errors[2048];
        ssize_t n;
        siginfo_t si = { 0 };
        _cleanup_free_ char *text = NULL;
        bool good;

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return 0;
        n = read(vm->monitor_errors, errors, sizeof errors - 1);
        errors[MAX2(n, (ssize_t) 0)] = '\0';
        child_done(vm);
        good = si.si_code == CLD_EXITED && si.si_status == 0;
        if (!good)
                text = strformat("%s (status %d)", *strstrip(errors) ? strstrip(errors) : "the monitor did not start",
                                 si.si_status);
        spawn_ended(vm, good ? NULL : strempty(text), si.si_code == CLD_EXITED && si.si_status == 1);
        return 0;
}

static void on_helper_done(void *userdata, int r, const char *why, _unused_ const char *name, int fd)
{
        Vm *vm = userdata;

        safe_close(fd);
        vm->monitor_helper = NULL;
        spawn_ended(vm, r < 0 ? why : NULL, r == -EALREADY);
}

/* On a Xen host it takes root to be a monitor, and the helper has it. */
static int spawn_by_helper(Vm *vm)
{
        const char *const parameters[] = { "uuid", vm->uuid, NULL };
        int r = helper_call(vm->manager->event, manager_paths(vm->manager), "monitor-start", parameters, on_helper_done, vm,
                            &vm->monitor_helper);

        return r < 0 ? log_errno(r, "oxt-helper cannot be asked to start the monitor of %s, which needs root on Xen", vm->uuid) : r;
}

int monitor_spawn(Vm *vm)
{
        const Paths *p = manager_paths(vm->manager);
        _cleanup_free_ char *config = paths_format(p, PATH_VM, "%s/xenvm.conf", vm->uuid);
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        char *args[10];
        size_t n = 0;
        int fds[2], r;

        if (!config)
                return -ENOMEM;
        if (vm->monitor_pidfd >= 0 || vm->monitor_helper) {
                /* One is coming up already, or this process is about to end, and only that was not noticed yet. */
                vm->spawn_again = vm->spawn_over;
                return 0;
        }
        vm->spawn_over = vm->spawn_again = false;
        if (xen_needs_helper())
                return spawn_by_helper(vm);
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        in = fds[0];
        out = fds[1];
        args[n++] = (char *) "--config";
        args[n++] = config;
        args[n++] = (char *) "--state-dir";
        args[n++] = (char *) paths_get(p, PATH_STATE);
        args[n++] = (char *) "--runtime-dir";
        args[n++] = (char *) paths_get(p, PATH_RUNTIME);
        args[n] = NULL;
        options.stderr_fd = out;
        options.new_session = true;
        r = spawn(SPAWN_XENVM, args, &options, NULL, &vm->monitor_pidfd);
        if (r < 0) {
                vm->monitor_pidfd = -EBADF;
                return log_errno(r, "Cannot start the monitor of %s", vm->uuid);
        }
        vm->monitor_errors = TAKE_FD(in);
        r = sd_event_add_io(vm->manager->event, &vm->monitor_exit, vm->monitor_pidfd, EPOLLIN, on_child_exit, vm);
        if (r < 0)
                child_done(vm);
        return r;
}

void monitor_adopt_orphans(Manager *m)
{
        _cleanup_strv_ char **records = NULL;

        if (monitor_record_list(manager_paths(m), &records) < 0)
                return;
        for (char **u = records; u && *u; u++) {
                Vm *vm = manager_find_vm(m, *u);
                MonitorRecord record = { 0 };

                if (!vm || vm->monitor || monitor_record_read(manager_paths(m), *u, &record) < 0)
                        continue;
                /* What runs below it is the monitor's business: it looks, and tells. */
                if (names_vm(&record)) {
                        log_notice("%s may be running without a monitor; starting one", vm->uuid);
                        vm->unknown_state = true;
                        if (monitor_spawn(vm) < 0)
                                schedule_retry(vm, 0);
                }
                monitor_record_done(&record);
        }
}

static void on_quit(_unused_ Vm *vm, _unused_ const char *reply, _unused_ const sd_bus_error *error,
                    _unused_ void *userdata)
{
}

void monitor_quit(Vm *vm)
{
        if (vm->monitor && !vm->monitor_quitting &&
            monitor_call(vm, "quit", NULL, QUERY_USEC, on_quit, NULL, NULL) >= 0)
                vm->monitor_quitting = true;
}

void monitor_forget(Vm *vm)
{
        while (vm->calls)
                monitor_call_cancel(vm->calls);
        vm->monitor_retry = sd_event_source_disable_unref(vm->monitor_retry);
        vm->monitor_watch = sd_event_source_disable_unref(vm->monitor_watch);
        vm->monitor_helper = helper_call_cancel(vm->monitor_helper);
        child_done(vm);
}
