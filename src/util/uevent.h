/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the kernel tells of its devices as they come, go and change: broadcasts of NETLINK_KOBJECT_UEVENT, which any user
 * may hear. They are the kernel's own and not udev's (whose group is silent where no udevd runs), so that links and
 * rights of a new device in /dev may not be made yet when it is told; what sysfs says of it is.
 */
#include "util.h"

#define UEVENT_MAX 8192 /* the kernel makes them of at most 2 KiB of values, and a path */

typedef struct Uevent {
        const char *action, *subsystem; /* never NULL */
        const char *devpath;            /* below /sys, with a slash; never NULL */
        const char *values, *end;       /* "KEY=value\0…" */
} Uevent;

/*
 * A non-blocking socket that hears them. -EOPNOTSUPP: in a user namespace of its own, where the kernel tells of no device
 * (containers); or the errno of socket(2) or bind(2).
 */
int uevent_open(void);

/*
 * The next one; its texts lie in buf. Returns 1, 0: there is none now, -ENOBUFS: some were lost; or another errno. What
 * somebody else than the kernel sent, or is not of its form, is passed over.
 */
int uevent_read(int fd, char buf[static UEVENT_MAX], Uevent *ret);

/* One message of n bytes, which must stay as long as ret. 0, or -EBADMSG: it is of another form. */
int uevent_parse(const char *untrusted_buf, size_t n, Uevent *ret);

/* The value of a key, e.g. "DEVNAME"; NULL: it has none. */
const char *uevent_value(const Uevent *e, const char *key);
