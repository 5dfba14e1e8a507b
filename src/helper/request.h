/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What may be asked of oxt-helper: a fixed table. A request is one line, a JSON object of at most
 * HELPER_LINE_MAX bytes with the member "request" and the parameters of that row, each a text that
 * passes the row's check; anything else in it is refused. The answer is one line:
 * {"ok":true,…} (for some requests with one descriptor), or {"error":"why"}, with "already":true where it is
 * that there is such a one already.
 */
#include <sys/types.h>

#include "util.h"

#define HELPER_LINE_MAX 1024
#define HELPER_PCI_MAX 512

typedef enum HelperRequestId {
        HELPER_PCI_BIND,    /* a PCI device that the setting helper.pci names, to vfio-pci */
        HELPER_PCI_RELEASE, /* and back */
        HELPER_TAP_CREATE,  /* a tap device on a bridge that the setting helper.bridges names; its descriptor */
        HELPER_TAP_LIMIT,   /* limits such a device to so many bytes in a second, once */
        HELPER_TAP_MOVE,    /* a tap device that this user got, to another such bridge */
        HELPER_DEVICE_OPEN, /* the descriptor of a device node out of a fixed list */
        HELPER_USB_OPEN,    /* the descriptor of a USB device that the setting helper.usb names */
        HELPER_VM_SCOPE,    /* a process of this user into a systemd scope of its own */
        HELPER_VM_START,    /* QEMU as a user of its own, in a control group of its own; with the descriptors of HelperVmFd */
        HELPER_VM_END,      /* kills such a process (a pidfd of it goes along, or it is gone already) and removes its group */
        HELPER_CONSOLE_GIVE, /* makes the terminal of such a process the caller's, and says which it is */
        HELPER_CPU_BIND,    /* says on which CPUs of the host a thread of such a process runs */
        HELPER_HOST_INFO,   /* on a Xen host: what the hypervisor says of it, to be read from the descriptor */
        HELPER_MONITOR_START, /* on a Xen host: the monitor of that VM, which needs root there */
        _HELPER_REQUEST_MAX,
} HelperRequestId;

typedef struct HelperRequest {
        HelperRequestId id;
        char bridge[16];
        char tap[16];
        char device[32]; /* a word of helper_device_path() */
        char usb[32];    /* BUS-PORT */
        char uuid[37];
        pid_t pid;
        uint64_t rate;   /* bytes in a second */
        unsigned weight; /* 0: none */
        bool kvm;
        char pci[HELPER_PCI_MAX]; /* devices, blank separated */
        uint64_t cpus;   /* a bit for each */
} HelperRequest;

/* What goes with vm-start, in this order: the arguments, each ended by a NUL; then as in launch.h; then what QEMU gets from 3 on. */
#define HELPER_VM_ARGS_FD 0
#define HELPER_VM_OWN_FDS 1
#define HELPER_VM_ARGS_MAX (256 * KIB)
/* The most that may go with a request (and that the kernel takes at once). */
#define HELPER_FDS_MAX 250

/* Returns 0, or -EINVAL with *ret_why (static) set. */
int helper_request_parse(const char *untrusted_line, size_t n, HelperRequest *ret, const char **ret_why);

const char *helper_request_name(HelperRequestId id);

/* The node for a device's word, or NULL. */
const char *helper_device_path(const char *device);
