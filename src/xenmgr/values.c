/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "values.h"

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
