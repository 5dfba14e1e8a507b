/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct Writer {
        Store *store;
        pthread_t thread;
        bool running;
        int done_fd;
        sd_event_source *source;

        pthread_mutex_t lock;
        pthread_cond_t wake;
        Job *todo;     /* under the lock */
        bool end;      /* under the lock */

        Job *current;  /* the event loop's; result is valid once done_fd was read */
        int result;
};

static void *writer_main(void *userdata)
{
        Writer *w = userdata;
        uint64_t one = 1;

        for (;;) {
                Job *job;

                pthread_mutex_lock(&w->lock);
                while (!w->todo && !w->end)
                        pthread_cond_wait(&w->wake, &w->lock);
                job = TAKE_PTR(w->todo);
                pthread_mutex_unlock(&w->lock);
                if (!job)
                        return NULL;
                job->error[0] = '\0';
                w->result = job->run(job, w->store);
                if (w->result < 0 && !job->error[0])
                        snprintf(job->error, sizeof job->error, "%s", store_error(w->store));
                (void) !write(w->done_fd, &one, sizeof one);
                store_checkpoint(w->store);
        }
}

static void writer_finish(Writer *w)
{
        Job *job = TAKE_PTR(w->current);

        if (job)
                job->done(job, w->result);
}

static int on_done(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        uint64_t n;

        if (read(fd, &n, sizeof n) == sizeof n)
                writer_finish(userdata);
        return 0;
}

int writer_new(sd_event *event, Store *store, Writer **ret)
{
        Writer *w = calloc(1, sizeof *w);
        sigset_t all, old;
        int r;

        if (!w) {
                store_free(store);
                return -ENOMEM;
        }
        w->store = store;
        store_defer_checkpoints(store);
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->wake, NULL);
        w->done_fd = eventfd(0, EFD_CLOEXEC);
        r = w->done_fd < 0 ? -errno : sd_event_add_io(event, &w->source, w->done_fd, EPOLLIN, on_done, w);
        if (r >= 0) {
                /* Before anything that comes from the bus: whoever waits for a commit has waited longest. */
                (void) sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, &old);
                r = -pthread_create(&w->thread, NULL, writer_main, w);
                pthread_sigmask(SIG_SETMASK, &old, NULL);
                w->running = r >= 0;
        }
        if (r < 0) {
                writer_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

Writer *writer_free(Writer *w)
{
        if (!w)
                return NULL;
        if (w->running) {
                pthread_mutex_lock(&w->lock);
                w->end = true;
                pthread_cond_signal(&w->wake);
                pthread_mutex_unlock(&w->lock);
                pthread_join(w->thread, NULL);
        }
        sd_event_source_unref(w->source);
        safe_close(w->done_fd);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        store_free(w->store);
        free(w);
        return NULL;
}

void writer_submit(Writer *w, Job *job)
{
        w->current = job;
        pthread_mutex_lock(&w->lock);
        w->todo = job;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
}

void writer_wait(Writer *w)
{
        uint64_t n;

        if (w->current && read(w->done_fd, &n, sizeof n) == sizeof n)
                writer_finish(w);
}
