/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One end of a byte stream that does not block: a descriptor, or a stream of a guest channel. Its owner
 * says what it waits for and is called when that is there; it may free the link in that call.
 */
#include <sys/types.h>
#include <sys/uio.h>
#include <systemd/sd-event.h>

#include "util.h"

typedef struct Link Link;

typedef struct LinkOps {
        ssize_t (*read)(Link *l, void *buf, size_t size);                  /* 0: end; -EAGAIN: nothing there */
        ssize_t (*write)(Link *l, const struct iovec *iov, int n);         /* may be short; -EAGAIN: no room */
        void (*watch)(Link *l, bool in, bool out);
        void (*free)(Link *l);
} LinkOps;

struct Link {
        const LinkOps *ops;
        void (*on_event)(void *userdata, bool in, bool out); /* in: bytes, end or error are there */
        void *userdata;
};

static inline ssize_t link_read(Link *l, void *buf, size_t size)
{
        return l->ops->read(l, buf, size);
}

static inline ssize_t link_write(Link *l, const struct iovec *iov, int n)
{
        return l->ops->write(l, iov, n);
}

static inline void link_watch(Link *l, bool in, bool out)
{
        l->ops->watch(l, in, out);
}

static inline Link *link_free(Link *l)
{
        if (l)
                l->ops->free(l);
        return NULL;
}
DEFINE_CLEANUP(Link *, link_free)

/* Takes over fd (also when it fails), which is set not to block. */
int link_new_fd(sd_event *event, int fd, int64_t priority, Link **ret);
