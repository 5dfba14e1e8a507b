/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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
