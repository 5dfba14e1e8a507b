/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include <unistd.h>

#include "config-writer.h"
#include "fs.h"
#include "host.h"
#include "lifecycle-internal.h"
#include "log.h"
#include "parse.h"
#include "runtime.h"
#include "settings.h"
#include "strbuf.h"

#define SHORT_USEC (30 * USEC_PER_SEC)
#define TURN_USEC (120 * USEC_PER_SEC)
#define POLL_USEC (USEC_PER_SEC / 10)
#define POLLS 10
#define ROUNDS 5

/* What the VM's process holds by now: it counts as taken in MemAvailable. */
static int64_t resident_mib(Vm *vm)
{
        _cleanup_free_ char *path = NULL, *text = NULL;
        unsigned long long size, resident;

        if (vm->memory_pid == 0) {
                MonitorRecord r = { 0 };

                if (monitor_record_read(manager_paths(vm->manager), vm->uuid, &r) < 0)
                        return 0;
                vm->memory_pid = r.vm.pid;
                monitor_record_done(&r);
        }
        path = vm->memory_pid > 0 ? strformat("/proc/%d/statm", (int) vm->memory_pid) : NULL;
        if (!path || read_file(path, 256, &text, NULL) < 0 || sscanf(text, "%llu %llu", &size, &resident) != 2)
                return 0;
        return (int64_t) (resident * (unsigned long long) sysconf(_SC_PAGESIZE) / MIB);
}

/* On Xen, before that: its memory was granted, and the hypervisor does not count all of it yet. */
static bool is_built(const Vm *vm)
{
        return vm->state != VM_SHUTDOWN && vm->state != VM_REBOOTED && vm->state != VM_CREATING_DOMAIN;
}

static bool others_are_built(const Vm *vm)
{
        for (size_t i = 0; i < vm->manager->n_vms; i++)
                if (vm->manager->vms[i] != vm && vm->manager->vms[i]->memory_mib > 0 && !is_built(vm->manager->vms[i]))
                        return false;
        return true;
}

/* MiB of left that are nobody's. */
static int64_t without_promised(Manager *m, int64_t left)
{
        int64_t limit = setting_int(SETTING_VM_MEMORY), promised = 0;
        bool xen = host_is_xen();

        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];

                if (vm->memory_mib <= 0)
                        continue;
                promised += vm->memory_mib;
                if (!xen)
                        left -= MAX2(vm->memory_mib - resident_mib(vm), (int64_t) 0);
                else if (!is_built(vm))
                        left -= vm->memory_mib;
        }
        if (limit > 0)
                left = MIN2(left, limit - promised);
        return MAX2(left, (int64_t) 0);
}

int64_t memory_free_mib(Manager *m)
{
        int64_t left = host_is_xen() ? -1 : host_free_memory_mib(m);

        return left < 0 ? -1 : without_promised(m, left);
}

static int64_t overuse_mib(Vm *vm)
{
        int64_t least = vm_int(vm, "config/memory-min", 0);

        return vm->state == VM_RUNNING && vm->monitor && least > 0 ? MAX2(vm->memory_mib - least, (int64_t) 0) : 0;
}

int64_t memory_reclaimable_mib(Manager *m, const Vm *except)
{
        int64_t sum = 0;

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i] != except)
                        sum += overuse_mib(m->vms[i]);
        return sum;
}

int64_t memory_target_mib(Vm *vm)
{
        MonitorRecord r = { 0 };

        if (!vm_is_running(vm) || vm->domid < 0)
                return 0;
        if (vm->target_mib <= 0 && monitor_record_read(manager_paths(vm->manager), vm->uuid, &r) >= 0) {
                vm->target_mib = r.memory_target_kib / 1024;
                monitor_record_done(&r);
        }
        return vm->target_mib > 0 ? vm->target_mib : vm_int(vm, "config/memory", 0);
}

void memory_adopt(Vm *vm)
{
        MonitorRecord r = { 0 };

        vm->memory_mib = vm_int(vm, "config/memory", 0);
        if (monitor_record_read(manager_paths(vm->manager), vm->uuid, &r) < 0)
                return;
        memory_changed(vm, true, r.memory_target_kib);
        memory_changed(vm, false, r.memory_actual_kib);
        monitor_record_done(&r);
}

void memory_changed(Vm *vm, bool target, int64_t kib)
{
        if (kib <= 0)
                return;
        if (target)
                vm->target_mib = kib / 1024;
        /* QEMU tells what the guest has; libxl only what it is to have. */
        if (vm->memory_mib > 0 && target == host_is_xen())
                vm->memory_mib = kib / 1024;
}

void memory_release(Vm *vm)
{
        vm->memory_mib = vm->target_mib = 0;
        vm->memory_pid = 0;
        vm->memory_reduced = false;
}

/* The step of a start */

static void memory_need(Job *j);
static void memory_look(Job *j);

static void on_target(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        if (error)
                log_warning("%s gives no memory back: %s", vm->uuid, strempty(error->message));
}

/* The running VM of lowest domid above `after` that has more than it must; NULL: none. */
static Vm *next_with_overuse(Manager *m, int64_t after)
{
        Vm *found = NULL;

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i]->domid > after && overuse_mib(m->vms[i]) > 0 && (!found || m->vms[i]->domid < found->domid))
                        found = m->vms[i];
        return found;
}

static void take_from_others(Job *j, int64_t missing)
{
        Manager *m = j->vm->manager;

        for (Vm *vm = next_with_overuse(m, -1); vm && missing > 0; vm = next_with_overuse(m, vm->domid)) {
                int64_t taken = MIN2(overuse_mib(vm), missing);
                char text[24];
                const char *const args[] = { "mb", text, NULL };

                snprintf(text, sizeof text, "%lld", (long long) (vm->memory_mib - taken));
                log_info("%s is asked for %lld MiB, for %s", vm->uuid, (long long) taken, j->vm->uuid);
                (void) monitor_call(vm, "set_mem_target", args, SHORT_USEC, on_target, NULL, NULL);
                missing -= taken;
        }
}

static void memory_fail(Job *j, int64_t need, int64_t left)
{
        _cleanup_free_ char *detail = strformat("%lld MiB are needed, %lld are free", (long long) need, (long long) left);

        job_end_code(j, ERROR_NO_MEMORY, detail);
}

/* The second attempt: with the least that the VM can do with. */
static void memory_reduce(Job *j, int64_t need, int64_t left)
{
        int64_t least = vm_int(j->vm, "config/memory-min", 0);
        _cleanup_free_ char *why = NULL;

        /* What was saved goes on with the memory that it had. */
        if (j->kind == JOB_RESTORE || j->vm->memory_reduced || least <= 0 || least >= vm_int(j->vm, "config/memory", 0)) {
                memory_fail(j, need, left);
                return;
        }
        log_notice("%s is started with %lld MiB, its memory-min: not more is free", j->vm->uuid, (long long) least);
        j->vm->memory_reduced = true;
        j->attempts = 0;
        if (config_write_for_start(j->vm, &why) < 0)
                memory_fail(j, need, left);
        else
                job_monitor(j, "read_config", NULL, SHORT_USEC, memory_need);
}

static void memory_try(Job *j)
{
        Manager *m = j->vm->manager;
        int64_t left, need = j->memory_mib;

        if (!host_is_xen())
                left = memory_free_mib(m);
        else if (j->reply_error || parse_i64(strempty(j->reply), &left) < 0 || left < 0)
                left = -1;
        else
                left = without_promised(m, left / 1024);
        if (left < 0 || need <= left) {
                j->vm->memory_mib = need;
                j->attempts = 0;
                memory_turn_over(m, j);
                start_granted(j);
        } else if (need - left > memory_reclaimable_mib(m, j->vm) && j->attempts == 0 && (!host_is_xen() || others_are_built(j->vm)))
                memory_reduce(j, need, left);
        else if (j->attempts >= POLLS * ROUNDS)
                memory_reduce(j, need, left);
        else {
                /* Guests take their time: they are asked ten times a round, and told anew once in each. */
                if (j->attempts++ % POLLS == 0)
                        take_from_others(j, need - left);
                job_deadline(j, j->attempts % POLLS == 0 ? USEC_PER_SEC : POLL_USEC, "", memory_look);
        }
}

static void memory_look(Job *j)
{
        static const char *const args[] = { "field", "host-free-kib", NULL };

        if (host_is_xen())
                job_monitor_tolerant(j, "get", args, SHORT_USEC, memory_try);
        else
                memory_try(j);
}

static void memory_needed(Job *j)
{
        int64_t kib = 0;

        (void) parse_i64(strempty(j->reply), &kib);
        j->memory_mib = (kib + 1023) / 1024;
        memory_look(j);
}

static void memory_need(Job *j)
{
        static const char *const args[] = { "field", "required-to-boot-kib", NULL };

        job_monitor(j, "get", args, SHORT_USEC, memory_needed);
}

void start_memory(Job *j)
{
        Manager *m = j->vm->manager;

        j->doing = "waiting for memory";
        j->vm->memory_reduced = false;
        j->attempts = 0;
        if (!m->memory_turn) {
                m->memory_turn = j;
                memory_need(j);
                return;
        }
        /* Two never balance at once. */
        j->waits_memory = true;
        job_deadline(j, TURN_USEC, "The memory of the host was not given out in time", NULL);
}

void memory_turn_over(Manager *m, Job *j)
{
        if (m->memory_turn != j)
                return;
        m->memory_turn = NULL;
        /* From the loop; the first takes its turn, and the others wait again. */
        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i]->job && m->vms[i]->job->waits_memory)
                        job_deadline(m->vms[i]->job, 1, "", start_memory);
}
