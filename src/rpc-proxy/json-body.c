/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-body.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#include "parse.h"

#define DEPTH_MAX 64
#define ARRAY_MAX (64u << 20) /* of the specification */

static int _printf_(2, 3) fail(JsonWhy *why, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        return -EBADMSG;
}

/* Where the single complete type at s (part of a valid signature) ends. */
static const char *type_end(const char *s)
{
        int depth = 0;

        while (*s == 'a')
                s++;
        do {
                if (*s == '(' || *s == '{')
                        depth++;
                else if (*s == ')' || *s == '}')
                        depth--;
                s++;
        } while (depth > 0);
        return s;
}

static size_t type_alignment(char type)
{
        switch (type) {
        case 'n':
        case 'q':
                return 2;
        case 'b':
        case 'i':
        case 'u':
        case 's':
        case 'o':
        case 'a':
        case 'h':
                return 4;
        case 'x':
        case 't':
        case 'd':
        case '(':
        case '{':
                return 8;
        default:
                return 1;
        }
}

/* ---- JSON to D-Bus ---- */

typedef struct Writer {
        uint8_t *data;
        size_t n, size, max;
        unsigned argument; /* from 1 */
        JsonWhy *why;
} Writer;

static int put(Writer *w, const void *data, size_t n)
{
        if (n > w->max - w->n)
                return -EMSGSIZE;
        if (n > w->size - w->n) {
                size_t size = MAX2(w->size * 2, w->n + n + 64);
                uint8_t *p = realloc(w->data, size);

                if (!p)
                        return -ENOMEM;
                w->data = p;
                w->size = size;
        }
        if (n > 0)
                memcpy(w->data + w->n, data, n);
        w->n += n;
        return 0;
}

static int put_align(Writer *w, size_t alignment)
{
        return put(w, (const uint8_t[8]) {}, -w->n & (alignment - 1));
}

static int put_number(Writer *w, uint64_t v, size_t size)
{
        uint8_t bytes[8];
        int r = put_align(w, size);

        for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t) (v >> 8 * i);
        return r < 0 ? r : put(w, bytes, size);
}

static int put_text(Writer *w, char type, const char *s, size_t n)
{
        int r;

        if (strlen(s) != n)
                return fail(w->why, "argument %u has a text with the character U+0000", w->argument);
        if (type == 'o' && !wire_path_valid(s, n))
                return fail(w->why, "argument %u is no object path", w->argument);
        if (type == 'g') {
                if (n > 255 || !wire_signature_valid(s, n))
                        return fail(w->why, "argument %u is no signature", w->argument);
                r = put(w, &(uint8_t) { (uint8_t) n }, 1);
        } else
                r = put_number(w, n, 4);
        return r < 0 ? r : put(w, s, n + 1);
}

/* Rounded down, modulo 2^64. */
static bool integer_of(json_object *v, uint64_t *ret)
{
        double d;

        if (json_object_is_type(v, json_type_int)) {
                int64_t i = json_object_get_int64(v);

                *ret = i == INT64_MAX ? json_object_get_uint64(v) : (uint64_t) i;
                return true;
        }
        if (!json_object_is_type(v, json_type_double))
                return false;
        d = floor(json_object_get_double(v));
        if (!isfinite(d))
                return false;
        d = fmod(d, 18446744073709551616.0);
        *ret = d < 0 ? -(uint64_t) -d : (uint64_t) d;
        return true;
}

static const char *json_word(json_object *v)
{
        switch (json_object_get_type(v)) {
        case json_type_null:
                return "null";
        case json_type_boolean:
                return "a boolean";
        case json_type_double:
        case json_type_int:
                return "a number";
        case json_type_object:
                return "an object";
        case json_type_array:
                return "an array";
        default:
                return "a text";
        }
}

static int wrong(Writer *w, const char *needed, const char *type, json_object *v)
{
        return fail(w->why, "argument %u needs %s for type %.*s, not %s", w->argument, needed,
                    (int) MIN2(type_end(type) - type, 60), type, json_word(v));
}

static int put_value(Writer *w, const char *type, json_object *v, int depth);

static size_t integer_size(char type)
{
        switch (type) {
        case 'y':
                return 1;
        case 'n':
        case 'q':
                return 2;
        case 'i':
        case 'u':
                return 4;
        case 'x':
        case 't':
                return 8;
        default:
                return 0;
        }
}

static int put_double(Writer *w, double d)
{
        uint64_t bits;

        memcpy(&bits, &d, sizeof(bits));
        return put_number(w, bits, 8);
}

/* A member's name as the key of a dictionary. */
static int put_key(Writer *w, char type, const char *key)
{
        size_t size = integer_size(type);
        uint64_t u;
        int64_t i;
        char *end;
        double d;

        if (type == 's' || type == 'o' || type == 'g')
                return put_text(w, type, key, strlen(key));
        if (type == 'b' && (streq(key, "true") || streq(key, "false")))
                return put_number(w, streq(key, "true"), 4);
        if (size > 0 && parse_i64(key, &i) == 0)
                return put_number(w, (uint64_t) i, size);
        if (size > 0 && parse_u64(key, &u) == 0)
                return put_number(w, u, size);
        d = strtod(key, &end);
        if (type == 'd' && *key && !*end)
                return put_double(w, d);
        return fail(w->why, "argument %u has a member whose name is no key of type %c", w->argument, type);
}

/* Begins an array: its length comes to *ret_at, its elements begin behind the padding. */
static int array_begin(Writer *w, char element, size_t *ret_at, size_t *ret_start)
{
        int r = put_number(w, 0, 4);

        *ret_at = w->n - 4;
        if (r == 0)
                r = put_align(w, type_alignment(element));
        *ret_start = w->n;
        return r;
}

static int array_end(Writer *w, size_t at, size_t start)
{
        size_t n = w->n - start;

        if (n > ARRAY_MAX)
                return -EMSGSIZE;
        for (int i = 0; i < 4; i++)
                w->data[at + (size_t) i] = (uint8_t) (n >> 8 * i);
        return 0;
}

static int put_array(Writer *w, const char *type, json_object *v, int depth)
{
        size_t at, start;
        int r;

        if (type[1] == '{') {
                if (!json_object_is_type(v, json_type_object))
                        return wrong(w, "an object", type, v);
        } else if (!json_object_is_type(v, json_type_array))
                return wrong(w, "an array", type, v);
        r = array_begin(w, type[1], &at, &start);
        if (r < 0)
                return r;
        if (type[1] == '{') {
                json_object_object_foreach(v, key, value)
                {
                        r = put_align(w, 8);
                        if (r == 0)
                                r = put_key(w, type[2], key);
                        if (r == 0)
                                r = put_value(w, type + 3, value, depth + 1);
                        if (r < 0)
                                return r;
                }
        } else
                for (size_t i = 0; i < json_object_array_length(v); i++) {
                        r = put_value(w, type + 1, json_object_array_get_idx(v, i), depth + 1);
                        if (r < 0)
                                return r;
                }
        return array_end(w, at, start);
}

static int put_struct(Writer *w, const char *type, json_object *v, int depth)
{
        size_t i = 0, n;
        int r;

        if (!json_object_is_type(v, json_type_array))
                return wrong(w, "an array", type, v);
        n = json_object_array_length(v);
        r = put_align(w, 8);
        for (const char *t = type + 1; r == 0 && *t != ')'; t = type_end(t), i++)
                r = i < n ? put_value(w, t, json_object_array_get_idx(v, i), depth + 1) : -ENODATA;
        if (r == -ENODATA || (r == 0 && i != n))
                return fail(w->why, "argument %u has %zu elements, not as many as type %.*s", w->argument, n,
                            (int) MIN2(type_end(type) - type, 60), type);
        return r;
}

/*
 * The type that a value in a variant gets. Numbers are `i`, as services know from the original, where
 * they fit; unlike elements of an array are variants again.
 */
static const char *variant_type(json_object *v)
{
        const char *element = NULL;
        int64_t i;
        double d;

        switch (json_object_get_type(v)) {
        case json_type_string:
                return "s";
        case json_type_boolean:
                return "b";
        case json_type_int:
                i = json_object_get_int64(v);
                if (i >= INT32_MIN && i <= INT32_MAX)
                        return "i";
                return json_object_get_uint64(v) > INT64_MAX && i == INT64_MAX ? "t" : "x";
        case json_type_double:
                d = json_object_get_double(v);
                return d >= INT32_MIN && d < INT32_MAX + 1.0 ? "i" : "d";
        case json_type_array:
                for (size_t k = 0; k < json_object_array_length(v); k++) {
                        const char *t = variant_type(json_object_array_get_idx(v, k));

                        if (!t)
                                return NULL;
                        if (element && !streq(element, t))
                                return "av";
                        element = t;
                }
                return !element                ? "av"
                       : streq(element, "s")   ? "as"
                       : streq(element, "b")   ? "ab"
                       : streq(element, "i")   ? "ai"
                                               : "av";
        case json_type_object:
                return "a{sv}";
        default:
                return NULL;
        }
}

static int put_variant(Writer *w, json_object *v, int depth)
{
        const char *type = variant_type(v);
        int r;

        if (!type)
                return fail(w->why, "argument %u has a null", w->argument);
        r = put_text(w, 'g', type, strlen(type));
        return r < 0 ? r : put_value(w, type, v, depth + 1);
}

static int put_value(Writer *w, const char *type, json_object *v, int depth)
{
        size_t size = integer_size(*type);
        uint64_t u;

        if (depth > DEPTH_MAX)
                return fail(w->why, "argument %u is nested too deeply", w->argument);
        if (size > 0)
                return integer_of(v, &u) ? put_number(w, u, size) : wrong(w, "a number", type, v);
        switch (*type) {
        case 'b':
                return json_object_is_type(v, json_type_boolean) ? put_number(w, json_object_get_boolean(v), 4)
                                                                 : wrong(w, "true or false", type, v);
        case 'd':
                if (!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int))
                        return wrong(w, "a number", type, v);
                return put_double(w, json_object_get_double(v));
        case 's':
        case 'o':
        case 'g':
                return json_object_is_type(v, json_type_string)
                               ? put_text(w, *type, json_object_get_string(v), (size_t) json_object_get_string_len(v))
                               : wrong(w, "a text", type, v);
        case 'v':
                return put_variant(w, v, depth);
        case 'a':
                return put_array(w, type, v, depth);
        case '(':
                return put_struct(w, type, v, depth);
        default:
                return fail(w->why, "argument %u has type %c, which JSON cannot carry", w->argument, *type);
        }
}

int json_body_write(json_object *args, const char *signature, size_t max, uint8_t **ret, size_t *ret_size,
                    JsonWhy *ret_why)
{
        Writer w = { .max = max, .why = ret_why };
        size_t n = json_object_array_length(args), types = 0;
        int r = 0;

        for (const char *t = signature; *t; t = type_end(t))
                types++;
        if (types != n)
                return fail(ret_why, "%zu arguments were given, %zu are needed (signature %s)", n, types, signature);
        for (const char *t = signature; r == 0 && *t; t = type_end(t)) {
                r = put_value(&w, t, json_object_array_get_idx(args, w.argument++), 0);
        }
        if (r < 0) {
                free(w.data);
                return r;
        }
        *ret = w.data;
        *ret_size = w.n;
        return 0;
}

static bool all_are(json_object *array, json_type type)
{
        for (size_t i = 0; i < json_object_array_length(array); i++)
                if (!json_object_is_type(json_object_array_get_idx(array, i), type))
                        return false;
        return json_object_array_length(array) > 0;
}

int json_body_guess(json_object *args, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        strbuf_add(&b, "");
        for (size_t i = 0; i < json_object_array_length(args); i++) {
                json_object *v = json_object_array_get_idx(args, i);
                bool texts = true;

                switch (json_object_get_type(v)) {
                case json_type_boolean:
                        strbuf_addc(&b, 'b');
                        break;
                case json_type_string:
                        strbuf_addc(&b, 's');
                        break;
                case json_type_int:
                case json_type_double:
                        strbuf_addc(&b, 'u');
                        break;
                case json_type_array: /* the contract has `ay` alone, which fits numbers only */
                        strbuf_add(&b, all_are(v, json_type_string) ? "as" : all_are(v, json_type_boolean) ? "ab" : "ay");
                        break;
                case json_type_object: {
                        json_object_object_foreach(v, key, value)
                        {
                                (void) key;
                                texts &= json_object_is_type(value, json_type_string);
                        }
                        strbuf_add(&b, texts ? "a{ss}" : "a{sv}");
                        break;
                }
                default:
                        return -EBADMSG;
                }
        }
        return strbuf_take(&b, ret);
}

/* ---- D-Bus to JSON ---- */

typedef struct Reader {
        const uint8_t *data;
        size_t at, size;
        bool big_endian;
        JsonWhy *why;
} Reader;

static int malformed(Reader *r)
{
        return fail(r->why, "the body of the message is malformed");
}

static int take(Reader *r, size_t alignment, size_t n, const uint8_t **ret)
{
        size_t at = (r->at + alignment - 1) & ~(alignment - 1);

        if (at > r->size || n > r->size - at)
                return malformed(r);
        *ret = r->data + at;
        r->at = at + n;
        return 0;
}

static int take_number(Reader *r, size_t size, uint64_t *ret)
{
        const uint8_t *p = NULL;
        uint64_t v = 0;
        int k = take(r, size, size, &p);

        if (k < 0)
                return k;
        for (size_t i = 0; i < size; i++)
                v |= (uint64_t) p[r->big_endian ? size - 1 - i : i] << 8 * i;
        *ret = v;
        return 0;
}

static int take_text(Reader *r, char type, const char **ret)
{
        const uint8_t *p = NULL;
        uint64_t n;
        int k = take_number(r, type == 'g' ? 1 : 4, &n);

        if (k == 0)
                k = take(r, 1, n, &p);
        if (k < 0)
                return k;
        if (r->at >= r->size || r->data[r->at] != 0 || memchr(p, 0, n) || !utf8_valid((const char *) p, n))
                return malformed(r);
        r->at++;
        *ret = (const char *) p;
        return 0;
}

void json_add_string(StrBuf *b, const char *s)
{
        strbuf_addc(b, '"');
        for (; *s; s++) {
                unsigned char c = (unsigned char) *s;

                if (c == '"' || c == '\\')
                        strbuf_addf(b, "\\%c", c);
                else if (c == '\n')
                        strbuf_add(b, "\\n");
                else if (c < 0x20)
                        strbuf_addf(b, "\\u%04x", c);
                else if (c == 0xe2 && (unsigned char) s[1] == 0x80 && ((unsigned char) s[2] & 0xfe) == 0xa8) {
                        strbuf_addf(b, "\\u20%02x", 0x28 + (s[2] & 1));
                        s += 2;
                } else
                        strbuf_addc(b, (char) c);
        }
        strbuf_addc(b, '"');
}

static void add_double(StrBuf *b, double d)
{
        char text[40];

        if (!isfinite(d)) {
                strbuf_add(b, "null");
                return;
        }
        if (d == floor(d) && fabs(d) < 1e15)
                snprintf(text, sizeof(text), "%.0f", d == 0 ? 0 : d);
        else
                for (int digits = 15; digits <= 17; digits++) {
                        snprintf(text, sizeof(text), "%.*g", digits, d);
                        if (strtod(text, NULL) == d)
                                break;
                }
        strbuf_add(b, text);
}

static int read_value(Reader *r, const char *type, StrBuf *b, int depth);

/* A value of a basic type, as text without quotes for the texts. */
static int read_basic(Reader *r, char type, StrBuf *b, const char **ret_text)
{
        size_t size = type == 'b' ? 4 : type == 'd' ? 8 : integer_size(type);
        uint64_t u;
        double d;
        int k;

        *ret_text = NULL;
        if (type == 's' || type == 'o' || type == 'g')
                return take_text(r, type, ret_text);
        if (size == 0)
                return fail(r->why, "the message has a value of type %c, which JSON cannot carry", type);
        k = take_number(r, size, &u);
        if (k < 0)
                return k;
        switch (type) {
        case 'b':
                if (u > 1)
                        return malformed(r);
                strbuf_add(b, u ? "true" : "false");
                break;
        case 'd':
                memcpy(&d, &u, sizeof(d));
                add_double(b, d);
                break;
        case 'n':
                strbuf_addf(b, "%d", (int16_t) u);
                break;
        case 'i':
                strbuf_addf(b, "%d", (int32_t) u);
                break;
        case 'x':
                strbuf_addf(b, "%" PRId64, (int64_t) u);
                break;
        default:
                strbuf_addf(b, "%" PRIu64, u);
        }
        return 0;
}

typedef struct Member {
        char *key, *value;
        size_t order;
} Member;

static int by_key(const void *a, const void *b)
{
        const Member *x = a, *y = b;
        int c = strcmp(x->key, y->key);

        return c ? c : x->order < y->order ? -1 : 1;
}

static int read_member(Reader *r, const char *type, int depth, Member *ret)
{
        _cleanup_strbuf_ StrBuf key = STRBUF_INIT, value = STRBUF_INIT;
        const uint8_t *p = NULL;
        const char *text;
        int k = take(r, 8, 0, &p);

        strbuf_add(&key, "");
        if (k == 0)
                k = read_basic(r, type[0], &key, &text);
        if (k == 0)
                k = read_value(r, type + 1, &value, depth + 1);
        if (k < 0)
                return k;
        if (text)
                strbuf_add(&key, text);
        if (strbuf_take(&key, &ret->key) < 0)
                return -ENOMEM;
        return strbuf_take(&value, &ret->value);
}

/* Members come sorted; of two with one key the last counts. */
static int read_dictionary(Reader *r, const char *type, size_t end, StrBuf *b, int depth)
{
        Member *l = NULL, *grown;
        size_t n = 0, allocated = 0;
        bool first = true;
        int k = 0;

        while (k == 0 && r->at < end) {
                if (n == allocated) {
                        allocated = allocated ? allocated * 2 : 8;
                        grown = reallocarray(l, allocated, sizeof(*l));
                        if (!grown) {
                                k = -ENOMEM;
                                break;
                        }
                        l = grown;
                }
                l[n] = (Member) { .order = n };
                k = read_member(r, type, depth, l + n);
                n++;
        }
        if (k == 0 && n > 0)
                qsort(l, n, sizeof(*l), by_key);
        strbuf_addc(b, '{');
        for (size_t i = 0; k == 0 && i < n; i++) {
                if (i + 1 < n && streq(l[i].key, l[i + 1].key))
                        continue;
                if (!first)
                        strbuf_addc(b, ',');
                json_add_string(b, l[i].key);
                strbuf_addc(b, ':');
                strbuf_add(b, l[i].value);
                first = false;
        }
        strbuf_addc(b, '}');
        for (size_t i = 0; i < n; i++) {
                free(l[i].key);
                free(l[i].value);
        }
        free(l);
        return k;
}

static int read_array(Reader *r, const char *type, StrBuf *b, int depth)
{
        const uint8_t *p = NULL;
        uint64_t n;
        size_t end;
        int k = take_number(r, 4, &n);

        if (k == 0)
                k = take(r, type_alignment(type[1]), 0, &p);
        if (k < 0)
                return k;
        if (n > r->size - r->at || n > ARRAY_MAX)
                return malformed(r);
        end = r->at + n;
        if (type[1] == '{')
                k = read_dictionary(r, type + 2, end, b, depth);
        else {
                strbuf_addc(b, '[');
                for (bool first = true; k == 0 && r->at < end; first = false) {
                        if (!first)
                                strbuf_addc(b, ',');
                        k = read_value(r, type + 1, b, depth + 1);
                }
                strbuf_addc(b, ']');
        }
        return k < 0 ? k : r->at == end ? 0 : malformed(r);
}

static int read_value(Reader *r, const char *type, StrBuf *b, int depth)
{
        const uint8_t *p = NULL;
        const char *text;
        int k;

        if (depth > DEPTH_MAX)
                return fail(r->why, "the message is nested too deeply");
        switch (*type) {
        case 'a':
                return read_array(r, type, b, depth);
        case '(':
                k = take(r, 8, 0, &p);
                strbuf_addc(b, '[');
                for (const char *t = type + 1; k == 0 && *t != ')'; t = type_end(t)) {
                        if (t != type + 1)
                                strbuf_addc(b, ',');
                        k = read_value(r, t, b, depth + 1);
                }
                strbuf_addc(b, ']');
                return k;
        case 'v':
                k = take_text(r, 'g', &text);
                if (k < 0)
                        return k;
                if (!wire_signature_valid(text, strlen(text)) || !*text || *type_end(text))
                        return malformed(r);
                return read_value(r, text, b, depth + 1);
        default:
                k = read_basic(r, *type, b, &text);
                if (k == 0 && text)
                        json_add_string(b, text);
                return k;
        }
}

int json_body_read(const WireMessage *m, StrBuf *out, JsonWhy *ret_why)
{
        Reader r = { .data = m->body, .size = m->body_size, .big_endian = m->big_endian, .why = ret_why };
        int n = 0, k;

        for (const char *t = m->signature; *t; t = type_end(t), n++) {
                if (n > 0)
                        strbuf_addc(out, ',');
                k = read_value(&r, t, out, 0);
                if (k < 0)
                        return k;
        }
        if (r.at != r.size)
                return malformed(&r);
        return out->oom ? -ENOMEM : n;
}
