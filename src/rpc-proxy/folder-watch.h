/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Follows the files of a folder, also of one that is removed or moved and made anew: then, and where events were
 * lost, its user is told that anything may have changed.
 */
#include <sys/inotify.h>
#include <systemd/sd-event.h>

#include "util.h"

typedef struct FolderWatch FolderWatch;

/* mask: of inotify(7). on_change's name is the file's; NULL: look at everything. Fails where the folder is not there yet. */
int folder_watch_new(sd_event *event, const char *path, uint32_t mask, void (*on_change)(void *userdata, const char *name),
                     void *userdata, FolderWatch **ret);
FolderWatch *folder_watch_free(FolderWatch *w);
DEFINE_CLEANUP(FolderWatch *, folder_watch_free)
