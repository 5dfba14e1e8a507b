/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-control.h"

#include <unistd.h>

bool xen_control_access(int mode)
{
        return access("/dev/xen/privcmd", mode) == 0 || access("/proc/xen/privcmd", mode) == 0;
}
