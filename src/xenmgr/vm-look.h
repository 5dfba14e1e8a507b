/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Looking at a running VM: methods of org.oxt.Xenmgr1, for callers of the host alone. */
#include "vm.h"

int method_console(Call *c);
int method_log(Call *c);
int method_screenshot(Call *c);
int method_usage(Call *c);

/* Gives up what is asked of the VM's monitor; the callers get an error. */
void looks_drop(Vm *vm);
