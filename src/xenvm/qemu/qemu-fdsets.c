/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images for a running QEMU: each layer is sent as a descriptor, into a set that QEMU numbers and whose label says what it
 * is for. A set that is no longer needed is found by its label, also by a monitor that has not made it.
 */
#include "log.h"
#include "qemu-vm.h"

static void image_given(Vm *vm, int r, const char *text)
{
        void (*next)(Vm *, int, const char *) = TAKE_PTR(vm->plug.image_next);

        next(vm, r, text);
}

static void on_fd_added(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        int64_t set = r >= 0 && json_object_is_type(value, json_type_object) ? json_get_int(value, "fdset-id", -1) : -1;

        if (set < 0 || set > INT32_MAX) {
                if (!vm->plug.why)
                        vm->plug.why = strdup(r < 0 ? text : "QEMU does not say where it has put a file");
                set = -1;
        }
        vm->plug.names.items[vm->plug.n_sets++].number = (int) set;
        if (vm->plug.n_sets < vm->plug.names.n)
                return; /* answers come in order; the last goes on */
        {
                _cleanup_free_ char *why = TAKE_PTR(vm->plug.why);

                image_given(vm, why ? -EIO : 0, why);
        }
}

void qemu_image_forget(Vm *vm)
{
        qemu_image_done(&vm->plug.image);
        qemu_files_done(&vm->plug.names);
        vm->plug.n_sets = 0;
}

/* As `-add-fd` has it too: disk-hda, but usb1-2.3. */
static void label_of(const char *id, char buf[static 48])
{
        snprintf(buf, 48, "%s%.42s", startswith(id, "usb") ? "" : "disk-", id);
}

/* What is in vm->plug.image. */
static int send_layers(Vm *vm, const char *id, void (*next)(Vm *vm, int r, const char *text))
{
        char label[48];
        int r = 0;

        label_of(id, label);
        for (size_t i = 0; r >= 0 && i < vm->plug.image.n; i++)
                r = qemu_files_add(&vm->plug.names, 0, QEMU_FILE_READ, label, vm->plug.image.layers[i].path, -EBADF);
        free(TAKE_PTR(vm->plug.why));
        vm->plug.image_next = next;
        for (size_t i = 0; r >= 0 && i < vm->plug.image.n; i++) {
                json_object *args = json_object_new_object();

                if (args)
                        json_object_object_add(args, "opaque", json_object_new_string(label));
                r = vm->qmp ? qmp_send(vm->qmp, "add-fd", args, vm->plug.image.layers[i].fd, QMP_TIMEOUT, on_fd_added, vm) : -ENOTCONN;
        }
        if (r < 0)
                qemu_image_forget(vm);
        return MIN2(r, 0);
}

int qemu_image_give(Vm *vm, const VmDisk *d, bool writable, void (*next)(Vm *vm, int r, const char *text), char **ret_why)
{
        char id[40];
        int r;

        qemu_image_forget(vm);
        r = qemu_image_open(vm->spec.paths, d, writable, &vm->plug.image, ret_why);
        return r < 0 ? r : send_layers(vm, qemu_disk_id(d, id), next);
}

int qemu_device_give(Vm *vm, const char *id, const char *path, int fd, void (*next)(Vm *vm, int r, const char *text))
{
        qemu_image_forget(vm);
        vm->plug.image.layers[0] = (QemuLayer) { .path = strdup(path), .fd = fd };
        vm->plug.image.n = 1;
        if (vm->plug.image.layers[0].path)
                return send_layers(vm, id, next);
        qemu_image_forget(vm);
        return -ENOMEM;
}

json_object *qemu_image_node(const Vm *vm)
{
        json_object *below = NULL;

        for (size_t i = vm->plug.image.n; i-- > 0;) {
                json_object *node = json_object_new_object(), *file = json_object_new_object();
                char name[40];

                if (!node || !file) {
                        json_object_put(node);
                        json_object_put(file);
                        json_object_put(below);
                        return NULL;
                }
                snprintf(name, sizeof name, "/dev/fdset/%d", vm->plug.names.items[i].number);
                json_object_object_add(file, "driver", json_object_new_string(vm->plug.image.layers[i].driver));
                json_object_object_add(file, "filename", json_object_new_string(name));
                json_object_object_add(node, "driver", json_object_new_string(vm->plug.image.layers[i].format));
                json_object_object_add(node, "file", file);
                if (below)
                        json_object_object_add(node, "backing", below);
                below = node;
        }
        return below;
}

/* Taking back */

static bool is_new(const Vm *vm, int64_t set)
{
        for (size_t i = 0; i < vm->plug.names.n; i++)
                if (vm->plug.names.items[i].number == set)
                        return true;
        return false;
}

static void on_sets(void *userdata, int r, json_object *value, _unused_ const char *text)
{
        Vm *vm = userdata;

        for (size_t i = 0; r >= 0 && json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
                json_object *set = json_object_array_get_idx(value, i), *fds, *args;
                int64_t id = json_object_is_type(set, json_type_object) ? json_get_int(set, "fdset-id", -1) : -1;

                fds = id >= 0 ? json_get_member(set, "fds", json_type_array) : NULL;
                for (size_t k = 0; fds && k < json_object_array_length(fds); k++) {
                        json_object *fd = json_object_array_get_idx(fds, k);

                        if (!json_object_is_type(fd, json_type_object) || !streq(json_get_text(fd, "opaque", ""), vm->plug.label) ||
                            is_new(vm, id) != vm->plug.drop_new)
                                continue;
                        args = json_object_new_object();
                        if (args)
                                json_object_object_add(args, "fdset-id", json_object_new_int64(id));
                        (void) vm_request(vm, "remove-fd", args, NULL, NULL);
                        break;
                }
        }
        qemu_image_forget(vm);
        vm->plug.dropped(vm);
}

void qemu_image_drop(Vm *vm, const char *id, bool the_new, void (*next)(Vm *vm))
{
        label_of(id, vm->plug.label);
        vm->plug.drop_new = the_new;
        vm->plug.dropped = next;
        if (vm_request(vm, "query-fdsets", NULL, on_sets, vm) < 0)
                on_sets(vm, -EIO, NULL, NULL);
}
