/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt enable: start at boot, which is systemd's business. */
#include <unistd.h>

#include "log.h"
#include "oxt.h"

static bool arg_off, arg_now;

int oxt_enable(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "off", 0, NULL, OPTION_FLAG, &arg_off, "No longer start it when the host starts", NULL },
                { "now", 0, NULL, OPTION_FLAG, &arg_now, "Start it (with --off: end it) at once too", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt enable", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Has systemd start the stack with its default directories when the host starts." };
        char *command[8] = { (char *) "systemctl" };
        size_t n = 1;
        int status;
        Stack s;

        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        if (access("/run/systemd/system", F_OK) < 0) {
                log_error("systemd does not run this host, so that nothing could start the stack at boot. "
                          "Have what does run it call: oxt up --foreground");
                stack_done(&s);
                return 1;
        }
        if (!s.root)
                command[n++] = (char *) "--user";
        command[n++] = (char *) (arg_off ? "disable" : "enable");
        if (arg_now)
                command[n++] = (char *) "--now";
        /* One unit that is `oxt up`, or one for each daemon on the system bus. */
        command[n++] = (char *) (s.private_bus ? "oxt.service" : "oxt.target");
        if (!s.root && !arg_off)
                printf("To have it run while you are not logged in: loginctl enable-linger\n");
        fflush(stdout);
        stack_done(&s);
        (void) execv("/usr/bin/systemctl", command);
        log_errno(errno, "Cannot run systemctl");
        return 1;
}
