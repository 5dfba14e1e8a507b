/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "introspect.h"

#include "strbuf.h"
#include "wire.h"
#include "xml-tags.h"

int introspect_method(const char *xml, size_t size, const char *interface, const char *member, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        XmlScanner s = { xml, xml + size };
        bool in_interface = false, in_method = false, found = false;
        XmlTag t;
        int r;

        if (size > INTROSPECT_MAX)
                return -EBADMSG;
        strbuf_add(&b, "");
        while ((r = xml_next_tag(&s, &t)) > 0) {
                bool opens = !t.closes;

                if (streq(t.element, "interface")) {
                        in_interface = opens && !t.empty && streq(t.name, interface);
                        in_method = false;
                } else if (streq(t.element, "method")) {
                        if (opens && in_interface && !found && streq(t.name, member)) {
                                found = true;
                                in_method = !t.empty;
                        } else
                                in_method = false;
                } else if (streq(t.element, "arg") && opens && in_method && (streq(t.direction, "in") || !t.direction[0])) {
                        if (b.len + strlen(t.type) > 255)
                                return -EBADMSG;
                        strbuf_add(&b, t.type);
                }
        }
        if (r < 0)
                return r;
        if (!found)
                return -ENOENT;
        if (!b.oom && !wire_signature_valid(b.data, b.len))
                return -EBADMSG;
        return strbuf_take(&b, ret);
}
