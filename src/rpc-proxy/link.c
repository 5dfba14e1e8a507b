/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct FdLink {
        Link link;
        int fd;
        bool is_socket;
        uint32_t watched;
        sd_event_source *source;
} FdLink;

static ssize_t fd_read(Link *l, void *buf, size_t size)
{
        FdLink *f = (FdLink *) l;
        ssize_t n = f->is_socket ? recv(f->fd, buf, size, MSG_DONTWAIT) : read(f->fd, buf, size);

        if (n < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        return n;
}

static ssize_t fd_write(Link *l, const struct iovec *iov, int n)
{
        FdLink *f = (FdLink *) l;
        struct msghdr m = { .msg_iov = (struct iovec *) iov, .msg_iovlen = (size_t) n };
        ssize_t r = f->is_socket ? n == 1 ? send(f->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                                          : sendmsg(f->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL)
                                 : writev(f->fd, iov, n);

        if (r < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        return r;
}

static void fd_watch(Link *l, bool in, bool out)
{
        FdLink *f = (FdLink *) l;
        uint32_t events = (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0);

        if (events == f->watched)
                return;
        /* With nothing to wait for, a hang-up would still be reported again and again: take it out. */
        if (!events)
                (void) sd_event_source_set_enabled(f->source, SD_EVENT_OFF);
        else {
                (void) sd_event_source_set_io_events(f->source, events);
                if (!f->watched)
                        (void) sd_event_source_set_enabled(f->source, SD_EVENT_ON);
        }
        f->watched = events;
}

static void fd_free(Link *l)
{
        FdLink *f = (FdLink *) l;

        sd_event_source_disable_unref(f->source);
        safe_close(f->fd);
        free(f);
}

static int on_io(_unused_ sd_event_source *s, _unused_ int fd, uint32_t events, void *userdata)
{
        FdLink *f = userdata;

        f->link.on_event(f->link.userdata, (f->watched & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)),
                         (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0);
        return 0;
}

int link_new_fd(sd_event *event, int fd, int64_t priority, Link **ret)
{
        static const LinkOps ops = { fd_read, fd_write, fd_watch, fd_free };
        _cleanup_close_ int own = fd;
        FdLink *f;
        int flags, type, r;
        socklen_t size = sizeof type;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        f = calloc(1, sizeof *f);
        if (!f)
                return -ENOMEM;
        f->link.ops = &ops;
        f->fd = fd;
        f->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
        r = sd_event_add_io(event, &f->source, fd, 0, on_io, f);
        if (r >= 0)
                r = sd_event_source_set_enabled(f->source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_priority(f->source, priority);
        if (r < 0) {
                sd_event_source_unref(f->source);
                free(f);
                return r;
        }
        TAKE_FD(own);
        *ret = &f->link;
        return 0;
}
