/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The VMs of a stack as its manager lists them, for tools. Functions print what went wrong. */
#include <systemd/sd-bus.h>

#include "util.h"

#define XENMGR "com.citrix.xenclient.xenmgr"
#define XENMGR_VM XENMGR ".vm"
#define XENMGR_OWN "org.oxt.Xenmgr1"
#define BUS_PROPERTIES "org.freedesktop.DBus.Properties"

typedef struct VmEntry {
        char *path, *name, *uuid, *state;
        int64_t domid, memory, vcpus; /* domid -1: does not run */
        bool known;                   /* false: it was deleted while it was asked */
        size_t *waiting;
} VmEntry;

typedef struct VmTable {
        const char *program; /* for messages */
        VmEntry *items;
        size_t n;
        size_t waiting;
} VmTable;

/*
 * Fills l (l->program is set by the caller): one call for the list, one GetAll for each VM, all of
 * those under way at once. Only VMs that are still there are kept. 0 or negative errno.
 */
int vmtable_load(VmTable *l, sd_bus *bus);
void vmtable_done(VmTable *l);
#define _cleanup_vmtable_ _cleanup_(vmtable_done)
/* Running ones first, by domid; the others as they were. */
void vmtable_sort(VmTable *l);
/* The first VM of that name, and how many there are. NULL: none. */
const VmEntry *vmtable_find_name(const VmTable *l, const char *name, unsigned *ret_n);
/* The VM whose name is nearest to a mistyped one; NULL: none is near. */
const VmEntry *vmtable_nearest(const VmTable *l, const char *name);
const VmEntry *vmtable_find_uuid(const VmTable *l, const char *uuid);

/* What the manager tells clients as "204:text", for people: "text (error 204)". To free; NULL: out of memory. */
char *error_to_text(const char *message);
/* Says what failed: with what was asked of whom and the service's own words. Returns r. */
int vmtable_fail(const char *program, const char *what, int r, const sd_bus_error *error);
