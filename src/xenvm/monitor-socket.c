/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "monitor.h"

int monitor_socket_start(_unused_ Monitor *m)
{
        return 0;
}
void monitor_socket_stop(_unused_ Monitor *m)
{
}
