/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <limits.h>

#include "fs.h"

/* Even its strict mode takes 'quoted' texts, NaN and Infinity; none of them starts with these in JSON. */
static bool has_foreign_token(const char *text, size_t size)
{
        bool quoted = false;

        for (size_t i = 0; i < size; i++) {
                if (text[i] == '"')
                        quoted = !quoted;
                else if (quoted && text[i] == '\\')
                        i++;
                else if (!quoted && (text[i] == '\'' || text[i] == 'N' || text[i] == 'I'))
                        return true;
        }
        return false;
}

int json_parse(const char *text, size_t size, int max_depth, json_object **ret)
{
        json_tokener *t;
        json_object *o;
        int r = 0;

        if (size > INT_MAX || has_foreign_token(text, size))
                return -EBADMSG;
        t = json_tokener_new_ex(max_depth);
        if (!t)
                return -ENOMEM;
        json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(t, text, (int) size);
        /* A bare number ends only with its surroundings: json-c waits for more, a blank settles it. */
        if (!o && json_tokener_get_error(t) == json_tokener_continue)
                o = json_tokener_parse_ex(t, " ", 1);
        else
                for (size_t i = json_tokener_get_parse_end(t); o && i < size; i++)
                        if (!strchr(" \t\r\n", text[i]) || !text[i]) {
                                json_object_put(o);
                                o = NULL;
                        }
        if (!o)
                r = -EBADMSG;
        json_tokener_free(t);
        if (r == 0)
                *ret = o;
        return r;
}

int json_read_file(const char *path, size_t max_size, int max_depth, json_object **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = read_file(path, max_size, &text, &size);

        return r < 0 ? r : json_parse(text, size, max_depth, ret);
}

json_object *json_get_member(json_object *o, const char *member, json_type type)
{
        json_object *v;

        if (!o || !json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, member, &v))
                return NULL;
        return json_object_is_type(v, type) ? v : NULL;
}

const char *json_get_text(json_object *o, const char *member, const char *fallback)
{
        json_object *v = json_get_member(o, member, json_type_string);

        return v ? json_object_get_string(v) : fallback;
}

int64_t json_get_int(json_object *o, const char *member, int64_t fallback)
{
        json_object *v = json_get_member(o, member, json_type_int);

        return v ? json_object_get_int64(v) : fallback;
}

bool json_get_bool(json_object *o, const char *member, bool fallback)
{
        json_object *v = json_get_member(o, member, json_type_boolean);

        return v ? json_object_get_boolean(v) : fallback;
}
