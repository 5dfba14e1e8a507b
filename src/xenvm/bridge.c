/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge.h"

#include <glob.h>
#include <unistd.h>

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
