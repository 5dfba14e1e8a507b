/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QEMU back end: one QEMU process for each start of a VM. QEMU outlives us. Commands go over a socket
 * that QEMU listens on; events come over the journal (journal.h), also those of the time when no monitor
 * lived; QEMU's messages come over a FIFO that can never block it. All are found again in the VM's runtime
 * directory. What QEMU says is distrusted: a guest may have taken it over.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "fs.h"
#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "settings.h"
#include "spawn.h"
#include "strbuf.h"

/* Descriptors of the child. */
#define CHILD_QMP_FD 3
#define CHILD_RPC_FD 4
#define CHILD_FIRST_FREE_FD 5

static const char *const socket_names[] = { "qmp.sock", "rpc.sock", "vnc.sock", "tpm.sock" };

void operation_done(Operation *o, int r, const char *text)
{
        VmDone done = o->done;
        void *userdata = o->userdata;

        *o = (Operation) { 0 };
        if (done)
                done(userdata, r, text);
}

const char *vm_last_error(const Vm *vm, const char *fallback)
{
        /* The first line names the cause; what follows are consequences. */
        return vm->n_errors > 0 ? vm->errors[0] : fallback;
}

int vm_request(Vm *vm, const char *command, json_object *arguments, QmpDone done, void *userdata)
{
        if (!vm->qmp) {
                json_object_put(arguments);
                return -ENOTCONN;
        }
        return qmp_send(vm->qmp, command, arguments, -EBADF, QMP_TIMEOUT, done, userdata);
}

/* Messages of QEMU */

static void take_errors(Vm *vm)
{
        for (;;) {
                size_t length;
                bool too_long;
                char *line = linebuf_next(&vm->error_in, &length, &too_long), text[400];
                const char *start;

                if (too_long)
                        vm->error_in.start = vm->error_in.len;
                if (!line)
                        return;
                log_untrusted(text, sizeof text, line);
                if (!text[0])
                        continue;
                log_warning("QEMU says: %s", text);
                start = startswith(text, "qemu-system-x86_64: ");
                if (!start)
                        start = text;
                if (strstr(start, "warning: ") == start)
                        continue;
                if (vm->n_errors == ERROR_LINES) {
                        free(vm->errors[0]);
                        memmove(vm->errors, vm->errors + 1, sizeof vm->errors - sizeof vm->errors[0]);
                        vm->n_errors--;
                }
                vm->errors[vm->n_errors] = strdup(start);
                vm->n_errors += vm->errors[vm->n_errors] != NULL;
        }
}

static int on_error_text(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        Vm *vm = userdata;

        if (linebuf_read(&vm->error_in, fd) > 0)
                take_errors(vm);
        return 0;
}

static void drain_errors(Vm *vm)
{
        for (int i = 0; i < 64 && vm->error_fd >= 0 && linebuf_read(&vm->error_in, vm->error_fd) > 0; i++)
                take_errors(vm);
}

/* Non-blocking for both sides: a chatty QEMU loses messages when nobody reads, and never waits. */
static int open_error_fifo(Vm *vm, bool create)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "qemu.err");

        if (!path)
                return -ENOMEM;
        if (create && ((unlink(path) < 0 && errno != ENOENT) || mkfifo(path, 0600) < 0))
                return -errno;
        vm->error_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (vm->error_fd < 0)
                return -errno;
        vm->error_in.max = 4096;
        return sd_event_add_io(vm->spec.event, &vm->error_source, vm->error_fd, EPOLLIN, on_error_text, vm);
}

/* The end of a Vm */

static void close_qmp(Vm *vm)
{
        if (vm->qmp)
                vm->round_trips += qmp_sent(vm->qmp);
        vm->qmp = qmp_free(vm->qmp);
}

static void remove_files(Vm *vm)
{
        static const char *const names[] = { "qemu.err", "qemu.pid", "qemu.args" };

        journal_unlink(vm->journal_prefix);
        for (size_t i = 0; i < ELEMENTSOF(names) + ELEMENTSOF(socket_names); i++) {
                _cleanup_free_ char *path = path_join(vm->spec.dir, i < ELEMENTSOF(names) ? names[i]
                                                                                          : socket_names[i - ELEMENTSOF(names)]);

                if (path)
                        (void) unlink(path);
        }
}

static Vm *qemu_free(Vm *vm)
{
        if (!vm)
                return NULL;
        qemu_save_release(vm);
        qemu_hotplug_release(vm);
        close_qmp(vm);
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
                free(vm->helpers[i].name);
                safe_close(vm->helpers[i].pidfd);
        }
        host_side_done(&vm->host);
        free(vm->saving.why);
        free(vm->journal_prefix);
        strv_free(vm->warnings);
        free(vm);
        return NULL;
}
DEFINE_CLEANUP(Vm *, qemu_free)

void qemu_create_failed(Vm *vm, const char *text)
{
        _cleanup_free_ char *why = strdup(text);

        vm->ending = true;
        if (vm->pidfd >= 0)
                (void) pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
        qemu_helpers_kill(vm);
        close_qmp(vm);
        remove_files(vm);
        operation_done(&vm->create, -EIO, why ? why : "out of memory");
}

/* QEMU's own words: the first line names the cause, the second often the file. */
static char *describe_exit(const Vm *vm, int status)
{
        const char *first = vm_last_error(vm, "it gave no reason");
        const char *second = vm->n_errors > 1 ? vm->errors[1] : NULL;
        bool disk = strstr(first, "lock") || strstr(first, "Could not open") || strstr(first, "Image is not in");

        return strformat("%sQEMU ended with status %d: %s%s%s", disk ? "Device.Tap2.Mount_failure: " : "", status, first,
                         second ? " " : "", strempty(second));
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
        drain_errors(vm);
        if (vm->journal && !vm->ending && journal_drain(vm->journal) > 0)
                return 0; /* the handler of an event has freed us */
        vm->gone = true;
        vm->status = VM_STATUS_ENDED;
        vm->pidfd = safe_close(vm->pidfd);
        vm->journal = journal_free(vm->journal);
        close_qmp(vm);
        qemu_save_release(vm);
        qemu_helpers_kill(vm);
        remove_files(vm);
        if (info.si_code == CLD_EXITED)
                why = describe_exit(vm, info.si_status);
        else if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
                why = strformat("QEMU was killed by signal %d", info.si_status);
        else
                why = strdup("QEMU is gone");
        if (vm->kill.done)
                operation_done(&vm->kill, 0, NULL);
        else if (vm->create.done)
                qemu_create_failed(vm, why ? why : "QEMU is gone");
        else if (!ended_before || !vm->ending)
                vm->spec.events->gone(vm->spec.userdata, why ? why : "QEMU is gone");
        return 0;
}

static int watch_process(Vm *vm)
{
        int r;

        r = sd_event_add_io(vm->spec.event, &vm->exit_source, vm->pidfd, EPOLLIN, on_exit_process, vm);
        return r < 0 ? r : sd_event_source_set_priority(vm->exit_source, SD_EVENT_PRIORITY_NORMAL);
}

static int on_deadline_create(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        qemu_create_failed(userdata, "QEMU did not become ready in time");
        return 0;
}

/* Events */

static void guest_ended(Vm *vm, VmEnd end)
{
        if (vm->ending)
                return; /* the consequence of our own killing */
        vm->status = VM_STATUS_ENDED;
        vm->spec.events->ended(vm->spec.userdata, end);
}

static void set_power_state(Vm *vm, int state)
{
        vm->acpi_state = state;
        vm->spec.events->power_state(vm->spec.userdata, state);
}

static void on_shutdown(Vm *vm, json_object *data)
{
        const char *reason = data ? json_get_text(data, "reason", "") : "";

        if (startswith(reason, "host-qmp") || streq(reason, "host-signal"))
                return; /* how it was killed; the exit of the process tells the rest */
        if (streq(reason, "guest-reset"))
                guest_ended(vm, VM_END_REBOOT);
        else if (streq(reason, "guest-panic") || streq(reason, "host-error"))
                guest_ended(vm, VM_END_CRASH);
        else {
                if (vm->suspend_disk)
                        set_power_state(vm, 4);
                guest_ended(vm, VM_END_POWEROFF);
        }
}

static void on_event(void *userdata, const char *untrusted_name, json_object *untrusted_data)
{
        Vm *vm = userdata;
        const char *name = untrusted_name;

        if (streq(name, "SHUTDOWN"))
                on_shutdown(vm, untrusted_data);
        else if (streq(name, "GUEST_PANICKED"))
                guest_ended(vm, VM_END_CRASH);
        else if (streq(name, "WATCHDOG"))
                guest_ended(vm, VM_END_WATCHDOG);
        else if (streq(name, "RESUME")) {
                vm->status = VM_STATUS_RUNNING;
                vm->spec.events->phase(vm->spec.userdata, TIMELINE_RUNNING);
        } else if (streq(name, "STOP")) {
                if (vm->status == VM_STATUS_RUNNING)
                        vm->status = VM_STATUS_PAUSED;
        } else if (streq(name, "SUSPEND"))
                set_power_state(vm, 3);
        else if (streq(name, "WAKEUP"))
                set_power_state(vm, 0);
        else if (streq(name, "SUSPEND_DISK"))
                vm->suspend_disk = true;
        else if (streq(name, "RTC_CHANGE") && untrusted_data)
                vm->spec.events->clock_changed(vm->spec.userdata,
                                               vm->clock_base + json_get_int(untrusted_data, "offset", 0));
        else if (streq(name, "BLOCK_IO_ERROR") && untrusted_data) {
                char device[80];

                log_untrusted(device, sizeof device, json_get_text(untrusted_data, "device", ""));
                log_warning("Disk error on %s: %s", device, json_get_text(untrusted_data, "action", ""));
                if (streq(json_get_text(untrusted_data, "action", ""), "stop")) {
                        vm->status = VM_STATUS_PAUSED;
                        vm->spec.events->stopped(vm->spec.userdata, device);
                }
        } else
                qemu_hotplug_on_event(vm, name, untrusted_data);
}

static const JournalHandlers journal_handlers = { .event = on_event };

static void on_qmp_closed(void *userdata, const char *why)
{
        Vm *vm = userdata;

        close_qmp(vm);
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
                (void) pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
}

static const QmpHandlers qmp_handlers = { .closed = on_qmp_closed };

static int connect_qmp(Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "qmp.sock");
        int fd;

        if (!path)
                return -ENOMEM;
        fd = unix_connect(path);
        return fd < 0 ? fd : qmp_new(vm->spec.event, fd, &qmp_handlers, vm, &vm->qmp);
}

static VmStatus status_of_word(const char *word)
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
        };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(word, words[i].word))
                        return words[i].status;
        return VM_STATUS_OTHER;
}

static Vm *vm_new(const VmSpec *spec, VmDone done, void *userdata)
{
        Vm *vm = calloc(1, sizeof *vm);

        if (!vm)
                return NULL;
        vm->spec = *spec;
        vm->pidfd = vm->error_fd = vm->saving.fd = -EBADF;
        vm->status = VM_STATUS_OTHER;
        vm->create = (Operation) { done, userdata };
        vm->journal_prefix = path_join(spec->dir, "events");
        if (!vm->journal_prefix)
                return qemu_free(vm);
        if (spec->config->time_offset)
                (void) parse_i64(spec->config->time_offset, &vm->clock_base);
        return vm;
}

/* Making one: accelerator, spawn, greeting, status */

void qemu_created(Vm *vm)
{
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_DEVICES);
        operation_done(&vm->create, 0, NULL);
}

static void on_created_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        const char *word = r >= 0 && json_object_is_type(value, json_type_object) ? json_get_text(value, "status", "") : "";

        if (r == -ECONNRESET)
                return; /* the end of the process tells why */
        if (r < 0)
                return qemu_create_failed(vm, text);
        vm->status = status_of_word(word);
        if (vm->spec.restore_fd >= 0 && streq(word, "inmigrate")) {
                r = qemu_restore_begin(vm);
                if (r < 0)
                        qemu_create_failed(vm, "the saved state cannot be handed to QEMU");
                return;
        }
        if (vm->status != VM_STATUS_CREATED)
                return qemu_create_failed(vm, "QEMU is not in the state in which it should have begun");
        qemu_created(vm);
}

static void on_balloon_at_start(_unused_ void *userdata, int r, _unused_ json_object *value, const char *text)
{
        if (r < 0)
                log_warning("The balloon could not be set: %s", text);
}

static void on_greeting(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        const VmConfig *c = vm->spec.config;

        if (r == -ECONNRESET)
                return; /* on_qmp_closed() waits for the reason */
        if (r < 0)
                return qemu_create_failed(vm, text);
        vm->greeted = true;
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_QMP_READY);
        if (c->memory_max_kib != XENVM_UNSET && c->memory_max_kib > c->memory_kib && vm->spec.restore_fd < 0) {
                json_object *args = json_object_new_object();

                if (args)
                        json_object_object_add(args, "value", json_object_new_int64(c->memory_kib * 1024));
                (void) vm_request(vm, "balloon", args, on_balloon_at_start, vm);
        }
        r = vm_request(vm, "query-status", NULL, on_created_status, vm);
        if (r < 0)
                qemu_create_failed(vm, "QEMU cannot be asked for its state");
}

/*
 * rpc-proxy runs as a user of its own and is let in by group: where we are root, or xenmgr's user, which
 * belongs to that group. In the stack of an ordinary user all are the same user.
 */
static int listen_socket(const Vm *vm, const char *name, const char *group)
{
        const struct group *g = group ? getgrnam(group) : NULL;
        _cleanup_free_ char *path = path_join(vm->spec.dir, name);
        _cleanup_close_ int fd = -EBADF;

        if (!path)
                return -ENOMEM;
        fd = unix_listen(path, 0600);
        if (fd < 0)
                return fd;
        if (g && (geteuid() == 0 || group_member(g->gr_gid)) && (chown(path, (uid_t) -1, g->gr_gid) < 0 ||
                                                                  chmod(path, 0660) < 0))
                return -errno;
        return TAKE_FD(fd);
}

/*
 * The config's own program, or NULL: ours. The file is the host's alone (xenmgr writes it); paths of OpenXT's
 * device models, which do not exist here, must not keep a VM from starting.
 */
static const char *device_model(const VmConfig *c)
{
        const char *path = c->qemu_dm_path;

        if (!path[0])
                return NULL;
        if (path[0] == '/' && access(path, X_OK) == 0)
                return path;
        log_warning("qemu-dm-path = %s: there is no such program; QEMU is used", path);
        return NULL;
}

static int spawn_qemu(Vm *vm, char **ret_why)
{
        _cleanup_strv_ char **args = NULL;
        _cleanup_close_ int qmp_fd = -EBADF, rpc_fd = -EBADF;
        int fds[2 + ELEMENTSOF(vm->host.fds)];
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        QemuEnv env = { .accel = vm->accel, .uuid = vm->spec.uuid, .dir = vm->spec.dir, .qmp_fd = CHILD_QMP_FD,
                        .rpc_fd = CHILD_RPC_FD, .incoming = vm->spec.restore_fd >= 0, .now = time(NULL),
                        .links = vm->host.links, .tpm_socket = vm->host.tpm_socket, .firmware_code = vm->host.firmware_code,
                        .firmware_vars = vm->host.firmware_vars };
        StrBuf line = STRBUF_INIT;
        int r;

        r = qemu_args(vm->spec.config, &env, &args, &vm->warnings, ret_why);
        if (r < 0)
                return r;
        for (char **w = vm->warnings; w && *w; w++)
                log_warning("%s", *w);
        r = qemu_check_shape(vm, args, ret_why);
        if (r < 0)
                return r;
        qmp_fd = listen_socket(vm, "qmp.sock", NULL);
        rpc_fd = listen_socket(vm, "rpc.sock", "oxt-proxy");
        if (qmp_fd < 0 || rpc_fd < 0)
                return qmp_fd < 0 ? qmp_fd : rpc_fd;
        r = journal_create(vm->spec.event, vm->journal_prefix, &journal_handlers, vm, &vm->journal);
        if (r >= 0)
                r = open_error_fifo(vm, true);
        if (r < 0)
                return r;
        fds[0] = qmp_fd;
        fds[1] = rpc_fd;
        memcpy(fds + 2, vm->host.fds, vm->host.n_fds * sizeof *fds);
        options.fds = fds;
        options.n_fds = 2 + vm->host.n_fds;
        options.stdout_fd = options.stderr_fd = vm->error_fd;
        options.new_session = true;
        for (char **a = args; *a; a++)
                strbuf_addf(&line, " %s", *a);
        log_info("Starting QEMU:%s", strempty(line.data));
        strbuf_done(&line);
        options.path = device_model(vm->spec.config);
        r = spawn(options.path ? SPAWN_HOOK : SPAWN_QEMU, args, &options, &vm->process.pid, &vm->pidfd);
        if (r < 0)
                return r;
        host_side_done(&vm->host); /* QEMU has its copies */
        (void) process_start_time(vm->process.pid, &vm->process.start);
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_SPAWNED);
        r = watch_process(vm);
        if (r >= 0)
                r = connect_qmp(vm);
        if (r >= 0)
                r = sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC,
                                               (uint64_t) MAX2(vm->spec.config->qemu_dm_timeout, 1) * USEC_PER_SEC, 0,
                                               on_deadline_create, vm);
        if (r >= 0)
                r = qmp_greet(vm->qmp, (uint64_t) MAX2(vm->spec.config->qemu_dm_timeout, 1) * USEC_PER_SEC, on_greeting, vm);
        return r;
}

/* Directly out of create(), whose caller then is told, or later, from the event loop. */
static void on_host_side(Vm *vm, int r, const char *text)
{
        _cleanup_free_ char *why = NULL;

        if (r >= 0)
                r = spawn_qemu(vm, &why);
        else
                why = strdup(text);
        if (r >= 0)
                return;
        if (vm->pidfd >= 0)
                (void) pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
        if (vm->host.why) {
                *vm->host.why = why ? TAKE_PTR(why) : strdup(strerror(-r));
                vm->host.failed = r;
        } else
                qemu_create_failed(vm, why ? why : strerror(-r));
}

static const char *choose_accel(const Vm *vm, const char **ret_forced)
{
        const char *a = vm->spec.config->accel;

        if (streq(a, "auto"))
                a = setting_text(SETTING_ACCEL);
        *ret_forced = streq(a, "auto") ? NULL : a;
        return a;
}

static int qemu_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why)
{
        _cleanup_(qemu_freep) Vm *vm = vm_new(spec, done, userdata);
        _cleanup_free_ char *why = NULL;
        const char *forced;
        int r;

        if (!vm)
                return -ENOMEM;
        (void) choose_accel(vm, &forced);
        if (!forced) {
                r = accel_find_out(spec->paths, &why);
                log_debug("KVM: %s", r < 0 ? strerror(-r) : strempty(why));
                forced = r > 0 ? "kvm" : "tcg";
        }
        vm->accel = streq(forced, "kvm") ? "kvm" : "tcg";
        vm->machine = qemu_machine(spec->config, vm->accel);
        *ret = vm; /* events of this call ask for it already */
        vm->host.why = ret_why;
        r = qemu_host_side(vm, CHILD_FIRST_FREE_FD, on_host_side);
        if (r >= 0)
                r = vm->host.failed;
        vm->host.why = NULL;
        if (r < 0) {
                qemu_helpers_kill(vm);
                remove_files(vm);
                *ret = NULL;
                return r;
        }
        TAKE_PTR(vm);
        return 0;
}

/* Taking on one that runs */

/* One that cannot be controlled must not live on. */
static void adoption_failed(Vm *vm, int r, const char *text)
{
        if (vm->pidfd >= 0)
                (void) pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
        qemu_helpers_kill(vm);
        remove_files(vm);
        operation_done(&vm->create, r, text);
}

static void on_adopted_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r < 0) {
                adoption_failed(vm, r, text);
                return;
        }
        vm->status = status_of_word(json_object_is_type(value, json_type_object) ? json_get_text(value, "status", "") : "");
        operation_done(&vm->create, 0, NULL);
}

static void on_adopted_greeting(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        vm->greeted = r >= 0;
        if (vm->greeted && vm->ending) /* the journal has led to a kill() meanwhile */
                (void) vm_request(vm, "quit", NULL, NULL, NULL);
        /* What the journal holds comes first: it explains the status. */
        if (r >= 0 && vm->journal && journal_drain(vm->journal) > 0)
                return;
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
                vm->n_helpers++;
        }
        return 0;
}

static int qemu_adopt(const VmSpec *spec, const MonitorRecord *record, VmDone done, void *userdata, Vm **ret)
{
        _cleanup_(qemu_freep) Vm *vm = vm_new(spec, done, userdata);
        int r;

        if (!vm)
                return -ENOMEM;
        vm->acpi_state = (int) record->acpi_state;
        vm->process = record->vm;
        (void) adopt_details(vm, record->details);
        vm->pidfd = record->vm.pid > 0 ? process_open(record->vm.pid, record->vm.start) : -ESRCH;
        if (vm->pidfd < 0 || poll(&(struct pollfd) { .fd = vm->pidfd, .events = POLLIN }, 1, 0) > 0) {
                qemu_helpers_kill(vm);
                remove_files(vm);
                return -ESRCH;
        }
        r = open_error_fifo(vm, false);
        if (r < 0)
                log_warning("QEMU's messages cannot be read: %s", strerror(-r));
        r = journal_open(spec->event, vm->journal_prefix, &journal_handlers, vm, &vm->journal);
        if (r >= 0)
                r = watch_process(vm);
        if (r >= 0)
                r = connect_qmp(vm);
        if (r >= 0)
                r = qmp_greet(vm->qmp, QMP_TIMEOUT, on_adopted_greeting, vm);
        if (r < 0) {
                /* One that cannot be controlled must not live on beside its successor. */
                (void) pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
                qemu_helpers_kill(vm);
                remove_files(vm);
                return r;
        }
        *ret = TAKE_PTR(vm);
        return 0;
}

static int on_deadline_kill(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        operation_done(&vm->kill, -ETIMEDOUT, "the QEMU process does not end");
        return 0;
}

static int kill_now(Vm *vm)
{
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        if (pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                return -errno;
        return sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC, KILL_TIMEOUT, 0, on_deadline_kill, vm);
}

static int on_deadline_quit(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        return kill_now(userdata);
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
        if (vm->pidfd < 0) {
                vm->deadline = sd_event_source_disable_unref(vm->deadline);
                return sd_event_add_defer(vm->spec.event, &vm->deadline, on_already_gone, vm);
        }
        /* Before QEMU has greeted it takes no commands; then on_adopted_greeting() says it. */
        if (gently && vm->qmp && (!vm->greeted || vm_request(vm, "quit", NULL, NULL, NULL) >= 0)) {
                vm->deadline = sd_event_source_disable_unref(vm->deadline);
                r = sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC, QUIT_TIMEOUT, 0,
                                               on_deadline_quit, vm);
        } else
                r = kill_now(vm);
        if (r < 0)
                vm->kill = (Operation) { 0 };
        return r;
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
        json_object *list = json_object_new_array();

        for (unsigned i = 0; o && list && i < vm->n_helpers; i++) {
                json_object *h = json_object_new_object();

                json_object_object_add(h, "name", json_object_new_string(strempty(vm->helpers[i].name)));
                json_object_object_add(h, "pid", json_object_new_int64(vm->helpers[i].process.pid));
                json_object_object_add(h, "start", json_object_new_int64((int64_t) vm->helpers[i].process.start));
                json_object_array_add(list, h);
        }
        if (o) {
                json_object_object_add(o, "helpers", list);
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

static int qemu_describe(const VmSpec *spec, char **ret, char **ret_why)
{
        _cleanup_strv_ char **args = NULL, **warnings = NULL;
        _cleanup_free_ QemuLink *links = NULL;
        const VmConfig *c = spec->config;
        const char *accel = streq(c->accel, "auto") ? setting_text(SETTING_ACCEL) : c->accel;
        QemuEnv env = { .uuid = spec->uuid, .dir = spec->dir, .qmp_fd = CHILD_QMP_FD, .rpc_fd = CHILD_RPC_FD,
                        .now = time(NULL), .tpm_socket = "tpm.sock" };
        StrBuf b = STRBUF_INIT;
        int r;

        env.accel = streq(accel, "auto") ? (accel_known(spec->paths, NULL) > 0 ? "kvm" : "tcg") : accel;
        links = calloc(c->nic.n + 1, sizeof *links);
        if (!links)
                return -ENOMEM;
        for (size_t i = 0; i < c->nic.n; i++)
                links[i].kind = streq(c->nic.items[i].bridge, "user") ? QEMU_LINK_USER : QEMU_LINK_NONE;
        env.links = links;
        r = qemu_args(c, &env, &args, &warnings, ret_why);
        if (r < 0)
                return r;
        for (char **w = warnings; w && *w; w++)
                strbuf_addf(&b, "# %s\n", *w);
        strbuf_add(&b, spawn_program_path(SPAWN_QEMU) ? spawn_program_path(SPAWN_QEMU) : "qemu-system-x86_64");
        for (char **a = args; *a; a++)
                strbuf_addf(&b, "%s%s", (*a)[0] == '-' ? " \\\n        " : " ", *a);
        strbuf_addc(&b, '\n');
        return strbuf_take(&b, ret);
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
        .shape = qemu_shape,
        .attach = qemu_attach,
        .detach = qemu_detach,
        .set_medium = qemu_set_medium,
        .set_link = qemu_set_link,
        .set_memory = qemu_set_memory,
        .vnc_port = qemu_vnc_port,
};
