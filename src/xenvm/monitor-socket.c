/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor on a unix socket: JSON-RPC 2.0, one request for each connection. Request: 4 bytes big-endian
 * length and that much JSON; reply: bare JSON, then the connection is closed. No client can hold up others.
 */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "json.h"
#include "list.h"
#include "log.h"
#include "monitor.h"
#include "strbuf.h"
#include "unaligned.h"

#define REQUEST_MAX (1 * MIB)
#define CLIENTS_MAX 64
#define IDLE_MAX (60 * USEC_PER_SEC)
#define JSON_DEPTH_MAX 16

enum { ERROR_PARSE = -32700, ERROR_REQUEST = -32600, ERROR_METHOD = -32601, ERROR_PARAMS = -32602, ERROR_INTERNAL = -32603 };

typedef struct Client Client;

typedef struct SocketServer {
        Monitor *monitor;
        int fd;
        char *path;
        sd_event_source *io;
        Client *clients;
        unsigned n_clients;
} SocketServer;

struct Client {
        SocketServer *server;
        Client *next, **pprev;
        int fd;
        sd_event_source *io, *idle;
        char *data;          /* the length, the request; later the reply */
        size_t len, need;
        bool replying;
        Request *request;    /* while the command runs */
        json_object *id;
};

static Client *client_free(Client *c)
{
        if (!c)
                return NULL;
        if (c->request)
                c->request->transport = NULL; /* its answer goes nowhere */
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->idle);
        safe_close(c->fd);
        free(c->data);
        json_object_put(c->id);
        LIST_UNLINK(c);
        c->server->n_clients--;
        free(c);
        return NULL;
}

static void client_write(Client *c)
{
        while (c->len < c->need) {
                ssize_t n = send(c->fd, c->data + c->len, c->need - c->len, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        (void) sd_event_source_set_io_events(c->io, EPOLLOUT);
                        return;
                }
                if (n < 0)
                        break;
                c->len += (size_t) n;
        }
        client_free(c);
}

static void client_reply(Client *c, int code, const char *text)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *error;
        const char *json;

        if (!o) {
                client_free(c);
                return;
        }
        json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
        json_object_object_add(o, "id", json_object_get(c->id));
        if (code == 0)
                json_object_object_add(o, "result", text ? json_object_new_string(text) : NULL);
        else {
                error = json_object_new_object();
                json_object_object_add(error, "code", json_object_new_int(code));
                json_object_object_add(error, "message", json_object_new_string(text));
                json_object_object_add(o, "error", error);
        }
        json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        free(c->data);
        c->data = json ? strdup(json) : NULL;
        if (!c->data) {
                client_free(c);
                return;
        }
        c->len = 0;
        c->need = strlen(c->data);
        c->replying = true;
        (void) sd_event_source_set_enabled(c->idle, SD_EVENT_ONESHOT);
        (void) sd_event_source_set_time_relative(c->idle, IDLE_MAX);
        client_write(c);
}

static void answer_client(Request *q, RequestResult result, const char *text)
{
        static const int codes[] = { [REQUEST_OK] = 0, [REQUEST_FAILED] = ERROR_INTERNAL, [REQUEST_UNKNOWN] = ERROR_METHOD,
                                     [REQUEST_BAD_ARGUMENTS] = ERROR_PARAMS };
        Client *c = TAKE_PTR(q->transport);

        if (!c)
                return; /* it went away before */
        c->request = NULL;
        client_reply(c, codes[result], text);
}

static int take_params(json_object *params, char ***ret)
{
        _cleanup_strv_ char **l = NULL;

        if (params && json_object_is_type(params, json_type_object)) {
                json_object_object_foreach(params, name, value)
                {
                        int r;

                        if (json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array) || !value)
                                return -EINVAL;
                        r = strv_extendf(&l, "%s=%s", name, json_object_get_string(value));
                        if (r < 0)
                                return r;
                }
        }
        *ret = TAKE_PTR(l);
        return 0;
}

static void client_run(Client *c)
{
        _cleanup_json_ json_object *o = NULL;
        _cleanup_strv_ char **params = NULL;
        json_object *member = NULL;
        const char *method;
        Request *q;

        (void) sd_event_source_set_enabled(c->idle, SD_EVENT_OFF);
        if (json_parse(c->data + 4, c->need - 4, JSON_DEPTH_MAX, &o) < 0) {
                client_reply(c, ERROR_PARSE, "the request is not JSON");
                return;
        }
        if (!json_object_is_type(o, json_type_object) || !(method = json_get_text(o, "method", NULL))) {
                client_reply(c, ERROR_REQUEST, "the request is not an object with a method");
                return;
        }
        if (json_object_object_get_ex(o, "id", &member))
                c->id = json_object_get(member);
        member = NULL;
        (void) json_object_object_get_ex(o, "params", &member);
        if (take_params(member, &params) < 0) {
                client_reply(c, ERROR_PARAMS, "params must be an object of texts, numbers and booleans");
                return;
        }
        q = request_new(answer_client, c);
        if (!q) {
                client_free(c);
                return;
        }
        c->request = q;
        (void) sd_event_source_set_io_events(c->io, 0);
        command_run(c->server->monitor, q, method, params);
        request_unref(q);
}

static int on_client(_unused_ sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Client *c = userdata;
        uint32_t size;
        ssize_t n;
        char *p;

        if (c->replying) {
                client_write(c);
                return 0;
        }
        if (c->request) { /* only told that it hung up */
                client_free(c);
                return 0;
        }
        n = recv(fd, c->data + c->len, c->need - c->len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR) && !(revents & EPOLLERR))
                return 0;
        if (n <= 0) {
                client_free(c);
                return 0;
        }
        c->len += (size_t) n;
        if (c->len < c->need)
                return 0;
        if (c->need > 4) {
                client_run(c);
                return 0;
        }
        size = get_be32(c->data);
        p = size == 0 || size > REQUEST_MAX ? NULL : realloc(c->data, 4 + size);
        if (!p) {
                client_free(c);
                return 0;
        }
        c->data = p;
        c->need = 4 + size;
        return 0;
}

static int on_idle(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        client_free(userdata);
        return 0;
}

static int on_connection(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        SocketServer *server = userdata;
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;
        Client *c;

        if (client < 0)
                return 0;
        c = server->n_clients < CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;
        if (!c) {
                safe_close(client);
                return 0;
        }
        *c = (Client) { .server = server, .fd = client, .need = 4 };
        LIST_LINK(server->clients, c);
        server->n_clients++;
        c->data = malloc(4);
        r = c->data ? 0 : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_io(server->monitor->event, &c->io, client, EPOLLIN, on_client, c);
        if (r >= 0)
                r = sd_event_add_time_relative(server->monitor->event, &c->idle, CLOCK_MONOTONIC, monitor_scaled(IDLE_MAX), 0,
                                               on_idle, c);
        if (r < 0)
                client_free(c);
        return 0;
}

static char *socket_path(const Paths *p, const char *uuid)
{
        const char *dir = getenv("XENVM_SOCKET_DIR");

        return dir && *dir ? strformat("%s/vm-%s", dir, uuid) : paths_format(p, PATH_XENVM_SOCKETS, "vm-%s", uuid);
}

int monitor_socket_start(Monitor *m)
{
        SocketServer *s = calloc(1, sizeof *s);
        _cleanup_free_ char *dir = NULL;
        int r;

        if (!s)
                return log_oom();
        *s = (SocketServer) { .monitor = m, .fd = -EBADF };
        m->socket = s;
        s->path = socket_path(&m->paths, m->uuid);
        dir = s->path ? strdup(s->path) : NULL;
        if (!dir)
                return log_oom();
        *strrchr(dir, '/') = '\0';
        r = mkdir_parents(dir, 0750);
        if (r >= 0)
                r = s->fd = unix_listen(s->path, 0660);
        if (r >= 0)
                r = sd_event_add_io(m->event, &s->io, s->fd, EPOLLIN, on_connection, s);
        return r < 0 ? log_errno(r, "Cannot serve the socket %s", s->path) : 0;
}

void monitor_socket_stop(Monitor *m)
{
        SocketServer *s = TAKE_PTR(m->socket);

        if (!s)
                return;
        while (s->clients)
                client_free(s->clients);
        sd_event_source_disable_unref(s->io);
        if (s->fd >= 0)
                (void) unlink(s->path);
        safe_close(s->fd);
        free(s->path);
        free(s);
}
