/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ws.h"

#include <wslay/wslay.h>

#include "sha.h"

struct WebSocket {
        wslay_event_context_ptr context;
        StrBuf *out;
        const uint8_t *in;
        size_t n_in;
        void (*on_message)(void *userdata, const char *untrusted_text, size_t size);
        void *userdata;
};

static ssize_t on_recv(wslay_event_context_ptr context, uint8_t *buf, size_t size, _unused_ int flags, void *userdata)
{
        WebSocket *w = userdata;
        size_t n = MIN2(size, w->n_in);

        if (n == 0) {
                wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
                return -1;
        }
        memcpy(buf, w->in, n);
        w->in += n;
        w->n_in -= n;
        return (ssize_t) n;
}

static ssize_t on_send(wslay_event_context_ptr context, const uint8_t *data, size_t size, _unused_ int flags, void *userdata)
{
        WebSocket *w = userdata;

        strbuf_addn(w->out, (const char *) data, size);
        if (!w->out->oom)
                return (ssize_t) size;
        wslay_event_set_error(context, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
}

static void on_message(_unused_ wslay_event_context_ptr context, const struct wslay_event_on_msg_recv_arg *arg, void *userdata)
{
        WebSocket *w = userdata;

        if (arg->opcode == WSLAY_TEXT_FRAME || arg->opcode == WSLAY_BINARY_FRAME)
                w->on_message(w->userdata, (const char *) arg->msg, arg->msg_length);
}

int ws_new(StrBuf *out, void (*message)(void *userdata, const char *untrusted_text, size_t size), void *userdata,
           WebSocket **ret)
{
        static const struct wslay_event_callbacks callbacks = { .recv_callback = on_recv, .send_callback = on_send,
                                                                .on_msg_recv_callback = on_message };
        WebSocket *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        *w = (WebSocket) { .out = out, .on_message = message, .userdata = userdata };
        if (wslay_event_context_server_init(&w->context, &callbacks, w) != 0) {
                free(w);
                return -ENOMEM;
        }
        wslay_event_config_set_max_recv_msg_length(w->context, WS_MESSAGE_MAX);
        *ret = w;
        return 0;
}

WebSocket *ws_free(WebSocket *w)
{
        if (!w)
                return NULL;
        wslay_event_context_free(w->context);
        free(w);
        return NULL;
}

/* Everything goes to out at once. */
static int ws_flush(WebSocket *w)
{
        if (wslay_event_want_write(w->context) && wslay_event_send(w->context) != 0)
                return -ENOMEM;
        return w->out->oom ? -ENOMEM : 0;
}

int ws_input(WebSocket *w, const void *untrusted_data, size_t size)
{
        w->in = untrusted_data;
        w->n_in = size;
        /* wslay stops in the middle after some messages: as long as it takes bytes, go on. */
        while (w->n_in > 0 && wslay_event_want_read(w->context)) {
                size_t before = w->n_in;

                if (wslay_event_recv(w->context) != 0) {
                        /* Some broken frames it would answer without saying why: 1002, protocol error. */
                        if (!wslay_event_get_close_sent(w->context))
                                strbuf_addn(w->out, "\x88\x02\x03\xea", 4);
                        w->n_in = 0;
                        return w->out->oom ? -ENOMEM : -EPROTO;
                }
                if (w->n_in == before)
                        break;
        }
        w->n_in = 0;
        if (ws_flush(w) < 0)
                return -ENOMEM;
        if (wslay_event_want_read(w->context))
                return 1;
        return wslay_event_get_close_received(w->context) ? 0 : -EPROTO;
}

int ws_send(WebSocket *w, const char *text, size_t size)
{
        struct wslay_event_msg m = { .opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *) text, .msg_length = size };
        int r = wslay_event_queue_msg(w->context, &m);

        if (r == WSLAY_ERR_NO_MORE_MSG)
                return 0; /* it is closing */
        return r != 0 ? -ENOMEM : ws_flush(w);
}

void ws_close(WebSocket *w)
{
        if (wslay_event_queue_close(w->context, WSLAY_CODE_GOING_AWAY, NULL, 0) == 0)
                (void) ws_flush(w);
}

/* ---- the handshake's hash ---- */

char *ws_accept(const char *key, char buf[static 29])
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        uint8_t digest[SHA1_SIZE + 1] = { 0 };
        Sha s = SHA1_INIT;

        sha_add(&s, key, strnlen(key, 255));
        sha_add(&s, guid, strlen(guid));
        sha_end(&s, digest);
        for (size_t i = 0; i < 7; i++) {
                uint32_t v = (uint32_t) digest[3 * i] << 16 | (uint32_t) digest[3 * i + 1] << 8 | digest[3 * i + 2];

                for (size_t k = 0; k < 4; k++)
                        buf[4 * i + k] = letters[v >> (18 - 6 * k) & 63];
        }
        buf[27] = '=';
        buf[28] = '\0';
        return buf;
}
