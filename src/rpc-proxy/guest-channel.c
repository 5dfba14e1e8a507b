/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest-channel.h"

#include "client.h"
#include "connection.h"
#include "folder-watch.h"
#include "fs.h"
#include "list.h"
#include "log.h"
#include "mux.h"
#include "runtime.h"
#include "strbuf.h"

#define RETRY_MIN_USEC (20 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (1 * USEC_PER_SEC)
#define STREAM_WINDOW (64u << 10)

/* The ports of old. */
static const struct {
        uint32_t service;
        Instance instance;
} services[] = {
        { 5555, { 0 } },
        { 5556, { .request_name = AGENT_NAME_PREFIX "$UUID", .translate_anonymous = true } },
        { 8080, { .request_name = AGENT_NAME_PREFIX "$UUID", .auto_auth = true, .json_in = true, .websockets_in = true } },
};

/* One start of one VM. */
typedef struct Channel {
        GuestChannels *all;
        struct Channel *next;
        char uuid[37];
        char *socket, *start;
        Peer *peer;
        Mux *mux;
        Link *link;
        sd_event_source *retry, *pending;
        uint64_t delay;
        struct StreamLink *streams, *cursor; /* cursor: the next to run */
} Channel;

struct GuestChannels {
        Proxy *proxy;
        Channel *channels;
        FolderWatch *watch;
};

/* One stream as a Link: bytes that came are kept until they are read, at most a window of them. */
typedef struct StreamLink {
        Link link;
        Channel *channel; /* NULL: it is gone, and what holds the link has not noticed yet */
        struct StreamLink *next;
        MuxStream *stream; /* NULL: the other side closed it */
        uint8_t *in;
        size_t in_at, in_used;
        bool watch_in, watch_out, writable;
} StreamLink;

/* Events of streams are told from the event loop, never from inside the mux. */
static void channel_kick(Channel *ch)
{
        if (ch && ch->pending)
                (void) sd_event_source_set_enabled(ch->pending, SD_EVENT_ONESHOT);
}

static ssize_t stream_read(Link *l, void *buf, size_t size)
{
        StreamLink *s = (StreamLink *) l;
        size_t n = MIN2(size, s->in_used - s->in_at);

        if (n == 0)
                return s->stream ? -EAGAIN : 0;
        memcpy(buf, s->in + s->in_at, n);
        s->in_at += n;
        if (s->in_at == s->in_used) {
                free(s->in);
                s->in = NULL;
                s->in_at = s->in_used = 0;
        }
        if (s->stream) {
                mux_stream_consumed(s->stream, n);
                channel_kick(s->channel);
        }
        return (ssize_t) n;
}

static ssize_t stream_write(Link *l, const struct iovec *iov, int n)
{
        StreamLink *s = (StreamLink *) l;
        size_t total = 0;

        if (!s->stream)
                return -EPIPE;
        for (int i = 0; i < n; i++) {
                size_t taken = mux_stream_send(s->stream, iov[i].iov_base, iov[i].iov_len);

                total += taken;
                if (taken < iov[i].iov_len) {
                        s->writable = false;
                        break;
                }
        }
        channel_kick(s->channel);
        return total > 0 ? (ssize_t) total : -EAGAIN;
}

static void stream_watch(Link *l, bool in, bool out)
{
        StreamLink *s = (StreamLink *) l;

        s->watch_in = in;
        s->watch_out = out;
        if ((in && (s->in || !s->stream)) || (out && s->writable))
                channel_kick(s->channel);
}

static void channel_forget(Channel *ch, StreamLink *s)
{
        if (!ch)
                return;
        LIST_TAKE_OUT(ch->streams, s);
        if (ch->cursor == s)
                ch->cursor = s->next;
}

static void stream_free(Link *l)
{
        StreamLink *s = (StreamLink *) l;

        if (s->stream) {
                mux_stream_close(s->stream, MUX_REASON_END);
                channel_kick(s->channel);
        }
        channel_forget(s->channel, s);
        free(s->in);
        free(s);
}

static MuxReason on_opened(MuxStream *stream, uint32_t untrusted_service, void *userdata)
{
        static const LinkOps ops = { stream_read, stream_write, stream_watch, stream_free };
        Channel *ch = userdata;
        Proxy *p = ch->all->proxy;
        const Instance *instance = NULL;
        StreamLink *s;

        for (size_t i = 0; i < ELEMENTSOF(services); i++)
                if (services[i].service == untrusted_service)
                        instance = &services[i].instance;
        if (!instance)
                return MUX_REASON_SERVICE;
        if (!p->names)
                return MUX_REASON_FAILED; /* the bus is away */
        if (ch->peer->n_connections >= (unsigned) p->limits.connections)
                return MUX_REASON_LIMIT;
        s = calloc(1, sizeof *s);
        if (!s)
                return MUX_REASON_LIMIT;
        s->link.ops = &ops;
        s->channel = ch;
        s->writable = true;
        s->next = ch->streams;
        ch->streams = s;
        if (client_accept(p, ch->peer, instance, &s->link) < 0)
                return MUX_REASON_LIMIT; /* s is gone */
        s->stream = stream;
        mux_stream_set_userdata(stream, s);
        return MUX_REASON_END;
}

static void on_data(MuxStream *stream, const void *untrusted_data, size_t size, _unused_ void *userdata)
{
        StreamLink *s = mux_stream_userdata(stream);

        if (!s->in)
                s->in = malloc(STREAM_WINDOW);
        if (!s->in || STREAM_WINDOW - (s->in_used - s->in_at) < size) { /* the window makes the second impossible */
                mux_stream_close(stream, MUX_REASON_LIMIT);
                s->stream = NULL;
                return;
        }
        if (STREAM_WINDOW - s->in_used < size) {
                memmove(s->in, s->in + s->in_at, s->in_used - s->in_at);
                s->in_used -= s->in_at;
                s->in_at = 0;
        }
        memcpy(s->in + s->in_used, untrusted_data, size);
        s->in_used += size;
}

static void on_writable(MuxStream *stream, _unused_ void *userdata)
{
        StreamLink *s = mux_stream_userdata(stream);

        s->writable = true;
        channel_kick(s->channel);
}

static void on_closed(MuxStream *stream, _unused_ MuxReason reason, _unused_ void *userdata)
{
        StreamLink *s = mux_stream_userdata(stream);

        s->stream = NULL;
        channel_kick(s->channel);
}

static void on_attached(_unused_ Mux *m, void *userdata)
{
        Channel *ch = userdata;

        log_info("The guest of domain %lld is on its channel", (long long) ch->peer->domid);
}

static void on_detached(_unused_ Mux *m, const char *why, void *userdata)
{
        Channel *ch = userdata;

        log_info("The guest of domain %lld left its channel: %s", (long long) ch->peer->domid, why);
}

static void channel_connect(Channel *ch);

/* Ends the connection to the socket and what was open over it; tried again later. */
static void channel_reset(Channel *ch, const char *why)
{
        if (ch->mux)
                mux_detach(ch->mux, why);
        for (StreamLink *s = ch->streams; s; s = s->next) {
                s->stream = NULL;
                channel_kick(ch);
        }
        ch->mux = mux_free(ch->mux);
        ch->link = link_free(ch->link);
        (void) sd_event_source_set_time_relative(ch->retry, ch->delay);
        (void) sd_event_source_set_enabled(ch->retry, SD_EVENT_ONESHOT);
        ch->delay = MIN2(ch->delay * 2, RETRY_MAX_USEC);
}

static void channel_write(Channel *ch)
{
        for (;;) {
                struct iovec v;
                ssize_t n;

                v.iov_base = (void *) mux_output(ch->mux, &v.iov_len);
                if (v.iov_len == 0)
                        break;
                n = link_write(ch->link, &v, 1);
                if (n == -EAGAIN) {
                        link_watch(ch->link, true, true);
                        return;
                }
                if (n < 0) {
                        channel_reset(ch, strerror((int) -n));
                        return;
                }
                mux_written(ch->mux, (size_t) n);
        }
        link_watch(ch->link, true, false);
}

/* Tells streams what is there for them, then writes what they had to say. */
static int on_pending(_unused_ sd_event_source *source, void *userdata)
{
        Channel *ch = userdata;

        ch->cursor = ch->streams;
        while (ch->cursor) {
                StreamLink *s = ch->cursor;
                bool in = s->watch_in && (s->in || !s->stream), out = s->watch_out && (s->writable || !s->stream);

                ch->cursor = s->next;
                if (in || out)
                        s->link.on_event(s->link.userdata, in, out);
        }
        if (ch->mux)
                channel_write(ch);
        return 0;
}

static void on_socket(void *userdata, bool in, bool out)
{
        Channel *ch = userdata;
        uint8_t buf[32 * KIB];
        ssize_t n;

        if (out)
                channel_write(ch);
        if (!in || !ch->mux)
                return;
        n = link_read(ch->link, buf, sizeof buf);
        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                channel_reset(ch, n < 0 ? strerror((int) -n) : "the socket was closed");
                return;
        }
        ch->delay = RETRY_MIN_USEC;
        if (mux_input(ch->mux, buf, (size_t) n) < 0)
                channel_reset(ch, "a new attach begins");
        else
                channel_kick(ch);
}

static void channel_connect(Channel *ch)
{
        static const MuxEvents events = { on_attached, on_detached, on_opened, on_data, on_writable, on_closed };
        const MuxLimits limits = { .streams = (uint32_t) MIN2(ch->all->proxy->limits.connections, (int64_t) MUX_STREAMS_MAX),
                                   .window = STREAM_WINDOW, .output = 4 * STREAM_WINDOW };
        int fd, r;

        fd = unix_connect(ch->socket);
        r = fd < 0 ? fd : link_new_fd(ch->all->proxy->event, fd, PRIORITY_CLIENTS, &ch->link);
        if (r >= 0)
                r = mux_new(MUX_HOST, &limits, &events, ch, &ch->mux);
        if (r < 0) {
                log_errno_full(LOG_DEBUG, r, "Cannot connect to the guest channel %s", ch->socket);
                channel_reset(ch, "not connected");
                return;
        }
        ch->link->on_event = on_socket;
        ch->link->userdata = ch;
        channel_write(ch);
}

static int on_retry(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        Channel *ch = userdata;

        if (!ch->mux)
                channel_connect(ch);
        return 0;
}

static Channel *channel_free(Channel *ch)
{
        if (!ch)
                return NULL;
        if (ch->peer) {
                peer_over(ch->peer);
                for (StreamLink *s = ch->streams; s; s = s->next)
                        s->stream = NULL;
                connections_end(ch->all->proxy, ch->peer, NULL);
        }
        /* Those that no connection has: they belong to a bridge (web-process.h), which is told the end once more. */
        while (ch->streams) {
                StreamLink *s = ch->streams;

                ch->streams = s->next;
                s->channel = NULL;
                s->link.on_event(s->link.userdata, true, true);
        }
        mux_free(ch->mux);
        link_free(ch->link);
        sd_event_source_disable_unref(ch->retry);
        sd_event_source_disable_unref(ch->pending);
        peer_unref(ch->peer);
        free(ch->socket);
        free(ch->start);
        free(ch);
        return NULL;
}
DEFINE_CLEANUP(Channel *, channel_free)

static void channel_remove(GuestChannels *g, const char *uuid)
{
        for (Channel **i = &g->channels; *i; i = &(*i)->next)
                if (streq((*i)->uuid, uuid)) {
                        Channel *ch = *i;

                        *i = ch->next;
                        channel_free(ch);
                        return;
                }
}

/* The announcement of that VM is there, new, or gone. */
static int channel_update(GuestChannels *g, const char *uuid)
{
        _cleanup_(channel_record_done) ChannelRecord rec = { 0 };
        _cleanup_(channel_freep) Channel *ch = NULL;
        int r;

        r = channel_record_read(&g->proxy->daemon->paths, uuid, &rec);
        if (r < 0) {
                if (r != -ENOENT)
                        log_errno_full(LOG_WARNING, r, "Cannot read the announcement of the guest channel of %s", uuid);
                channel_remove(g, uuid);
                return 0;
        }
        for (Channel *i = g->channels; i; i = i->next)
                if (streq(i->uuid, uuid) && streq(i->start, rec.start) && streq(i->socket, rec.socket) &&
                    i->peer->domid == rec.domid)
                        return 0;
        channel_remove(g, uuid); /* an earlier start of it: nothing is inherited */
        ch = calloc(1, sizeof *ch);
        if (!ch)
                return -ENOMEM;
        ch->all = g;
        ch->delay = RETRY_MIN_USEC;
        strcpy(ch->uuid, rec.uuid);
        ch->socket = TAKE_PTR(rec.socket);
        ch->start = TAKE_PTR(rec.start);
        ch->peer = peer_get(g->proxy, rec.domid, rec.uuid, rec.stubdom);
        if (!ch->peer)
                return -ENOMEM;
        r = sd_event_add_time_relative(g->proxy->event, &ch->retry, CLOCK_MONOTONIC, 0, 0, on_retry, ch);
        if (r >= 0)
                r = sd_event_add_defer(g->proxy->event, &ch->pending, on_pending, ch);
        if (r >= 0)
                r = sd_event_source_set_priority(ch->pending, PRIORITY_CLIENTS);
        if (r >= 0)
                r = sd_event_source_set_enabled(ch->pending, SD_EVENT_OFF);
        if (r < 0)
                return r;
        ch->next = g->channels;
        g->channels = TAKE_PTR(ch);
        return 0;
}

static void rescan(GuestChannels *g)
{
        _cleanup_strv_ char **uuids = NULL;

        if (channel_record_list(&g->proxy->daemon->paths, &uuids) < 0)
                return;
        for (Channel *ch = g->channels, *next; ch; ch = next) {
                next = ch->next;
                if (!strv_contains(uuids, ch->uuid))
                        channel_remove(g, ch->uuid);
        }
        for (char **u = uuids; u && *u; u++)
                if (channel_update(g, *u) < 0)
                        log_oom();
}

static void on_change(void *userdata, const char *name)
{
        GuestChannels *g = userdata;
        char uuid[37];

        if (!name)
                rescan(g);
        else if (channel_record_uuid(name, uuid) && channel_update(g, uuid) < 0)
                log_oom();
}

int guest_channels_new(Proxy *p, GuestChannels **ret)
{
        _cleanup_(guest_channels_freep) GuestChannels *g = calloc(1, sizeof *g);
        int r;

        if (!g)
                return -ENOMEM;
        g->proxy = p;
        r = folder_watch_new(p->event, paths_get(&p->daemon->paths, PATH_CHANNELS),
                             IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM, on_change, g, &g->watch);
        if (r < 0)
                return log_errno(r, "Cannot watch %s", paths_get(&p->daemon->paths, PATH_CHANNELS));
        rescan(g);
        *ret = TAKE_PTR(g);
        return 0;
}

GuestChannels *guest_channels_free(GuestChannels *g)
{
        if (!g)
                return NULL;
        folder_watch_free(g->watch);
        for (Channel *ch = g->channels, *next; ch; ch = next) {
                next = ch->next;
                channel_free(ch);
        }
        free(g);
        return NULL;
}

unsigned guest_channels_attached(const GuestChannels *g)
{
        unsigned n = 0;

        for (Channel *ch = g ? g->channels : NULL; ch; ch = ch->next)
                n += ch->mux && mux_attached(ch->mux);
        return n;
}
