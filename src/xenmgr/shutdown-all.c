/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shutdown-all.h"

#include <signal.h>

#include "lifecycle.h"
#include "log.h"

static void next_stage(Manager *m);

static void on_down(const char *error, void *userdata)
{
        Manager *m = userdata;

        if (error)
                log_warning("A VM did not shut down: %s", error);
        if (--m->shutting_down == 1)
                next_stage(m);
}

/* What is left of the highest priority. Each VM is asked once: one that fails does not hold up the rest. */
static void next_stage(Manager *m)
{
        int64_t highest = INT64_MIN;

        for (size_t i = 0; i < m->n_vms; i++)
                if (vm_may_run(m->vms[i]) && !m->vms[i]->asked_down)
                        highest = MAX2(highest, vm_int(m->vms[i], "shutdown-priority", 0));
        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];

                if (!vm_may_run(vm) || vm->asked_down || vm_int(vm, "shutdown-priority", 0) != highest)
                        continue;
                vm->asked_down = true;
                m->shutting_down++;
                if (lifecycle_request(vm, JOB_SHUTDOWN, 0, NULL, NULL, on_down, m) < 0)
                        m->shutting_down--;
        }
        if (m->shutting_down == 1) {
                log_notice("All VMs are shut down; the manager ends");
                (void) sd_event_exit(m->event, 0);
        }
}

static int on_signal(_unused_ sd_event_source *s, _unused_ const struct signalfd_siginfo *si, void *userdata)
{
        Manager *m = userdata;

        if (m->shutting_down || !m->serving)
                return 0;
        log_notice("All VMs are shut down, since SIGUSR2 came");
        m->shutting_down = 1; /* and one for each VM that is asked */
        for (size_t i = 0; i < m->n_vms; i++)
                (void) lifecycle_cancel(m->vms[i]);
        next_stage(m);
        return 0;
}

bool shutdown_all_running(const Manager *m)
{
        return m->shutting_down > 0;
}

int shutdown_all_init(Manager *m)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        return sd_event_add_signal(m->event, NULL, SIGUSR2, on_signal, m);
}
