/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caps.h"

#include <ctype.h>

#include "fs.h"
#include "parse.h"
#include "strbuf.h"

char *lines_value(const char *text, const char *key)
{
        for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
                _cleanup_free_ char *line = strndup(p, strcspn(p, "\n"));
                char *value = line ? strchr(line, '=') : NULL;

                if (!value)
                        continue;
                *value++ = '\0';
                if (streq(strstrip(line), key))
                        return strdup(strstrip(value));
        }
        return NULL;
}

static const char *caps_file(void)
{
        static char *text;
        static bool tried;

        if (!tried) {
                _cleanup_free_ char *flavour = NULL, *path = NULL;

                tried = true;
                if (read_file("/etc/xenclient.flavour", 256, &flavour, NULL) >= 0)
                        path = strformat("/etc/caps.%s", strstrip(flavour));
                if (read_file(path ? path : "/etc/caps.default", 64 * KIB, &text, NULL) >= 0)
                        for (char *p = text; *p; p++)
                                *p = (char) tolower((unsigned char) *p);
        }
        return text;
}

const char *caps_text(const char *key, const char *fallback)
{
        static char *last;
        char *value = lines_value(caps_file(), key);

        if (!value)
                return fallback;
        free(last);
        return last = value;
}

bool caps_bool(const char *key, bool fallback)
{
        bool v;

        return parse_bool(caps_text(key, ""), &v) >= 0 ? v : fallback;
}

int caps_list(const char *key, const char *fallback, char ***ret)
{
        _cleanup_strv_ char **all = NULL;
        int r;

        r = strv_split(caps_text(key, fallback), ' ', &all);
        for (char **w = all; r >= 0 && w && *w; w++)
                if (**w)
                        r = strv_extend(ret, *w);
        return r;
}
