/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The umbrella command: one row for each command or group of commands. */
#include "oxt.h"

#include <unistd.h>

#include "log.h"
#include "oxt-convert.h"
#include "oxt-vm.h"
#include "strbuf.h"
#include "version.h"

static int oxt_version(_unused_ int argc, _unused_ char *argv[], _unused_ void *userdata)
{
        printf("oxt %s\n", OXT_VERSION);
        return 0;
}

static void print_export(const char *name, const char *value)
{
        printf("export %s='", name);
        for (; *value; value++)
                if (*value == '\'')
                        fputs("'\\''", stdout);
                else
                        putchar(*value);
        puts("'");
}

/* Whether the shell would find our programs already. */
static bool in_search_path(const char *dir)
{
        _cleanup_strv_ char **l = NULL;

        return strv_split(strempty(getenv("PATH")), ':', &l) < 0 || strv_contains(l, dir);
}

static int oxt_env(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt env", .synopsis = "[OPTIONS]", .flags = PROGRAM_PERMUTE,
                                         .summary = "Prints shell lines that make tools talk to a stack: eval \"$(oxt env)\"" };
        _cleanup_free_ char *address = NULL;
        int status;
        Stack s;

        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        address = stack_bus_address(&s);
        if (!address) {
                stack_done(&s);
                return log_oom() < 0;
        }
        print_export("DBUS_SYSTEM_BUS_ADDRESS", address);
        print_export("OXT_STATE_DIR", paths_get(&s.paths, PATH_STATE));
        print_export("OXT_RUNTIME_DIR", paths_get(&s.paths, PATH_RUNTIME));
        print_export("OXT_BUS", s.private_bus ? "private" : "system");
        if (!in_search_path(programs_dir())) {
                _cleanup_free_ char *path = strformat("%s:%s", programs_dir(), strempty(getenv("PATH")));

                if (path)
                        print_export("PATH", path);
        }
        stack_done(&s);
        return fflush(stdout) == 0 ? 0 : 1;
}

/* A command parses its own options, and those of the stack; a group its own commands. */
static const Verb verbs[] = {
        { "up", "", 0, -1, oxt_up, "Start the stack, or adopt what runs of it" },
        { "down", "", 0, -1, oxt_down, "Shut the VMs down and end the stack" },
        { "status", "", 0, -1, oxt_status, "Show daemons, VMs, channels and denied calls" },
        { "db", "COMMAND ...", 0, -1, oxt_db, "Check, back up, import and inspect the configuration database" },
        { "policy", "COMMAND ...", 0, -1, oxt_policy, "Explain and check the rules between VMs and the host" },
        { "env", "", 0, -1, oxt_env, "Print shell lines that make tools talk to the stack" },
        { "logs", "", 0, -1, oxt_logs, "Show what the daemons have logged" },
        { "config", "", 0, -1, oxt_config, "Show and change settings" },
        { "doctor", "", 0, -1, oxt_doctor, "Show what this host can do, and what to do about the rest" },
        { "enable", "", 0, -1, oxt_enable, "Start the stack when the host starts" },
        { "vm", "COMMAND ...", 0, -1, oxt_vm, "Make, show, change and run VMs" },
        { "top", "", 0, -1, oxt_top, "Show live what VMs use: processor, memory, disks, network" },
        { "convert", "INPUT [OUTPUT]", 0, -1, oxt_convert, "Convert VM configurations between xenvm and xl" },
        { "version", "", 0, 0, oxt_version, "Show the version" },
        { 0 }
};

int main(int argc, char *argv[])
{
        static const Program program = {
                .name = "oxt", .synopsis = "[OPTIONS] COMMAND ...", .verbs = verbs, .more_options = stack_options,
                .summary = "Manages a stack of oxt: its daemons, settings and VMs.",
                .footer = "Each command explains itself with --help.",
        };
        int first, status;

        log_init("oxt", LOG_INFO);
        first = options_parse(&program, argc, argv, 2, &status);
        return first < 0 ? status : verbs_run(&program, argc, argv, first, 2, NULL);
}
