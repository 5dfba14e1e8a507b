/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "monitor.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "spawn.h"
#include "strbuf.h"
#include "xen-control.h"

#define EXIT_ALREADY_SERVED 1 /* of xenvm */

#define STARTING_MAX 32 /* also of those whose callers have gone */

static unsigned n_starting;

struct MonitorStart {
        char uuid[37];
        int pidfd, errors;
        sd_event_source *exit;
        MonitorStartDone done; /* NULL: nobody waits */
        void *userdata;
};

static MonitorStart *start_free(MonitorStart *s)
{
        if (!s)
                return NULL;
        n_starting--;
        sd_event_source_disable_unref(s->exit);
        safe_close(s->pidfd);
        safe_close(s->errors);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(MonitorStart *, start_free)

void monitor_start_forget(MonitorStart *s)
{
        if (s)
                s->done = NULL;
}

/* The process that we started ends once the monitor is in the background (status 0) or could not start. */
static int on_exit_of_child(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        _cleanup_(start_freep) MonitorStart *s = NULL;
        _cleanup_free_ char *text = NULL;
        siginfo_t si = { 0 };
        char errors[512]; /* an answer has a bound too */
        ssize_t n;
        bool good;

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return 0;
        s = userdata;
        n = read(s->errors, errors, sizeof errors - 1);
        errors[MAX2(n, (ssize_t) 0)] = '\0';
        good = si.si_code == CLD_EXITED && si.si_status == 0;
        if (!good)
                text = strformat("%s (status %d)", *strstrip(errors) ? strstrip(errors) : "the monitor did not start", si.si_status);
        log_info("The monitor of %s %s", s->uuid, good ? "is up" : strempty(text));
        if (s->done)
                s->done(s->userdata, good ? NULL : text ? text : "out of memory",
                        si.si_code == CLD_EXITED && si.si_status == EXIT_ALREADY_SERVED);
        return 0;
}

int monitor_start(sd_event *event, const Paths *p, const char *user, const char *uuid, MonitorStartDone done, void *userdata,
                  MonitorStart **ret)
{
        _cleanup_(start_freep) MonitorStart *s = NULL;
        _cleanup_free_ char *config = paths_format(p, PATH_VM, "%s/xenvm.conf", uuid);
        _cleanup_close_ int out = -EBADF;
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        int fds[2], r;

        if (!xen_control_access(F_OK))
                return -EOPNOTSUPP;
        if (n_starting >= STARTING_MAX)
                return -EBUSY;
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        *s = (MonitorStart) { .pidfd = -EBADF, .errors = -EBADF, .done = done, .userdata = userdata };
        n_starting++;
        snprintf(s->uuid, sizeof s->uuid, "%s", uuid);
        if (!config)
                return -ENOMEM;
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        s->errors = fds[0];
        out = fds[1];
        {
                char *const args[] = {
                        (char *) "--user", (char *) user, (char *) "--config", config,
                        (char *) "--state-dir", (char *) paths_get(p, PATH_STATE),
                        (char *) "--runtime-dir", (char *) paths_get(p, PATH_RUNTIME),
                        p->system ? (char *) "--bus=system" : NULL, NULL,
                };

                options.stderr_fd = out;
                options.new_session = true;
                r = spawn(SPAWN_XENVM, args, &options, NULL, &s->pidfd);
        }
        if (r >= 0)
                r = sd_event_add_io(event, &s->exit, s->pidfd, EPOLLIN, on_exit_of_child, s);
        if (r < 0)
                return r;
        if (ret)
                *ret = s;
        (void) TAKE_PTR(s);
        return 0;
}

/* Its output is the caller's to read; it is only waited for here. */
static int on_exit_of_look(sd_event_source *source, int fd, _unused_ uint32_t events, _unused_ void *userdata)
{
        siginfo_t si = { 0 };

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return 0;
        n_starting--;
        sd_event_source_disable_unref(source); /* with its descriptor */
        return 0;
}

int monitor_host_info(sd_event *event)
{
        char *const args[] = { (char *) "--print-host", NULL };
        _cleanup_close_ int in = -EBADF, pidfd = -EBADF;
        sd_event_source *exit;
        int r;

        if (!xen_control_access(F_OK))
                return -EOPNOTSUPP;
        if (n_starting >= STARTING_MAX)
                return -EBUSY;
        in = spawn_read(SPAWN_XENVM, args, &pidfd);
        if (in < 0)
                return in;
        r = sd_event_add_io(event, &exit, pidfd, EPOLLIN, on_exit_of_look, NULL);
        if (r < 0)
                return r;
        (void) sd_event_source_set_io_fd_own(exit, true);
        (void) TAKE_FD(pidfd);
        n_starting++;
        return TAKE_FD(in);
}
