/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "introspect.h"

#include <ctype.h>

#include "strbuf.h"

#define ITEMS_MAX 65536 /* interfaces, members, arguments and nodes together */
#define DEPTH_MAX 64
#define ATTRIBUTES_MAX 16

typedef struct Attribute {
        const char *name;
        size_t name_size;
        char *value;
} Attribute;

typedef struct Reader {
        const char *p;
        Introspection *x;
        unsigned n_items;
        unsigned depth;   /* of open elements */
        unsigned skip;    /* > 0: inside an element that is skipped, at this depth */
        IntroInterface *interface; /* open ones */
        IntroMember *member;
        Attribute attributes[ATTRIBUTES_MAX];
        size_t n_attributes;
} Reader;

Introspection *introspection_free(Introspection *x)
{
        if (!x)
                return NULL;
        for (size_t i = 0; i < x->n_interfaces; i++) {
                IntroInterface *f = &x->interfaces[i];

                for (size_t j = 0; j < f->n_members; j++) {
                        IntroMember *m = &f->members[j];

                        for (size_t k = 0; k < m->n_args; k++) {
                                free(m->args[k].name);
                                free(m->args[k].type);
                        }
                        free(m->args);
                        free(m->name);
                        free(m->type);
                        free(m->access);
                }
                free(f->members);
                free(f->name);
        }
        free(x->interfaces);
        strv_free(x->children);
        free(x);
        return NULL;
}

/* Makes room for one more; returns the new, zeroed element. */
static void *grow(Reader *r, void **items, size_t *n, size_t size)
{
        void *p;

        if (++r->n_items > ITEMS_MAX)
                return NULL;
        p = reallocarray(*items, *n + 1, size);
        if (!p)
                return NULL;
        *items = p;
        return memset((char *) p + (*n)++ * size, 0, size);
}

static bool name_char(char c)
{
        return isalnum((unsigned char) c) || c == '_' || c == '-' || c == '.' || c == ':';
}

static const struct {
        const char *entity;
        char c;
} entities[] = { { "amp;", '&' }, { "lt;", '<' }, { "gt;", '>' }, { "quot;", '"' }, { "apos;", '\'' } };

static int unescape(const char *s, size_t n, char **ret)
{
        char *o, *start = malloc(n + 1);
        size_t i = 0;

        if (!start)
                return -ENOMEM;
        for (o = start; i < n; i++) {
                size_t e;

                if (s[i] != '&') {
                        *o++ = s[i];
                        continue;
                }
                for (e = 0; e < ELEMENTSOF(entities); e++)
                        if (n - i > strlen(entities[e].entity) &&
                            strncmp(s + i + 1, entities[e].entity, strlen(entities[e].entity)) == 0)
                                break;
                if (e == ELEMENTSOF(entities)) {
                        /* Names and signatures have no characters that would need a number. */
                        free(start);
                        return -EBADMSG;
                }
                *o++ = entities[e].c;
                i += strlen(entities[e].entity);
        }
        *o = '\0';
        *ret = start;
        return 0;
}

static void drop_attributes(Reader *r)
{
        while (r->n_attributes > 0)
                free(r->attributes[--r->n_attributes].value);
}

static char *attribute(Reader *r, const char *name, const char *fallback)
{
        for (size_t i = 0; i < r->n_attributes; i++)
                if (r->attributes[i].name_size == strlen(name) &&
                    strncmp(r->attributes[i].name, name, strlen(name)) == 0)
                        return strdup(r->attributes[i].value);
        return fallback ? strdup(fallback) : NULL;
}

static int read_attributes(Reader *r)
{
        for (;;) {
                Attribute *a = &r->attributes[r->n_attributes];
                const char *end;
                char quote;
                int e;

                r->p += strspn(r->p, " \t\r\n");
                if (!name_char(*r->p))
                        return 0;
                if (r->n_attributes == ATTRIBUTES_MAX)
                        return -EFBIG;
                a->name = r->p;
                while (name_char(*r->p))
                        r->p++;
                a->name_size = (size_t) (r->p - a->name);
                r->p += strspn(r->p, " \t\r\n");
                if (*r->p++ != '=')
                        return -EBADMSG;
                r->p += strspn(r->p, " \t\r\n");
                quote = *r->p++;
                if (quote != '"' && quote != '\'')
                        return -EBADMSG;
                end = strchr(r->p, quote);
                if (!end)
                        return -EBADMSG;
                e = unescape(r->p, (size_t) (end - r->p), &a->value);
                if (e < 0)
                        return e;
                r->n_attributes++;
                r->p = end + 1;
        }
}

static int open_member(Reader *r, IntroKind kind)
{
        IntroMember *m = grow(r, (void **) &r->interface->members, &r->interface->n_members, sizeof *m);

        if (!m)
                return -EFBIG;
        m->kind = kind;
        m->name = attribute(r, "name", "");
        m->type = attribute(r, "type", "");
        m->access = attribute(r, "access", "read");
        if (!m->name || !m->type || !m->access)
                return -ENOMEM;
        r->member = m;
        return 0;
}

static int open_arg(Reader *r)
{
        _cleanup_free_ char *direction = attribute(r, "direction", r->member->kind == INTRO_METHOD ? "in" : "out");
        IntroArg *a = grow(r, (void **) &r->member->args, &r->member->n_args, sizeof *a);

        if (!a)
                return -EFBIG;
        a->name = attribute(r, "name", "");
        a->type = attribute(r, "type", "");
        if (!a->name || !a->type || !direction)
                return -ENOMEM;
        a->out = streq(direction, "out");
        return 0;
}

/* An element begins at the depth it has now; what has no place there is skipped with all it holds. */
static int open_element(Reader *r, const char *name, size_t n)
{
        static const char *const members[] = { "method", "property", "signal" };
        bool is_node = n == 4 && strncmp(name, "node", 4) == 0;

        if (r->depth == 1)
                return is_node ? 0 : -EBADMSG;
        if (r->depth == 2 && is_node) {
                _cleanup_free_ char *child = attribute(r, "name", NULL);

                r->skip = r->depth;
                if (!child)
                        return 0;
                return ++r->n_items > ITEMS_MAX ? -EFBIG : strv_extend(&r->x->children, child);
        }
        if (r->depth == 2 && n == 9 && strncmp(name, "interface", 9) == 0) {
                IntroInterface *i = grow(r, (void **) &r->x->interfaces, &r->x->n_interfaces, sizeof *i);

                if (!i)
                        return -EFBIG;
                r->interface = i;
                i->name = attribute(r, "name", "");
                return i->name ? 0 : -ENOMEM;
        }
        if (r->depth == 3)
                for (size_t k = 0; k < ELEMENTSOF(members); k++)
                        if (strlen(members[k]) == n && strncmp(members[k], name, n) == 0)
                                return open_member(r, (IntroKind) k);
        if (r->depth == 4 && r->member && n == 3 && strncmp(name, "arg", 3) == 0)
                return open_arg(r);
        r->skip = r->depth;
        return 0;
}

static int close_element(Reader *r)
{
        if (r->depth == 0)
                return -EBADMSG;
        if (r->skip == r->depth)
                r->skip = 0;
        if (r->depth == 3)
                r->member = NULL;
        if (r->depth == 2)
                r->interface = NULL;
        r->depth--;
        return 0;
}

static int read_tag(Reader *r)
{
        const char *name;
        size_t n;
        int e;

        if (r->p[0] == '!' || r->p[0] == '?') {
                /* A comment, the XML head or a DOCTYPE without an internal subset. */
                bool comment = strncmp(r->p, "!--", 3) == 0;
                const char *end = strstr(comment ? r->p + 3 : r->p, comment ? "-->" : ">");

                if (!end)
                        return -EBADMSG;
                r->p = end + (comment ? 3 : 1);
                return 0;
        }
        if (r->p[0] == '/') {
                r->p += strcspn(r->p, ">");
                if (*r->p++ != '>')
                        return -EBADMSG;
                return close_element(r);
        }
        name = r->p;
        while (name_char(*r->p))
                r->p++;
        n = (size_t) (r->p - name);
        if (n == 0)
                return -EBADMSG;
        e = read_attributes(r);
        if (e < 0)
                return e;
        if (++r->depth > DEPTH_MAX)
                return -EFBIG;
        if (!r->skip) {
                e = open_element(r, name, n);
                if (e < 0)
                        return e;
        }
        drop_attributes(r);
        if (r->p[0] == '/' && r->p[1] == '>') {
                r->p += 2;
                return close_element(r);
        }
        return *r->p++ == '>' ? 0 : -EBADMSG;
}

int introspection_parse(const char *untrusted_xml, Introspection **ret)
{
        _cleanup_introspection_ Introspection *x = calloc(1, sizeof *x);
        Reader r = { .p = untrusted_xml, .x = x };
        bool seen = false;
        int e = 0;

        if (!x)
                return -ENOMEM;
        if (strlen(untrusted_xml) > INTROSPECTION_MAX)
                return -EFBIG;
        while (e >= 0) {
                r.p += strcspn(r.p, "<");
                if (!*r.p)
                        break;
                r.p++;
                e = read_tag(&r);
                seen |= r.depth > 0;
        }
        drop_attributes(&r);
        if (e < 0)
                return e;
        if (!seen || r.depth > 0)
                return -EBADMSG;
        *ret = TAKE_PTR(x);
        return 0;
}

const IntroInterface *introspection_interface(const Introspection *x, const char *name)
{
        for (size_t i = 0; i < x->n_interfaces; i++)
                if (streq(x->interfaces[i].name, name))
                        return &x->interfaces[i];
        return NULL;
}

const IntroMember *interface_member(const IntroInterface *i, IntroKind kind, const char *name)
{
        for (size_t m = 0; m < i->n_members; m++)
                if (i->members[m].kind == kind && streq(i->members[m].name, name))
                        return &i->members[m];
        return NULL;
}

const IntroMember *introspection_member(const Introspection *x, IntroKind kind, const char *name,
                                        const IntroInterface **ret_interface)
{
        for (size_t i = 0; i < x->n_interfaces; i++) {
                const IntroMember *m = interface_member(&x->interfaces[i], kind, name);

                if (m) {
                        *ret_interface = &x->interfaces[i];
                        return m;
                }
        }
        return NULL;
}

char *member_in_signature(const IntroMember *m)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *s;

        for (size_t i = 0; i < m->n_args; i++)
                if (!m->args[i].out)
                        strbuf_add(&b, m->args[i].type);
        return strbuf_take(&b, &s) < 0 ? NULL : s;
}
