/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that may forbid a start, as one table in the contract's order. start uses the first
 * finding, the dry run lists them all.
 */
#include "lifecycle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config-writer.h"
#include "extract.h"
#include "host.h"
#include "log.h"
#include "memory.h"
#include "pci.h"
#include "spawn.h"
#include "strbuf.h"
#include "vfio.h"

static void finding(Findings *f, const char *step, const char *text)
{
        if (text && strv_extend(&f->texts, text) >= 0)
                (void) strv_extend(&f->steps, step);
}

static void finding_code(Findings *f, const char *step, ErrorCode code, const char *detail)
{
        _cleanup_free_ char *text = error_format(code, detail);

        finding(f, step, text);
}

void findings_done(Findings *f)
{
        f->steps = strv_free(f->steps);
        f->texts = strv_free(f->texts);
}

/* Dependencies */

typedef struct Walk {
        Vm **list;
        size_t n, depth;
        Vm *stack[64];
} Walk;

static int walk(Walk *w, Vm *vm)
{
        unsigned ids[NICS_MAX];
        size_t n = vm_record_ids(vm, "nic", ids, NICS_MAX);

        for (size_t i = 0; i < w->depth; i++)
                if (w->stack[i] == vm)
                        return -ELOOP;
        if (w->depth == ELEMENTSOF(w->stack))
                return -ELOOP;
        w->stack[w->depth++] = vm;
        for (size_t i = 0; i < n; i++) {
                bool named, known = false;
                Vm *backend = vm_nic_backend(vm, ids[i], &named);
                Vm **grown;
                int r;

                for (size_t k = 0; backend && k < w->n; k++)
                        known = known || w->list[k] == backend;
                if (!backend || known)
                        continue;
                r = walk(w, backend);
                if (r < 0)
                        return r;
                grown = realloc(w->list, (w->n + 1) * sizeof *grown);
                if (!grown)
                        return -ENOMEM;
                w->list = grown;
                w->list[w->n++] = backend;
        }
        w->depth--;
        return 0;
}

int lifecycle_dependencies(Vm *vm, Vm ***ret, size_t *ret_n)
{
        Walk w = { 0 };
        int r = walk(&w, vm);

        if (r < 0) {
                free(w.list);
                return r;
        }
        *ret = w.list;
        *ret_n = w.n;
        return 0;
}

/* Checks */

static void check_dependencies(Vm *vm, Findings *f)
{
        Vm **deps = NULL;
        size_t n = 0;

        if (vm_bool(vm, "track-dependencies", false) && lifecycle_dependencies(vm, &deps, &n) == -ELOOP)
                finding(f, "dependencies", "The VM needs a VM that needs it: its network backends form a cycle");
        free(deps);
}

static void check_disks(Vm *vm, Findings *f)
{
        const Paths *p = manager_paths(vm->manager);
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *mapped = NULL, *text = NULL;
                _cleanup_close_ int fd = -EBADF;
                const char *stored;
                char path[64];
                struct stat st;

                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                stored = vm_text(vm, path, "");
                mapped = paths_map(p, stored);
                fd = mapped && *mapped ? paths_open_disk(p, mapped, O_PATH) : -ENOENT;
                /* A FIFO, say, would keep who opens it waiting. */
                if (fd >= 0 && fstat(fd, &st) >= 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
                        continue;
                text = strformat("Bad Physical Path for disk %u (%s)%s%s", ids[i], stored, f->dry ? ": " : "",
                                 !f->dry ? "" : fd >= 0 ? "it is neither a file nor a block device" : mapped && *mapped ? strerror(-fd) : "no path");
                finding(f, "disks", text);
        }
}

/*
 * QEMU's locks on an image: byte 100 + n is held by who has the permission n, byte 200 + n by who does not share it.
 * Permission 1 is writing.
 */
#define LOCK_WRITES 101
#define LOCK_NOBODY_ELSE_WRITES 201

static bool byte_is_locked(int fd, off_t byte)
{
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        return fcntl(fd, F_OFD_GETLK, &lock) >= 0 && lock.l_type != F_UNLCK;
}

/* On Xen the disks are opened by others. What cannot be opened at all is check_disks()'s to say. */
static void check_use(Vm *vm, Findings *f)
{
        const Paths *p = manager_paths(vm->manager);
        unsigned ids[DISKS_MAX];
        size_t n = host_is_xen() || vm_is_running(vm) ? 0 : vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *mapped = NULL, *text = NULL;
                const char *why = NULL;
                bool writes;
                char path[64];
                int fd;

                snprintf(path, sizeof path, "config/disk/%u/enable", ids[i]);
                if (!vm_bool(vm, path, true))
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/mode", ids[i]);
                writes = streq(vm_text(vm, path, ""), "w");
                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                mapped = paths_map(p, vm_text(vm, path, ""));
                fd = mapped && *mapped ? paths_open_disk(p, mapped, O_RDONLY | O_NONBLOCK) : -ENOENT;
                if (fd == -EACCES || fd == -EPERM)
                        why = strerror(-fd);
                else if (fd >= 0 && (byte_is_locked(fd, LOCK_WRITES) || (writes && byte_is_locked(fd, LOCK_NOBODY_ELSE_WRITES))))
                        why = "another program uses it";
                safe_close(fd);
                if (!why)
                        continue;
                text = strformat("disk %u (%s): %s", ids[i], mapped, why);
                finding_code(f, "disks", ERROR_DISK_MOUNT, text);
        }
}

/* What runs VMs here: its absence would only be told by the monitor. */
static void check_programs(_unused_ Vm *vm, Findings *f)
{
        if (!spawn_program_path(SPAWN_XENVM))
                finding_code(f, "programs", ERROR_MONITOR, "xenvm is not installed");
        if (!host_is_xen() && !spawn_program_path(SPAWN_QEMU))
                finding_code(f, "programs", ERROR_MONITOR, "qemu-system-x86_64 is not installed (package qemu-system-x86)");
}

/* A start writes the configuration anyhow, and fails of the same. */
static void check_configuration(Vm *vm, Findings *f)
{
        _cleanup_free_ char *text = NULL, *why = NULL;

        if (config_for_start(vm, &text, &why) < 0 && why)
                finding(f, "configuration", why);
}

static void check_kernel(Vm *vm, Findings *f)
{
        static const char *const keys[] = { "kernel", "initrd" };

        for (size_t i = 0; i < ELEMENTSOF(keys) && !vm_is_hvm(vm); i++) {
                _cleanup_free_ char *why = extract_check(vm, keys[i]), *mapped = extract_target(vm, keys[i]), *text = NULL;
                char extract[32];

                snprintf(extract, sizeof extract, "config/%s-extract", keys[i]);
                if (why)
                        finding_code(f, "kernel", ERROR_IO, why);
                if (!mapped || *vm_text(vm, extract, "") || access(mapped, R_OK) == 0)
                        continue;
                text = strformat("The file %s (config/%s) cannot be read: %s", mapped, keys[i], strerror(errno));
                finding_code(f, "kernel", ERROR_IO, text);
        }
}

static void check_nics(Vm *vm, Findings *f)
{
        unsigned ids[NICS_MAX];
        size_t n = vm_record_ids(vm, "nic", ids, NICS_MAX);

        for (size_t i = 0; i < n; i++) {
                bool named;
                Vm *backend = vm_nic_backend(vm, ids[i], &named);

                if (named && (!backend || backend->domid < 0)) {
                        char detail[32];

                        snprintf(detail, sizeof detail, "nic %u", ids[i]);
                        finding_code(f, "network", ERROR_BACKEND_DOWN, detail);
                }
        }
}

/* Another running guest that has the same exclusive thing. */
static bool taken(Vm *vm, bool (*has)(Vm *vm))
{
        if (!has(vm))
                return false;
        for (size_t i = 0; i < vm->manager->n_vms; i++) {
                Vm *v = vm->manager->vms[i];

                if (v != vm && vm_is_running(v) && !vm_is_service(v) && has(v))
                        return true;
        }
        return false;
}

static bool has_oem(Vm *vm)
{
        return vm_bool(vm, "oem-acpi-features", false);
}

static void check_amt(Vm *vm, Findings *f)
{
        if (taken(vm, vm_has_amt))
                finding_code(f, "amt", ERROR_AMT_TAKEN, NULL);
}

static void check_oem(Vm *vm, Findings *f)
{
        if (taken(vm, has_oem))
                finding_code(f, "oem", ERROR_OEM_TAKEN, NULL);
}

static void check_gpu(Vm *vm, Findings *f)
{
        _cleanup_strv_ char **devices = NULL;

        if (pci_devices_of_vm(vm, &devices) < 0)
                finding(f, "pci", "A passthrough rule names a device that does not exist");
        for (char **d = devices; d && *d; d++)
                if (pci_is_intel_gpu(*d) && !pci_is_boot_vga(*d))
                        finding_code(f, "pci", ERROR_GPU_SECONDARY, *d);
}

static void check_pci(Vm *vm, Findings *f)
{
        _cleanup_strv_ char **devices = NULL;

        if (pci_devices_of_vm(vm, &devices) < 0 || !devices)
                return;
        for (size_t i = 0; i < vm->manager->n_vms; i++) {
                Vm *v = vm->manager->vms[i];
                _cleanup_strv_ char **theirs = NULL;

                if (v == vm || !vm_is_running(v) || vm_is_service(v) || pci_devices_of_vm(v, &theirs) < 0)
                        continue;
                for (char **d = devices; *d; d++)
                        if (strv_contains(theirs, *d))
                                finding_code(f, "pci", ERROR_DEVICE_TAKEN, *d);
        }
}

/* What other VMs would give back counts as free; the start itself asks them. On Xen the monitor knows, not we. */
static void check_memory(Vm *vm, Findings *f)
{
        int64_t need = vm_int(vm, "config/memory", 0), least = vm_int(vm, "config/memory-min", 0);
        int64_t free_mib = memory_free_mib(vm->manager);
        _cleanup_free_ char *detail = NULL;

        if (least > 0 && least < need)
                need = least;
        if (need <= 0 || free_mib < 0)
                return;
        free_mib += memory_reclaimable_mib(vm->manager, vm);
        if (need <= free_mib)
                return;
        detail = strformat("%lld MiB are needed, %lld are free", (long long) need, (long long) free_mib);
        finding_code(f, "memory", ERROR_NO_MEMORY, detail);
}

/* A dry run's alone: the monitor refuses the start. On Xen the hypervisor knows. */
static void check_capabilities(Vm *vm, Findings *f)
{
        _cleanup_strv_ char **devices = NULL;

        if (!host_is_xen() && pci_devices_of_vm(vm, &devices) >= 0 && devices && !vfio_host_can(""))
                finding_code(f, "pci", ERROR_CAPABILITIES, "this host has no IOMMU for PCI devices");
}

static const struct {
        const char *name;
        void (*check)(Vm *vm, Findings *f);
        bool dry; /* only of a dry run: the start finds it in another step */
} checks[] = {
        { "dependencies", check_dependencies },
        { "disks", check_disks },
        { "use", check_use },
        { "kernel", check_kernel },
        { "network", check_nics },
        { "gpu", check_gpu },
        { "amt", check_amt },
        { "pci", check_pci },
        { "oem", check_oem },
        { "memory", check_memory },
        { "capabilities", check_capabilities, true },
        { "configuration", check_configuration, true },
        { "programs", check_programs, true },
};

int start_check(Vm *vm, bool only_first, Findings *ret)
{
        ret->dry = !only_first;
        for (size_t i = 0; i < ELEMENTSOF(checks) && !(only_first && ret->texts); i++)
                if (!only_first || !checks[i].dry)
                        checks[i].check(vm, ret);
        return 0;
}
