/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xl-input.h"

void input_done(Input *in)
{
        for (size_t i = 0; i < in->n; i++)
                free(in->lines[i].value);
        free(in->lines);
        strbuf_done(&in->comments);
}

void input_put(Input *in, XenvmKey key, const char *value)
{
        InputLine *lines;

        if (in->r < 0)
                return;
        if (strpbrk(value, "\n\r")) {
                in->r = conversion_fail(in->conversion, "%s: a value of several lines cannot stand in a xenvm config",
                                        xenvm_keys[key].name);
                return;
        }
        lines = reallocarray(in->lines, in->n + 1, sizeof *lines);
        if (lines) {
                in->lines = lines;
                lines[in->n].key = key;
                lines[in->n].value = strdup(value);
        }
        if (!lines || !lines[in->n++].value)
                in->r = -ENOMEM;
}

void input_put_number(Input *in, XenvmKey key, int64_t n)
{
        char s[24];

        snprintf(s, sizeof s, "%lld", (long long) n);
        input_put(in, key, s);
}

void input_put_bool(Input *in, XenvmKey key, bool b)
{
        input_put(in, key, b ? "true" : "false");
}

/* Keeps an item that xenvm cannot say, or not wholly. */
void input_keep(Input *in, const XlItem *item, const char *why)
{
        if (in->r < 0)
                return;
        strbuf_addf(&in->comments, "# xl: %s = ", item->key);
        xl_print(&item->value, &in->comments);
        strbuf_addc(&in->comments, '\n');
        in->r = conversion_warn(in->conversion, "line %u: %s: %s; kept as a comment", item->line, item->key, why);
}

void input_bad(Input *in, const XlItem *item, const char *expected)
{
        if (in->r >= 0)
                in->r = conversion_fail(in->conversion, "line %u: %s: %s expected", item->line, item->key, expected);
}

/* The text of a string or number; NULL (with an error) for a list. */
const char *input_text(Input *in, const XlItem *item)
{
        if (item->value.kind != XL_LIST)
                return item->value.text;
        input_bad(in, item, "a string");
        return NULL;
}

bool input_number(Input *in, const XlItem *item, int64_t *ret)
{
        if (xl_value_number(&item->value, ret))
                return true;
        input_bad(in, item, "a number");
        return false;
}

/* A number that may be missing. */
int64_t input_take_number(Input *in, const char *key, int64_t fallback)
{
        XlItem *item = xl_take(in->file, key);
        int64_t n = fallback;

        if (item)
                input_number(in, item, &n);
        return n;
}

/* Calls f for each string: of a list, or the one that stands alone. */
void input_each_string(Input *in, const XlItem *item, void (*f)(Input *, const XlItem *, const char *, void *), void *data)
{
        if (item->value.kind != XL_LIST) {
                f(in, item, item->value.text, data);
                return;
        }
        for (size_t i = 0; i < item->value.n_items && in->r >= 0; i++) {
                if (item->value.items[i].kind == XL_LIST)
                        input_bad(in, item, "a list of strings");
                else
                        f(in, item, item->value.items[i].text, data);
        }
}

void input_take_scalars(Input *in, XlGroup group)
{
        for (size_t i = 0; i < n_xl_scalars; i++) {
                const XlScalar *s = &xl_scalars[i];
                XlItem *item;
                int64_t n;
                const char *text;

                if (s->group != group)
                        continue;
                item = xl_take(in->file, s->xl);
                if (!item) {
                        if (in->hvm && s->hvm_default)
                                input_put_bool(in, s->key, s->hvm_default[0] == '1');
                } else if (s->form == XL_FORM_TEXT) {
                        text = input_text(in, item);
                        if (text)
                                input_put(in, s->key, text);
                } else if (input_number(in, item, &n)) {
                        if (s->form == XL_FORM_BOOL)
                                input_put_bool(in, s->key, n != 0);
                        else
                                input_put_number(in, s->key, n);
                }
        }
}
