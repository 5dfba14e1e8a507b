/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "loop.h"
#include "parse.h"
#include "port.h"

#define SERVICE_DEFAULT 5555
#define LISTENERS_MAX 8
#define READ_SIZE 16384

typedef struct Listener {
        Source source;
        uint32_t service;
} Listener;

typedef struct Connection {
        Source source;
        MuxStream *stream;
        uint8_t in[READ_SIZE]; /* read from the program, not yet taken by the stream */
        size_t in_start, in_len;
        uint8_t *out;          /* for the program; the window of the stream bounds it */
        size_t out_len, out_size;
        bool host_closed;      /* gone as soon as the program has what is left */
} Connection;

static Listener listeners[LISTENERS_MAX];
static size_t n_listeners;

void relay_attached(bool attached)
{
        /* While there is no host, programs wait in the queue of the socket, and go on when it is back. */
        for (size_t i = 0; i < n_listeners; i++)
                if (loop_watch(&listeners[i].source, attached ? EPOLLIN : 0) < 0)
                        log_warning("Cannot watch a listening socket");
}

static void connection_free(Connection *c)
{
        (void) loop_watch(&c->source, 0);
        safe_close(c->source.fd);
        if (c->stream) {
                mux_stream_close(c->stream, MUX_REASON_END);
                port_flush();
        }
        free(c->out);
        free(c);
}

static void connection_watch(Connection *c)
{
        uint32_t events = (c->in_len == 0 && !c->host_closed ? (uint32_t) EPOLLIN : 0) |
                          (c->out_len > 0 ? (uint32_t) EPOLLOUT : 0);

        /* Off the loop while there is nothing to do: a hang-up would be told over and over again. */
        if (loop_watch(&c->source, events) < 0)
                log_warning("Cannot watch a connection");
}

static void connection_send(Connection *c)
{
        size_t n = mux_stream_send(c->stream, c->in + c->in_start, c->in_len);

        c->in_start += n;
        c->in_len -= n;
        port_flush();
}

/* Returns false when the connection is gone. */
static bool connection_write(Connection *c)
{
        size_t done = 0;

        while (done < c->out_len) {
                ssize_t n = send(c->source.fd, c->out + done, c->out_len - done, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0) {
                        connection_free(c);
                        return false;
                }
                done += (size_t) n;
        }
        c->out_len -= done;
        if (done > 0) {
                memmove(c->out, c->out + done, c->out_len);
                if (c->stream) {
                        mux_stream_consumed(c->stream, done);
                        port_flush();
                }
        }
        if (c->host_closed && c->out_len == 0) {
                connection_free(c);
                return false;
        }
        connection_watch(c);
        return true;
}

static void on_connection(Source *s, uint32_t events)
{
        Connection *c = s->userdata;
        ssize_t n;

        if (events & EPOLLOUT && !connection_write(c))
                return;
        if (c->in_len == 0 && !c->host_closed && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                n = recv(s->fd, c->in, sizeof c->in, MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0)
                        return connection_free(c);
                c->in_start = 0;
                c->in_len = (size_t) n;
                connection_send(c);
        }
        connection_watch(c);
}

void relay_data(MuxStream *s, const void *untrusted_data, size_t size)
{
        Connection *c = mux_stream_userdata(s);

        if (c->out_len + size > c->out_size) {
                size_t wanted = MAX2(c->out_len + size, (size_t) 4096);
                void *p = realloc(c->out, wanted);

                if (!p) {
                        log_oom();
                        return connection_free(c);
                }
                c->out = p;
                c->out_size = wanted;
        }
        memcpy(c->out + c->out_len, untrusted_data, size);
        c->out_len += size;
        connection_write(c);
}

void relay_writable(MuxStream *s)
{
        Connection *c = mux_stream_userdata(s);

        connection_send(c);
        connection_watch(c);
}

void relay_closed(MuxStream *s, MuxReason reason)
{
        Connection *c = mux_stream_userdata(s);

        if (reason != MUX_REASON_END)
                log_debug("The host ended a connection: %s", mux_reason_to_string(reason));
        c->stream = NULL;
        c->host_closed = true;
        c->in_len = 0;
        connection_write(c);
}

static void on_listener(Source *s, uint32_t events _unused_)
{
        Listener *l = s->userdata;
        Connection *c;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

        if (fd < 0)
                return;
        c = calloc(1, sizeof *c);
        if (!c) {
                log_oom();
                safe_close(fd);
                return;
        }
        c->source = (Source) { .fd = fd, .run = on_connection, .userdata = c };
        r = mux_open(port_mux(), l->service, c, &c->stream);
        if (r < 0) {
                log_warning("A connection to the host is refused: %s",
                            r == -EMFILE ? "too many are open" : strerror(-r));
                return connection_free(c);
        }
        port_flush();
        connection_watch(c);
}

static int listen_tcp(const char *number)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_close_ int fd = -EBADF;
        uint64_t n;
        int on = 1;

        if (parse_u64(number, &n) < 0 || n < 1 || n > UINT16_MAX)
                return -EINVAL;
        a.sin_port = htons((uint16_t) n);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
            bind(fd, (struct sockaddr *) &a, sizeof a) < 0 || listen(fd, 128) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int listen_unix(const char *path)
{
        _cleanup_free_ char *folder = strdup(path);
        char *slash = folder ? strrchr(folder, '/') : NULL;

        if (!slash)
                return folder ? -EINVAL : -ENOMEM;
        *slash = '\0';
        if (folder[0])
                (void) mkdir_parents(folder, 0755);
        /* Who may call what is judged on the host, for the whole guest: inside it anybody may try. */
        return unix_listen(path, 0666);
}

int relay_listen(const char *address)
{
        _cleanup_free_ char *where = strdup(address);
        Listener *l = listeners + n_listeners;
        uint64_t service = SERVICE_DEFAULT;
        const char *rest;
        char *equals;
        int fd = -EINVAL;

        if (!where)
                return log_oom();
        if (n_listeners == LISTENERS_MAX) {
                log_error("More than %d addresses to listen on", LISTENERS_MAX);
                return -E2BIG;
        }
        equals = strrchr(where, '=');
        if (equals) {
                *equals++ = '\0';
                if (parse_u64(equals, &service) < 0 || service < 1 || service > UINT16_MAX) {
                        log_error("'%s' is no service number", equals);
                        return -EINVAL;
                }
        }
        if ((rest = startswith(where, "unix:")))
                fd = listen_unix(rest);
        else if ((rest = startswith(where, "tcp:")))
                fd = listen_tcp(rest);
        if (fd < 0)
                return log_errno(fd, "Cannot listen on '%s' (unix:PATH or tcp:PORT)", address);
        l->service = (uint32_t) service;
        l->source = (Source) { .fd = fd, .run = on_listener, .userdata = l };
        n_listeners++;
        return 0;
}
