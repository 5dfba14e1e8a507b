/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of operations share. */
#include "monitor.h"

/* Begins an operation; NULL: the request was answered. forced: may interrupt a halt, reboot or sleep. */
Op *op_new(Monitor *m, OpKind kind, Request *q, bool forced);
/* Takes NULL; returns NULL. */
Op *op_free(Op *op);
/* End m->op and answer. */
void op_done(Monitor *m, const char *text);
void op_fail(Monitor *m, const char *fmt, ...) _printf_(2, 3);
/*
 * An operation that goes on when the back end has answered is given up when the guest ends, or `destroy` comes, before
 * that. So it says whose answer it awaits (returns by, to hand to the back end), and the callback does nothing unless
 * op_answered(), once, says that it is still awaited.
 */
VmDone op_await(Monitor *m, VmDone by);
bool op_answered(Monitor *m, VmDone by);
/* Expect m->op. */
void op_start_begin(Monitor *m);
/* What a start needs and cannot be read, in words (to free), or NULL. */
char *op_check_files(const VmConfig *c);
void op_kill_begin(Monitor *m, bool gently, VmState then, bool restart);
/* operations-save.c */
void op_forget_file(Op *op);
void op_power_state_changed(Monitor *m);
