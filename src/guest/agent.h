/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The guest agent on the host's bus: owns com.citrix.xenclient.guest.uuid_<uuid>, carries out the
 * host's requests to shut down, reboot, sleep and hibernate, and emits the contract's signals
 * (dbus-api: com.citrix.xenclient.guest). It is a bus client of its own over one stream of the channel.
 */
#include "mux.h"

/* Connects as soon as the channel is attached; comes back with back-off. */
void agent_start(void);
void agent_attached(bool attached);

/* Events of the agent's stream. */
bool agent_owns(MuxStream *s);
void agent_data(MuxStream *s, const void *untrusted_data, size_t size);
void agent_writable(MuxStream *s);
void agent_closed(MuxStream *s, MuxReason reason);

/* Emits a signal, now or when connected. 0, or -EINVAL: the interface has none of that name. */
int agent_emit(const char *signal);
/* The names of the signals, blank separated. */
#define AGENT_SIGNALS "agent_started agent_uninstalled xorg_running"

/*
 * Tells the host of a node, "NODE=VALUE": what a guest on Xen writes below its /local/domain/<domid> (its boot sentinel,
 * the version of its tools, …). Told again at each new connection, so that it is never lost. 0, -EINVAL: not of that
 * form or too long; -ENOSPC: too many nodes.
 */
int agent_write(const char *node_and_value);
#define AGENT_NODES_MAX 16
#define AGENT_NODE_SIZE 136
