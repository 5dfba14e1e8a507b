/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "values.h"

#include <stdarg.h>

#include "parse.h"
#include "strbuf.h"

static int bad_value(Call *c, const VmKey *k, const char *text)
{
        if (streq(sd_bus_message_get_member(c->message), "GetAll"))
                return 0;
        (void) call_fail(c, DBUS_ERROR_FAILED, "unexpected enumeration value or type of %s in the database: '%.64s'",
                         k->property, text);
        return -EBADMSG;
}

int value_append(Call *c, const VmKey *k, const char *text, sd_bus_message *reply)
{
        const char *why;
        int64_t n = 0;
        bool b = false;
        int v, r;

        switch (k->type) {
        case VMKEY_BOOL:
                if (parse_bool(text, &b) < 0) {
                        r = bad_value(c, k, text);
                        if (r < 0)
                                return r;
                        (void) parse_bool(strempty(k->fallback), &b);
                }
                v = k->flags & VMKEY_INVERTED ? !b : b;
                return sd_bus_message_append_basic(reply, 'b', &v);
        case VMKEY_INT:
                if (!*text)
                        text = "0";
                if (schema_parse_int(text, &n) < 0 || n < INT32_MIN || n > INT32_MAX) {
                        r = bad_value(c, k, text);
                        if (r < 0)
                                return r;
                        n = 0;
                        (void) schema_parse_int(strempty(k->fallback), &n);
                }
                v = (int) n;
                return sd_bus_message_append_basic(reply, 'i', &v);
        case VMKEY_ENUM:
                if (!vm_key_check(k, text, &why)) {
                        r = bad_value(c, k, text);
                        if (r < 0)
                                return r;
                        text = k->fallback;
                }
                return sd_bus_message_append_basic(reply, 's', text);
        default:
                return sd_bus_message_append_basic(reply, 's', utf8_valid(text, strlen(text)) ? text : "");
        }
}

int value_read(sd_bus_message *message, const char *signature, char **ret)
{
        int r, v;

        if (streq(signature, "s")) {
                const char *s;

                r = sd_bus_message_read_basic(message, 's', &s);
                *ret = r < 0 ? NULL : strdup(s);
        } else {
                r = sd_bus_message_read_basic(message, signature[0], &v);
                *ret = r < 0 ? NULL : signature[0] == 'b' ? strdup(v ? "true" : "false") : strformat("%d", v);
        }
        return r < 0 ? r : *ret ? 0 : -ENOMEM;
}

int rows_add(sd_bus_message *reply, const char *key, ...)
{
        va_list ap;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{ss}");
        va_start(ap, key);
        for (; r >= 0 && key; key = va_arg(ap, const char *)) {
                const char *value = va_arg(ap, const char *);

                r = sd_bus_message_append(reply, "{ss}", key, strempty(value));
        }
        va_end(ap);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int call_build(Call *c, int (*fill)(Call *c, sd_bus_message *reply))
{
        sd_bus_message *reply = NULL;
        int r;

        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = fill(c, reply);
        if (r < 0 || c->replied) {
                sd_bus_message_unref(reply);
                return r < 0 ? r : 0;
        }
        return call_reply_message(c, reply);
}

int call_rows(Call *c, int (*fill)(Call *c, sd_bus_message *reply))
{
        sd_bus_message *reply = NULL;
        int r;

        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{ss}");
        if (r >= 0)
                r = fill(c, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0 || c->replied) {
                sd_bus_message_unref(reply);
                return r < 0 ? r : 0;
        }
        return call_reply_message(c, reply);
}

int call_reply_strv(Call *c, char type, char *const *l)
{
        char contents[2] = { type, '\0' };
        sd_bus_message *reply = NULL;
        int r;

        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', contents);
        for (; r >= 0 && l && *l; l++)
                r = sd_bus_message_append_basic(reply, type, *l);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0) {
                sd_bus_message_unref(reply);
                return r;
        }
        return call_reply_message(c, reply);
}
