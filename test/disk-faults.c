/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD in tests: a disk that is slow or fails. The file that OXT_DISK_FAULTS names holds what
 * is wrong with it at the moment: "sync-delay MILLISECONDS", "sync hang", "sync EIO", "sync-folder EIO",
 * "write ENOSPC", "write EIO" or "write EROFS"; empty or missing: nothing. But for sync-folder only regular files are
 * concerned. "isos there": folders of that name are on NFS; "isos hang": and their server does not answer; "release hang":
 * giving back the room of a file whose last name and descriptor has gone does not end; "read-hangs NAME": nothing
 * comes of the file of that name.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

static void read_fault(char buf[static 64])
{
        const char *path = getenv("OXT_DISK_FAULTS");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd >= 0 ? NEXT(read)(fd, buf, 63) : 0;

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

static void hang(const char *while_it_says)
{
        char buf[64];

        for (read_fault(buf); strncmp(buf, while_it_says, strlen(while_it_says)) == 0; read_fault(buf))
                nanosleep(&(struct timespec) { 0, 10000000 }, NULL);
}

static int before_sync(void)
{
        char buf[64];
        int msec;

        read_fault(buf);
        if (sscanf(buf, "sync-delay %d", &msec) == 1)
                nanosleep(&(struct timespec) { msec / 1000, msec % 1000 * 1000000L }, NULL);
        hang("sync hang");
        return fault("sync");
}

static int is_file(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int is_folder(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

#define FAIL(e)                                                                                    \
        do {                                                                                       \
                errno = (e);                                                                       \
                return -1;                                                                         \
        } while (0)

__attribute__((visibility("default"))) int fsync(int fd)
{
        int e = before_sync();

        if (!e && is_folder(fd))
                e = fault("sync-folder");
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

static int is_isos(const char *path)
{
        size_t n = strlen(path);

        return n > 5 && strcmp(path + n - 5, "/isos") == 0;
}

__attribute__((visibility("default"))) int statfs64(const char *path, struct statfs64 *s)
{
        char buf[64];
        int r;

        if (is_isos(path))
                hang("isos hang");
        r = NEXT(statfs64)(path, s);
        read_fault(buf);
        if (r == 0 && is_isos(path) && strncmp(buf, "isos ", 5) == 0)
                s->f_type = 0x6969;
        return r;
}

__attribute__((visibility("default"))) DIR *opendir(const char *path)
{
        if (is_isos(path))
                hang("isos hang");
        return NEXT(opendir)(path);
}

/* Whether this process has the file open by another descriptor. */
static int is_open(const struct stat *file, int but)
{
        for (int fd = 3; fd < 256; fd++) {
                struct stat st;

                if (fd != but && fstat(fd, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino)
                        return 1;
        }
        return 0;
}

__attribute__((visibility("default"))) int unlink(const char *path)
{
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && !is_open(&st, -1))
                hang("release hang");
        return NEXT(unlink)(path);
}

__attribute__((visibility("default"))) int close(int fd)
{
        struct stat st;

        if (fd > 2 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0 && !is_open(&st, fd))
                hang("release hang");
        return NEXT(close)(fd);
}

static int hangs(int fd)
{
        char buf[64], link[32], path[512], name[64];
        ssize_t n;

        read_fault(buf);
        if (sscanf(buf, "read-hangs %63s", name) != 1)
                return 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        return strrchr(path, '/') && strcmp(strrchr(path, '/') + 1, name) == 0;
}

__attribute__((visibility("default"))) ssize_t read(int fd, void *p, size_t n)
{
        while (is_file(fd) && hangs(fd))
                nanosleep(&(struct timespec) { 0, 50000000L }, NULL);
        return NEXT(read)(fd, p, n);
}
