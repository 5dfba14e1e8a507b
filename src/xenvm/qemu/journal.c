/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "strbuf.h"

#define PEEK_MAX (64 * KIB)
#define JSON_DEPTH_MAX 32
#define RETRY_USEC (20 * USEC_PER_MSEC)
/* Events that are handled before others have their turn, and of those that are taken at once; a pipe holds no more. */
#define BURST_MAX 32
#define DRAIN_MAX 8192
#define NEGOTIATION "{\"execute\":\"qmp_capabilities\"}\n"

struct Journal {
        sd_event *event;
        sd_event_source *io, *retry;
        int in, out;    /* the FIFOs; in is open only until QEMU has it open too */
        int peek[2];    /* tee(2) copies from out to here */
        unsigned lines; /* taken since the last rest */
        uint64_t spent; /* on them */
        const JournalHandlers *handlers;
        void *userdata;
        unsigned busy;
        bool freed;
};

static void release(Journal *j)
{
        sd_event_source_disable_unref(j->io);
        sd_event_source_disable_unref(j->retry);
        j->io = j->retry = NULL;
        j->in = safe_close(j->in);
        j->out = safe_close(j->out);
        j->peek[0] = safe_close(j->peek[0]);
        j->peek[1] = safe_close(j->peek[1]);
}

Journal *journal_free(Journal *j)
{
        if (!j)
                return NULL;
        release(j);
        j->freed = true;
        if (j->busy == 0) {
                sd_event_unref(j->event);
                free(j);
        }
        return NULL;
}

static bool leave(Journal *j)
{
        bool freed = j->freed;

        if (--j->busy == 0 && freed) {
                sd_event_unref(j->event);
                free(j);
        }
        return freed;
}

static void dispatch(Journal *j, char *line, size_t length)
{
        _cleanup_json_ json_object *o = NULL;
        json_object *name;

        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
                length--;
        if (length == 0)
                return;
        if (json_parse(line, length, JSON_DEPTH_MAX, &o) < 0) {
                log_debug("The event journal holds a line that is not JSON");
                return;
        }
        name = json_get_member(o, "event", json_type_string);
        if (name) /* else: greeting and answer to the negotiation */
                j->handlers->event(j->userdata, json_object_get_string(name), json_get_member(o, "data", json_type_object));
}

/* Takes n bytes out that were looked at. */
static void consume(Journal *j, size_t n)
{
        char waste[4096];

        while (n > 0) {
                ssize_t k = read(j->out, waste, MIN2(n, sizeof waste));

                if (k <= 0) {
                        if (k < 0 && errno == EINTR)
                                continue;
                        return;
                }
                n -= (size_t) k;
        }
}

/* Delivers until j->lines is max. Returns 1 if something was delivered, 0 if nothing whole waits, -EAGAIN if part of a line waits. */
static int step(Journal *j, unsigned max)
{
        _cleanup_free_ char *text = NULL;
        size_t have = 0, used = 0;
        ssize_t n;

        n = tee(j->out, j->peek[1], PEEK_MAX, SPLICE_F_NONBLOCK);
        if (n <= 0)
                return 0;
        text = malloc((size_t) n);
        if (!text)
                return -ENOMEM;
        while (have < (size_t) n) {
                ssize_t k = read(j->peek[0], text + have, (size_t) n - have);

                if (k <= 0 && errno != EINTR)
                        break;
                have += k > 0 ? (size_t) k : 0;
        }
        while (used < have && j->lines < max) {
                char *end = memchr(text + used, '\n', have - used);
                size_t length;

                if (!end) {
                        if (used == 0 && have >= PEEK_MAX / 2) {
                                log_warning("The event journal holds a line that is too long; it is dropped");
                                j->lines++;
                                consume(j, have);
                                return 1;
                        }
                        break;
                }
                j->lines++;
                length = (size_t) (end - text) + 1 - used;
                dispatch(j, text + used, length);
                if (j->freed)
                        return 1;
                consume(j, length);
                used += length;
        }
        return used == have ? 1 : used > 0 ? 1 : -EAGAIN;
}

static int on_retry(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Journal *j = userdata;

        if (j->io)
                (void) sd_event_source_set_enabled(j->io, SD_EVENT_ON);
        return 0;
}

static int on_io(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        Journal *j = userdata;
        uint64_t begin = now_usec();
        int r;

        j->busy++;
        j->in = safe_close(j->in); /* QEMU has spoken: it has the other FIFO open as well */
        r = step(j, BURST_MAX);
        j->spent += now_usec() - begin;
        if (!j->freed && (r < 0 || j->lines >= BURST_MAX)) {
                /*
                 * Half a line stays where it is, and would wake us again and again. So would a QEMU that talks without
                 * end, and this is read before all else: after so much others have their turn, for as long.
                 */
                uint64_t rest = MAX2(RETRY_USEC, j->spent);

                j->lines = 0;
                j->spent = 0;
                (void) sd_event_source_set_enabled(j->io, SD_EVENT_OFF);
                j->retry = sd_event_source_disable_unref(j->retry);
                (void) sd_event_add_time_relative(j->event, &j->retry, CLOCK_MONOTONIC, rest, 0, on_retry, j);
        }
        leave(j);
        return 0;
}

int journal_drain(Journal *j)
{
        j->busy++;
        j->lines = 0;
        while (!j->freed && j->lines < DRAIN_MAX && step(j, DRAIN_MAX) > 0)
                ;
        j->lines = 0;
        return leave(j);
}

static int open_fifo(const char *prefix, const char *suffix)
{
        _cleanup_free_ char *path = strformat("%s.%s", prefix, suffix);
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!path)
                return -ENOMEM;
        /* Both ends, so that it neither waits for a peer nor sees end of file when there is none. */
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        return S_ISFIFO(st.st_mode) ? TAKE_FD(fd) : -EINVAL;
}

static int make_fifo(const char *prefix, const char *suffix)
{
        _cleanup_free_ char *path = strformat("%s.%s", prefix, suffix);

        if (!path)
                return -ENOMEM;
        if ((unlink(path) < 0 && errno != ENOENT) || mkfifo(path, 0600) < 0)
                return -errno;
        return 0;
}

int journal_open(sd_event *event, const char *prefix, const JournalHandlers *handlers, void *userdata, Journal **ret)
{
        _cleanup_(journal_freep) Journal *j = calloc(1, sizeof *j);
        int r;

        if (!j)
                return -ENOMEM;
        *j = (Journal) { .event = sd_event_ref(event), .in = -EBADF, .out = -EBADF, .peek = { -EBADF, -EBADF },
                         .handlers = handlers, .userdata = userdata };
        j->out = open_fifo(prefix, "out");
        if (j->out < 0)
                return j->out;
        if (pipe2(j->peek, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        r = sd_event_add_io(event, &j->io, j->out, EPOLLIN, on_io, j);
        if (r >= 0)
                /* Before everything else: an event explains what other sources will show. */
                r = sd_event_source_set_priority(j->io, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(j);
        return 0;
}

int journal_create(sd_event *event, const char *prefix, const JournalHandlers *handlers, void *userdata, Journal **ret)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        int r;

        r = make_fifo(prefix, "in");
        if (r >= 0)
                r = make_fifo(prefix, "out");
        if (r >= 0)
                r = journal_open(event, prefix, handlers, userdata, &j);
        if (r < 0)
                return r;
        j->in = open_fifo(prefix, "in");
        if (j->in < 0)
                return j->in;
        if (write(j->in, NEGOTIATION, strlen(NEGOTIATION)) != (ssize_t) strlen(NEGOTIATION))
                return -EIO;
        *ret = TAKE_PTR(j);
        return 0;
}

void journal_fds(const Journal *j, int *ret_in, int *ret_out)
{
        *ret_in = j->in;
        *ret_out = j->out;
}

void journal_unlink(const char *prefix)
{
        static const char *const suffixes[] = { "in", "out" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_free_ char *path = strformat("%s.%s", prefix, suffixes[i]);

                if (path)
                        (void) unlink(path);
        }
}
