/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the image of a disk must be known to be before anything is told to read it. */
#include <glob.h>
#include <unistd.h>

#include "config.h"
#include "strbuf.h"
#include "unaligned.h"
#include "vhd-format.h"

bool vm_disk_has_key(const VmDisk *d)
{
        _cleanup_strv_ char **dirs = NULL;
        const char *slash = strrchr(d->path, '/'), *base = slash ? slash + 1 : d->path, *dot = strrchr(base, '.');

        if (!d->key_dir || d->key_file || d->type != VM_DISK_VHD || strv_split(d->key_dir, ',', &dirs) < 0)
                return false;
        for (char **dir = dirs; dir && *dir; dir++) {
                _cleanup_free_ char *pattern = strformat("%s/%.*s,aes-xts-plain,*.key", *dir,
                                                         (int) (dot ? (size_t) (dot - base) : strlen(base)), base);
                glob_t g;

                if (pattern && glob(pattern, 0, NULL, &g) == 0) {
                        globfree(&g);
                        return true;
                }
        }
        return false;
}

bool vm_vhd_has_parent(int fd)
{
        off_t end = lseek(fd, 0, SEEK_END), places[] = { 0, end - VHD_FOOTER_SIZE };
        uint8_t footer[VHD_FOOTER_SIZE];

        /* There are two, and one that is damaged is not the one that is read. */
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (places[i] >= 0 && pread(fd, footer, sizeof footer, places[i]) == sizeof footer &&
                    memcmp(footer, VHD_FOOTER_MAGIC, 8) == 0 && get_be32(footer + VHD_FOOTER_TYPE) == VHD_DIFFERENCING)
                        return true;
        return false;
}
