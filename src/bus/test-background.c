/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <pthread.h>
#include <unistd.h>

#include "background.h"
#include "util.h"

typedef struct Job {
        int wait_fd; /* the work lasts until something can be read here */
        pthread_t thread;
} Job;

static unsigned ended;

static void work(void *data)
{
        Job *j = data;
        char c;

        j->thread = pthread_self();
        assert(read(j->wait_fd, &c, 1) == 1);
}

static void done(void *data)
{
        Job *j = data;

        assert(!pthread_equal(j->thread, pthread_self()));
        ended++;
}

int main(void)
{
        Job jobs[BACKGROUND_MAX + 1];
        char bytes[BACKGROUND_MAX] = { 0 };
        sd_event *event;
        int fds[2];

        assert(sd_event_new(&event) >= 0 && pipe(fds) == 0);
        for (size_t i = 0; i <= BACKGROUND_MAX; i++)
                jobs[i] = (Job) { .wait_fd = fds[0] };
        for (size_t i = 0; i < BACKGROUND_MAX; i++)
                assert(background_run(event, work, done, &jobs[i]) == 0);
        assert(background_run(event, work, done, &jobs[BACKGROUND_MAX]) == -EBUSY);

        /* The loop goes on while they wait. */
        assert(sd_event_run(event, 0) == 0 && ended == 0);
        assert(write(fds[1], bytes, sizeof bytes) == sizeof bytes);
        while (ended < BACKGROUND_MAX)
                assert(sd_event_run(event, UINT64_MAX) >= 0);
        assert(write(fds[1], bytes, 1) == 1);
        assert(background_run(event, work, done, &jobs[BACKGROUND_MAX]) == 0);
        while (ended == BACKGROUND_MAX)
                assert(sd_event_run(event, UINT64_MAX) >= 0);
        sd_event_unref(event);
        return 0;
}
