/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Messages of the JSON protocol (contract rpc-proxy.md 8) and D-Bus messages, either made of the other.
 * Pure: bytes in, bytes out.
 */
#include "json-body.h"

#define JSON_TEXT_MAX (16u << 20) /* of one JSON message that we take */

typedef enum JsonKind { JSON_REQUEST, JSON_RESPONSE, JSON_ERROR, JSON_SIGNAL } JsonKind;

/* Texts and args belong to object. */
typedef struct JsonMessage {
        json_object *object; /* to be put */
        JsonKind kind;
        uint32_t id;          /* the D-Bus serial */
        uint32_t response_to; /* of responses and errors */
        const char *destination, *path, *interface, *method, *name;
        const char *signature; /* "dbus-signature", valid; NULL: not given */
        json_object *args;
} JsonMessage;

/*
 * Reads a message. Returns 0, -EBADMSG (*ret_why) or -ENOMEM. When it was refused and may have been a
 * request, *ret_answer is set: the client is owed an error for *ret_id, the text of its id ("0" where it
 * has none).
 */
int json_message_parse(const char *text, size_t size, JsonMessage *ret, bool *ret_answer, char ret_id[static 16],
                       JsonWhy *ret_why);
void json_message_done(JsonMessage *m);

/*
 * The D-Bus message of m with arguments of that signature (NULL: m's own or, where it has none, a guess).
 * For responses and errors destination is whom they go to. Returns 0, -EBADMSG (*ret_why), -EMSGSIZE or -ENOMEM.
 */
int json_message_encode(const JsonMessage *m, const char *signature, const char *destination, size_t max, uint8_t **ret,
                        size_t *ret_size, JsonWhy *ret_why);

/* Which side of the conversation writes: signals have `member` from a server and `method` from a client. */
typedef enum JsonRole { JSON_SERVER, JSON_CLIENT } JsonRole;

/*
 * Appends the JSON text of a D-Bus message. A client's has the signature with it. Returns 0, -EBADMSG (*ret_why: the message cannot be
 * carried; out is as it was) or -ENOMEM.
 */
int json_message_format(const WireMessage *m, JsonRole role, StrBuf *out, JsonWhy *ret_why);

/* Appends an error that is made here. text gets no colon, at which the UI would cut it. */
int json_error_format(uint32_t id, const char *response_to, const char *name, const char *text, StrBuf *out);
