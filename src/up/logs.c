/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "settings.h"
#include "strbuf.h"

#define TURN_OVER_INTERVAL_USEC (500 * USEC_PER_MSEC)

struct LogWatch {
        const Paths *paths;
        int fd;
        sd_event_source *io, *timer;
};

int daemon_log_open(const Paths *p, const char *name)
{
        _cleanup_free_ char *path = paths_format(p, PATH_LOGS, "%s.log", name);
        int fd;

        if (!path)
                return -ENOMEM;
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        return fd < 0 ? -errno : fd;
}

/* Copies the last max bytes of path to a new file. */
static int copy_tail(const char *path, const char *target, off_t size, off_t max)
{
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        char chunk[65536];

        in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (in < 0)
                return -errno;
        if (size > max && lseek(in, size - max, SEEK_SET) < 0)
                return -errno;
        out = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (out < 0)
                return -errno;
        for (off_t left = MIN2(size, max); left > 0;) {
                ssize_t n = read(in, chunk, MIN2(sizeof chunk, (size_t) left));

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                if (write(out, chunk, (size_t) n) != n)
                        return -EIO;
                left -= n;
        }
        return 0;
}

/* What is written between the copy and the cut is lost; the writers keep their descriptor. */
static int turn_over(const char *path, off_t size)
{
        int64_t keep = setting_int(SETTING_LOG_KEEP);
        int r;

        for (int64_t i = keep - 1; i > 1; i--) {
                _cleanup_free_ char *from = strformat("%s.%lld", path, (long long) i - 1);
                _cleanup_free_ char *to = strformat("%s.%lld", path, (long long) i);

                if (!from || !to)
                        return -ENOMEM;
                (void) rename(from, to);
        }
        if (keep > 1) {
                _cleanup_free_ char *first = strformat("%s.1", path);

                if (!first)
                        return -ENOMEM;
                r = copy_tail(path, first, size, (off_t) setting_int(SETTING_LOG_SIZE));
                if (r < 0)
                        return r;
        }
        return truncate(path, 0) < 0 ? -errno : 0;
}

/* Turns over each log that is too large. */
static void logs_turn_over(const Paths *p)
{
        DIR *dir = opendir(paths_get(p, PATH_LOGS));
        struct dirent *e;

        if (!dir)
                return;
        while ((e = readdir(dir))) {
                struct stat st;
                _cleanup_free_ char *path = NULL;
                int r;

                if (!endswith(e->d_name, ".log") || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    !S_ISREG(st.st_mode) || st.st_size <= setting_int(SETTING_LOG_SIZE))
                        continue;
                path = paths_format(p, PATH_LOGS, "%s", e->d_name);
                r = path ? turn_over(path, st.st_size) : -ENOMEM;
                if (r < 0)
                        log_errno_full(LOG_WARNING, r, "Cannot turn over the log %s", e->d_name);
        }
        closedir(dir);
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        LogWatch *w = userdata;
        char buf[4096];

        while (read(w->fd, buf, sizeof buf) > 0) {
                /* Which files they were does not matter. */
        }
        logs_turn_over(w->paths);
        return sd_event_source_set_enabled(w->io, SD_EVENT_ON);
}

/* A writer wakes us once; then we are deaf until the timer has looked. */
static int on_write(sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        LogWatch *w = userdata;

        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        (void) sd_event_source_set_time_relative(w->timer, TURN_OVER_INTERVAL_USEC);
        return sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

int logwatch_new(sd_event *event, const Paths *p, LogWatch **ret)
{
        _cleanup_(logwatch_freep) LogWatch *w = calloc(1, sizeof *w);
        int r;

        if (!w)
                return -ENOMEM;
        w->paths = p;
        w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (w->fd < 0 || inotify_add_watch(w->fd, paths_get(p, PATH_LOGS), IN_MODIFY) < 0)
                return -errno;
        r = sd_event_add_io(event, &w->io, w->fd, EPOLLIN, on_write, w);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, 0, 0, on_timer, w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

LogWatch *logwatch_free(LogWatch *w)
{
        if (!w)
                return NULL;
        sd_event_source_unref(w->io);
        sd_event_source_unref(w->timer);
        safe_close(w->fd);
        free(w);
        return NULL;
}
