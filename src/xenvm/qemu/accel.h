/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Does KVM work here? That /dev/kvm opens proves nothing: on some hosts a guest then crawls. So a small
 * guest is run and timed: it touches memory, leaves to the host some thousand times, and counts. The
 * answer is remembered in the monitors' state directory, for this boot of the host.
 */
#include <systemd/sd-event.h>

#include "paths.h"

typedef struct AccelProbe AccelProbe;
/* kvm: use it; why: in words (static). */
typedef void (*AccelDone)(void *userdata, bool kvm, const char *why);

/*
 * The remembered answer: 1 KVM works, 0 it does not (*ret_why says why, to free), -ENOENT: not known.
 */
int accel_known(const Paths *p, char **ret_why);
/* Finds out, in a child process that is killed when it takes too long. */
int accel_probe(sd_event *event, const Paths *p, AccelDone done, void *userdata, AccelProbe **ret);
AccelProbe *accel_probe_free(AccelProbe *a);
DEFINE_CLEANUP(AccelProbe *, accel_probe_free)
/* The same, waiting for it (at most a second): for tools. Returns as accel_known(). */
int accel_find_out(const Paths *p, char **ret_why);
