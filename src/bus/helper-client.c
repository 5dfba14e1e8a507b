/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "helper-client.h"

#include <sys/socket.h>
#include <unistd.h>

#include "fs.h"
#include "json.h"
#include "strbuf.h"

#define ANSWER_MAX 4096
#define CONNECT_TRIES 200
#define CALL_TIMEOUT_USEC (30 * USEC_PER_SEC) /* starting a monitor takes the longest */

struct HelperCall {
        HelperDone done;
        void *userdata;
        int fd, answer_fd;
        char answer[ANSWER_MAX];
        size_t n;
        sd_event_source *io, *timer;
};

HelperCall *helper_call_cancel(HelperCall *c)
{
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->timer);
        safe_close(c->fd);
        safe_close(c->answer_fd);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(HelperCall *, helper_call_cancel)

static void call_finish(HelperCall *c, int r, const char *why, const char *name)
{
        c->done(c->userdata, r, why, name, r < 0 ? -EBADF : TAKE_FD(c->answer_fd));
        helper_call_cancel(c);
}

static void call_answered(HelperCall *c, size_t n)
{
        _cleanup_json_ json_object *o = NULL;
        const char *error;

        if (json_parse(c->answer, n, 4, &o) < 0) {
                call_finish(c, -EPROTO, "the helper's answer is not understood", "");
                return;
        }
        error = json_get_text(o, "error", NULL);
        if (error || !json_get_bool(o, "ok", false))
                call_finish(c, json_get_bool(o, "already", false) ? -EALREADY : -EREMOTEIO, strempty(error), "");
        else
                call_finish(c, 0, "", json_get_text(o, "name", ""));
}

static int on_answer(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        HelperCall *c = userdata;
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = { c->answer + c->n, sizeof c->answer - c->n };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        char *end;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        for (struct cmsghdr *h = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h))
                if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int))) {
                        safe_close(c->answer_fd);
                        memcpy(&c->answer_fd, CMSG_DATA(h), sizeof(int));
                }
        if (n <= 0) {
                call_finish(c, n < 0 ? -errno : -EACCES, "the helper closed the connection", "");
                return 0;
        }
        c->n += (size_t) n;
        end = memchr(c->answer, '\n', c->n);
        if (end)
                call_answered(c, (size_t) (end - c->answer));
        else if (c->n == sizeof c->answer)
                call_finish(c, -EPROTO, "the helper's answer is too long", "");
        return 0;
}

static int on_timeout(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        call_finish(userdata, -ETIMEDOUT, "the helper does not answer", "");
        return 0;
}

/* Where hundreds ask at once there may be no place in the queue for a moment. */
static int connect_helper(const Paths *p)
{
        int fd = -EAGAIN;

        for (unsigned i = 0; i < CONNECT_TRIES && fd == -EAGAIN; i++) {
                if (i > 0)
                        (void) usleep(5 * USEC_PER_MSEC);
                fd = unix_connect(paths_get(p, PATH_HELPER_SOCKET));
        }
        return fd;
}

/* Connects and sends the one line of a request. Returns the connection or negative errno. */
static int send_request(const Paths *p, const char *request, const char *const parameters[], const int *fds, size_t n_fds)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        _cleanup_free_ struct cmsghdr *control = NULL;
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct iovec iov;
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        json_object_object_add(o, "request", json_object_new_string(request));
        for (; *parameters; parameters += 2)
                json_object_object_add(o, parameters[0], json_object_new_string(parameters[1]));
        line = strformat("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        if (!line)
                return -ENOMEM;
        iov = (struct iovec) { line, strlen(line) };
        if (n_fds > 0) {
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                m.msg_control = control = calloc(1, m.msg_controllen);
                if (!control)
                        return -ENOMEM;
                *control = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
                memcpy(CMSG_DATA(control), fds, n_fds * sizeof(int));
        }
        fd = connect_helper(p);
        if (fd < 0)
                return fd;
        return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : TAKE_FD(fd);
}

int helper_tell(const Paths *p, const char *request, const char *const parameters[], const int *fds, size_t n_fds)
{
        int fd = send_request(p, request, parameters, fds, n_fds);

        safe_close(fd);
        return MIN2(fd, 0);
}

int helper_call_with(sd_event *event, const Paths *p, const char *request, const char *const parameters[], const int *fds, size_t n_fds,
                     HelperDone done, void *userdata, HelperCall **ret)
{
        _cleanup_(helper_call_cancelp) HelperCall *c = calloc(1, sizeof *c);
        int r;

        if (!c)
                return -ENOMEM;
        *c = (HelperCall) { .done = done, .userdata = userdata, .fd = -EBADF, .answer_fd = -EBADF };
        c->fd = send_request(p, request, parameters, fds, n_fds);
        if (c->fd < 0)
                return c->fd;
        r = sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_answer, c);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, CALL_TIMEOUT_USEC, 0, on_timeout, c);
        if (r < 0)
                return r;
        if (ret)
                *ret = c;
        (void) TAKE_PTR(c);
        return 0;
}

int helper_call(sd_event *event, const Paths *p, const char *request, const char *const parameters[], HelperDone done, void *userdata,
                HelperCall **ret)
{
        return helper_call_with(event, p, request, parameters, NULL, 0, done, userdata, ret);
}
