/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "names.h"

#include <search.h>

#include "caller.h"
#include "log.h"
#include "name-owners.h"
#include "strbuf.h"

#define ENDED_MAX 256 /* connections that ended and are still remembered */

typedef struct Owner {
        char *unique;
        char **names;
        char **lost; /* what it owned when it ended: dbus-daemon takes the names away first */
} Owner;

typedef struct Name {
        char *name;
        Owner *owner;
} Name;

struct Names {
        sd_bus_slot *match;
        void *owners, *names; /* tsearch trees */
        char *ended[ENDED_MAX];
        unsigned next_ended;
};

static int compare(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b); /* the first member of both */
}

static void owner_free(void *p)
{
        Owner *o = p;

        free(o->unique);
        strv_free(o->names);
        strv_free(o->lost);
        free(o);
}

static void name_free(void *p)
{
        Name *n = p;

        free(n->name);
        free(n);
}

static void *find(void *const *tree, const char *key)
{
        void **found = tfind(&key, tree, compare);

        return found ? *found : NULL;
}

/* size: of the struct, whose first member is the key. */
static void *get(void **tree, const char *key, size_t size)
{
        void *o = find(tree, key);
        char *copy;

        if (o)
                return o;
        o = calloc(1, size);
        copy = strdup(key);
        if (o && copy) {
                *(char **) o = copy;
                if (tsearch(o, tree, compare))
                        return o;
        }
        free(copy);
        free(o);
        return NULL;
}

static void strv_remove(char **l, const char *s)
{
        char **to = l;

        for (; l && *l; l++)
                if (streq(*l, s))
                        free(*l);
                else
                        *to++ = *l;
        if (l)
                *to = NULL;
}

static int names_set(void *userdata, const char *name, const char *unique)
{
        Names *n = userdata;
        Name *e = find(&n->names, name);
        Owner *o;

        if (e && e->owner) {
                strv_remove(e->owner->names, name);
                if (!unique && strv_length(e->owner->lost) < 64)
                        (void) strv_extend(&e->owner->lost, name);
                e->owner = NULL;
        }
        if (!unique) {
                if (e) {
                        tdelete(e, &n->names, compare);
                        name_free(e);
                }
                return 0;
        }
        if (!e)
                e = get(&n->names, name, sizeof *e);
        o = e ? get(&n->owners, unique, sizeof *o) : NULL;
        if (!o || strv_extend(&o->names, name) < 0)
                return -ENOMEM;
        o->lost = strv_free(o->lost);
        e->owner = o;
        return 0;
}

/* Keeps what an ended connection owned until many others have ended. */
static void names_ended(Names *n, const char *unique)
{
        Owner *o = find(&n->owners, unique);
        char *copy;

        if (!o || !(copy = strdup(unique)))
                return;
        if (n->ended[n->next_ended]) {
                Owner *old = find(&n->owners, n->ended[n->next_ended]);

                if (old) {
                        tdelete(old, &n->owners, compare);
                        owner_free(old);
                }
                free(n->ended[n->next_ended]);
        }
        n->ended[n->next_ended] = copy;
        n->next_ended = (n->next_ended + 1) % ENDED_MAX;
}

static int on_name_owner_changed(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        Names *n = userdata;
        const char *name, *old, *new;

        if (sd_bus_message_read(m, "sss", &name, &old, &new) < 0 || startswith(name, MARKER_PREFIX "."))
                return 0;
        if (name[0] == ':') {
                if (!*new)
                        names_ended(n, name);
                return 0;
        }
        if (names_set(n, name, *new ? new : NULL) < 0)
                log_oom();
        return 0;
}

static bool is_wanted(const char *name)
{
        return name[0] != ':' && !startswith(name, MARKER_PREFIX ".") && !streq(name, "org.freedesktop.DBus");
}

int names_new(sd_bus *bus, Names **ret)
{
        _cleanup_(names_freep) Names *n = calloc(1, sizeof *n);
        int r;

        if (!n)
                return -ENOMEM;
        r = name_owners_follow(bus, on_name_owner_changed, is_wanted, names_set, n, &n->match);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(n);
        return 0;
}

Names *names_free(Names *n)
{
        if (!n)
                return NULL;
        sd_bus_slot_unref(n->match);
        tdestroy(n->names, name_free);
        tdestroy(n->owners, owner_free);
        for (size_t i = 0; i < ELEMENTSOF(n->ended); i++)
                free(n->ended[i]);
        free(n);
        return NULL;
}

char *const *names_of(const Names *n, const char *unique)
{
        Owner *o = n ? find((void *const *) &n->owners, unique) : NULL;

        return o && o->names && o->names[0] ? o->names : NULL;
}

char *const *names_last_of(const Names *n, const char *unique)
{
        Owner *o = n ? find((void *const *) &n->owners, unique) : NULL;

        return !o || !o->lost ? names_of(n, unique) : o->lost;
}

const char *names_owner(const Names *n, const char *name)
{
        Name *e = n ? find((void *const *) &n->names, name) : NULL;

        return e && e->owner ? e->owner->unique : NULL;
}
