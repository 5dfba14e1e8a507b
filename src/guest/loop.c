/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loop.h"

static int loop_fd = -EBADF;
static Timer *timers;
/* What epoll has returned and is not served yet: a source removed by another's run() must not run. */
static struct epoll_event ready[64];
static int n_ready;

int loop_init(void)
{
        loop_fd = epoll_create1(EPOLL_CLOEXEC);
        return loop_fd < 0 ? -errno : 0;
}

int loop_watch(Source *s, uint32_t events)
{
        struct epoll_event e = { .events = events, .data.ptr = s };
        int op = s->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

        if (events == s->events)
                return 0;
        if (epoll_ctl(loop_fd, op, s->fd, &e) < 0)
                return -errno;
        s->events = events;
        for (int i = 0; events == 0 && i < n_ready; i++)
                if (ready[i].data.ptr == s)
                        ready[i].data.ptr = NULL;
        return 0;
}

void loop_after(Timer *t, uint64_t usec)
{
        t->at = now_usec() + usec;
        if (t->known)
                return;
        t->known = true;
        t->next = timers;
        timers = t;
}

void loop_cancel(Timer *t)
{
        t->at = 0;
}

static void run_timers(void)
{
        uint64_t now = now_usec();

        for (Timer *t = timers; t; t = t->next)
                if (t->at != 0 && t->at <= now) {
                        t->at = 0;
                        t->run(t);
                }
}

static int milliseconds_to_wait(void)
{
        uint64_t first = UINT64_MAX, now = now_usec();

        for (Timer *t = timers; t; t = t->next)
                if (t->at != 0 && t->at < first)
                        first = t->at;
        if (first == UINT64_MAX)
                return -1;
        return first <= now ? 0 : (int) MIN2((first - now) / USEC_PER_MSEC + 1, (uint64_t) 60 * 1000);
}

int loop_run(void)
{
        for (;;) {
                n_ready = epoll_wait(loop_fd, ready, ELEMENTSOF(ready), milliseconds_to_wait());
                if (n_ready < 0 && errno != EINTR)
                        return -errno;
                for (int i = 0; i < n_ready; i++) {
                        Source *s = ready[i].data.ptr;

                        if (s)
                                s->run(s, ready[i].events);
                }
                n_ready = 0;
                /* Timers last, so that what has come in meanwhile counts. */
                run_timers();
        }
}
