/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xml-tags.h"

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(XmlScanner *s)
{
        while (s->p < s->end && is_blank(*s->p))
                s->p++;
}

/* Goes behind the text, or to -EBADMSG. */
static int skip_to(XmlScanner *s, const char *text)
{
        const char *at = memmem(s->p, (size_t) (s->end - s->p), text, strlen(text));

        if (!at)
                return -EBADMSG;
        s->p = at + strlen(text);
        return 0;
}

static int read_name(XmlScanner *s, char ret[static XML_TAG_MAX])
{
        size_t n = 0;

        while (s->p < s->end && !is_blank(*s->p) && !strchr("=/>\"'<", *s->p)) {
                if (n + 1 < XML_TAG_MAX)
                        ret[n++] = *s->p;
                s->p++;
        }
        ret[n] = '\0';
        return n > 0 ? 0 : -EBADMSG;
}

/* Names and types have no characters that XML escapes; a value with any is not one of ours. */
static int read_attribute(XmlScanner *s, XmlTag *t)
{
        char name[XML_TAG_MAX];
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
        target = streq(name, "name")        ? t->name
                 : streq(name, "type")      ? t->type
                 : streq(name, "direction") ? t->direction
                 : streq(name, "access")    ? t->access
                                            : NULL;
        if (target && n < XML_TAG_MAX) {
                memcpy(target, start, n);
                target[n] = '\0';
        }
        return 0;
}

int xml_next_tag(XmlScanner *s, XmlTag *ret)
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
