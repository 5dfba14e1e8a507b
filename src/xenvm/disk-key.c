/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glob.h>

#include "config.h"
#include "strbuf.h"

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
