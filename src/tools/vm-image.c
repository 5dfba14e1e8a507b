/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-image.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "strbuf.h"

#define CHUNK ((size_t) 8 * MIB)

static const struct {
        const char *text, *phys_type, *suffix;
} kinds[_IMAGE_KIND_MAX] = {
        [IMAGE_QCOW2] = { "qcow2", "qcow2", "qcow2" },
        [IMAGE_VHD] = { "VHD", "vhd", "vhd" },
        [IMAGE_ISO] = { "CD image", "file", "iso" },
        [IMAGE_RAW] = { "raw", "file", "img" },
};

const char *image_kind_to_text(ImageKind k)
{
        return kinds[k].text;
}

const char *image_kind_to_phys_type(ImageKind k)
{
        return kinds[k].phys_type;
}

const char *image_kind_to_suffix(ImageKind k)
{
        return kinds[k].suffix;
}

static bool has_at(int fd, off_t at, const char *magic)
{
        char buf[16];
        size_t n = strlen(magic);

        return at >= 0 && pread(fd, buf, n, at) == (ssize_t) n && memcmp(buf, magic, n) == 0;
}

int image_probe(const char *path, Image *ret)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EMEDIUMTYPE;
        ret->size = (uint64_t) st.st_size;
        if (has_at(fd, 0, "QFI\xfb"))
                ret->kind = IMAGE_QCOW2;
        else if (has_at(fd, 0x8001, "CD001"))
                ret->kind = IMAGE_ISO;
        else if (has_at(fd, st.st_size - 512, "conectix") || has_at(fd, st.st_size - 511, "conectix"))
                ret->kind = IMAGE_VHD;
        else if (st.st_size > 0 && st.st_size % 512 == 0)
                ret->kind = IMAGE_RAW;
        else
                return -EMEDIUMTYPE;
        return 0;
}

/* An open file beside target that becomes it at the end. */
static int open_part(const char *target, char **ret_part)
{
        int fd;

        if (access(target, F_OK) == 0)
                return -EEXIST;
        *ret_part = strformat("%s.part", target);
        if (!*ret_part)
                return -ENOMEM;
        (void) unlink(*ret_part); /* of a run that was killed */
        fd = open(*ret_part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        return fd < 0 ? -errno : fd;
}

/* Daemons that are another user than we must be able to use it: it belongs to whom the folder belongs. */
static int finish_part(int fd, const char *part, const char *target)
{
        _cleanup_free_ char *dir = strndup(target, (size_t) (strrchr(target, '/') - target));
        struct stat st;

        if (!dir)
                return -ENOMEM;
        if (geteuid() == 0 && (stat(dir, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0))
                return -errno;
        return fsync(fd) < 0 || rename(part, target) < 0 ? -errno : 0;
}

static int copy_range(int from, int to, off_t start, off_t end, uint64_t size, void (*progress)(uint64_t, uint64_t))
{
        while (start < end) {
                off_t in = start, out = start;
                ssize_t n = copy_file_range(from, &in, to, &out, MIN2((size_t) (end - start), CHUNK), 0);

                if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
                        _cleanup_free_ char *buf = malloc(MIB);

                        if (!buf)
                                return -ENOMEM;
                        n = pread(from, buf, MIN2((size_t) (end - start), (size_t) MIB), start);
                        if (n > 0)
                                n = pwrite(to, buf, (size_t) n, start);
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO; /* it became shorter while it was read */
                start += n;
                if (progress)
                        progress((uint64_t) start, size);
        }
        return 0;
}

static int copy_data(int from, int to, off_t size, void (*progress)(uint64_t, uint64_t))
{
        off_t data = 0, hole;
        int r;

        if (ioctl(to, FICLONE, from) >= 0)
                return IMAGE_CLONED;
        if (ftruncate(to, size) < 0)
                return -errno;
        while (data < size) {
                data = lseek(from, data, SEEK_DATA);
                if (data < 0) {
                        if (errno == ENXIO) /* nothing but a hole up to the end */
                                break;
                        data = 0;
                        hole = size;
                } else {
                        hole = lseek(from, data, SEEK_HOLE);
                        if (hole < 0)
                                hole = size;
                }
                r = copy_range(from, to, data, MIN2(hole, size), (uint64_t) size, progress);
                if (r < 0)
                        return r;
                data = hole;
        }
        return IMAGE_COPIED;
}

int image_copy(const char *source, const char *target, void (*progress)(uint64_t done, uint64_t size))
{
        _cleanup_close_ int from = open(source, O_RDONLY | O_CLOEXEC), to = -EBADF;
        _cleanup_free_ char *part = NULL;
        struct stat st;
        int how, r;

        if (from < 0 || fstat(from, &st) < 0)
                return -errno;
        to = open_part(target, &part);
        if (to < 0)
                return to;
        how = copy_data(from, to, st.st_size, progress);
        r = how < 0 ? how : finish_part(to, part, target);
        if (r < 0) {
                (void) unlink(part);
                return r;
        }
        return how;
}

int image_write(const char *target, const void *data, size_t size)
{
        _cleanup_free_ char *part = NULL;
        _cleanup_close_ int to = open_part(target, &part);
        ssize_t n;
        int r;

        if (to < 0)
                return to;
        n = write(to, data, size);
        r = n < 0 ? -errno : (size_t) n < size ? -ENOSPC : finish_part(to, part, target);
        if (r < 0)
                (void) unlink(part);
        return r;
}
