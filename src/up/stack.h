/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What every command of `oxt` starts with: which stack is meant, and its settings. */
#include "options.h"
#include "paths.h"
#include "settings.h"

typedef struct Stack {
        Paths paths;
        bool private_bus; /* the stack has a bus of its own; else the host's system bus is used */
        bool root;        /* started by root: daemons become users of their own */
} Stack;

/* --state-dir, --runtime-dir, --bus, --debug: for Program.more_options. May be given to `oxt`, to a group and to its command. */
extern const Option stack_options[];

/*
 * Parses the command line of one command with stack_options added, and fills *ret. Returns the index
 * of the first word, or a negative value with *ret_exit set.
 */
int stack_open(Stack *ret, const Program *program, int argc, char *argv[], int *ret_exit);
void stack_done(Stack *s);

/* Runs a command of a group such as `oxt vm`: options of the stack are taken in front of it too. Returns the exit status. */
int stack_group(const Program *program, int argc, char *argv[]);

/* Where this stack's bus is, whatever DBUS_SYSTEM_BUS_ADDRESS says of another one. NULL on out of memory. */
char *stack_bus_address(const Stack *s);
