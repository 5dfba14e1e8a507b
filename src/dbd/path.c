/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "path.h"

size_t path_depth(const char *path)
{
        size_t n = 0, len;

        while (path_next(&path, &len))
                n++;
        return n;
}

static char *add_names(char *end, const char *path)
{
        const char *name;
        size_t len;

        while ((name = path_next(&path, &len))) {
                *end++ = '/';
                end = mempcpy(end, name, len);
        }
        return end;
}

char *path_below(const char *prefix, const char *path)
{
        char *s = malloc(strlen(prefix) + strlen(path) + 3), *end;

        if (!s)
                return NULL;
        end = add_names(add_names(s, prefix), path);
        if (end == s)
                *end++ = '/';
        *end = '\0';
        return s;
}

char *path_normalize(const char *path)
{
        return path_below("", path);
}

bool path_within(const char *path, const char *prefix)
{
        size_t n = strlen(prefix);

        if (n <= 1) /* the root */
                return true;
        return strncmp(path, prefix, n) == 0 && (path[n] == '/' || !path[n]);
}
