/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers that are lists or tables, made and read. */
#include <stdarg.h>

#include "service.h"
#include "strbuf.h"

/* r: how building the reply went. A call that was failed meanwhile has its answer. */
static int finish(Call *c, sd_bus_message *reply, int r)
{
        if (r < 0 || c->replied) {
                sd_bus_message_unref(reply);
                return r < 0 ? r : 0;
        }
        return call_reply_message(c, reply);
}

int call_reply_array(Call *c, const char *contents, int (*fill)(Call *c, sd_bus_message *reply))
{
        sd_bus_message *reply = NULL;
        int r;

        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', contents);
        if (r >= 0)
                r = fill(c, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return finish(c, reply, r);
}

int call_reply_strv(Call *c, char type, char *const *l)
{
        const char contents[2] = { type, '\0' };
        sd_bus_message *reply = NULL;
        int r;

        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', contents);
        for (; r >= 0 && l && *l; l++)
                r = sd_bus_message_append_basic(reply, type, *l);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return finish(c, reply, r);
}

int reply_add_row(sd_bus_message *reply, const char *key, ...)
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

int reply_read_paths(sd_bus_message *untrusted_reply, const char *key, char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        const char *name, *value;
        unsigned n = 0;
        int r = sd_bus_message_enter_container(untrusted_reply, 'a', "a{ss}");

        while (r >= 0 && (r = sd_bus_message_enter_container(untrusted_reply, 'a', "{ss}")) > 0) {
                while (r >= 0 && (r = sd_bus_message_read(untrusted_reply, "{ss}", &name, &value)) > 0)
                        if (streq(name, key) && n < REPLY_PATHS_MAX && strlen(value) <= REPLY_PATH_MAX &&
                            sd_bus_object_path_is_valid(value)) {
                                r = strv_extend(&l, value);
                                n++;
                        }
                if (r >= 0)
                        r = sd_bus_message_exit_container(untrusted_reply);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}
