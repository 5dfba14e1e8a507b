/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "strbuf.h"

#include "parse.h"

void strbuf_done(StrBuf *b)
{
        free(b->data);
        *b = (StrBuf) STRBUF_INIT;
}

static bool strbuf_reserve(StrBuf *b, size_t extra)
{
        size_t need = b->len + extra + 1, size;
        char *p;

        if (b->oom || need < extra) {
                b->oom = true;
                return false;
        }
        if (need <= b->size)
                return true;
        size = MAX2(need, b->size ? b->size * 2 : (size_t) 64);
        p = realloc(b->data, size);
        if (!p) {
                b->oom = true;
                return false;
        }
        b->data = p;
        b->size = size;
        return true;
}

void strbuf_addn(StrBuf *b, const char *s, size_t n)
{
        if (!strbuf_reserve(b, n))
                return;
        memcpy(b->data + b->len, s, n);
        b->len += n;
        b->data[b->len] = '\0';
}

void strbuf_add(StrBuf *b, const char *s)
{
        strbuf_addn(b, s, strlen(s));
}

void strbuf_addc(StrBuf *b, char c)
{
        strbuf_addn(b, &c, 1);
}

void strbuf_addf(StrBuf *b, const char *fmt, ...)
{
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        if (n < 0 || !strbuf_reserve(b, (size_t) n)) {
                b->oom = true;
                return;
        }
        va_start(ap, fmt);
        vsnprintf(b->data + b->len, (size_t) n + 1, fmt, ap);
        va_end(ap);
        b->len += (size_t) n;
}

void strbuf_add_padded(StrBuf *b, const char *s, unsigned width)
{
        unsigned n = 0;

        for (const char *p = s; *p; p++)
                n += ((unsigned char) *p & 0xc0) != 0x80;
        strbuf_addf(b, "%s%*s", s, n < width ? (int) (width - n) : 0, "");
}

void strbuf_add_xml(StrBuf *b, const char *s)
{
        for (; *s; s++)
                if (*s == '&')
                        strbuf_add(b, "&amp;");
                else if (*s == '<')
                        strbuf_add(b, "&lt;");
                else if (*s == '"')
                        strbuf_add(b, "&quot;");
                else
                        strbuf_addc(b, *s);
}

void strbuf_add_utf8(StrBuf *b, const char *s)
{
        while (*s) {
                size_t n = 1, most = strnlen(s, 4);

                while (n <= most && !utf8_valid(s, n))
                        n++;
                if (n <= most)
                        strbuf_addn(b, s, n);
                else
                        strbuf_addf(b, "\\x%02x", (unsigned char) *s);
                s += n <= most ? n : 1;
        }
}

int strbuf_take(StrBuf *b, char **ret)
{
        if (b->oom || !strbuf_reserve(b, 0)) {
                strbuf_done(b);
                return -ENOMEM;
        }
        b->data[b->len] = '\0';
        *ret = TAKE_PTR(b->data);
        *b = (StrBuf) STRBUF_INIT;
        return 0;
}

char **strv_free(char **l)
{
        if (l)
                for (char **p = l; *p; p++)
                        free(*p);
        free(l);
        return NULL;
}

size_t strv_length(char *const *l)
{
        size_t n = 0;

        while (l && l[n])
                n++;
        return n;
}

bool strv_contains(char *const *l, const char *s)
{
        for (; l && *l; l++)
                if (streq(*l, s))
                        return true;
        return false;
}

static int strv_consume(char ***l, char *s)
{
        size_t n = strv_length(*l);
        char **p;

        if (!s)
                return -ENOMEM;
        p = reallocarray(*l, n + 2, sizeof *p);
        if (!p) {
                free(s);
                return -ENOMEM;
        }
        p[n] = s;
        p[n + 1] = NULL;
        *l = p;
        return 0;
}

int strv_extend(char ***l, const char *s)
{
        return strv_consume(l, strdup(s));
}

int strv_extendf(char ***l, const char *fmt, ...)
{
        va_list ap;
        char *s;

        va_start(ap, fmt);
        s = strformatv(fmt, ap);
        va_end(ap);
        return strv_consume(l, s);
}

int strv_split(const char *s, char sep, char ***ret)
{
        _cleanup_strv_ char **l = NULL;

        for (;;) {
                const char *e = strchrnul(s, sep);
                int r = strv_consume(&l, strndup(s, (size_t) (e - s)));

                if (r < 0)
                        return r;
                if (!*e)
                        break;
                s = e + 1;
        }
        *ret = TAKE_PTR(l);
        return 0;
}

char *strformatv(const char *fmt, va_list ap)
{
        char *s;

        return vasprintf(&s, fmt, ap) < 0 ? NULL : s;
}

char *strformat(const char *fmt, ...)
{
        va_list ap;
        char *s;

        va_start(ap, fmt);
        s = strformatv(fmt, ap);
        va_end(ap);
        return s;
}

bool words_contain(const char *words, const char *word)
{
        size_t l = strlen(word);

        for (const char *p = words; p && *p; p += strspn(p, " ")) {
                size_t n = strcspn(p, " ");

                if (n == l && n > 0 && memcmp(p, word, n) == 0)
                        return true;
                p += n;
        }
        return false;
}

char *strstrip(char *s)
{
        size_t n;

        s += strspn(s, " \t\r\n");
        n = strlen(s);
        while (n > 0 && strchr(" \t\r\n", s[n - 1]))
                s[--n] = '\0';
        return s;
}
