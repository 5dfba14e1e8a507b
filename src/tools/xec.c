/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xec: calls a method, gets or sets a property of any service on the bus. Types come from the
 * service's introspection data, or from --signature.
 */
#include <syslog.h>

#include "daemon.h"
#include "dbus-text.h"
#include "introspect-text.h"
#include "nearest.h"
#include "options.h"
#include "parse.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"

static const char *arg_service = "com.citrix.xenclient.xenmgr", *arg_object = "/", *arg_interface, *arg_get;
static const char *arg_domid, *arg_signature;
static const char *arg_set_property, *arg_set_value;
static bool arg_get_all, arg_session, arg_quiet, arg_json;
static bool arg_list_interfaces, arg_list_methods, arg_list_properties;
static int64_t arg_timeout;

/* arrange_options() takes out --set with its two words, but not where it is joined with others. */
static int take_set(_unused_ const char *value)
{
        fprintf(stderr, "xec: write each option by itself: -x PROPERTY VALUE\n");
        return -EINVAL;
}

static const Option options[] = {
        { "service", 's', "NAME", OPTION_STRING, &arg_service, "Destination; default com.citrix.xenclient.xenmgr", NULL },
        { "object", 'o', "PATH", OPTION_STRING, &arg_object, "Object path; default /", NULL },
        { "interface", 'i', "NAME", OPTION_STRING, &arg_interface,
          "Interface; default: the first of the object that has the member", NULL },
        { "get", 'g', "PROPERTY", OPTION_STRING, &arg_get, "Get a property; without a word behind it, all", NULL },
        { "set", 'x', "PROPERTY VALUE", OPTION_CALLBACK, (void *) take_set, "Set a property", NULL },
        { "signature", 0, "TYPES", OPTION_STRING, &arg_signature,
          "Types of the arguments (or of the property to set), instead of the introspection data's", NULL },
        { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
        { "timeout", 0, "SECONDS", OPTION_INT, &arg_timeout, "Give up a call after this time; default: never", NULL },
        { "target-domid", 't', "DOMID", OPTION_STRING, &arg_domid, "Use the bus of another domain (needs Argo)", NULL },
        { "session", 0, NULL, OPTION_FLAG, &arg_session, "Use the session bus", NULL },
        { "query", 'q', NULL, OPTION_FLAG, &arg_quiet, "Do not write the call to the system's log", NULL },
        { "list-interfaces", 0, NULL, OPTION_FLAG, &arg_list_interfaces, "List the object's interfaces", NULL },
        { "list-methods", 0, NULL, OPTION_FLAG, &arg_list_methods, "List its methods", NULL },
        { "list-properties", 0, NULL, OPTION_FLAG, &arg_list_properties, "List its properties", NULL },
        { 0 },
};

static void complete(int n_words, char *words[]);

static const Program program = {
        .name = "xec",
        .synopsis = "[OPTIONS] [METHOD [ARGUMENT…] | get PROPERTY | set PROPERTY VALUE | getall]",
        .summary = "Calls methods and reads and writes properties of D-Bus services; without words, shows the object.",
        .options = options,
        .complete = complete,
        .footer = "In a method's name '-' and '_' are the same. Arguments: texts as they are, [a,b] for arrays and\n"
                  "structures, {k:v} for dictionaries (texts inside those in quotes), TYPE:VALUE for variants.",
};

/* ---- the command line ---- */

static const Option *option_at(const char *word)
{
        for (const Option *o = options; o->name; o++) {
                const char *rest;

                if (word[0] == '-' && word[1] == o->letter && word[2] == '\0')
                        return o;
                rest = startswith(word, "--") ? startswith(word + 2, o->name) : NULL;
                if (rest && (*rest == '\0' || *rest == '='))
                        return o;
        }
        return NULL;
}

/*
 * Scripts rely on three habits that the common parser does not have: --set takes two words, the first
 * of two equal options counts, and -g may stand alone at the end. Takes those out of argv.
 */
static int arrange_options(int *argc, char *argv[])
{
        bool seen[ELEMENTSOF(options)] = { false };
        int i, n = 1;

        for (i = 1; i < *argc; ) {
                const Option *o = option_at(argv[i]);
                int words, at;

                if (!o)
                        break;
                at = (int) (o - options);
                words = o->arg && !strchr(argv[i], '=') ? 1 : 0;
                if (streq(o->name, "set")) {
                        if (!words || i + 2 >= *argc) {
                                fprintf(stderr, "xec: option '--set' needs a property and a value: -x PROPERTY VALUE\n");
                                return -EINVAL;
                        }
                        if (!arg_set_property) {
                                arg_set_property = argv[i + 1];
                                arg_set_value = argv[i + 2];
                        }
                        i += 3;
                        continue;
                }
                if (streq(o->name, "get") && words && i + 1 == *argc) {
                        arg_get_all = !arg_get && !seen[at];
                        i++;
                        break;
                }
                for (int w = 0; w <= words && i < *argc; w++, i++)
                        if (!seen[at])
                                argv[n++] = argv[i];
                seen[at] = true;
        }
        while (i < *argc)
                argv[n++] = argv[i++];
        argv[n] = NULL;
        *argc = n;
        return 0;
}

/* Which call was made, without the values of arguments, which may be secrets. */
static void log_call(char *words[])
{
        const char *verb = arg_set_property || arg_get ? "" : strempty(words[0]);
        const char *property = arg_set_property ? arg_set_property
                : arg_get                       ? arg_get
                : words[0] && words[1] && (streq(words[0], "get") || streq(words[0], "set")) ? words[1]
                                                                                             : "";

        openlog("xec", 0, LOG_USER);
        syslog(LOG_INFO, "invoked with: -s %s -o %s%s%s %s%s %s", arg_service, arg_object, arg_interface ? " -i " : "",
               strempty(arg_interface), arg_set_property ? "set" : arg_get ? "get" : "", verb, property);
        closelog();
}

/* ---- calls ---- */

/* The error's name, and all that came with it. */
static void print_error(sd_bus_message *reply)
{
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r = sd_bus_message_rewind(reply, true);

        for (bool first = true; r >= 0 && sd_bus_message_at_end(reply, true) == 0; first = false) {
                strbuf_add(&b, first ? "" : ", ");
                r = dbus_text_print(reply, &b);
        }
        fprintf(stderr, "%s: %s\n", error->name, strempty(b.data));
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) || sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                fprintf(stderr, "xec: nobody on this bus is called %s; 'oxt status' shows what runs\n", arg_service);
}

typedef struct Answer {
        size_t waiting;
        sd_bus_message *message;
} Answer;

static int on_answer(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        *(Answer *) userdata = (Answer) { .message = sd_bus_message_ref(m) };
        return 0;
}

/* Sends m and waits. Errors are printed. */
static int send(sd_bus *bus, sd_bus_message *m, sd_bus_message **ret)
{
        uint64_t limit = arg_timeout > 0 ? (uint64_t) arg_timeout * USEC_PER_SEC : UINT64_MAX;
        Answer a = { .waiting = 1 };
        sd_bus_slot *slot = NULL;
        /* Of an error sd_bus_call() would hand over nothing but its first text. */
        int r = sd_bus_call_async(bus, &slot, m, on_answer, &a, limit);

        if (r >= 0)
                r = bus_wait_answers(bus, &a.waiting);
        sd_bus_slot_unref(slot);
        if (r < 0)
                fprintf(stderr, "xec: the call failed: %s\n", strerror(-r));
        else if (sd_bus_message_is_method_error(a.message, NULL)) {
                print_error(a.message);
                r = -EIO;
        }
        if (r < 0)
                sd_bus_message_unref(a.message);
        else
                *ret = a.message;
        return r;
}

static int new_call(sd_bus *bus, const char *interface, const char *member, sd_bus_message **ret)
{
        int r = sd_bus_message_new_method_call(bus, ret, arg_service, arg_object, interface, member);

        if (r == -EINVAL)
                fprintf(stderr, "xec: not a valid call: service '%s', object '%s', interface '%s', member '%s'\n",
                        arg_service, arg_object, interface, member);
        else if (r < 0)
                fprintf(stderr, "xec: %s\n", strerror(-r));
        return r;
}

static int introspect(sd_bus *bus, Introspection **ret)
{
        sd_bus_message *m = NULL, *reply = NULL;
        const char *xml;
        int r;

        r = new_call(bus, "org.freedesktop.DBus.Introspectable", "Introspect", &m);
        if (r >= 0)
                r = send(bus, m, &reply);
        if (r >= 0) {
                r = sd_bus_message_read(reply, "s", &xml);
                if (r >= 0)
                        r = introspection_parse(xml, ret);
                if (r < 0)
                        fprintf(stderr, "xec: cannot read the introspection data of %s %s (%s); "
                                        "-i with --signature does without\n",
                                arg_service, arg_object, strerror(-r));
        }
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

static int out_of_memory(void)
{
        fprintf(stderr, "xec: out of memory\n");
        return -ENOMEM;
}

static int no_interface(void)
{
        fprintf(stderr, "xec: interface %s not found; --list-interfaces shows those there are\n", arg_interface);
        return -ENOENT;
}

/* Tells that the object, or the interface that was given, has no such member, and what it has near it. */
static int no_member(const Introspection *x, IntroKind kind, const char *name)
{
        const char *what = kind == INTRO_METHOD ? "method" : "property", *near = NULL;
        const char *list = kind == INTRO_METHOD ? "methods" : "properties";
        bool other = false;
        Nearest nearest;

        nearest_init(&nearest, name);
        for (size_t i = 0; i < x->n_interfaces; i++) {
                const IntroInterface *f = &x->interfaces[i];

                if (arg_interface && !streq(arg_interface, f->name))
                        continue;
                other |= interface_member(f, kind == INTRO_METHOD ? INTRO_PROPERTY : INTRO_METHOD, name) != NULL;
                for (size_t m = 0; m < f->n_members; m++)
                        if (f->members[m].kind == kind && nearest_try(&nearest, f->members[m].name))
                                near = f->members[m].name;
        }
        if (arg_interface)
                fprintf(stderr, "xec: %s %s.%s not found", what, arg_interface, name);
        else
                fprintf(stderr, "xec: %s %s not found in any of the interfaces", what, name);
        if (kind == INTRO_METHOD && (streq(name, "get") || streq(name, "set")))
                fprintf(stderr, "; to %s a property: %s PROPERTY%s\n", name, name, streq(name, "set") ? " VALUE" : "");
        else if (other)
                fprintf(stderr, kind == INTRO_METHOD ? "; there is a property of that name: get %s\n"
                                                     : "; there is a method of that name: %s\n", name);
        else if (near)
                fprintf(stderr, "; did you mean '%s'?\n", near);
        else
                fprintf(stderr, "; --list-%s shows those there are\n", list);
        return -ENOENT;
}

/* Prints all values of a message: one a line, or as one JSON array (of one value with single: bare). */
static int print_message(sd_bus_message *m, bool single)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        bool first = true;
        int r = 0;

        if (arg_json && !single)
                strbuf_addc(&b, '[');
        for (; r >= 0 && sd_bus_message_at_end(m, true) == 0; first = false) {
                if (arg_json && !first)
                        strbuf_addc(&b, ',');
                r = arg_json ? dbus_text_print_json(m, &b) : dbus_text_print(m, &b);
                if (!arg_json)
                        strbuf_addc(&b, '\n');
        }
        if (arg_json)
                strbuf_add(&b, single ? "\n" : "]\n");
        if (r < 0) {
                fprintf(stderr, "xec: cannot read the answer: %s\n", strerror(-r));
                return r;
        }
        if (b.oom)
                return out_of_memory();
        fwrite(b.data ? b.data : "", 1, b.len, stdout);
        return 0;
}

/* A member of the interface that was given, or of the first that has such a one. */
static int find_member(const Introspection *x, IntroKind kind, const char *name, const IntroInterface **ret_interface,
                       const IntroMember **ret)
{
        if (arg_interface) {
                *ret_interface = introspection_interface(x, arg_interface);
                if (!*ret_interface)
                        return no_interface();
                *ret = interface_member(*ret_interface, kind, name);
        } else
                *ret = introspection_member(x, kind, name, ret_interface);
        return *ret ? 0 : no_member(x, kind, name);
}

static int get_property(sd_bus *bus, const char *property)
{
        _cleanup_introspection_ Introspection *x = NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const IntroInterface *i = NULL;
        const IntroMember *p;
        int r = 0;

        /* An interface that is given needs no introspection data. */
        if (!arg_interface)
                r = introspect(bus, &x);
        if (r >= 0 && x)
                r = find_member(x, INTRO_PROPERTY, property, &i, &p);
        if (r >= 0)
                r = new_call(bus, PROPERTIES, "Get", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", i ? i->name : arg_interface, property);
        if (r >= 0)
                r = send(bus, m, &reply);
        if (r >= 0)
                r = print_message(reply, true);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

/* The type of a property that is to be set, from --signature or the introspection data. */
static int property_type(sd_bus *bus, const char *property, const char **ret_interface, const char **ret_type,
                         Introspection **x)
{
        const IntroInterface *i;
        const IntroMember *m;
        int r;

        if (arg_signature && arg_interface) {
                *ret_interface = arg_interface;
                *ret_type = arg_signature;
                return 0;
        }
        if (introspect(bus, x) < 0)
                return -EIO;
        r = find_member(*x, INTRO_PROPERTY, property, &i, &m);
        if (r < 0)
                return r;
        *ret_interface = i->name;
        *ret_type = arg_signature ? arg_signature : m->type;
        return 0;
}

static int set_property(sd_bus *bus, const char *property, const char *value)
{
        _cleanup_introspection_ Introspection *x = NULL;
        const char *interface, *type, *why = NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = property_type(bus, property, &interface, &type, &x);
        if (r < 0)
                return r;
        if (signature_count(type) != 1) {
                fprintf(stderr, "xec: '%s' is not the type of a property\n", type);
                return -EINVAL;
        }
        r = new_call(bus, PROPERTIES, "Set", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", interface, property);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = dbus_text_append(m, type, value, &why);
        if (why)
                fprintf(stderr, "xec: property %s (%s) needs %s, not '%s'\n", property, type, why, value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = send(bus, m, &reply);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

static int print_getall(sd_bus_message *reply, const char *interface, bool *first)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        bool any = false;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                const char *name;

                r = sd_bus_message_read(reply, "s", &name);
                if (r < 0)
                        break;
                if (arg_json) {
                        strbuf_add(&b, any ? "," : *first ? "{" : ",");
                        if (!any) {
                                json_quote(&b, interface);
                                strbuf_add(&b, ":{");
                        }
                        json_quote(&b, name);
                        strbuf_addc(&b, ':');
                        r = dbus_text_print_json(reply, &b);
                } else {
                        if (!any)
                                strbuf_addf(&b, "%s\n{\n", interface);
                        strbuf_add(&b, "  ");
                        dbus_text_key(&b, name, 35);
                        r = dbus_text_print(reply, &b);
                        strbuf_addc(&b, '\n');
                }
                any = true;
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r < 0) {
                fprintf(stderr, "xec: cannot read the answer: %s\n", strerror(-r));
                return r;
        }
        if (b.oom)
                return out_of_memory();
        if (any) {
                strbuf_add(&b, arg_json ? "}" : "}\n");
                fwrite(b.data, 1, b.len, stdout);
                *first = false;
        }
        return 0;
}

static int get_all_of(sd_bus *bus, const char *interface, bool *first)
{
        sd_bus_message *m = NULL, *reply = NULL;
        int r = new_call(bus, PROPERTIES, "GetAll", &m);

        if (r >= 0)
                r = sd_bus_message_append(m, "s", interface);
        if (r >= 0)
                r = send(bus, m, &reply);
        if (r >= 0)
                r = print_getall(reply, interface, first);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

static int get_all(sd_bus *bus)
{
        _cleanup_introspection_ Introspection *x = NULL;
        bool first = true;
        int r = 0;

        if (arg_interface)
                r = get_all_of(bus, arg_interface, &first);
        else {
                r = introspect(bus, &x);
                for (size_t i = 0; r >= 0 && i < x->n_interfaces; i++)
                        if (!streq(x->interfaces[i].name, PROPERTIES))
                                r = get_all_of(bus, x->interfaces[i].name, &first);
        }
        if (r >= 0 && arg_json)
                printf("%s}\n", first ? "{" : "");
        return r;
}

/* The interface and the argument types of a method, to free. */
static int method_types(sd_bus *bus, const char *method, char **ret_interface, char **ret_types)
{
        _cleanup_introspection_ Introspection *x = NULL;
        const IntroInterface *i = NULL;
        const IntroMember *m = NULL;
        int r;

        if (!arg_interface || !arg_signature) {
                r = introspect(bus, &x);
                if (r < 0)
                        return r;
                r = find_member(x, INTRO_METHOD, method, &i, &m);
                if (r < 0)
                        return r;
        }
        *ret_interface = strdup(i ? i->name : arg_interface);
        *ret_types = arg_signature ? strdup(arg_signature) : member_in_signature(m);
        return *ret_interface && *ret_types ? 0 : out_of_memory();
}

static int append_arguments(sd_bus_message *m, const char *method, const char *types, char *words[])
{
        int n = (int) strv_length(words), expected = signature_count(types);

        if (expected < 0) {
                fprintf(stderr, "xec: '%s' is not a signature\n", types);
                return -EINVAL;
        }
        if (n != expected) {
                fprintf(stderr, "xec: method %s expects %d args, but %d were given\n", method, expected, n);
                return -EINVAL;
        }
        for (int i = 0; i < n; i++) {
                size_t l = signature_first(types);
                _cleanup_free_ char *type = strndup(types, l);
                const char *why = NULL;
                int r;

                if (!type)
                        return out_of_memory();
                r = dbus_text_append(m, type, words[i], &why);
                if (r < 0) {
                        fprintf(stderr, "xec: error parsing argument %d: expected %s (type %s)\n", i + 1,
                                why ? why : strerror(-r), type);
                        return r;
                }
                types += l;
        }
        return 0;
}

static int call_method(sd_bus *bus, const char *name, char *words[])
{
        _cleanup_free_ char *method = strdup(name), *interface = NULL, *types = NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        int r;

        if (!method)
                return out_of_memory();
        for (char *p = method; *p; p++)
                if (*p == '-')
                        *p = '_';
        r = method_types(bus, method, &interface, &types);
        if (r >= 0)
                r = new_call(bus, interface, method, &m);
        if (r >= 0)
                r = append_arguments(m, method, types, words);
        if (r >= 0)
                r = send(bus, m, &reply);
        if (r >= 0)
                r = print_message(reply, false);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

/* ---- listings ---- */

static void list_name(StrBuf *b, const char *name, bool method, bool *first)
{
        _cleanup_strbuf_ StrBuf shown = STRBUF_INIT;

        if (method)
                method_to_text(name, &shown);
        else
                strbuf_add(&shown, name);
        if (arg_json) {
                strbuf_addc(b, *first ? '[' : ',');
                json_quote(b, strempty(shown.data));
        } else
                strbuf_addf(b, "%s\n", strempty(shown.data));
        *first = false;
}

static int list(sd_bus *bus)
{
        _cleanup_introspection_ Introspection *x = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        IntroKind kind = arg_list_methods ? INTRO_METHOD : INTRO_PROPERTY;
        bool first = true;
        int r = introspect(bus, &x);

        if (r < 0)
                return r;
        if (arg_interface && !introspection_interface(x, arg_interface))
                return no_interface();
        for (size_t i = 0; i < x->n_interfaces; i++) {
                const IntroInterface *f = &x->interfaces[i];

                if (arg_interface && !streq(arg_interface, f->name))
                        continue;
                if (arg_list_interfaces)
                        list_name(&b, f->name, false, &first);
                for (size_t m = 0; m < f->n_members && !arg_list_interfaces; m++)
                        if (f->members[m].kind == kind)
                                list_name(&b, f->members[m].name, kind == INTRO_METHOD, &first);
        }
        if (arg_json)
                strbuf_add(&b, first ? "[]\n" : "]\n");
        if (b.oom)
                return out_of_memory();
        fwrite(b.data ? b.data : "", 1, b.len, stdout);
        return 0;
}

static int show(sd_bus *bus)
{
        _cleanup_introspection_ Introspection *x = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r = introspect(bus, &x);

        if (r < 0)
                return r;
        for (size_t i = 0; i < x->n_interfaces; i++) {
                if (arg_json) {
                        strbuf_addc(&b, i ? ',' : '[');
                        interface_to_json(&x->interfaces[i], &b);
                } else
                        interface_to_text(&x->interfaces[i], &b);
        }
        if (arg_json)
                strbuf_add(&b, x->n_interfaces ? "]\n" : "[]\n");
        if (b.oom)
                return out_of_memory();
        fwrite(b.data ? b.data : "", 1, b.len, stdout);
        return 0;
}

/* ---- */

static int connect_bus(sd_bus **ret)
{
        const char *session = getenv("DBUS_SESSION_BUS_ADDRESS"), *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        if (arg_domid && arg_domid[0] >= '0' && arg_domid[0] <= '9') {
                uint64_t domid;

                if (parse_u64(arg_domid, &domid) < 0)
                        fprintf(stderr, "xec: '%s' is not the number of a domain; 'xec-vm' shows those of the VMs\n", arg_domid);
                else
                        fprintf(stderr, "xec: the bus of domain %s can only be reached over Argo, which this host does not have\n",
                                arg_domid);
                return -EOPNOTSUPP;
        }
        if (arg_session && !session)
                r = sd_bus_open_user(ret);
        else
                r = bus_open(arg_session ? session : NULL, ret);
        if (r >= 0) {
                /* The handshake is done with the first call; wait here, so that its failure is told as such. */
                const char *unique;

                r = sd_bus_get_unique_name(*ret, &unique);
                if (r < 0)
                        *ret = sd_bus_close_unref(*ret);
        }
        if (r < 0)
                fprintf(stderr, "xec: cannot connect to the %s bus%s%s: %s; is the stack up? ('oxt up', 'oxt status')\n",
                        arg_session ? "session" : "system", !arg_session && address ? " at " : "",
                        !arg_session && address ? address : "", strerror(-r));
        return r;
}

static int run(sd_bus *bus, char *words[])
{
        size_t n = strv_length(words);

        if (arg_list_interfaces || arg_list_methods || arg_list_properties)
                return list(bus);
        if (arg_get)
                return get_property(bus, arg_get);
        if (arg_get_all)
                return get_all(bus);
        if (arg_set_property)
                return set_property(bus, arg_set_property, arg_set_value);
        if (n == 0)
                return show(bus);
        if (streq(words[0], "getall"))
                return get_all(bus);
        if (streq(words[0], "get") && n >= 2)
                return get_property(bus, words[1]);
        if (streq(words[0], "set") && n >= 3)
                return set_property(bus, words[1], words[2]);
        return call_method(bus, words[0], words + 1);
}

static void complete_value(sd_bus *bus, const char *property)
{
        _cleanup_introspection_ Introspection *x = NULL;
        const char *interface, *type;

        if (property_type(bus, property, &interface, &type, &x) >= 0 && streq(type, "b"))
                printf("true\nfalse\n");
}

/* What a service has can only be asked of it: names, interfaces, methods, properties. */
static void complete(int n_words, char *words[])
{
        const Option *last = n_words > 0 ? option_at(words[n_words - 1]) : NULL;
        _cleanup_free_ char **argv = calloc((size_t) n_words + 2, sizeof *argv);
        const char *value = last && last->arg ? last->name : "";
        int argc = n_words + 1 - (*value != 0), first, status;
        sd_bus *bus = NULL;

        if (!argv)
                return;
        memcpy(argv + 1, words, (size_t) (argc - 1) * sizeof *argv);
        argv[0] = argv[argc] = NULL;
        if (arrange_options(&argc, argv) < 0 || (first = options_parse(&program, argc, argv, 1, &status)) < 0 ||
            connect_bus(&bus) < 0)
                return;
        arg_timeout = 5;
        arg_json = arg_list_interfaces = arg_list_methods = arg_list_properties = false;
        if (streq(value, "service")) {
                arg_service = "org.freedesktop.DBus";
                arg_object = "/org/freedesktop/DBus";
                arg_interface = "org.freedesktop.DBus";
                arg_signature = "";
                (void) call_method(bus, "ListNames", argv + argc);
        } else {
                arg_list_interfaces = streq(value, "interface");
                arg_list_properties = streq(value, "get") || streq(value, "set") ||
                        (!*value && argc - first == 1 && (streq(argv[first], "get") || streq(argv[first], "set")));
                arg_list_methods = !*value && argc == first;
                if (arg_list_methods)
                        printf("get\nset\ngetall\n");
                if (arg_list_interfaces || arg_list_methods || arg_list_properties)
                        (void) list(bus);
                else if (argc - first == 2 && streq(argv[first], "set"))
                        complete_value(bus, argv[first + 1]);
        }
        sd_bus_flush_close_unref(bus);
}

int main(int argc, char *argv[])
{
        sd_bus *bus = NULL;
        int first, r;

        if (arrange_options(&argc, argv) < 0)
                return 1;
        first = options_parse(&program, argc, argv, 1, &r);
        if (first < 0)
                return r;
        if (!arg_quiet)
                log_call(argv + first);
        if (connect_bus(&bus) < 0)
                return 1;
        r = run(bus, argv + first);
        sd_bus_flush_close_unref(bus);
        if (fflush(stdout) != 0 && r >= 0) {
                fprintf(stderr, "xec: cannot write: %s\n", strerror(errno));
                return 1;
        }
        return r < 0 ? 1 : 0;
}
