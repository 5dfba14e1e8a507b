/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cards that change networks: the cable is pulled, the tap device moved, and the cable put in again, so that the guest asks
 * for a new address.
 */
#include "qemu-vm.h"
#include "strbuf.h"

#define CABLE_OUT_USEC (500 * USEC_PER_MSEC)

static int set_link_args(Vm *vm, const char *name, bool up, QmpDone next)
{
        json_object *args = json_object_new_object();

        if (args) {
                json_object_object_add(args, "name", json_object_new_string(name));
                json_object_object_add(args, "up", json_object_new_boolean(up));
        }
        return vm_request(vm, "set_link", args, next, vm);
}

static void on_link_up(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->plug.why);

        qemu_change_done(vm, why ? -EIO : r, why ? why : r < 0 ? text : NULL);
}

static int on_cable_out(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        vm->plug.deadline = sd_event_source_disable_unref(vm->plug.deadline);
        if (set_link_args(vm, vm->plug.id, true, on_link_up) < 0)
                on_link_up(vm, -EIO, NULL, "QEMU cannot be asked");
        return 0;
}

/* Guests look at the cable when they are told that something changed: one that is out for less time was never out. */
static void put_link_up(Vm *vm)
{
        if (sd_event_add_time_relative(vm->spec.event, &vm->plug.deadline, CLOCK_MONOTONIC, CABLE_OUT_USEC, 0, on_cable_out, vm) < 0)
                (void) on_cable_out(NULL, 0, vm);
}

/* Where the device could not be moved the card stays where it was, with its cable. */
static void on_moved(void *userdata, int r, const char *why, _unused_ const char *name, int fd)
{
        Vm *vm = userdata;

        vm->plug.call = NULL;
        safe_close(fd);
        if (r < 0)
                vm->plug.why = strformat("the card is left on its network: %s", qemu_no_bridge(r, why));
        put_link_up(vm);
}

static void on_link_down(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        const char *const parameters[] = { "tap", vm->plug.tap, "bridge", vm->plug.bridge, NULL };

        if (r < 0) {
                qemu_change_done(vm, -EIO, text);
                return;
        }
        if (!vm->plug.tap[0]) {
                put_link_up(vm);
                return;
        }
        r = helper_call(vm->spec.event, vm->spec.paths, "tap-move", parameters, on_moved, vm, &vm->plug.call);
        if (r < 0)
                on_moved(vm, r, NULL, NULL, -EBADF);
}

int qemu_set_link(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata)
{
        const char *tap = nic->id >= 0 && nic->id < NICS_MAX ? vm->taps[nic->id] : "";
        int r;

        if (vm->change.done)
                return -EBUSY;
        /*
         * A card with a tap device goes to any bridge that oxt-helper lets it, also back to the config's. Another can
         * only stay where it is.
         */
        if (tap[0] ? strlen(bridge) >= sizeof vm->plug.bridge : !streq(nic->bridge, bridge) && !streq(nic->network, bridge))
                return -ENETUNREACH;
        snprintf(vm->plug.id, sizeof vm->plug.id, "vif%lld", (long long) nic->id);
        snprintf(vm->plug.tap, sizeof vm->plug.tap, "%s", tap);
        snprintf(vm->plug.bridge, sizeof vm->plug.bridge, "%.15s", bridge);
        free(TAKE_PTR(vm->plug.why));
        r = set_link_args(vm, vm->plug.id, false, on_link_down);
        if (r >= 0)
                vm->change = (Operation) { done, userdata };
        return r;
}
