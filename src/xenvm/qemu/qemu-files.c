/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "strbuf.h"

#define COPY_MAX (1024 * MIB)

int qemu_files_add(QemuFiles *f, int first, QemuFileUse use, const char *owner, const char *path, int fd)
{
        QemuFile *items = reallocarray(f->items, f->n + 1, sizeof *items), *i;

        if (!items)
                return -ENOMEM;
        f->items = items;
        i = &items[f->n];
        *i = (QemuFile) { .use = use, .number = first + (int) f->n, .owner = strdup(owner), .path = strdup(path), .fd = fd,
                          .borrowed = fd >= 0 };
        f->n++;
        return i->owner && i->path ? i->number : -ENOMEM;
}

void qemu_files_close(QemuFiles *f)
{
        for (size_t i = 0; i < f->n; i++) {
                if (!f->items[i].borrowed)
                        safe_close(f->items[i].fd);
                f->items[i].fd = -EBADF;
        }
}

void qemu_files_done(QemuFiles *f)
{
        qemu_files_close(f);
        for (size_t i = 0; i < f->n; i++) {
                free(f->items[i].owner);
                free(f->items[i].path);
        }
        free(f->items);
        *f = (QemuFiles) { 0 };
}

static int copy_to_memory(int fd, uint64_t size)
{
        _cleanup_close_ int copy = memfd_create("oxt", MFD_CLOEXEC);

        if (copy < 0)
                return -errno;
        while (size > 0) {
                ssize_t n = copy_file_range(fd, NULL, copy, NULL, size, 0);
                char chunk[65536];

                if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
                        n = read(fd, chunk, MIN2(size, sizeof chunk));
                        if (n > 0 && write(copy, chunk, (size_t) n) != n)
                                return -EIO;
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size -= (uint64_t) n;
        }
        return TAKE_FD(copy);
}

static int open_again(const char *path, bool foreign)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (!foreign || st.st_mode & S_IROTH)
                return TAKE_FD(fd);
        return (uint64_t) st.st_size > COPY_MAX ? -EFBIG : copy_to_memory(fd, (uint64_t) st.st_size);
}

/* A FIFO without a reader, or a serial line without a carrier, must not stop us; QEMU gets it as if it had opened it itself. */
static int open_plain(const char *path, int flags)
{
        _cleanup_close_ int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

        return fd < 0 || fcntl(fd, F_SETFL, 0) < 0 ? -errno : TAKE_FD(fd);
}

static int open_one(const QemuFile *i, bool foreign)
{
        switch (i->use) {
        case QEMU_FILE_AGAIN:
                return open_again(i->path, foreign);
        case QEMU_FILE_LISTEN:
                return unix_listen(i->path, 0600);
        case QEMU_FILE_CONNECT:
                return unix_connect(i->path);
        case QEMU_FILE_OUTPUT: /* QEMU empties it */
                return open_plain(i->path, O_WRONLY | O_CREAT);
        case QEMU_FILE_READ:
                return open_plain(i->path, O_RDONLY);
        case QEMU_FILE_WRITE:
                return open_plain(i->path, O_RDWR);
        }
        return -EINVAL;
}

int qemu_files_open(QemuFiles *f, bool foreign, char **ret_why)
{
        for (size_t i = 0; i < f->n; i++) {
                QemuFile *file = &f->items[i];
                int fd = file->fd >= 0 ? file->fd : open_one(file, foreign);

                if (fd < 0) {
                        *ret_why = strformat("%s: %s: %s", file->owner, file->path, strerror(-fd));
                        return fd;
                }
                file->fd = fd;
        }
        return 0;
}

char *qemu_files_explain(const QemuFiles *f, const char *text)
{
        static const char *const places[] = { "/dev/fdset/", "/proc/self/fd/" };
        StrBuf b = STRBUF_INIT;
        char *ret;

        strbuf_add(&b, "");
        while (*text) {
                const char *path = NULL, *rest = NULL;

                for (size_t i = 0; i < ELEMENTSOF(places) && !rest; i++)
                        rest = startswith(text, places[i]);
                if (rest) {
                        char *end;
                        long number = strtol(rest, &end, 10);

                        for (size_t i = 0; i < f->n; i++)
                                if (end > rest && f->items[i].number == number)
                                        path = f->items[i].path;
                        if (path)
                                text = end;
                }
                if (path)
                        strbuf_add(&b, path);
                else
                        strbuf_addc(&b, *text++);
        }
        return strbuf_take(&b, &ret) < 0 ? NULL : ret;
}
