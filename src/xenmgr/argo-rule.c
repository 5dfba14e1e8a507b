/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "argo-rule.h"

#include <ctype.h>

#include "parse.h"
#include "strbuf.h"

static bool is_end(const char *s)
{
        static const char *const words[] = { "*", "0", "myself", "my-stubdom", "myself-if-seamless", "seamless" };
        const char *rest = startswith(s, "dom-type=");

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(s, words[i]))
                        return true;
        if (!rest)
                rest = startswith(s, "dom-name=");
        if (!rest)
                return uuid_valid(s);
        for (const char *p = rest; *p; p++)
                if (!isalnum((unsigned char) *p))
                        return false;
        return *rest;
}

/* "end[:port]" with blanks around; s is cut. */
static bool read_end(char *s, const char **ret_end, const char **ret_port)
{
        char *colon;
        uint64_t port;

        s = strstrip(s);
        colon = strchr(s, ':');
        if (colon)
                *colon++ = '\0';
        *ret_end = strstrip(s);
        *ret_port = colon ? strstrip(colon) : NULL;
        if (!is_end(*ret_end))
                return false;
        return !colon || streq(*ret_port, "*") || (parse_u64(*ret_port, &port) >= 0 && port <= UINT32_MAX);
}

int argo_rule_canonical(const char *rule, char **ret)
{
        _cleanup_free_ char *copy = strdup(rule);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *end[2], *port[2];
        char *arrow;

        if (!copy)
                return -ENOMEM;
        for (char *p = copy; *p; p++)
                *p = (char) tolower((unsigned char) *p);
        arrow = strstr(copy, "->");
        if (!arrow)
                return -EINVAL;
        *arrow = '\0';
        if (!read_end(copy, &end[0], &port[0]) || !read_end(arrow + 2, &end[1], &port[1]))
                return -EINVAL;
        for (size_t i = 0; i < 2; i++) {
                strbuf_addf(&b, "%s%s", i ? " -> " : "", end[i]);
                if (port[i])
                        strbuf_addf(&b, ":%s", port[i]);
        }
        return strbuf_take(&b, ret);
}
