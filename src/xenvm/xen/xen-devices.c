/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Xen back end: devices and memory of a domain that runs. */
#include <fcntl.h>
#include <net/if.h>
#include <unistd.h>

#include "log.h"
#include "net-bridge.h"
#include "parse.h"
#include "strbuf.h"
#include "xen-ids.h"
#include "xen-vm.h"

/* libxl works with the description of a device until the operation has ended: it is kept in the Vm as long. */

void vm_let_go(Vm *vm)
{
        if (vm->held)
                vm->held(&vm->device);
        vm->held = NULL;
}

static void dispose_disk(void *device)
{
        libxl_device_disk_dispose(device);
}

static void dispose_nic(void *device)
{
        libxl_device_nic_dispose(device);
}

static void dispose_pci(void *device)
{
        libxl_device_pci_dispose(device);
}

int vm_hold(Vm *vm, void (*dispose)(void *device))
{
        if (vm_busy(vm))
                return -EBUSY;
        vm_let_go(vm);
        memset(&vm->device, 0, sizeof vm->device);
        vm->held = dispose;
        return 0;
}

XenOp *vm_begin_held(Vm *vm, const char *what, VmDone done, void *userdata, int made, char *why, XenOpDone then, int *ret_r)
{
        XenOp *op = NULL;

        *ret_r = made;
        if (made >= 0)
                op = vm_begin(vm, what, done, userdata, then, ret_r);
        if (op || *ret_r == -EBUSY) {
                free(why);
                return op;
        }
        vm_let_go(vm);
        *ret_r = vm_refuse(vm, what, done, userdata, *ret_r, why);
        return NULL;
}

int xen_attach(Vm *vm, const VmDevice *device, VmDone done, void *userdata)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        char *why = NULL;
        XenOp *op;
        int r;

        switch (device->kind) {
        case VM_DEVICE_DISK:
                r = vm_hold(vm, dispose_disk);
                if (r >= 0)
                        r = xen_disk_make(device->disk, vm->spec.paths, &vm->device.disk, &why);
                op = vm_begin_held(vm, "Cannot attach the disk", done, userdata, r, why, vm_on_plain_done, &r);
                return op ? vm_started(op, libxl_device_disk_add(ctx, vm->domid, &vm->device.disk, xenop_how(op))) : r;
        case VM_DEVICE_NIC:
                r = vm_hold(vm, dispose_nic);
                if (r >= 0)
                        r = xen_nic_make(device->nic, vm->hvm, &vm->device.nic, &why);
                op = vm_begin_held(vm, "Cannot attach the network card", done, userdata, r, why, vm_on_plain_done, &r);
                return op ? vm_started(op, libxl_device_nic_add(ctx, vm->domid, &vm->device.nic, xenop_how(op))) : r;
        case VM_DEVICE_PCI:
                r = vm_hold(vm, dispose_pci);
                if (r >= 0)
                        r = xen_pci_make(vm->spec.config, device->pci, &vm->device.pci);
                op = vm_begin_held(vm, "Cannot attach the PCI device", done, userdata, r, NULL, vm_on_plain_done, &r);
                return op ? vm_started(op, libxl_device_pci_add(ctx, vm->domid, &vm->device.pci, xenop_how(op))) : r;
        case VM_DEVICE_USB:
                break;
        }
        return -EOPNOTSUPP;
}

static int remove_nic(Vm *vm, int64_t id, const char *what, VmDone done, void *userdata, XenOpDone then)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        char *why = NULL;
        XenOp *op;
        int r = vm_hold(vm, dispose_nic);

        if (r >= 0) {
                libxl_device_nic_init(&vm->device.nic);
                if (libxl_devid_to_device_nic(ctx, vm->domid, (int) id, &vm->device.nic) != 0) {
                        r = -ENOENT;
                        why = strformat("the VM has no card %lld", (long long) id);
                }
        }
        op = vm_begin_held(vm, what, done, userdata, r, why, then, &r);
        return op ? vm_started(op, libxl_device_nic_remove(ctx, vm->domid, &vm->device.nic, xenop_how(op))) : r;
}

int xen_detach(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        char *why = NULL;
        int64_t n;
        XenOp *op;
        int r;

        if (kind == VM_DEVICE_DISK) {
                r = vm_hold(vm, dispose_disk);
                if (r >= 0) {
                        libxl_device_disk_init(&vm->device.disk);
                        if (libxl_vdev_to_device_disk(ctx, vm->domid, id, &vm->device.disk) != 0) {
                                r = -ENOENT;
                                why = strformat("the VM has no disk %s", id);
                        }
                }
                op = vm_begin_held(vm, "Cannot detach the disk", done, userdata, r, why, vm_on_plain_done, &r);
                return op ? vm_started(op, libxl_device_disk_remove(ctx, vm->domid, &vm->device.disk, xenop_how(op))) : r;
        }
        if (kind == VM_DEVICE_NIC)
                return parse_i64(id, &n) < 0 ? -ENOENT : remove_nic(vm, n, "Cannot detach the network card", done, userdata, vm_on_plain_done);
        return vm_refuse(vm, "Cannot detach the device", done, userdata, -EOPNOTSUPP, strdup("on Xen disks and network cards alone can be unplugged"));
}

int xen_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata)
{
        libxl_device_disk *disk = &vm->device.disk;
        XenOp *op;
        int r;

        r = vm_hold(vm, dispose_disk);
        if (r >= 0) {
                libxl_device_disk_init(disk);
                disk->vdev = strdup(drive->virtpath);
                disk->pdev_path = path ? paths_map(vm->spec.paths, path) : NULL;
                disk->format = path ? LIBXL_DISK_FORMAT_RAW : LIBXL_DISK_FORMAT_EMPTY;
                disk->is_cdrom = disk->removable = 1;
                r = !disk->vdev || (path && !disk->pdev_path) ? -ENOMEM : path ? ids_access(disk->pdev_path, R_OK) : 0;
        }
        op = vm_begin_held(vm, "Cannot change the CD", done, userdata, r, NULL, vm_on_plain_done, &r);
        return op ? vm_started(op, libxl_cdrom_insert(xenhost_ctx(vm->host), vm->domid, disk, xenop_how(op))) : r;
}

/*
 * QEMU (7.2) ends when a drive that was empty from its start gets a medium. The empty drives of an HVM guest begin
 * with this file in them, which is taken out before the guest runs.
 */
#define EMPTY_CD "/var/run/xen/oxt-empty-cd" /* Xen's own folder, where only root writes */
#define EMPTY_CD_SIZE (64 * KIB)

void xen_fill_drives(Vm *vm)
{
        _cleanup_close_ int fd = -EBADF;

        for (int i = 0; vm->hvm && i < vm->config.num_disks; i++) {
                libxl_device_disk *d = &vm->config.disks[i];

                if (!d->is_cdrom || d->format != LIBXL_DISK_FORMAT_EMPTY || d->backend_domid != 0)
                        continue;
                if (fd < 0)
                        fd = open(EMPTY_CD, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
                if (fd < 0 || ftruncate(fd, EMPTY_CD_SIZE) < 0) {
                        log_warning("%s cannot be made: the drive %s may take no medium", EMPTY_CD, d->vdev);
                        return;
                }
                free(d->pdev_path);
                d->pdev_path = strdup(EMPTY_CD);
                if (d->pdev_path)
                        d->format = LIBXL_DISK_FORMAT_RAW;
        }
}

bool xen_empty_next_drive(Vm *vm, XenOpDone then)
{
        for (; vm->hvm && vm->next_drive < vm->config.num_disks; vm->next_drive++) {
                const libxl_device_disk *d = &vm->config.disks[vm->next_drive];
                libxl_device_disk *empty = &vm->device.disk;
                XenOp *op;

                if (!d->is_cdrom || !streq_ptr(d->pdev_path, EMPTY_CD))
                        continue;
                vm_let_go(vm);
                libxl_device_disk_init(empty);
                vm->held = dispose_disk;
                empty->vdev = strdup(d->vdev);
                empty->format = LIBXL_DISK_FORMAT_EMPTY;
                empty->is_cdrom = empty->removable = 1;
                op = empty->vdev ? vm_continue(vm, then) : NULL;
                if (!op)
                        return false;
                vm->next_drive++;
                (void) vm_started(op, libxl_cdrom_insert(xenhost_ctx(vm->host), vm->domid, empty, xenop_how(op)));
                return true;
        }
        return false;
}

/* Where the tools, and libxl's scripts at the card's end, look for it; what waits for a script's success hears of it. */
static void write_bridge(Vm *vm, const VmNic *nic, const char *bridge)
{
        const struct {
                const char *node, *value;
        } nodes[] = { { "bridge", bridge }, { "hotplug-status", "connected" } };

        for (size_t i = 0; i < ELEMENTSOF(nodes); i++) {
                char path[128];

                snprintf(path, sizeof path, "/local/domain/0/backend/vif/%u/%d/%s", vm->domid, (int) nic->id, nodes[i].node);
                if (!xs_write(vm->store, XBT_NULL, path, nodes[i].value, (unsigned) strlen(nodes[i].value)))
                        log_warning("Xenstore's node %s cannot be written", path);
        }
}

int xen_set_link(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata)
{
        static const char *const what = "Cannot move the network card";
        char name[IFNAMSIZ], emulated[IFNAMSIZ + 4];
        int r;

        if (vm_busy(vm))
                return -EBUSY;
        if (nic->backend_domid != 0)
                return vm_refuse(vm, what, done, userdata, -EOPNOTSUPP,
                                 strformat("domain %lld serves it, whose bridges are its own", (long long) nic->backend_domid));
        if (!bridge_exists(bridge))
                return vm_refuse(vm, what, done, userdata, -ENODEV, strformat("the host has no bridge '%s'", bridge));
        snprintf(name, sizeof name, "vif%u.%d", vm->domid, (int) nic->id);
        snprintf(emulated, sizeof emulated, "%s-emu", name);
        r = bridge_move(name, bridge);
        if (r >= 0 && if_nametoindex(emulated) > 0)
                r = bridge_move(emulated, bridge);
        if (r < 0)
                return vm_refuse(vm, what, done, userdata, r,
                                 strformat("%s cannot be put on the bridge %s: %s", name, bridge, strerror(-r)));
        write_bridge(vm, nic, bridge);
        return vm_soon(vm, what, done, userdata, vm_on_plain_done);
}

/*
 * The card is taken away, then given again with the other back end. Where that fails, what is there of it is cleared away, and
 * it is given again with the former one.
 */
static void give_card(Vm *vm, XenOpDone then)
{
        _cleanup_free_ char *why = NULL;
        XenOp *op;
        int r;

        vm_let_go(vm);
        vm->held = dispose_nic;
        r = xen_nic_make(&vm->moving, vm->hvm, &vm->device.nic, &why);
        op = r >= 0 ? vm_continue(vm, then) : NULL;
        if (op)
                (void) vm_started(op, libxl_device_nic_add(xenhost_ctx(vm->host), vm->domid, &vm->device.nic, xenop_how(op)));
        else
                vm_fail(vm, why ? why : strerror(r < 0 ? -r : ENOMEM));
}

static void on_card_back(void *userdata, int rc)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->why);

        if (rc != 0)
                log_error("Network card %d of domain %u is lost: %s", (int) vm->moving.id, vm->domid, xenhost_error(vm->host, rc));
        vm_fail(vm, strempty(why));
}

static void on_card_cleared(void *userdata, _unused_ int rc)
{
        Vm *vm = userdata;

        vm->moving.backend_domid = vm->moving_from;
        give_card(vm, on_card_back);
}

static void on_card_given(void *userdata, int rc)
{
        Vm *vm = userdata;
        XenOp *op;

        if (rc == 0) {
                vm_finish(vm, 0, NULL);
                return;
        }
        free(vm->why);
        vm->why = strdup(xenhost_error(vm->host, rc));
        op = vm_continue(vm, on_card_cleared);
        if (op)
                (void) vm_started(op, libxl_device_nic_destroy(xenhost_ctx(vm->host), vm->domid, &vm->device.nic, xenop_how(op)));
        else
                vm_finish(vm, ERROR_NOMEM, NULL);
}

static void on_card_removed(void *userdata, int rc)
{
        Vm *vm = userdata;

        if (rc == 0)
                give_card(vm, on_card_given);
        else
                vm_finish(vm, rc, NULL);
}

int xen_set_nic_backend(Vm *vm, const VmNic *nic, int64_t domid, VmDone done, void *userdata)
{
        int r = remove_nic(vm, nic->id, "Cannot give the network card another back end", done, userdata, on_card_removed);

        if (r >= 0) {
                vm->moving = *nic; /* its texts are the config's, which lives as long as the Vm */
                vm->moving.backend_domid = domid;
                vm->moving_from = nic->backend_domid;
        }
        return r;
}

static void on_memory_set(void *userdata, int rc)
{
        Vm *vm = userdata;
        char text[24];

        snprintf(text, sizeof text, "%llu", (unsigned long long) vm->memory_kib);
        if (rc == 0)
                vm->spec.events->node(vm->spec.userdata, "memory/target", text);
        vm_finish(vm, rc, NULL);
}

int xen_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot set the memory target", done, userdata, on_memory_set, &r);
        if (!op)
                return r;
        vm->memory_kib = kib;
        xenop_finish(op, libxl_set_memory_target(xenhost_ctx(vm->host), vm->domid, (int64_t) kib, 0, 1));
        return 0;
}

int xen_vnc_port(Vm *vm, VmDone done, void *userdata)
{
        _cleanup_free_ char *untrusted_port = NULL;
        char path[128], text[16] = "";
        int64_t port;

        snprintf(path, sizeof path, "/local/domain/%u/console/vnc-port", vm->domid);
        untrusted_port = vm_store_read(vm, path);
        if (untrusted_port && parse_i64(untrusted_port, &port) >= 0 && port > 0 && port < 65536)
                snprintf(text, sizeof text, "%d", (int) port);
        vm_answer(done, userdata, text);
        return 0;
}
