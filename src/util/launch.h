/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Starts the device model of a VM as a user of its own, in a control group of its own, with no more than it was handed:
 * what root can do for it. A user is a number of the range that the setting vm.users names, chosen by the VM's uuid; it
 * has no name, owns nothing that lasts, and no two VMs that run have the same.
 */
#include <sys/types.h>

#include "util.h"

/* What a launch is handed besides descriptors for the program. All stay the caller's. */
typedef enum LaunchFd {
        LAUNCH_MESSAGES, /* its standard output and error */
        LAUNCH_FOLDER,   /* where it runs and may make files */
        LAUNCH_EVENTS_IN, LAUNCH_EVENTS_OUT,
        _LAUNCH_FD_MAX,
} LaunchFd;

typedef struct Launch {
        const char *uuid;
        const char *program;  /* NULL: QEMU */
        char *const *args;
        uid_t owner;          /* who asks: the folder and the FIFOs must be this user's, and are given away */
        int own[_LAUNCH_FD_MAX];
        const int *fds;       /* for the program, from 3 on */
        size_t n_fds;
        unsigned weight;      /* as in cgroup.h */
        bool kvm;             /* it may use /dev/kvm */
        const char *pci;      /* devices of the host that it may use, blank separated, or ""; they reach all its memory */
        bool no_group;        /* systemd will give it one */
} Launch;

/*
 * Returns 0 with the process (to be reaped by the caller) or negative errno with *ret_why (static). The process's number is
 * also in the file qemu.pid of the folder.
 */
int launch(const Launch *l, pid_t *ret_pid, int *ret_pidfd, const char **ret_why);

/* Can root here be those users? Returns 0, -EINVAL (vm.users is no range), or -ERANGE: this user namespace has not all of them. */
int launch_check_users(void);
/* Is that one of the users of VMs? */
bool launch_is_user(uid_t uid);
/* Is the process (or thread) one of such a user? */
bool launch_is_process(pid_t pid);
