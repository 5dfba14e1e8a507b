/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "introspect.h"

#include "strbuf.h"
#include "wire.h"

#define ATTRIBUTE_MAX 256

typedef struct Tag {
        char element[ATTRIBUTE_MAX];
        char name[ATTRIBUTE_MAX], type[ATTRIBUTE_MAX], direction[ATTRIBUTE_MAX]; /* attributes; "" if missing */
        bool closes, empty;                                                      /* </x>, <x/> */
} Tag;

typedef struct Scanner {
        const char *p, *end;
} Scanner;

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(Scanner *s)
{
        while (s->p < s->end && is_blank(*s->p))
                s->p++;
}

/* Goes behind the text, or to -EBADMSG. */
static int skip_to(Scanner *s, const char *text)
{
        const char *at = memmem(s->p, (size_t) (s->end - s->p), text, strlen(text));

        if (!at)
                return -EBADMSG;
        s->p = at + strlen(text);
        return 0;
}

static int read_name(Scanner *s, char ret[static ATTRIBUTE_MAX])
{
        size_t n = 0;

        while (s->p < s->end && !is_blank(*s->p) && !strchr("=/>\"'<", *s->p)) {
                if (n + 1 < ATTRIBUTE_MAX)
                        ret[n++] = *s->p;
                s->p++;
        }
        ret[n] = '\0';
        return n > 0 ? 0 : -EBADMSG;
}

/* Names and types have no characters that XML escapes; a value with any is not one of ours. */
static int read_attribute(Scanner *s, Tag *t)
{
        char name[ATTRIBUTE_MAX];
        const char *start;
        char *target, quote;
        size_t n;

        if (read_name(s, name) < 0)
                return -EBADMSG;
        skip_blanks(s);
        if (s->p == s->end || *s->p++ != '=')
                return -EBADMSG;
        skip_blanks(s);
        if (s->p == s->end || (*s->p != '"' && *s->p != '\''))
                return -EBADMSG;
        quote = *s->p++;
        start = s->p;
        while (s->p < s->end && *s->p != quote)
                s->p++;
        if (s->p == s->end)
                return -EBADMSG;
        n = (size_t) (s->p++ - start);
        target = streq(name, "name") ? t->name : streq(name, "type") ? t->type : streq(name, "direction") ? t->direction : NULL;
        if (target && n < ATTRIBUTE_MAX) {
                memcpy(target, start, n);
                target[n] = '\0';
        }
        return 0;
}

/* The next tag. Returns 1, 0 at the end, or -EBADMSG. */
static int read_tag(Scanner *s, Tag *ret)
{
        for (;;) {
                s->p = memchr(s->p, '<', (size_t) (s->end - s->p));
                if (!s->p)
                        return 0;
                s->p++;
                if (s->end - s->p >= 3 && memcmp(s->p, "!--", 3) == 0) {
                        if (skip_to(s, "-->") < 0)
                                return -EBADMSG;
                } else if (s->end - s->p >= 8 && memcmp(s->p, "![CDATA[", 8) == 0) {
                        if (skip_to(s, "]]>") < 0)
                                return -EBADMSG;
                } else if (s->p < s->end && (*s->p == '!' || *s->p == '?')) {
                        if (skip_to(s, ">") < 0)
                                return -EBADMSG;
                } else
                        break;
        }
        memset(ret, 0, sizeof(*ret));
        if (s->p < s->end && *s->p == '/') {
                ret->closes = true;
                s->p++;
        }
        if (read_name(s, ret->element) < 0)
                return -EBADMSG;
        for (;;) {
                skip_blanks(s);
                if (s->p == s->end)
                        return -EBADMSG;
                if (*s->p == '>') {
                        s->p++;
                        return 1;
                }
                if (*s->p == '/') {
                        ret->empty = true;
                        s->p++;
                } else if (read_attribute(s, ret) < 0)
                        return -EBADMSG;
        }
}

int introspect_method(const char *xml, size_t size, const char *interface, const char *member, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        Scanner s = { xml, xml + size };
        bool in_interface = false, in_method = false, found = false;
        Tag t;
        int r;

        if (size > INTROSPECT_MAX)
                return -EBADMSG;
        strbuf_add(&b, "");
        while ((r = read_tag(&s, &t)) > 0) {
                bool opens = !t.closes;

                if (streq(t.element, "interface")) {
                        in_interface = opens && !t.empty && streq(t.name, interface);
                        in_method = false;
                } else if (streq(t.element, "method")) {
                        if (opens && in_interface && !found && streq(t.name, member)) {
                                found = true;
                                in_method = !t.empty;
                        } else
                                in_method = false;
                } else if (streq(t.element, "arg") && opens && in_method && (streq(t.direction, "in") || !t.direction[0])) {
                        if (b.len + strlen(t.type) > 255)
                                return -EBADMSG;
                        strbuf_add(&b, t.type);
                }
        }
        if (r < 0)
                return r;
        if (!found)
                return -ENOENT;
        if (!b.oom && !wire_signature_valid(b.data, b.len))
                return -EBADMSG;
        return strbuf_take(&b, ret);
}
