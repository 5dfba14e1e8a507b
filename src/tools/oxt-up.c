/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt up, oxt down. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemons.h"
#include "fs.h"
#include "json.h"
#include "log.h"
#include "logs.h"
#include "oxt.h"
#include "supervisor.h"
#include "sweep.h"
#include "units.h"
#include "vms.h"

#define READY_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define LOCK_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define POLL_MSEC 20

static bool arg_foreground;
static int64_t arg_timeout = 60;

static void say(const char *text)
{
        printf("  %s\n", text);
        fflush(stdout);
}

static bool shown[_DAEMON_MAX];

/* Prints each daemon once it has come to something. Returns how many are still on their way. */
static unsigned show_progress(json_object *status, bool last)
{
        json_object *list = json_get_member(status, "daemons", json_type_array);
        unsigned pending = 0;

        for (size_t i = 0; list && i < json_object_array_length(list) && i < ELEMENTSOF(shown); i++) {
                json_object *o = json_object_array_get_idx(list, i);
                const char *name = json_get_text(o, "name", "?"), *state = json_get_text(o, "state", "?");
                const char *end = json_get_text(o, "last_end", "");

                if (streq(state, "ready") && !shown[i])
                        printf("  %-12s %s (pid %d)\n", name, json_get_bool(o, "adopted", false) ? "runs, adopted" : "ready",
                               (int) json_get_int(o, "pid", 0));
                else if (streq(state, "missing") && !shown[i])
                        printf("  %-12s is not installed\n", name);
                else if (!streq(state, "ready") && !streq(state, "missing")) {
                        pending++;
                        if (last)
                                printf("  %-12s %s%s%s\n", name, state, *end ? ": " : "", end);
                        continue;
                }
                shown[i] = true;
        }
        fflush(stdout);
        return pending;
}

static int wait_until_ready(const Stack *s)
{
        uint64_t end = now_usec() + READY_TIMEOUT_USEC;
        bool late = false;
        unsigned pending;

        do {
                _cleanup_free_ char *text = NULL;
                _cleanup_json_ json_object *o = NULL;
                int r;

                r = supervisor_call(&s->paths, "status", READY_TIMEOUT_USEC, &text);
                late = now_usec() >= end;
                if (r < 0 && !late) {
                        (void) poll(NULL, 0, POLL_MSEC);
                        pending = 1;
                        continue;
                }
                if (r < 0 || json_parse(text, strlen(text), 8, &o) < 0)
                        return log_errno(r < 0 ? r : -EBADMSG, "The supervisor does not answer; see %s/supervisor.log",
                                         paths_get(&s->paths, PATH_LOGS));
                pending = show_progress(o, late);
                if (pending)
                        (void) poll(NULL, 0, POLL_MSEC);
                else if (!json_get_bool(o, "ready", false))
                        return -ENOENT;
        } while (pending && !late);
        return pending ? -ETIMEDOUT : 0;
}

/* The child lives on as the supervisor, with its own log as output. */
static int start_supervisor(const Stack *s)
{
        int log_fd = daemon_log_open(&s->paths, daemon_table[DAEMON_SUPERVISOR].name), null;
        pid_t pid;

        if (log_fd < 0)
                return log_errno(log_fd, "Cannot open the log in %s", paths_get(&s->paths, PATH_LOGS));
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        fflush(NULL);
        pid = fork();
        if (pid < 0)
                return log_errno(errno, "Cannot fork");
        if (pid == 0) {
                (void) setsid();
                (void) !chdir("/");
                (void) dup2(null, 0);
                (void) dup2(log_fd, 1);
                (void) dup2(log_fd, 2);
                log_init("supervisor", log_get_level());
                _exit(supervisor_run(s));
        }
        safe_close(log_fd);
        safe_close(null);
        return 0;
}

/* systemd starts and watches over the daemons; here it is only waited for. */
static int up_with_units(const Stack *s)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        uint64_t end = now_usec() + READY_TIMEOUT_USEC;
        int r;

        printf("Stack: the system's, by systemd's units (oxt.target)\n");
        r = stack_bus_open(s, &bus);
        if (r < 0)
                return log_errno(r, "Cannot connect to the system bus");
        r = units_start(bus);
        if (r < 0)
                return r;
        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                UnitInfo info;

                if (!daemon_wanted(s, id))
                        continue;
                while ((r = unit_info(bus, id, &info)) >= 0 && !streq(info.state, "ready") && !streq(info.state, "missing") && now_usec() < end)
                        (void) poll(NULL, 0, POLL_MSEC);
                if (r < 0)
                        return log_errno(r, "systemd does not answer");
                printf("  %-12s %s (pid %d)\n", daemon_table[id].name, info.state, (int) info.record.pid);
                if (!streq(info.state, "ready"))
                        return -ETIMEDOUT;
        }
        return 0;
}

/*
 * Takes the supervisor's lock, or gives -EAGAIN when there is one that answers. A lock whose holder does
 * not answer belongs to one that is just starting, or was killed and is not quite gone: soon it is known which.
 */
static int take_lock(const Paths *p)
{
        uint64_t end = now_usec() + LOCK_TIMEOUT_USEC;

        for (;;) {
                _cleanup_free_ char *text = NULL;
                int fd = lock_file(paths_get(p, PATH_UP_LOCK));

                if (fd != -EAGAIN || supervisor_call(p, "status", LOCK_TIMEOUT_USEC, &text) >= 0 || now_usec() >= end)
                        return fd;
                (void) poll(NULL, 0, POLL_MSEC);
        }
}

int oxt_up(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "foreground", 0, NULL, OPTION_FLAG, &arg_foreground, "Supervise in the foreground, until SIGTERM ends the stack", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt up", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Starts the stack's daemons and watches over them; adopts those that run already." };
        _cleanup_close_ int lock = -EBADF;
        uint64_t begin = now_usec();
        int status, r;
        Stack s;

        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        status = 1;
        if (!arg_foreground && units_used(&s)) {
                status = up_with_units(&s) < 0;
                if (status)
                        fprintf(stderr, "The stack is not whole; what its daemons say: journalctl -u 'oxt-*'\n");
                goto end;
        }
        if (stack_prepare(&s) < 0)
                goto end;
        lock = take_lock(&s.paths);
        if (lock < 0 && lock != -EAGAIN) {
                log_errno(lock, "Cannot lock %s", paths_get(&s.paths, PATH_UP_LOCK));
                goto end;
        }
        if (arg_foreground) {
                if (lock < 0)
                        log_error("A supervisor runs already (oxt status)");
                else
                        status = supervisor_run(&s);
                goto end;
        }
        printf("Stack: state %s, runtime %s%s\n", paths_get(&s.paths, PATH_STATE), paths_get(&s.paths, PATH_RUNTIME),
               lock < 0 ? ", supervised already" : "");
        if (lock >= 0 && start_supervisor(&s) < 0)
                goto end;
        lock = safe_close(lock);
        r = wait_until_ready(&s);
        if (r < 0)
                fprintf(stderr, "The stack is not whole; what its daemons say is in %s (oxt logs)\n", paths_get(&s.paths, PATH_LOGS));
        else {
                printf("The stack is up after %.1f s. With the same directory options, this makes tools talk to it: eval \"$(oxt env)\"\n",
                       (double) (now_usec() - begin) / USEC_PER_SEC);
                status = 0;
        }
end:
        stack_done(&s);
        return status;
}

static void print_ended(const char *what, const char *how, _unused_ void *userdata)
{
        printf("  %s %s\n", what, how);
}

static bool anything_runs(const Stack *s)
{
        for (DaemonId id = 0; id < _DAEMON_MAX; id++) {
                DaemonRecord record;
                _cleanup_close_ int fd = daemon_find(s, id, &record);

                if (fd >= 0)
                        return true;
        }
        return false;
}

/* The supervisor reaps what it has started, so it is asked first; what it leaves, or leaves when it is gone, is ended here. */
static int end_everything(const Stack *s)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        SweepReport report = { .ended = print_ended };
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ json_object *o = NULL;
        _cleanup_close_ int supervisor = -EBADF;
        DaemonRecord record;
        int r;

        if (units_used(s) && (stack_bus_open(s, &bus) < 0 || units_stop(bus) < 0))
                return -EIO;
        supervisor = daemon_record_open(&s->paths, DAEMON_SUPERVISOR, &record);
        r = supervisor_call(&s->paths, "down", 60 * USEC_PER_SEC, &text);
        if (r >= 0 && json_parse(text, strlen(text), 4, &o) >= 0 && json_get_text(o, "error", NULL)) {
                log_error("%s", json_get_text(o, "error", NULL));
                return -EPERM;
        }
        if (supervisor >= 0 && process_end(supervisor, 5 * USEC_PER_SEC) < 0)
                log_warning("The supervisor (pid %d) does not end", (int) record.pid);
        r = stack_sweep(s, &report);
        return r < 0 ? log_errno(r, "Some processes of the stack could not be ended") : 0;
}

int oxt_down(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "timeout", 0, "S", OPTION_INT, &arg_timeout, "Seconds that VMs have to shut down before they are ended", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt down", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Shuts all VMs down, then ends the stack's daemons." };
        int status, n;
        Stack s;

        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        if (arg_timeout < 0 || arg_timeout > 86400) {
                fprintf(stderr, "oxt down: --timeout takes 0 to 86400 seconds\n");
                stack_done(&s);
                return 2;
        }
        if (!units_used(&s) && !anything_runs(&s))
                printf("Nothing of this stack runs (runtime directory %s)\n", paths_get(&s.paths, PATH_RUNTIME));
        else {
                printf("Ending the stack in %s\n", paths_get(&s.paths, PATH_RUNTIME));
                fflush(stdout);
                n = vms_shutdown(&s, (uint64_t) arg_timeout * USEC_PER_SEC, say);
                if (n > 0)
                        printf("  %d VM%s did not shut down in %lld s and will be ended\n", n, n == 1 ? "" : "s", (long long) arg_timeout);
                fflush(stdout);
        }
        status = end_everything(&s) < 0;
        if (status == 0)
                printf("Nothing is left running\n");
        stack_done(&s);
        return status;
}
