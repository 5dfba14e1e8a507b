/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "match.h"

static bool is_arg_key(const char *key)
{
        const char *p = startswith(key, "arg");
        int n = 0;

        for (; p && *p >= '0' && *p <= '9' && n <= 63; p++)
                n = n * 10 + (*p - '0');
        return p && p > key + 3 && n <= 63 && (!*p || streq(p, "path") || streq(key, "arg0namespace"));
}

/* One value, quoted as in a shell: '…' literally, \' outside of quotes. Moves *in behind it. */
static int take_value(const char **in, char **out)
{
        const char *s = *in;
        bool quoted = false;

        for (; *s && (quoted || *s != ','); s++) {
                if (*s == '\'')
                        quoted = !quoted;
                else if (*s == '\\' && !quoted && s[1] == '\'')
                        *(*out)++ = *++s;
                else
                        *(*out)++ = *s;
        }
        *(*out)++ = '\0';
        *in = s;
        return quoted ? -EINVAL : 0;
}

int match_rule_parse(const char *untrusted_rule, MatchRule *ret)
{
        const char *eavesdrop = NULL, *in = untrusted_rule;
        char *out = ret->text;
        const struct {
                const char *key;
                const char **value;
        } keys[] = {
                { "type", &ret->type },         { "sender", &ret->sender },
                { "interface", &ret->interface }, { "member", &ret->member },
                { "path", &ret->path },         { "path_namespace", &ret->path_namespace },
                { "destination", &ret->destination }, { "arg0", &ret->arg0 },
                { "eavesdrop", &eavesdrop },
        };

        if (strlen(untrusted_rule) > MATCH_RULE_MAX)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                *keys[i].value = NULL;
        ret->eavesdrop = false;
        while (*in) {
                const char *key, *value;
                bool known = false;

                in += strspn(in, " \t\r\n");
                if (!*in)
                        break;
                key = out;
                while (*in && *in != '=' && *in != ',' && *in != ' ')
                        *out++ = *in++;
                in += strspn(in, " ");
                if (*in++ != '=')
                        return -EINVAL;
                *out++ = '\0';
                value = out;
                if (take_value(&in, &out) < 0)
                        return -EINVAL;
                for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                        if (streq(key, keys[i].key)) {
                                if (*keys[i].value)
                                        return -EINVAL;
                                *keys[i].value = value;
                                known = true;
                        }
                if (!known && !is_arg_key(key))
                        return -EINVAL;
                if (*in == ',')
                        in++;
        }
        if (eavesdrop && !streq(eavesdrop, "true") && !streq(eavesdrop, "false"))
                return -EINVAL;
        ret->eavesdrop = eavesdrop && streq(eavesdrop, "true");
        return 0;
}
