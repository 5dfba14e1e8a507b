/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc-proxy-web: HTTP and WebSockets for rpc-proxy, in a process of its own, since it takes apart what guests
 * say in two more protocols. It has no bus, no rules and no files but those of the user interface: for each
 * client rpc-proxy hands over two sockets, one to the client and one for JSON texts, and judges what comes out.
 */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "web-http.h"

#define CONTROL_FD 3

static Web *web;

static int on_control(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        Daemon *d = userdata;
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(2 * sizeof(int))];
        } control;
        char byte;
        struct iovec v = { &byte, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        const struct cmsghdr *c;
        int fds[2], r;

        r = (int) recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (r < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (r <= 0) { /* rpc-proxy ended */
                daemon_exit(d, 0);
                return 0;
        }
        c = CMSG_FIRSTHDR(&m);
        if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fds))
                return log_errno(-EBADMSG, "rpc-proxy sent no pair of sockets");
        memcpy(fds, CMSG_DATA(c), sizeof fds);
        r = web_serve(web, fds[0], fds[1]);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Cannot serve a client");
        return 0;
}

/*
 * Whoever takes this process over has no more than it: it starts no other, and gains no rights by any program.
 * (The sanitizers' search for leaks begins in a process of its own.)
 */
static int confine(void)
{
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
#if !defined(__SANITIZE_ADDRESS__)
        const struct rlimit none = { 0, 0 };

        if (setrlimit(RLIMIT_NPROC, &none) < 0)
                return -errno;
#endif
        return 0;
}

static int web_start(Daemon *d, _unused_ void *userdata, char *words[])
{
        socklen_t size = sizeof(int);
        int type = 0, r;

        if (words[0]) {
                log_error("Unexpected argument '%s'", words[0]);
                return -EINVAL;
        }
        if (getsockopt(CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
                log_error("This program is started by rpc-proxy");
                return -EINVAL;
        }
        (void) fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
        r = confine();
        if (r < 0)
                return log_errno(r, "Cannot give up the right to start programs");
        r = web_new(d->event, paths_get(&d->paths, PATH_XUI), &web);
        if (r >= 0)
                r = sd_event_add_io(d->event, NULL, CONTROL_FD, EPOLLIN, on_control, d);
        return r < 0 ? log_errno(r, "Cannot serve HTTP") : 0;
}

static void web_end(_unused_ Daemon *d, _unused_ void *userdata)
{
        web = web_free(web);
}

int main(int argc, char *argv[])
{
        static const Option options[] = { { 0 } };
        const DaemonSpec spec = {
                .program = { .name = "rpc-proxy-web", .synopsis = "[OPTIONS]",
                             .summary = "Speaks HTTP and WebSockets for rpc-proxy, which starts it.", .options = options },
                .user = "oxt-proxy",
                .no_bus = true,
                .start = web_start,
                .end = web_end,
        };

        return daemon_run(&spec, NULL, argc, argv);
}
