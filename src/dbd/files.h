/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The files of OpenXT's dbd: a folder with `db` (the tree without /vm and /dom-store), `vms/X.db` and
 * `dom-store/X.db` (their children), and other files below those two, which are binary nodes.
 */
#include "tree.h"

/* Told of each file that was left out, and why. */
typedef void (*FilesReport)(const char *path, const char *why, void *userdata);

/*
 * Reads such a folder, changing nothing in it, as the contract has it: FILE.tmp stands in where FILE is
 * missing or incomplete, an empty file is an empty tree, folders are walked in the order of names. A
 * bad file is reported and left out; -ENOENT or -EBADMSG when it is the main one.
 */
int files_read(const char *dir, Tree *ret, FilesReport report, void *userdata);

/* Writes the tree into a folder, which is made if missing. Each file is written atomically. */
int files_write(const char *dir, const Tree *t, FilesReport report, void *userdata);
