/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the commands of `oxt db` share. */
#include "oxt.h"
#include "store.h"

extern const char *command_database; /* --database */

typedef struct Command {
        Stack stack;
        char *database, *lock;
        char **words; /* what is no option */
} Command;

/* Parses a command's line; negative with *ret_exit set. Between min and max words must remain. */
int command_open(Command *c, const char *name, const char *synopsis, const char *summary, const Option *options,
                 int min, int max, int argc, char *argv[], int *ret_exit);
void command_done(Command *c);
/* Open the database for reading, or say why not. *ret may be set on failure too. */
int command_open_store(const Command *c, Store **ret);
int command_open_tree(const Command *c, Store **ret_store, Tree *ret);

int db_log(int argc, char *argv[], void *userdata);
int db_diff(int argc, char *argv[], void *userdata);
int db_undo(int argc, char *argv[], void *userdata);
