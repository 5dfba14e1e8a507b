/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Work that may wait for a device or a disk, in a thread of its own, so that the event loop goes on. The
 * thread sees nothing but `data`; what came of it is handled in the event loop, where `data` is then freed.
 */
#include <systemd/sd-event.h>

#define BACKGROUND_MAX 16 /* at once, in a process */

/*
 * work runs in the thread; done, once it has ended, in the event loop, and takes data over. Where the loop ends
 * first, done is not called. Returns 0, -EBUSY when too many run, or another negative errno: then neither is called.
 */
int background_run(sd_event *event, void (*work)(void *data), void (*done)(void *data), void *data);

/* Takes over the pidfd of a child that ends by itself or was told to, and reaps it once it has: one that hangs in the kernel holds up nobody. */
void background_reap(sd_event *event, int pidfd);
