/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Who this process is at the moment. A monitor that oxt-helper started for the VMs' user (xenvm --user) has root
 * as its real user and that user as its effective one: all files, sockets and buses are that user's. Only libxl,
 * which needs the hypervisor, xenstore and hot-plug scripts, works as root: xen-entry.c changes to it on the
 * way into this module, and back on each way out. Where xenvm is simply root, or a user, nothing is changed.
 */
#include <sys/types.h>

#include "util.h"

typedef struct Ids {
        uid_t uid;
        gid_t gid;
} Ids;

/* Give what was before; ids_back() takes it. Nothing is left to be done with a process that cannot change back: it aborts. */
Ids ids_root(void);
Ids ids_user(void);
void ids_back(const Ids *before);

#define AS_ROOT _cleanup_(ids_back) _unused_ Ids ids_before = ids_root()
#define AS_USER _cleanup_(ids_back) _unused_ Ids ids_before = ids_user()

/* xenvm acts for a user: what libxl is told must not reach further than that user could. */
bool ids_restricted(void);
/* access() with the rights of that user. Returns 0 or negative errno. */
int ids_access(const char *path, int mode);
