/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-process.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bridge.h"
#include "json-link.h"
#include "list.h"
#include "log.h"
#include "spawn.h"
#include "strbuf.h"

#define RESTART_USEC (1 * USEC_PER_SEC) /* at least between two starts: what guests say may end it */

/* A client that has said nothing over a WebSocket yet; many only fetch a file. */
typedef struct Pending {
        struct Pending *next;
        WebProcess *web;
        Peer *peer;
        const Instance *instance;
        int fd;
        sd_event_source *source;
} Pending;

struct WebProcess {
        Proxy *proxy;
        int control; /* -EBADF: none runs */
        int pidfd;
        uint64_t started;
        sd_event_source *ended;
        Pending *pending;
};

static void pending_free(Pending *c)
{
        LIST_TAKE_OUT(c->web->pending, c);
        sd_event_source_disable_unref(c->source);
        safe_close(c->fd);
        peer_unref(c->peer);
        free(c);
}

static void forget_process(WebProcess *w)
{
        w->ended = sd_event_source_disable_unref(w->ended);
        safe_close(w->control);
        safe_close(w->pidfd);
        w->control = w->pidfd = -EBADF;
}

static int on_ended(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        siginfo_t info = { 0 };

        (void) waitid(P_PIDFD, (id_t) fd, &info, WEXITED | WNOHANG);
        log_warning("rpc-proxy-web ended (status %d)", info.si_status);
        forget_process(userdata);
        return 0;
}

static int start_process(WebProcess *w)
{
        const Paths *paths = &w->proxy->daemon->paths;
        SpawnOptions o = SPAWN_OPTIONS_INIT;
        _cleanup_strv_ char **args = NULL;
        _cleanup_close_ int theirs = -EBADF;
        uint64_t now = now_usec();
        int fds[2], r;

        if (w->started > 0 && now - w->started < RESTART_USEC)
                return -EBUSY;
        w->started = now;
        r = strv_extendf(&args, "--state-dir=%s", paths_get(paths, PATH_STATE));
        if (r >= 0)
                r = strv_extendf(&args, "--runtime-dir=%s", paths_get(paths, PATH_RUNTIME));
        if (r >= 0)
                r = strv_extendf(&args, "--bus=%s", paths->system ? "system" : "private");
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        w->control = fds[0];
        theirs = fds[1];
        o.fds = &theirs;
        o.n_fds = 1;
        r = spawn(SPAWN_RPC_PROXY_WEB, args, &o, NULL, &w->pidfd);
        if (r >= 0)
                r = sd_event_add_io(w->proxy->event, &w->ended, w->pidfd, EPOLLIN, on_ended, w);
        if (r < 0) {
                log_errno_full(LOG_WARNING, r, "Cannot start rpc-proxy-web");
                forget_process(w);
        }
        return r;
}

/* The first bytes of a WebSocket make a connection of it. */
static int on_first(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        Pending *c = userdata;
        Proxy *p = c->web->proxy;
        const JsonLinkSpec spec = { .proxy = p, .peer = c->peer, .instance = c->instance };
        Link *link;
        char byte;
        ssize_t n;
        int r = 0;

        n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0 && p->names && !c->peer->over) {
                c->source = sd_event_source_disable_unref(c->source);
                r = link_new_fd(p->event, TAKE_FD(c->fd), PRIORITY_CLIENTS, &link);
                if (r >= 0)
                        r = json_link_new(link, &spec, &link);
                if (r >= 0)
                        r = connection_new(p, c->peer, c->instance, link);
                if (r < 0 && r != -EMFILE)
                        log_errno_full(LOG_WARNING, r, "Cannot serve a WebSocket");
        }
        pending_free(c);
        return 0;
}

static int send_pair(int control, const int fds[static 2])
{
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(2 * sizeof(int))];
        } buf = { 0 };
        struct iovec v = { (char[]) { 'c' }, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &buf, .msg_controllen = sizeof buf };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
        return sendmsg(control, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Takes over json, the other end of what the process gets beside its fd. */
static int hand_over(WebProcess *w, Peer *peer, const Instance *instance, const int theirs[static 2], int json)
{
        Pending *c = calloc(1, sizeof *c);
        int r;

        if (!c) {
                safe_close(json);
                return -ENOMEM;
        }
        *c = (Pending) { .next = w->pending, .web = w, .peer = peer_ref(peer), .instance = instance, .fd = json };
        w->pending = c;
        r = sd_event_add_io(w->proxy->event, &c->source, json, EPOLLIN, on_first, c);
        if (r >= 0)
                r = sd_event_source_set_priority(c->source, PRIORITY_CLIENTS);
        if (r >= 0)
                r = send_pair(w->control, theirs);
        if (r < 0)
                pending_free(c);
        return r;
}

static unsigned count_pending(const WebProcess *w, const Peer *peer)
{
        unsigned n = 0;

        for (Pending *c = w->pending; c; c = c->next)
                n += c->peer == peer;
        return n;
}

int web_process_serve(Proxy *p, Peer *peer, const Instance *instance, Link *client)
{
        _cleanup_(link_freep) Link *own = client;
        _cleanup_close_ int raw = -EBADF, theirs = -EBADF;
        WebProcess *w = p->web;
        int fds[2], r;

        if (!w) {
                w = p->web = calloc(1, sizeof *w);
                if (!w)
                        return -ENOMEM;
                *w = (WebProcess) { .proxy = p, .control = -EBADF, .pidfd = -EBADF };
        }
        if (peer->n_connections + count_pending(w, peer) >= (unsigned) p->limits.connections)
                return -EMFILE;
        r = w->control < 0 ? start_process(w) : 0;
        if (r < 0)
                return r;
        raw = bridge_new(p->event, TAKE_PTR(own), PRIORITY_CLIENTS);
        if (raw < 0)
                return raw;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        theirs = fds[1];
        return hand_over(w, peer, instance, (int[]) { raw, theirs }, fds[0]);
}

WebProcess *web_process_free(WebProcess *w)
{
        if (!w)
                return NULL;
        while (w->pending)
                pending_free(w->pending);
        forget_process(w);
        free(w);
        return NULL;
}
