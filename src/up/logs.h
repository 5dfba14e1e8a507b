/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The daemons of a supervised stack write to <state>/log/<name>.log themselves (their stdout and
 * stderr are that file, opened for appending), so that they need nobody to read a pipe. A file that
 * has grown beyond `log.size` is turned over: copied to <name>.log.1 (at most `log.keep` files in
 * all) and cut to nothing. The supervisor does it as it is told by inotify; while there is no
 * supervisor, nobody does.
 */
#include <systemd/sd-event.h>

#include "paths.h"

/* Opens the log of a daemon for appending. Returns the descriptor or -errno. */
int daemon_log_open(const Paths *p, const char *name);

/* Watches the folder and turns over, at most twice a second. */
typedef struct LogWatch LogWatch;
int logwatch_new(sd_event *event, const Paths *p, LogWatch **ret);
LogWatch *logwatch_free(LogWatch *w);
DEFINE_CLEANUP(LogWatch *, logwatch_free)
