/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uevent.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define GROUP_KERNEL 1
#define RECEIVE_BUFFER ((int) (1 * MIB)) /* a burst of devices; what is over it is told as lost */
#define FIRST_USER_NAMESPACE 0xEFFFFFFDU /* its inode: PROC_USER_INIT_INO of the kernel */

int uevent_open(void)
{
        const struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = GROUP_KERNEL };
        const int size = RECEIVE_BUFFER;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (stat("/proc/self/ns/user", &st) < 0 || st.st_ino != FIRST_USER_NAMESPACE)
                return -EOPNOTSUPP;
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0)
                return -errno;
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        if (bind(fd, (const struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return TAKE_FD(fd);
}

const char *uevent_value(const Uevent *e, const char *key)
{
        size_t n = strlen(key);

        for (const char *p = e->values; p < e->end; p += strlen(p) + 1)
                if (strncmp(p, key, n) == 0 && p[n] == '=')
                        return p + n + 1;
        return NULL;
}

int uevent_parse(const char *untrusted_buf, size_t n, Uevent *ret)
{
        Uevent e = { 0 };

        /* "add@/devices/…\0ACTION=add\0DEVPATH=/devices/…\0SUBSYSTEM=block\0…": all texts end within it. */
        if (n == 0 || untrusted_buf[n - 1] || !strchr(untrusted_buf, '@'))
                return -EBADMSG;
        e.values = untrusted_buf + strlen(untrusted_buf) + 1;
        e.end = untrusted_buf + n;
        e.action = uevent_value(&e, "ACTION");
        e.devpath = uevent_value(&e, "DEVPATH");
        e.subsystem = uevent_value(&e, "SUBSYSTEM");
        if (!e.action || !e.subsystem || !e.devpath || *e.devpath != '/')
                return -EBADMSG;
        *ret = e;
        return 0;
}

int uevent_read(int fd, char buf[static UEVENT_MAX], Uevent *ret)
{
        for (;;) {
                struct sockaddr_nl from = { 0 };
                socklen_t size = sizeof from;
                ssize_t n = recvfrom(fd, buf, UEVENT_MAX, MSG_TRUNC, (struct sockaddr *) &from, &size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                if (n > UEVENT_MAX)
                        return -ENOBUFS;
                /* A process has a number there, and none but the kernel has 0. */
                if (size == sizeof from && from.nl_pid == 0 && from.nl_groups == GROUP_KERNEL &&
                    uevent_parse(buf, (size_t) n, ret) == 0)
                        return 1;
        }
}
