/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt-guest: gives the programs of a guest the host's bus (relay.c), and the host an agent in the guest
 * (agent.c), over the guest channel (port.c, docs/guest-channel.md). One static binary without
 * libsystemd, so that it runs in an initramfs as well.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "fs.h"
#include "log.h"
#include "loop.h"
#include "options.h"
#include "port.h"
#include "relay.h"
#include "strbuf.h"

#define LISTEN_DEFAULT "unix:/run/oxt/host-bus"

static const char *arg_channel = "auto", *arg_control = "/run/oxt/guest-agent", *arg_emit, *arg_write;
static bool arg_agent = true, arg_debug;
static char **arg_listen;

static int parse_listen(const char *value)
{
        return strv_extend(&arg_listen, value);
}

static const Option options[] = {
        { "channel", 'c', "CHANNEL", OPTION_STRING, &arg_channel,
          "The way to the host: auto (a virtio port, oxt-guest-vchan, vsock), vsock[:PORT], or the path of a port or socket" },
        { "listen", 'l', "ADDRESS", OPTION_CALLBACK, parse_listen,
          "Offer the host's bus at unix:PATH or tcp:PORT[=SERVICE]; can be given again" },
        { "no-agent", 0, NULL, OPTION_NO_FLAG, &arg_agent, "Do not appear on the host's bus oneself" },
        { "control", 0, "PATH", OPTION_STRING, &arg_control, "Socket on which a running agent takes --emit and --write" },
        { "emit", 0, "SIGNAL", OPTION_STRING, &arg_emit, "Have the running agent emit a signal, and end",
          AGENT_SIGNALS },
        { "write", 0, "NODE=VALUE", OPTION_STRING, &arg_write,
          "Have the running agent tell the host of a node, such as the VM's boot sentinel, and end" },
        { "debug", 0, NULL, OPTION_FLAG, &arg_debug, "Log more" },
        { 0 },
};

static const Program program = {
        .name = "oxt-guest",
        .synopsis = "[OPTIONS]",
        .summary = "Connects the programs of a guest with the host's bus, and the host with the guest.",
        .options = options,
        .footer = "Without --listen it offers " LISTEN_DEFAULT ". SERVICE is 5555 unless given.",
};

static void on_attached(Mux *m _unused_, void *userdata _unused_)
{
        log_info("Connected with the host");
        relay_attached(true);
        if (arg_agent)
                agent_attached(true);
}

static void on_detached(Mux *m _unused_, const char *why, void *userdata _unused_)
{
        log_info("No longer connected with the host: %s", why);
        relay_attached(false);
        if (arg_agent)
                agent_attached(false);
}

static void on_data(MuxStream *s, const void *untrusted_data, size_t size, void *userdata _unused_)
{
        (agent_owns(s) ? agent_data : relay_data)(s, untrusted_data, size);
}

static void on_writable(MuxStream *s, void *userdata _unused_)
{
        (agent_owns(s) ? agent_writable : relay_writable)(s);
}

static void on_closed(MuxStream *s, MuxReason reason, void *userdata _unused_)
{
        (agent_owns(s) ? agent_closed : relay_closed)(s, reason);
}

static const MuxEvents events = {
        .attached = on_attached, .detached = on_detached, .data = on_data, .writable = on_writable, .closed = on_closed,
};

/* The control socket takes one signal's name or NODE=VALUE for each connection, and closes it: with "ok" if it was one. */
static void on_control(Source *s, uint32_t events_ _unused_)
{
        struct timeval patience = { .tv_usec = 200 * 1000 };
        _cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        char untrusted_text[AGENT_NODE_SIZE + 1] = "";

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
                return;
        if (recv(fd, untrusted_text, sizeof untrusted_text - 1, 0) > 0 &&
            (strchr(untrusted_text, '=') ? agent_write : agent_emit)(untrusted_text) == 0)
                (void) send(fd, "ok", 2, MSG_NOSIGNAL);
}

static int ask_agent(const char *text)
{
        _cleanup_close_ int fd = unix_connect(arg_control);
        struct timeval patience = { .tv_sec = 5 };
        char reply[2];
        ssize_t n;

        if (fd < 0)
                return log_errno(fd, "No agent at %s", arg_control);
        /* Ours is a program that may wait. */
        if (fcntl(fd, F_SETFL, 0) < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
                return log_errno(errno, "Cannot ask the agent");
        if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                return log_errno(errno, "Cannot ask the agent");
        n = recv(fd, reply, sizeof reply, 0);
        return n == 2 ? 0 : log_errno(n < 0 ? errno : EPROTO, "The agent did not answer");
}

static int run(void)
{
        static Source control = { .fd = -EBADF, .run = on_control };
        int r = loop_init();

        for (char **l = arg_listen; r >= 0 && l && *l; l++) {
                r = relay_listen(*l);
                if (r < 0)
                        return r;
        }
        if (r >= 0 && arg_agent) {
                control.fd = unix_listen(arg_control, 0600);
                r = control.fd < 0 ? control.fd : loop_watch(&control, EPOLLIN);
                if (r < 0)
                        return log_errno(r, "Cannot listen on %s", arg_control);
                agent_start();
        }
        if (r >= 0)
                r = port_start(arg_channel, &events, NULL);
        if (r >= 0)
                r = loop_run();
        return r < 0 ? log_errno(r, "Cannot run") : 0;
}

int main(int argc, char *argv[])
{
        int status, first;

        log_init("oxt-guest", LOG_INFO);
        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        if (first < argc) {
                log_error("'%s' is no option", argv[first]);
                return 2;
        }
        if (arg_debug)
                log_set_level(LOG_DEBUG);
        if (arg_write && (arg_write[0] == '=' || !strchr(arg_write, '=') || strlen(arg_write) >= AGENT_NODE_SIZE)) {
                log_error("--write takes NODE=VALUE of at most %d bytes, not '%s'", AGENT_NODE_SIZE - 1, arg_write);
                return 2;
        }
        if (arg_emit && ask_agent(arg_emit) < 0)
                return 1;
        if (arg_write && ask_agent(arg_write) < 0)
                return 1;
        if (arg_emit || arg_write)
                return 0;
        if (!arg_listen && strv_extend(&arg_listen, LISTEN_DEFAULT) < 0) {
                log_oom();
                return 1;
        }
        signal(SIGPIPE, SIG_IGN);
        signal(SIGCHLD, SIG_IGN); /* of systemctl: nobody waits for it */
        return run() < 0;
}
