/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-loop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>
#include <xentoollog.h>

#include "list.h"
#include "log.h"
#include "xen-ids.h"

typedef struct XenLogger {
        xentoollog_logger base; /* first: libxl hands this back */
        XenHost *host; /* NULL: of a short look */
} XenLogger;

/* Something that libxl told, to be handed on from the loop. */
typedef struct Told {
        uint32_t domid;
        int reason;
        struct Told *next;
} Told;

struct XenOp {
        XenHost *host; /* NULL: forgotten */
        libxl_asyncop_how how;
        XenOpDone done;
        void *userdata;
        int rc;
        bool finished;
        XenOp *next;
};

typedef struct XenFd {
        XenHost *host;
        int fd;      /* libxl's */
        int own_fd;  /* a copy: libxl may register one twice, which epoll refuses */
        short events;
        void *for_libxl;
        sd_event_source *source;
} XenFd;

typedef struct XenTimer {
        XenHost *host;
        void *for_libxl;
        sd_event_source *source;
        bool cancelled; /* libxl gave it up, and still waits for it to be told so */
        struct XenTimer *next, **pprev;
} XenTimer;

struct XenHost {
        sd_event *event;
        libxl_ctx *ctx;
        XenLogger logger;
        const XenHostEvents *events;
        void *userdata;
        sd_event_source *wake;
        Told *told;
        XenOp *ops;
        XenTimer *timers;
        char error[1100];
        bool error_seen;
};

/* The loop's side */

static uint32_t to_epoll(short events)
{
        return (events & POLLIN ? EPOLLIN : 0U) | (events & POLLOUT ? EPOLLOUT : 0U) |
               (events & POLLPRI ? EPOLLPRI : 0U);
}

static short from_epoll(uint32_t events)
{
        return (short) ((events & EPOLLIN ? POLLIN : 0) | (events & EPOLLOUT ? POLLOUT : 0) |
                        (events & EPOLLPRI ? POLLPRI : 0) | (events & EPOLLERR ? POLLERR : 0) |
                        (events & EPOLLHUP ? POLLHUP : 0));
}

static int on_fd(_unused_ sd_event_source *s, _unused_ int fd, uint32_t revents, void *userdata)
{
        XenFd *f = userdata;
        AS_ROOT;

        libxl_osevent_occurred_fd(f->host->ctx, f->for_libxl, f->fd, f->events, from_epoll(revents));
        return 0;
}

/* Regular files (saved images) cannot be polled, and are always ready. */
static int on_file_ready(_unused_ sd_event_source *s, void *userdata)
{
        XenFd *f = userdata;
        AS_ROOT;

        libxl_osevent_occurred_fd(f->host->ctx, f->for_libxl, f->fd, f->events, f->events);
        return 0;
}

static int fd_arm(XenFd *f, short events)
{
        int r;

        f->events = events;
        f->source = sd_event_source_disable_unref(f->source);
        r = sd_event_add_io(f->host->event, &f->source, f->own_fd, to_epoll(events), on_fd, f);
        if (r == -EPERM) {
                r = sd_event_add_defer(f->host->event, &f->source, on_file_ready, f);
                if (r >= 0)
                        r = sd_event_source_set_enabled(f->source, events ? SD_EVENT_ON : SD_EVENT_OFF);
        }
        return r < 0 ? ERROR_OSEVENT_REG_FAIL : 0;
}

static void fd_free(XenFd *f)
{
        sd_event_source_disable_unref(f->source);
        safe_close(f->own_fd);
        free(f);
}

static int hook_fd_register(void *user, int fd, void **ret, short events, void *for_libxl)
{
        XenFd *f = calloc(1, sizeof *f);

        if (!f)
                return ERROR_NOMEM;
        *f = (XenFd) { .host = user, .fd = fd, .own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .for_libxl = for_libxl };
        if (f->own_fd < 0 || fd_arm(f, events) != 0) {
                fd_free(f);
                return ERROR_OSEVENT_REG_FAIL;
        }
        *ret = f;
        return 0;
}

static int hook_fd_modify(_unused_ void *user, _unused_ int fd, void **registration, short events)
{
        return fd_arm(*registration, events);
}

static void hook_fd_deregister(_unused_ void *user, _unused_ int fd, void *registration)
{
        fd_free(registration);
}

static void timer_free(XenTimer *t)
{
        if (t->pprev)
                LIST_UNLINK(t);
        sd_event_source_disable_unref(t->source);
        free(t);
}

/* libxl takes the timer for gone from here on. */
static void timer_run(XenTimer *t)
{
        libxl_ctx *ctx = t->host->ctx;
        void *for_libxl = t->for_libxl;

        timer_free(t);
        libxl_osevent_occurred_timeout(ctx, for_libxl);
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        AS_ROOT;

        timer_run(userdata);
        return 0;
}

static int hook_timeout_register(void *user, void **ret, struct timeval when, void *for_libxl)
{
        XenHost *h = user;
        XenTimer *t = calloc(1, sizeof *t);

        if (!t)
                return ERROR_NOMEM;
        *t = (XenTimer) { .host = h, .for_libxl = for_libxl };
        if (sd_event_add_time(h->event, &t->source, CLOCK_REALTIME,
                              (uint64_t) when.tv_sec * USEC_PER_SEC + (uint64_t) when.tv_usec, 0, on_timer, t) < 0) {
                timer_free(t);
                return ERROR_OSEVENT_REG_FAIL;
        }
        LIST_LINK(h->timers, t);
        *ret = t;
        return 0;
}

static int hook_timeout_modify(_unused_ void *user, void **registration, struct timeval when)
{
        XenTimer *t = *registration;
        int r;

        t->cancelled = true; /* it is only ever called with {0, 0} */
        r = sd_event_source_set_time(t->source, (uint64_t) when.tv_sec * USEC_PER_SEC + (uint64_t) when.tv_usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->source, SD_EVENT_ONESHOT);
        return r < 0 ? ERROR_OSEVENT_REG_FAIL : 0;
}

static void hook_timeout_deregister(_unused_ void *user, void *registration)
{
        timer_free(registration);
}

static const libxl_osevent_hooks os_hooks = {
        .fd_register = hook_fd_register,
        .fd_modify = hook_fd_modify,
        .fd_deregister = hook_fd_deregister,
        .timeout_register = hook_timeout_register,
        .timeout_modify = hook_timeout_modify,
        .timeout_deregister = hook_timeout_deregister,
};

/* What libxl tells */

static void wake(XenHost *h)
{
        if (h->wake)
                (void) sd_event_source_set_enabled(h->wake, SD_EVENT_ONESHOT);
}

static int on_wake(_unused_ sd_event_source *s, void *userdata)
{
        XenHost *h = userdata;
        AS_ROOT;

        /* One at a time, each taken off first: a callback may end the host, or begin the next call. */
        if (h->told) {
                Told *t = h->told;
                uint32_t domid = t->domid;
                int reason = t->reason;

                h->told = t->next;
                free(t);
                wake(h);
                h->events->domain(h->userdata, domid, reason);
                return 0;
        }
        for (XenOp **o = &h->ops; *o; o = &(*o)->next) {
                XenOp *op = *o;

                if (!op->finished)
                        continue;
                *o = op->next;
                wake(h);
                op->done(op->userdata, op->rc);
                free(op);
                return 0;
        }
        return 0;
}

static void on_event(void *user, libxl_event *event)
{
        XenHost *h = user;
        Told *t, **end;
        int reason;

        if (event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN)
                reason = event->u.domain_shutdown.shutdown_reason;
        else if (event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH)
                reason = XEN_DOMAIN_GONE;
        else if (event->type == LIBXL_EVENT_TYPE_DOMAIN_CREATE_CONSOLE_AVAILABLE)
                reason = XEN_DOMAIN_BUILT;
        else
                goto finish;
        t = calloc(1, sizeof *t);
        if (!t) {
                log_oom();
                goto finish;
        }
        *t = (Told) { .domid = event->domid, .reason = reason };
        for (end = &h->told; *end; end = &(*end)->next)
                ;
        *end = t;
        wake(h);
finish:
        libxl_event_free(h->ctx, event);
}

#ifndef LIBXL_HAVE_NONCONST_EVENT_OCCURS_EVENT_ARG
#error "libxl is older than 4.4"
#endif

static void on_disaster(_unused_ void *user, _unused_ libxl_event_type type, const char *msg, int errnoval)
{
        log_errno(errnoval, "libxl lost an event (%s); the state of the VM may be stale", msg);
}

static const libxl_event_hooks event_hooks = {
        .event_occurs_mask = LIBXL_EVENTMASK_ALL, .event_occurs = on_event, .disaster = on_disaster
};

static void on_complete(_unused_ libxl_ctx *ctx, int rc, void *user)
{
        XenOp *op = user;

        if (!op->host) {
                free(op);
                return;
        }
        op->rc = rc;
        op->finished = true;
        wake(op->host);
}

XenOp *xenop_new(XenHost *h, XenOpDone done, void *userdata)
{
        XenOp *op = calloc(1, sizeof *op);

        if (!op)
                return NULL;
        *op = (XenOp) { .host = h, .done = done, .userdata = userdata, .next = h->ops };
        op->how = (libxl_asyncop_how) { .callback = on_complete, .u.for_callback = op };
        h->ops = op;
        h->error_seen = false;
        return op;
}

const libxl_asyncop_how *xenop_how(XenOp *op)
{
        return &op->how;
}

void xenop_finish(XenOp *op, int rc)
{
        on_complete(NULL, rc, op);
}

void xenop_abort(XenOp *op)
{
        if (op->host && !op->finished)
                (void) libxl_ao_abort(op->host->ctx, &op->how);
}

/* The log */

static void log_message(xentoollog_logger *logger, xentoollog_level level, int errnoval, const char *context,
                        const char *format, va_list ap) __attribute__((format(printf, 5, 0)));

static void log_message(xentoollog_logger *logger, xentoollog_level level, int errnoval, const char *context,
                        const char *format, va_list ap)
{
        XenHost *h = ((XenLogger *) logger)->host;
        char text[512];

        vsnprintf(text, sizeof text, format, ap);
        if (level >= XTL_ERROR) {
                /* The first error of a call names the cause; later ones say what else failed because of it. */
                if (h && !h->error_seen) {
                        snprintf(h->error, sizeof h->error, "%s%s%s", text, errnoval > 0 ? ": " : "",
                                 errnoval > 0 ? strerror(errnoval) : "");
                        h->error_seen = true;
                }
                log_warning("%s: %s", context ? context : "libxl", text);
        } else
                log_debug("%s: %s", context ? context : "libxl", text);
}

static void log_progress(xentoollog_logger *logger, _unused_ const char *context, _unused_ const char *what,
                         _unused_ int percent, unsigned long done, unsigned long total)
{
        XenHost *h = ((XenLogger *) logger)->host;

        if (h && h->events->progress)
                h->events->progress(h->userdata, done, total);
}

static void log_destroy(_unused_ xentoollog_logger *logger)
{
}

libxl_ctx *xenhost_look(void)
{
        static XenLogger logger = { .base = { .vmessage = log_message, .progress = log_progress, .destroy = log_destroy } };
        libxl_ctx *ctx = NULL;

        /* Without a logger libxl crashes where it has something to say. */
        return libxl_ctx_alloc(&ctx, LIBXL_VERSION, 0, &logger.base) == 0 ? ctx : NULL;
}

const char *xenhost_error(XenHost *h, int rc)
{
        static const char *const names[] = {
                [1] = "it failed", [3] = "it failed", [5] = "out of memory", [6] = "an argument was refused",
                [8] = "the guest did not answer in time", [9] = "it took too long",
                [10] = "the guest has no paravirtual drivers", [17] = "there is such a device already",
                [21] = "there is no such domain", [22] = "it was cancelled", [23] = "it was not found",
                [24] = "the domain is being destroyed",
        };
        size_t n = rc < 0 ? (size_t) -rc : 0;

        if (h->error_seen)
                return h->error;
        return n < ELEMENTSOF(names) && names[n] ? names[n] : "libxl gave no reason";
}

libxl_ctx *xenhost_ctx(XenHost *h)
{
        return h->ctx;
}

XenHost *xenhost_free(XenHost *h)
{
        bool busy = false;

        if (!h)
                return NULL;
        for (XenOp *op = h->ops, *n; op; op = n) {
                n = op->next;
                op->host = NULL;
                if (op->finished)
                        free(op);
                else
                        busy = true;
        }
        h->ops = NULL;
        /* libxl cannot be closed in the middle of something: then it ends with the process. */
        if (busy) {
                static const XenHostEvents nobody;

                h->events = &nobody;
                h->wake = sd_event_source_disable_unref(h->wake);
                return NULL;
        }
        /* Timers that libxl gave up must be told to it while it is there, or they would come to a freed context. */
        for (bool again = true; h->ctx && again;) {
                again = false;
                for (XenTimer *t = h->timers; t; t = t->next)
                        if (t->cancelled) {
                                timer_run(t);
                                again = true; /* the list may be another now */
                                break;
                        }
        }
        if (h->ctx)
                (void) libxl_ctx_free(h->ctx);
        while (h->timers)
                timer_free(h->timers);
        for (Told *t = h->told, *n; t; t = n) {
                n = t->next;
                free(t);
        }
        sd_event_source_disable_unref(h->wake);
        sd_event_unref(h->event);
        free(h);
        return NULL;
}

/*
 * libxl's children (device models, scripts) must not inherit the signals that we block for the event loop: a device
 * model that is deaf to SIGHUP is never ended.
 */
static pid_t fork_child(_unused_ void *user)
{
        pid_t pid = fork();

        if (pid == 0) {
                sigset_t none;

                sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL);
                (void) signal(SIGPIPE, SIG_DFL);
        }
        return pid;
}

int xenhost_new(sd_event *event, const XenHostEvents *events, void *userdata, XenHost **ret, const char **ret_why)
{
        static const libxl_childproc_hooks child_hooks = {
                .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
                .fork_replacement = fork_child,
        };
        _cleanup_(xenhost_freep) XenHost *h = calloc(1, sizeof *h);
        sigset_t set;
        int r;

        if (!h)
                return -ENOMEM;
        h->event = sd_event_ref(event);
        h->events = events;
        h->userdata = userdata;
        h->logger = (XenLogger) {
                .base = { .vmessage = log_message, .progress = log_progress, .destroy = log_destroy }, .host = h
        };
        r = sd_event_add_defer(event, &h->wake, on_wake, h);
        if (r >= 0)
                r = sd_event_source_set_enabled(h->wake, SD_EVENT_OFF);
        if (r < 0)
                return r;
        if (libxl_ctx_alloc(&h->ctx, LIBXL_VERSION, 0, &h->logger.base) != 0) {
                h->ctx = NULL;
                *ret_why = "this host does not run Xen, or its control device cannot be opened";
                return -ENODEV;
        }
        libxl_osevent_register_hooks(h->ctx, &os_hooks, h);
        libxl_event_register_callbacks(h->ctx, &event_hooks, h);
        /* libxl reaps its own children by a handler for SIGCHLD, which must not be blocked. */
        libxl_childproc_setmode(h->ctx, &child_hooks, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        *ret = TAKE_PTR(h);
        return 0;
}
