/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt-guest-vchan: the guest channel on Xen. It serves a libxenvchan ring to domain 0 and a unix socket to
 * oxt-guest, and copies bytes between them. A program of its own, so that guests
 * elsewhere need none of Xen's libraries.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xenstore.h>

#include "fs.h"
#include "log.h"
#include "options.h"
#include "parse.h"
#include "port.h"
#include "vchan-bridge.h"

static const char *arg_socket = VCHAN_SOCKET;
static int64_t arg_domain;

static const Option options[] = {
        { "socket", 0, "PATH", OPTION_STRING, &arg_socket, "Where oxt-guest connects to", NULL },
        { "domain", 0, "N", OPTION_INT, &arg_domain, "The domain that is served (0)", NULL },
        { 0 }
};

static const Program program = {
        .name = "oxt-guest-vchan",
        .synopsis = "[OPTIONS]",
        .summary = "Carries the guest channel over a Xen ring.",
        .options = options,
};

/* One connection of oxt-guest, until either end is gone. */
static void serve(VchanBridge *b)
{
        int r = 0;

        while (r >= 0) {
                uint32_t wanted = vchan_bridge_wanted(b);
                struct pollfd fds[] = {
                        { .fd = vchan_bridge_ring_fd(b), .events = POLLIN },
                        { .fd = vchan_bridge_socket_fd(b),
                          .events = (short) ((wanted & EPOLLIN ? POLLIN : 0) | (wanted & EPOLLOUT ? POLLOUT : 0)) },
                };

                if (poll(fds, ELEMENTSOF(fds), r > 0 ? 0 : -1) < 0 && errno != EINTR)
                        return;
                r = vchan_bridge_pump(b, fds[0].revents != 0);
        }
        log_info("The channel ended: %s", strerror(-r));
}

int main(int argc, char *argv[])
{
        _cleanup_free_ char *path = NULL;
        struct xs_handle *xs;
        int first, status, listener;
        unsigned length;
        char *domid;

        log_init(program.name, LOG_INFO);
        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        xs = xs_open(0);
        domid = xs ? xs_read(xs, XBT_NULL, "domid", &length) : NULL;
        if (!domid) {
                log_error("Xenstore does not answer: is this a guest of Xen, and is xenfs loaded?");
                return 1;
        }
        if (asprintf(&path, "/local/domain/%s/" VCHAN_PATH, domid) < 0)
                return 1;
        free(domid);
        (void) mkdir_parents("/run/oxt", 0755);
        listener = unix_listen(arg_socket, 0600);
        if (listener < 0) {
                log_errno(listener, "Cannot listen on %s", arg_socket);
                return 1;
        }
        for (;;) {
                _cleanup_(vchan_bridge_freep) VchanBridge *b = NULL;
                struct pollfd p = { .fd = listener, .events = POLLIN };
                struct libxenvchan *ring;
                int fd;

                if (poll(&p, 1, -1) < 0)
                        continue;
                fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        continue;
                /* A new ring for each connection: the host notices by the end of the old one. */
                ring = libxenvchan_server_init(NULL, (int) arg_domain, path, VCHAN_RING_SIZE, VCHAN_RING_SIZE);
                if (!ring) {
                        log_errno(errno, "Cannot offer a ring");
                        safe_close(fd);
                        nanosleep(&(struct timespec) { .tv_sec = 1 }, NULL);
                        continue;
                }
                if (vchan_bridge_new(ring, fd, &b) < 0)
                        return 1;
                serve(b);
        }
}
