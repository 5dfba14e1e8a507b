/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Xen back end: devices and memory of a domain that runs. */
#include "log.h"
#include "parse.h"
#include "xen-ids.h"
#include "xen-vm.h"

static int vm_device_op(Vm *vm, const char *what, VmDone done, void *userdata, int made, XenOp **ret)
{
        int r;

        if (made < 0)
                return made;
        *ret = vm_begin(vm, what, done, userdata, vm_on_plain_done, &r);
        return *ret ? 0 : r;
}

int xen_attach(Vm *vm, const VmDevice *device, VmDone done, void *userdata)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        _cleanup_free_ char *why = NULL;
        XenOp *op;
        int r;

        switch (device->kind) {
        case VM_DEVICE_DISK: {
                libxl_device_disk disk;

                r = xen_disk_make(device->disk, vm->spec.paths, &disk, &why);
                r = vm_device_op(vm, "Cannot attach the disk", done, userdata, r, &op);
                if (r >= 0)
                        r = vm_started(op, libxl_device_disk_add(ctx, vm->domid, &disk, xenop_how(op)));
                libxl_device_disk_dispose(&disk);
                break;
        }
        case VM_DEVICE_NIC: {
                libxl_device_nic nic;

                r = xen_nic_make(device->nic, vm->config.c_info.type == LIBXL_DOMAIN_TYPE_HVM, &nic, &why);
                r = vm_device_op(vm, "Cannot attach the network card", done, userdata, r, &op);
                if (r >= 0)
                        r = vm_started(op, libxl_device_nic_add(ctx, vm->domid, &nic, xenop_how(op)));
                libxl_device_nic_dispose(&nic);
                break;
        }
        case VM_DEVICE_USB:
                return -EOPNOTSUPP;
        default: {
                libxl_device_pci pci;

                r = xen_pci_make(vm->spec.config, device->pci, &pci);
                r = vm_device_op(vm, "Cannot attach the PCI device", done, userdata, r, &op);
                if (r >= 0)
                        r = vm_started(op, libxl_device_pci_add(ctx, vm->domid, &pci, xenop_how(op)));
                libxl_device_pci_dispose(&pci);
                break;
        }
        }
        if (why)
                log_error("%s", why);
        return r;
}

int xen_detach(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        XenOp *op;
        int r;

        if (kind == VM_DEVICE_DISK) {
                libxl_device_disk disk;

                libxl_device_disk_init(&disk);
                r = libxl_vdev_to_device_disk(ctx, vm->domid, id, &disk) != 0 ? -ENOENT : 0;
                r = vm_device_op(vm, "Cannot detach the disk", done, userdata, r, &op);
                if (r >= 0)
                        r = vm_started(op, libxl_device_disk_remove(ctx, vm->domid, &disk, xenop_how(op)));
                libxl_device_disk_dispose(&disk);
                return r;
        }
        if (kind == VM_DEVICE_NIC) {
                libxl_device_nic nic;
                int64_t n;

                libxl_device_nic_init(&nic);
                r = parse_i64(id, &n) < 0 || libxl_devid_to_device_nic(ctx, vm->domid, (int) n, &nic) != 0 ? -ENOENT : 0;
                r = vm_device_op(vm, "Cannot detach the network card", done, userdata, r, &op);
                if (r >= 0)
                        r = vm_started(op, libxl_device_nic_remove(ctx, vm->domid, &nic, xenop_how(op)));
                libxl_device_nic_dispose(&nic);
                return r;
        }
        return -EOPNOTSUPP;
}

int xen_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata)
{
        _cleanup_free_ char *mapped = path ? paths_map(vm->spec.paths, path) : NULL;
        libxl_device_disk disk;
        XenOp *op;
        int r;

        if (path) {
                r = mapped ? ids_access(mapped, R_OK) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        op = vm_begin(vm, "Cannot change the CD", done, userdata, vm_on_plain_done, &r);
        if (!op)
                return r;
        libxl_device_disk_init(&disk);
        disk.vdev = strdup(drive->virtpath);
        disk.pdev_path = TAKE_PTR(mapped);
        disk.format = path ? LIBXL_DISK_FORMAT_RAW : LIBXL_DISK_FORMAT_EMPTY;
        disk.is_cdrom = disk.removable = 1;
        if (!disk.vdev || (path && !disk.pdev_path))
                xenop_finish(op, ERROR_NOMEM);
        else
                (void) vm_started(op, libxl_cdrom_insert(xenhost_ctx(vm->host), vm->domid, &disk, xenop_how(op)));
        libxl_device_disk_dispose(&disk);
        return 0;
}

int xen_set_link(_unused_ Vm *vm, _unused_ const VmNic *nic, _unused_ const char *bridge, _unused_ VmDone done,
                        _unused_ void *userdata)
{
        return -EOPNOTSUPP; /* a vif's bridge is set by the hot-plug script: detach and attach instead */
}

int xen_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot set the memory target", done, userdata, vm_on_plain_done, &r);
        if (!op)
                return r;
        xenop_finish(op, libxl_set_memory_target(xenhost_ctx(vm->host), vm->domid, (int64_t) kib, 0, 1));
        return 0;
}

static void on_vnc_port(void *userdata, _unused_ int rc)
{
        Vm *vm = userdata;
        _cleanup_free_ char *untrusted_port = NULL;
        char path[128], text[16] = "";
        int64_t port;

        snprintf(path, sizeof path, "/local/domain/%u/console/vnc-port", vm->domid);
        untrusted_port = vm_store_read(vm, path);
        if (untrusted_port && parse_i64(untrusted_port, &port) >= 0 && port > 0 && port < 65536)
                snprintf(text, sizeof text, "%d", (int) port);
        vm_finish(vm, 0, text);
}

int xen_vnc_port(Vm *vm, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot ask for the VNC port", done, userdata, on_vnc_port, &r);
        if (!op)
                return r;
        xenop_finish(op, 0);
        return 0;
}
