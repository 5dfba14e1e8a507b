/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The frames of a WebSocket (RFC 6455, server side) by libwslay: bytes in, messages out, and back.
 * Client frames must be masked, fragments are joined, close and ping are answered, text is UTF-8.
 */
#include "strbuf.h"

#define WS_MESSAGE_MAX (1u << 20)

typedef struct WebSocket WebSocket;

/* on_message gets each text or binary message. Bytes to be sent are appended to out, which the caller empties. */
int ws_new(StrBuf *out, void (*on_message)(void *userdata, const char *untrusted_text, size_t size), void *userdata,
           WebSocket **ret);
WebSocket *ws_free(WebSocket *w);
DEFINE_CLEANUP(WebSocket *, ws_free)

/*
 * Bytes from the client. Returns 1, -ENOMEM, or where the conversation is over once out was sent: 0, or -EPROTO (the client
 * broke the protocol).
 */
int ws_input(WebSocket *w, const void *untrusted_data, size_t size);
/* Sends a text as one message. Returns 0 or -ENOMEM; after the end it does nothing. */
int ws_send(WebSocket *w, const char *text, size_t size);
/* Ends it: 1001, going away. */
void ws_close(WebSocket *w);

/* The value of Sec-WebSocket-Accept for a key; buf has room for 29 bytes. */
char *ws_accept(const char *key, char buf[static 29]);
