/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notify.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "strbuf.h"

#define QUEUE_MAX 1024
#define SEND_MAX_USEC (1 * USEC_PER_SEC)

typedef struct Message {
        struct Message *next;
        int code;
        char *text; /* the message; for text targets the whole line */
} Message;

struct Notify {
        sd_event *event;
        char uuid[37];
        NotifyEmit emit;
        void *userdata;
        const VmNotify *target;
        Message *queue, **end;
        unsigned n;
        int fd; /* of the text message at the head */
        sd_event_source *io, *deadline;
        bool dropped;
};

static void start_next(Notify *n);

static void message_free(Message *m)
{
        free(m->text);
        free(m);
}

static void pop(Notify *n)
{
        Message *m = n->queue;

        n->queue = m->next;
        if (!n->queue)
                n->end = &n->queue;
        n->n--;
        message_free(m);
}

static void finish_connection(Notify *n)
{
        n->io = sd_event_source_disable_unref(n->io);
        n->deadline = sd_event_source_disable_unref(n->deadline);
        n->fd = safe_close(n->fd);
}

static bool writable(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLOUT };

        return poll(&p, 1, 0) > 0;
}

/* The head of the queue goes out through its connection, or is given up (why). */
static void deliver(Notify *n, const char *why)
{
        size_t size = strlen(n->queue->text);

        /* A new connection's buffer takes a short line whole. */
        if (!why && send(n->fd, n->queue->text, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) size)
                why = strerror(errno);
        if (why)
                log_warning("A notification could not be delivered: %s", why);
        finish_connection(n);
        pop(n);
}

static int on_connected(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        deliver(userdata, NULL);
        start_next(userdata);
        return 0;
}

static int on_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Notify *n = userdata;

        /* It may be the loop that was held up, and not the connection. */
        deliver(n, writable(n->fd) ? NULL : "no connection within a second");
        start_next(n);
        return 0;
}

static int open_target(const VmNotify *t)
{
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(t->port) };
        _cleanup_close_ int fd = -EBADF;

        if (t->target == VM_NOTIFY_UNIX)
                return unix_connect(t->path);
        if (inet_pton(AF_INET, t->ip, &sa.sin_addr) != 1)
                return -EINVAL;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &sa, sizeof sa) < 0 && errno != EINPROGRESS)
                return -errno;
        return TAKE_FD(fd);
}

static void start_next(Notify *n)
{
        while (n->queue && n->fd < 0 && n->target) {
                int r;

                if (n->target->target == VM_NOTIFY_NONE) {
                        pop(n);
                        continue;
                }
                if (n->target->target == VM_NOTIFY_DBUS) {
                        if (n->emit(n->userdata, n->queue->code, n->queue->text) < 0)
                                return;
                        pop(n);
                        continue;
                }
                n->fd = open_target(n->target);
                r = n->fd;
                /* A unix socket is connected at once: what follows, and may take long, is told before it begins. */
                if (r >= 0 && writable(n->fd)) {
                        deliver(n, NULL);
                        continue;
                }
                if (r >= 0)
                        r = sd_event_add_io(n->event, &n->io, n->fd, EPOLLOUT, on_connected, n);
                if (r >= 0)
                        r = sd_event_add_time_relative(n->event, &n->deadline, CLOCK_MONOTONIC, SEND_MAX_USEC, 0, on_deadline, n);
                if (r < 0) {
                        log_warning("A notification could not be delivered: %s", strerror(-r));
                        finish_connection(n);
                        pop(n);
                }
        }
}

void notify_set_target(Notify *n, const VmNotify *target)
{
        n->target = target;
        start_next(n);
}

void notify_bus_up(Notify *n)
{
        start_next(n);
}

void notify_send(Notify *n, int code, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        bool plain = n->target && (n->target->target == VM_NOTIFY_UNIX || n->target->target == VM_NOTIFY_TCP);
        Message *m;
        va_list ap;

        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        if (!text) {
                log_oom();
                return;
        }
        log_info("Notification %d %s", code, text);
        if (n->n >= QUEUE_MAX) {
                if (!n->dropped)
                        log_error("Nobody takes the notifications; new ones are dropped");
                n->dropped = true;
                return;
        }
        m = calloc(1, sizeof *m);
        if (!m) {
                log_oom();
                return;
        }
        m->code = code;
        m->text = plain ? strformat("%s:%d:%s\n", n->uuid, code, text) : TAKE_PTR(text);
        if (!m->text) {
                free(m);
                log_oom();
                return;
        }
        *n->end = m;
        n->end = &m->next;
        n->n++;
        start_next(n);
}

void notify_flush(Notify *n)
{
        uint64_t end = now_usec() + SEND_MAX_USEC;

        while (n->queue && n->fd >= 0 && now_usec() < end) {
                struct pollfd p = { .fd = n->fd, .events = POLLOUT };

                if (poll(&p, 1, (int) ((end - MIN2(now_usec(), end)) / USEC_PER_MSEC)) <= 0)
                        return;
                (void) on_connected(NULL, n->fd, 0, n);
        }
}

int notify_new(sd_event *event, const char *uuid, NotifyEmit emit, void *userdata, Notify **ret)
{
        Notify *n = calloc(1, sizeof *n);

        if (!n)
                return -ENOMEM;
        *n = (Notify) { .event = sd_event_ref(event), .emit = emit, .userdata = userdata, .end = &n->queue, .fd = -EBADF };
        snprintf(n->uuid, sizeof n->uuid, "%s", uuid);
        *ret = n;
        return 0;
}

Notify *notify_free(Notify *n)
{
        if (!n)
                return NULL;
        finish_connection(n);
        while (n->queue)
                pop(n);
        sd_event_unref(n->event);
        free(n);
        return NULL;
}
