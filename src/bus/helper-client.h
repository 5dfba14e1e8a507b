/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Asks oxt-helper (src/helper) for what needs root; the requests are in src/helper/request.h. Where no
 * helper runs, the answer is -ENOENT: the feature is missing, and its user says so.
 */
#include <systemd/sd-event.h>

#include "paths.h"

typedef struct HelperCall HelperCall;

/*
 * r: 0, -ENOENT or -ECONNREFUSED (no helper), -EACCES (not for this user), -EREMOTEIO (refused: why says it),
 * -EALREADY (there is such a one already),
 * -EPROTO, -ETIMEDOUT or another errno. name: of a device that was made, or "". fd: a descriptor that came with
 * the answer, now the callee's, or -EBADF.
 * The call is freed after this returns.
 */
typedef void (*HelperDone)(void *userdata, int r, const char *why, const char *name, int fd);

/*
 * parameters: name, value, name, value, …, NULL. *ret (may be NULL) can be given to helper_call_cancel()
 * until done was called. Returns 0 when done will be called, from the event loop; else -errno, and it is not.
 */
int helper_call(sd_event *event, const Paths *p, const char *request, const char *const parameters[], HelperDone done, void *userdata,
                HelperCall **ret);
/* The same with descriptors that go with the request, as copies. */
int helper_call_with(sd_event *event, const Paths *p, const char *request, const char *const parameters[], const int *fds, size_t n_fds,
                     HelperDone done, void *userdata, HelperCall **ret);
/* Asks and does not wait for what comes of it; it is done in any case, also if we end now. Returns 0 or negative errno as above. */
int helper_tell(const Paths *p, const char *request, const char *const parameters[], const int *fds, size_t n_fds);
/* done is not called; what came with an answer is closed. Takes NULL; returns NULL. */
HelperCall *helper_call_cancel(HelperCall *c);
