/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "outgoing.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "serial.h"

/* Fills sa from unix:PATH, unix:path=PATH[,…] or unix:abstract=NAME[,…]. Returns its length or -EINVAL. */
static int unix_address(const char *channel, struct sockaddr_un *ret)
{
        const char *path = startswith(channel, "unix:"), *dbus;
        bool abstract = false;
        size_t n;

        if (!path)
                return -EINVAL;
        dbus = startswith(path, "path=");
        if (!dbus) {
                dbus = startswith(path, "abstract=");
                abstract = dbus != NULL;
        }
        n = dbus ? strcspn(dbus, ",;") : strlen(path);
        path = dbus ? dbus : path;
        if (n == 0 || n + abstract >= sizeof ret->sun_path || (!abstract && path[0] != '/'))
                return -EINVAL;
        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        memcpy(ret->sun_path + abstract, path, n);
        return (int) (offsetof(struct sockaddr_un, sun_path) + abstract + n + !abstract);
}

int outgoing_check(const char *channel, const char **ret_why)
{
        const char *device = startswith(channel, "serial:");
        struct sockaddr_un sa;

        *ret_why = "an outgoing channel is unix:PATH or serial:DEVICE";
        if (startswith(channel, "argo-domid:") || startswith(channel, "argo-uuid:"))
                *ret_why = "Argo's driver is not one that this program knows; a bus is reached with unix:PATH or serial:DEVICE";
        if (device)
                return device[0] == '/' ? 0 : -EINVAL;
        return unix_address(channel, &sa) < 0 ? -EINVAL : 0;
}

int outgoing_connect(const char *channel)
{
        const char *device = startswith(channel, "serial:");
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un sa;
        int n;

        if (device)
                return serial_open(device);
        n = unix_address(channel, &sa);
        if (n < 0)
                return n;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, (socklen_t) n) < 0)
                return -errno;
        return TAKE_FD(fd);
}
