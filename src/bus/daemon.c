/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "settings.h"
#include "strbuf.h"

#define RECONNECT_MIN_USEC (50 * USEC_PER_MSEC)
#define RECONNECT_MAX_USEC (1 * USEC_PER_SEC)
#define PROXY_USER "oxt-proxy"

struct DaemonState {
        sd_event_source *reconnect;
        uint64_t delay;
        bool ready;
        int ready_fd; /* the waiting parent of --daemonize */
};

static const char *arg_state_dir, *arg_runtime_dir, *arg_bus, *arg_pidfile;
static bool arg_debug, arg_daemonize;

static int take_writepid(const char *value)
{
        if (value)
                arg_pidfile = value;
        return 0;
}

static const Option daemon_options[] = {
        { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept", NULL },
        { "runtime-dir", 0, "DIR", OPTION_STRING, &arg_runtime_dir, "Where sockets and runtime files are", NULL },
        { "bus", 0, "BUS", OPTION_STRING, &arg_bus, "Which bus the stack uses", "private system" },
        { "debug", 0, NULL, OPTION_FLAG, &arg_debug, "Log what is done in detail", NULL },
        { "pidfile", 0, "FILE", OPTION_STRING, &arg_pidfile, "Write the process number to FILE", NULL },
        { "writepid", 0, "[FILE]", OPTION_CALLBACK, (void *) take_writepid, "The same, for old scripts", NULL },
        { "daemonize", 0, NULL, OPTION_FLAG, &arg_daemonize, "Go to the background once ready", NULL },
        { "no-daemonize", 0, NULL, OPTION_NO_FLAG, &arg_daemonize, "Stay in the foreground (default)", NULL },
        { 0 }
};

char *bus_address(const Paths *p)
{
        const char *e = getenv("DBUS_SYSTEM_BUS_ADDRESS");

        if (e && *e)
                return strdup(e);
        if (!p->system && (access(paths_get(p, PATH_BUS_SOCKET), F_OK) == 0 || !streq(setting_text(SETTING_BUS), "system")))
                return strformat("unix:path=%s", paths_get(p, PATH_BUS_SOCKET));
        return strdup("unix:path=/run/dbus/system_bus_socket");
}

int bus_open(const char *address, sd_bus **ret)
{
        _cleanup_free_ char *own = NULL;
        sd_bus *bus = NULL;
        int r;

        if (!address) {
                Paths p;

                r = paths_init(&p, NULL, NULL, NULL);
                if (r < 0)
                        return r;
                own = bus_address(&p);
                paths_done(&p);
                if (!own)
                        return -ENOMEM;
                address = own;
        }
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

int bus_wait_answers(sd_bus *bus, const size_t *waiting)
{
        int r = 0;

        while (r >= 0 && *waiting > 0) {
                r = sd_bus_process(bus, NULL);
                /* sd_bus_process() does not count a time-out as something that it did, but the callback was called. */
                if (r == 0 && *waiting > 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        return r < 0 ? r : 0;
}

static void bus_drop(Daemon *d)
{
        if (!d->bus)
                return;
        if (d->spec->bus_down)
                d->spec->bus_down(d, d->userdata);
        d->service = service_free(d->service);
        d->callers = callermap_free(d->callers);
        sd_bus_detach_event(d->bus);
        d->bus = sd_bus_close_unref(d->bus);
}

static int on_reconnect(sd_event_source *s, uint64_t usec, void *userdata);

static int schedule_reconnect(Daemon *d)
{
        struct DaemonState *st = d->state;
        int r;

        if (st->reconnect) {
                r = sd_event_source_set_time_relative(st->reconnect, st->delay);
                if (r >= 0)
                        r = sd_event_source_set_enabled(st->reconnect, SD_EVENT_ONESHOT);
        } else
                r = sd_event_add_time_relative(d->event, &st->reconnect, CLOCK_MONOTONIC, st->delay, 0, on_reconnect, d);
        st->delay = MIN2(st->delay * 2, RECONNECT_MAX_USEC);
        return r;
}

static int on_filter(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        Daemon *d = userdata;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected") <= 0)
                return 0;
        log_warning("The bus is gone; connecting again");
        d->state->delay = RECONNECT_MIN_USEC;
        (void) schedule_reconnect(d);
        return 0;
}

static uid_t proxy_uid(void)
{
        struct passwd *pw = getpwnam(PROXY_USER);

        /* In a stack of one user the proxy is us, and the bus cannot tell. */
        return pw && pw->pw_uid != geteuid() ? pw->pw_uid : (uid_t) -1;
}

static int bus_connect(Daemon *d)
{
        const DaemonSpec *spec = d->spec;
        _cleanup_free_ char *address = bus_address(&d->paths);
        int r;

        if (!address)
                return log_oom();
        r = bus_open(address, &d->bus);
        if (r < 0)
                return log_errno_full(d->state->ready ? LOG_DEBUG : LOG_ERR, r, "Cannot connect to the bus at %s", address);
        r = sd_bus_attach_event(d->bus, d->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_filter(d->bus, NULL, on_filter, d);
        if (r >= 0 && spec->service_has_guests)
                r = callermap_new(d->bus, proxy_uid(), &d->callers);
        if (r >= 0 && spec->service)
                r = service_new(d->bus, d->callers, spec->service, d->userdata, &d->service);
        if (r < 0)
                return log_errno_full(d->state->ready ? LOG_DEBUG : LOG_ERR, r, "Cannot set up the connection to the bus at %s",
                                      address);
        if (spec->bus_up) {
                r = spec->bus_up(d, d->userdata);
                if (r < 0)
                        return r;
        }
        if (spec->bus_name) {
                r = sd_bus_request_name(d->bus, spec->bus_name, 0);
                if (r < 0)
                        return log_errno(r, r == -EEXIST ? "The bus name %s is owned already; is another one running?"
                                                         : "Cannot own the bus name %s",
                                         spec->bus_name);
        }
        return spec->ready ? spec->ready(d, d->userdata) : 0;
}

static int on_reconnect(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Daemon *d = userdata;

        bus_drop(d);
        if (bus_connect(d) < 0) {
                bus_drop(d);
                return schedule_reconnect(d);
        }
        log_info("Connected to the bus again");
        return 0;
}

void daemon_exit(Daemon *d, int status)
{
        (void) sd_event_exit(d->event, status);
}

static int on_signal(_unused_ sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Daemon *d = userdata;
        int r = 1;

        if (si->ssi_signo == SIGHUP) {
                if (d->spec->reload)
                        (void) d->spec->reload(d, d->userdata);
                return 0;
        }
        (void) sd_notify(false, "STOPPING=1");
        if (d->spec->stop)
                r = d->spec->stop(d, d->userdata);
        if (r != 0)
                daemon_exit(d, r < 0);
        return 0;
}

/* The folder above may belong to that user already, who could have put a link there. */
static int give_dir(const char *path, const char *user)
{
        const struct passwd *pw = getpwnam(user);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (!pw)
                return -ENOENT;
        return fd < 0 || fchown(fd, pw->pw_uid, pw->pw_gid) < 0 ? -errno : 0;
}

/* user: who the daemon becomes; NULL: it stays who it is. */
static int make_dirs(const DaemonSpec *spec, const Paths *p, const char *user)
{
        int r;

        /* The two roots are shared by all daemons: open to pass through, nothing else. */
        r = mkdir_parents(paths_get(p, PATH_STATE), 0755);
        if (r < 0)
                return log_errno(r, "Cannot make the state directory %s", paths_get(p, PATH_STATE));
        r = mkdir_parents(paths_get(p, PATH_RUNTIME), 0755);
        if (r < 0)
                return log_errno(r, "Cannot make the runtime directory %s", paths_get(p, PATH_RUNTIME));
        for (size_t i = 0; i < ELEMENTSOF(spec->dirs) && spec->dirs[i].mode; i++) {
                const char *path = paths_get(p, spec->dirs[i].id);

                r = mkdir_parents(path, spec->dirs[i].mode);
                if (r >= 0 && user)
                        r = give_dir(path, spec->dirs[i].owner ? spec->dirs[i].owner : user);
                if (r < 0)
                        return log_errno(r, "Cannot make the directory %s", path);
        }
        return 0;
}

static int give_up_root(const struct passwd *pw)
{
        if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
            setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
                return log_errno(errno, "Cannot become the user %s", pw->pw_name);
        (void) setenv("HOME", "/nonexistent", true);
        return 0;
}

/* Returns in the child; the parent waits for readiness and ends with 0, or with 1 if the child died. */
static int go_to_background(Daemon *d)
{
        int fds[2];
        pid_t pid;
        char byte;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return log_errno(errno, "Cannot make a pipe");
        pid = fork();
        if (pid < 0)
                return log_errno(errno, "Cannot fork");
        if (pid > 0) {
                (void) close(fds[1]);
                _exit(read(fds[0], &byte, 1) == 1 ? 0 : 1);
        }
        (void) close(fds[0]);
        (void) setsid();
        d->state->ready_fd = fds[1];
        return 0;
}

static void write_pidfile(const char *path)
{
        char text[32];
        int n = snprintf(text, sizeof text, "%d\n", (int) getpid());
        int r = write_file_atomic(path, text, (size_t) n, 0640);

        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Cannot write %s", path);
}

static int daemon_setup(Daemon *d, char *words[])
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
        const DaemonSpec *spec = d->spec;
        struct passwd *pw = NULL;
        sigset_t set;
        int r;

        if (geteuid() == 0 && spec->user) {
                pw = getpwnam(spec->user);
                if (!pw) {
                        log_error("%s never runs as root, and its user %s does not exist. Make the users of oxt with: "
                                  "systemd-sysusers %s/sysusers.d/oxt.conf",
                                  spec->program.name, spec->user, data_dir());
                        return -ENOENT;
                }
        }
        r = settings_load(&d->paths);
        if (r < 0)
                return r;
        r = make_dirs(spec, &d->paths, pw ? spec->user : NULL);
        if (r < 0)
                return r;
        if (pw) {
                r = give_up_root(getpwnam(spec->user)); /* again: the result before was overwritten */
                if (r < 0)
                        return r;
        }
        if (arg_daemonize) {
                r = go_to_background(d);
                if (r < 0)
                        return r;
        }
        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&set, signals[i]);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        r = sd_event_default(&d->event);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(d->event, NULL, signals[i], on_signal, d);
        if (r < 0)
                return log_errno(r, "Cannot set up the event loop");
        (void) sd_event_set_watchdog(d->event, true);
        if (spec->start) {
                r = spec->start(d, d->userdata, words);
                if (r < 0)
                        return r;
        }
        if (!spec->no_bus) {
                r = bus_connect(d);
                if (r < 0)
                        return r;
        }
        if (arg_pidfile)
                write_pidfile(arg_pidfile);
        d->state->ready = true;
        d->state->delay = RECONNECT_MIN_USEC;
        (void) sd_notify(false, "READY=1");
        if (d->state->ready_fd >= 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);

                for (int fd = 0; null >= 0 && fd < 3; fd++)
                        (void) dup2(null, fd);
                safe_close(null);
                (void) !write(d->state->ready_fd, "", 1);
                d->state->ready_fd = safe_close(d->state->ready_fd);
        }
        return 0;
}

int daemon_run(const DaemonSpec *spec, void *userdata, int argc, char *argv[])
{
        struct DaemonState state = { .delay = RECONNECT_MIN_USEC, .ready_fd = -EBADF };
        Daemon d = { .spec = spec, .userdata = userdata, .state = &state };
        Program program = spec->program;
        int first, status = 1, r;

        log_init(program.name, LOG_INFO);
        program.more_options = daemon_options;
        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        if (arg_debug)
                log_set_level(LOG_DEBUG);
        r = paths_init(&d.paths, arg_state_dir, arg_runtime_dir, arg_bus);
        if (r < 0)
                return 1;
        r = daemon_setup(&d, argv + first);
        if (r >= 0) {
                r = sd_event_loop(d.event);
                status = r < 0 ? 1 : r;
        } else
                status = 1;
        if (spec->end)
                spec->end(&d, userdata);
        if (d.bus)
                (void) sd_bus_flush(d.bus);
        bus_drop(&d);
        sd_event_source_unref(state.reconnect);
        sd_event_unref(d.event);
        safe_close(state.ready_fd);
        paths_done(&d.paths);
        return status;
}
