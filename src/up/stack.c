/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stack.h"

#include <unistd.h>

#include "log.h"
#include "strbuf.h"

static const char *arg_state_dir, *arg_runtime_dir, *arg_bus;
static bool arg_debug;

const Option stack_options[] = {
        { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept", NULL },
        { "runtime-dir", 0, "DIR", OPTION_STRING, &arg_runtime_dir, "Where sockets and runtime files are", NULL },
        { "bus", 0, "BUS", OPTION_STRING, &arg_bus, "Which bus the stack uses", "private system" },
        { "debug", 0, NULL, OPTION_FLAG, &arg_debug, "Log what is done in detail", NULL },
        { 0 }
};

/* The stack's own settings may choose the bus, and are found only once its directories are known. */
static int open_paths(Paths *ret)
{
        const char *bus;
        int r;

        r = settings_load(NULL);
        if (r < 0)
                return r;
        bus = arg_bus ? arg_bus : setting_text(SETTING_BUS);
        r = paths_init(ret, arg_state_dir, arg_runtime_dir, bus);
        if (r < 0)
                return r;
        r = settings_load(ret);
        if (r >= 0 && !arg_bus && ret->system != streq(setting_text(SETTING_BUS), "system")) {
                paths_done(ret);
                r = paths_init(ret, arg_state_dir, arg_runtime_dir, setting_text(SETTING_BUS));
        }
        return r;
}

int stack_open(Stack *ret, const Program *program, int argc, char *argv[], int *ret_exit)
{
        Program p = *program;
        Stack s = { .root = geteuid() == 0 };
        int first;

        p.more_options = stack_options;
        first = options_parse(&p, argc, argv, 2, ret_exit);
        if (first < 0)
                return first;
        if (arg_debug)
                log_set_level(LOG_DEBUG);
        *ret_exit = 1;
        if (open_paths(&s.paths) < 0)
                return -EINVAL;
        s.private_bus = !streq(arg_bus ? arg_bus : setting_text(SETTING_BUS), "system");
        *ret = s;
        return first;
}

int stack_group(const Program *program, int argc, char *argv[])
{
        Program p = *program;
        int status, first;

        p.more_options = stack_options;
        first = options_parse(&p, argc, argv, 2, &status);
        return first < 0 ? status : verbs_run(&p, argc, argv, first, 2, NULL);
}

void stack_done(Stack *s)
{
        paths_done(&s->paths);
}

char *stack_bus_address(const Stack *s)
{
        const char *e = getenv("DBUS_SYSTEM_BUS_ADDRESS");

        if (s->private_bus)
                return strformat("unix:path=%s", paths_get(&s->paths, PATH_BUS_SOCKET));
        return strdup(e && *e ? e : "unix:path=/run/dbus/system_bus_socket");
}
