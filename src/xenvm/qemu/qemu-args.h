/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From a VmConfig to QEMU's command line: a pure function of the config and of what the host offers, so
 * that it can be tested by comparing texts. What QEMU cannot do as Xen does is refused where the VM would
 * not be what was asked for, else a warning (docs/backends.md lists both, key by key).
 *
 * The machine type is pinned and the order of devices is fixed: saved VMs find the same devices again.
 */
#include "qemu-files.h"

typedef enum QemuMachine { QEMU_MACHINE_PC, QEMU_MACHINE_Q35, QEMU_MACHINE_MICROVM } QemuMachine;

typedef enum QemuLinkKind {
        QEMU_LINK_NONE,   /* a card without a cable */
        QEMU_LINK_USER,   /* QEMU's own user-mode network */
        QEMU_LINK_STREAM, /* passt, at the other end of a socket pair: descriptor `fd` of the child */
        QEMU_LINK_TAP,    /* an open tap device: descriptor `fd` of the child */
} QemuLinkKind;

typedef struct QemuLink {
        QemuLinkKind kind;
        int fd;
} QemuLink;

typedef struct QemuEnv {
        const char *accel;       /* "kvm" or "tcg" */
        const char *uuid;
        const char *dir;         /* runtime directory of the VM */
        int qmp_fd, rpc_fd;      /* listening sockets, as the child sees them */
        bool confined;           /* it runs in the folder of its own files */
        bool incoming;           /* begins with a saved state */
        int64_t now;             /* seconds since 1970 */
        const QemuLink *links;   /* one for each config->nic, or NULL: none is connected */
        const char *tpm_socket;  /* of swtpm, or NULL */
        const char *firmware_code, *firmware_vars; /* UEFI, or NULL */
        int first_file;          /* descriptor of the first file, as the child sees it */
        const QemuImage *images; /* one for each config->disk, open; or NULL: they are taken for what the config says */
} QemuEnv;

QemuMachine qemu_machine(const VmConfig *c, const char *accel);
/* UEFI is asked for: the caller must fill in firmware_code and firmware_vars. */
bool qemu_wants_uefi(const VmConfig *c);
bool qemu_wants_tpm(const VmConfig *c);

/*
 * Returns 0 with the arguments behind the program's name, the files to be handed over and the warnings (all to free),
 * -EINVAL with *ret_why (to free): this config cannot be run by QEMU; or -ENOMEM. Nothing is opened here.
 */
int qemu_args(const VmConfig *c, const QemuEnv *env, char ***ret_args, QemuFiles *ret_files, char ***ret_warnings, char **ret_why);

/* Names of QEMU objects. buf has room for 40 bytes. */
const char *qemu_disk_id(const VmDisk *d, char buf[static 40]);
/* DDDD:BB:SS.F */
const char *qemu_pci_name(const VmPci *p, char buf[static 16]);
/* Its name in QEMU. */
const char *qemu_pci_id(const VmPci *p, char buf[static 40]);
/* The -device model of a card: config names, with the default. */
const char *qemu_nic_model(const VmConfig *c, const VmNic *n, QemuMachine machine);
/* A forward in QEMU's words: tcp:127.0.0.1:2222-:22. */
const char *qemu_forward(const VmForward *f, char buf[static 40]);
/* The guest writes into a throw-away overlay; the image is only read. */
bool qemu_disk_overlay(const VmDisk *d);
/* QEMU's name of a disk's format: raw, vpc, … */
const char *qemu_disk_format(const VmDisk *d);

/* Parts of the above, in qemu-devices.c. */
typedef struct ArgList {
        char **args, **warnings;
        QemuFiles files;
        int first_file;
        char *why; /* the first refusal */
        bool oom;
} ArgList;

void arg_add(ArgList *l, const char *option, const char *fmt, ...) _printf_(3, 4); /* fmt NULL: option alone */
void arg_warn(ArgList *l, const char *fmt, ...) _printf_(2, 3);
void arg_refuse(ArgList *l, const char *fmt, ...) _printf_(2, 3);
/* Hands a file over; gives its number in QEMU. fd: open already, or -EBADF. */
int arg_file(ArgList *l, QemuFileUse use, const char *owner, const char *path, int fd);

void qemu_add_disks(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine);
void qemu_add_nics(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine);
void qemu_add_pci(ArgList *l, const VmConfig *c, QemuMachine machine);
void qemu_add_display(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine);
void qemu_add_sound(ArgList *l, const VmConfig *c, QemuMachine machine);
