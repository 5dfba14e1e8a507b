/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes to a running VM: devices, media, memory, links. One at a time (vm->change). */
#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "strbuf.h"

static void on_changed(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        operation_done(&vm->change, r, r < 0 ? text : NULL);
}

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

int qemu_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata)
{
        return change(vm, "balloon", object("value", json_object_new_int64((int64_t) (kib * 1024))), on_changed, done, userdata);
}

int qemu_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata)
{
        json_object *args;
        char id[40];

        args = object("id", json_object_new_string(qemu_disk_id(drive, id)));
        if (!args)
                return -ENOMEM;
        if (!path) {
                json_object_object_add(args, "force", json_object_new_boolean(true));
                return change(vm, "eject", args, on_changed, done, userdata);
        }
        set_text(args, "filename", path);
        set_text(args, "format", "raw");
        set_text(args, "read-only-mode", "read-only");
        return change(vm, "blockdev-change-medium", args, on_changed, done, userdata);
}

static void on_vnc(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        const char *service = "";
        uint64_t port;

        /* A list of servers, each with a list of addresses; the TCP one is looked for. */
        for (size_t i = 0; r >= 0 && json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
                json_object *server = json_object_array_get_idx(value, i), *list = NULL;

                if (json_object_is_type(server, json_type_object))
                        list = json_get_member(server, "server", json_type_array);
                for (size_t k = 0; list && k < json_object_array_length(list); k++) {
                        json_object *a = json_object_array_get_idx(list, k);

                        if (json_object_is_type(a, json_type_object) && streq(json_get_text(a, "family", ""), "ipv4"))
                                service = json_get_text(a, "service", "");
                }
        }
        if (r >= 0 && parse_u64(service, &port) < 0)
                service = "";
        operation_done(&vm->change, r, r < 0 ? text : service);
}

int qemu_vnc_port(Vm *vm, VmDone done, void *userdata)
{
        return change(vm, "query-vnc-servers", json_object_new_object(), on_vnc, done, userdata);
}

int qemu_attach(_unused_ Vm *vm, _unused_ const VmDevice *device, _unused_ VmDone done, _unused_ void *userdata)
{
        return -EOPNOTSUPP;
}

int qemu_detach(_unused_ Vm *vm, _unused_ VmDeviceKind kind, _unused_ const char *id, _unused_ VmDone done, _unused_ void *userdata)
{
        return -EOPNOTSUPP;
}

int qemu_set_link(_unused_ Vm *vm, _unused_ const VmNic *nic, _unused_ const char *bridge, _unused_ VmDone done, _unused_ void *userdata)
{
        return -EOPNOTSUPP;
}

void qemu_hotplug_on_event(_unused_ Vm *vm, _unused_ const char *name, _unused_ json_object *data)
{
}
