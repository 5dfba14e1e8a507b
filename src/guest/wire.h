/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * As much of the D-Bus wire format as the agent needs: messages whose header fields are texts and
 * whose bodies are texts and numbers. Pure functions on memory, for messages of at most WIRE_MAX bytes.
 */
#include "util.h"

#define WIRE_MAX 65536u

typedef enum WireType { WIRE_CALL = 1, WIRE_RETURN = 2, WIRE_ERROR = 3, WIRE_SIGNAL = 4 } WireType;

typedef struct WireMessage {
        WireType type;
        bool no_reply;
        uint32_t serial, reply_serial;
        /* NULL: not there. When read they point into the message, which the reader has terminated. */
        const char *path, *interface, *member, *error, *destination, *sender, *signature;
        /* Body, for writing: up to two texts, then a number if number is set. */
        const char *text, *text2;
        const uint32_t *number;
} WireMessage;

/* Appends the message in little-endian to buf. Returns its size, 0 if it does not fit. */
size_t wire_write(const WireMessage *m, uint8_t *buf, size_t size);

/*
 * Reads the message at the front of n bytes. Returns its size, 0 when more bytes are needed, -EBADMSG when it
 * is no message or -EMSGSIZE when it is too long for us. The texts point into the bytes.
 */
int wire_read(const uint8_t *untrusted, size_t n, WireMessage *ret);
