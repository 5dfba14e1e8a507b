/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "strbuf.h"

int read_file(const char *path, size_t max, char **ret, size_t *ret_size)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* who put a FIFO there must not stop us */

        return fd < 0 ? -errno : read_stream(fd, max, ret, ret_size);
}

int read_stream(int fd, size_t max, char **ret, size_t *ret_size)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char chunk[16384];
        size_t size;
        int r;

        for (;;) {
                ssize_t n = read(fd, chunk, sizeof chunk);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                if ((size_t) n > max - b.len)
                        return -EFBIG;
                strbuf_addn(&b, chunk, (size_t) n);
        }
        size = b.len;
        r = strbuf_take(&b, ret);
        if (r < 0)
                return r;
        if (ret_size)
                *ret_size = size;
        return 0;
}

int open_below(const char *root, const char *path, int flags)
{
        struct open_how how = { .flags = (uint64_t) (flags | O_CLOEXEC), .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
        const char *rest = startswith(path, root);
        _cleanup_close_ int root_fd = -EBADF;
        long fd;

        if (!rest || *rest != '/')
                return -ENOENT;
        while (*rest == '/')
                rest++;
        root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return -errno;
        fd = syscall(SYS_openat2, root_fd, rest, &how, sizeof how);
        return fd < 0 ? -errno : (int) fd;
}

static int write_all(int fd, const char *p, size_t size)
{
        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

static int fsync_parent(const char *path)
{
        _cleanup_free_ char *dir = strdup(path);
        _cleanup_close_ int fd = -EBADF;
        char *slash;

        if (!dir)
                return -ENOMEM;
        slash = strrchr(dir, '/');
        if (slash)
                slash[slash == dir] = '\0';
        fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int write_file_atomic(const char *path, const void *data, size_t size, mode_t mode)
{
        _cleanup_free_ char *tmp = strformat("%s.XXXXXX", path);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!tmp)
                return -ENOMEM;
        fd = mkostemp(tmp, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_all(fd, data, size);
        if (r >= 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0))
                r = -errno;
        if (r < 0) {
                (void) unlink(tmp);
                return r;
        }
        return fsync_parent(path);
}

int mkdir_parents(const char *path, mode_t mode)
{
        _cleanup_free_ char *p = strdup(path);

        if (!p)
                return -ENOMEM;
        for (char *s = p + 1;; s++) {
                bool end = *s == '\0';

                if (*s != '/' && !end)
                        continue;
                *s = '\0';
                if (mkdir(p, mode) < 0 && errno != EEXIST)
                        return -errno;
                if (end)
                        return 0;
                *s = '/';
        }
}

static int remove_at(int parent, const char *name, int depth)
{
        struct dirent *e;
        int result = 0, fd, r;
        DIR *dir;

        if (unlinkat(parent, name, 0) >= 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -errno;
        if (depth == 0)
                return -ELOOP;
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                r = -errno;
                safe_close(fd);
                return r;
        }
        while ((e = readdir(dir)))
                if (!streq(e->d_name, ".") && !streq(e->d_name, "..")) {
                        r = remove_at(dirfd(dir), e->d_name, depth - 1);
                        if (result == 0)
                                result = r;
                }
        closedir(dir);
        if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && result == 0)
                result = -errno;
        return result;
}

int remove_tree(const char *path)
{
        return remove_at(AT_FDCWD, path, 64);
}

char *path_join(const char *a, const char *b)
{
        size_t l = strlen(a);

        while (l > 1 && a[l - 1] == '/')
                l--;
        while (*b == '/')
                b++;
        return strformat("%.*s%s%s", (int) l, a, l == 1 && *a == '/' ? "" : "/", b);
}

int process_start_time(pid_t pid, uint64_t *ret)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        unsigned long long start;
        const char *p;

        snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
        if (read_file(path, 8192, &text, NULL) < 0)
                return -ESRCH;
        /* The second field is a name in parentheses that may itself contain any of them. */
        p = strrchr(text, ')');
        if (!p || sscanf(p + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                         &start) != 1)
                return -ESRCH;
        *ret = start;
        return 0;
}

int64_t process_terminal(pid_t pid)
{
        char path[64];
        int64_t found = -1;
        DIR *d;

        snprintf(path, sizeof path, "/proc/%d/fdinfo", (int) pid);
        d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d)); ) {
                char file[sizeof path + sizeof e->d_name + 1];
                _cleanup_free_ char *text = NULL;
                long long index;
                const char *line;

                snprintf(file, sizeof file, "%s/%s", path, e->d_name);
                if (e->d_name[0] == '.' || read_file(file, 4096, &text, NULL) < 0)
                        continue;
                line = strstr(text, "tty-index:");
                /* The serial port is the first terminal that is opened. */
                if (line && sscanf(line, "tty-index: %lld", &index) == 1 && (found < 0 || index < found))
                        found = index;
        }
        if (d)
                closedir(d);
        return found;
}

int process_open(pid_t pid, uint64_t start_time)
{
        _cleanup_close_ int fd = -EBADF;
        uint64_t now;

        fd = pidfd_open(pid, 0);
        if (fd < 0)
                return -ESRCH;
        /* Checked after the descriptor is held: from here on the pid cannot be used again unseen. */
        if (process_start_time(pid, &now) < 0 || now != start_time)
                return -ESRCH;
        return TAKE_FD(fd);
}

int lock_file(const char *path)
{
        _cleanup_close_ int fd = -EBADF;

        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return TAKE_FD(fd);
}

static int unix_socket(const char *path, struct sockaddr_un *ret)
{
        int fd;

        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof ret->sun_path)
                return -ENAMETOOLONG;
        memcpy(ret->sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd < 0 ? -errno : fd;
}

int unix_connect(const char *path)
{
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un sa;

        fd = unix_socket(path, &sa);
        if (fd < 0)
                return fd;
        if (connect(fd, (struct sockaddr *) &sa, sizeof sa) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int unix_listen(const char *path, mode_t mode)
{
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un sa;

        fd = unix_socket(path, &sa);
        if (fd < 0)
                return fd;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        /* Until chmod below the socket is closed to everybody: fchmod before bind sets its mode. */
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 ||
            chmod(path, mode) < 0 || listen(fd, 128) < 0)
                return -errno;
        return TAKE_FD(fd);
}
