/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Database paths: names separated by '/', empty ones dropped, so that "a/b", "/a/b" and "//a//b/" are
 * the same and "" and "/" are the root. There is no escaping, and "." and ".." are ordinary names.
 */
#include "util.h"

/*
 * Steps through a path: *p stands behind the name that is returned (not terminated, *ret_len bytes);
 * NULL at the end.
 */
static inline const char *path_next(const char **p, size_t *ret_len)
{
        const char *s = *p, *e;

        while (*s == '/')
                s++;
        if (!*s) {
                *p = s;
                return NULL;
        }
        e = strchrnul(s, '/');
        *ret_len = (size_t) (e - s);
        *p = e;
        return s;
}

/* Number of names in the path. */
size_t path_depth(const char *path);

/* "/" for the root, else each name with one '/' before it. To be freed; NULL: out of memory. */
char *path_normalize(const char *path);

/* The same of prefix + "/" + path, for a caller whose root is at prefix (a normal path; "/" or "" for none). */
char *path_below(const char *prefix, const char *path);

/* True if the normal path is prefix or lies below it. */
bool path_within(const char *path, const char *prefix);
