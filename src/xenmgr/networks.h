/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the platform's network daemon (com.citrix.xenclient.networkdaemon) says of its networks. While its name is
 * owned, its list is kept and read anew after each of its signals, so that nothing waits for its answers but a
 * start that comes before the first list. Without the daemon a network's path tells its kind.
 */
#include "manager.h"

#define NETWORK_DAEMON "com.citrix.xenclient.networkdaemon"

typedef struct Networks Networks;

typedef struct Network {
        char *path;
        char *type;    /* wired wifi modem internal any vpn unknown */
        char *bridge;  /* or NULL */
        char *backend; /* uuid of the VM that serves it, or NULL */
} Network;

/* The daemon's name got an owner, or lost it. */
void networks_owner_changed(Manager *m, bool owned);
/* Takes NULL. Returns NULL. */
Networks *networks_free(Networks *n);

/* False: the daemon is there and its networks are not known yet. */
bool networks_known(const Manager *m);
/* NULL: no daemon, or it does not have this network. */
const Network *networks_find(const Manager *m, const char *path);
bool networks_wireless(const Manager *m, const char *path);
