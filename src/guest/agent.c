/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent.h"

#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "port.h"
#include "power.h"
#include "strbuf.h"
#include "wire.h"

#define INTERFACE "com.citrix.xenclient.guest"
/* This service's proxy puts the name made of our uuid, which we need not know, in place of any other. */
#define SERVICE 5556
#define NAME "com.citrix.xenclient.guest.uuid_own"
#define BACK_OFF_FIRST (500 * USEC_PER_MSEC)
#define BACK_OFF_LAST (30 * USEC_PER_SEC)
#define AUTH_MAX 512

enum { SERIAL_HELLO = 1, SERIAL_NAME, SERIAL_FREE };
enum { SIGNAL_STARTED, SIGNAL_UNINSTALLED, SIGNAL_XORG, _SIGNAL_MAX };

static const char *const signal_names[_SIGNAL_MAX] = {
        [SIGNAL_STARTED] = "agent_started",
        [SIGNAL_UNINSTALLED] = "agent_uninstalled",
        [SIGNAL_XORG] = "xorg_running",
};

static const struct {
        const char *name;
        PowerRequest request;
} methods[] = {
        { "request_hibernate", POWER_HIBERNATE },
        { "request_reboot", POWER_REBOOT },
        { "request_shutdown", POWER_OFF },
        { "request_sleep", POWER_SLEEP },
};

static struct {
        MuxStream *stream;
        enum { AGENT_AWAY, AGENT_AUTH, AGENT_NAMING, AGENT_READY } state;
        Timer retry;
        uint64_t back_off;
        uint32_t serial;
        bool due[_SIGNAL_MAX]; /* to be emitted when ready */
        struct {
                char text[AGENT_NODE_SIZE]; /* NODE, a NUL, VALUE */
                bool due;
        } nodes[AGENT_NODES_MAX];
        size_t n_nodes;
        uint8_t in[WIRE_MAX], out[WIRE_MAX];
        size_t in_len, out_len;
} agent;

static void send_more(void)
{
        size_t n;

        if (!agent.stream)
                return;
        n = mux_stream_send(agent.stream, agent.out, agent.out_len);
        agent.out_len -= n;
        memmove(agent.out, agent.out + n, agent.out_len);
        port_flush();
}

static void send_bytes(const void *p, size_t n)
{
        if (n > sizeof agent.out - agent.out_len)
                return; /* a host that takes no answers gets none */
        memcpy(agent.out + agent.out_len, p, n);
        agent.out_len += n;
        send_more();
}

static void send_message(const WireMessage *m)
{
        agent.out_len += wire_write(m, agent.out + agent.out_len, sizeof agent.out - agent.out_len);
        send_more();
}

static uint32_t next_serial(void)
{
        if (agent.serial == UINT32_MAX)
                agent.serial = SERIAL_FREE;
        return agent.serial++;
}

static void emit_due(void)
{
        for (size_t i = 0; agent.state == AGENT_READY && i < _SIGNAL_MAX; i++) {
                WireMessage m = { .type = WIRE_SIGNAL, .no_reply = true, .path = "/", .interface = INTERFACE,
                                  .member = signal_names[i] };

                if (!agent.due[i])
                        continue;
                agent.due[i] = false;
                m.serial = next_serial();
                send_message(&m);
        }
        for (size_t i = 0; agent.state == AGENT_READY && i < agent.n_nodes; i++) {
                const char *node = agent.nodes[i].text;
                WireMessage m = { .type = WIRE_SIGNAL, .no_reply = true, .path = "/", .interface = INTERFACE,
                                  .member = "node_written", .text = node, .text2 = node + strlen(node) + 1 };

                if (!agent.nodes[i].due)
                        continue;
                agent.nodes[i].due = false;
                m.serial = next_serial();
                send_message(&m);
        }
}

int agent_write(const char *node_and_value)
{
        const char *value = strchr(node_and_value, '=');
        size_t n = value ? (size_t) (value - node_and_value) : 0, i = 0;

        if (n == 0 || strlen(node_and_value) >= AGENT_NODE_SIZE)
                return -EINVAL;
        while (i < agent.n_nodes && !(strlen(agent.nodes[i].text) == n && memcmp(agent.nodes[i].text, node_and_value, n) == 0))
                i++;
        if (i == AGENT_NODES_MAX)
                return -ENOSPC;
        if (i == agent.n_nodes)
                agent.n_nodes++;
        snprintf(agent.nodes[i].text, AGENT_NODE_SIZE, "%s", node_and_value);
        agent.nodes[i].text[n] = '\0';
        agent.nodes[i].due = true;
        emit_due();
        return 0;
}

int agent_emit(const char *signal)
{
        for (size_t i = 0; i < _SIGNAL_MAX; i++)
                if (streq(signal, signal_names[i])) {
                        agent.due[i] = true;
                        emit_due();
                        return 0;
                }
        return -EINVAL;
}

static void away(void)
{
        agent.stream = NULL;
        agent.state = AGENT_AWAY;
        agent.in_len = agent.out_len = 0;
        if (!mux_attached(port_mux()))
                return; /* agent_attached() goes on */
        loop_after(&agent.retry, agent.back_off);
        agent.back_off = MIN2(agent.back_off * 2, BACK_OFF_LAST);
}

static void give_up(const char *why)
{
        log_warning("The agent's connection is of no use: %s", why);
        mux_stream_close(agent.stream, MUX_REASON_END);
        port_flush();
        away();
}

static void say_hello(void)
{
        static const uint32_t no_flags;
        WireMessage hello = { .type = WIRE_CALL, .serial = SERIAL_HELLO, .path = "/org/freedesktop/DBus",
                              .interface = "org.freedesktop.DBus", .member = "Hello",
                              .destination = "org.freedesktop.DBus" };
        WireMessage name = hello;

        name.serial = SERIAL_NAME;
        name.member = "RequestName";
        name.text = NAME;
        name.number = &no_flags;
        agent.serial = SERIAL_FREE;
        send_bytes("BEGIN\r\n", 7);
        send_message(&hello);
        send_message(&name);
        agent.state = AGENT_NAMING;
}

/* The answer to AUTH is one line. */
static int take_auth(const uint8_t *untrusted, size_t n)
{
        const uint8_t *end = memmem(untrusted, n, "\r\n", 2);

        if (!end)
                return n < AUTH_MAX ? 0 : -EBADMSG;
        if (memcmp(untrusted, "OK", 2) != 0)
                return -EACCES;
        say_hello();
        return (int) (end + 2 - untrusted);
}

static void answer(const WireMessage *call, const char *error, const char *text)
{
        WireMessage m = { .type = error ? WIRE_ERROR : WIRE_RETURN, .no_reply = true, .error = error, .text = text,
                          .serial = next_serial(), .reply_serial = call->serial, .destination = call->sender };

        if (!call->no_reply)
                send_message(&m);
}

/* What Introspect says: made of the two tables. */
static void introspect(const WireMessage *call)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *xml = NULL;

        strbuf_add(&b, "<node><interface name=\"" INTERFACE "\">");
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                strbuf_addf(&b, "<method name=\"%s\"/>", methods[i].name);
        for (size_t i = 0; i < _SIGNAL_MAX; i++)
                strbuf_addf(&b, "<signal name=\"%s\"/>", signal_names[i]);
        strbuf_add(&b, "<signal name=\"node_written\"><arg name=\"node\" type=\"s\"/><arg name=\"value\" type=\"s\"/></signal>");
        strbuf_add(&b, "</interface></node>");
        if (strbuf_take(&b, &xml) >= 0)
                answer(call, NULL, xml);
}

static void take_call(const WireMessage *call)
{
        const char *interface = strempty(call->interface), *member = strempty(call->member);
        char shown[64];

        if (streq(interface, "org.freedesktop.DBus.Introspectable") && streq(member, "Introspect"))
                return introspect(call);
        if (streq(interface, "org.freedesktop.DBus.Peer") && streq(member, "Ping"))
                return answer(call, NULL, NULL);
        for (size_t i = 0; i < ELEMENTSOF(methods) && (!interface[0] || streq(interface, INTERFACE)); i++)
                if (streq(member, methods[i].name)) {
                        int r;

                        log_notice("The host asks: %s", methods[i].name);
                        r = power_request(methods[i].request);
                        return answer(call, r < 0 ? "org.freedesktop.DBus.Error.Failed" : NULL,
                                      r < 0 ? strerror(-r) : NULL);
                }
        answer(call, "org.freedesktop.DBus.Error.UnknownMethod", log_untrusted(shown, sizeof shown, member));
}

static void take_message(const WireMessage *m)
{
        if (agent.state == AGENT_NAMING && m->reply_serial == SERIAL_NAME) {
                if (m->type == WIRE_ERROR)
                        return give_up("the host refused the agent's name");
                log_info("The agent is on the host's bus");
                agent.state = AGENT_READY;
                agent.back_off = BACK_OFF_FIRST;
                agent.due[SIGNAL_STARTED] = true;
                for (size_t i = 0; i < agent.n_nodes; i++)
                        agent.nodes[i].due = true;
                emit_due();
        } else if (m->type == WIRE_CALL)
                take_call(m);
}

/* Takes one item off the front of what came in. Returns its size, 0: not whole yet; negative: of no use. */
static int take_one(void)
{
        WireMessage m;
        int k;

        if (agent.state == AGENT_AUTH)
                return take_auth(agent.in, agent.in_len);
        k = wire_read(agent.in, agent.in_len, &m);
        if (k > 0)
                take_message(&m);
        return k;
}

void agent_data(MuxStream *s, const void *untrusted_data, size_t size)
{
        const uint8_t *untrusted = untrusted_data;

        mux_stream_consumed(s, size);
        while (size > 0) {
                size_t n = MIN2(size, sizeof agent.in - agent.in_len);
                int k;

                memcpy(agent.in + agent.in_len, untrusted, n);
                agent.in_len += n;
                untrusted += n;
                size -= n;
                while ((k = take_one()) > 0) {
                        if (!agent.stream)
                                return; /* given up meanwhile */
                        agent.in_len -= (size_t) k;
                        memmove(agent.in, agent.in + k, agent.in_len);
                }
                if (k < 0)
                        return give_up(k == -EACCES ? "not accepted" : strerror(-k));
        }
}

void agent_writable(MuxStream *s _unused_)
{
        send_more();
}

void agent_closed(MuxStream *s _unused_, MuxReason reason)
{
        log_debug("The agent's connection ended: %s", mux_reason_to_string(reason));
        away();
}

bool agent_owns(MuxStream *s)
{
        return s && s == agent.stream;
}

static void on_retry(Timer *t _unused_)
{
        char auth[64], hex[32];
        int n;

        if (agent.stream || !mux_attached(port_mux()))
                return;
        if (mux_open(port_mux(), SERVICE, NULL, &agent.stream) < 0)
                return away();
        agent.state = AGENT_AUTH;
        /* The uid as decimal text, each digit in hex, as the specification has it. */
        n = snprintf(hex, sizeof hex, "%u", (unsigned) getuid());
        auth[0] = '\0';
        snprintf(auth + 1, sizeof auth - 1, "AUTH EXTERNAL ");
        for (int i = 0; i < n; i++)
                snprintf(auth + 15 + 2 * i, 3, "%02x", (unsigned) hex[i]);
        snprintf(auth + 15 + 2 * n, 3, "\r\n");
        send_bytes(auth, 17 + 2 * (size_t) n);
}

void agent_attached(bool attached)
{
        if (!agent.retry.run)
                return; /* --no-agent */
        if (!attached)
                return loop_cancel(&agent.retry); /* its stream has had its end */
        agent.back_off = BACK_OFF_FIRST;
        loop_after(&agent.retry, 0);
}

void agent_start(void)
{
        agent.retry.run = on_retry;
        agent.back_off = BACK_OFF_FIRST;
}
