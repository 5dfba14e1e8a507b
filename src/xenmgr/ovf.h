/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The environment of an OVF appliance (DMTF DSP8027): what its guest is to know of the properties that were set. A VM with
 * ovf-transport-iso finds it on a CD, as ovf-env.xml, beside the files of <storage>/ovffiles/<uuid>.
 */
#include "vm.h"

/* The document, to free; NULL: out of memory. */
char *ovf_environment(Vm *vm);
/* Where the CD is, to free; NULL: the VM has none, or out of memory. */
char *ovf_cd_path(Vm *vm);
/* Whether the CD can be made, where the VM has one. Returns 0, or negative errno with a text to free where there is more to say. */
int ovf_cd_check(Vm *vm, char **ret_why);
/* Makes it, likewise. */
int ovf_cd_write(Vm *vm, char **ret_why);
/* The VM has ended. */
void ovf_cd_remove(Vm *vm);
