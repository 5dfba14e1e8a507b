/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "introspect.h"

#include "strbuf.h"
#include "xml-tags.h"

#define ITEMS_MAX 65536 /* interfaces, members, arguments and nodes together */
#define DEPTH_MAX 64

typedef struct Reader {
        Introspection *x;
        unsigned n_items;
        unsigned depth;   /* of open elements */
        unsigned skip;    /* > 0: inside an element that is skipped, at this depth */
        IntroInterface *interface; /* open ones */
        IntroMember *member;
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

static int open_member(Reader *r, IntroKind kind, const XmlTag *t)
{
        IntroMember *m = grow(r, (void **) &r->interface->members, &r->interface->n_members, sizeof *m);

        if (!m)
                return -EFBIG;
        m->kind = kind;
        m->name = strdup(t->name);
        m->type = strdup(t->type);
        m->access = strdup(t->access[0] ? t->access : "read");
        if (!m->name || !m->type || !m->access)
                return -ENOMEM;
        r->member = m;
        return 0;
}

static int open_arg(Reader *r, const XmlTag *t)
{
        IntroArg *a = grow(r, (void **) &r->member->args, &r->member->n_args, sizeof *a);

        if (!a)
                return -EFBIG;
        a->name = strdup(t->name);
        a->type = strdup(t->type);
        if (!a->name || !a->type)
                return -ENOMEM;
        a->out = t->direction[0] ? streq(t->direction, "out") : r->member->kind != INTRO_METHOD;
        return 0;
}

/* An element begins at the depth it has now; what has no place there is skipped with all it holds. */
static int open_element(Reader *r, const XmlTag *t)
{
        static const char *const members[] = { "method", "property", "signal" };
        bool is_node = streq(t->element, "node");

        if (r->depth == 1)
                return is_node ? 0 : -EBADMSG;
        if (r->depth == 2 && is_node) {
                r->skip = r->depth;
                if (!t->name[0])
                        return 0;
                return ++r->n_items > ITEMS_MAX ? -EFBIG : strv_extend(&r->x->children, t->name);
        }
        if (r->depth == 2 && streq(t->element, "interface")) {
                IntroInterface *i = grow(r, (void **) &r->x->interfaces, &r->x->n_interfaces, sizeof *i);

                if (!i)
                        return -EFBIG;
                r->interface = i;
                i->name = strdup(t->name);
                return i->name ? 0 : -ENOMEM;
        }
        if (r->depth == 3)
                for (size_t k = 0; k < ELEMENTSOF(members); k++)
                        if (streq(members[k], t->element))
                                return open_member(r, (IntroKind) k, t);
        if (r->depth == 4 && r->member && streq(t->element, "arg"))
                return open_arg(r, t);
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

static int take_tag(Reader *r, const XmlTag *t)
{
        int e = 0;

        if (t->closes)
                return close_element(r);
        if (++r->depth > DEPTH_MAX)
                return -EFBIG;
        if (!r->skip)
                e = open_element(r, t);
        return e < 0 || !t->empty ? e : close_element(r);
}

int introspection_parse(const char *untrusted_xml, Introspection **ret)
{
        _cleanup_introspection_ Introspection *x = calloc(1, sizeof *x);
        size_t size = strlen(untrusted_xml);
        XmlScanner s = { untrusted_xml, untrusted_xml + size };
        Reader r = { .x = x };
        bool seen = false;
        XmlTag t;
        int e;

        if (!x)
                return -ENOMEM;
        if (size > INTROSPECTION_MAX)
                return -EFBIG;
        while ((e = xml_next_tag(&s, &t)) > 0) {
                e = take_tag(&r, &t);
                if (e < 0)
                        break;
                seen = true;
        }
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
