/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-http.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "list.h"
#include "log.h"
#include "ws.h"
#include "ws-relay.h"

#define TIMEOUT 10     /* seconds for a request */
#define MEMORY_MAX (32 * KIB)
#define PATH_LENGTH_MAX 1024

/* A connection on which HTTP is spoken. */
typedef struct WebClient {
        struct WebClient *next;
        int fd, json_fd;
} WebClient;

struct Web {
        sd_event *event;
        const char *folder;
        struct MHD_Daemon *daemon;
        sd_event_source *io, *timer;
        WebClient *clients;
};

/* An upgraded connection whose descriptor MHD still holds. */
typedef struct Upgraded {
        struct MHD_UpgradeResponseHandle *handle;
        Web *web;
} Upgraded;

static const struct {
        const char *suffix, *type;
} content_types[] = {
        { ".html", "text/html; charset=utf-8" }, { ".js", "text/javascript; charset=utf-8" },
        { ".css", "text/css; charset=utf-8" },   { ".json", "application/json" },
        { ".png", "image/png" },                 { ".svg", "image/svg+xml" },
        { ".gif", "image/gif" },                 { ".ico", "image/x-icon" },
        { ".woff", "font/woff" },                { ".txt", "text/plain; charset=utf-8" },
};

static WebClient *find_client(Web *w, struct MHD_Connection *c)
{
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);

        for (WebClient *i = w->clients; info && i; i = i->next)
                if (i->fd == info->connect_fd)
                        return i;
        return NULL;
}

static void forget_client(Web *w, WebClient *client)
{
        LIST_TAKE_OUT(w->clients, client);
        safe_close(client->json_fd);
        free(client);
}

static void on_connection(void *userdata, struct MHD_Connection *c, _unused_ void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        Web *w = userdata;
        WebClient *client = code == MHD_CONNECTION_NOTIFY_CLOSED ? find_client(w, c) : NULL;

        if (client)
                forget_client(w, client);
}

/* MHD has things to do: at once, or when its time-outs come. */
static void run(Web *w)
{
        MHD_UNSIGNED_LONG_LONG ms;

        for (int rounds = 0; rounds < 16; rounds++) {
                MHD_run(w->daemon);
                if (MHD_get_timeout(w->daemon, &ms) != MHD_YES) {
                        (void) sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
                        return;
                }
                if (ms > 0)
                        break;
        }
        (void) sd_event_source_set_time_relative(w->timer, ms * USEC_PER_MSEC);
        (void) sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

static int on_io(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        run(userdata);
        return 0;
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        run(userdata);
        return 0;
}

static void on_relay_free(void *userdata)
{
        Upgraded *u = userdata;

        MHD_upgrade_action(u->handle, MHD_UPGRADE_ACTION_CLOSE);
        (void) sd_event_source_set_time_relative(u->web->timer, 0);
        (void) sd_event_source_set_enabled(u->web->timer, SD_EVENT_ONESHOT);
        free(u);
}

/* The client became a WebSocket: from here on it is a connection as any other. */
static void on_upgrade(void *userdata, struct MHD_Connection *c, _unused_ void *request, const char *extra,
                       size_t n_extra, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
        Web *w = userdata;
        WebClient *client = find_client(w, c);
        Upgraded *u = calloc(1, sizeof(*u));
        WsRelaySpec spec = { .first = extra, .n_first = n_extra, .on_free = on_relay_free, .userdata = u };
        int r;

        if (!client || !u) {
                free(u);
                MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
                return;
        }
        *u = (Upgraded) { handle, w };
        spec.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        spec.json_fd = TAKE_FD(client->json_fd);
        forget_client(w, client);
        r = ws_relay_new(w->event, &spec);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Cannot serve a WebSocket");
}

static enum MHD_Result respond(struct MHD_Connection *c, unsigned status, struct MHD_Response *r)
{
        enum MHD_Result result;

        if (!r)
                return MHD_NO;
        result = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
        return result;
}

static enum MHD_Result respond_text(struct MHD_Connection *c, unsigned status, const char *text)
{
        return respond(c, status, MHD_create_response_from_buffer(strlen(text), (void *) text, MHD_RESPMEM_PERSISTENT));
}

/* Files are only read, so whatever else is asked for is refused before its body comes. */
static enum MHD_Result respond_not_allowed(struct MHD_Connection *c)
{
        struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *) "", MHD_RESPMEM_PERSISTENT);

        if (r)
                MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        return respond(c, MHD_HTTP_METHOD_NOT_ALLOWED, r);
}

static enum MHD_Result respond_upgrade(Web *w, struct MHD_Connection *c, const char *key)
{
        struct MHD_Response *r = MHD_create_response_for_upgrade(on_upgrade, w);
        char accept[29];

        if (!r)
                return MHD_NO;
        MHD_add_response_header(r, MHD_HTTP_HEADER_UPGRADE, "websocket");
        MHD_add_response_header(r, "Sec-WebSocket-Accept", ws_accept(key, accept));
        return respond(c, MHD_HTTP_SWITCHING_PROTOCOLS, r);
}

/* A file below the folder of the user interface; no link or ".." leads out of it. */
static enum MHD_Result respond_file(Web *w, struct MHD_Connection *c, const char *untrusted_url)
{
        struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
        const char *type = "application/octet-stream";
        _cleanup_close_ int root = open(w->folder, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        char path[PATH_LENGTH_MAX];
        struct MHD_Response *r;
        struct stat st;

        if ((size_t) snprintf(path, sizeof(path), "%s%s", untrusted_url + 1, endswith(untrusted_url, "/") ? "index.html" : "") >=
            sizeof(path))
                return respond_text(c, MHD_HTTP_URI_TOO_LONG, "");
        if (root >= 0)
                fd = (int) syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return respond_text(c, MHD_HTTP_NOT_FOUND, "There is no such file.\n");
        for (size_t i = 0; i < ELEMENTSOF(content_types); i++)
                if (endswith(path, content_types[i].suffix))
                        type = content_types[i].type;
        r = MHD_create_response_from_fd64((uint64_t) st.st_size, fd);
        if (!r)
                return MHD_NO;
        TAKE_FD(fd);
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
        return respond(c, MHD_HTTP_OK, r);
}

/*
 * A browser says from where the page comes that opens a WebSocket: any page that it shows could, so it has to come from
 * here, from whatever port (the user interface comes from 80). What is no browser says nothing.
 */
static bool same_host(const char *untrusted_origin, const char *untrusted_host)
{
        const char *rest = startswith(untrusted_origin, "http://");
        size_t n;

        if (!rest)
                rest = startswith(untrusted_origin, "https://");
        n = untrusted_host[0] == '[' ? strcspn(untrusted_host, "]") : strcspn(untrusted_host, ":");
        return rest && n > 0 && strncasecmp(rest, untrusted_host, n) == 0 &&
               (rest[n] == '\0' || rest[n] == ':' || rest[n] == ']');
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, _unused_ const char *data, _unused_ size_t *n_data, void **context)
{
        Web *w = userdata;
        const char *key = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Sec-WebSocket-Key");
        const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
        const char *origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
        static int seen;

        if (!streq(method, MHD_HTTP_METHOD_GET) && !streq(method, MHD_HTTP_METHOD_HEAD))
                return respond_not_allowed(c);
        if (!*context) { /* the headers are there; answers are given at the second call */
                *context = &seen;
                return MHD_YES;
        }
        if (!key)
                return url[0] == '/' ? respond_file(w, c, url) : respond_text(c, MHD_HTTP_BAD_REQUEST, "");
        if (!host || !*key || strlen(key) > 255 || !streq(method, MHD_HTTP_METHOD_GET) || !streq(version, MHD_HTTP_VERSION_1_1))
                return respond_text(c, MHD_HTTP_BAD_REQUEST, "This is no request for a WebSocket.\n");
        if (origin && !same_host(origin, host))
                return respond_text(c, MHD_HTTP_FORBIDDEN, "A page of another host may not use this.\n");
        return respond_upgrade(w, c, key);
}

int web_new(sd_event *event, const char *folder, Web **ret)
{
        _cleanup_(web_freep) Web *w = calloc(1, sizeof(*w));
        const union MHD_DaemonInfo *info;
        int r;

        if (!w)
                return -ENOMEM;
        w->event = event;
        w->folder = folder;
        w->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_UPGRADE |
                                             MHD_USE_SUPPRESS_DATE_NO_CLOCK,
                                     0, NULL, NULL, on_request, w, MHD_OPTION_NOTIFY_CONNECTION, on_connection, w,
                                     MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned) TIMEOUT, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) MEMORY_MAX,
                                     MHD_OPTION_END);
        info = w->daemon ? MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                return -EIO;
        r = sd_event_add_io(event, &w->io, info->epoll_fd, EPOLLIN, on_io, w);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, 0, 0, on_timer, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

Web *web_free(Web *w)
{
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->io);
        sd_event_source_disable_unref(w->timer);
        if (w->daemon)
                MHD_stop_daemon(w->daemon);
        while (w->clients)
                forget_client(w, w->clients);
        free(w);
        return NULL;
}

int web_serve(Web *w, int fd, int json_fd)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        WebClient *c = calloc(1, sizeof(*c));

        if (!c) {
                safe_close(fd);
                safe_close(json_fd);
                return -ENOMEM;
        }
        *c = (WebClient) { .next = w->clients, .fd = fd, .json_fd = json_fd };
        w->clients = c;
        /* MHD owns fd from here on, also when it fails. */
        if (MHD_add_connection(w->daemon, fd, (struct sockaddr *) &sa, sizeof(sa)) != MHD_YES) {
                forget_client(w, c);
                return -EIO;
        }
        run(w);
        return 0;
}
