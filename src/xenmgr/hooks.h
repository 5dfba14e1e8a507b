/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Hooks: programs and D-Bus calls that the run-* keys of a VM name. Only the host can set those keys.
 * Items run one after the other, each with a time limit; the first failure ends the hook.
 */
#include "vm.h"

typedef struct Hook Hook;

/* error NULL: all items succeeded. */
typedef void (*HookDone)(const char *error, void *userdata);

/*
 * Runs the hook of that key with the uuid and up to one more argument. Returns 0 when none is
 * configured (done is not called), 1 when it runs, or a negative errno. ret may be NULL.
 */
int hook_run(Vm *vm, const char *key, const char *argument, HookDone done, void *userdata, Hook **ret);
/*
 * The same for what happened to a VM, behind the hooks of what happened to it before: one at a time, in order. Nobody waits for
 * it, and it is run even if the VM has left the database by then. Returns 0, or a negative errno: it is not run.
 */
int hook_queue(Vm *vm, const char *key, const char *argument);
/* Stops it; done is not called. */
Hook *hook_cancel(Hook *h);
