/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Lists of devices in the contract's forms, and the command `device`. Texts are to be freed; NULL: out of memory. */
#include "monitor.h"

char *devices_list_disks(const Monitor *m);
char *devices_nic_table(const Monitor *m);
char *devices_pci_table(const Monitor *m);
void devices_command(Monitor *m, Request *q, const char *type, const char *cmd, const char *extra);
/* After an adoption: what was plugged and unplugged before. */
void devices_replay(Monitor *m);
void devices_forget(Monitor *m);
