/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ws-relay.h"

#include "link.h"
#include "log.h"
#include "settings.h"
#include "ws.h"

typedef struct Relay {
        WsRelaySpec spec;
        Link *client, *json;
        WebSocket *ws;
        StrBuf out;  /* frames for the client */
        StrBuf text; /* for the proxy */
        size_t out_at, text_at;
        StrBuf in;   /* of the proxy: not yet a whole text */
        bool over;   /* nothing more is read */
        sd_event_source *patience; /* until the first text */
} Relay;

static void relay_free(Relay *r)
{
        sd_event_source_disable_unref(r->patience);
        link_free(r->client);
        link_free(r->json);
        ws_free(r->ws);
        strbuf_done(&r->out);
        strbuf_done(&r->text);
        strbuf_done(&r->in);
        r->spec.on_free(r->spec.userdata);
        free(r);
}

static void on_text(void *userdata, const char *untrusted_text, size_t size)
{
        Relay *r = userdata;
        size_t at = r->text.len;

        r->patience = sd_event_source_disable_unref(r->patience);
        strbuf_addn(&r->text, untrusted_text, size);
        strbuf_addc(&r->text, '\0');
        if (r->text.oom) {
                r->over = true;
                return;
        }
        /* A NUL inside would end the text early; any other control character is refused there just as well. */
        for (char *c = r->text.data + at; (c = memchr(c, 0, (size_t) (r->text.data + at + size - c)));)
                *c = 1;
}

/* Writes what is there. Returns false when the other side is gone. */
static bool flush(Link *l, StrBuf *b, size_t *at)
{
        while (b->len > *at) {
                struct iovec v = { b->data + *at, b->len - *at };
                ssize_t n = link_write(l, &v, 1);

                if (n == -EAGAIN)
                        return true;
                if (n < 0)
                        return false;
                *at += (size_t) n;
        }
        strbuf_done(b);
        *at = 0;
        return true;
}

static void take_client(Relay *r, const void *untrusted_data, size_t n)
{
        int k = ws_input(r->ws, untrusted_data, n);

        if (k <= 0)
                r->over = true;
        if (k == -EPROTO)
                strbuf_addc(&r->text, '\0'); /* so rpc-proxy knows, and can say whose it was */
}

static void take_proxy(Relay *r, const char *data, size_t n)
{
        size_t at = 0;
        const char *end;

        strbuf_addn(&r->in, data, n);
        if (r->in.oom)
                r->over = true;
        while (!r->over && at < r->in.len && (end = memchr(r->in.data + at, 0, r->in.len - at))) {
                size_t size = (size_t) (end - (r->in.data + at));

                if (ws_send(r->ws, r->in.data + at, size) < 0)
                        r->over = true;
                at += size + 1;
        }
        if (at == r->in.len)
                strbuf_done(&r->in);
        else if (at > 0) {
                memmove(r->in.data, r->in.data + at, r->in.len - at);
                r->in.len -= at;
        }
}

/* What was said was passed on, and what was answered was taken: pings are answered too. */
static bool can_read_client(const Relay *r)
{
        return !r->over && r->text.len == 0 && r->out.len == 0;
}

static void on_event(void *userdata, _unused_ bool in, _unused_ bool out)
{
        static char chunk[64 * KIB];
        Relay *r = userdata;
        bool proxy_lives = flush(r->json, &r->text, &r->text_at);
        ssize_t n;

        if (!flush(r->client, &r->out, &r->out_at))
                r->over = true;
        if (can_read_client(r)) {
                n = link_read(r->client, chunk, sizeof chunk);
                if (n > 0)
                        take_client(r, chunk, (size_t) n);
                else if (n != -EAGAIN)
                        r->over = true;
        }
        if (proxy_lives && !r->over && r->out.len == 0) {
                n = link_read(r->json, chunk, sizeof chunk);
                if (n > 0)
                        take_proxy(r, chunk, (size_t) n);
                else if (n != -EAGAIN)
                        proxy_lives = false;
        }
        proxy_lives = proxy_lives && flush(r->json, &r->text, &r->text_at);
        if (!proxy_lives && !r->over)
                ws_close(r->ws);
        (void) flush(r->client, &r->out, &r->out_at);
        if (!proxy_lives || (r->over && r->text.len == 0)) {
                relay_free(r);
                return;
        }
        link_watch(r->client, can_read_client(r), r->out.len > 0);
        link_watch(r->json, !r->over && r->out.len == 0, r->text.len > 0);
}

static int on_patience(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        Relay *r = userdata;

        log_debug("A WebSocket said nothing in time");
        ws_close(r->ws);
        (void) flush(r->client, &r->out, &r->out_at);
        relay_free(r);
        return 0;
}

int ws_relay_new(sd_event *event, const WsRelaySpec *spec)
{
        Relay *r = calloc(1, sizeof *r);
        int e, k;

        if (!r) {
                safe_close(spec->fd);
                safe_close(spec->json_fd);
                spec->on_free(spec->userdata);
                return -ENOMEM;
        }
        r->spec = *spec;
        e = link_new_fd(event, spec->fd, SD_EVENT_PRIORITY_NORMAL, &r->client);
        k = link_new_fd(event, spec->json_fd, SD_EVENT_PRIORITY_NORMAL, &r->json);
        e = e < 0 ? e : k;
        if (e >= 0)
                e = ws_new(&r->out, on_text, r, &r->ws);
        if (e >= 0)
                e = sd_event_add_time_relative(event, &r->patience, CLOCK_MONOTONIC,
                                               (uint64_t) setting_int(SETTING_PROXY_AUTH_TIMEOUT) * USEC_PER_SEC, 0, on_patience, r);
        if (e < 0) {
                relay_free(r);
                return e;
        }
        r->client->on_event = r->json->on_event = on_event;
        r->client->userdata = r->json->userdata = r;
        if (spec->n_first > 0)
                take_client(r, spec->first, spec->n_first);
        on_event(r, true, true);
        return 0;
}
