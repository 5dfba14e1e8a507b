/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a manager was about to do to a VM, written down before it begins: a file in the VM's runtime folder, so
 * that the next one can finish it or take it back.
 */
#include "paths.h"

typedef enum Intent {
        INTENT_START,  /* the monitor was told to build the VM */
        INTENT_CREATE, /* the VM is in the database, or soon will be; nobody was told */
        INTENT_DISKS,  /* records of disks are to go, and then their images; text: "<number> <image>", one a line */
        INTENT_DELETE, /* the VM is to leave the database; text: the files that go with it, one a line */
        _INTENT_MAX,
} Intent;

/* text may be NULL. Returns 0 or negative errno (not logged). */
int intent_set(const Paths *p, const char *uuid, Intent intent, const char *text);
void intent_clear(const Paths *p, const char *uuid, Intent intent);
bool intent_is(const Paths *p, const char *uuid, Intent intent);
/* The text, to free. */
int intent_read(const Paths *p, const char *uuid, Intent intent, char **ret);
/* The uuids of all VMs with that intent, to free with strv_free. */
int intent_list(const Paths *p, Intent intent, char ***ret);
