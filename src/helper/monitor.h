/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What xenvm does for xenmgr on a Xen host, where it needs root. Starts the monitor of a VM: xenvm --user oxt-mgr, with the config file that
 * lies in the VM's runtime directory. The caller gives the uuid and nothing else.
 */
#include <systemd/sd-event.h>

#include "paths.h"

typedef struct MonitorStart MonitorStart;

/* error NULL: the monitor is in the background. Else why not; already: another one serves that VM. */
typedef void (*MonitorStartDone)(void *userdata, const char *error, bool already);

/* done is called once, from the event loop. Returns 0, -EOPNOTSUPP (no Xen host) or another errno; then it is not. */
int monitor_start(sd_event *event, const Paths *p, const char *user, const char *uuid, MonitorStartDone done, void *userdata,
                  MonitorStart **ret);
/*
 * What `xenvm --print-host` says, to be read until its end: the caller's descriptor. -EOPNOTSUPP (no Xen host), -EBUSY or
 * another errno.
 */
int monitor_host_info(sd_event *event);
/* done is not called any more; the monitor comes up all the same. Takes NULL. */
void monitor_start_forget(MonitorStart *s);
