/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervisor.h"

#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemons.h"
#include "fs.h"
#include "json.h"
#include "log.h"
#include "logs.h"
#include "strbuf.h"
#include "sweep.h"

#define STABLE_USEC (10 * USEC_PER_SEC)
#define BACKOFF_MIN_USEC (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC (10 * USEC_PER_SEC)
#define CLIENTS_MAX 16
#define COMMAND_MAX 64
#define NOTIFY_MAX 4096

typedef enum UnitState { UNIT_WAITING, UNIT_STARTING, UNIT_READY, UNIT_RESTARTING, UNIT_MISSING } UnitState;

static const char *const state_names[] = {
        [UNIT_WAITING] = "waiting", [UNIT_STARTING] = "starting",     [UNIT_READY] = "ready",
        [UNIT_RESTARTING] = "restarting", [UNIT_MISSING] = "missing",
};

typedef struct Supervisor Supervisor;

typedef struct Unit {
        Supervisor *supervisor;
        DaemonId id;
        UnitState state;
        DaemonRecord record; /* of the running process; record.restarts goes on counting */
        bool adopted;
        uint64_t started;    /* now_usec() */
        uint64_t delay;      /* before the next restart */
        char status[128], last_end[64];
        sd_event_source *timer, *pidfd, *ready, *watchdog;
} Unit;

typedef struct Client {
        Supervisor *supervisor;
        int fd;
        uid_t uid;
        char command[COMMAND_MAX];
        size_t n;
        sd_event_source *io;
} Client;

struct Supervisor {
        const Stack *stack;
        sd_event *event;
        LogWatch *logs;
        int64_t since;
        int listen_fd, notify_fd;
        Unit units[_DAEMON_MAX];
        Client *clients[CLIENTS_MAX];
        int down_fd; /* the client that waits for the end of everything */
        bool leave;
};

static void unit_start(Unit *u);

static void advance(Supervisor *s)
{
        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                Unit *u = &s->units[id];
                bool blocked = false;

                if (u->state != UNIT_WAITING || !daemon_wanted(s->stack, id))
                        continue;
                for (DaemonId other = 0; other < DAEMON_SUPERVISOR; other++)
                        blocked |= (daemon_table[id].needs >> other & 1) && daemon_wanted(s->stack, other) &&
                                   s->units[other].state != UNIT_READY && s->units[other].state != UNIT_MISSING;
                if (!blocked)
                        unit_start(u);
        }
}

static int on_restart(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        unit_start(userdata);
        return 0;
}

static void unit_schedule(Unit *u, uint64_t delay)
{
        int r;

        u->state = UNIT_RESTARTING;
        if (!u->timer)
                r = sd_event_add_time_relative(u->supervisor->event, &u->timer, CLOCK_MONOTONIC, delay, 1, on_restart, u);
        else {
                r = sd_event_source_set_time_relative(u->timer, delay);
                if (r >= 0)
                        r = sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                log_errno(r, "Cannot set a timer to restart %s", daemon_table[u->id].name);
}

/* The first restart comes at once; one that dies soon after its start again waits twice as long each time. */
static void unit_ended(Unit *u, const char *how)
{
        uint64_t delay;

        u->pidfd = sd_event_source_disable_unref(u->pidfd);
        u->ready = sd_event_source_disable_unref(u->ready);
        u->watchdog = sd_event_source_disable_unref(u->watchdog);
        snprintf(u->last_end, sizeof u->last_end, "%s", how);
        if (now_usec() - u->started > STABLE_USEC)
                u->delay = 0;
        delay = u->delay;
        u->delay = delay ? MIN2(delay * 2, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
        log_warning("%s (pid %d) %s; starting it again in %llu ms", daemon_table[u->id].name, (int) u->record.pid, how,
                    (unsigned long long) (delay / USEC_PER_MSEC));
        u->record.pid = 0;
        u->record.restarts++;
        u->status[0] = '\0';
        daemon_record_remove(&u->supervisor->stack->paths, u->id);
        unit_schedule(u, delay);
}

static int on_silence(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        Unit *u = userdata;
        _cleanup_close_ int fd = process_open(u->record.pid, u->record.start);

        log_warning("%s (pid %d) gave no sign of life for %lld s; killing it", daemon_table[u->id].name, (int) u->record.pid,
                    (long long) setting_int(SETTING_WATCHDOG));
        if (fd >= 0)
                (void) pidfd_send_signal(fd, SIGKILL, NULL, 0);
        return 0;
}

/* Begins with the first sign: one that an older supervisor started may give none. */
static void unit_alive(Unit *u)
{
        uint64_t usec = (uint64_t) setting_int(SETTING_WATCHDOG) * USEC_PER_SEC;

        if (usec == 0)
                return;
        if (!u->watchdog)
                (void) sd_event_add_time_relative(u->supervisor->event, &u->watchdog, CLOCK_MONOTONIC, usec, 0, on_silence, u);
        else {
                (void) sd_event_source_set_time_relative(u->watchdog, usec);
                (void) sd_event_source_set_enabled(u->watchdog, SD_EVENT_ONESHOT);
        }
}

static void unit_ready(Unit *u)
{
        Supervisor *s = u->supervisor;

        if (u->state == UNIT_READY)
                return;
        u->state = UNIT_READY;
        u->record.ready = true;
        (void) daemon_record_write(&s->stack->paths, u->id, &u->record);
        if (u->id == DAEMON_BUS)
                bus_socket_restrict(s->stack);
        log_info("%s is ready", daemon_table[u->id].name);
        advance(s);
}

static int on_ready_pipe(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Unit *u = userdata;
        bool ready = read(fd, &(char) { 0 }, 1) == 1;

        u->ready = sd_event_source_disable_unref(u->ready);
        if (ready)
                unit_ready(u);
        return 0;
}

static void unit_start(Unit *u)
{
        const char *name = daemon_table[u->id].name;
        int ready_fd = -EBADF, r;

        u->adopted = false;
        u->started = now_usec();
        u->state = UNIT_STARTING;
        r = daemon_start(u->supervisor->stack, u->id, u->record.restarts, &u->record, &ready_fd);
        if (r == -ENOENT) {
                log_warning("%s is not installed", name);
                u->state = UNIT_MISSING;
                advance(u->supervisor);
        } else if (r < 0) {
                log_errno(r, "Cannot start %s", name);
                snprintf(u->last_end, sizeof u->last_end, "cannot be started: %s", strerror(-r));
                u->delay = u->delay ? MIN2(u->delay * 2, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
                unit_schedule(u, u->delay);
        } else
                log_info("Started %s (pid %d)", name, (int) u->record.pid);
        if (ready_fd >= 0 && sd_event_add_io(u->supervisor->event, &u->ready, ready_fd, EPOLLIN, on_ready_pipe, u) >= 0)
                (void) sd_event_source_set_io_fd_own(u->ready, true);
        else
                safe_close(ready_fd);
}

static int on_adopted_end(_unused_ sd_event_source *source, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        unit_ended(userdata, "ended (it was adopted, so it is not known how)");
        return 0;
}

/* What an earlier supervisor has started goes on under this one. */
static void unit_adopt(Unit *u)
{
        _cleanup_close_ int fd = -EBADF;
        DaemonRecord record;

        fd = daemon_find(u->supervisor->stack, u->id, &record);
        if (fd < 0 || sd_event_add_io(u->supervisor->event, &u->pidfd, fd, EPOLLIN, on_adopted_end, u) < 0)
                return;
        (void) sd_event_source_set_io_fd_own(u->pidfd, true);
        (void) TAKE_FD(fd);
        u->record = record;
        (void) daemon_record_write(&u->supervisor->stack->paths, u->id, &record);
        u->adopted = true;
        u->started = now_usec();
        u->state = UNIT_READY; /* if it was not yet, its word went to the supervisor before us */
        log_info("Adopted %s (pid %d)", daemon_table[u->id].name, (int) record.pid);
}

/* Monitors and device models that lost their parent come to us too (subreaper); they are only reaped. */
static int on_child(sd_event_source *source, _unused_ const struct signalfd_siginfo *si, void *userdata)
{
        Supervisor *s = userdata;
        int status;
        pid_t pid;

        (void) source;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                        Unit *u = &s->units[id];
                        char how[64];

                        if (u->record.pid != pid || u->adopted)
                                continue;
                        if (WIFSIGNALED(status))
                                snprintf(how, sizeof how, "was killed by signal %d (%s)", WTERMSIG(status),
                                         strsignal(WTERMSIG(status)));
                        else
                                snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
                        unit_ended(u, how);
                }
        return 0;
}

static Unit *find_unit(Supervisor *s, pid_t pid)
{
        for (DaemonId id = 0; pid > 0 && id < DAEMON_SUPERVISOR; id++)
                if (s->units[id].record.pid == pid)
                        return &s->units[id];
        return NULL;
}

/* sd_notify: who sent it is told by the kernel. */
static int on_notify(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Supervisor *s = userdata;
        char untrusted_text[NOTIFY_MAX + 1], *save = NULL;
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(64 * sizeof(int))];
        } control;
        struct iovec iov = { untrusted_text, NOTIFY_MAX };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        struct ucred cred = { 0 };
        ssize_t n;
        Unit *u;

        n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0)
                return 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_CREDENTIALS)
                        memcpy(&cred, CMSG_DATA(c), sizeof cred);
                else if (c->cmsg_type == SCM_RIGHTS)
                        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
                                safe_close(((int *) (void *) CMSG_DATA(c))[i]);
        }
        u = find_unit(s, cred.pid);
        if (!u)
                return 0;
        untrusted_text[n] = '\0';
        for (char *line = strtok_r(untrusted_text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *v;

                if (streq(line, "READY=1"))
                        unit_ready(u);
                else if (streq(line, "WATCHDOG=1"))
                        unit_alive(u);
                else if ((v = startswith(line, "STATUS=")))
                        log_untrusted(u->status, sizeof u->status, v);
        }
        return 0;
}

static json_object *unit_to_json(const Unit *u)
{
        json_object *o = json_object_new_object();

        json_object_object_add(o, "name", json_object_new_string(daemon_table[u->id].name));
        json_object_object_add(o, "state", json_object_new_string(state_names[u->state]));
        json_object_object_add(o, "pid", json_object_new_int((int) u->record.pid));
        json_object_object_add(o, "since", json_object_new_int64(u->record.since));
        json_object_object_add(o, "restarts", json_object_new_int64(u->record.restarts));
        json_object_object_add(o, "adopted", json_object_new_boolean(u->adopted));
        json_object_object_add(o, "status", json_object_new_string(u->status));
        json_object_object_add(o, "last_end", json_object_new_string(u->last_end));
        return o;
}

static int status_text(Supervisor *s, char **ret)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *list = json_object_new_array();
        bool ready = true;

        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++)
                if (daemon_wanted(s->stack, id)) {
                        ready &= s->units[id].state == UNIT_READY;
                        json_object_array_add(list, unit_to_json(&s->units[id]));
                }
        json_object_object_add(o, "version", json_object_new_int(1));
        json_object_object_add(o, "pid", json_object_new_int((int) getpid()));
        json_object_object_add(o, "since", json_object_new_int64(s->since));
        json_object_object_add(o, "ready", json_object_new_boolean(ready));
        json_object_object_add(o, "daemons", list);
        *ret = strformat("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        return *ret ? 0 : -ENOMEM;
}

static void client_free(Client *c)
{
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (c->supervisor->clients[i] == c)
                        c->supervisor->clients[i] = NULL;
        sd_event_source_disable_unref(c->io);
        safe_close(c->fd);
        free(c);
}

static void answer(int fd, const char *text)
{
        /* The answer is far smaller than a socket's buffer; a client that has gone is none of our business. */
        if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                log_debug("Cannot answer: %s", strerror(errno));
}

static void client_command(Client *c)
{
        Supervisor *s = c->supervisor;
        bool owner = c->uid == 0 || c->uid == geteuid();
        _cleanup_free_ char *text = NULL;

        if (streq(c->command, "status")) {
                if (status_text(s, &text) >= 0)
                        answer(c->fd, text);
        } else if (!streq(c->command, "down") && !streq(c->command, "leave"))
                answer(c->fd, "{\"error\":\"known commands are: status down leave\"}\n");
        else if (!owner)
                answer(c->fd, "{\"error\":\"only root and the user who started the stack may end it\"}\n");
        else {
                s->leave = streq(c->command, "leave");
                if (s->down_fd < 0)
                        s->down_fd = TAKE_FD(c->fd);
                (void) sd_event_exit(s->event, 0);
        }
}

static int on_client(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Client *c = userdata;
        ssize_t n = recv(fd, c->command + c->n, sizeof c->command - 1 - c->n, MSG_DONTWAIT);
        char *end;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0) {
                c->n += (size_t) n;
                c->command[c->n] = '\0';
                end = strchr(c->command, '\n');
                if (!end && c->n < sizeof c->command - 1)
                        return 0;
                if (end) {
                        *end = '\0';
                        client_command(c);
                }
        }
        client_free(c);
        return 0;
}

static int on_connect(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Supervisor *s = userdata;
        struct ucred cred;
        socklen_t size = sizeof cred;
        size_t slot = 0;
        Client *c;

        _cleanup_close_ int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client_fd < 0)
                return 0;
        while (slot < CLIENTS_MAX && s->clients[slot])
                slot++;
        if (slot == CLIENTS_MAX || getsockopt(client_fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return 0;
        c = calloc(1, sizeof *c);
        if (!c)
                return 0;
        *c = (Client) { .supervisor = s, .fd = TAKE_FD(client_fd), .uid = cred.uid };
        s->clients[slot] = c;
        if (sd_event_add_io(s->event, &c->io, c->fd, EPOLLIN, on_client, c) < 0)
                client_free(c);
        return 0;
}

static void give_to_group(const Stack *s, const char *path)
{
        struct group *gr = s->root ? getgrnam("oxt") : NULL;

        if (gr && chown(path, (uid_t) -1, gr->gr_gid) < 0)
                log_errno_full(LOG_WARNING, errno, "Cannot give %s to the group oxt", path);
}

static int open_notify(const Stack *s)
{
        const char *path = paths_get(&s->paths, PATH_NOTIFY);
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        int one = 1;

        if (strlen(path) >= sizeof sa.sun_path)
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) < 0)
                return -errno;
        (void) unlink(path);
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0)
                return -errno;
        give_to_group(s, path);
        return chmod(path, s->root ? 0660 : 0600) < 0 ? -errno : TAKE_FD(fd);
}

static void supervisor_done(Supervisor *s)
{
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (s->clients[i])
                        client_free(s->clients[i]);
        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                sd_event_source_unref(s->units[id].timer);
                sd_event_source_unref(s->units[id].pidfd);
                sd_event_source_unref(s->units[id].ready);
                sd_event_source_unref(s->units[id].watchdog);
        }
        logwatch_free(s->logs);
        sd_event_unref(s->event);
        safe_close(s->listen_fd);
        safe_close(s->notify_fd);
        safe_close(s->down_fd);
}

static int supervisor_setup(Supervisor *s)
{
        DaemonRecord self = { .pid = getpid(), .since = s->since, .ready = true };
        const Paths *p = &s->stack->paths;
        sigset_t set;
        int r;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
        (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
        r = sd_event_new(&s->event);
        if (r >= 0)
                r = sd_event_add_signal(s->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(s->event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(s->event, NULL, SIGCHLD, on_child, s);
        if (r >= 0)
                r = s->notify_fd = open_notify(s->stack);
        if (r >= 0)
                r = sd_event_add_io(s->event, NULL, s->notify_fd, EPOLLIN, on_notify, s);
        if (r >= 0)
                r = s->listen_fd = unix_listen(paths_get(p, PATH_UP_SOCKET), s->stack->root ? 0660 : 0600);
        if (r >= 0) {
                give_to_group(s->stack, paths_get(p, PATH_UP_SOCKET));
                r = sd_event_add_io(s->event, NULL, s->listen_fd, EPOLLIN, on_connect, s);
        }
        if (r >= 0)
                r = logwatch_new(s->event, p, &s->logs);
        if (r >= 0)
                r = process_start_time(self.pid, &self.start);
        if (r >= 0)
                r = daemon_record_write(p, DAEMON_SUPERVISOR, &self);
        return r < 0 ? log_errno(r, "Cannot set up the supervisor") : 0;
}

static void log_ended(const char *what, const char *how, _unused_ void *userdata)
{
        log_info("%s %s", what, how);
}

int supervisor_run(const Stack *stack)
{
        Supervisor s = { .stack = stack, .since = (int64_t) time(NULL), .listen_fd = -EBADF, .notify_fd = -EBADF, .down_fd = -EBADF };
        SweepReport report = { .ended = log_ended };
        int r;

        r = supervisor_setup(&s);
        if (r < 0) {
                supervisor_done(&s);
                return 1;
        }
        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++) {
                s.units[id] = (Unit) { .supervisor = &s, .id = id };
                if (daemon_wanted(stack, id))
                        unit_adopt(&s.units[id]);
        }
        advance(&s);
        r = sd_event_loop(s.event);
        if (r < 0)
                log_errno(r, "The event loop ended");
        else if (!s.leave) {
                r = stack_sweep(stack, &report);
                while (waitpid(-1, NULL, WNOHANG) > 0) {
                        /* What came to us from others. */
                }
        }
        if (s.down_fd >= 0)
                answer(s.down_fd, r < 0 ? "{\"error\":\"some processes could not be ended\"}\n" : "{\"ok\":true}\n");
        daemon_record_remove(&stack->paths, DAEMON_SUPERVISOR);
        (void) unlink(paths_get(&stack->paths, PATH_UP_SOCKET));
        supervisor_done(&s);
        return r < 0;
}

int supervisor_call(const Paths *p, const char *command, uint64_t timeout_usec, char **ret)
{
        _cleanup_close_ int fd = -EBADF;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        uint64_t end = now_usec() + timeout_usec;
        char chunk[4096];

        fd = unix_connect(paths_get(p, PATH_UP_SOCKET));
        if (fd < 0)
                return fd;
        strbuf_addf(&b, "%s\n", command);
        if (b.oom || send(fd, b.data, b.len, MSG_NOSIGNAL) < 0)
                return b.oom ? -ENOMEM : -errno;
        strbuf_done(&b);
        for (;;) {
                struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
                uint64_t now = now_usec();
                ssize_t n;

                if (now >= end || poll(&poll_fd, 1, (int) ((end - now + 999) / 1000)) <= 0)
                        return -ETIMEDOUT;
                n = recv(fd, chunk, sizeof chunk, 0);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                strbuf_addn(&b, chunk, (size_t) n);
        }
        if (b.len == 0)
                return -ECONNRESET;
        return strbuf_take(&b, ret);
}
