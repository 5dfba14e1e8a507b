/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD in tests: a disk that is slow or fails. The file that OXT_DISK_FAULTS names holds what
 * is wrong with it at the moment: "sync-delay MILLISECONDS", "sync EIO", "write ENOSPC", "write EIO" or
 * "write EROFS"; empty or missing: nothing. Only regular files are concerned.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void read_fault(char buf[static 64])
{
        const char *path = getenv("OXT_DISK_FAULTS");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd >= 0 ? read(fd, buf, 63) : 0;

        buf[n > 0 ? n : 0] = '\0';
        if (fd >= 0)
                close(fd);
}

static int fault(const char *what)
{
        static const struct {
                const char *name;
                int error;
        } errors[] = { { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS } };
        char buf[64];
        size_t n = strlen(what);

        read_fault(buf);
        if (strncmp(buf, what, n) != 0 || buf[n] != ' ')
                return 0;
        for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
                if (strncmp(buf + n + 1, errors[i].name, strlen(errors[i].name)) == 0)
                        return errors[i].error;
        return 0;
}

static int before_sync(void)
{
        char buf[64];
        int msec;

        read_fault(buf);
        if (sscanf(buf, "sync-delay %d", &msec) == 1)
                nanosleep(&(struct timespec) { msec / 1000, msec % 1000 * 1000000L }, NULL);
        return fault("sync");
}

static int is_file(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define FAIL(e)                                                                                    \
        do {                                                                                       \
                errno = (e);                                                                       \
                return -1;                                                                         \
        } while (0)

__attribute__((visibility("default"))) int fsync(int fd)
{
        int e = before_sync();

        if (e)
                FAIL(e);
        return NEXT(fsync)(fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
        int e = before_sync();

        if (e)
                FAIL(e);
        return NEXT(fdatasync)(fd);
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
        int e = is_file(fd) ? fault("write") : 0;

        if (e)
                FAIL(e);
        return NEXT(pwrite64)(fd, p, n, at);
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void *p, size_t n)
{
        int e = fd > 2 && is_file(fd) ? fault("write") : 0;

        if (e)
                FAIL(e);
        return NEXT(write)(fd, p, n);
}

__attribute__((visibility("default"))) int ftruncate64(int fd, off64_t n)
{
        int e = is_file(fd) ? fault("write") : 0;

        if (e)
                FAIL(e);
        return NEXT(ftruncate64)(fd, n);
}
