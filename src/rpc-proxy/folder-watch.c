/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "folder-watch.h"

#include "log.h"

#define RETRY_USEC (1 * USEC_PER_SEC)

struct FolderWatch {
        sd_event *event;
        char *path;
        uint32_t mask;
        void (*on_change)(void *userdata, const char *name);
        void *userdata;
        sd_event_source *inotify, *retry;
};

static int on_inotify(sd_event_source *source, const struct inotify_event *e, void *userdata);
static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static int begin(FolderWatch *w)
{
        return sd_event_add_inotify(w->event, &w->inotify, w->path, w->mask | IN_MOVE_SELF | IN_ONLYDIR, on_inotify, w);
}

/* The folder is another one now, or none. */
static void begin_again(FolderWatch *w)
{
        int r;

        w->inotify = sd_event_source_disable_unref(w->inotify);
        w->retry = sd_event_source_disable_unref(w->retry);
        r = begin(w);
        if (r < 0) {
                log_errno_full(LOG_DEBUG, r, "Cannot watch %s", w->path);
                r = sd_event_add_time_relative(w->event, &w->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, w);
                if (r < 0)
                        log_errno_full(LOG_WARNING, r, "Changes in %s are not seen any more", w->path);
        }
        w->on_change(w->userdata, NULL);
}

static int on_retry(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        begin_again(userdata);
        return 0;
}

static int on_inotify(_unused_ sd_event_source *source, const struct inotify_event *e, void *userdata)
{
        FolderWatch *w = userdata;

        if (e->mask & (IN_IGNORED | IN_MOVE_SELF))
                begin_again(w);
        else if (e->mask & IN_Q_OVERFLOW)
                w->on_change(w->userdata, NULL);
        else if (e->len > 0)
                w->on_change(w->userdata, e->name);
        return 0;
}

int folder_watch_new(sd_event *event, const char *path, uint32_t mask, void (*on_change)(void *userdata, const char *name),
                     void *userdata, FolderWatch **ret)
{
        _cleanup_(folder_watch_freep) FolderWatch *w = calloc(1, sizeof *w);
        int r;

        if (!w)
                return -ENOMEM;
        *w = (FolderWatch) { .event = event, .path = strdup(path), .mask = mask, .on_change = on_change, .userdata = userdata };
        if (!w->path)
                return -ENOMEM;
        r = begin(w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

FolderWatch *folder_watch_free(FolderWatch *w)
{
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->inotify);
        sd_event_source_disable_unref(w->retry);
        free(w->path);
        free(w);
        return NULL;
}
