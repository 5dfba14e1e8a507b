/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire.h"

#include "unaligned.h"

/* --- writing ----------------------------------------------------------------------------------- */

typedef struct Writer {
        uint8_t *p;
        size_t len, size;
        bool full;
} Writer;

static void put_bytes(Writer *w, const void *p, size_t n)
{
        if (w->full || n > w->size - w->len) {
                w->full = true;
                return;
        }
        memcpy(w->p + w->len, p, n);
        w->len += n;
}

static void put_pad(Writer *w, size_t to)
{
        static const uint8_t zeros[8];

        put_bytes(w, zeros, (to - w->len % to) % to);
}

static void put_u32(Writer *w, uint32_t v)
{
        put_pad(w, 4);
        v = htole32(v);
        put_bytes(w, &v, 4);
}

static void put_text(Writer *w, const char *s)
{
        put_u32(w, (uint32_t) strlen(s));
        put_bytes(w, s, strlen(s) + 1);
}

static void put_signature(Writer *w, const char *s)
{
        uint8_t n = (uint8_t) strlen(s);

        put_bytes(w, &n, 1);
        put_bytes(w, s, (size_t) n + 1);
}

/* Header fields in the order of their numbers; 5 and 9 hold numbers. */
enum { FIELD_PATH = 1, FIELD_INTERFACE, FIELD_MEMBER, FIELD_ERROR, FIELD_REPLY, FIELD_DESTINATION, FIELD_SENDER,
       FIELD_SIGNATURE, FIELD_FDS, _FIELD_MAX };

static const struct {
        const char *signature;
        size_t at; /* offset of the text in WireMessage; 0: a number */
} fields[_FIELD_MAX] = {
        [FIELD_PATH] = { "o", offsetof(WireMessage, path) },
        [FIELD_INTERFACE] = { "s", offsetof(WireMessage, interface) },
        [FIELD_MEMBER] = { "s", offsetof(WireMessage, member) },
        [FIELD_ERROR] = { "s", offsetof(WireMessage, error) },
        [FIELD_REPLY] = { "u", 0 },
        [FIELD_DESTINATION] = { "s", offsetof(WireMessage, destination) },
        [FIELD_SENDER] = { "s", offsetof(WireMessage, sender) },
        [FIELD_SIGNATURE] = { "g", offsetof(WireMessage, signature) },
        [FIELD_FDS] = { "u", 0 },
};

static void put_field(Writer *w, uint8_t code, const char *text, uint32_t number)
{
        put_pad(w, 8);
        put_bytes(w, &code, 1);
        put_signature(w, fields[code].signature);
        if (fields[code].at == 0)
                put_u32(w, number);
        else if (fields[code].signature[0] == 'g')
                put_signature(w, text);
        else
                put_text(w, text);
}

size_t wire_write(const WireMessage *m, uint8_t *buf, size_t size)
{
        Writer w = { .p = buf, .size = size };
        uint8_t start[4] = { 'l', (uint8_t) m->type, m->no_reply ? 1 : 0, 1 };
        const char *signature = m->text2 ? m->number ? "ssu" : "ss" : m->text ? m->number ? "su" : "s" : m->number ? "u" : NULL;
        size_t fields_start, body_start;

        put_bytes(&w, start, sizeof start);
        put_u32(&w, 0); /* length of the body, below */
        put_u32(&w, m->serial);
        put_u32(&w, 0); /* length of the fields, below */
        fields_start = w.len;
        for (uint8_t code = 1; code < _FIELD_MAX; code++) {
                const char *text = NULL;

                if (code == FIELD_SIGNATURE)
                        text = signature;
                else if (fields[code].at != 0)
                        memcpy(&text, (const char *) m + fields[code].at, sizeof text);
                if (text || (code == FIELD_REPLY && m->reply_serial != 0))
                        put_field(&w, code, text, m->reply_serial);
        }
        if (w.full)
                return 0;
        put_le32(buf + 12, (uint32_t) (w.len - fields_start));
        put_pad(&w, 8);
        body_start = w.len;
        if (m->text)
                put_text(&w, m->text);
        if (m->text2)
                put_text(&w, m->text2);
        if (m->number)
                put_u32(&w, *m->number);
        if (w.full)
                return 0;
        put_le32(buf + 4, (uint32_t) (w.len - body_start));
        return w.len;
}

/* --- reading ----------------------------------------------------------------------------------- */

typedef struct Reader {
        const uint8_t *p; /* start of the message: alignment counts from here */
        size_t at, end;
        bool big, bad;
} Reader;

static void get_pad(Reader *r, size_t to)
{
        r->at += (to - r->at % to) % to;
        if (r->at > r->end)
                r->bad = true;
}

static const uint8_t *get_bytes(Reader *r, size_t n)
{
        const uint8_t *p = r->p + r->at;

        if (r->bad || n > r->end - r->at) {
                r->bad = true;
                return NULL;
        }
        r->at += n;
        return p;
}

static uint32_t get_u32(Reader *r)
{
        const uint8_t *p;

        get_pad(r, 4);
        p = get_bytes(r, 4);
        return !p ? 0 : r->big ? get_be32(p) : get_le32(p);
}

/* A text of n bytes with its NUL, and none inside. */
static const char *get_text(Reader *r, size_t n)
{
        const uint8_t *p = get_bytes(r, n);

        if (p)
                get_bytes(r, 1);
        if (!p || r->bad || p[n] != 0 || memchr(p, 0, n)) {
                r->bad = true;
                return NULL;
        }
        return (const char *) p;
}

static const char *get_signature(Reader *r)
{
        const uint8_t *p = get_bytes(r, 1);

        return p ? get_text(r, *p) : NULL;
}

static void get_field(Reader *r, WireMessage *m)
{
        const uint8_t *code;
        const char *signature, *text;
        uint32_t number;

        get_pad(r, 8);
        code = get_bytes(r, 1);
        signature = get_signature(r);
        if (!code || !signature)
                return;
        /* Fields that are still to be invented cannot be skipped without their type: a daemon may not send them. */
        if (*code == 0 || *code >= _FIELD_MAX || !streq(signature, fields[*code].signature)) {
                r->bad = true;
                return;
        }
        if (fields[*code].at == 0) {
                number = get_u32(r);
                if (*code == FIELD_REPLY)
                        m->reply_serial = number;
                return;
        }
        if (signature[0] == 'g')
                text = get_signature(r);
        else
                text = get_text(r, get_u32(r));
        if (text)
                memcpy((char *) m + fields[*code].at, &text, sizeof text);
}

int wire_read(const uint8_t *untrusted, size_t n, WireMessage *ret)
{
        Reader r = { .p = untrusted, .at = 4, .end = n };
        uint32_t untrusted_body, untrusted_fields;
        WireMessage m = { 0 };
        size_t size;

        if (n < 16)
                return 0;
        if ((untrusted[0] != 'l' && untrusted[0] != 'B') || untrusted[1] < WIRE_CALL || untrusted[1] > WIRE_SIGNAL ||
            untrusted[3] != 1)
                return -EBADMSG;
        r.big = untrusted[0] == 'B';
        m.type = (WireType) untrusted[1];
        m.no_reply = untrusted[2] & 1;
        untrusted_body = get_u32(&r);
        m.serial = get_u32(&r);
        untrusted_fields = get_u32(&r);
        if (untrusted_fields > WIRE_MAX || untrusted_body > WIRE_MAX)
                return -EMSGSIZE;
        size = 16 + ((untrusted_fields + 7) & ~(size_t) 7) + untrusted_body;
        if (size > WIRE_MAX)
                return -EMSGSIZE;
        if (n < size)
                return 0;
        r.end = 16 + untrusted_fields;
        while (!r.bad && r.at < r.end)
                get_field(&r, &m);
        if (r.bad || m.serial == 0)
                return -EBADMSG;
        *ret = m;
        return (int) size;
}
