/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The header of D-Bus messages, read and written: pure functions over bytes, no allocation, both byte
 * orders. Everything read is untrusted; what wire_parse() lets through obeys the D-Bus specification
 * as far as the header goes (names and paths valid, no field twice, no field missing that its type
 * needs, padding zero). Bodies are left alone but for their first texts.
 */
#include <sys/types.h>

#include "util.h"

#define WIRE_FIXED 16u                /* bytes from which the size of a message is known */
#define WIRE_MESSAGE_MAX (128u << 20) /* of the specification */
#define WIRE_FIELDS_MAX (64u << 10)   /* bytes of header fields that we take */
#define WIRE_FIELD_COUNT_MAX 32u      /* header fields that we take */
#define WIRE_NAME_MAX 255u

typedef enum WireType {
        WIRE_CALL = 1,
        WIRE_RETURN = 2,
        WIRE_ERROR = 3,
        WIRE_SIGNAL = 4,
} WireType;

enum {
        WIRE_NO_REPLY_EXPECTED = 1,
        WIRE_NO_AUTO_START = 2,
        WIRE_ALLOW_INTERACTIVE = 4,
};

/* Texts point into the message and are terminated there; NULL: the field is missing. */
typedef struct WireMessage {
        bool big_endian;
        uint8_t type; /* may be an unknown one: to be ignored */
        uint8_t flags;
        uint32_t serial, reply_serial; /* reply_serial 0: missing */
        const char *path, *interface, *member, *error_name, *destination, *sender;
        const char *signature; /* never NULL */
        uint32_t unix_fds;
        bool unknown_fields; /* fields that the specification does not know: lost when encoded again */
        const uint8_t *body;
        uint32_t body_size;
} WireMessage;

/*
 * The size of the message at the start of data: 0 when more bytes are needed to know it, or -EBADMSG
 * with *ret_why set to a static text.
 */
ssize_t wire_size(const void *data, size_t size, const char **ret_why);

/* Reads one whole message of exactly size bytes. Returns 0 or -EBADMSG with *ret_why. */
int wire_parse(const void *data, size_t size, WireMessage *ret, const char **ret_why);

/*
 * Writes the header (with its final padding) of a message with m's fields and body_size in its byte
 * order; the body follows separately. Returns its size or -EMSGSIZE.
 */
ssize_t wire_encode(const WireMessage *m, void *buf, size_t size);

/*
 * Reads up to n texts (types s, o or g) from the start of the body; the first argument of another type
 * ends it. Returns how many were read, or -EBADMSG.
 */
int wire_body_texts(const WireMessage *m, const char *ret[], int n);

/* A body that is being written, in the byte order of the message it is for. */
typedef struct WireBody {
        uint8_t *data;
        size_t size, used;
        bool big_endian, full; /* full: something did not fit */
} WireBody;

void wire_put_u32(WireBody *b, uint32_t v);
void wire_put_text(WireBody *b, const char *s);
/* Begins and ends an array of texts (`as`). */
size_t wire_begin_array(WireBody *b);
void wire_end_array(WireBody *b, size_t start);

/* The number at that place. */
uint32_t wire_get_u32(const void *at, bool big_endian);

/* The specification's rules for names; n bytes that need no terminator. */
bool wire_bus_name_valid(const char *s, size_t n);
bool wire_interface_valid(const char *s, size_t n); /* error names, too */
bool wire_member_valid(const char *s, size_t n);
bool wire_path_valid(const char *s, size_t n);
bool wire_signature_valid(const char *s, size_t n);
