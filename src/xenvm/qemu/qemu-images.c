/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The images below an image. QEMU would open them by the names that it finds in headers; here the headers are read, with
 * bounds, and each layer is handed over as what it is.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "qemu-args.h"
#include "qemu-files.h"
#include "settings.h"
#include "strbuf.h"
#include "unaligned.h"

/* Of QEMU's docs/interop/qcow2.txt; the first fields are the same in the older format qcow. */
#define QCOW_MAGIC 0x514649fbU
#define QCOW2_DATA_FILE (UINT64_C(1) << 2) /* incompatible feature: the contents lie in another file */
#define EXTENSION_END 0
#define EXTENSION_BACKING_FORMAT 0xe2792acaU
#define EXTENSIONS_MAX 64
#define HEADER_V2 72
#define NAME_MAX_BYTES 1023

static int read_at(int fd, uint64_t offset, void *buf, size_t size)
{
        if (offset > INT64_MAX - size)
                return -EBADMSG;
        return pread(fd, buf, size, (off_t) offset) == (ssize_t) size ? 0 : -EBADMSG;
}

static const char *known_format(const char *untrusted_name)
{
        static const char *const names[] = { "raw", "qcow", "qcow2", "vpc" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(untrusted_name, names[i]))
                        return names[i];
        return NULL;
}

/* The format that the header gives for what lies below; "" if none. */
static int read_backing_format(int fd, uint64_t offset, char untrusted_format[static 32])
{
        untrusted_format[0] = '\0';
        for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
                uint8_t h[8];
                uint32_t type, size;

                if (read_at(fd, offset, h, sizeof h) < 0)
                        return -EBADMSG;
                type = get_be32(h);
                size = get_be32(h + 4);
                if (type == EXTENSION_END)
                        return 0;
                if (type == EXTENSION_BACKING_FORMAT) {
                        if (size > 31 || read_at(fd, offset + 8, untrusted_format, size) < 0)
                                return -EBADMSG;
                        untrusted_format[size] = '\0';
                        return 0;
                }
                offset += 8 + (((uint64_t) size + 7) & ~UINT64_C(7));
        }
        return -EBADMSG;
}

/* Returns 1 with the name and format of what lies below (both to be checked), 0 if there is nothing, or negative errno. */
static int read_backing(int fd, char untrusted_name[static NAME_MAX_BYTES + 1], char untrusted_format[static 32], const char **ret_why)
{
        uint8_t h[104] = { 0 };
        uint64_t offset;
        uint32_t version, size;

        *ret_why = "its header is damaged";
        if (read_at(fd, 0, h, 24) < 0 || get_be32(h) != QCOW_MAGIC)
                return 0; /* QEMU says what it is not */
        version = get_be32(h + 4);
        if (version >= 3) {
                if (read_at(fd, 0, h, sizeof h) < 0)
                        return -EBADMSG;
                *ret_why = "its contents lie in a file of their own (data_file), which cannot be handed over";
                if (get_be64(h + 72) & QCOW2_DATA_FILE)
                        return -EOPNOTSUPP;
                *ret_why = "its header is damaged";
        }
        offset = get_be64(h + 8);
        size = get_be32(h + 16);
        if (offset == 0)
                return 0;
        if (size == 0 || size > NAME_MAX_BYTES || read_at(fd, offset, untrusted_name, size) < 0 || memchr(untrusted_name, '\0', size))
                return -EBADMSG;
        untrusted_name[size] = '\0';
        untrusted_format[0] = '\0';
        if (version >= 2 && read_backing_format(fd, version == 2 ? HEADER_V2 : get_be32(h + 100), untrusted_format) < 0)
                return -EBADMSG;
        return 1;
}

static const char *driver_of(int fd, const struct stat *st)
{
        if (!S_ISBLK(st->st_mode))
                return "file";
        return ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) >= 0 ? "host_cdrom" : "host_device";
}

static int finish_layer(QemuLayer *l, int fd)
{
        struct stat st;

        if (fd < 0)
                return fd;
        l->fd = fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        (void) fcntl(fd, F_SETFL, 0);
        l->driver = driver_of(fd, &st);
        return 0;
}

/* In one of the folders where a guest may send us; -EXDEV if it is in none. */
static int open_backing(const Paths *p, const char *image, const char *path)
{
        _cleanup_free_ char *own = strdup(image), *extra = strdup(setting_text(SETTING_STORAGE_BACKING));
        char *slash = own ? strrchr(own, '/') : NULL, *state = NULL;
        int r;

        if (!own || !extra)
                return -ENOMEM;
        r = open_below(paths_get(p, PATH_STORAGE), path, O_RDONLY | O_NONBLOCK);
        if (r < 0 && slash && slash > own) {
                *slash = '\0';
                r = open_below(own, path, O_RDONLY | O_NONBLOCK);
        }
        for (char *w = strtok_r(extra, " \t", &state); w && r < 0; w = strtok_r(NULL, " \t", &state))
                r = open_below(w, path, O_RDONLY | O_NONBLOCK);
        if (r == -ENOENT && access(path, F_OK) == 0)
                return -EXDEV;
        return r;
}

/* A name in a header counts from the folder of the image that has it. */
static char *resolve(const char *image, const char *name)
{
        const char *slash = strrchr(image, '/');

        if (name[0] == '/' || !slash)
                return strdup(name);
        return strformat("%.*s/%s", (int) (slash - image), image, name);
}

static int add_backing(const Paths *p, const QemuImage *i, const char *name, const char *format, QemuLayer *l, const char **ret_why)
{
        int r;

        l->fd = -EBADF;
        l->path = resolve(i->layers[i->n - 1].path, name);
        if (!l->path)
                return -ENOMEM;
        l->format = known_format(format);
        *ret_why = format[0] ? "the format that it gives for its backing file is none that is accepted here"
                             : "it does not give the format of its backing file (qemu-img rebase -u -F writes it)";
        if (!l->format)
                return -EOPNOTSUPP;
        r = finish_layer(l, open_backing(p, i->layers[0].path, l->path));
        *ret_why = r == -EXDEV ? "its backing file lies outside of the storage folder, the image's own folder and those of the "
                                 "setting storage.backing"
                               : NULL;
        return r;
}

int qemu_image_open(const Paths *p, const VmDisk *d, bool writable, QemuImage *ret, char **ret_why)
{
        _cleanup_(qemu_image_done) QemuImage i = { 0 };
        char untrusted_name[NAME_MAX_BYTES + 1], untrusted_format[32];
        const char *why = NULL;
        int r;

        if (!d->path[0])
                return 0;
        i.layers[0] = (QemuLayer) { .path = strdup(d->path), .format = qemu_disk_format(d), .fd = -EBADF };
        i.n = 1;
        r = !i.layers[0].path ? -ENOMEM : finish_layer(&i.layers[0], paths_open_disk(p, d->path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK));
        while (r >= 0) {
                QemuLayer *last = &i.layers[i.n - 1];

                if (streq(last->format, "vpc") && vm_vhd_has_parent(last->fd)) {
                        why = VHD_PARENT_REFUSED;
                        r = -EOPNOTSUPP;
                        break;
                }
                if (!startswith(last->format, "qcow"))
                        break;
                r = read_backing(last->fd, untrusted_name, untrusted_format, &why);
                if (r == 0)
                        break;
                if (r > 0 && i.n == QEMU_LAYERS_MAX) {
                        why = "too many images lie one below the other";
                        r = -ELOOP;
                } else if (r > 0) {
                        r = add_backing(p, &i, untrusted_name, untrusted_format, &i.layers[i.n], &why);
                        i.n++;
                }
        }
        if (r < 0) {
                const char *path = strempty(i.layers[i.n - 1].path);

                /* A failing layer is told by its own name, a failing name by the image that has it. */
                if (why && i.n > 1 && r != -EBADMSG && r != -ELOOP && !i.layers[i.n - 1].driver)
                        path = i.layers[i.n - 2].path;
                *ret_why = strformat("Device.Tap2.Mount_failure: disk %s: %s: %s", d->virtpath, path, why ? why : strerror(-r));
                return r;
        }
        *ret = i;
        i = (QemuImage) { 0 };
        return 0;
}

void qemu_image_done(QemuImage *i)
{
        for (size_t k = 0; k < i->n; k++) {
                free(i->layers[k].path);
                safe_close(i->layers[k].fd);
        }
        *i = (QemuImage) { 0 };
}
