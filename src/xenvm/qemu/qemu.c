/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QEMU back end: one QEMU process for each start of a VM. QEMU outlives us. Commands go over a socket
 * that QEMU listens on; events come over the journal (journal.h), also those of the time when no monitor
 * lived; QEMU's messages come over a FIFO that can never block it. All are found again in the VM's runtime
 * directory. What QEMU says is distrusted: a guest may have taken it over.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "spawn.h"
#include "strbuf.h"
#include "vfio.h"

static const char *const socket_names[] = { "qmp.sock", "rpc.sock", "vnc.sock", "tpm.sock" };

void operation_done(Operation *o, int r, const char *text)
{
        VmDone done = o->done;
        void *userdata = o->userdata;

        *o = (Operation) { 0 };
        if (done)
                done(userdata, r, text);
}

int vm_request(Vm *vm, const char *command, json_object *arguments, QmpDone done, void *userdata)
{
        if (!vm->qmp) {
                json_object_put(arguments);
                return -ENOTCONN;
        }
        return qmp_send(vm->qmp, command, arguments, -EBADF, QMP_TIMEOUT, done, userdata);
}

/* The end of a Vm */

void qemu_close(Vm *vm)
{
        if (vm->qmp)
                vm->round_trips += qmp_sent(vm->qmp);
        vm->qmp = qmp_free(vm->qmp);
}

void qemu_remove_files(Vm *vm)
{
        static const char *const names[] = { "qemu.err", "qemu.pid", "qemu.args", "screen.png" };

        journal_unlink(vm->journal_prefix);
        for (size_t i = 0; i < ELEMENTSOF(names) + ELEMENTSOF(socket_names); i++) {
                _cleanup_free_ char *path = path_join(vm->spec.dir, i < ELEMENTSOF(names) ? names[i]
                                                                                          : socket_names[i - ELEMENTSOF(names)]);

                if (path)
                        (void) unlink(path);
        }
        qemu_release_devices(vm);
        if (vm->confined) {
                _cleanup_free_ char *folder = path_join(vm->spec.dir, FOLDER);

                if (folder)
                        (void) remove_tree(folder);
                qemu_unconfine(vm);
        }
}

/* Commands that wait for QEMU are answered; the monitor's own operations know of the end. */
static void give_up(Vm *vm)
{
        operation_done(&vm->go, -ECANCELED, VM_GIVEN_UP);
        operation_done(&vm->change, -ECANCELED, VM_GIVEN_UP);
        for (size_t i = 0; i < ELEMENTSOF(vm->questions); i++)
                operation_done(&vm->questions[i].operation, -ECANCELED, VM_GIVEN_UP);
}

Vm *qemu_free(Vm *vm)
{
        if (!vm)
                return NULL;
        give_up(vm);
        qemu_save_release(vm);
        qemu_hotplug_release(vm);
        qemu_close(vm);
        vm->journal = journal_free(vm->journal);
        sd_event_source_disable_unref(vm->exit_source);
        sd_event_source_disable_unref(vm->error_source);
        sd_event_source_disable_unref(vm->deadline);
        safe_close(vm->pidfd);
        safe_close(vm->error_fd);
        safe_close(vm->spec.restore_fd);
        linebuf_done(&vm->error_in);
        for (unsigned i = 0; i < vm->n_errors; i++)
                free(vm->errors[i]);
        for (unsigned i = 0; i < vm->n_helpers; i++) {
                sd_event_source_disable_unref(vm->helpers[i].watch);
                free(vm->helpers[i].name);
                safe_close(vm->helpers[i].pidfd);
        }
        host_side_done(&vm->host);
        qemu_files_done(&vm->files);
        helper_call_cancel(vm->terminal_call);
        free(vm->saving.why);
        free(vm->saving.places);
        free(vm->journal_prefix);
        free(vm->create_why);
        strv_free(vm->warnings);
        free(vm);
        return NULL;
}

/* QEMU's own words: the first line names the cause, the second often the file. */
static char *describe_words(const Vm *vm, const char *how)
{
        const char *first = vm_last_error(vm, "it gave no reason");
        const char *second = vm->n_errors > 1 ? vm->errors[1] : NULL;
        _cleanup_free_ char *text = strformat("%s%s%s", first, second ? " " : "", strempty(second)), *named = NULL;
        bool disk = strstr(first, "lock") || strstr(first, "Could not open") || strstr(first, "Image is not in");

        named = text ? qemu_files_explain(&vm->files, text) : NULL;
        return strformat("%s%s: %s", disk ? "Device.Tap2.Mount_failure: " : "", how, strempty(named));
}

static char *describe_exit(const Vm *vm, int status)
{
        char how[40];

        snprintf(how, sizeof how, "QEMU ended with status %d", status);
        return describe_words(vm, how);
}

/* Its status is known to its parent alone, which we need not be. */
static char *describe_end(const Vm *vm)
{
        return vm->n_errors > 0 ? describe_words(vm, "QEMU ended") : strdup("QEMU is gone");
}

/* The process is no more. What it still had to say is heard first. */
static int on_exit_process(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = NULL;
        siginfo_t info = { 0 };
        bool ended_before = vm->status == VM_STATUS_ENDED;

        (void) waitid(P_PIDFD, (id_t) vm->pidfd, &info, WEXITED);
        vm->exit_source = sd_event_source_disable_unref(vm->exit_source);
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        qemu_messages_drain(vm);
        if (vm->journal && !vm->ending && journal_drain(vm->journal) > 0)
                return 0; /* the handler of an event has freed us */
        vm->gone = true;
        vm->status = VM_STATUS_ENDED;
        vm->pidfd = safe_close(vm->pidfd);
        vm->journal = journal_free(vm->journal);
        qemu_close(vm);
        qemu_save_release(vm);
        qemu_helpers_kill(vm);
        qemu_remove_files(vm);
        if (info.si_code == CLD_EXITED)
                why = describe_exit(vm, info.si_status);
        else if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
                why = strformat("QEMU was killed by signal %d%s%s", info.si_status, vm->n_errors > 0 ? ": " : "",
                                vm_last_error(vm, ""));
        else
                why = describe_end(vm);
        if (vm->kill.done)
                operation_done(&vm->kill, 0, NULL);
        else if (vm->create.done)
                qemu_create_failed(vm, vm->create_why ? vm->create_why : why ? why : "QEMU is gone");
        else if (!ended_before || !vm->ending)
                vm->spec.events->gone(vm->spec.userdata, why ? why : "QEMU is gone");
        return 0;
}

int qemu_watch(Vm *vm)
{
        int r;

        r = sd_event_add_io(vm->spec.event, &vm->exit_source, vm->pidfd, EPOLLIN, on_exit_process, vm);
        /* After the end of its QMP connection, which answers who still waits there; both are often seen at once. */
        return r < 0 ? r : sd_event_source_set_priority(vm->exit_source, SD_EVENT_PRIORITY_NORMAL + 1);
}

static void on_qmp_closed(void *userdata, const char *why)
{
        Vm *vm = userdata;

        qemu_close(vm);
        if (vm->ending)
                return;
        /* QEMU is going, or lies. If it lives on, it can no longer be controlled. */
        log_warning("The connection to QEMU ended: %s", why);
        if (vm->create.done) {
                /* Give the process a moment to end by itself: its message says more. */
                if (vm->deadline)
                        (void) sd_event_source_set_time_relative(vm->deadline, 2 * USEC_PER_SEC);
                return;
        }
        if (vm->pidfd >= 0)
                (void) qemu_end_process(vm);
}

static const QmpHandlers qmp_handlers = { .closed = on_qmp_closed };

int qemu_connect(Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "qmp.sock");
        int fd;

        if (!path)
                return -ENOMEM;
        fd = unix_connect(path);
        return fd < 0 ? fd : qmp_new(vm->spec.event, fd, &qmp_handlers, vm, &vm->qmp);
}

VmStatus qemu_status_of_word(const char *word)
{
        static const struct {
                const char *word;
                VmStatus status;
        } words[] = {
                { "prelaunch", VM_STATUS_CREATED },      { "running", VM_STATUS_RUNNING },
                { "paused", VM_STATUS_PAUSED },          { "suspended", VM_STATUS_RUNNING },
                { "io-error", VM_STATUS_PAUSED },        { "postmigrate", VM_STATUS_PAUSED },
                { "shutdown", VM_STATUS_ENDED },         { "guest-panicked", VM_STATUS_ENDED },
                { "internal-error", VM_STATUS_ENDED },   { "watchdog", VM_STATUS_ENDED },
                { "finish-migrate", VM_STATUS_PAUSED },
        };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(word, words[i].word))
                        return words[i].status;
        return VM_STATUS_OTHER;
}

Vm *qemu_new(const VmSpec *spec, VmDone done, void *userdata)
{
        Vm *vm = calloc(1, sizeof *vm);

        if (!vm)
                return NULL;
        vm->spec = *spec;
        vm->pidfd = vm->error_fd = vm->saving.fd = -EBADF;
        vm->status = VM_STATUS_OTHER;
        vm->terminal = -1;
        vm->create = (Operation) { done, userdata };
        vm->journal_prefix = path_join(spec->dir, "events");
        if (!vm->journal_prefix)
                return qemu_free(vm);
        if (spec->config->time_offset)
                (void) parse_i64(spec->config->time_offset, &vm->clock_base);
        return vm;
}

/* Taking on one that runs */

/*
 * One whose QEMU does not answer in time lives on: it may have been stopped, wait for its disk, or serve another client.
 * Its events and its end are noticed as ever, and the answer to what was asked is waited for.
 */
static void adoption_late(Vm *vm)
{
        if (!vm->silent)
                vm->spec.events->silent(vm->spec.userdata);
        vm->silent = true;
}

/* One that cannot be controlled must not live on. */
static void adoption_failed(Vm *vm, int r, const char *text)
{
        if (vm->pidfd >= 0 && qemu_end_process(vm) > 0) {
                free(vm->create_why);
                vm->create_why = strdup(text); /* told by qemu_create_failed(), once it is gone */
                return;
        }
        qemu_helpers_kill(vm);
        qemu_remove_files(vm);
        operation_done(&vm->create, r, text);
}

static void on_adopted_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r == -ETIMEDOUT) {
                adoption_late(vm);
                r = qmp_send(vm->qmp, "query-status", NULL, -EBADF, PATIENCE, on_adopted_status, vm);
                if (r >= 0)
                        return;
        }
        if (r < 0) {
                adoption_failed(vm, r, text);
                return;
        }
        vm->status = qemu_status_of_word(json_object_is_type(value, json_type_object) ? json_get_text(value, "status", "") : "");
        qemu_hotplug_go_on(vm);
        operation_done(&vm->create, 0, NULL);
}

static void on_adopted_greeting(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r == -ETIMEDOUT) {
                adoption_late(vm);
                (void) qmp_greet(vm->qmp, PATIENCE, on_adopted_greeting, vm);
                return;
        }
        vm->greeted = r >= 0;
        if (vm->greeted)
                qemu_find_terminal(vm);
        if (vm->greeted && vm->ending) /* the journal has led to a kill() meanwhile */
                (void) vm_request(vm, "quit", NULL, NULL, NULL);
        /* What the journal holds comes first: it explains the status. */
        if (r >= 0 && vm->journal && journal_drain(vm->journal) > 0)
                return;
        if (r >= 0 && vm->saving.cancelled) /* nobody would make a file of what it writes */
                (void) vm_request(vm, "migrate_cancel", NULL, NULL, NULL);
        if (r >= 0)
                r = vm_request(vm, "query-status", NULL, on_adopted_status, vm);
        if (r < 0)
                adoption_failed(vm, r, text ? text : "QEMU cannot be asked");
}

static int adopt_details(Vm *vm, const char *details)
{
        _cleanup_json_ json_object *o = NULL;
        json_object *list;

        if (!details || json_parse(details, strlen(details), 8, &o) < 0)
                return 0;
        vm->machine = (QemuMachine) json_get_int(o, "machine", QEMU_MACHINE_PC);
        list = json_get_member(o, "bound", json_type_array);
        for (size_t i = 0; list && i < json_object_array_length(list) && vm->n_bound < PCI_MAX; i++) {
                const char *name = strempty(json_object_get_string(json_object_array_get_idx(list, i)));

                if (pci_name_valid(name))
                        snprintf(vm->bound[vm->n_bound++], sizeof vm->bound[0], "%s", name);
        }
        list = json_get_member(o, "taps", json_type_array);
        for (size_t i = 0; list && i < json_object_array_length(list) && i < NICS_MAX; i++)
                snprintf(vm->taps[i], sizeof vm->taps[i], "%s", strempty(json_object_get_string(json_object_array_get_idx(list, i))));
        list = json_get_member(o, "helpers", json_type_array);
        for (size_t i = 0; list && i < json_object_array_length(list) && vm->n_helpers < HELPERS_MAX; i++) {
                json_object *h = json_object_array_get_idx(list, i);
                Helper *helper = &vm->helpers[vm->n_helpers];

                if (!json_object_is_type(h, json_type_object))
                        continue;
                helper->process = (ProcessRef) { (pid_t) json_get_int(h, "pid", 0), (uint64_t) json_get_int(h, "start", 0) };
                helper->pidfd = helper->process.pid > 0 ? process_open(helper->process.pid, helper->process.start) : -ESRCH;
                if (helper->pidfd < 0)
                        continue;
                helper->name = strdup(json_get_text(h, "name", ""));
                if (!helper->name)
                        return -ENOMEM;
                vm->n_helpers++;
                qemu_helper_watch(vm, helper);
        }
        return 0;
}

/* Its folder is there exactly as long as a QEMU that has one. */
static int find_folder(Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, FOLDER);

        if (!path)
                return -ENOMEM;
        vm->confined = access(path, F_OK) < 0 ? CONFINED_NOT : geteuid() == 0 ? CONFINED_BY_US : CONFINED_BY_HELPER;
        free(vm->journal_prefix);
        vm->journal_prefix = qemu_own_path(vm, "events");
        return vm->journal_prefix ? 0 : -ENOMEM;
}

static int qemu_adopt(const VmSpec *spec, const MonitorRecord *record, VmDone done, void *userdata, Vm **ret)
{
        _cleanup_(qemu_freep) Vm *vm = qemu_new(spec, done, userdata);
        int r;

        if (!vm)
                return -ENOMEM;
        vm->acpi_state = (int) record->acpi_state;
        vm->process = record->vm;
        vm->saving.cancelled = record->state && streq(record->state, "suspending");
        (void) adopt_details(vm, record->details);
        r = find_folder(vm);
        if (r < 0)
                return r;
        vm->pidfd = record->vm.pid > 0 ? process_open(record->vm.pid, record->vm.start) : -ESRCH;
        if (vm->pidfd < 0 || poll(&(struct pollfd) { .fd = vm->pidfd, .events = POLLIN }, 1, 0) > 0) {
                qemu_helpers_kill(vm);
                qemu_remove_files(vm);
                return -ESRCH;
        }
        r = qemu_messages_open(vm, false);
        if (r < 0)
                log_warning("QEMU's messages cannot be read: %s", strerror(-r));
        r = journal_open(spec->event, vm->journal_prefix, &qemu_journal_handlers, vm, &vm->journal);
        if (r >= 0)
                r = qemu_watch(vm);
        if (r >= 0)
                r = qemu_connect(vm);
        if (r >= 0)
                r = qmp_greet(vm->qmp, QMP_TIMEOUT, on_adopted_greeting, vm);
        if (r < 0) {
                /* One that cannot be controlled must not live on beside its successor. */
                (void) qemu_kill_process(vm);
                qemu_helpers_kill(vm);
                qemu_remove_files(vm);
                return r;
        }
        *ret = TAKE_PTR(vm);
        return 0;
}

/* It lives on, and so does the Vm: who asks for its end again may have more luck. */
static void kill_failed(Vm *vm, int r)
{
        _cleanup_free_ char *text = r < 0 ? strformat("QEMU (pid %d) cannot be ended: %s", (int) vm->process.pid,
                                                      r == -ENOENT || r == -ECONNREFUSED ? "that needs oxt-helper, which does not run"
                                                                                         : strerror(-r))
                                          : strdup("the QEMU process does not end");

        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        if (vm->kill.done) {
                vm->ending = false;
                operation_done(&vm->kill, -EBUSY, strempty(text));
                return;
        }
        log_error("%s", strempty(text));
        if (vm->create.done)
                operation_done(&vm->create, -EBUSY, strempty(vm->create_why));
}

static int on_kill_again(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;
        int r = qemu_kill_process(vm);

        if (now_usec() >= vm->kill_until) {
                kill_failed(vm, r);
                return 0;
        }
        (void) sd_event_source_set_time_relative(s, KILL_AGAIN);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        return 0;
}

int qemu_end_process(Vm *vm)
{
        int r = qemu_kill_process(vm), k;

        if (r < 0)
                log_warning("QEMU cannot be ended at once, and this is tried again: %s", strerror(-r));
        vm->kill_until = now_usec() + backend_scaled(KILL_TIMEOUT);
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        k = sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC, KILL_AGAIN, 0, on_kill_again, vm);
        return k < 0 ? k : r < 0;
}

static int on_deadline_quit(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        int r = qemu_end_process(userdata);

        if (r < 0)
                kill_failed(userdata, r);
        return 0;
}

static int on_already_gone(_unused_ sd_event_source *s, void *userdata)
{
        Vm *vm = userdata;

        operation_done(&vm->kill, 0, NULL);
        return 0;
}

static int qemu_kill(Vm *vm, bool gently, VmDone done, void *userdata)
{
        int r;

        vm->kill = (Operation) { done, userdata };
        vm->ending = true;
        vm->save = (Operation) { 0 };
        qemu_save_release(vm);
        if (vm->launching) /* its end is told once it is known */
                return 0;
        if (vm->pidfd < 0) {
                vm->deadline = sd_event_source_disable_unref(vm->deadline);
                return sd_event_add_defer(vm->spec.event, &vm->deadline, on_already_gone, vm);
        }
        /* Before QEMU has greeted it takes no commands; then on_adopted_greeting() says it. */
        if (gently && vm->qmp && (!vm->greeted || vm_request(vm, "quit", NULL, NULL, NULL) >= 0)) {
                vm->deadline = sd_event_source_disable_unref(vm->deadline);
                r = sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC, backend_scaled(QUIT_TIMEOUT), 0,
                                               on_deadline_quit, vm);
        } else
                r = qemu_end_process(vm);
        if (r < 0)
                vm->kill = (Operation) { 0 };
        return MIN2(r, 0);
}

/* Queries */

static VmStatus qemu_status(const Vm *vm)
{
        return vm->status;
}

static ProcessRef qemu_process(const Vm *vm)
{
        return vm->process;
}

static unsigned qemu_round_trips(const Vm *vm)
{
        return vm->round_trips + (vm->qmp ? qmp_sent(vm->qmp) : 0);
}

static char *qemu_details(const Vm *vm)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *list = json_object_new_array(), *taps = json_object_new_array(), *bound = json_object_new_array();

        for (size_t i = 0; o && taps && i < NICS_MAX; i++)
                json_object_array_add(taps, json_object_new_string(vm->taps[i]));
        for (size_t i = 0; o && bound && i < vm->n_bound; i++)
                json_object_array_add(bound, json_object_new_string(vm->bound[i]));
        for (unsigned i = 0; o && list && i < vm->n_helpers; i++) {
                json_object *h = json_object_new_object();

                json_object_object_add(h, "name", json_object_new_string(strempty(vm->helpers[i].name)));
                json_object_object_add(h, "pid", json_object_new_int64(vm->helpers[i].process.pid));
                json_object_object_add(h, "start", json_object_new_int64((int64_t) vm->helpers[i].process.start));
                json_object_array_add(list, h);
        }
        if (o) {
                json_object_object_add(o, "helpers", list);
                json_object_object_add(o, "taps", taps);
                json_object_object_add(o, "bound", bound);
                json_object_object_add(o, "machine", json_object_new_int(vm->machine));
        }
        return o ? strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)) : NULL;
}

static int qemu_available(const char **ret_why)
{
        if (spawn_program_path(SPAWN_QEMU))
                return 0;
        *ret_why = "qemu-system-x86_64 is not installed (package qemu-system-x86)";
        return -ENOENT;
}

const Backend backend_qemu = {
        .name = "qemu",
        .available = qemu_available,
        .describe = qemu_describe,
        .create = qemu_create,
        .adopt = qemu_adopt,
        .free = qemu_free,
        .status = qemu_status,
        .process = qemu_process,
        .details = qemu_details,
        .round_trips = qemu_round_trips,
        .run = qemu_run,
        .pause = qemu_pause,
        .ask = qemu_ask,
        .kill = qemu_kill,
        .save = qemu_save,
        .save_cancel = qemu_save_cancel,
        .cannot_save = qemu_cannot_save,
        .restores_plugging = true,
        .shape = qemu_shape,
        .attach = qemu_attach,
        .detach = qemu_detach,
        .set_medium = qemu_set_medium,
        .set_link = qemu_set_link,
        .set_memory = qemu_set_memory,
        .vnc_port = qemu_vnc_port,
        .console = qemu_console,
        .screenshot = qemu_screenshot,
        .usage = qemu_usage,
};
