/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domid.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "fs.h"
#include "parse.h"

int domid_next(const Paths *p, int64_t *ret)
{
        _cleanup_close_ int fd = -EBADF;
        int64_t last = 0;
        char text[32];
        ssize_t n;
        int r;

        r = mkdir_parents(paths_get(p, PATH_XENVM_STATE), 0750);
        if (r < 0)
                return r;
        fd = open(paths_get(p, PATH_DOMID), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        /* Held for some microseconds only, so waiting is fine. */
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        n = pread(fd, text, sizeof text - 1, 0);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (n > 0 && (parse_i64(text, &last) < 0 || last < 0 || last == INT64_MAX))
                return -EBADMSG;
        /* Of fixed width, so that one write replaces the whole old text: a kill leaves the old or the new number. */
        n = snprintf(text, sizeof text, "%019lld\n", (long long) last + 1);
        if (pwrite(fd, text, (size_t) n, 0) != n)
                return errno ? -errno : -EIO;
        *ret = last + 1;
        return 0;
}
