/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "linebuf.h"
#include "log.h"

#define JSON_DEPTH_MAX 32
#define CAPABILITIES_USEC (10 * USEC_PER_SEC)

typedef struct Request {
        struct Request *next;
        int64_t id;
        uint64_t deadline;
        QmpDone done;
        void *userdata;
        char command[40];
} Request;

/* What is still to be written. */
typedef struct Out {
        struct Out *next;
        int fd;
        size_t size, written;
        char data[];
} Out;

struct Qmp {
        int fd;
        sd_event *event;
        sd_event_source *io, *timer;
        const QmpHandlers *handlers;
        void *userdata;
        LineBuf in;
        Out *out, **out_end;
        size_t out_size;
        Request *requests; /* oldest first */
        unsigned n_requests, sent;
        int64_t last_id;
        QmpDone greet_done;
        void *greet_userdata;
        uint64_t greet_deadline; /* 0: none */
        bool greeted, closed;
        unsigned busy; /* callbacks are running: freeing waits */
        bool freed;
};

static void out_free(Out *o)
{
        safe_close(o->fd);
        free(o);
}

static void release(Qmp *q)
{
        sd_event_source_disable_unref(q->io);
        sd_event_source_disable_unref(q->timer);
        q->io = q->timer = NULL;
        q->fd = safe_close(q->fd);
        while (q->out) {
                Out *o = q->out;

                q->out = o->next;
                out_free(o);
        }
        q->out_end = &q->out;
        q->out_size = 0;
        linebuf_done(&q->in);
}

Qmp *qmp_free(Qmp *q)
{
        if (!q)
                return NULL;
        q->freed = q->closed = true;
        release(q);
        while (q->requests) {
                Request *req = q->requests;

                q->requests = req->next;
                free(req);
        }
        if (q->busy == 0) {
                sd_event_unref(q->event);
                free(q);
        }
        return NULL;
}

static bool leave(Qmp *q)
{
        bool freed = q->freed;

        if (--q->busy == 0 && freed) {
                sd_event_unref(q->event);
                free(q);
        }
        return freed;
}

static void answer(Qmp *q, Request *req, int r, json_object *value, const char *text)
{
        if (req->done && !q->freed)
                req->done(req->userdata, r, value, text);
        free(req);
}

static Request *take_request(Qmp *q, int64_t id)
{
        for (Request **p = &q->requests; *p; p = &(*p)->next)
                if ((*p)->id == id) {
                        Request *req = *p;

                        *p = req->next;
                        q->n_requests--;
                        return req;
                }
        return NULL;
}

static void fail(Qmp *q, const char *why)
{
        QmpDone greet = TAKE_PTR(q->greet_done);

        if (q->closed)
                return;
        q->closed = true;
        q->busy++;
        release(q);
        if (greet)
                greet(q->greet_userdata, -ECONNRESET, NULL, why);
        while (q->requests) {
                Request *req = q->requests;

                q->requests = req->next;
                q->n_requests--;
                answer(q, req, -ECONNRESET, NULL, why);
        }
        if (!q->freed && q->handlers->closed)
                q->handlers->closed(q->userdata, why);
        leave(q);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata);

static void arm_timer(Qmp *q)
{
        uint64_t next = q->greet_deadline ? q->greet_deadline : UINT64_MAX;

        for (Request *req = q->requests; req; req = req->next)
                next = MIN2(next, req->deadline);
        if (q->closed)
                return;
        if (next == UINT64_MAX) {
                if (q->timer)
                        (void) sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
                return;
        }
        if (!q->timer) {
                if (sd_event_add_time(q->event, &q->timer, CLOCK_MONOTONIC, next, USEC_PER_MSEC, on_timer, q) < 0)
                        fail(q, "no timer could be set");
                return;
        }
        (void) sd_event_source_set_time(q->timer, next);
        (void) sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Qmp *q = userdata;
        uint64_t now = now_usec();

        q->busy++;
        if (q->greet_deadline && q->greet_deadline <= now) {
                QmpDone greet = TAKE_PTR(q->greet_done);

                q->greet_deadline = 0;
                if (greet)
                        greet(q->greet_userdata, -ETIMEDOUT, NULL, "QEMU did not greet in time");
        }
        for (Request **p = &q->requests; !q->freed && *p;) {
                Request *req = *p;

                if (req->deadline > now) {
                        p = &req->next;
                        continue;
                }
                *p = req->next;
                q->n_requests--;
                log_debug("QMP: no answer to %s in time", req->command);
                answer(q, req, -ETIMEDOUT, NULL, "QEMU did not answer in time");
                p = &q->requests; /* the callback may have changed the list */
        }
        if (!q->freed)
                arm_timer(q);
        leave(q);
        return 0;
}

static int flush_out(Qmp *q)
{
        while (q->out) {
                Out *o = q->out;
                struct iovec iov = { o->data + o->written, o->size - o->written };
                union {
                        struct cmsghdr header;
                        char space[CMSG_SPACE(sizeof(int))];
                } control;
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
                ssize_t n;

                if (o->fd >= 0) {
                        memset(&control, 0, sizeof control);
                        control.header = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                                                            .cmsg_len = CMSG_LEN(sizeof(int)) };
                        memcpy(CMSG_DATA(&control.header), &o->fd, sizeof(int));
                        m.msg_control = &control;
                        m.msg_controllen = sizeof control;
                }
                n = sendmsg(q->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                o->fd = safe_close(o->fd); /* it went with the first byte */
                o->written += (size_t) n;
                if (o->written < o->size)
                        return 0;
                q->out = o->next;
                if (!q->out)
                        q->out_end = &q->out;
                q->out_size -= o->size;
                out_free(o);
        }
        return 0;
}

static void want_io(Qmp *q)
{
        if (q->io)
                (void) sd_event_source_set_io_events(q->io, EPOLLIN | (q->out ? EPOLLOUT : 0));
}

int qmp_send(Qmp *q, const char *command, json_object *arguments, int fd, uint64_t timeout_usec, QmpDone done,
             void *userdata)
{
        _cleanup_json_ json_object *args = arguments, *message = NULL;
        Request *req = NULL;
        const char *text;
        Out *o = NULL;
        size_t n;
        int r;

        if (q->closed)
                return -ECONNRESET;
        if (!q->greeted)
                return -ENOTCONN;
        if (q->n_requests >= QMP_PENDING_MAX)
                return -EBUSY;
        message = json_object_new_object();
        req = calloc(1, sizeof *req);
        if (!message || !req) {
                free(req);
                return -ENOMEM;
        }
        req->id = ++q->last_id;
        json_object_object_add(message, "execute", json_object_new_string(command));
        json_object_object_add(message, "id", json_object_new_int64(req->id));
        if (args)
                json_object_object_add(message, "arguments", TAKE_PTR(args));
        text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        n = text ? strlen(text) : 0;
        r = !text ? -ENOMEM : q->out_size + n + 1 > QMP_OUT_MAX ? -ENOBUFS : 0;
        if (r >= 0) {
                o = malloc(sizeof *o + n + 1);
                r = o ? 0 : -ENOMEM;
        }
        if (r < 0) {
                free(req);
                return r;
        }
        *o = (Out) { .fd = -EBADF, .size = n + 1 };
        memcpy(o->data, text, n);
        o->data[n] = '\n';
        if (fd >= 0) {
                o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (o->fd < 0) {
                        r = -errno;
                        free(o);
                        free(req);
                        return r;
                }
        }
        req->deadline = now_usec() + timeout_usec;
        req->done = done;
        req->userdata = userdata;
        snprintf(req->command, sizeof req->command, "%s", command);
        *q->out_end = o;
        q->out_end = &o->next;
        q->out_size += o->size;
        for (Request **p = &q->requests;; p = &(*p)->next)
                if (!*p) {
                        *p = req;
                        break;
                }
        q->n_requests++;
        q->sent++;
        (void) flush_out(q); /* an error shows up again as end of file, from the event loop */
        want_io(q);
        arm_timer(q);
        return 0;
}

static void dispatch_reply(Qmp *q, json_object *o)
{
        json_object *id = json_get_member(o, "id", json_type_int), *value, *error;
        Request *req = id ? take_request(q, json_object_get_int64(id)) : NULL;

        if (!req) {
                /* An answer that came too late, or one that nobody asked for. */
                log_debug("QMP: an answer to no request was dropped");
                return;
        }
        if (json_object_object_get_ex(o, "return", &value)) {
                answer(q, req, 0, value, NULL);
                return;
        }
        error = json_get_member(o, "error", json_type_object);
        answer(q, req, -EREMOTEIO, NULL, error ? json_get_text(error, "desc", "QEMU gave no reason") : "malformed answer");
}

static const char *dispatch_line(Qmp *q, const char *line, size_t length)
{
        _cleanup_json_ json_object *o = NULL;
        json_object *member;

        if (length == 0)
                return NULL;
        if (json_parse(line, length, JSON_DEPTH_MAX, &o) < 0 || !json_object_is_type(o, json_type_object))
                return "QEMU sent something that is not JSON";
        if (json_get_member(o, "QMP", json_type_object)) {
                QmpDone greet = TAKE_PTR(q->greet_done);

                if (q->greeted)
                        return "QEMU greeted twice";
                q->greeted = true;
                q->greet_deadline = 0;
                /* What follows need not wait for the answer: QEMU takes requests in order, and refuses them all if this fails. */
                if (qmp_send(q, "qmp_capabilities", NULL, -EBADF, CAPABILITIES_USEC, NULL, NULL) < 0)
                        return "out of memory";
                if (greet)
                        greet(q->greet_userdata, 0, NULL, NULL);
                return NULL;
        }
        if (!q->greeted)
                return "QEMU did not begin with a greeting";
        if (json_object_object_get_ex(o, "return", NULL) || json_object_object_get_ex(o, "error", NULL)) {
                dispatch_reply(q, o);
                return NULL;
        }
        member = json_get_member(o, "event", json_type_string);
        if (!member)
                return "QEMU sent an object that is neither answer nor event";
        if (q->handlers->event)
                q->handlers->event(q->userdata, json_object_get_string(member),
                                   json_get_member(o, "data", json_type_object));
        return NULL;
}

static int on_io(_unused_ sd_event_source *s, _unused_ int fd, uint32_t revents, void *userdata)
{
        Qmp *q = userdata;
        const char *why = NULL;
        ssize_t n;

        q->busy++;
        if (revents & EPOLLOUT)
                (void) flush_out(q);
        /* One piece at a time: a peer that talks without end must not keep others from their turn. */
        n = revents & (EPOLLIN | EPOLLHUP | EPOLLERR) ? linebuf_read(&q->in, q->fd) : -EAGAIN;
        if (n > 0)
                while (!q->closed && !why) {
                        size_t length;
                        bool too_long;
                        char *line = linebuf_next(&q->in, &length, &too_long);

                        if (too_long)
                                why = "QEMU sent more than a message may hold";
                        if (!line)
                                break;
                        why = dispatch_line(q, line, length);
                }
        else if (n == 0)
                why = "QEMU closed the connection";
        else if (n != -EAGAIN)
                why = n == -ECONNRESET ? "QEMU closed the connection" : "reading from QEMU failed";
        if (!q->freed) {
                if (why)
                        fail(q, why);
                else {
                        want_io(q);
                        arm_timer(q);
                }
        }
        leave(q);
        return 0;
}

int qmp_greet(Qmp *q, uint64_t timeout_usec, QmpDone done, void *userdata)
{
        q->greet_deadline = now_usec() + timeout_usec;
        q->greet_done = done;
        q->greet_userdata = userdata;
        arm_timer(q);
        return 0;
}

unsigned qmp_sent(const Qmp *q)
{
        return q->sent;
}

int qmp_new(sd_event *event, int fd, const QmpHandlers *handlers, void *userdata, Qmp **ret)
{
        _cleanup_(qmp_freep) Qmp *q = calloc(1, sizeof *q);
        int r;

        if (!q) {
                safe_close(fd);
                return -ENOMEM;
        }
        *q = (Qmp) { .fd = fd, .event = sd_event_ref(event), .handlers = handlers, .userdata = userdata,
                     .in = { .max = QMP_LINE_MAX }, .out_end = &q->out };
        r = sd_event_add_io(event, &q->io, fd, EPOLLIN, on_io, q);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(q);
        return 0;
}
