/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Lists of devices in the contract's forms, and the command `device`. Texts are to be freed; NULL: out of memory. */
#include "monitor.h"

char *devices_list_disks(const VmConfig *c);
char *devices_nic_table(const VmConfig *c);
char *devices_pci_table(const VmConfig *c);
void devices_command(Monitor *m, Request *q, const char *type, const char *cmd, const char *extra);
