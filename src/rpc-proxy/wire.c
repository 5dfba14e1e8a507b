/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire.h"

#include "unaligned.h"

#define DEPTH_MAX 32

typedef enum Field {
        FIELD_PATH = 1,
        FIELD_INTERFACE,
        FIELD_MEMBER,
        FIELD_ERROR_NAME,
        FIELD_REPLY_SERIAL,
        FIELD_DESTINATION,
        FIELD_SENDER,
        FIELD_SIGNATURE,
        FIELD_UNIX_FDS,
        _FIELD_MAX,
} Field;

static const char field_types[_FIELD_MAX] = "\0osssussgu";

/* Bits: may begin an element, may be in an element, of bus names and of the others. */
enum { ELEMENT = 1, ELEMENT_START = 2, BUS_ELEMENT = 4, BUS_START = 8 };

static uint8_t char_class(unsigned char c)
{
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')
                return ELEMENT | ELEMENT_START | BUS_ELEMENT | BUS_START;
        if (c >= '0' && c <= '9')
                return ELEMENT | BUS_ELEMENT;
        return c == '-' ? BUS_ELEMENT | BUS_START : 0;
}

/* Elements of `inside` characters beginning with a `start` one, at least min of them, with '.' between. */
static bool dotted_valid(const char *s, size_t n, uint8_t start, uint8_t inside, unsigned min)
{
        unsigned elements = 1;
        uint8_t want = start;

        if (n == 0 || n > WIRE_NAME_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '.') {
                        if (want == start)
                                return false;
                        elements++;
                        want = start;
                        continue;
                }
                if (!(char_class((unsigned char) s[i]) & want))
                        return false;
                want = inside;
        }
        return want != start && elements >= min;
}

bool wire_bus_name_valid(const char *s, size_t n)
{
        /* start and inside must differ, so unique names are told apart by hand */
        if (n > 0 && s[0] == ':') {
                bool dot = false, begun = false;

                if (n > WIRE_NAME_MAX)
                        return false;
                for (size_t i = 1; i < n; i++) {
                        if (s[i] == '.') {
                                if (!begun)
                                        return false;
                                dot = true;
                                begun = false;
                                continue;
                        }
                        if (!(char_class((unsigned char) s[i]) & BUS_ELEMENT))
                                return false;
                        begun = true;
                }
                return dot && begun;
        }
        return dotted_valid(s, n, BUS_START, BUS_ELEMENT, 2);
}

bool wire_interface_valid(const char *s, size_t n)
{
        return dotted_valid(s, n, ELEMENT_START, ELEMENT, 2);
}

bool wire_member_valid(const char *s, size_t n)
{
        if (n == 0 || n > WIRE_NAME_MAX || !(char_class((unsigned char) s[0]) & ELEMENT_START))
                return false;
        for (size_t i = 1; i < n; i++)
                if (!(char_class((unsigned char) s[i]) & ELEMENT))
                        return false;
        return true;
}

bool wire_path_valid(const char *s, size_t n)
{
        if (n == 0 || s[0] != '/')
                return false;
        if (n == 1)
                return true;
        for (size_t i = 1; i < n; i++) {
                if (s[i] == '/' ? s[i - 1] == '/' : !(char_class((unsigned char) s[i]) & ELEMENT))
                        return false;
        }
        return s[n - 1] != '/';
}

/* Skips one complete type; NULL if there is none. */
static const char *type_skip(const char *s, const char *end, int arrays, int structs, bool in_array)
{
        if (s >= end || arrays > DEPTH_MAX || structs > DEPTH_MAX)
                return NULL;
        switch (*s) {
        case 'y': case 'b': case 'n': case 'q': case 'i': case 'u': case 'x': case 't': case 'd':
        case 's': case 'o': case 'g': case 'v': case 'h':
                return s + 1;
        case 'a':
                return type_skip(s + 1, end, arrays + 1, structs, true);
        case '(':
                s++;
                if (s < end && *s == ')')
                        return NULL;
                while (s && s < end && *s != ')')
                        s = type_skip(s, end, arrays, structs + 1, false);
                return s && s < end ? s + 1 : NULL;
        case '{':
                if (!in_array || s + 1 >= end || !strchr("ybnqiuxtdsogh", s[1]))
                        return NULL;
                s = type_skip(s + 2, end, arrays, structs + 1, false);
                return s && s < end && *s == '}' ? s + 1 : NULL;
        default:
                return NULL;
        }
}

bool wire_signature_valid(const char *s, size_t n)
{
        const char *end = s + n;

        if (n > 255)
                return false;
        while (s && s < end)
                s = type_skip(s, end, 0, 0, false);
        return s != NULL;
}

typedef struct Reader {
        const uint8_t *data; /* alignment counts from here */
        size_t at, size;
        bool big_endian;
} Reader;

static bool reader_align(Reader *r, size_t to)
{
        size_t next = (r->at + to - 1) & ~(to - 1);

        if (next > r->size)
                return false;
        for (; r->at < next; r->at++)
                if (r->data[r->at] != 0)
                        return false;
        return true;
}

static bool reader_skip(Reader *r, size_t align, size_t n)
{
        if (!reader_align(r, align) || r->size - r->at < n)
                return false;
        r->at += n;
        return true;
}

uint32_t wire_get_u32(const void *at, bool big_endian)
{
        return big_endian ? get_be32(at) : get_le32(at);
}

static bool reader_u32(Reader *r, uint32_t *ret)
{
        if (!reader_skip(r, 4, 4))
                return false;
        *ret = wire_get_u32(r->data + r->at - 4, r->big_endian);
        return true;
}

/* A text with its terminator and nothing but text before that. */
static bool reader_text(Reader *r, char type, const char **ret, size_t *ret_size)
{
        uint32_t n;

        if (type == 'g') {
                if (!reader_skip(r, 1, 1))
                        return false;
                n = r->data[r->at - 1];
        } else if (!reader_u32(r, &n))
                return false;
        if (r->size - r->at <= n || r->data[r->at + n] != 0)
                return false;
        *ret = (const char *) r->data + r->at;
        *ret_size = n;
        r->at += (size_t) n + 1;
        return memchr(*ret, 0, n) == NULL;
}

static size_t type_align(char t)
{
        switch (t) {
        case 'n': case 'q':
                return 2;
        case 'b': case 'i': case 'u': case 's': case 'o': case 'a': case 'h':
                return 4;
        case 'x': case 't': case 'd': case '(': case '{':
                return 8;
        default:
                return 1;
        }
}

/* Skips one value of the complete type at *sig, which is known to be valid, and moves *sig behind it. */
static bool value_skip(Reader *r, const char **sig, const char *end, int depth)
{
        char t = *(*sig)++;
        const char *text, *element;
        size_t n;
        uint32_t size;

        if (depth > 2 * DEPTH_MAX)
                return false;
        switch (t) {
        case 's': case 'o': case 'g':
                return reader_text(r, t, &text, &n);
        case 'v':
                if (!reader_text(r, 'g', &text, &n) || !wire_signature_valid(text, n) || n == 0 ||
                    type_skip(text, text + n, 0, 0, false) != text + n)
                        return false;
                return value_skip(r, &text, text + n, depth + 1);
        case 'a':
                if (!reader_u32(r, &size) || !reader_align(r, type_align(**sig)) || r->size - r->at < size)
                        return false;
                element = *sig;
                *sig = type_skip(element, end, 0, 0, true);
                if (!*sig)
                        return false;
                n = r->at + size;
                while (r->at < n) {
                        const char *e = element;

                        if (!value_skip(r, &e, *sig, depth + 1))
                                return false;
                }
                return r->at == n;
        case '(': case '{':
                if (!reader_align(r, 8))
                        return false;
                while (**sig != ')' && **sig != '}')
                        if (!value_skip(r, sig, end, depth + 1))
                                return false;
                (*sig)++;
                return true;
        case 'n': case 'q':
                return reader_skip(r, 2, 2);
        case 'b': case 'i': case 'u': case 'h':
                return reader_skip(r, 4, 4);
        case 'x': case 't': case 'd':
                return reader_skip(r, 8, 8);
        default: /* y */
                return reader_skip(r, 1, 1);
        }
}

static int bad(const char **ret_why, const char *why)
{
        *ret_why = why;
        return -EBADMSG;
}

ssize_t wire_size(const void *data, size_t size, const char **ret_why)
{
        const uint8_t *d = data;
        uint32_t body, fields;
        uint64_t total;

        if (size >= 1 && d[0] != 'l' && d[0] != 'B')
                return bad(ret_why, "the byte order mark is neither l nor B");
        if (size < WIRE_FIXED)
                return 0;
        if (d[3] != 1)
                return bad(ret_why, "the protocol version is not 1");
        body = wire_get_u32(d + 4, d[0] == 'B');
        fields = wire_get_u32(d + 12, d[0] == 'B');
        if (fields > WIRE_FIELDS_MAX)
                return bad(ret_why, "the header fields are too large");
        total = WIRE_FIXED + (((uint64_t) fields + 7) & ~UINT64_C(7)) + body;
        if (total > WIRE_MESSAGE_MAX)
                return bad(ret_why, "the message is larger than D-Bus allows");
        return (ssize_t) total;
}

/* The value of a known field. Returns what is wrong, or NULL. */
static const char *field_read(Reader *r, Field field, WireMessage *m)
{
        const char *text = NULL;
        uint32_t number = 0;
        size_t n = 0;

        if (field_types[field] == 'u' ? !reader_u32(r, &number) : !reader_text(r, field_types[field], &text, &n))
                return "a header field is cut off or malformed";
        switch (field) {
        case FIELD_PATH:
                m->path = text;
                if (!wire_path_valid(text, n))
                        return "the object path is invalid";
                return streq(text, "/org/freedesktop/DBus/Local") ? "the object path is a reserved one" : NULL;
        case FIELD_INTERFACE:
                m->interface = text;
                if (!wire_interface_valid(text, n))
                        return "the interface name is invalid";
                return streq(text, "org.freedesktop.DBus.Local") ? "the interface is a reserved one" : NULL;
        case FIELD_MEMBER:
                m->member = text;
                return wire_member_valid(text, n) ? NULL : "the member name is invalid";
        case FIELD_ERROR_NAME:
                m->error_name = text;
                return wire_interface_valid(text, n) ? NULL : "the error name is invalid";
        case FIELD_REPLY_SERIAL:
                m->reply_serial = number;
                return number ? NULL : "the reply serial is zero";
        case FIELD_DESTINATION:
                m->destination = text;
                return wire_bus_name_valid(text, n) ? NULL : "the destination is invalid";
        case FIELD_SENDER:
                m->sender = text;
                return wire_bus_name_valid(text, n) ? NULL : "the sender is invalid";
        case FIELD_SIGNATURE:
                m->signature = text;
                return wire_signature_valid(text, n) ? NULL : "the signature is invalid";
        case FIELD_UNIX_FDS:
                m->unix_fds = number;
                return NULL;
        default:
                return "a header field has the code 0";
        }
}

int wire_parse(const void *data, size_t size, WireMessage *ret, const char **ret_why)
{
        const uint8_t *d = data;
        WireMessage m = { .signature = "" };
        Reader r;
        uint32_t seen = 0, body;
        unsigned count = 0;

        if (size < WIRE_FIXED || wire_size(data, size, ret_why) != (ssize_t) size)
                return bad(ret_why, "the message has not the size that it says");
        m.big_endian = d[0] == 'B';
        m.type = d[1];
        m.flags = d[2];
        body = wire_get_u32(d + 4, m.big_endian);
        m.serial = wire_get_u32(d + 8, m.big_endian);
        if (m.type == 0)
                return bad(ret_why, "the message type is 0");
        if (m.serial == 0)
                return bad(ret_why, "the serial is 0");
        r = (Reader) { .data = d, .at = WIRE_FIXED, .size = WIRE_FIXED + wire_get_u32(d + 12, m.big_endian),
                       .big_endian = m.big_endian };
        while (r.at < r.size) {
                const char *why, *sig;
                uint8_t code;
                size_t n;

                if (++count > WIRE_FIELD_COUNT_MAX)
                        return bad(ret_why, "there are too many header fields");
                if (!reader_align(&r, 8) || r.at >= r.size)
                        return bad(ret_why, "the header fields are not padded with zeros");
                code = r.data[r.at++];
                if (!reader_text(&r, 'g', &sig, &n) || n == 0 || !wire_signature_valid(sig, n) ||
                    type_skip(sig, sig + n, 0, 0, false) != sig + n)
                        return bad(ret_why, "a header field is no single value");
                if (code >= _FIELD_MAX) {
                        m.unknown_fields = true;
                        if (!value_skip(&r, &sig, sig + n, 0))
                                return bad(ret_why, "a header field is cut off or malformed");
                        continue;
                }
                if (n != 1 || sig[0] != field_types[code])
                        return bad(ret_why, "a header field has the wrong type");
                if (seen & (1u << code))
                        return bad(ret_why, "a header field is there twice");
                seen |= 1u << code;
                why = field_read(&r, code, &m);
                if (why)
                        return bad(ret_why, why);
        }
        r.size = size;
        if (!reader_align(&r, 8))
                return bad(ret_why, "the header is not padded with zeros");
        m.body = d + r.at;
        m.body_size = body;
        if (body > 0 && !m.signature[0])
                return bad(ret_why, "there is a body without a signature");
        switch (m.type) {
        case WIRE_CALL:
                if (!m.path || !m.member)
                        return bad(ret_why, "a method call lacks its path or member");
                break;
        case WIRE_SIGNAL:
                if (!m.path || !m.member || !m.interface)
                        return bad(ret_why, "a signal lacks its path, interface or member");
                break;
        case WIRE_ERROR:
                if (!m.error_name)
                        return bad(ret_why, "an error lacks its name");
                __attribute__((fallthrough));
        case WIRE_RETURN:
                if (!m.reply_serial)
                        return bad(ret_why, "a reply lacks its reply serial");
                break;
        default:
                break;
        }
        *ret = m;
        return 0;
}

int wire_body_texts(const WireMessage *m, const char *ret[], int n)
{
        Reader r = { .data = m->body, .size = m->body_size, .big_endian = m->big_endian };
        int i;

        for (i = 0; i < n && m->signature[i] && strchr("sog", m->signature[i]); i++) {
                const char *text;
                size_t size;

                if (!reader_text(&r, m->signature[i], &text, &size))
                        return -EBADMSG;
                ret[i] = text;
        }
        return i;
}

static void body_align(WireBody *b, size_t to)
{
        while (b->used % to != 0) {
                if (b->used >= b->size) {
                        b->full = true;
                        return;
                }
                b->data[b->used++] = 0;
        }
}

static void body_put(WireBody *b, const void *data, size_t n)
{
        if (b->full || b->size - b->used < n) {
                b->full = true;
                return;
        }
        memcpy(b->data + b->used, data, n);
        b->used += n;
}

void wire_put_u32(WireBody *b, uint32_t v)
{
        v = b->big_endian ? htobe32(v) : htole32(v);
        body_align(b, 4);
        body_put(b, &v, sizeof v);
}

void wire_put_text(WireBody *b, const char *s)
{
        size_t n = strlen(s);

        wire_put_u32(b, (uint32_t) n);
        body_put(b, s, n + 1);
}

size_t wire_begin_array(WireBody *b)
{
        wire_put_u32(b, 0);
        return b->used;
}

void wire_end_array(WireBody *b, size_t start)
{
        uint32_t v = (uint32_t) (b->used - start);

        if (b->full)
                return;
        v = b->big_endian ? htobe32(v) : htole32(v);
        memcpy(b->data + start - sizeof v, &v, sizeof v);
}

static void put_field(WireBody *b, Field field, const char *text, uint32_t number)
{
        char head[4] = { (char) field, 1, field_types[field], 0 };

        if (field_types[field] == 'u' ? number == 0 : !text)
                return;
        body_align(b, 8);
        body_put(b, head, sizeof head);
        if (field_types[field] == 'u')
                wire_put_u32(b, number);
        else if (field_types[field] == 'g') {
                uint8_t n = (uint8_t) strlen(text);

                body_put(b, &n, 1);
                body_put(b, text, (size_t) n + 1);
        } else
                wire_put_text(b, text);
}

ssize_t wire_encode(const WireMessage *m, void *buf, size_t size)
{
        WireBody b = { .data = buf, .size = size, .big_endian = m->big_endian };
        uint8_t head[4] = { m->big_endian ? 'B' : 'l', m->type, m->flags, 1 };

        body_put(&b, head, sizeof head);
        wire_put_u32(&b, m->body_size);
        wire_put_u32(&b, m->serial);
        wire_put_u32(&b, 0);
        put_field(&b, FIELD_PATH, m->path, 0);
        put_field(&b, FIELD_INTERFACE, m->interface, 0);
        put_field(&b, FIELD_MEMBER, m->member, 0);
        put_field(&b, FIELD_ERROR_NAME, m->error_name, 0);
        put_field(&b, FIELD_REPLY_SERIAL, NULL, m->reply_serial);
        put_field(&b, FIELD_DESTINATION, m->destination, 0);
        put_field(&b, FIELD_SENDER, m->sender, 0);
        put_field(&b, FIELD_SIGNATURE, m->signature[0] ? m->signature : NULL, 0);
        put_field(&b, FIELD_UNIX_FDS, NULL, m->unix_fds);
        wire_end_array(&b, WIRE_FIXED);
        body_align(&b, 8);
        return b.full ? -EMSGSIZE : (ssize_t) b.used;
}
