/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects the classes that policy-space.c finds and joins those that differ in one variable alone. */
#include "policy-diff.h"

static void set_done(SpaceSet *s)
{
        free(s->values);
        *s = (SpaceSet) { .any = true };
}

static void class_done(SpaceClass *c)
{
        for (size_t i = 0; c->sets && i < c->n_sets; i++)
                set_done(c->sets + i);
        free(c->sets);
        *c = (SpaceClass) {};
}

void policy_diff_done(PolicyDiff *d)
{
        for (size_t i = 0; i < d->n; i++)
                class_done(d->classes + i);
        free(d->classes);
        space_free(d->space);
        *d = (PolicyDiff) {};
}

static bool listed(const SpaceSet *s, const char *value)
{
        for (size_t i = 0; i < s->n; i++)
                if (streq(s->values[i], value))
                        return true;
        return false;
}

static int set_copy(const SpaceSet *s, SpaceSet *ret)
{
        *ret = *s;
        ret->values = calloc(s->n + 1, sizeof(char *));
        if (!ret->values)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++)
                ret->values[i] = s->values[i];
        return 0;
}

static int on_class(void *userdata, const SpaceClass *c)
{
        PolicyDiff *d = userdata;
        SpaceClass *l = reallocarray(d->classes, d->n + 1, sizeof(*l)), copy = *c;

        if (!l)
                return -ENOMEM;
        d->classes = l;
        copy.sets = calloc(c->n_sets, sizeof(SpaceSet));
        if (!copy.sets)
                return -ENOMEM;
        l[d->n++] = copy;
        for (size_t i = 0; i < c->n_sets; i++)
                if (set_copy(c->sets + i, copy.sets + i) < 0)
                        return -ENOMEM;
        return 0;
}

static bool sets_equal(const SpaceSet *a, const SpaceSet *b)
{
        if (a->any != b->any || a->missing != b->missing || a->others != b->others || a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!listed(b, a->values[i]))
                        return false;
        return true;
}

static bool can_join(const SpaceClass *a, const SpaceClass *b, size_t *ret_variable)
{
        size_t n = 0;

        if (a->a != b->a || a->b != b->b || a->a_allows != b->a_allows)
                return false;
        for (size_t i = 0; i < a->n_sets; i++)
                if (!sets_equal(a->sets + i, b->sets + i)) {
                        if (n++ > 0)
                                return false;
                        *ret_variable = i;
                }
        return n == 1;
}

/* a becomes the union. all: how many listed values are all there are, where there are no others; or 0. */
static int set_join(SpaceSet *a, const SpaceSet *b, size_t all)
{
        const SpaceSet *with = a->others ? a : b, *without = a->others ? b : a;
        SpaceSet r = { .missing = a->missing || b->missing, .others = a->others || b->others };

        if (a->any || b->any) {
                set_done(a);
                return 0;
        }
        r.values = calloc(a->n + b->n + 1, sizeof(char *));
        if (!r.values)
                return -ENOMEM;
        if (a->others && b->others) {
                for (size_t i = 0; i < a->n; i++)
                        if (listed(b, a->values[i]))
                                r.values[r.n++] = a->values[i];
        } else if (r.others) {
                for (size_t i = 0; i < with->n; i++)
                        if (!listed(without, with->values[i]))
                                r.values[r.n++] = with->values[i];
        } else {
                for (size_t i = 0; i < a->n; i++)
                        r.values[r.n++] = a->values[i];
                for (size_t i = 0; i < b->n; i++)
                        if (!listed(a, b->values[i]))
                                r.values[r.n++] = b->values[i];
        }
        set_done(a);
        if ((r.others && r.missing && r.n == 0) || (all > 0 && r.n == all))
                set_done(&r);
        *a = r;
        return 0;
}

#define JOIN_MAX 4096 /* the work grows with the square */

static int join_classes(PolicyDiff *d)
{
        bool again = d->n <= JOIN_MAX;

        while (again) {
                again = false;
                for (size_t i = 0; i < d->n; i++)
                        for (size_t k = i + 1; k < d->n;) {
                                size_t v;
                                int r;

                                if (!can_join(d->classes + i, d->classes + k, &v)) {
                                        k++;
                                        continue;
                                }
                                r = set_join(d->classes[i].sets + v, d->classes[k].sets + v,
                                             v == SPACE_SUBJECT ? 8 : v == SPACE_STUBDOM ? 2 : 0);
                                if (r < 0)
                                        return r;
                                class_done(d->classes + k);
                                memmove(d->classes + k, d->classes + k + 1, (d->n - k - 1) * sizeof(*d->classes));
                                d->n--;
                                again = true;
                        }
        }
        return 0;
}

int policy_diff(const Policy *old, const Policy *new, bool solicited, PolicyDiff *ret)
{
        _cleanup_(policy_diff_done) PolicyDiff d = {};
        int r = space_new(old, new, solicited, &d.space);

        if (r == 0)
                r = space_differences(d.space, on_class, &d);
        if (r == 0)
                r = join_classes(&d);
        if (r < 0)
                return r;
        *ret = d;
        d = (PolicyDiff) {};
        return 0;
}
