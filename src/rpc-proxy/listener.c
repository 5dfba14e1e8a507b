/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listener.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "audit.h"
#include "client.h"
#include "connection.h"
#include "folder-watch.h"
#include "fs.h"
#include "guest-channel.h"
#include "log.h"
#include "parse.h"
#include "runtime.h"
#include "serial.h"
#include "strbuf.h"

#define BACKLOG 128
#define ACCEPTS_MAX 64 /* in 10 ms */

typedef enum Kind { KIND_UNIX, KIND_TCP, KIND_VSOCK, KIND_SERIAL, KIND_GUEST, _KIND_MAX } Kind;

static const struct {
        const char *prefix;
        const char *argument; /* what follows */
} kinds[_KIND_MAX] = {
        [KIND_UNIX] = { "unix:", "PATH" },     [KIND_TCP] = { "tcp:", "PORT" },
        [KIND_VSOCK] = { "vsock:", "PORT" },   [KIND_SERIAL] = { "serial:", "DEVICE" },
        [KIND_GUEST] = { "guest:", "" },
};

struct Listener {
        Proxy *proxy;
        Kind kind;
        const char *argument;
        int fd;
        char *unlink_path;
        sd_event_source *accept;
        FolderWatch *watch; /* of the records by which clients belong to VMs */
        bool full; /* there are no descriptors; told once */
        GuestChannels *guests;
};

/* Splits a channel; port is filled in where there is one. */
static int parse(const char *channel, Kind *ret_kind, const char **ret_argument, uint64_t *ret_port)
{
        for (Kind k = 0; k < _KIND_MAX; k++) {
                const char *rest = startswith(channel, kinds[k].prefix);
                uint64_t port = 0;

                if (!rest)
                        continue;
                if (k == KIND_TCP || k == KIND_VSOCK) {
                        if (parse_u64(rest, &port) < 0 || port == 0 || port > (k == KIND_TCP ? UINT16_MAX : UINT32_MAX - 1))
                                return -EINVAL;
                } else if (k == KIND_GUEST ? *rest : !*rest)
                        return -EINVAL;
                *ret_kind = k;
                *ret_argument = rest;
                *ret_port = port;
                return 0;
        }
        return -EINVAL;
}

int listener_check(const char *channel, const char **ret_why)
{
        const char *argument;
        uint64_t port;
        Kind kind;

        if (startswith(channel, "argo:") || startswith(channel, "v4v:")) {
                *ret_why = "Argo's driver is not one that this program knows; guests come through guest: or vsock:PORT";
                return -EINVAL;
        }
        *ret_why = "a channel is one of unix:PATH tcp:PORT vsock:PORT serial:DEVICE guest:";
        return parse(channel, &kind, &argument, &port);
}

/* Whether the start of the VM that the peer stands for still runs. */
static bool peer_lives(const Peer *p)
{
        _cleanup_(channel_record_done) ChannelRecord rec = { 0 };

        return !p->start || (channel_record_read(&p->proxy->daemon->paths, p->uuid, &rec) >= 0 && rec.domid == p->domid &&
                             streq(rec.start, p->start));
}

/* A VM's clients end with it: neither its rules nor its name are a later one's. */
static void end_those_of_ended(Proxy *proxy)
{
        for (Peer *p = proxy->peers, *next; p; p = next) {
                peer_ref(p);
                if (!p->over && !peer_lives(p)) {
                        peer_over(p);
                        connections_end(proxy, p, NULL);
                }
                next = p->next;
                peer_unref(p);
        }
}

static void on_change(void *userdata, _unused_ const char *name)
{
        end_those_of_ended(((Listener *) userdata)->proxy);
}

/*
 * Whose connection this is: the domain of -d, or the VM with that CID, and what is announced of it; else
 * nobody known. A CID is one start's alone: one that two VMs announce is nobody's.
 */
static Peer *listener_peer(Proxy *p, uint32_t cid)
{
        _cleanup_strv_ char **uuids = NULL;
        _cleanup_free_ char *start = NULL;
        int64_t domid = p->incoming_domid;
        char uuid[37] = "";
        bool stubdom = false;
        unsigned found = 0;
        Peer *peer;

        end_those_of_ended(p);

        if (domid != 0 && (domid > 0 || cid > 0) && !p->instance.no_firewall && channel_record_list(&p->daemon->paths, &uuids) >= 0)
                for (char **u = uuids; u && *u; u++) {
                        _cleanup_(channel_record_done) ChannelRecord rec = { 0 };

                        if (channel_record_read(&p->daemon->paths, *u, &rec) < 0 ||
                            (p->incoming_domid > 0 ? rec.domid != p->incoming_domid : rec.cid != cid))
                                continue;
                        found++;
                        domid = rec.domid;
                        strcpy(uuid, rec.uuid);
                        stubdom = rec.stubdom;
                        free(start);
                        start = TAKE_PTR(rec.start);
                }
        if (found > 1) {
                log_warning("Two VMs are announced with the same domain or CID: a client of it is nobody's");
                return peer_get(p, p->incoming_domid, "", false);
        }
        peer = peer_get(p, domid, uuid, stubdom);
        if (peer && !peer->start)
                peer->start = TAKE_PTR(start);
        return peer;
}

static int serve_fd(Proxy *p, int fd, uint32_t cid)
{
        _cleanup_(peer_unrefp) Peer *peer = listener_peer(p, cid);
        Link *link;
        int r;

        if (!peer) {
                safe_close(fd);
                return -ENOMEM;
        }
        r = link_new_fd(p->event, fd, PRIORITY_CLIENTS, &link);
        if (r >= 0)
                r = client_accept(p, peer, &p->instance, link);
        if (r < 0 && r != -EMFILE)
                audit_note(peer, "Cannot serve a connection of domain %lld: %s", (long long) peer->domid, strerror(-r));
        return r;
}

static int on_accept(_unused_ sd_event_source *s, int listen_fd, _unused_ uint32_t events, void *userdata)
{
        Listener *l = userdata;
        struct sockaddr_vm vm = { 0 };
        socklen_t size = sizeof vm;
        const int one = 1;
        int fd;

        fd = accept4(listen_fd, l->kind == KIND_VSOCK ? (struct sockaddr *) &vm : NULL, l->kind == KIND_VSOCK ? &size : NULL,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
                if ((errno == EMFILE || errno == ENFILE) && !l->full)
                        log_errno_full(LOG_WARNING, errno, "Cannot accept connections");
                l->full = errno == EMFILE || errno == ENFILE;
                return 0;
        }
        l->full = false;
        if (l->kind == KIND_TCP)
                (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void) serve_fd(l->proxy, fd, vm.svm_cid);
        return 0;
}

static int listen_tcp(uint16_t port, bool remote)
{
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(remote ? INADDR_ANY : INADDR_LOOPBACK) };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int one = 1;

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
            bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int listen_vsock(uint32_t port)
{
        struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY };
        _cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int listener_new(Proxy *p, Listener **ret)
{
        _cleanup_(listener_freep) Listener *l = calloc(1, sizeof *l);
        uint64_t port;
        int r = 0;

        if (!l)
                return log_oom();
        l->proxy = p;
        l->fd = -EBADF;
        r = parse(p->incoming, &l->kind, &l->argument, &port);
        if (r < 0)
                return r;
        switch (l->kind) {
        case KIND_UNIX:
                /* As of old, one that exists is an error: it may be somebody's. */
                r = access(l->argument, F_OK) == 0 ? -EADDRINUSE : unix_listen(l->argument, 0660);
                if (r >= 0)
                        l->unlink_path = strdup(l->argument);
                break;
        case KIND_TCP:
                r = listen_tcp((uint16_t) port, p->allow_remote);
                break;
        case KIND_VSOCK:
                r = listen_vsock((uint32_t) port);
                break;
        case KIND_SERIAL:
                r = serial_open(l->argument);
                break;
        default:
                r = -EBADF;
        }
        if (r < 0 && l->kind != KIND_GUEST)
                return log_errno(r, "Cannot listen on %s", p->incoming);
        l->fd = r;
        *ret = TAKE_PTR(l);
        return 0;
}

Listener *listener_free(Listener *l)
{
        if (!l)
                return NULL;
        listener_stop(l);
        safe_close(l->fd);
        if (l->unlink_path)
                (void) unlink(l->unlink_path);
        free(l->unlink_path);
        free(l);
        return NULL;
}

int listener_start(Listener *l)
{
        Proxy *p = l->proxy;
        int r = 0;

        if (l->kind != KIND_GUEST)
                r = folder_watch_new(p->event, paths_get(&p->daemon->paths, PATH_CHANNELS),
                                     IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM, on_change, l, &l->watch);
        if (r < 0)
                return log_errno(r, "Cannot watch %s", paths_get(&p->daemon->paths, PATH_CHANNELS));
        switch (l->kind) {
        case KIND_GUEST:
                r = guest_channels_new(p, &l->guests);
                break;
        case KIND_SERIAL:
                r = l->fd < 0 ? -ENOTCONN : serve_fd(p, TAKE_FD(l->fd), 0);
                break;
        default:
                r = sd_event_add_io(p->event, &l->accept, l->fd, EPOLLIN, on_accept, l);
                if (r >= 0)
                        r = sd_event_source_set_priority(l->accept, PRIORITY_CLIENTS);
                if (r >= 0) /* one that cannot be accepted stays there, and is to cost little */
                        r = sd_event_source_set_ratelimit(l->accept, 10 * USEC_PER_MSEC, ACCEPTS_MAX);
        }
        return r;
}

void listener_stop(Listener *l)
{
        l->accept = sd_event_source_disable_unref(l->accept);
        l->watch = folder_watch_free(l->watch);
        l->guests = guest_channels_free(l->guests);
}

bool listener_is_serial(const Listener *l)
{
        return l->kind == KIND_SERIAL;
}

unsigned listener_channels(const Listener *l)
{
        return guest_channels_attached(l->guests);
}
