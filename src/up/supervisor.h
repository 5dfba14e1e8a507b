/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The supervisor: starts the daemons of a stack in their order, adopts those that run already,
 * restarts what dies, keeps logs bounded, and answers on <runtime>/up.sock: one line in, one JSON
 * line out.
 *
 *     status   {"version":1,"pid":N,"since":T,"ready":B,"daemons":[{"name","state","pid","since","restarts","adopted",
 *              "status","last_end"}]}; state is one of waiting, starting, ready, restarting, missing
 *     down     ends VMs and daemons and then itself; the answer comes when that is done
 *     leave    ends itself and leaves the daemons running
 *
 * `down` and `leave` are taken from root and from the user who started it alone.
 */
#include "stack.h"

/* Runs until it is told to end. lock_fd: PATH_UP_LOCK, held. Returns the exit status. */
int supervisor_run(const Stack *s);

/* Client: sends one command and waits for the answer. Returns 0, -ECONNREFUSED/-ENOENT (no supervisor) or -errno. */
int supervisor_call(const Paths *p, const char *command, uint64_t timeout_usec, char **ret);
