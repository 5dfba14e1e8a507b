/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way into the back end and out of it: root inside, whoever xenvm acts for outside (xen-ids.h). What comes from
 * the event loop enters in the callbacks of xen-loop.c and xen.c; a VmDone leaves in vm_finish().
 */
#include "xen-ids.h"
#include "xen-vm.h"

/* Out: there is one Vm at a time, and its events always go to the same monitor. */
static struct {
        const VmEvents *events;
        void *userdata;
} outside;

#define OUT(event, parameters, ...)                                \
        static void out_##event parameters                         \
        {                                                          \
                AS_USER;                                           \
                                                                   \
                if (outside.events->event)                         \
                        outside.events->event(outside.userdata, __VA_ARGS__); \
        }

OUT(phase, (_unused_ void *u, TimelinePhase phase), phase)
OUT(ended, (_unused_ void *u, VmEnd end), end)
OUT(gone, (_unused_ void *u, const char *why), why)
OUT(power_state, (_unused_ void *u, int acpi_state), acpi_state)
OUT(node, (_unused_ void *u, const char *node, const char *value), node, value)
OUT(clock_changed, (_unused_ void *u, int64_t offset), offset)
OUT(stopped, (_unused_ void *u, const char *why), why)
OUT(progress, (_unused_ void *u, uint64_t done, uint64_t total), done, total)

static const VmEvents out_events = {
        .phase = out_phase, .ended = out_ended, .gone = out_gone, .power_state = out_power_state,
        .node = out_node,
        .clock_changed = out_clock_changed, .stopped = out_stopped, .progress = out_progress,
};

static VmSpec inside_spec(const VmSpec *spec)
{
        VmSpec s = *spec;

        outside.events = spec->events;
        outside.userdata = spec->userdata;
        s.events = &out_events;
        return s;
}

/* In */

static int in_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why)
{
        VmSpec s = inside_spec(spec);
        AS_ROOT;

        return xen_functions.create(&s, done, userdata, ret, ret_why);
}

static int in_adopt(const VmSpec *spec, const MonitorRecord *record, VmDone done, void *userdata, Vm **ret)
{
        VmSpec s = inside_spec(spec);
        AS_ROOT;

        return xen_functions.adopt(&s, record, done, userdata, ret);
}

#define IN(type, function, parameters, ...)                        \
        static type in_##function parameters                       \
        {                                                          \
                AS_ROOT;                                           \
                                                                   \
                return xen_functions.function(__VA_ARGS__);        \
        }

IN(int, available, (const char **ret_why), ret_why)
IN(int, describe, (const VmSpec *spec, char **ret, char **ret_why), spec, ret, ret_why)
IN(Vm *, free, (Vm *vm), vm)
IN(int64_t, find, (const char *uuid), uuid)
IN(int, host, (HostFacts *ret), ret)
IN(int64_t, free_kib, (void))
IN(int, run, (Vm *vm, VmDone done, void *userdata), vm, done, userdata)
IN(int, pause, (Vm *vm, VmDone done, void *userdata), vm, done, userdata)
IN(int, ask, (Vm *vm, VmAsk what, VmDone done, void *userdata), vm, what, done, userdata)
IN(int, kill, (Vm *vm, bool gently, VmDone done, void *userdata), vm, gently, done, userdata)
IN(int, save, (Vm *vm, int fd, bool live, VmDone done, void *userdata), vm, fd, live, done, userdata)
IN(void, save_cancel, (Vm *vm), vm)
IN(int, attach, (Vm *vm, const VmDevice *device, VmDone done, void *userdata), vm, device, done, userdata)
IN(int, detach, (Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata), vm, kind, id, done, userdata)
IN(int, set_medium, (Vm *vm, const VmDisk *d, const char *path, VmDone done, void *userdata), vm, d, path, done, userdata)
IN(int, set_link, (Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata), vm, nic, bridge, done, userdata)
IN(int, set_nic_backend, (Vm *vm, const VmNic *nic, int64_t domid, VmDone done, void *userdata), vm, nic, domid, done, userdata)
IN(int64_t, stubdomid, (const Vm *vm), vm)
IN(void, publish, (const char *uuid, const char *name, int64_t domid, const char *state), uuid, name, domid, state)
IN(int, show, (Vm *vm, const char *name, const char *value), vm, name, value)
IN(int, set_memory, (Vm *vm, uint64_t kib, VmDone done, void *userdata), vm, kib, done, userdata)
IN(int, vnc_port, (Vm *vm, VmDone done, void *userdata), vm, done, userdata)
IN(char *, console, (const Vm *vm, char **ret_why), vm, ret_why)
IN(int, screenshot, (Vm *vm, const char *path, VmDone done, void *userdata), vm, path, done, userdata)
IN(int, usage, (Vm *vm, VmDone done, void *userdata), vm, done, userdata)

extern Backend backend_xen;
__attribute__((visibility("default"))) Backend backend_xen;

/* What is not named here only looks at memory, and is called as it is. */
__attribute__((constructor)) static void fill_table(void)
{
        backend_xen = xen_functions;
        backend_xen.available = in_available;
        backend_xen.describe = in_describe;
        backend_xen.create = in_create;
        backend_xen.adopt = in_adopt;
        backend_xen.free = in_free;
        backend_xen.find = in_find;
        backend_xen.host = in_host;
        backend_xen.free_kib = in_free_kib;
        backend_xen.run = in_run;
        backend_xen.pause = in_pause;
        backend_xen.ask = in_ask;
        backend_xen.kill = in_kill;
        backend_xen.save = in_save;
        backend_xen.save_cancel = in_save_cancel;
        backend_xen.attach = in_attach;
        backend_xen.detach = in_detach;
        backend_xen.set_medium = in_set_medium;
        backend_xen.set_link = in_set_link;
        backend_xen.set_nic_backend = in_set_nic_backend;
        backend_xen.stubdomid = in_stubdomid;
        backend_xen.publish = in_publish;
        backend_xen.show = in_show;
        backend_xen.set_memory = in_set_memory;
        backend_xen.vnc_port = in_vnc_port;
        backend_xen.console = in_console;
        backend_xen.screenshot = in_screenshot;
        backend_xen.usage = in_usage;
}
