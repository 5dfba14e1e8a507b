/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files that QEMU gets as descriptors: it need not be able to open any of them by name, and a guest that has taken it
 * over can reach no other. They are named in its command line by /dev/fdset/N or /proc/self/fd/N, where N is their number
 * in QEMU, and in what we log and compare by their paths.
 */
#include "config.h"
#include "paths.h"

typedef enum QemuFileUse {
        QEMU_FILE_READ,   /* /dev/fdset: this very descriptor is used */
        QEMU_FILE_WRITE,  /* the same, for reading and writing */
        QEMU_FILE_OUTPUT, /* the same, made if it is missing */
        QEMU_FILE_AGAIN,  /* /proc/self/fd: QEMU opens it once more, for reading */
        QEMU_FILE_LISTEN, /* a unix socket that is made */
        QEMU_FILE_CONNECT, /* a connection to one */
} QemuFileUse;

typedef struct QemuFile {
        QemuFileUse use;
        int number;  /* in QEMU */
        char *owner; /* "disk hda", "kernel" */
        char *path;
        int fd;      /* -EBADF: not open yet */
        bool borrowed; /* fd is another's */
} QemuFile;

typedef struct QemuFiles {
        QemuFile *items;
        size_t n;
} QemuFiles;

/* Appends; fd: one that is open already and stays the caller's, or -EBADF. Returns the file's number in QEMU or -ENOMEM. */
int qemu_files_add(QemuFiles *f, int first, QemuFileUse use, const char *owner, const char *path, int fd);
/*
 * Opens those that are not. foreign: QEMU runs as another user, so that what it opens again must be a copy if only we may
 * read it. *ret_why (to free) says which file cannot be had.
 */
int qemu_files_open(QemuFiles *f, bool foreign, char **ret_why);
/* Once QEMU has its copies; the names stay. */
void qemu_files_close(QemuFiles *f);
void qemu_files_done(QemuFiles *f);
/* text with the paths in place of /dev/fdset/N and /proc/self/fd/N; NULL on out of memory. */
char *qemu_files_explain(const QemuFiles *f, const char *text);

/* One image of the chain that a disk is: the first is the one that is written to, the others lie below it. */
typedef struct QemuLayer {
        char *path;
        const char *format; /* QEMU's name */
        const char *driver; /* file, host_device or host_cdrom */
        int fd;
} QemuLayer;

#define QEMU_LAYERS_MAX 16

typedef struct QemuImage {
        QemuLayer layers[QEMU_LAYERS_MAX];
        size_t n; /* 0: an empty drive */
} QemuImage;

/*
 * Opens the image of a disk and all that lie below it. What a header says of those is a guest's word, once it has broken
 * out of QEMU: they must be below the storage folder, the image's own folder, or one that the setting storage.backing names.
 * Returns 0, or negative errno with *ret_why (to free).
 */
int qemu_image_open(const Paths *p, const VmDisk *d, bool writable, QemuImage *ret, char **ret_why);
void qemu_image_done(QemuImage *i);
