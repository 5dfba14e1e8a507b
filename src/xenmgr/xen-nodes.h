/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Xenstore, where there is one: its nodes of a VM are the monitor's to read and write, since xenmgr has no right to
 * it. What guests tell comes back as notifications (guest-nodes.h).
 */
#include "vm.h"

/* This is a Xen host, and this process may not open the hypervisor: a monitor takes more than we are. */
bool xen_needs_helper(void);

/* Nodes below /local/domain/<domid> whose changes the monitor shall tell. 0 or -ENOMEM. */
int xen_nodes_watched(Vm *vm, char ***ret);

/*
 * What other programs of the host find of a running VM below /xenmgr/vms/<uuid>: name slot image type hidden
 * hide-switcher seamlessid, and for service VMs a node of their type. Written when its domain was made, and when it changes.
 */
void xen_nodes_tell(Vm *vm);
/* That node of its database was written. */
void xen_nodes_changed(Vm *vm, const char *path);
