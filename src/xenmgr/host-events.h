/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How long what was read of the host is kept: until the kernel tells of a device of that kind (uevent.h) and, since it
 * may tell that before all is in place, is read once more a second later. Where it tells nothing, it is kept for a second.
 */
#include "manager.h"

enum {
        HOST_CDS = 1 << 0,
        HOST_DISKS = 1 << 1,
        HOST_ISOS = 1 << 2,
        HOST_NICS = 1 << 3,
        HOST_PCI = 1 << 4,
        HOST_SOUND = 1 << 5,
};

int host_events_start(Manager *m);
void host_events_end(void);

/*
 * Whether what was read of that kind still holds. If not, it counts as read from now on: the caller does it. Nothing is
 * dropped but by the event loop, so that what a function was given stays for as long as it runs.
 */
bool host_kept(unsigned what);
/*
 * The folder of ISOs is watched: the list of them is kept. On a network file system, whose server may not answer, it cannot be: to find
 * that out is for a thread, and so is reading it then. watch: 0, or a negative errno.
 */
bool host_isos_watched(const char *folder);
int host_isos_watch(const char *folder);
bool host_folder_is_remote(const char *folder);
