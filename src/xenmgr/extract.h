/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Kernels inside disks: kernel-extract and initrd-extract of a VM that is not hvm, "[disk[,partition]:]/path". Each is
 * copied before a start by a process that can do nothing else (src/extract), to where config/kernel or config/initrd
 * says, or into the VM's runtime folder.
 */
#include "vm.h"

typedef struct Extract Extract;

/* error NULL: all were copied. From the event loop, once. */
typedef void (*ExtractDone)(const char *error, void *userdata);

/* Returns 0 when nothing is to be taken out, 1 when it is under way, or a negative errno, with what is wrong to free (NULL: no memory). */
int extract_start(Vm *vm, ExtractDone done, void *userdata, Extract **ret, char **ret_why);
Extract *extract_cancel(Extract *e);

/* What would keep it from being taken out (to free), or NULL. key: "kernel" or "initrd". */
char *extract_check(Vm *vm, const char *key);
/* Where the VM's kernel or initrd is: the configured file, or the one that is taken out. To free; NULL: none. */
char *extract_target(Vm *vm, const char *key);
