/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"

#include "json-link.h"
#include "web-process.h"

int client_accept(Proxy *p, Peer *peer, const Instance *instance, Link *link)
{
        const JsonLinkSpec spec = { .proxy = p, .peer = peer, .instance = instance, .authenticates = !instance->auto_auth };
        int r;

        if (instance->websockets_in)
                return web_process_serve(p, peer, instance, link);
        if (instance->json_in) {
                r = json_link_new(link, &spec, &link);
                if (r < 0)
                        return r;
        }
        return connection_new(p, peer, instance, link);
}
