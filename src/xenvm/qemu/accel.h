/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Does KVM work here? That /dev/kvm opens proves nothing: on some hosts a guest then crawls. So a small
 * guest is run and timed: it touches memory, leaves to the host some hundred times, and counts. The
 * answer is remembered in the monitors' state directory, for this boot of the host.
 */
#include "paths.h"

/* The remembered answer: 1 KVM works, 0 it does not (*ret_why says why, to free), -ENOENT: not known. */
int accel_known(const Paths *p, char **ret_why);
/* The same, and finds out if it is not known, in a child process that is killed after a second. */
int accel_find_out(const Paths *p, char **ret_why);
