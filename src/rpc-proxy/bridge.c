/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge.h"

#include <sys/socket.h>

#define ROOM (16 * 1024)

/* Bytes of one direction that were read and not written yet. */
typedef struct Flow {
        Link *from, *to;
        uint8_t data[ROOM];
        size_t at, used;
} Flow;

typedef struct Bridge {
        Flow flows[2];
} Bridge;

/* Returns false when it is over. */
static bool flow_move(Flow *f)
{
        for (int rounds = 0; rounds < 4; rounds++) {
                ssize_t n;

                if (f->at == f->used) {
                        n = link_read(f->from, f->data, ROOM);
                        if (n == -EAGAIN)
                                return true;
                        if (n <= 0)
                                return false;
                        f->at = 0;
                        f->used = (size_t) n;
                }
                n = link_write(f->to, &(struct iovec) { f->data + f->at, f->used - f->at }, 1);
                if (n == -EAGAIN)
                        return true;
                if (n < 0)
                        return false;
                f->at += (size_t) n;
        }
        return true;
}

static void on_event(void *userdata, _unused_ bool in, _unused_ bool out)
{
        Bridge *b = userdata;
        Flow *x = b->flows, *y = b->flows + 1;
        bool x_lives = flow_move(x), y_lives = flow_move(y); /* last words pass though the other way is shut */

        if (!x_lives || !y_lives) {
                link_free(x->from);
                link_free(x->to);
                free(b);
                return;
        }
        link_watch(x->from, x->at == x->used, y->at < y->used);
        link_watch(x->to, y->at == y->used, x->at < x->used);
}

int bridge_new(sd_event *event, Link *link, int64_t priority)
{
        _cleanup_(link_freep) Link *own = link, *ours = NULL;
        _cleanup_close_ int theirs = -EBADF;
        Bridge *b;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        theirs = fds[1];
        r = link_new_fd(event, fds[0], priority, &ours);
        if (r < 0)
                return r;
        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->flows[0].from = b->flows[1].to = TAKE_PTR(own);
        b->flows[0].to = b->flows[1].from = TAKE_PTR(ours);
        for (size_t i = 0; i < 2; i++) {
                b->flows[i].from->on_event = on_event;
                b->flows[i].from->userdata = b;
                link_watch(b->flows[i].from, true, false);
        }
        return TAKE_FD(theirs);
}
