/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "background.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

typedef struct Background {
        void (*work)(void *data);
        void (*done)(void *data);
        void *data;
        int event_fd;
        sd_event_source *source;
} Background;

static unsigned n_running;

static void *run(void *userdata)
{
        Background *b = userdata;
        uint64_t one = 1;

        b->work(b->data);
        (void) !write(b->event_fd, &one, sizeof one);
        return NULL;
}

static void background_free(Background *b)
{
        sd_event_source_disable_unref(b->source);
        safe_close(b->event_fd);
        free(b);
        n_running--;
}

static int on_end(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        Background *b = userdata;
        void (*done)(void *data) = b->done;
        void *data = b->data;

        background_free(b);
        done(data);
        return 0;
}

int background_run(sd_event *event, void (*work)(void *data), void (*done)(void *data), void *data)
{
        pthread_attr_t attributes;
        pthread_t thread;
        Background *b;
        int r;

        if (n_running >= BACKGROUND_MAX)
                return -EBUSY;
        b = calloc(1, sizeof *b);
        if (!b)
                return -ENOMEM;
        n_running++;
        *b = (Background) { .work = work, .done = done, .data = data };
        b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = b->event_fd < 0 ? -errno : sd_event_add_io(event, &b->source, b->event_fd, EPOLLIN, on_end, b);
        if (r >= 0) {
                (void) pthread_attr_init(&attributes);
                (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
                r = -pthread_create(&thread, &attributes, run, b);
                (void) pthread_attr_destroy(&attributes);
        }
        if (r < 0)
                background_free(b);
        return r < 0 ? r : 0;
}

static int on_child_end(sd_event_source *s, int fd, _unused_ uint32_t events, _unused_ void *userdata)
{
        (void) waitid(P_PIDFD, (id_t) fd, &(siginfo_t) { 0 }, WEXITED | WNOHANG);
        sd_event_source_disable_unref(s); /* and closes the descriptor */
        return 0;
}

void background_reap(sd_event *event, int pidfd)
{
        sd_event_source *s = NULL;

        if (sd_event_add_io(event, &s, pidfd, EPOLLIN, on_child_end, NULL) < 0) {
                (void) waitid(P_PIDFD, (id_t) pidfd, &(siginfo_t) { 0 }, WEXITED | WNOHANG);
                safe_close(pidfd);
        } else
                (void) sd_event_source_set_io_fd_own(s, true);
}
