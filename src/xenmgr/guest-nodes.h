/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a guest tells of itself. On Xen it writes nodes below its /local/domain/<domid>; elsewhere its agent
 * sends them over the guest channel (signal node_written of com.citrix.xenclient.guest), and they are kept
 * here for as long as the VM runs. Both ways the same few nodes count, each with a check of its value:
 *
 *     <boot-sentinel>                   its services are up (the name is the VM's key of that name)
 *     attr/PVAddons/…                   version of the tools
 *     attr/PVAddonsUninstalled          1
 *     power-state                       0, 3 or 4: awake, about to sleep, about to hibernate
 *     bsgdev/<a_b_c_d>/lock             0 or 1: it uses that CD drive of the host
 *
 * They are in <runtime>/vm/<uuid>/guest.json too, so that a new xenmgr knows them; beside them host/cd/<a:b:c:d> (cd-drives.h)
 * and host/nic/<n> (network-backends.c), which only the host writes.
 */
#include "vm.h"

/* At each connection to the bus: follows the signals of agents. */
int guest_nodes_bus_up(Manager *m);

/* Their names, but those that any back end tells by itself, and patterns. 0 or -ENOMEM; to free. */
int guest_nodes_known(char ***ret);

/* The monitor (or an agent) says that the guest wrote a node. Anything unknown or too long is ignored. */
void guest_node_written(Vm *vm, const char *untrusted_node, const char *untrusted_value);
#define GUEST_NODE_HOST "host/"

/* Notes something of the host's among them. Its name begins with GUEST_NODE_HOST: so no guest can write it. */
void guest_node_note(Vm *vm, const char *node, const char *value);
/* NULL: not written by this start of the VM. */
const char *guest_node(const Vm *vm, const char *node);
bool guest_sentinel(Vm *vm);

/* A VM was found running: takes up what it had written. */
void guest_nodes_adopt(Vm *vm);
/* It ended. */
void guest_nodes_forget(Vm *vm);
struct GuestNodes *guest_nodes_free(struct GuestNodes *g);
