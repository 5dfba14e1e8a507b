/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Images that callers of the host hand over as descriptors become files of the storage, so that who makes a VM needs no
 * right to its folders. They are the caller's until a VM has them as a disk: what none has is removed when the caller
 * leaves the bus, by itself or killed, or asks for it.
 */
#include "manager.h"

/* org.oxt.Xenmgr1 on "/": Import, Discard and the signal Progress; src/xenmgr/README.md says what they do. */
extern const BusInterface import_interface;
void imports_bus_down(Manager *m);
