/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as introspection data; its types as signatures, and its names as values of those types. */
#include <systemd/sd-bus.h>

#include "dbus-text.h"
#include "introspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sd_bus *bus;

static void append(const char *type, const char *text)
{
        sd_bus_message *m = NULL;
        const char *why = NULL;
        StrBuf b = STRBUF_INIT, json = STRBUF_INIT;

        if (signature_count(type) != 1 || sd_bus_message_new_method_call(bus, &m, "a.b", "/", "a.b", "C") < 0)
                return;
        if (dbus_text_append(m, type, text, &why) >= 0 && sd_bus_message_seal(m, 1, 0) >= 0) {
                (void) dbus_text_print(m, &b);
                (void) sd_bus_message_rewind(m, true);
                (void) dbus_text_print_json(m, &json);
        }
        strbuf_done(&b);
        strbuf_done(&json);
        sd_bus_message_unref(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = strndup((const char *) data, size);
        _cleanup_introspection_ Introspection *x = NULL;

        if (!bus && sd_bus_new(&bus) < 0)
                return 0;
        if (!text || introspection_parse(text, &x) < 0)
                return 0;
        for (size_t i = 0; i < x->n_interfaces && i < 8; i++)
                for (size_t m = 0; m < x->interfaces[i].n_members && m < 8; m++) {
                        const IntroMember *member = &x->interfaces[i].members[m];
                        _cleanup_free_ char *types _unused_ = member_in_signature(member);

                        append(member->type, member->name);
                        for (size_t a = 0; a < member->n_args && a < 8; a++)
                                append(member->args[a].type, member->args[a].name);
                }
        return 0;
}
