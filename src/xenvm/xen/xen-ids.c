/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-ids.h"

#include <fcntl.h>
#include <unistd.h>

/* Whom we act for; known from the first change on. */
static Ids user;
static bool restricted;

static void become(uid_t uid, gid_t gid)
{
        /* The group first, as long as we are root; and root first, to get to be it. */
        if ((uid == 0 && seteuid(0) < 0) || setegid(gid) < 0 || seteuid(uid) < 0)
                abort();
}

static Ids now(void)
{
        return (Ids) { geteuid(), getegid() };
}

Ids ids_root(void)
{
        Ids before = now();

        if (getuid() == 0 && before.uid != 0) {
                user = before;
                restricted = true;
                become(0, 0);
        }
        return before;
}

Ids ids_user(void)
{
        Ids before = now();

        if (restricted && before.uid == 0)
                become(user.uid, user.gid);
        return before;
}

void ids_back(const Ids *before)
{
        if (geteuid() != before->uid)
                become(before->uid, before->gid);
}

bool ids_restricted(void)
{
        return restricted || (getuid() == 0 && geteuid() != 0);
}

int ids_access(const char *path, int mode)
{
        AS_USER;

        return faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0 ? -errno : 0;
}
