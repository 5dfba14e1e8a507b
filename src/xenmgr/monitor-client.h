/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Talking to the monitors: one xenvm process for each VM, on the bus as org.xen.vm.uuid_<U>. Every call
 * is asynchronous and has a time limit. A monitor that dies under a running VM is started again and
 * finds its VM by its own record.
 */
#include "vm.h"

/* error NULL: success, reply is the text (may be ""). Not called after monitor_call_cancel(). */
typedef void (*MonitorReply)(Vm *vm, const char *reply, const sd_bus_error *error, void *userdata);

/* args: key, value, key, value, …, NULL; may be NULL. ret may be NULL. */
int monitor_call(Vm *vm, const char *member, const char *const *args, uint64_t timeout_usec, MonitorReply done,
                 void *userdata, MonitorCall **ret);
MonitorCall *monitor_call_cancel(MonitorCall *c);

/* At each connection to the bus, before our name: matches, and the monitors that are there. */
int monitor_bus_up(Manager *m);
void monitor_bus_down(Manager *m);

/*
 * Starts the process with <runtime>/vm/<uuid>/xenvm.conf. It tells of itself by lifecycle_monitor_up()
 * or lifecycle_monitor_failed().
 */
int monitor_spawn(Vm *vm);
/* Brings monitors up again for VMs that run without one (after both were killed). */
void monitor_adopt_orphans(Manager *m);
/* Ends a monitor that hangs, also one that is coming up. Its VM lives on. */
void monitor_kill(Vm *vm);
/* Tells it to end; the VM has none afterwards. */
void monitor_quit(Vm *vm);
void monitor_forget(Vm *vm);
