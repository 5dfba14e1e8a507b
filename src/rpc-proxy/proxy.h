/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The objects of the proxy and how they hang together.
 *
 *   Proxy       the process: its own bus connection, rules, limits
 *   Instance    what one of OpenXT's rpc-proxy processes was: the options for one kind of client
 *   Peer        one VM (or other kind of client) as seen by the rules; shared by its connections
 *   Connection  one client connection and the bus connection that was made for it
 *
 * Three parts do not know each other: the wire format (wire.h, pure), the policy (policy.h, pure), and
 * the transport, which is the rest. filter.c is where they meet.
 */
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon.h"
#include "proxy-limits.h"
#include "policy.h"

typedef struct Proxy Proxy;
typedef struct Peer Peer;
typedef struct Connection Connection;
typedef struct Names Names;
typedef struct VmInfo VmInfo;
typedef struct Audit Audit;
typedef struct RuleSet RuleSet;
typedef struct Listener Listener;
typedef struct WebProcess WebProcess;

/* The proxy's own bus connection is served before any guest's bytes, so that changes are in force first. */
#define PRIORITY_CLIENTS (SD_EVENT_PRIORITY_NORMAL + 10)

#define BUS_DRIVER "org.freedesktop.DBus"
#define AGENT_NAME_PREFIX "com.citrix.xenclient.guest.uuid_"
#define AGENT_INTERFACE "com.citrix.xenclient.guest"

typedef struct Instance {
        const char *request_name; /* -n: with $UUID in it; NULL: none */
        bool translate_anonymous; /* --translate-anonymous-dests */
        bool owner_name;          /* --owner-name */
        bool auto_auth;           /* --auto-auth */
        bool send_uuid;           /* -u */
        bool no_firewall;         /* -w */
        bool no_marker;           /* the outgoing side is another proxy, which names the VM itself */
        bool json_in, json_out, websockets_in;
} Instance;

struct Proxy {
        Daemon *daemon;
        sd_event *event;
        Instance instance;    /* from the options */
        const char *incoming, *outgoing;
        int64_t incoming_domid; /* -d; -1: none */
        const char *rules_path; /* -r */
        bool verbose, allow_remote, server;
        Limits limits;
        char guid[33];        /* that the authentication shows */

        RuleSet *rules;
        VmInfo *vminfo;
        Names *names;
        Audit *audit;
        Listener *listener;
        WebProcess *web; /* with the first client that speaks HTTP */
        Peer *peers;
        Connection *connections;
        Connection *ready, **ready_end; /* those with messages left from their last turn */
        sd_event_source *turn, *tick, *calm;
        const Peer *last_caller; /* only compared */
        uint64_t contended_until; /* monotonic, us: more than one peer calls */
        uint64_t n_connections, n_messages, n_denied;
};
