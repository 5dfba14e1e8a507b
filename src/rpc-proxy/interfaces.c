/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "interfaces.h"

#include "fs.h"

typedef struct Row {
        const char *interface, *member;
        MemberKind kind;
} Row;

struct Interfaces {
        char *text;
        Row *rows;
        size_t n;
};

static int interfaces_add(Interfaces *l, char *line)
{
        static const struct {
                const char *word;
                MemberKind kind;
        } kinds[] = { { "method", MEMBER_METHOD }, { "signal", MEMBER_SIGNAL }, { "property", MEMBER_PROPERTY } };
        char *interface = strsep(&line, "\t"), *kind = strsep(&line, "\t"), *member = strsep(&line, "\t");
        Row *rows;

        if (!member)
                return -EBADMSG;
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                if (!streq(kind, kinds[i].word))
                        continue;
                rows = reallocarray(l->rows, l->n + 1, sizeof(Row));
                if (!rows)
                        return -ENOMEM;
                l->rows = rows;
                rows[l->n++] = (Row) { interface, member, kinds[i].kind };
                return 0;
        }
        return -EBADMSG;
}

int interfaces_load(const char *path, Interfaces **ret)
{
        _cleanup_(interfaces_freep) Interfaces *l = calloc(1, sizeof(*l));
        char *p, *line;
        int r;

        if (!l)
                return -ENOMEM;
        r = read_file(path, MIB, &l->text, NULL);
        if (r < 0)
                return r;
        for (p = l->text; (line = strsep(&p, "\n"));) {
                if (line[0] == '#' || !line[0])
                        continue;
                r = interfaces_add(l, line);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(l);
        return 0;
}

Interfaces *interfaces_free(Interfaces *l)
{
        if (!l)
                return NULL;
        free(l->text);
        free(l->rows);
        free(l);
        return NULL;
}

bool interfaces_has(const Interfaces *l, const char *interface)
{
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->rows[i].interface, interface))
                        return true;
        return false;
}

bool interfaces_has_member(const Interfaces *l, const char *interface, const char *member, unsigned kinds)
{
        for (size_t i = 0; i < l->n; i++)
                if ((l->rows[i].kind & kinds) && streq(l->rows[i].member, member) &&
                    (!interface || streq(l->rows[i].interface, interface)))
                        return true;
        return false;
}
