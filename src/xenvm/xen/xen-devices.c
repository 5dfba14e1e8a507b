/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Xen back end: devices and memory of a domain that runs. */
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "parse.h"
#include "strbuf.h"
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

                r = xen_nic_make(device->nic, vm->hvm, &nic, &why);
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

/* Moves a network interface of this host from one bridge to another, or onto one. */
static int move_interface(const char *name, const char *bridge)
{
        _cleanup_close_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        _cleanup_free_ char *path = strformat("/sys/class/net/%s/brport/bridge", name), *now = path ? realpath(path, NULL) : NULL;
        struct ifreq request = { .ifr_ifindex = (int) if_nametoindex(name) };

        if (s < 0 || request.ifr_ifindex == 0)
                return -errno;
        if (now) {
                snprintf(request.ifr_name, sizeof request.ifr_name, "%s", strrchr(now, '/') + 1);
                if (ioctl(s, SIOCBRDELIF, &request) < 0)
                        return -errno;
        }
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", bridge);
        return ioctl(s, SIOCBRADDIF, &request) < 0 ? -errno : 0;
}

int xen_set_link(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata)
{
        char name[IFNAMSIZ], emulated[IFNAMSIZ + 4], path[128];
        XenOp *op;
        int r;

        if (nic->backend_domid != 0)
                return -EOPNOTSUPP; /* that domain's bridges are its own */
        op = vm_begin(vm, "Cannot move the network card", done, userdata, vm_on_plain_done, &r);
        if (!op)
                return r;
        snprintf(name, sizeof name, "vif%u.%d", vm->domid, (int) nic->id);
        snprintf(emulated, sizeof emulated, "%s-emu", name);
        r = move_interface(name, bridge);
        if (r >= 0 && if_nametoindex(emulated) > 0)
                r = move_interface(emulated, bridge);
        if (r >= 0) {
                /* Where the tools, and libxl's scripts at the card's end, look for it. */
                snprintf(path, sizeof path, "/local/domain/0/backend/vif/%u/%d/bridge", vm->domid, (int) nic->id);
                if (!xs_write(vm->store, XBT_NULL, path, bridge, (unsigned) strlen(bridge)))
                        log_warning("Xenstore's node %s cannot be written", path);
        } else
                log_warning("%s cannot be put on the bridge %s: %s", name, bridge, strerror(-r));
        xenop_finish(op, r < 0 ? ERROR_FAIL : 0);
        return 0;
}

/* The card is taken away, then given again with the other back end. */
static void on_nic_removed(void *userdata, int rc)
{
        Vm *vm = userdata;
        libxl_device_nic nic;
        _cleanup_free_ char *why = NULL;
        XenOp *op;

        if (rc == 0 && xen_nic_make(&vm->moving, vm->hvm, &nic, &why) >= 0) {
                op = vm_continue(vm, vm_on_plain_done);
                if (op)
                        (void) vm_started(op, libxl_device_nic_add(xenhost_ctx(vm->host), vm->domid, &nic, xenop_how(op)));
                libxl_device_nic_dispose(&nic);
                if (op)
                        return;
        }
        vm_finish(vm, rc != 0 ? rc : ERROR_FAIL, NULL);
}

int xen_set_nic_backend(Vm *vm, const VmNic *nic, int64_t domid, VmDone done, void *userdata)
{
        libxl_device_nic now;
        XenOp *op;
        int r;

        libxl_device_nic_init(&now);
        r = libxl_devid_to_device_nic(xenhost_ctx(vm->host), vm->domid, (int) nic->id, &now) != 0 ? -ENOENT : 0;
        if (r >= 0) {
                op = vm_begin(vm, "Cannot give the network card another back end", done, userdata, on_nic_removed, &r);
                if (op) {
                        vm->moving = *nic; /* its texts are the config's, which lives as long as the Vm */
                        vm->moving.backend_domid = domid;
                        r = vm_started(op, libxl_device_nic_remove(xenhost_ctx(vm->host), vm->domid, &now, xenop_how(op)));
                }
        }
        libxl_device_nic_dispose(&now);
        return r;
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
