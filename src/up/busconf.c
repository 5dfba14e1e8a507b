/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All but the address is in data/dbus-1: a stack that root started has the policy that the system bus
 * gets too; where everything is one ordinary user, that user's connections alone are taken.
 */
#include "busconf.h"

#include "fs.h"
#include "log.h"
#include "strbuf.h"

static void add_escaped(StrBuf *b, const char *s)
{
        for (; *s; s++)
                switch (*s) {
                case '&':
                        strbuf_add(b, "&amp;");
                        break;
                case '<':
                        strbuf_add(b, "&lt;");
                        break;
                default:
                        strbuf_addc(b, *s);
                }
}

static bool is_letter_or_digit(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Adds "unix:path=<path>" with what an address cannot hold as %XX. */
static void bus_address_add_path(StrBuf *b, const char *path)
{
        strbuf_add(b, "unix:path=");
        for (; *path; path++)
                if (is_letter_or_digit(*path) || strchr("-_/.", *path))
                        strbuf_addc(b, *path);
                else
                        strbuf_addf(b, "%%%02x", (unsigned char) *path);
}

int busconf_write(const Stack *s)
{
        _cleanup_free_ char *path = paths_format(&s->paths, PATH_RUNTIME, BUSCONF_NAME), *text = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r;

        if (!path)
                return log_oom();
        strbuf_add(&b, "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
                       " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                       "<!-- Written by `oxt up`; changes are lost. -->\n"
                       "<busconfig>\n  <type>system</type>\n  <listen>");
        bus_address_add_path(&b, paths_get(&s->paths, PATH_BUS_SOCKET));
        strbuf_add(&b, "</listen>\n  <auth>EXTERNAL</auth>\n  <include>");
        add_escaped(&b, data_dir());
        strbuf_addf(&b, "/dbus-1/private-%s.conf</include>\n</busconfig>\n", s->root ? "root" : "user");
        r = strbuf_take(&b, &text);
        if (r >= 0)
                r = write_file_atomic(path, text, strlen(text), 0644);
        return r < 0 ? log_errno(r, "Cannot write %s", path) : 0;
}
