/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What a monitor tells about its VM, handled one after the other. See lifecycle.h. */
#include "vm.h"

/*
 * Takes over a state without telling it: the VM was found so when the manager came up, or is as it was. One whose guest rebooted, or
 * that is to be kept alive, is started.
 */
void events_adopt(Vm *vm, VmState state);
/* A state that was not told by a notification (the monitor was away meanwhile). */
void lifecycle_event_state(Vm *vm, const char *word);
void events_drop(Vm *vm);

/* In lifecycle.c: a job may be waiting for the new state. */
void lifecycle_state_changed(Vm *vm);
/* Ends the monitor of a VM that is stopped and of which nothing is wanted. */
void lifecycle_rest(Vm *vm);
