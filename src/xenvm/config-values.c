/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config-values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>

#include "parse.h"

void value_context_done(ValueContext *v)
{
        free(v->why);
        strv_free(v->notes);
        *v = (ValueContext) { 0 };
}

int value_refuse(ValueContext *v, const char *fmt, ...)
{
        va_list ap;

        free(v->why);
        va_start(ap, fmt);
        v->why = strformatv(fmt, ap);
        va_end(ap);
        return v->why ? -EINVAL : -ENOMEM;
}

static int store(char **ret, const char *s)
{
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static void text_done(void *value)
{
        free(*(char **) value);
}

static const char *word_of(const char *const words[], size_t n, size_t i)
{
        return i < n ? words[i] : "?";
}

/* The index of s among the words, or -1. */
static int word_find(const char *const words[], size_t n, const char *s)
{
        for (size_t i = 0; i < n; i++)
                if (streq(words[i], s))
                        return (int) i;
        return -1;
}

/* ---- numbers, booleans, texts ---- */

int value_parse_int(const char *s, int64_t *ret)
{
        bool negative = *s == '-';
        unsigned base = 10;
        uint64_t n = 0;
        bool digit = false;

        s += negative;
        if (s[0] == '0' && s[1]) {
                int c = tolower((unsigned char) s[1]);

                base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
                s += base == 10 ? 0 : 2;
        }
        for (; *s; s++) {
                unsigned d;

                if (*s == '_') {
                        if (!digit || !isxdigit((unsigned char) s[1]))
                                return -EINVAL;
                        continue;
                }
                d = isdigit((unsigned char) *s) ? (unsigned) (*s - '0')
                        : isxdigit((unsigned char) *s) ? (unsigned) (tolower((unsigned char) *s) - 'a' + 10)
                                                       : 16;
                if (d >= base)
                        return -EINVAL;
                if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, d, &n))
                        return -ERANGE;
                digit = true;
        }
        if (!digit)
                return -EINVAL;
        if (n > INT64_MAX)
                return -ERANGE;
        *ret = negative ? -(int64_t) n : (int64_t) n;
        return 0;
}

static int parse_int(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        int64_t n, unit = (k->flags & XENVM_KIB_IN_COMMANDS) && !v->from_command ? 1024 : 1;
        int64_t scale = (k->flags & XENVM_KIB_IN_COMMANDS) && v->from_command ? 1024 : 1;

        v->choices_tell = true;
        if (value_parse_int(text, &n) < 0)
                return value_refuse(v, "expect int arg");
        if (n < k->min * scale || (k->max <= INT64_MAX / scale && n > k->max * scale))
                return value_refuse(v, "%lld is out of range", (long long) n);
        *(int64_t *) ret = n * unit;
        return 0;
}

static int parse_opt_int(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        if (*text)
                return parse_int(v, k, text, ret);
        *(int64_t *) ret = XENVM_UNSET;
        return 0;
}

static void format_int(const XenvmKeyInfo *k, const void *value, bool command, StrBuf *b)
{
        int64_t n = *(const int64_t *) value;

        if (n == XENVM_UNSET)
                return;
        if ((k->flags & XENVM_KIB_IN_COMMANDS) && !command && n > 0)
                n /= 1024;
        strbuf_addf(b, "%lld", (long long) n);
}

int value_parse_bool(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        static const char *const words[] = { "1", "y", "yes", "true", "0", "n", "no", "false" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcasecmp(text, words[i]) == 0) {
                        *(bool *) ret = i < 4;
                        return 0;
                }
        v->choices_tell = true;
        return value_refuse(v, "expect bool arg");
}

static void format_boolean(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        strbuf_add(b, *(const bool *) value ? "true" : "false");
}

static int parse_text(ValueContext *v _unused_, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        return store(ret, text);
}

static int parse_opt_text(ValueContext *v _unused_, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        return *text ? store(ret, text) : 0;
}

static int parse_uuid(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        if (!uuid_valid(text))
                return value_refuse(v, "'%s' is not a UUID", text);
        return store(ret, text);
}

static int parse_choice(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        _cleanup_strv_ char **words = NULL;

        if (strv_split(k->values, ' ', &words) < 0)
                return -ENOMEM;
        if (strv_contains(words, text))
                return store(ret, text);
        v->choices_tell = true;
        return value_refuse(v, "unknown value '%s'", text);
}

static void format_text(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        strbuf_add(b, strempty(*(char *const *) value));
}

/* ---- actions, startup, notify, display ---- */

static const char *const action_words[] = { "destroy", "restart", "preserve" };

const char *vm_action_to_text(VmAction a)
{
        return word_of(action_words, ELEMENTSOF(action_words), a);
}

static int parse_action(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        int i = word_find(action_words, ELEMENTSOF(action_words), streq(text, "reboot") ? "restart" : text);

        v->choices_tell = true;
        if (i < 0)
                return value_refuse(v, "unknown action '%s'", text);
        *(VmAction *) ret = (VmAction) i;
        return 0;
}

static void format_action(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        strbuf_add(b, vm_action_to_text(*(const VmAction *) value));
}

static int parse_startup(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        static const struct {
                const char *word;
                VmStartupMode mode;
        } words[] = {
                { "start", VM_STARTUP_START },       { "started", VM_STARTUP_START },
                { "paused", VM_STARTUP_PAUSED },     { "shutdown", VM_STARTUP_SHUTDOWN },
                { "poweroff", VM_STARTUP_SHUTDOWN }, { "restore", VM_STARTUP_RESTORE },
                { "restore-del", VM_STARTUP_RESTORE_DELETE },
        };
        size_t n = strcspn(text, " ");
        VmStartup *s = ret;

        v->choices_tell = true;
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                if (strlen(words[i].word) != n || strncmp(words[i].word, text, n) != 0)
                        continue;
                s->mode = words[i].mode;
                if (s->mode < VM_STARTUP_RESTORE)
                        return text[n] ? value_refuse(v, "'%s' takes no file", words[i].word) : 0;
                if (!text[n] || !text[n + 1])
                        return value_refuse(v, "'%s' needs a file", words[i].word);
                return store(&s->file, text + n + 1);
        }
        return value_refuse(v, "unknown startup '%s'", text);
}

static void startup_done(void *value)
{
        free(((VmStartup *) value)->file);
}

static void format_startup(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        static const char *const words[] = { "start", "paused", "shutdown", "restore ", "restore-del " };
        const VmStartup *s = value;

        strbuf_addf(b, "%s%s", word_of(words, ELEMENTSOF(words), s->mode), strempty(s->file));
}

static int parse_notify(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        VmNotify *n = ret;
        const char *s, *colon;
        struct in_addr a;
        int64_t port;

        v->choices_tell = true;
        if (!*text)
                return 0;
        if (streq(text, "dbus")) {
                n->target = VM_NOTIFY_DBUS;
                return 0;
        }
        if ((s = startswith(text, "dbus,"))) {
                n->target = VM_NOTIFY_DBUS;
                return store(&n->path, s);
        }
        if ((s = startswith(text, "unix,"))) {
                if (!*s)
                        return value_refuse(v, "unix needs the path of a socket");
                n->target = VM_NOTIFY_UNIX;
                return store(&n->path, s);
        }
        if (startswith(text, "tcp6,"))
                return value_refuse(v, "not implemented"); /* the contract's words */
        s = startswith(text, "tcp,");
        if (!s)
                return value_refuse(v, "unknown target '%s'", text);
        colon = strrchr(s, ':');
        if (!colon || (size_t) (colon - s) >= sizeof n->ip || value_parse_int(colon + 1, &port) < 0 || port < 1 ||
            port > 65535)
                return value_refuse(v, "'%s' is not IPV4:PORT", s);
        memcpy(n->ip, s, (size_t) (colon - s));
        n->ip[colon - s] = '\0';
        if (inet_pton(AF_INET, n->ip, &a) != 1)
                return value_refuse(v, "'%s' is not a numeric IPv4 address", n->ip);
        n->target = VM_NOTIFY_TCP;
        n->port = (uint16_t) port;
        return 0;
}

static void notify_done(void *value)
{
        free(((VmNotify *) value)->path);
}

static void format_notify(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmNotify *n = value;

        switch (n->target) {
        case VM_NOTIFY_DBUS:
                strbuf_addf(b, "dbus%s%s", n->path ? "," : "", strempty(n->path));
                break;
        case VM_NOTIFY_UNIX:
                strbuf_addf(b, "unix,%s", n->path);
                break;
        case VM_NOTIFY_TCP:
                strbuf_addf(b, "tcp,%s:%u", n->ip, n->port);
                break;
        case VM_NOTIFY_NONE:
                break;
        }
}

static const char *const display_words[] = { "none", "vnc", "sdl", "gtk", "intel" };

/* Display numbers end where TCP port 5900 + N would. */
#define VNC_DISPLAY_MAX (65535 - 5900)

static int parse_vnc_options(ValueContext *v, const char *text, VmDisplay *d)
{
        _cleanup_strv_ char **options = NULL;

        if (strv_split(text, ',', &options) < 0)
                return -ENOMEM;
        for (char **o = options; *o; o++) {
                const char *s;

                if (streq(*o, "use-port-unused")) {
                        d->unused_port = true;
                } else if ((s = startswith(*o, "port="))) {
                        if (value_parse_int(s, &d->port) < 0 || d->port < 0 || d->port > VNC_DISPLAY_MAX)
                                return value_refuse(v, "port '%s' is not a display number from 0 to %d", s,
                                              VNC_DISPLAY_MAX);
                        d->port_given = true;
                } else if ((s = startswith(*o, "keymap="))) {
                        free(d->keymap);
                        if (store(&d->keymap, s) < 0)
                                return -ENOMEM;
                } else if (**o && strv_extendf(&v->notes, "unknown option '%s' is ignored", *o) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int parse_display(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        size_t n = strcspn(text, ":");
        VmDisplay *d = ret;
        int i;

        v->choices_tell = true;
        for (i = 0; i < (int) ELEMENTSOF(display_words); i++)
                if (strlen(display_words[i]) == n && strncmp(display_words[i], text, n) == 0)
                        break;
        if (i == (int) ELEMENTSOF(display_words))
                return value_refuse(v, "unknown display '%.*s'", (int) n, text);
        d->kind = (VmDisplayKind) i;
        if (d->kind == VM_DISPLAY_VNC) {
                if (text[n]) {
                        int r = parse_vnc_options(v, text + n + 1, d);

                        if (r < 0)
                                return r;
                }
                return d->keymap ? 0 : store(&d->keymap, "en-us");
        }
        return d->kind != VM_DISPLAY_NONE && text[n] && text[n + 1] ? store(&d->text, text + n + 1) : 0;
}

static void display_done(void *value)
{
        VmDisplay *d = value;

        free(d->keymap);
        free(d->text);
}

static void format_display(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmDisplay *d = value;

        strbuf_add(b, word_of(display_words, ELEMENTSOF(display_words), d->kind));
        if (d->kind == VM_DISPLAY_VNC)
                strbuf_addf(b, ":%sport=%lld,keymap=%s", d->unused_port ? "use-port-unused," : "",
                            (long long) d->port, d->keymap);
        else if (d->text)
                strbuf_addf(b, ":%s", d->text);
}

/* ---- short lists ---- */

/* Splits at the first '='; blanks in front of it do not count. *ret_value is NULL without one. */
static int parse_pair_into(const char *text, char **ret_name, char **ret_value)
{
        size_t n = strcspn(text, "="), l = n;

        while (l > 0 && (text[l - 1] == ' ' || text[l - 1] == '\t'))
                l--;
        *ret_name = strndup(text, l);
        if (!*ret_name)
                return -ENOMEM;
        return text[n] ? store(ret_value, text + n + 1) : 0;
}

static int parse_pair(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        VmPair *p = ret;

        v->choices_tell = true;
        if (!*text || *text == '=')
                return value_refuse(v, "the name is missing in '%s'", text);
        if (k->type == XENVM_PAIR_WITH_VALUE && !strchr(text, '='))
                return value_refuse(v, "'=' is missing in '%s'", text);
        if (parse_pair_into(text, &p->name, &p->value) < 0)
                return -ENOMEM;
        if (k->type == XENVM_PAIR && p->value && !*p->value) {
                free(p->value);
                p->value = NULL;
        }
        return 0;
}

static void pair_done(void *value)
{
        VmPair *p = value;

        free(p->name);
        free(p->value);
}

static void format_pair(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmPair *p = value;

        strbuf_add(b, p->name);
        if (p->value)
                strbuf_addf(b, "=%s", p->value);
}

static const char *const cpuid_registers[] = { "eax", "ebx", "ecx", "edx" };

static int parse_cpuid(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        _cleanup_free_ char *leaf = strndup(text, strcspn(text, ":"));
        _cleanup_strv_ char **masks = NULL;
        VmCpuid *c = ret;
        char *plus;

        v->choices_tell = true;
        if (!leaf)
                return -ENOMEM;
        if (!text[strlen(leaf)])
                return value_refuse(v, "':' is missing in '%s'", text);
        c->subleaf = XENVM_UNSET;
        plus = strchr(leaf, '+');
        if (plus)
                *plus++ = '\0';
        if (value_parse_int(leaf, &c->leaf) < 0 || c->leaf < 0 || c->leaf > UINT32_MAX)
                return value_refuse(v, "leaf '%s' is not a number", leaf);
        if (plus && (value_parse_int(plus, &c->subleaf) < 0 || c->subleaf < 0 || c->subleaf > UINT32_MAX))
                return value_refuse(v, "subleaf '%s' is not a number", plus);
        if (strv_split(text + strcspn(text, ":") + 1, ',', &masks) < 0)
                return -ENOMEM;
        for (char **m = masks; *m; m++) {
                char *mask = strchr(*m, '=');
                int i;

                if (!mask)
                        return value_refuse(v, "'=' is missing in '%s'", *m);
                *mask++ = '\0';
                i = word_find(cpuid_registers, ELEMENTSOF(cpuid_registers), *m);
                if (i < 0)
                        return value_refuse(v, "unknown register '%s'", *m);
                if (strlen(mask) != 32 || strspn(mask, "01xks") != 32)
                        return value_refuse(v, "mask '%s' is not 32 characters of 0 1 x k s", mask);
                memcpy(c->mask[i], mask, 33);
        }
        return 0;
}

static void format_cpuid(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmCpuid *c = value;
        const char *separator = ":";

        strbuf_addf(b, c->leaf < 16 ? "%lld" : "0x%llx", (long long) c->leaf);
        if (c->subleaf != XENVM_UNSET)
                strbuf_addf(b, "+%lld", (long long) c->subleaf);
        for (size_t i = 0; i < ELEMENTSOF(c->mask); i++)
                if (c->mask[i][0]) {
                        strbuf_addf(b, "%s%s=%s", separator, cpuid_registers[i], c->mask[i]);
                        separator = ",";
                }
}

static int parse_affinity(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        _cleanup_free_ char *vcpu = strndup(text, strcspn(text, ":"));
        _cleanup_strv_ char **cpus = NULL;
        VmAffinity *a = ret;

        v->choices_tell = true;
        if (!vcpu)
                return -ENOMEM;
        if (!text[strlen(vcpu)] || value_parse_int(vcpu, &a->vcpu) < 0 || a->vcpu < 0)
                return value_refuse(v, "'%s' does not begin with VCPU:", text);
        if (strv_split(text + strlen(vcpu) + 1, ',', &cpus) < 0)
                return -ENOMEM;
        for (char **c = cpus; *c; c++) {
                int64_t n;

                if (value_parse_int(strstrip(*c), &n) < 0)
                        return value_refuse(v, "'%s' is not the number of a CPU", *c);
                if (n >= 0 && n <= 63)
                        a->cpus |= UINT64_C(1) << n;
                else if (strv_extendf(&v->notes, "CPU %lld is ignored", (long long) n) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static void format_affinity(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmAffinity *a = value;
        char separator = ':';

        strbuf_addf(b, "%lld", (long long) a->vcpu);
        for (int i = 0; i < 64; i++)
                if (a->cpus & (UINT64_C(1) << i)) {
                        strbuf_addf(b, "%c%d", separator, i);
                        separator = ',';
                }
        if (separator == ':') /* every CPU of the line is one that is ignored */
                strbuf_add(b, ":64");
}

static int parse_range(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        _cleanup_free_ char *first = strndup(text, strcspn(text, "-"));
        VmRange *range = ret;
        int64_t start, end;

        v->choices_tell = true;
        if (!first)
                return -ENOMEM;
        if (!text[strlen(first)] || value_parse_int(first, &start) < 0 ||
            value_parse_int(text + strlen(first) + 1, &end) < 0)
                return value_refuse(v, "'%s' is not START-END", text);
        if (end < start)
                return value_refuse(v, "the end of '%s' lies before its start", text);
        if (start < 0 || end > k->max)
                return value_refuse(v, "'%s' is out of range", text);
        *range = (VmRange) { (uint64_t) start, (uint64_t) end };
        return 0;
}

static void format_range(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmRange *r = value;

        strbuf_addf(b, "0x%llx-0x%llx", (unsigned long long) r->start, (unsigned long long) r->end);
}

static int parse_path(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        return *text ? store(ret, text) : value_refuse(v, "the path is empty");
}

/* ---- the table ---- */

const ValueType value_types[] = {
        [XENVM_UUID] = { sizeof(char *), parse_uuid, text_done, format_text },
        [XENVM_TEXT] = { sizeof(char *), parse_text, text_done, format_text },
        [XENVM_OPT_TEXT] = { sizeof(char *), parse_opt_text, text_done, format_text },
        [XENVM_BOOL] = { sizeof(bool), value_parse_bool, NULL, format_boolean },
        [XENVM_INT] = { sizeof(int64_t), parse_int, NULL, format_int },
        [XENVM_OPT_INT] = { sizeof(int64_t), parse_opt_int, NULL, format_int },
        [XENVM_CHOICE] = { sizeof(char *), parse_choice, text_done, format_text },
        [XENVM_ACTION] = { sizeof(VmAction), parse_action, NULL, format_action },
        [XENVM_STARTUP] = { sizeof(VmStartup), parse_startup, startup_done, format_startup },
        [XENVM_NOTIFY] = { sizeof(VmNotify), parse_notify, notify_done, format_notify },
        [XENVM_DISPLAY] = { sizeof(VmDisplay), parse_display, display_done, format_display },
        [XENVM_DISK] = { sizeof(VmDisk), value_parse_disk, value_disk_done, value_format_disk },
        [XENVM_NIC] = { sizeof(VmNic), value_parse_nic, value_nic_done, value_format_nic },
        [XENVM_PCI] = { sizeof(VmPci), value_parse_pci, NULL, value_format_pci },
        [XENVM_CPUID] = { sizeof(VmCpuid), parse_cpuid, NULL, format_cpuid },
        [XENVM_AFFINITY] = { sizeof(VmAffinity), parse_affinity, NULL, format_affinity },
        [XENVM_PAIR] = { sizeof(VmPair), parse_pair, pair_done, format_pair },
        [XENVM_PAIR_WITH_VALUE] = { sizeof(VmPair), parse_pair, pair_done, format_pair },
        [XENVM_RANGE] = { sizeof(VmRange), parse_range, NULL, format_range },
        [XENVM_PATH] = { sizeof(char *), parse_path, text_done, format_text },
};
