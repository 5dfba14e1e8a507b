/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xl-config.h"

#include <ctype.h>

#define ITEMS_MAX 4096
#define DEPTH_MAX 8

typedef struct Scanner {
        const char *p, *end;
        unsigned line;
        unsigned n_values;
        char *why;
        XlFile *file;
} Scanner;

static void value_done(XlValue *v)
{
        for (size_t i = 0; i < v->n_items; i++)
                value_done(&v->items[i]);
        free(v->items);
        free(v->text);
        *v = (XlValue) { 0 };
}

XlFile *xl_free(XlFile *f)
{
        if (!f)
                return NULL;
        for (size_t i = 0; i < f->n_items; i++) {
                free(f->items[i].key);
                value_done(&f->items[i].value);
        }
        free(f->items);
        strv_free(f->comments);
        free(f);
        return NULL;
}

static int complain(Scanner *s, const char *fmt, ...) _printf_(2, 3);
static int complain(Scanner *s, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        if (!text)
                return -ENOMEM;
        free(s->why);
        s->why = strformat("line %u: %s", s->line, text);
        return s->why ? -EBADMSG : -ENOMEM;
}

static char peek(const Scanner *s)
{
        if (s->p == s->end)
                return '\0';
        /* CR LF, as editors elsewhere write it, is a line end. */
        return *s->p == '\r' && s->p + 1 < s->end && s->p[1] == '\n' ? '\n' : *s->p;
}

static void advance(Scanner *s)
{
        if (*s->p == '\r' && s->p + 1 < s->end && s->p[1] == '\n')
                s->p++;
        if (*s->p++ == '\n')
                s->line++;
}

static int skip_comment(Scanner *s)
{
        const char *start = ++s->p;
        _cleanup_free_ char *text = NULL;

        while (s->p < s->end && *s->p != '\n')
                s->p++;
        text = strndup(start, (size_t) (s->p - start));
        return text ? strv_extend(&s->file->comments, strstrip(text)) : -ENOMEM;
}

/* Blanks and comments; with lines, line ends too. */
static int skip_blanks(Scanner *s, bool lines)
{
        for (;;) {
                char c = peek(s);
                int r;

                if (c == '#') {
                        r = skip_comment(s);
                        if (r < 0)
                                return r;
                } else if (c == ' ' || c == '\t' || (lines && c == '\n'))
                        advance(s);
                else
                        return 0;
        }
}

static int scan_string(Scanner *s, XlValue *ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char quote = *s->p++;

        for (;; s->p++) {
                char c = peek(s);

                if (c == '\0' || c == '\n')
                        return complain(s, "a string is not closed with %c", quote);
                if (c == quote)
                        break;
                if (c == '\\') {
                        s->p++;
                        c = peek(s);
                        if (c == 'n')
                                c = '\n';
                        else if (c != '\\' && c != '\'' && c != '"')
                                return complain(s, "unknown escape '\\%c'", isprint((unsigned char) c) ? c : '?');
                }
                strbuf_addc(&b, c);
        }
        s->p++;
        ret->kind = XL_STRING;
        ret->quote = quote;
        return strbuf_take(&b, &ret->text);
}

/* 0x hex, leading 0 octal, else decimal, as strtoll() with base 0 has it. */
static bool number_valid(const char *text, int64_t *ret)
{
        char *end;
        long long n;

        if (!*text || isspace((unsigned char) *text))
                return false;
        errno = 0;
        n = strtoll(text, &end, 0);
        if (*end || errno)
                return false;
        *ret = n;
        return true;
}

static int scan_number(Scanner *s, XlValue *ret)
{
        const char *start = s->p;

        while (s->p < s->end && isalnum((unsigned char) *s->p))
                s->p++;
        ret->kind = XL_NUMBER;
        ret->text = strndup(start, (size_t) (s->p - start));
        if (!ret->text)
                return -ENOMEM;
        if (!number_valid(ret->text, &ret->number))
                return complain(s, "'%s' is not a number", ret->text);
        return 0;
}

static int scan_value(Scanner *s, XlValue *ret, unsigned depth);

static int value_append(XlValue *list, XlValue *v)
{
        XlValue *items = reallocarray(list->items, list->n_items + 1, sizeof *items);

        if (!items)
                return -ENOMEM;
        list->items = items;
        items[list->n_items++] = *v;
        *v = (XlValue) { 0 };
        return 0;
}

static int scan_list(Scanner *s, XlValue *ret, unsigned depth)
{
        int r;

        s->p++;
        ret->kind = XL_LIST;
        for (;;) {
                XlValue v = { 0 };

                r = skip_blanks(s, true);
                if (r < 0)
                        return r;
                if (peek(s) == ']')
                        break;
                r = scan_value(s, &v, depth + 1);
                if (r >= 0)
                        r = value_append(ret, &v);
                value_done(&v);
                if (r >= 0)
                        r = skip_blanks(s, true);
                if (r < 0)
                        return r;
                if (peek(s) == ',')
                        s->p++;
                else if (peek(s) != ']')
                        return complain(s, "',' or ']' expected in a list");
        }
        s->p++;
        return 0;
}

static int scan_value(Scanner *s, XlValue *ret, unsigned depth)
{
        char c = peek(s);

        if (depth > DEPTH_MAX || ++s->n_values > ITEMS_MAX)
                return complain(s, "too many values");
        if (c == '\'' || c == '"')
                return scan_string(s, ret);
        if (c == '[')
                return scan_list(s, ret, depth);
        if (isdigit((unsigned char) c))
                return scan_number(s, ret);
        return complain(s, "a string in quotes, a number or a list expected");
}

static XlItem *find_item(XlFile *f, const char *key)
{
        for (size_t i = 0; i < f->n_items; i++)
                if (streq(f->items[i].key, key))
                        return &f->items[i];
        return NULL;
}

/* += joins two strings or two lists. */
static int join_values(Scanner *s, XlValue *to, XlValue *more)
{
        char *text;
        int r = 0;

        if (to->kind == XL_LIST && more->kind == XL_LIST) {
                for (size_t i = 0; i < more->n_items && r >= 0; i++)
                        r = value_append(to, &more->items[i]);
                return r;
        }
        if (to->kind != XL_STRING || more->kind != XL_STRING)
                return complain(s, "+= joins two strings or two lists");
        text = strformat("%s%s", to->text, more->text);
        if (!text)
                return -ENOMEM;
        free(to->text);
        to->text = text;
        return 0;
}

static int take_item(Scanner *s, char **key, XlValue *value, unsigned line, bool add)
{
        XlItem *items, *former = find_item(s->file, *key);

        if (former && add)
                return join_values(s, &former->value, value);
        if (former) {
                value_done(&former->value);
                former->value = *value;
                former->line = line;
        } else {
                items = reallocarray(s->file->items, s->file->n_items + 1, sizeof *items);
                if (!items)
                        return -ENOMEM;
                s->file->items = items;
                items[s->file->n_items++] = (XlItem) { .key = TAKE_PTR(*key), .value = *value, .line = line };
        }
        *value = (XlValue) { 0 };
        return 0;
}

static int scan_item(Scanner *s)
{
        _cleanup_free_ char *key = NULL;
        const char *start = s->p;
        XlValue value = { 0 };
        unsigned line = s->line;
        bool add;
        int r;

        if (*s->p < 'a' || *s->p > 'z')
                return complain(s, "a key in lower-case letters expected");
        while (s->p < s->end && (islower((unsigned char) *s->p) || isdigit((unsigned char) *s->p) || *s->p == '_'))
                s->p++;
        key = strndup(start, (size_t) (s->p - start));
        if (!key)
                return -ENOMEM;
        r = skip_blanks(s, false);
        if (r < 0)
                return r;
        add = peek(s) == '+';
        if (add)
                s->p++;
        if (peek(s) != '=')
                return complain(s, "'=' expected behind '%s'", key);
        s->p++;
        r = skip_blanks(s, false);
        if (r >= 0)
                r = scan_value(s, &value, 0);
        if (r >= 0)
                r = take_item(s, &key, &value, line, add);
        value_done(&value);
        if (r >= 0)
                r = skip_blanks(s, false);
        if (r < 0)
                return r;
        if (s->p < s->end && peek(s) != '\n' && peek(s) != ';')
                return complain(s, "a line end or ';' expected behind a value");
        return 0;
}

int xl_parse(const char *text, size_t size, XlFile **ret, char **ret_why)
{
        _cleanup_xl_ XlFile *f = calloc(1, sizeof *f);
        Scanner s = { .p = text, .end = text + size, .line = 1, .file = f };
        int r = f ? 0 : -ENOMEM;

        while (r >= 0) {
                r = skip_blanks(&s, true);
                if (r < 0 || s.p == s.end)
                        break;
                if (peek(&s) == ';')
                        s.p++;
                else
                        r = scan_item(&s);
        }
        if (r == -EBADMSG)
                *ret_why = s.why;
        else
                free(s.why);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(f);
        return 0;
}

XlItem *xl_take(XlFile *f, const char *key)
{
        XlItem *i = find_item(f, key);

        if (i)
                i->used = true;
        return i;
}

bool xl_value_number(const XlValue *v, int64_t *ret)
{
        if (v->kind == XL_LIST)
                return false;
        return number_valid(v->text, ret);
}

static void print_quoted(const char *s, char quote, StrBuf *b)
{
        strbuf_addc(b, quote);
        for (; *s; s++) {
                if (*s == quote || *s == '\\')
                        strbuf_addc(b, '\\');
                if (*s == '\n')
                        strbuf_add(b, "\\n");
                else
                        strbuf_addc(b, *s);
        }
        strbuf_addc(b, quote);
}

int xl_quote(const char *s, StrBuf *b)
{
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p < 32 || *p == 127)
                        return -EINVAL;
        print_quoted(s, '\'', b);
        return 0;
}

void xl_print(const XlValue *v, StrBuf *b)
{
        switch (v->kind) {
        case XL_STRING:
                print_quoted(v->text, v->quote, b);
                break;
        case XL_NUMBER:
                strbuf_add(b, v->text);
                break;
        case XL_LIST:
                strbuf_add(b, "[");
                for (size_t i = 0; i < v->n_items; i++) {
                        strbuf_add(b, i ? ", " : "");
                        xl_print(&v->items[i], b);
                }
                strbuf_add(b, "]");
                break;
        }
}
