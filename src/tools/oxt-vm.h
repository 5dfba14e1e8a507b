/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the commands of `oxt vm` share. */
#include "oxt.h"
#include "vm-table.h"

/* How long an answer may take: a start may have to wait for other VMs. */
#define VMCOMMAND_USEC (600 * USEC_PER_SEC)

/* A command that talks to the manager. */
typedef struct VmCommand {
        const char *name; /* "oxt vm start" */
        Stack stack;
        bool opened;
        sd_bus *bus;
} VmCommand;

/*
 * Parses the command line and connects. Returns the index of the first word, or negative with
 * *ret_exit set (what is wrong was printed). vmcommand_done() in any case.
 */
int vmcommand_open(VmCommand *c, const Program *program, int min, int max, int argc, char *argv[], int *ret_exit);
void vmcommand_done(VmCommand *c);
#define _cleanup_vmcommand_ _cleanup_(vmcommand_done)

/* The object path of the VM of that uuid or name, to free. Says why not. */
int vmcommand_choose(VmCommand *c, const char *choice, char **ret_path);

/* Prints what went wrong with `what`; returns r. */
int vmcommand_fail(const VmCommand *c, const char *what, int r, const sd_bus_error *error);
/* Calls and waits; on failure prints "NAME: WHAT: TEXT". ret may be NULL. */
int vmcommand_call(VmCommand *c, const char *what, const char *path, const char *interface, const char *member,
                   sd_bus_message **ret, const char *types, ...);
int vmcommand_set_text(VmCommand *c, const char *path, const char *interface, const char *property, const char *text);
/* A property as text, to free. */
int vmcommand_get(VmCommand *c, const char *path, const char *interface, const char *property, char **ret);
/* The paths that list_disks or list_nics gives, to free. */
int vmcommand_list(VmCommand *c, const char *path, const char *method, char ***ret);

/* Whether a VM may be named so; prints why not. */
int vmcommand_check_name(const VmCommand *c, const char *name);
/* Starts and waits. What went wrong was printed, with what tells more. */
int vmcommand_start(VmCommand *c, const char *vm, const char *path);
/*
 * Splits "key=value", finds the row of the key and checks the value. Says what is right otherwise, with
 * the nearest keys. *ret_value points into word.
 */
struct VmKey;
int vmcommand_parse_setting(const VmCommand *c, char *word, const struct VmKey **ret_key, const char **ret_value);
int vmcommand_apply_setting(VmCommand *c, const char *path, const struct VmKey *key, const char *value);

/* Completion: the VMs' names. */
void vmcommand_complete(int n_words, char *words[]);

int oxt_vm(int argc, char *argv[], void *userdata);
int vm_act(int argc, char *argv[], void *userdata);
int vm_create(int argc, char *argv[], void *userdata);
int vm_usb(int argc, char *argv[], void *userdata);
