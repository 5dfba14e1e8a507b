/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "introspect-text.h"

#include "dbus-text.h"

void method_to_text(const char *name, StrBuf *b)
{
        for (; *name; name++)
                strbuf_addc(b, *name == '_' ? '-' : *name);
}

static void show_args(StrBuf *b, const IntroMember *m)
{
        const char *separator = "";

        strbuf_add(b, "( ");
        for (int out = 0; out <= 1; out++)
                for (size_t k = 0; k < m->n_args; k++)
                        if (m->args[k].out == out) {
                                strbuf_addf(b, "%s%s%s:%s", separator, out ? "OUT " : "", m->args[k].name,
                                            m->args[k].type);
                                separator = ", ";
                        }
        strbuf_add(b, " )\n");
}

void interface_to_text(const IntroInterface *f, StrBuf *b)
{
        strbuf_addf(b, "/------- %s\n", f->name);
        for (size_t m = 0; m < f->n_members; m++)
                if (f->members[m].kind == INTRO_PROPERTY)
                        strbuf_addf(b, "|     -  %-28s %s:%s\n", f->members[m].name, f->members[m].access,
                                    f->members[m].type);
        for (size_t m = 0; m < f->n_members; m++)
                if (f->members[m].kind == INTRO_METHOD) {
                        _cleanup_strbuf_ StrBuf name = STRBUF_INIT;

                        method_to_text(f->members[m].name, &name);
                        strbuf_addf(b, "|     +  %-28s ", strempty(name.data));
                        show_args(b, &f->members[m]);
                }
        strbuf_addc(b, '\n');
}

void interface_to_json(const IntroInterface *f, StrBuf *b)
{
        static const struct {
                IntroKind kind;
                const char *title;
        } parts[] = { { INTRO_PROPERTY, "properties" }, { INTRO_METHOD, "methods" }, { INTRO_SIGNAL, "signals" } };

        strbuf_add(b, "{\"interface\":");
        json_quote(b, f->name);
        for (size_t p = 0; p < ELEMENTSOF(parts); p++) {
                const char *separator = "";

                strbuf_addf(b, ",\"%s\":[", parts[p].title);
                for (size_t m = 0; m < f->n_members; m++) {
                        const IntroMember *x = &f->members[m];
                        const char *comma = "";

                        if (x->kind != parts[p].kind)
                                continue;
                        strbuf_addf(b, "%s{\"name\":", separator);
                        separator = ",";
                        json_quote(b, x->name);
                        if (x->kind == INTRO_PROPERTY) {
                                strbuf_add(b, ",\"type\":");
                                json_quote(b, x->type);
                                strbuf_add(b, ",\"access\":");
                                json_quote(b, x->access);
                        } else {
                                strbuf_add(b, ",\"arguments\":[");
                                for (size_t k = 0; k < x->n_args; k++, comma = ",") {
                                        strbuf_addf(b, "%s{\"name\":", comma);
                                        json_quote(b, x->args[k].name);
                                        strbuf_add(b, ",\"type\":");
                                        json_quote(b, x->args[k].type);
                                        strbuf_addf(b, ",\"direction\":\"%s\"}", x->args[k].out ? "out" : "in");
                                }
                                strbuf_addc(b, ']');
                        }
                        strbuf_addc(b, '}');
                }
                strbuf_addc(b, ']');
        }
        strbuf_addc(b, '}');
}
