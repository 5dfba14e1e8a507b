/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net-bridge.h"

#include <errno.h>
#include <glob.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "strbuf.h"

void bridge_first(char buf[static IFNAMSIZ])
{
        glob_t g;

        buf[0] = '\0';
        if (glob("/sys/class/net/*/bridge", 0, NULL, &g) != 0)
                return;
        for (size_t i = 0; i < g.gl_pathc && !buf[0]; i++) {
                const char *name = g.gl_pathv[i] + strlen("/sys/class/net/");

                snprintf(buf, IFNAMSIZ, "%.*s", (int) strcspn(name, "/"), name);
        }
        globfree(&g);
}

bool bridge_exists(const char *name)
{
        char path[64];

        if (!name[0] || strlen(name) >= IFNAMSIZ || strchr(name, '/'))
                return false;
        snprintf(path, sizeof path, "/sys/class/net/%s/bridge", name);
        return access(path, F_OK) == 0;
}

int bridge_move(const char *interface, const char *bridge)
{
        _cleanup_close_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        _cleanup_free_ char *path = strformat("/sys/class/net/%s/brport/bridge", interface), *now = path ? realpath(path, NULL) : NULL;
        struct ifreq request = { .ifr_ifindex = (int) if_nametoindex(interface) };
        int r;

        if (s < 0 || request.ifr_ifindex == 0)
                return -errno;
        if (now) {
                snprintf(request.ifr_name, sizeof request.ifr_name, "%s", strrchr(now, '/') + 1);
                if (ioctl(s, SIOCBRDELIF, &request) < 0)
                        return -errno;
        }
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", bridge);
        if (ioctl(s, SIOCBRADDIF, &request) < 0) {
                r = -errno;
                if (now) {
                        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", strrchr(now, '/') + 1);
                        (void) ioctl(s, SIOCBRADDIF, &request);
                }
                return r;
        }
        /* One that began without a cable is not. */
        request = (struct ifreq) { 0 };
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
        if (ioctl(s, SIOCGIFFLAGS, &request) < 0)
                return -errno;
        request.ifr_flags |= IFF_UP;
        return ioctl(s, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}
