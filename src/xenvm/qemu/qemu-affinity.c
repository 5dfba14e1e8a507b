/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Host CPUs for virtual ones: QEMU names the thread of each, and this process says where it may run. */
#include <unistd.h>

#include "log.h"
#include "qemu-vm.h"

/* The word of QEMU alone must not choose whose threads are moved. */
static bool thread_of(pid_t process, int64_t untrusted_thread)
{
        char path[64];

        snprintf(path, sizeof path, "/proc/%d/task/%lld", (int) process, (long long) untrusted_thread);
        return untrusted_thread > 0 && untrusted_thread <= INT32_MAX && access(path, F_OK) == 0;
}

static void bind_thread(Vm *vm, const VmAffinity *a, json_object *untrusted_cpus)
{
        int r;

        for (size_t i = 0; i < json_object_array_length(untrusted_cpus); i++) {
                json_object *cpu = json_object_array_get_idx(untrusted_cpus, i);
                int64_t thread;

                if (!json_object_is_type(cpu, json_type_object) || json_get_int(cpu, "cpu-index", -1) != a->vcpu)
                        continue;
                thread = json_get_int(cpu, "thread-id", -1);
                if (!thread_of(vm->process.pid, thread))
                        log_warning("cpus-affinity: what QEMU names as the thread of CPU %lld is none of its threads",
                                    (long long) a->vcpu);
                else if ((r = qemu_bind_thread(vm, (pid_t) thread, a->cpus)) < 0)
                        log_warning("cpus-affinity: CPU %lld runs where the host lets it: %s", (long long) a->vcpu,
                                    r == -EINVAL ? "the host has none of the CPUs named" : strerror(-r));
                return;
        }
        log_warning("cpus-affinity: the VM has no CPU %lld", (long long) a->vcpu);
}

static void on_cpus(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        const VmAffinities *list = &vm->spec.config->cpus_affinity;

        if (r < 0 || !json_object_is_type(value, json_type_array)) {
                log_warning("cpus-affinity has no effect: %s", r < 0 ? text : "QEMU's answer is malformed");
                return;
        }
        for (size_t i = 0; i < list->n; i++)
                bind_thread(vm, &list->items[i], value);
}

void qemu_bind_cpus(Vm *vm)
{
        if (vm->spec.config->cpus_affinity.n == 0)
                return;
        if (vm_request(vm, "query-cpus-fast", NULL, on_cpus, vm) < 0)
                log_warning("cpus-affinity has no effect: QEMU cannot be asked");
}
