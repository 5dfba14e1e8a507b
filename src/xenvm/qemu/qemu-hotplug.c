/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of a running VM's devices: plugging, unplugging, media. One at a time (vm->change). */
#include <fcntl.h>

#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "strbuf.h"

/* arguments is taken over. */
static int change(Vm *vm, const char *command, json_object *arguments, QmpDone next, VmDone done, void *userdata)
{
        int r;

        if (vm->change.done) {
                json_object_put(arguments);
                return -EBUSY;
        }
        if (!arguments)
                return -ENOMEM;
        r = vm_request(vm, command, arguments, next, vm);
        if (r >= 0)
                vm->change = (Operation) { done, userdata };
        return r;
}

static json_object *object(const char *name, json_object *value)
{
        json_object *o = json_object_new_object();

        if (!o || !value) {
                json_object_put(o);
                json_object_put(value);
                return NULL;
        }
        json_object_object_add(o, name, value);
        return o;
}

static void set_text(json_object *o, const char *name, const char *value)
{
        json_object_object_add(o, name, json_object_new_string(value));
}

/* What went wrong is kept while sets are taken back. */
static void keep_result(Vm *vm, int r, const char *text)
{
        _cleanup_free_ char *why = r < 0 && text ? qemu_files_explain(&vm->plug.names, text) : NULL;

        vm->plug.result = r;
        free(vm->plug.why);
        vm->plug.why = TAKE_PTR(why);
}

void qemu_change_done(Vm *vm, int r, const char *text)
{
        vm->plug.id[0] = '\0';
        vm->plug.unplugging = false;
        qemu_hotplug_go_on(vm);
        operation_done(&vm->change, r, text);
}

static void finish_with_result(Vm *vm)
{
        _cleanup_free_ char *why = TAKE_PTR(vm->plug.why);

        qemu_change_done(vm, vm->plug.result, vm->plug.result < 0 ? (why ? why : "out of memory") : NULL);
}

static void on_medium_changed(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        keep_result(vm, r, text);
        qemu_image_drop(vm, vm->plug.id, r < 0, finish_with_result);
}

static void on_medium_given(Vm *vm, int r, const char *text)
{
        json_object *args = r >= 0 ? json_object_new_object() : NULL;
        const char *driver = vm->plug.image.layers[0].driver;
        char name[60];

        if (!args) {
                on_medium_changed(vm, r < 0 ? r : -ENOMEM, NULL, text);
                return;
        }
        /* By such a name QEMU would take a device for a file. */
        snprintf(name, sizeof name, "%s%s/dev/fdset/%d", streq(driver, "file") ? "" : driver, streq(driver, "file") ? "" : ":",
                 vm->plug.names.items[0].number);
        set_text(args, "id", vm->plug.id);
        set_text(args, "filename", name);
        set_text(args, "format", "raw");
        set_text(args, "read-only-mode", "read-only");
        json_object_object_add(args, "force", json_object_new_boolean(true)); /* Linux locks a drive that it has mounted */
        r = vm_request(vm, "blockdev-change-medium", args, on_medium_changed, vm);
        if (r < 0)
                on_medium_changed(vm, r, NULL, strerror(-r));
}

static int on_refused(_unused_ sd_event_source *s, void *userdata)
{
        Vm *vm = userdata;

        vm->plug.deadline = sd_event_source_disable_unref(vm->plug.deadline);
        finish_with_result(vm);
        return 0;
}

/* For a failure that is known at once, and told like any other. */
static int refuse_later(Vm *vm, const char *text)
{
        _cleanup_free_ char *why = vm->plug.kind == VM_DEVICE_USB ? strformat("%s: %s", vm->plug.node, text) : strdup(text);

        if (vm->plug.deadline)
                return -EBUSY;
        keep_result(vm, -EIO, why);
        return sd_event_add_defer(vm->spec.event, &vm->plug.deadline, on_refused, vm);
}

/* The image goes first; where it cannot be opened, that is told like any other failure. */
static int give(Vm *vm, const VmDisk *d, bool writable, void (*next)(Vm *vm, int r, const char *text), VmDone done, void *userdata)
{
        _cleanup_free_ char *why = NULL;
        int r = qemu_image_give(vm, d, writable, next, &why);

        if (r < 0 && why)
                r = refuse_later(vm, why);
        if (r >= 0)
                vm->change = (Operation) { done, userdata };
        return r;
}

int qemu_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata)
{
        VmDisk disc = { .path = (char *) path, .type = VM_DISK_FILE, .virtpath = drive->virtpath };
        json_object *args;
        char id[40];

        if (vm->change.done)
                return -EBUSY;
        qemu_image_forget(vm);
        vm->plug.kind = VM_DEVICE_DISK;
        snprintf(vm->plug.id, sizeof vm->plug.id, "%s", qemu_disk_id(drive, id));
        if (path)
                return give(vm, &disc, false, on_medium_given, done, userdata);
        args = object("id", json_object_new_string(vm->plug.id));
        if (args)
                json_object_object_add(args, "force", json_object_new_boolean(true));
        return change(vm, "eject", args, on_medium_changed, done, userdata);
}

/*
 * Plugging takes two requests, what is on the host's side first; unplugging waits for the guest in between.
 * A guest without a driver for hot-plug never lets go: then there is an error after a while, and nothing changed.
 */
#define UNPLUG_MAX (10 * USEC_PER_SEC)

static void plug_finished(Vm *vm, int r, const char *text)
{
        vm->plug.deadline = sd_event_source_disable_unref(vm->plug.deadline);
        json_object_put(vm->plug.device);
        json_object_put(vm->plug.controller);
        vm->plug.device = vm->plug.controller = NULL;
        keep_result(vm, r, text);
        if (r < 0 && vm->plug.names.n > 0)
                qemu_image_drop(vm, vm->plug.id, true, finish_with_result);
        else {
                qemu_image_forget(vm);
                finish_with_result(vm);
        }
}

static void on_undone(void *userdata, _unused_ int r, _unused_ json_object *value, _unused_ const char *text)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->plug.why);

        plug_finished(vm, -EIO, why ? why : "out of memory");
}

/* Where the tap device of the card vifN is noted. */
static char *plugged_tap(Vm *vm)
{
        return vm->taps[strtoul(vm->plug.id + strlen("vif"), NULL, 10) % NICS_MAX];
}

static int remove_host_side(Vm *vm, QmpDone next)
{
        json_object *args = NULL;
        const char *command = NULL;
        char name[64];

        if (vm->plug.kind == VM_DEVICE_DISK) {
                command = "blockdev-del";
                snprintf(name, sizeof name, "node-%.58s", vm->plug.id);
                args = object("node-name", json_object_new_string(name));
        } else if (vm->plug.kind == VM_DEVICE_NIC) {
                command = "netdev_del";
                plugged_tap(vm)[0] = '\0';
                snprintf(name, sizeof name, "net%.58s", vm->plug.id + strlen("vif"));
                args = object("id", json_object_new_string(name));
        } else if (vm->plug.kind == VM_DEVICE_USB) { /* after an unplugging it is gone, then this fails unheard */
                command = "device_del";
                args = object("id", json_object_new_string(vm->plug.id));
        }
        return command ? vm_request(vm, command, args, next, vm) : -ENODEV;
}

static void on_limited(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        plug_finished(userdata, r, text);
}

/* Only a drive that is in its place takes limits: the guest has it without them for the moment between two requests. */
static int limit_disk(Vm *vm)
{
        const char *const none[] = { "bps_rd", "bps_wr", "iops_rd", "iops_wr" };
        char path[120];
        json_object *args;

        /* The part of a virtio disk that holds the drive has no id of its own. */
        snprintf(path, sizeof path, "/machine/peripheral/%s/virtio-backend", vm->plug.id);
        args = object("id", json_object_new_string(path));
        if (!args)
                return -ENOMEM;
        json_object_object_add(args, "bps", json_object_new_int64(vm->plug.bps));
        json_object_object_add(args, "iops", json_object_new_int64(vm->plug.iops));
        for (size_t i = 0; i < ELEMENTSOF(none); i++)
                json_object_object_add(args, none[i], json_object_new_int64(0));
        return vm_request(vm, "block_set_io_throttle", args, on_limited, vm);
}

static void on_device_added(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r >= 0) {
                if (vm->plug.kind == VM_DEVICE_NIC)
                        memcpy(plugged_tap(vm), vm->plug.tap, sizeof vm->plug.tap);
                r = vm->plug.bps || vm->plug.iops ? limit_disk(vm) : 1;
                if (r != 0)
                        plug_finished(vm, MIN2(r, 0), r < 0 ? strerror(-r) : NULL);
                return;
        }
        free(vm->plug.why);
        vm->plug.why = strdup(text);
        if (remove_host_side(vm, on_undone) < 0)
                on_undone(vm, 0, NULL, NULL);
}

static void on_host_side_added(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r < 0) {
                plug_finished(vm, r, text);
                return;
        }
        r = vm_request(vm, "device_add", TAKE_PTR(vm->plug.device), on_device_added, vm);
        if (r < 0)
                on_device_added(vm, r, NULL, strerror(-r));
}

/* host_side and device are taken over; host_side NULL: there is none. */
static int plug(Vm *vm, const char *command, json_object *host_side, json_object *device, VmDone done, void *userdata)
{
        int r;

        if (!device) {
                json_object_put(host_side);
                return -ENOMEM;
        }
        json_object_put(vm->plug.device);
        vm->plug.device = device;
        if (host_side)
                return change(vm, command, host_side, on_host_side_added, done, userdata);
        r = change(vm, "device_add", device, on_device_added, done, userdata);
        vm->plug.device = NULL;
        return r;
}

static void on_image_given(Vm *vm, int r, const char *text)
{
        json_object *node = r >= 0 ? qemu_image_node(vm) : NULL;
        char name[64];

        if (node) {
                snprintf(name, sizeof name, "node-%.58s", vm->plug.id);
                set_text(node, "node-name", name);
                json_object_object_add(node, "read-only", json_object_new_boolean(!vm->plug.writable));
                r = vm_request(vm, "blockdev-add", node, on_host_side_added, vm);
        } else if (r >= 0)
                r = -ENOMEM;
        if (r < 0)
                plug_finished(vm, r, text ? text : strerror(-r));
}

static int attach_disk(Vm *vm, const VmDisk *d, VmDone done, void *userdata)
{
        json_object *device;
        char id[40], name[64];

        if (!startswith(d->virtpath, "xvd") || d->cdrom || d->snapshot != VM_SNAPSHOT_NONE || d->key_file ||
            d->type == VM_DISK_VDI || !d->path[0])
                return -ENXIO;
        qemu_disk_id(d, id);
        snprintf(vm->plug.id, sizeof vm->plug.id, "%s", id);
        snprintf(name, sizeof name, "node-%s", id);
        device = object("driver", json_object_new_string("virtio-blk-pci"));
        if (!device)
                return -ENOMEM;
        set_text(device, "id", id);
        set_text(device, "drive", name);
        json_object_put(vm->plug.device);
        vm->plug.device = device;
        vm->plug.writable = d->writable;
        return give(vm, d, d->writable, on_image_given, done, userdata);
}

static void add_forwards(json_object *netdev, const VmNic *n)
{
        json_object *list = n->n_forwards > 0 ? json_object_new_array() : NULL;
        char text[40];

        for (size_t i = 0; list && i < n->n_forwards; i++)
                json_object_array_add(list, object("str", json_object_new_string(qemu_forward(&n->forwards[i], text))));
        if (list)
                json_object_object_add(netdev, "hostfwd", list);
}

static void on_tap_given(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        json_object *netdev = r >= 0 ? object("type", json_object_new_string("tap")) : NULL;

        if (netdev) {
                set_text(netdev, "id", json_get_text(vm->plug.device, "netdev", ""));
                set_text(netdev, "fd", vm->plug.id);
                r = vm_request(vm, "netdev_add", netdev, on_host_side_added, vm);
                text = strerror(-r);
        }
        if (!netdev || r < 0)
                plug_finished(vm, -EIO, text ? text : "out of memory");
}

static void on_tap_made(void *userdata, int r, const char *why, const char *name, int fd)
{
        Vm *vm = userdata;

        vm->plug.call = NULL;
        if (r >= 0) {
                snprintf(vm->plug.tap, sizeof vm->plug.tap, "%s", name);
                r = !vm->qmp ? -ENOTCONN : qmp_send(vm->qmp, "getfd", object("fdname", json_object_new_string(vm->plug.id)), fd, QMP_TIMEOUT, on_tap_given, vm);
        }
        safe_close(fd);
        if (r < 0)
                plug_finished(vm, -EIO, qemu_no_bridge(r, why));
}

/* With its netdev once oxt-helper has made the tap device. */
static int attach_to_bridge(Vm *vm, const char *bridge, json_object *device, VmDone done, void *userdata)
{
        const char *const parameters[] = { "bridge", bridge, NULL };
        int r;

        json_object_put(vm->plug.device);
        vm->plug.device = device;
        r = helper_call(vm->spec.event, vm->spec.paths, "tap-create", parameters, on_tap_made, vm, &vm->plug.call);
        if (r < 0)
                r = refuse_later(vm, qemu_no_bridge(r, NULL));
        if (r >= 0)
                vm->change = (Operation) { done, userdata };
        return r;
}

static int attach_nic(Vm *vm, const VmNic *n, VmDone done, void *userdata)
{
        const char *model = qemu_nic_model(vm->spec.config, n, QEMU_MACHINE_PC);
        json_object *netdev = NULL, *device;
        char name[32];

        if (!model || n->backend_domid != 0 || n->rate > 0 || (n->n_forwards > 0 && !streq(n->bridge, "user")))
                return -ENXIO;
        snprintf(vm->plug.id, sizeof vm->plug.id, "vif%lld", (long long) n->id);
        snprintf(name, sizeof name, "net%lld", (long long) n->id);
        device = object("driver", json_object_new_string(model));
        if (!device)
                return -ENOMEM;
        set_text(device, "id", vm->plug.id);
        set_text(device, "mac", n->mac);
        vm->plug.tap[0] = '\0';
        if (n->bridge && *n->bridge && !streq(n->bridge, "user")) {
                set_text(device, "netdev", name);
                return attach_to_bridge(vm, n->bridge, device, done, userdata);
        }
        if (streq(n->bridge, "user")) {
                netdev = object("type", json_object_new_string("user"));
                if (netdev) {
                        set_text(netdev, "id", name);
                        add_forwards(netdev, n);
                }
                set_text(device, "netdev", name);
        }
        return plug(vm, "netdev_add", netdev, device, done, userdata);
}

static int attach_pci(Vm *vm, const VmPci *p, VmDone done, void *userdata)
{
        json_object *device = object("driver", json_object_new_string("vfio-pci"));
        char host[16], id[40];

        if (!device)
                return -ENOMEM;
        snprintf(vm->plug.id, sizeof vm->plug.id, "%s", qemu_pci_id(p, id));
        set_text(device, "host", qemu_pci_name(p, host));
        set_text(device, "id", vm->plug.id);
        return plug(vm, NULL, NULL, device, done, userdata);
}

/*
 * Each USB device comes behind a controller of its own: that is unplugged with it, runs at any speed, and is there
 * also in VMs that were started without USB.
 */
static void on_usb_given(Vm *vm, int r, const char *text)
{
        char name[40];

        if (r >= 0) {
                snprintf(name, sizeof name, "/dev/fdset/%d", vm->plug.names.items[0].number);
                set_text(vm->plug.device, "hostdevice", name);
                r = vm_request(vm, "device_add", TAKE_PTR(vm->plug.controller), on_host_side_added, vm);
        }
        if (r < 0)
                plug_finished(vm, r, text ? text : strerror(-r));
}

/* fd is taken over. */
static int give_usb(Vm *vm, int fd)
{
        return qemu_device_give(vm, vm->plug.id, vm->plug.node, fd, on_usb_given);
}

static void on_usb_opened(void *userdata, int r, const char *why, _unused_ const char *name, int fd)
{
        Vm *vm = userdata;
        _cleanup_free_ char *text = NULL;

        vm->plug.call = NULL;
        if (r >= 0)
                r = fd < 0 ? -EPROTO : give_usb(vm, fd);
        if (r >= 0)
                return;
        text = strformat("%s: %s", vm->plug.node,
                         r == -ENOENT || r == -ECONNREFUSED ? "Permission denied, and oxt-helper, which could open it, does not run"
                         : why && *why                      ? why
                                                            : strerror(-r));
        plug_finished(vm, -EIO, text);
}

/* Its node is mostly root's: then oxt-helper opens it. */
static int attach_usb(Vm *vm, const UsbDevice *u, VmDone done, void *userdata)
{
        json_object *controller = object("driver", json_object_new_string("qemu-xhci"));
        json_object *device = object("driver", json_object_new_string("usb-host"));
        const char *const parameters[] = { "device", u->name, NULL };
        char name[64];
        int fd, r;

        if (!controller || !device) {
                json_object_put(controller);
                json_object_put(device);
                return -ENOMEM;
        }
        snprintf(vm->plug.id, sizeof vm->plug.id, "usb%s", u->name);
        set_text(controller, "id", vm->plug.id);
        snprintf(name, sizeof name, "%.58s.0", vm->plug.id);
        set_text(device, "bus", name);
        json_object_put(vm->plug.device);
        json_object_put(vm->plug.controller);
        vm->plug.device = device;
        vm->plug.controller = controller;
        fd = open(usb_node(u, vm->plug.node), O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
                r = give_usb(vm, fd);
        else if (errno == EACCES || errno == EPERM) {
                r = helper_call(vm->spec.event, vm->spec.paths, "usb-open", parameters, on_usb_opened, vm, &vm->plug.call);
                if (r == -ENOENT || r == -ECONNREFUSED)
                        r = refuse_later(vm, "Permission denied, and oxt-helper, which could open it, does not run");
        } else
                r = refuse_later(vm, strerror(errno));
        if (r >= 0)
                vm->change = (Operation) { done, userdata };
        return r;
}

int qemu_attach(Vm *vm, const VmDevice *device, VmDone done, void *userdata)
{
        if (vm->change.done)
                return -EBUSY;
        if (vm->machine == QEMU_MACHINE_MICROVM)
                return -EOPNOTSUPP;
        vm->plug.kind = device->kind;
        vm->plug.bps = device->kind == VM_DEVICE_DISK ? device->disk->bps : 0;
        vm->plug.iops = device->kind == VM_DEVICE_DISK ? device->disk->iops : 0;
        switch (device->kind) {
        case VM_DEVICE_DISK:
                return attach_disk(vm, device->disk, done, userdata);
        case VM_DEVICE_NIC:
                return attach_nic(vm, device->nic, done, userdata);
        case VM_DEVICE_PCI:
                return attach_pci(vm, device->pci, done, userdata);
        case VM_DEVICE_USB:
                return attach_usb(vm, device->usb, done, userdata);
        }
        return -EINVAL;
}

static void unplugged(Vm *vm)
{
        plug_finished(vm, 0, NULL);
}

static void on_host_side_removed(void *userdata, _unused_ int r, _unused_ json_object *value, _unused_ const char *text)
{
        Vm *vm = userdata;

        /* A disk of the start takes its drive along: then there is nothing left to remove but its descriptors. */
        if (vm->plug.kind == VM_DEVICE_DISK || vm->plug.kind == VM_DEVICE_USB)
                qemu_image_drop(vm, vm->plug.id, false, unplugged);
        else
                unplugged(vm);
}

static int on_unplug_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        plug_finished(userdata, -ETIMEDOUT, "the guest does not let go of the device");
        return 0;
}

static void on_device_del(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r < 0) {
                plug_finished(vm, r, text);
                return;
        }
        if (!vm->plug.unplugging)
                return; /* the event came before the answer */
        if (sd_event_add_time_relative(vm->spec.event, &vm->plug.deadline, CLOCK_MONOTONIC, backend_scaled(UNPLUG_MAX), 0, on_unplug_deadline,
                                       vm) < 0)
                plug_finished(vm, -ENOMEM, NULL);
}

/* The id is that of the lists, and all functions that have it are one device; QEMU unplugs one function at a time. */
static const VmPci *find_pci(const VmConfig *c, const char *id, const char **ret_why)
{
        const VmPci *found = NULL;
        int64_t devid;

        if (parse_i64(id, &devid) < 0)
                devid = -1;
        *ret_why = "the VM has no such PCI device; 'list' shows those that it has";
        for (size_t i = 0; i < c->pci.n; i++)
                if (c->pci.items[i].devid == devid) {
                        if (found)
                                *ret_why = "a device of several functions cannot be unplugged from a running VM";
                        found = found ? NULL : &c->pci.items[i];
                        if (!found)
                                break;
                }
        return found;
}

int qemu_detach(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata)
{
        const VmPci *pci = NULL;
        const char *why;
        char pci_id[40];
        int r;

        if (vm->change.done)
                return -EBUSY;
        if (vm->machine == QEMU_MACHINE_MICROVM)
                return -EOPNOTSUPP;
        vm->plug.kind = kind;
        if (kind == VM_DEVICE_PCI) {
                pci = find_pci(vm->spec.config, id, &why);
                r = pci ? 0 : refuse_later(vm, why);
                if (!pci && r >= 0)
                        vm->change = (Operation) { done, userdata };
                if (!pci)
                        return r;
                id = qemu_pci_id(pci, pci_id);
        }
        snprintf(vm->plug.id, sizeof vm->plug.id, "%s%s", kind == VM_DEVICE_NIC ? "vif" : kind == VM_DEVICE_USB ? "usb" : "", id);
        r = change(vm, "device_del", object("id", json_object_new_string(vm->plug.id)), on_device_del, done, userdata);
        vm->plug.unplugging = r >= 0;
        return r;
}

/*
 * A guest can let go of a device long after it was asked, or without: that is told, and the host's side goes then. It waits
 * until no other change is under way, and QEMU can be asked.
 */

/* As for detach(). false: it is none of the VM's, or of a kind that cannot be unplugged. */
static bool find_device(const Vm *vm, const char *untrusted_id, VmDeviceKind *ret_kind, char ret_name[static 40])
{
        const VmConfig *c = vm->spec.config;
        const char *usb = startswith(untrusted_id, "usb");
        char id[40];

        for (size_t i = 0; i < c->disk.n; i++)
                if (streq(qemu_disk_id(&c->disk.items[i], id), untrusted_id)) {
                        *ret_kind = VM_DEVICE_DISK;
                        snprintf(ret_name, 40, "%.39s", c->disk.items[i].virtpath);
                        return true;
                }
        for (size_t i = 0; i < c->nic.n; i++) {
                snprintf(id, sizeof id, "vif%lld", (long long) c->nic.items[i].id);
                if (streq(id, untrusted_id)) {
                        *ret_kind = VM_DEVICE_NIC;
                        snprintf(ret_name, 40, "%s", id + strlen("vif"));
                        return true;
                }
        }
        for (size_t i = 0; i < c->pci.n; i++)
                if (streq(qemu_pci_id(&c->pci.items[i], id), untrusted_id)) {
                        *ret_kind = VM_DEVICE_PCI;
                        snprintf(ret_name, 40, "%lld", (long long) c->pci.items[i].devid);
                        return true;
                }
        if (!usb || !usb_name_valid(usb))
                return false;
        *ret_kind = VM_DEVICE_USB;
        snprintf(ret_name, 40, "%.39s", usb);
        return true;
}

static void on_late_end(_unused_ void *userdata, int r, const char *text)
{
        if (r < 0)
                log_warning("What the host has for a device that is gone stays: %s", text);
}

static int on_let_go(_unused_ sd_event_source *s, void *userdata)
{
        Vm *vm = userdata;
        char id[sizeof vm->plug.id], name[40];
        VmDeviceKind kind;

        vm->plug.late_source = sd_event_source_disable_unref(vm->plug.late_source);
        while (vm->plug.n_late > 0 && !vm->change.done && vm->greeted && !vm->ending) {
                memcpy(id, vm->plug.late[0], sizeof id);
                memmove(vm->plug.late, vm->plug.late + 1, --vm->plug.n_late * sizeof vm->plug.late[0]);
                if (!find_device(vm, id, &kind, name))
                        continue;
                vm->spec.events->unplugged(vm->spec.userdata, kind, name);
                qemu_image_forget(vm);
                vm->plug.kind = kind;
                memcpy(vm->plug.id, id, sizeof id);
                vm->change = (Operation) { on_late_end, vm };
                if (remove_host_side(vm, on_host_side_removed) < 0)
                        plug_finished(vm, 0, NULL);
        }
        return 0;
}

void qemu_hotplug_go_on(Vm *vm)
{
        if (vm->plug.n_late > 0 && !vm->plug.late_source)
                (void) sd_event_add_defer(vm->spec.event, &vm->plug.late_source, on_let_go, vm);
}

void qemu_hotplug_on_event(Vm *vm, const char *name, json_object *untrusted_data)
{
        const char *untrusted_id = untrusted_data ? json_get_text(untrusted_data, "device", "") : "";
        bool awaited = vm->plug.unplugging && streq(untrusted_id, vm->plug.id);

        if (streq(name, "DEVICE_UNPLUG_GUEST_ERROR") && awaited && vm->plug.deadline)
                plug_finished(vm, -EIO, "the guest refuses to let go of the device");
        if (!streq(name, "DEVICE_DELETED") || !untrusted_id[0])
                return;
        if (awaited) {
                vm->plug.unplugging = false;
                vm->plug.deadline = sd_event_source_disable_unref(vm->plug.deadline);
                if (remove_host_side(vm, on_host_side_removed) < 0)
                        plug_finished(vm, 0, NULL);
        } else if (vm->plug.n_late < ELEMENTSOF(vm->plug.late) && strlen(untrusted_id) < sizeof vm->plug.late[0]) {
                memcpy(vm->plug.late[vm->plug.n_late++], untrusted_id, strlen(untrusted_id) + 1);
                (void) on_let_go(NULL, vm);
        }
}

void qemu_hotplug_release(Vm *vm)
{
        vm->plug.late_source = sd_event_source_disable_unref(vm->plug.late_source);
        vm->plug.deadline = sd_event_source_disable_unref(vm->plug.deadline);
        json_object_put(vm->plug.device);
        json_object_put(vm->plug.controller);
        vm->plug.device = vm->plug.controller = NULL;
        qemu_image_forget(vm);
        free(TAKE_PTR(vm->plug.why));
        vm->plug.call = helper_call_cancel(vm->plug.call);
}
