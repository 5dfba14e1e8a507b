/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "power.h"

#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"

/*
 * With an init that knows how to end its services it is asked; without one (an initramfs, whose first
 * process is a shell) the kernel is. So each request has a program, where systemd runs, and a last resort.
 */
static const struct {
        const char *verb;   /* of systemctl */
        const char *state;  /* for /sys/power/state, or NULL */
        int command;        /* for reboot(2), if state is NULL */
} requests[_POWER_MAX] = {
        [POWER_OFF] = { "poweroff", NULL, RB_POWER_OFF },
        [POWER_REBOOT] = { "reboot", NULL, RB_AUTOBOOT },
        [POWER_SLEEP] = { "suspend", "mem", 0 },
        [POWER_HIBERNATE] = { "hibernate", "disk", 0 },
};

static Timer do_it;
static PowerRequest wanted;

static void write_state(const char *state)
{
        _cleanup_close_ int fd = open("/sys/power/state", O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, state, strlen(state)) < 0)
                log_errno(errno, "Cannot enter power state '%s'", state);
}

static void on_do_it(Timer *t _unused_)
{
        sync();
        if (requests[wanted].state)
                return write_state(requests[wanted].state);
        if (reboot(requests[wanted].command) < 0)
                log_errno(errno, "Cannot %s", requests[wanted].verb);
}

static int run_systemctl(const char *verb)
{
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                execl("/usr/bin/systemctl", "systemctl", "--no-block", verb, (char *) NULL);
                execl("/bin/systemctl", "systemctl", "--no-block", verb, (char *) NULL);
                _exit(127);
        }
        return 0;
}

int power_request(PowerRequest request)
{
        const char *state = requests[request].state;

        if (access("/run/systemd/system", F_OK) == 0)
                return run_systemctl(requests[request].verb);
        if (state && access("/sys/power/state", W_OK) < 0)
                return -EOPNOTSUPP;
        /* A little later, so that the host gets its answer before. */
        wanted = request;
        do_it.run = on_do_it;
        loop_after(&do_it, 200 * USEC_PER_MSEC);
        return 0;
}
