/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a connection begins: the client authenticates, the bus connection says Hello and takes its marker. */
#include <unistd.h>

#include "audit.h"
#include "connection-internal.h"
#include "json-link.h"
#include "outgoing.h"
#include "vminfo.h"

#define SETUP_LINE_MAX 1024

static void setup_call(Connection *c, uint32_t serial, const char *member, const char *signature, const WireBody *body)
{
        WireMessage m = { .type = WIRE_CALL, .serial = serial, .path = "/org/freedesktop/DBus", .interface = BUS_DRIVER,
                          .member = member, .destination = BUS_DRIVER, .signature = signature };

        if (body) {
                m.body = body->data;
                m.body_size = (uint32_t) body->used;
        }
        connection_send(c, &c->bus, &m);
}

/* Opens the bus connection and says all that makes it the client's in one go. */
void connection_open_bus(Connection *c)
{
        char auth[80], id[16], marker[MARKER_NAME_MAX];
        uint8_t data[MARKER_NAME_MAX + 16];
        WireBody body = { .data = data, .size = sizeof data };
        int fd, n, r;

        if (!peer_is_host(c->peer) && !c->instance->no_marker) {
                Caller caller;

                peer_caller(c->peer, &caller);
                c->marker = marker_format(&caller, marker) ? strdup(marker) : NULL;
                if (!c->marker) {
                        connection_end(c, "no marker name could be made");
                        return;
                }
        }
        fd = outgoing_connect(c->proxy->outgoing);
        r = fd < 0 ? fd : link_new_fd(c->proxy->event, fd, PRIORITY_CLIENTS, &c->bus.link);
        if (r < 0) {
                audit_note(c->peer, "Cannot connect to %s: %s", c->proxy->outgoing, strerror(-r));
                connection_end(c, "there is no bus");
                return;
        }
        if (c->instance->json_out) {
                const JsonLinkSpec json = { .proxy = c->proxy, .peer = c->peer, .instance = c->instance, .client = true,
                                            .authenticates = true };

                r = json_link_new(TAKE_PTR(c->bus.link), &json, &c->bus.link);
                if (r < 0) {
                        connection_end(c, "out of memory");
                        return;
                }
        }
        c->bus.link->on_event = connection_on_bus;
        c->bus.link->userdata = c;
        n = snprintf(id, sizeof id, "%u", (unsigned) geteuid());
        auth[0] = '\0';
        r = 1 + snprintf(auth + 1, sizeof auth - 1, "AUTH EXTERNAL ");
        for (int i = 0; i < n; i++)
                r += snprintf(auth + r, sizeof auth - (size_t) r, "%02x", (unsigned char) id[i]);
        r += snprintf(auth + r, sizeof auth - (size_t) r, "\r\nBEGIN\r\n");
        connection_batch(c, &c->bus, auth, (size_t) r);
        setup_call(c, 1, "Hello", "", NULL);
        if (c->marker) {
                wire_put_text(&body, c->marker);
                wire_put_u32(&body, 4 /* do not queue */);
                setup_call(c, 2, "RequestName", "su", &body);
        }
        c->bus_state = BUS_AUTH;
        connection_flush(c);
}

/* One message of the time before the client's first. Returns what is wrong, or NULL. */
static const char *setup_message(Connection *c, const WireMessage *m)
{
        uint32_t expected = c->bus_state == BUS_HELLO ? 1 : 2;
        const char *text = "";

        if (m->type == WIRE_SIGNAL || m->type == WIRE_CALL)
                return NULL; /* NameAcquired, which the client gets from us at its Hello */
        if (m->reply_serial != expected)
                return "the bus answered what nobody asked";
        if (m->type == WIRE_ERROR) {
                (void) wire_body_texts(m, &text, 1);
                audit_note(c->peer, "The bus refused %s: %s: %s", expected == 1 ? "Hello" : strempty(c->marker), m->error_name, text);
                return expected == 1 ? "the bus refused Hello" : "the bus refused the marker name";
        }
        if (expected == 1) {
                if (wire_body_texts(m, &text, 1) != 1 || !wire_bus_name_valid(text, strlen(text)))
                        return "the bus gave no name at Hello";
                c->unique = strdup(text);
                if (!c->unique)
                        return "out of memory";
                c->bus_state = c->marker ? BUS_MARKER : BUS_READY;
                return NULL;
        }
        if (!streq(m->signature, "u") || m->body_size != 4 || wire_get_u32(m->body, m->big_endian) != 1)
                return "the marker name is taken";
        c->bus_state = BUS_READY;
        return NULL;
}

/* The lines and messages that set up the bus connection. */
void connection_setup(Connection *c)
{
        Side *s = &c->bus;
        ssize_t n = link_read(s->link, connection_scratch, sizeof connection_scratch);

        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                connection_end(c, "the bus closed the connection at once");
                return;
        }
        if (side_keep_in(c, s, connection_scratch, (size_t) n) < 0)
                return;
        while (!c->dead && c->bus_state < BUS_READY) {
                const uint8_t *d = s->in + s->in_at;
                size_t have = side_waiting(s);
                const char *why = NULL;
                WireMessage m;
                ssize_t size;

                if (c->bus_state == BUS_AUTH) {
                        const uint8_t *end = memmem(d, have, "\r\n", 2);

                        if (!end && have < SETUP_LINE_MAX)
                                return;
                        if (!end || have < 3 || memcmp(d, "OK ", 3) != 0) {
                                connection_end(c, "the bus did not accept us");
                                return;
                        }
                        s->in_at += (size_t) (end - d) + 2;
                        c->bus_state = BUS_HELLO;
                        continue;
                }
                size = wire_size(d, have, &why);
                if (size == 0 || (size > 0 && (size_t) size > have))
                        return;
                if (size > 0 && wire_parse(d, (size_t) size, &m, &why) >= 0)
                        why = setup_message(c, &m);
                if (why) {
                        connection_end(c, why);
                        return;
                }
                s->in_at += (size_t) size;
        }
        if (side_waiting(s) == 0)
                side_drop_in(c, s);
}

/* Begins with the client's messages once everything is there that they are judged by. */
void connection_go_on(Connection *c)
{
        if (c->dead || c->running || c->bus_state != BUS_READY || c->sasl)
                return;
        if (!peer_is_host(c->peer) && !c->instance->no_firewall && c->peer->uuid[0] && !vminfo_loaded(c->proxy->vminfo) &&
            connection_seconds() - c->opened < 2)
                return;
        c->running = true;
        connection_pump_kept(c, &c->client);
}

void connection_sasl(Connection *c, const uint8_t *data, size_t n)
{
        size_t at = 0;

        while (at < n && c->sasl && !c->dead) {
                char reply[SASL_REPLY_MAX];

                at += sasl_input(c->sasl, data + at, n - at, c->proxy->guid,
                                 c->instance->send_uuid && c->peer->uuid[0] ? c->peer->uuid : NULL, reply);
                if (c->bus_state == BUS_NONE && c->sasl->state > SASL_NUL && c->sasl->state < SASL_FAILED)
                        connection_open_bus(c);
                if (reply[0]) {
                        struct iovec v = { reply, strlen(reply) };
                        ssize_t w = side_busy(&c->client) ? -EAGAIN : link_write(c->client.link, &v, 1);

                        if (w < 0 && w != -EAGAIN)
                                connection_end(c, NULL);
                        else
                                (void) side_keep_out(c, &c->client, reply + MAX2(w, 0), v.iov_len - (size_t) MAX2(w, 0));
                }
                if (c->sasl->state == SASL_FAILED)
                        connection_end(c, c->sasl->why);
                else if (c->sasl->state == SASL_DONE) {
                        free(c->sasl);
                        c->sasl = NULL;
                }
        }
        if (!c->dead && side_keep_in(c, &c->client, data + at, n - at) >= 0)
                connection_go_on(c);
}
