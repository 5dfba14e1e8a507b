/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vchan-bridge.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS_MAX 32

/* Bytes on their way in one direction. */
typedef struct Pipe {
        size_t start, end;
        char data[VCHAN_RING_SIZE];
} Pipe;

struct VchanBridge {
        struct libxenvchan *ring;
        int fd;
        Pipe to_socket, to_ring;
};

int vchan_bridge_new(struct libxenvchan *ring, int fd, VchanBridge **ret)
{
        VchanBridge *b = calloc(1, sizeof *b);

        if (!b)
                return -ENOMEM;
        ring->blocking = 0;
        b->ring = ring;
        b->fd = fd;
        *ret = b;
        return 0;
}

VchanBridge *vchan_bridge_free(VchanBridge *b)
{
        if (!b)
                return NULL;
        libxenvchan_close(b->ring);
        safe_close(b->fd);
        free(b);
        return NULL;
}

int vchan_bridge_ring_fd(const VchanBridge *b)
{
        return libxenvchan_fd_for_select(b->ring);
}

int vchan_bridge_socket_fd(const VchanBridge *b)
{
        return b->fd;
}

uint32_t vchan_bridge_wanted(const VchanBridge *b)
{
        return (b->to_ring.end == 0 ? EPOLLIN : 0U) | (b->to_socket.end > 0 ? EPOLLOUT : 0U);
}

/*
 * The ring's counters are in memory that the other end writes at any time. libxenvchan takes more than a ring
 * holds for nothing at all, so such a ring stands still; n is checked once more, as it bounds our own buffer.
 */
static int fill_from_ring(VchanBridge *b, bool *progress)
{
        Pipe *p = &b->to_socket;
        int n;

        if (p->end > 0)
                return 0;
        n = libxenvchan_data_ready(b->ring);
        if (n > 0)
                n = libxenvchan_read(b->ring, p->data, MIN2((size_t) n, sizeof p->data));
        if (n < 0 || (size_t) n > sizeof p->data)
                return -ECONNRESET;
        p->end = (size_t) n;
        *progress |= n > 0;
        return 0;
}

static int drain_to_ring(VchanBridge *b, bool *progress)
{
        Pipe *p = &b->to_ring;
        int n;

        if (p->start == p->end)
                return 0;
        n = libxenvchan_write(b->ring, p->data + p->start, p->end - p->start);
        if (n < 0 || (size_t) n > p->end - p->start)
                return -ECONNRESET;
        p->start += (size_t) n;
        if (p->start == p->end)
                p->start = p->end = 0;
        *progress |= n > 0;
        return 0;
}

static int fill_from_socket(VchanBridge *b, bool *progress)
{
        Pipe *p = &b->to_ring;
        ssize_t n;

        if (p->end > 0)
                return 0;
        n = recv(b->fd, p->data, sizeof p->data, MSG_DONTWAIT);
        if (n == 0)
                return -EPIPE;
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
        p->end = (size_t) n;
        *progress = true;
        return 0;
}

static int drain_to_socket(VchanBridge *b, bool *progress)
{
        Pipe *p = &b->to_socket;
        ssize_t n;

        if (p->start == p->end)
                return 0;
        n = send(b->fd, p->data + p->start, p->end - p->start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
        p->start += (size_t) n;
        if (p->start == p->end)
                p->start = p->end = 0;
        *progress = true;
        return 0;
}

int vchan_bridge_pump(VchanBridge *b, bool ring_ready)
{
        bool progress = true;
        unsigned rounds = 0;
        int r = 0;

        if (ring_ready)
                (void) libxenvchan_wait(b->ring); /* takes the event; does not block then */
        /* Two ends that never pause must not keep the owner from the rest of its work. */
        while (progress && r == 0 && rounds++ < ROUNDS_MAX) {
                progress = false;
                r = fill_from_ring(b, &progress);
                if (r == 0)
                        r = drain_to_socket(b, &progress);
                if (r == 0)
                        r = fill_from_socket(b, &progress);
                if (r == 0)
                        r = drain_to_ring(b, &progress);
        }
        if (r == 0 && libxenvchan_is_open(b->ring) == 0)
                r = -ECONNRESET;
        return r == 0 && progress ? 1 : r;
}
