/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-nodes.h"

#include <unistd.h>

#include "guest-nodes.h"
#include "host.h"
#include "log.h"
#include "manager.h"
#include "monitor-client.h"
#include "strbuf.h"
#include "xen-control.h"

#define TELL_USEC (10 * USEC_PER_SEC)

bool xen_needs_helper(void)
{
        return xen_control_access(F_OK) && !xen_control_access(R_OK | W_OK);
}

int xen_nodes_watched(Vm *vm, char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        const char *sentinel = vm_text(vm, "boot-sentinel", "");
        int r = 0;

        if (host_is_xen()) {
                r = guest_nodes_known(&l);
                if (r >= 0 && *sentinel)
                        r = strv_extend(&l, sentinel);
        }
        if (r >= 0)
                *ret = TAKE_PTR(l);
        return r;
}

/* In the order of the node of the database; a flag is 0 or 1 there. */
static const struct {
        const char *node, *path;
        bool flag;
} rows[] = {
        { "name", "name", false },      { "slot", "slot", false },
        { "image", "image_path", false }, { "type", "type", false },
        { "hidden", "hidden", true },   { "hide-switcher", "show-switcher", true },
        { "seamlessid", "seamless-id", false },
};

static void on_told(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        if (error)
                log_debug("The monitor of %s does not write to xenstore: %s", vm->uuid, strempty(error->message));
}

static void tell(Vm *vm, const char *node, const char *value)
{
        const char *const args[] = { "name", node, "value", value, NULL };

        (void) monitor_call(vm, "publish", args, TELL_USEC, on_told, NULL, NULL);
}

static void tell_row(Vm *vm, size_t i)
{
        bool v;

        if (!rows[i].flag) {
                tell(vm, rows[i].node, vm_text(vm, rows[i].path, streq(rows[i].node, "slot") ? "0" : ""));
                return;
        }
        v = streq(rows[i].node, "hide-switcher") ? !vm_bool(vm, rows[i].path, true) : vm_bool(vm, rows[i].path, false);
        tell(vm, rows[i].node, v ? "1" : "0");
}

void xen_nodes_tell(Vm *vm)
{
        if (!host_is_xen())
                return;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tell_row(vm, i);
        if (vm_is_service(vm))
                tell(vm, vm_text(vm, "type", ""), "1");
}

void xen_nodes_changed(Vm *vm, const char *path)
{
        if (!vm_is_running(vm) || !host_is_xen())
                return;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (streq(rows[i].path, path))
                        tell_row(vm, i);
}
