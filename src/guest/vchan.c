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
#include "port.h"
#include "strbuf.h"
#include "vchan-bridge.h"

#define LOOK_MSEC 2000

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

/*
 * A guest that was saved and restored is another domain: its rings are no longer anybody's, and nothing says so but
 * that the announcement is not there.
 */
static bool is_announced(struct xs_handle *xs)
{
        _cleanup_free_ char *ref = xs_read(xs, XBT_NULL, VCHAN_PATH "/ring-ref", &(unsigned) { 0 });

        return ref != NULL;
}

/* One connection of oxt-guest, until either end is gone. */
static void serve(VchanBridge *b, struct xs_handle *xs)
{
        int r = 0;

        while (r >= 0) {
                uint32_t wanted = vchan_bridge_wanted(b);
                int patience = r > 0 ? 0 : LOOK_MSEC;
                struct pollfd fds[] = {
                        { .fd = vchan_bridge_ring_fd(b), .events = POLLIN },
                        { .fd = vchan_bridge_socket_fd(b),
                          .events = (short) ((wanted & EPOLLIN ? POLLIN : 0) | (wanted & EPOLLOUT ? POLLOUT : 0)) },
                };

                r = poll(fds, ELEMENTSOF(fds), patience);
                if (r < 0 && errno != EINTR)
                        return;
                if (r == 0 && patience && !is_announced(xs))
                        r = -ESTALE;
                else
                        r = vchan_bridge_pump(b, fds[0].revents != 0);
        }
        log_info("The channel ended: %s", strerror(-r));
}

/* libxenvchan wants it whole. To free; NULL: xenstore does not answer. */
static char *ring_path(struct xs_handle *xs)
{
        _cleanup_free_ char *domid = xs_read(xs, XBT_NULL, "domid", &(unsigned) { 0 });

        return domid ? strformat("/local/domain/%s/" VCHAN_PATH, domid) : NULL;
}

int main(int argc, char *argv[])
{
        _cleanup_free_ char *path = NULL;
        struct xs_handle *xs;
        int first, status, listener;

        log_init(program.name, LOG_INFO);
        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        xs = xs_open(0);
        path = xs ? ring_path(xs) : NULL;
        if (!path) {
                log_error("Xenstore does not answer: is this a guest of Xen, and is xenfs loaded?");
                return 1;
        }
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
                free(path);
                path = ring_path(xs);
                /* A new ring for each connection: the host notices by the end of the old one. */
                ring = !path ? NULL : libxenvchan_server_init(NULL, (int) arg_domain, path, VCHAN_RING_SIZE, VCHAN_RING_SIZE);
                if (!ring) {
                        log_errno(errno, "Cannot offer a ring");
                        safe_close(fd);
                        nanosleep(&(struct timespec) { .tv_sec = 1 }, NULL);
                        continue;
                }
                if (vchan_bridge_new(ring, fd, &b) < 0)
                        return 1;
                serve(b, xs);
        }
}
