/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Lists of devices in the contract's forms, and the command `device`. Texts are to be freed; NULL: out of memory. */
#include "monitor.h"

char *devices_list_disks(const Monitor *m);
char *devices_nic_table(const Monitor *m);
char *devices_pci_table(const Monitor *m);
void devices_command(Monitor *m, Request *q, const char *type, const char *cmd, const char *extra);
/* The running VM's; path NULL: the drive is emptied. */
void devices_set_medium(Monitor *m, Request *q, const char *virtpath, const char *path);
void devices_switch_network(Monitor *m, Request *q, int64_t id, const char *network);
void devices_set_nic_backend(Monitor *m, Request *q, int64_t id, int64_t domid);

/* After an adoption: what was plugged and unplugged before. */
void devices_replay(Monitor *m);
/* Whether devices were plugged in or unplugged since its start, and all changes as text for a saved VM (to free). */
bool devices_plugged(const Monitor *m);
char *devices_changes(const Monitor *m);
/* The configuration with which a saved VM is restored: the next one, and the changes that are in its file. -EINVAL: *ret_why. */
int devices_saved_config(const Monitor *m, const char *devices, VmConfig **ret, char **ret_why);
/* The same for the current configuration, from now on. */
void devices_restore(Monitor *m, const char *devices);
/* Cards that were plugged in, a bit for each id. */
uint32_t devices_plugged_nics(const Monitor *m);
/* One that the guest has let go of by itself. */
void devices_unplugged(Monitor *m, VmDeviceKind kind, const char *id);
void devices_forget(Monitor *m);
