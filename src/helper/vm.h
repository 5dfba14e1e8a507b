/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What oxt-helper does for device models: each gets a user and a control group of its own (launch.h). */
#include <systemd/sd-event.h>

#include "request.h"

/*
 * Starts QEMU with the descriptors of the request, for the user who asks. Returns 0 with the process and a pidfd of it (to
 * close), or -EINVAL and so on with *ret_why (static). It is reaped here, and its control group removed when it has ended.
 */
int helper_vm_start(sd_event *event, const HelperRequest *q, uid_t caller, const int *fds, size_t n_fds, pid_t *ret_pid, int *ret_pidfd,
                    const char **ret_why);
/* Kills the process behind the pidfd (or there is none: n_fds is 0). */
int helper_vm_end(const HelperRequest *q, const int *fds, size_t n_fds, const char **ret_why);
/* Gives the number of the terminal. */
int helper_console_give(const HelperRequest *q, uid_t caller, int64_t *ret, const char **ret_why);
int helper_cpu_bind(const HelperRequest *q, const char **ret_why);
/* Returns 1, or 0 when vfio-pci had it before. */
int helper_pci_bind(const HelperRequest *q, const char **ret_why);
/* Back to the host once no VM has it any more; what comes of it is in the log. */
int helper_pci_release(sd_event *event, const HelperRequest *q, const char **ret_why);
/* Asks systemd, which must run this host, for a scope. */
int helper_scope(const char *uuid, pid_t pid, unsigned weight);
bool helper_has_systemd(void);
