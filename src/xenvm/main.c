/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xenvm: the monitor of one VM. Start-up in the order of the monitor contract, then the event loop. */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "fs.h"
#include "helper-client.h"
#include "log.h"
#include "operations.h"
#include "parse.h"
#include "settings.h"
#include "strbuf.h"
#include "vmlog.h"

#define EXIT_ALREADY_SERVED 1
#define EXIT_FOREIGN_VM 2
#define EXIT_START_FAILED 2
#define EXIT_USAGE 3
#define LAST_WORDS_MAX (2 * USEC_PER_SEC)

static const char *arg_config, *arg_uuid, *arg_backend, *arg_state_dir, *arg_runtime_dir, *arg_bus, *arg_check,
        *arg_print_backend, *arg_user;
static bool arg_strict, arg_foreground, arg_dbus = true, arg_json, arg_session, arg_attach, arg_debug, arg_print_host;

static const Option options[] = {
        { "config", 0, "FILE", OPTION_STRING, &arg_config, "Config file of the VM", NULL },
        { "uuid", 0, "UUID", OPTION_STRING, &arg_uuid, "UUID of the VM; wins over the file's", NULL },
        { "strict-config", 0, NULL, OPTION_FLAG, &arg_strict, "Do not start with errors in the config", NULL },
        { "check", 0, "FILE", OPTION_STRING, &arg_check, "Only check a config file", NULL },
        { "print-backend", 0, "FILE", OPTION_STRING, &arg_print_backend, "Show what would be run for a config file", NULL },
        { "print-host", 0, NULL, OPTION_FLAG, &arg_print_host, "Show what Xen has: memory and CPUs of the host, as JSON", NULL },
        { "no-daemonize", 0, NULL, OPTION_FLAG, &arg_foreground, "Stay in the foreground, log to stderr", NULL },
        { "monitor-dbus", 0, "BOOL", OPTION_BOOL, &arg_dbus, "Serve D-Bus (default: true)", NULL },
        { "monitor-json", 0, "BOOL", OPTION_BOOL, &arg_json, "Serve the unix socket (default: only without D-Bus)", NULL },
        { "monitor-dbus-session", 0, NULL, OPTION_FLAG, &arg_session, "Use the session bus", NULL },
        { "backend", 0, "NAME", OPTION_STRING, &arg_backend, "What runs the VM", "auto qemu xen libxl" },
        { "attach", 0, NULL, OPTION_FLAG, &arg_attach, "Take on a VM that runs without a record of it", NULL },
        { "user", 0, "NAME", OPTION_STRING, &arg_user, "Act for that user, and keep root for Xen alone (only for root)", NULL },
        { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept", NULL },
        { "runtime-dir", 0, "DIR", OPTION_STRING, &arg_runtime_dir, "Where sockets and runtime files are", NULL },
        { "bus", 0, "BUS", OPTION_STRING, &arg_bus, "Which bus the stack uses", "private system" },
        { "debug", 0, NULL, OPTION_FLAG, &arg_debug, "Log what is done in detail", NULL },
        { 0 }
};

static const Program program = {
        .name = "xenvm",
        .synopsis = "[OPTIONS] [CONFIG-FILE]",
        .summary = "Monitors one virtual machine for its whole life.",
        .options = options,
        .flags = PROGRAM_PERMUTE,
};

/*
 * From here on all that is done is done as that user, so that its files and what it wrote into the config reach
 * no further than it could itself. The back end for Xen changes back where libxl needs root; for any other
 * (keep_root false) root is given up for good. Returns 0 or an exit status.
 */
static int act_for_user(const char *name, bool keep_root)
{
        const struct passwd *pw = getpwnam(name);

        if (getuid() != 0 || !pw || pw->pw_uid == 0) {
                fprintf(stderr, "xenvm: --user %s: %s\n", name, getuid() != 0 ? "only root can act for another user" : "not an ordinary user");
                return EXIT_USAGE;
        }
        if (keep_root ? initgroups(name, pw->pw_gid) < 0 || setegid(pw->pw_gid) < 0 || seteuid(pw->pw_uid) < 0
                      : setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 || setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0) {
                log_errno(errno, "Cannot become the user %s", name);
                return EXIT_USAGE;
        }
        (void) setenv("HOME", "/nonexistent", true);
        return 0;
}

/* The config, with all that is wrong in it on stderr. Returns 0 or an exit status. */
static int load_config(const char *path, bool strict, VmConfig **ret)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL;
        int r;

        if (arg_uuid && !uuid_valid(arg_uuid)) {
                fprintf(stderr, "xenvm: --uuid %s: not a UUID\n", arg_uuid);
                return EXIT_USAGE;
        }
        r = path ? vmconfig_load(path, arg_uuid, &problems, &c) : vmconfig_new(arg_uuid, &c);
        if (r < 0 && problems.n == 0)
                fprintf(stderr, "xenvm: cannot read %s: %s\n", strempty(path), strerror(-r));
        for (size_t i = 0; i < problems.n; i++) {
                _cleanup_free_ char *text = config_problem_format(&problems.items[i], path, strict);

                fprintf(stderr, "%s\n", strempty(text));
        }
        if (r < 0 || config_problems_stop(&problems, strict))
                return EXIT_USAGE;
        *ret = TAKE_PTR(c);
        return 0;
}

static const Backend *choose_backend(const VmConfig *c)
{
        const char *name = arg_backend ? arg_backend : !streq(c->backend, "auto") ? c->backend : setting_text(SETTING_BACKEND);
        const char *why = NULL;

        const Backend *b = backend_choose(name, &why);

        if (!b)
                log_error("Back end %s: %s", name, why);
        return b;
}

/* Returns 0 with what would be run, or an exit status. */
static int describe(const Paths *paths, const Backend *b, const VmConfig *c, char **ret)
{
        _cleanup_free_ char *why = NULL, *dir = NULL, *located = NULL;
        VmSpec spec = { .paths = paths, .config = c, .uuid = c->uuid };
        int r;

        dir = paths_format(paths, PATH_VM, "%s", c->uuid);
        spec.dir = dir;
        r = dir && sd_event_default(&spec.event) >= 0 ? b->describe(&spec, ret, &why) : -ENOMEM;
        sd_event_unref(spec.event);
        if (r >= 0)
                return 0;
        located = vmconfig_locate(c, why ? why : strerror(-r));
        fprintf(stderr, "xenvm: %s\n", strempty(located));
        return EXIT_USAGE;
}

static int print_backend(const Paths *paths, const VmConfig *c)
{
        _cleanup_free_ char *text = NULL;
        const Backend *b = choose_backend(c);
        int status = b ? describe(paths, b, c, &text) : EXIT_USAGE;

        if (status == 0)
                fputs(text, stdout);
        return status;
}

/* All that a start would look at before it begins, but for what the host can spare at the moment. */
static int check(const Paths *paths, const VmConfig *c)
{
        _cleanup_free_ char *text = NULL, *why = NULL, *located = NULL;
        const Backend *b;

        if (vmconfig_check_start(c, &why) >= 0)
                why = op_check_files(c);
        if (why) {
                located = vmconfig_locate(c, why);
                fprintf(stderr, "xenvm: %s\n", strempty(located));
                return EXIT_USAGE;
        }
        b = choose_backend(c);
        /* What libxl would be given only root can see. */
        return b && (b == &backend_qemu || geteuid() == 0) ? describe(paths, b, c, &text) : 0;
}

static int print_host(void)
{
        const char *why = "it cannot be asked";
        const Backend *b = backend_choose("xen", &why);
        HostFacts facts;

        if (!b || b->available(&why) < 0 || b->host(&facts) < 0) {
                fprintf(stderr, "xenvm: %s\n", why);
                return EXIT_START_FAILED;
        }
        printf("{\"total-kib\":%llu,\"free-kib\":%llu,\"cpus\":%u}\n", (unsigned long long) facts.total_kib,
               (unsigned long long) facts.free_kib, facts.cpus);
        return 0;
}

static int go_to_background(int log_fd)
{
        int null;
        pid_t pid;

        for (int i = 0; i < 2; i++) {
                pid = fork();
                if (pid < 0)
                        return log_errno(errno, "Cannot fork");
                if (pid > 0)
                        _exit(0);
                if (i == 0)
                        (void) setsid();
        }
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                return -errno;
        (void) dup2(null, 0);
        (void) dup2(null, 1);
        (void) dup2(log_fd >= 0 ? log_fd : null, 2);
        (void) unsetenv("JOURNAL_STREAM");
        log_init("xenvm", log_get_level());
        safe_close(null);
        return 0;
}

/* Returns 0 or an exit status. The lock is held from here on, also by the child. */
static int become_the_only_one(const Paths *paths, const char *uuid, int *ret_lock)
{
        _cleanup_free_ char *path = paths_format(paths, PATH_VM, "%s/lock", uuid);
        MonitorRecord record = { 0 };
        int r;

        r = path ? runtime_make_vm_dir(paths, uuid) : -ENOMEM;
        if (r >= 0)
                r = lock_file(path);
        if (r == -EAGAIN) {
                if (monitor_record_read(paths, uuid, &record) >= 0)
                        log_error("%s is served by another xenvm already, pid %d", uuid, (int) record.monitor.pid);
                else
                        log_error("%s is served by another xenvm already", uuid);
                monitor_record_done(&record);
                return EXIT_ALREADY_SERVED;
        }
        if (r < 0) {
                log_errno(r, "Cannot lock %s", strempty(path));
                return EXIT_USAGE;
        }
        *ret_lock = r;
        return 0;
}

static bool has_record(const Paths *paths, const char *uuid)
{
        MonitorRecord record = { 0 };
        int r = monitor_record_read(paths, uuid, &record);

        monitor_record_done(&record);
        return r >= 0;
}

/* One that the hypervisor knows, or a QEMU that answers at our place, though there is no record of it. */
static bool foreign_vm(const Paths *paths, const char *uuid, const Backend *b)
{
        _cleanup_free_ char *path = paths_format(paths, PATH_VM, "%s/qmp.sock", uuid);
        int fd = path ? unix_connect(path) : -ENOMEM;

        safe_close(fd);
        return fd >= 0 || fd == -EAGAIN || (b->find && b->find(uuid) >= 0);
}

/* A QEMU with a user of its own has its number in its folder from its first instruction on. */
static void record_from_pidfile(const Paths *paths, const char *uuid, MonitorRecord *r)
{
        _cleanup_free_ char *path = paths_format(paths, PATH_VM, "%s/qemu/qemu.pid", uuid), *text = NULL, *cmdline = NULL, *proc = NULL;
        int64_t pid;
        size_t size;

        if (!path || read_file(path, 64, &text, NULL) < 0 || parse_i64(strstrip(text), &pid) < 0 || pid <= 1)
                return;
        proc = strformat("/proc/%lld/cmdline", (long long) pid);
        if (proc && read_file(proc, 256 * KIB, &cmdline, &size) >= 0 && memmem(cmdline, size, uuid, strlen(uuid)) &&
            process_start_time((pid_t) pid, &r->vm.start) >= 0)
                r->vm.pid = (pid_t) pid;
}

/* The QEMU whose command line names the VM's folder. It may not have come to write its number down. */
static void record_from_processes(const Paths *paths, const char *uuid, MonitorRecord *r)
{
        _cleanup_free_ char *word = paths_format(paths, PATH_VM, "%s/qemu.pid", uuid);
        DIR *d = opendir("/proc");

        for (struct dirent *e; word && d && r->vm.pid <= 0 && (e = readdir(d)); ) {
                _cleanup_free_ char *path = strformat("/proc/%s/cmdline", e->d_name), *line = NULL;
                int64_t pid;
                size_t size;

                if (parse_i64(e->d_name, &pid) < 0 || !path || read_file(path, 256 * KIB, &line, &size) < 0 ||
                    !memmem(line, size, word, strlen(word)))
                        continue;
                if (process_start_time((pid_t) pid, &r->vm.start) >= 0)
                        r->vm.pid = (pid_t) pid;
        }
        if (d)
                closedir(d);
}

static int on_signal(_unused_ sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Monitor *m = userdata;

        if (si->ssi_signo == SIGHUP) {
                _cleanup_free_ char *why = NULL;

                if (monitor_read_config(m, NULL, &why) < 0)
                        log_error("The config stays as it was: %s", strempty(why));
                return 0;
        }
        log_info("Ending; the VM stays as it is");
        op_quit(m);
        return 0;
}

static void serve(Monitor *m)
{
        _cleanup_free_ char *address = NULL;

        if (m->serving)
                return;
        m->serving = true;
        if (arg_session)
                address = strdup(strempty(getenv("DBUS_SESSION_BUS_ADDRESS")));
        else if (arg_dbus)
                address = bus_address(&m->paths);
        if (address && *address)
                (void) monitor_bus_start(m, address);
        if ((arg_json || !address || !*address) && monitor_socket_start(m) < 0)
                monitor_quit(m, EXIT_USAGE);
}

static int on_last_words(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        monitor_quit(userdata, EXIT_START_FAILED);
        return 0;
}

static void startup_answer(Request *q, RequestResult result, const char *text)
{
        Monitor *m = TAKE_PTR(q->transport);

        if (result != REQUEST_OK) {
                notify_send(m->notify, NOTIFY_ERROR, "error:%s", text);
                m->failed_start = true;
        }
        serve(m);
        if (!m->failed_start)
                return;
        /* The bus is given a moment, so that somebody hears of it. */
        if (m->config->notify.target != VM_NOTIFY_DBUS || !m->bus ||
            sd_event_add_time_relative(m->event, NULL, CLOCK_MONOTONIC, LAST_WORDS_MAX, 0, on_last_words, m) < 0)
                monitor_quit(m, EXIT_START_FAILED);
}

static void act_on_startup(Monitor *m)
{
        const VmStartup *s = &m->config->startup;
        Request *q;

        if (s->mode == VM_STARTUP_SHUTDOWN) {
                serve(m);
                return;
        }
        q = request_new(startup_answer, m);
        if (!q) {
                monitor_quit(m, EXIT_START_FAILED);
                return;
        }
        if (s->mode == VM_STARTUP_RESTORE || s->mode == VM_STARTUP_RESTORE_DELETE)
                op_restore(m, q, s->file, false, s->mode == VM_STARTUP_RESTORE_DELETE);
        else
                op_start(m, q, s->mode == VM_STARTUP_PAUSED);
        request_unref(q);
}

/* Where systemd runs the host, no monitor lives in the group of the daemon that has started it. */
static void leave_group(const Monitor *m)
{
        char pid[24];
        const char *const parameters[] = { "uuid", m->uuid, "pid", pid, NULL };

        snprintf(pid, sizeof pid, "%d", (int) getpid());
        if (access("/run/systemd/system", F_OK) == 0)
                (void) helper_tell(&m->paths, "vm-scope", parameters, NULL, 0);
}

static int run(Monitor *m)
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
        MonitorRecord record = { 0 };
        bool begun = false;
        sigset_t set;
        int r = 0;

        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&set, signals[i]);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(m->event, NULL, signals[i], on_signal, m);
        if (r >= 0 && !arg_foreground)
                r = vmlog_watch(m->event);
        if (r < 0) {
                log_errno(r, "Cannot set up the event loop");
                return EXIT_USAGE;
        }
        leave_group(m);
        notify_send(m->notify, NOTIFY_PING, "ping");
        r = monitor_record_read(&m->paths, m->uuid, &record);
        if (r < 0 && arg_attach)
                record = (MonitorRecord) { .domid = -1, .acpi_state = 0 };
        /* Killed in the middle of a start, it may not have written down what it had made. */
        if (record.domid < 0 && m->backend->find && (arg_attach || streq_ptr(record.intent, "start")))
                record.domid = m->backend->find(m->uuid);
        if (!m->backend->find && record.vm.pid <= 0 && (arg_attach || streq_ptr(record.intent, "start"))) {
                record_from_pidfile(&m->paths, m->uuid, &record);
                record_from_processes(&m->paths, m->uuid, &record);
        }
        if (r >= 0 || arg_attach) {
                r = monitor_adopt(m, &record, serve);
                begun = r > 0 || m->op;
        }
        monitor_record_done(&record);
        monitor_save_record(m);
        if (!begun && m->state == STATE_SHUTDOWN)
                act_on_startup(m);
        else if (!begun)
                serve(m);
        r = sd_event_loop(m->event);
        if (!m->vm) {
                (void) monitor_record_remove(&m->paths, m->uuid);
                if (m->backend->publish)
                        m->backend->publish(m->uuid, m->uuid, -1, NULL);
        } else
                monitor_save_record(m);
        return r < 0 ? EXIT_START_FAILED : m->exit_status;
}

int main(int argc, char *argv[])
{
        _cleanup_(paths_done) Paths paths = { 0 }; /* the monitor borrows it */
        _cleanup_(monitor_freep) Monitor *m = NULL;
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_close_ int lock = -EBADF, log_fd = -EBADF;
        _cleanup_free_ char *absolute = NULL;
        const Backend *backend;
        const char *file;
        int first, status = 0, r;

        log_init("xenvm", LOG_INFO);
        first = options_parse(&program, argc, argv, EXIT_USAGE, &status);
        if (first < 0)
                return status;
        if (arg_print_host)
                return print_host();
        file = arg_check ? arg_check : arg_print_backend ? arg_print_backend : arg_config ? arg_config : argv[first];
        if (!file && !arg_uuid) {
                fprintf(stderr, "xenvm: a config file or --uuid is needed\n");
                return EXIT_USAGE;
        }
        if (paths_init(&paths, arg_state_dir, arg_runtime_dir, arg_bus) < 0)
                return EXIT_USAGE;
        status = arg_user ? act_for_user(arg_user, true) : 0;
        if (status != 0)
                return status;
        (void) umask(0022);
        (void) settings_load(&paths);
        if (file) {
                /* It is read again later, from wherever we then are. */
                absolute = realpath(file, NULL);
                file = absolute ? absolute : file;
        }
        status = load_config(file, arg_strict || arg_check, &c);
        if (status != 0)
                return status;
        if (arg_check)
                return check(&paths, c);
        if (arg_print_backend)
                return print_backend(&paths, c);
        if (c->uuid_generated)
                printf("uuid: %s\n", c->uuid);
        (void) fflush(stdout);
        log_fd = arg_foreground && !c->debug ? -EBADF : vmlog_open(&paths, c, arg_debug);
        status = become_the_only_one(&paths, c->uuid, &lock);
        if (status != 0)
                return status;
        backend = choose_backend(c);
        if (!backend)
                return EXIT_USAGE;
        status = arg_user && backend == &backend_qemu ? act_for_user(arg_user, false) : 0;
        if (status != 0)
                return status;
        if (!arg_attach && !has_record(&paths, c->uuid) && foreign_vm(&paths, c->uuid, backend)) {
                log_error("A VM with the uuid %s runs, and no xenvm has made it; --attach takes it on", c->uuid);
                return EXIT_FOREIGN_VM;
        }
        if (!arg_foreground) {
                r = go_to_background(log_fd);
                if (r < 0)
                        return EXIT_USAGE;
        } else if (log_fd >= 0)
                (void) dup2(log_fd, 2);
        {
                char uuid[37];

                snprintf(uuid, sizeof uuid, "%s", c->uuid);
                r = monitor_new(&paths, uuid, TAKE_PTR(c), &m);
        }
        if (r < 0) {
                log_errno(r, "Cannot begin");
                return EXIT_USAGE;
        }
        m->lock_fd = TAKE_FD(lock);
        m->strict = arg_strict;
        m->backend = backend;
        return run(m);
}
