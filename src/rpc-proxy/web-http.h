/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * HTTP by libmicrohttpd: the upgrade to a WebSocket, and the files of the user interface where they are
 * installed. Part of rpc-proxy-web; rpc-proxy itself has no code of it.
 */
#include <systemd/sd-event.h>

#include "util.h"

typedef struct Web Web;

/* folder: of the files; must stay. */
int web_new(sd_event *event, const char *folder, Web **ret);
Web *web_free(Web *w);
DEFINE_CLEANUP(Web *, web_free)

/*
 * Serves the client behind fd; texts of its WebSocket go to and come from json_fd, each followed by a NUL.
 * Takes over both, also when it fails.
 */
int web_serve(Web *w, int fd, int json_fd);
