/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dbus-text.h"

#include <ctype.h>
#include <math.h>

#include "parse.h"

#define DEPTH_MAX 32 /* D-Bus allows no more */

/* ---- signatures ---- */

static size_t signature_length(const char *s, unsigned depth)
{
        size_t n, l;

        if (depth > DEPTH_MAX || !*s)
                return 0;
        if (strchr("ybnqiuxtdsogvh", *s))
                return 1;
        if (*s == 'a') {
                if (s[1] != '{') {
                        l = signature_length(s + 1, depth + 1);
                        return l ? l + 1 : 0;
                }
                if (!s[2] || !strchr("ybnqiuxtdsogh", s[2]))
                        return 0;
                l = signature_length(s + 3, depth + 1);
                return l && s[3 + l] == '}' ? l + 4 : 0;
        }
        if (*s != '(')
                return 0;
        for (n = 1; s[n] && s[n] != ')'; n += l) {
                l = signature_length(s + n, depth + 1);
                if (!l)
                        return 0;
        }
        return s[n] == ')' && n > 1 ? n + 1 : 0;
}

size_t signature_first(const char *signature)
{
        return signature_length(signature, 0);
}

int signature_count(const char *signature)
{
        int n = 0;

        for (size_t l; *signature; signature += l, n++) {
                l = signature_first(signature);
                if (!l)
                        return -EINVAL;
        }
        return n;
}

/* ---- reading ---- */

typedef struct Source {
        const char *p;
        const char *why;
} Source;

static int wanted(Source *s, const char *why)
{
        if (!s->why)
                s->why = why;
        return -EINVAL;
}

static void skip_blanks(Source *s)
{
        s->p += strspn(s->p, " \t\n");
}

static int append_value(Source *s, sd_bus_message *m, const char *type, size_t n, bool top, unsigned depth);

static const struct NumberType {
        char type;
        bool is_signed;
        unsigned bits;
        const char *why;
} number_types[] = {
        { 'y', false, 8, "a number from 0 to 255" },
        { 'n', true, 16, "a number from -32768 to 32767" },
        { 'q', false, 16, "a number from 0 to 65535" },
        { 'i', true, 32, "a number from -2147483648 to 2147483647" },
        { 'u', false, 32, "a number from 0 to 4294967295" },
        { 'x', true, 64, "a whole number" },
        { 't', false, 64, "a number that is not negative" },
        { 'h', true, 32, "the number of an open file descriptor" },
};

/* A word without blanks, ended by what can stand behind a value inside a container. */
static int take_word(Source *s, bool top, char *buf, size_t size)
{
        size_t n = top ? strlen(s->p) : strcspn(s->p, ",]}: \t\n");

        if (n >= size)
                return -EINVAL;
        memcpy(buf, s->p, n);
        buf[n] = '\0';
        s->p += n;
        return 0;
}

static int append_number(Source *s, sd_bus_message *m, const struct NumberType *t, bool top)
{
        char word[32];
        int64_t v = 0;
        uint64_t u;

        if (take_word(s, top, word, sizeof word) < 0)
                return wanted(s, t->why);
        if (t->is_signed) {
                int64_t limit = (int64_t) (UINT64_MAX >> (65 - t->bits));

                if (parse_i64(word, &v) < 0 || v < -limit - 1 || v > limit)
                        return wanted(s, t->why);
                u = (uint64_t) v;
        } else if (parse_u64(word, &u) < 0 || (t->bits < 64 && u >> t->bits))
                return wanted(s, t->why);
        switch (t->bits) {
        case 8:
                return sd_bus_message_append_basic(m, t->type, &(uint8_t) { (uint8_t) u });
        case 16:
                return sd_bus_message_append_basic(m, t->type, &(uint16_t) { (uint16_t) u });
        case 32:
                return sd_bus_message_append_basic(m, t->type, &(uint32_t) { (uint32_t) u });
        default:
                return sd_bus_message_append_basic(m, t->type, &u);
        }
}

static int append_double(Source *s, sd_bus_message *m, bool top)
{
        static const char why[] = "a number such as 3 or -0.25";
        char word[64];
        size_t n;
        double d;

        if (take_word(s, top, word, sizeof word) < 0)
                return wanted(s, why);
        n = word[0] == '-';
        if (!isdigit((unsigned char) word[n]))
                return wanted(s, why);
        n += strspn(word + n, "0123456789");
        if (word[n] == '.') {
                if (!isdigit((unsigned char) word[n + 1]))
                        return wanted(s, why);
                n += 1 + strspn(word + n + 1, "0123456789");
        }
        if (word[n])
                return wanted(s, why);
        d = strtod(word, NULL);
        return sd_bus_message_append_basic(m, 'd', &d);
}

static int append_bool(Source *s, sd_bus_message *m, bool top)
{
        static const char *const words[] = { "false", "0", "true", "1" };
        char word[8];

        if (take_word(s, top, word, sizeof word) >= 0)
                for (size_t i = 0; i < ELEMENTSOF(words); i++)
                        if (streq(word, words[i]))
                                return sd_bus_message_append_basic(m, 'b', &(int) { i >= 2 });
        return wanted(s, "true or false");
}

static int append_string(Source *s, sd_bus_message *m, char type, bool top)
{
        _cleanup_free_ char *text = NULL;
        char quote = *s->p, *o;

        if (top) {
                text = strdup(s->p);
                s->p += strlen(s->p);
        } else {
                if (quote != '"' && quote != '\'')
                        return wanted(s, "a text in quotes");
                text = o = malloc(strlen(s->p));
                if (!text)
                        return -ENOMEM;
                for (s->p++; *s->p != quote; s->p++) {
                        if (*s->p == '\\' && (s->p[1] == '\\' || s->p[1] == quote))
                                s->p++;
                        if (!*s->p)
                                return wanted(s, "a closing quote");
                        *o++ = *s->p;
                }
                *o = '\0';
                s->p++;
        }
        if (!text)
                return -ENOMEM;
        if (!utf8_valid(text, strlen(text)))
                return wanted(s, "valid UTF-8");
        if (type == 'o' && !sd_bus_object_path_is_valid(text))
                return wanted(s, "an object path such as /vm/1");
        if (type == 'g' && signature_count(text) < 0)
                return wanted(s, "a signature such as a{sv}");
        return sd_bus_message_append_basic(m, type, text);
}

static int append_variant(Source *s, sd_bus_message *m, bool top, unsigned depth)
{
        size_t n = signature_first(s->p);
        char *type;
        int r;

        if (n == 0 || s->p[n] != ':')
                return wanted(s, "a variant with its type in front, such as s:text, u:5, b:true or as:[\"a\"]");
        type = strndupa(s->p, n);
        s->p += n + 1;
        r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = append_value(s, m, type, n, top, depth);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* One entry of a dictionary, or nothing but its parts. */
static int append_entry(Source *s, sd_bus_message *m, const char *type, size_t n, unsigned depth)
{
        _cleanup_free_ char *contents = strndup(type, n);
        int r;

        if (!contents)
                return -ENOMEM;
        r = sd_bus_message_open_container(m, 'e', contents);
        if (r >= 0)
                r = append_value(s, m, type, 1, false, depth);
        if (r < 0)
                return r;
        skip_blanks(s);
        if (*s->p++ != ':')
                return wanted(s, "':' behind the key");
        skip_blanks(s);
        r = append_value(s, m, type + 1, n - 1, false, depth);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_container(Source *s, sd_bus_message *m, const char *type, size_t n, unsigned depth)
{
        bool dict = type[0] == 'a' && type[1] == '{', structure = type[0] == '(';
        char open = dict ? '{' : '[', close = dict ? '}' : ']';
        /* Of an array the element's type, of a structure all its fields. */
        _cleanup_free_ char *contents = structure ? strndup(type + 1, n - 2) : strndup(type + 1, n - 1);
        const char *field;
        bool first = true;
        int r;

        if (!contents)
                return -ENOMEM;
        field = contents;
        skip_blanks(s);
        if (*s->p++ != open)
                return wanted(s, dict ? "{key:value,…}" : structure ? "[field,…]" : "[element,…]");
        r = sd_bus_message_open_container(m, structure ? 'r' : 'a', contents);
        if (r < 0)
                return r;
        for (;; first = false) {
                size_t l = signature_first(field);

                skip_blanks(s);
                if (*s->p == close)
                        break;
                if (!first) {
                        if (*s->p++ != ',')
                                return wanted(s, dict ? "',' or '}' behind an entry" : "',' or ']' behind an element");
                        skip_blanks(s);
                }
                if (structure && !*field)
                        return wanted(s, "no more fields");
                if (dict)
                        r = append_entry(s, m, contents + 1, strlen(contents) - 2, depth);
                else
                        r = append_value(s, m, field, structure ? l : strlen(field), false, depth);
                if (r < 0)
                        return r;
                if (structure)
                        field += l;
        }
        if (structure && *field)
                return wanted(s, "more fields");
        s->p++;
        return sd_bus_message_close_container(m);
}

/* The first n bytes of type are one complete type. */
static int append_value(Source *s, sd_bus_message *m, const char *type, size_t n, bool top, unsigned depth)
{
        if (depth > DEPTH_MAX)
                return wanted(s, "fewer levels");
        switch (type[0]) {
        case 's':
        case 'o':
        case 'g':
                return append_string(s, m, type[0], top);
        case 'b':
                return append_bool(s, m, top);
        case 'd':
                return append_double(s, m, top);
        case 'v':
                return append_variant(s, m, top, depth + 1);
        case 'a':
        case '(':
                return append_container(s, m, type, n, depth + 1);
        default:
                for (size_t i = 0; i < ELEMENTSOF(number_types); i++)
                        if (number_types[i].type == type[0])
                                return append_number(s, m, &number_types[i], top);
                return wanted(s, "a type that is known");
        }
}

int dbus_text_append(sd_bus_message *m, const char *type, const char *text, const char **ret_why)
{
        Source s = { .p = text };
        int r = append_value(&s, m, type, strlen(type), true, 0);

        if (r >= 0 && (type[0] == 'a' || type[0] == '(' || type[0] == 'v'))
                skip_blanks(&s);
        if (r >= 0 && *s.p)
                r = wanted(&s, "nothing behind the value");
        if (r == -EINVAL)
                *ret_why = s.why ? s.why : "a value of the type";
        return r < 0 ? r : 0;
}

/* ---- writing ---- */

/* 3.0, 0.25, 1.0e7: shortest digits that give the same number, as Haskell's `show` lays them out. */
static void print_double(double d, StrBuf *b)
{
        char text[40], *exponent;
        int e, n;

        if (isnan(d) || isinf(d)) {
                strbuf_add(b, isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity");
                return;
        }
        for (int precision = 0; precision <= 17; precision++) {
                snprintf(text, sizeof text, "%.*e", precision, fabs(d));
                if (strtod(text, NULL) == fabs(d))
                        break;
        }
        exponent = strchr(text, 'e');
        e = atoi(exponent + 1);
        *exponent = '\0';
        if (text[1] == '.')
                memmove(text + 1, text + 2, strlen(text + 1));
        for (n = (int) strlen(text); n > 1 && text[n - 1] == '0'; n--)
                text[n - 1] = '\0';
        if (signbit(d))
                strbuf_addc(b, '-');
        if (d == 0)
                strbuf_add(b, "0.0");
        else if (e == -1)
                strbuf_addf(b, "0.%s", text);
        else if (e >= 0 && e < 7) {
                for (int i = 0; i <= e || i < n; i++)
                        strbuf_addf(b, "%s%c", i == e + 1 ? "." : "", i < n ? text[i] : '0');
                if (n <= e + 1)
                        strbuf_add(b, ".0");
        } else
                strbuf_addf(b, "%c.%se%d", text[0], n > 1 ? text + 1 : "0", e);
}

/* A string literal of Haskell, as xec printed byte arrays. */
static void print_bytes(const uint8_t *p, size_t n, StrBuf *b)
{
        static const char *const names[] = {
                "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "a",   "b",   "t",  "n",   "v",   "f",  "r",  "SO",  "SI",
                "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS",  "US",
        };
        bool number = false, so = false;

        strbuf_addc(b, '"');
        for (size_t i = 0; i < n; i++) {
                /* \& keeps what follows out of the escape before it. */
                if ((number && isdigit(p[i])) || (so && p[i] == 'H'))
                        strbuf_add(b, "\\&");
                number = p[i] >= 128;
                so = p[i] == 14;
                if (p[i] >= 128)
                        strbuf_addf(b, "\\%u", p[i]);
                else if (p[i] == 127)
                        strbuf_add(b, "\\DEL");
                else if (p[i] < 32)
                        strbuf_addf(b, "\\%s", names[p[i]]);
                else
                        strbuf_addf(b, "%s%c", p[i] == '"' || p[i] == '\\' ? "\\" : "", p[i]);
        }
        strbuf_addc(b, '"');
}

static void print_type(const char *s, size_t n, StrBuf *b);

/* A signature as the list of constructors that Haskell's `show` gave. */
static void print_types(const char *s, size_t n, StrBuf *b)
{
        size_t l;

        strbuf_addc(b, '[');
        for (const char *p = s; p < s + n; p += l) {
                l = signature_first(p);
                if (l == 0)
                        break;
                if (p > s)
                        strbuf_addc(b, ',');
                print_type(p, l, b);
        }
        strbuf_addc(b, ']');
}

static void print_type(const char *s, size_t n, StrBuf *b)
{
        static const struct {
                char type;
                const char *name;
        } names[] = {
                { 'y', "SigByte" },   { 'b', "SigBool" },   { 'n', "SigInt16" },      { 'q', "SigUInt16" },
                { 'i', "SigInt32" },  { 'u', "SigUInt32" }, { 'x', "SigInt64" },      { 't', "SigUInt64" },
                { 'd', "SigDouble" }, { 's', "SigString" }, { 'o', "SigObjectPath" }, { 'g', "SigSignature" },
                { 'v', "SigVariant" }, { 'h', "SigUnixFD" },
        };

        if (s[0] == 'a' && s[1] == '{') {
                strbuf_add(b, "SigDict ");
                print_type(s + 2, 1, b);
                strbuf_addc(b, ' ');
                print_type(s + 3, n - 4, b);
        } else if (s[0] == 'a') {
                strbuf_add(b, "SigArray ");
                print_type(s + 1, n - 1, b);
        } else if (s[0] == '(') {
                strbuf_add(b, "SigStruct ");
                print_types(s + 1, n - 2, b);
        } else
                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        if (names[i].type == s[0])
                                strbuf_add(b, names[i].name);
}

void dbus_text_key(StrBuf *b, const char *key, unsigned width)
{
        _cleanup_strbuf_ StrBuf quoted = STRBUF_INIT;

        strbuf_addf(&quoted, "\"%s\"", key);
        strbuf_add_padded(b, strempty(quoted.data), width);
        strbuf_add(b, " = ");
        b->oom |= quoted.oom;
}

typedef union Basic {
        uint8_t y;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
        const char *s;
} Basic;

/* Texts of basic types that have the same form everywhere. Others: false. */
static bool print_simple(char type, const Basic *v, StrBuf *b)
{
        switch (type) {
        case 'y':
                strbuf_addf(b, "%u", v->y);
                return true;
        case 'n':
                strbuf_addf(b, "%d", v->n);
                return true;
        case 'q':
                strbuf_addf(b, "%u", v->q);
                return true;
        case 'i':
        case 'h':
                strbuf_addf(b, "%d", v->i);
                return true;
        case 'u':
                strbuf_addf(b, "%u", v->u);
                return true;
        case 'x':
                strbuf_addf(b, "%lld", (long long) v->x);
                return true;
        case 't':
                strbuf_addf(b, "%llu", (unsigned long long) v->t);
                return true;
        case 'b':
                strbuf_add(b, v->i ? "true" : "false");
                return true;
        default:
                return false;
        }
}

static int print_byte_array(sd_bus_message *m, StrBuf *b)
{
        const void *p;
        size_t n;
        int r = sd_bus_message_read_array(m, 'y', &p, &n);

        if (r >= 0)
                print_bytes(p, n, b);
        return r;
}

static int print_dict(sd_bus_message *m, const char *contents, StrBuf *b)
{
        int r = sd_bus_message_enter_container(m, 'a', contents);
        _cleanup_free_ char *entry = strndup(contents + 1, strlen(contents) - 2);

        strbuf_add(b, "{\n");
        while (r >= 0 && entry && (r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
                _cleanup_strbuf_ StrBuf key = STRBUF_INIT;

                r = dbus_text_print(m, &key);
                if (r < 0)
                        break;
                strbuf_add(b, "  ");
                dbus_text_key(b, strempty(key.data), 30);
                r = dbus_text_print(m, b);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                strbuf_addc(b, '\n');
        }
        strbuf_addc(b, '}');
        if (!entry)
                return -ENOMEM;
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int dbus_text_print(sd_bus_message *m, StrBuf *b)
{
        const char *contents;
        bool first = true;
        char type;
        Basic v;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENODATA;
        if (type == 'a' && streq(contents, "y"))
                return print_byte_array(m, b);
        if (type == 'a' && contents[0] == '{')
                return print_dict(m, contents, b);
        if (type == 'a' || type == 'r' || type == 'v') {
                r = sd_bus_message_enter_container(m, type, contents);
                for (; r >= 0 && sd_bus_message_at_end(m, false) == 0; first = false) {
                        if (!first)
                                strbuf_addc(b, '\n');
                        r = dbus_text_print(m, b);
                }
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        if (type == 'd')
                print_double(v.d, b);
        else if (type == 'g')
                print_types(v.s, strlen(v.s), b);
        else if (!print_simple(type, &v, b))
                strbuf_add(b, v.s);
        return 0;
}

void json_quote(StrBuf *b, const char *s)
{
        strbuf_addc(b, '"');
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        strbuf_addf(b, "\\%c", *s);
                else if ((unsigned char) *s < 32 || *s == 127)
                        strbuf_addf(b, "\\u%04x", *s);
                else
                        strbuf_addc(b, *s);
        }
        strbuf_addc(b, '"');
}

static int print_json_dict(sd_bus_message *m, const char *contents, StrBuf *b)
{
        int r = sd_bus_message_enter_container(m, 'a', contents);
        _cleanup_free_ char *entry = strndup(contents + 1, strlen(contents) - 2);
        const char *separator = "";

        if (!entry)
                return -ENOMEM;
        strbuf_addc(b, '{');
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
                _cleanup_strbuf_ StrBuf key = STRBUF_INIT;

                r = dbus_text_print(m, &key);
                if (r < 0)
                        break;
                strbuf_add(b, separator);
                json_quote(b, strempty(key.data));
                strbuf_addc(b, ':');
                r = dbus_text_print_json(m, b);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                separator = ",";
        }
        strbuf_addc(b, '}');
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int dbus_text_print_json(sd_bus_message *m, StrBuf *b)
{
        const char *contents, *separator = "";
        char type, number[40];
        Basic v;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENODATA;
        if (type == 'a' && contents[0] == '{')
                return print_json_dict(m, contents, b);
        if (type == 'a' || type == 'r' || type == 'v') {
                r = sd_bus_message_enter_container(m, type, contents);
                if (type != 'v')
                        strbuf_addc(b, '[');
                for (; r >= 0 && sd_bus_message_at_end(m, false) == 0; separator = ",") {
                        strbuf_add(b, separator);
                        r = dbus_text_print_json(m, b);
                }
                if (type != 'v')
                        strbuf_addc(b, ']');
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        if (type == 'd') {
                for (int precision = 1; precision <= 17; precision++) {
                        snprintf(number, sizeof number, "%.*g", precision, v.d);
                        if (strtod(number, NULL) == v.d)
                                break;
                }
                strbuf_add(b, isfinite(v.d) ? number : "null");
        } else if (!print_simple(type, &v, b))
                json_quote(b, v.s);
        return 0;
}
