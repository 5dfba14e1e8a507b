/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt vm start, shutdown, … cancel: one call for each VM. */
#include <unistd.h>

#include "daemon.h"
#include "oxt-vm.h"
#include "parse.h"
#include "strbuf.h"

typedef struct Action {
        const char *verb, *interface, *method;
        Program program;
} Action;

#define ACTION(verb, interface, method, text) \
        { verb, interface, method, { .name = "oxt vm " verb, .synopsis = "[OPTIONS] VM...", .summary = text, \
                                     .flags = PROGRAM_PERMUTE, .complete = vmcommand_complete } }

static const Action actions[] = {
        /* first, see vmcommand_start() */
        ACTION("start", XENMGR_VM, "start", "Starts VMs."),
        ACTION("shutdown", XENMGR_VM, "shutdown", "Asks the guests to shut down."),
        ACTION("reboot", XENMGR_VM, "reboot", "Asks the guests to reboot."),
        ACTION("destroy", XENMGR_VM, "destroy", "Stops VMs at once, as pulling the plug does."),
        ACTION("pause", XENMGR_VM, "pause", "Stops the virtual CPUs."),
        ACTION("unpause", XENMGR_VM, "unpause", "Lets paused VMs go on."),
        ACTION("cancel", XENMGR_OWN, "Cancel", "Calls off what is being done with VMs."),
};

typedef struct Wait {
        VmCommand *command;
        const char *vm;
        size_t waiting;
        int result;
} Wait;

static int on_progress(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *what, *step;
        const Wait *w = userdata;
        uint64_t done, total;

        if (isatty(STDERR_FILENO) && sd_bus_message_read(m, "sstt", &what, &step, &done, &total) >= 0 && total > 0)
                fprintf(stderr, "\r%s: %s, %3u %%\033[K", w->vm, step, (unsigned) (done * 100.0 / total));
        return 0;
}

static int on_over(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *unused)
{
        const sd_bus_error *error = sd_bus_message_get_error(m);
        Wait *w = userdata;
        int cancelled = 1;

        w->waiting = 0;
        if (isatty(STDERR_FILENO))
                fputs("\r\033[K", stderr);
        if (error)
                w->result = vmcommand_fail(w->command, w->vm, -EIO, error);
        else if (sd_bus_message_has_signature(m, "b") && sd_bus_message_read(m, "b", &cancelled) >= 0 && !cancelled)
                fprintf(stderr, "%s: %s: nothing is being done with it\n", w->command->name, w->vm);
        return 0;
}

/* What to do when it takes long or does not work. */
static void advise(const Action *a, const char *vm)
{
        if (streq(a->verb, "start"))
                fprintf(stderr, "This tells all that keeps it from starting: xec-vm %s '%s' start --dry-run\n",
                        uuid_valid(vm) ? "-u" : "-n", vm);
        else if (streq(a->verb, "shutdown") || streq(a->verb, "reboot"))
                fprintf(stderr, "If the guest does not take part, this stops it at once: oxt vm destroy '%s'\n", vm);
}

static int act(VmCommand *c, const char *vm, const char *path, const Action *a)
{
        _cleanup_free_ char *match = strformat("type='signal',sender='" XENMGR "',path='%s',interface='" XENMGR_OWN "',member='Progress'", path);
        sd_bus_slot *progress = NULL, *call = NULL;
        Wait w = { .command = c, .vm = vm, .waiting = 1 };
        sd_bus_message *m = NULL;
        int r = match ? sd_bus_add_match(c->bus, &progress, match, on_progress, &w) : -ENOMEM;

        if (r >= 0)
                r = sd_bus_message_new_method_call(c->bus, &m, XENMGR, path, a->interface, a->method);
        if (r >= 0)
                r = sd_bus_call_async(c->bus, &call, m, on_over, &w, VMCOMMAND_USEC);
        if (r >= 0 && isatty(STDERR_FILENO) && !streq(a->verb, "start"))
                advise(a, vm);
        if (r >= 0)
                r = bus_wait_answers(c->bus, &w.waiting);
        sd_bus_slot_unref(progress);
        sd_bus_slot_unref(call);
        sd_bus_message_unref(m);
        if (r < 0)
                vmcommand_fail(c, vm, r, NULL);
        r = r < 0 ? r : w.result;
        if (r < 0)
                advise(a, vm);
        return r;
}

int vmcommand_start(VmCommand *c, const char *vm, const char *path)
{
        return act(c, vm, path, &actions[0]);
}

int vm_act(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_vmcommand_ VmCommand c = { 0 };
        const Action *a = actions;
        int i, status, failed = 0;

        while (!streq(a->verb, argv[0]))
                a++;
        i = vmcommand_open(&c, &a->program, 1, -1, argc, argv, &status);
        if (i < 0)
                return status;
        for (; i < argc; i++) {
                _cleanup_free_ char *path = NULL, *state = NULL;

                if (vmcommand_choose(&c, argv[i], &path) < 0 || act(&c, argv[i], path, a) < 0)
                        failed++;
                else if (vmcommand_get(&c, path, XENMGR_VM, "state", &state) >= 0)
                        printf("%s: %s\n", argv[i], state);
        }
        return failed > 0;
}
