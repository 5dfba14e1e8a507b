/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks, network cards and PCI devices in xl's syntax. */
#include <ctype.h>

#include "config-values.h"
#include "xl-convert-internal.h"

/* ---- disks ---- */

int xl_format_disk(Conversion *c, const VmDisk *d, StrBuf *b)
{
        static const char *const formats[_VM_DISK_TYPE_MAX] = {
                [VM_DISK_PHY] = "raw",  [VM_DISK_FILE] = "raw", [VM_DISK_AIO] = "raw",     [VM_DISK_QCOW] = "qcow",
                [VM_DISK_VHD] = "vhd",  [VM_DISK_QCOW2] = "qcow2", [VM_DISK_VDI] = NULL,
        };

        if (!formats[d->type])
                return conversion_fail(c, "line %u: disk %s: type vdi has no counterpart in xl", d->line, d->virtpath);
        strbuf_addf(b, "format=%s,vdev=%s,access=%s", formats[d->type], d->virtpath, d->writable ? "rw" : "ro");
        if (d->cdrom)
                strbuf_add(b, ",devtype=cdrom");
        if (d->type == VM_DISK_PHY)
                strbuf_add(b, ",backendtype=phy");
        if (d->backend_domid)
                strbuf_addf(b, ",backend=%lld", (long long) d->backend_domid);
        if (*d->path)
                strbuf_addf(b, ",target=%s", d->path);
        return 0;
}

typedef struct XlDisk {
        char *target, *format, *vdev, *access, *backend, *script, *backendtype;
        bool cdrom, prefixed;
} XlDisk;

static void xl_disk_done(XlDisk *d)
{
        free(d->target);
        free(d->format);
        free(d->vdev);
        free(d->access);
        free(d->backend);
        free(d->script);
        free(d->backendtype);
}

static int set_text(char **field, const char *s)
{
        free(*field);
        *field = strdup(s);
        return *field ? 0 : -ENOMEM;
}

/* The prefixes of old configs: some are only dropped, some name the format. */
static int take_prefixes(XlDisk *d, const char *s)
{
        static const char *const dropped[] = { "phy:", "file:", "tap:", "tap2:", "aio:", "ioemu:", "tapdisk:" };
        static const char *const formats[] = { "raw:", "qcow2:", "qcow:", "vhd:" };
        bool again = true;
        int r = 0;

        while (again && r >= 0) {
                const char *rest = NULL;

                for (size_t i = 0; !rest && i < ELEMENTSOF(dropped); i++)
                        rest = startswith(s, dropped[i]);
                for (size_t i = 0; !rest && i < ELEMENTSOF(formats); i++) {
                        rest = startswith(s, formats[i]);
                        if (rest) {
                                _cleanup_free_ char *format = strndup(formats[i], strlen(formats[i]) - 1);

                                r = format ? set_text(&d->format, format) : -ENOMEM;
                        }
                }
                again = rest != NULL;
                d->prefixed |= again;
                s = rest ? rest : s;
        }
        return r < 0 ? r : set_text(&d->target, s);
}

/* One word without a known `key=`: target, format, vdev, access, in this order. */
static int take_position(Conversion *c, const XlItem *item, XlDisk *d, char *word, unsigned *position)
{
        static const char *const formats[] = { "raw", "qcow", "qcow2", "vhd", "qed" };
        const char *old_cdrom = endswith(word, ":cdrom");

        if (*position == 0) {
                ++*position;
                return take_prefixes(d, word);
        }
        if (*position == 1) {
                ++*position;
                if (!d->prefixed && !old_cdrom) {
                        if (!*word)
                                return 0;
                        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                                if (streq(word, formats[i]))
                                        return set_text(&d->format, word);
                        return conversion_fail(c, "line %u: disk: unknown format '%s'", item->line, word);
                }
        }
        if (*position == 2) {
                ++*position;
                if (old_cdrom) {
                        d->cdrom = true;
                        word[old_cdrom - word] = '\0';
                }
                return set_text(&d->vdev, word);
        }
        if (*position == 3) {
                ++*position;
                return set_text(&d->access, word);
        }
        return conversion_fail(c, "line %u: disk: '%s' is too much", item->line, word);
}

static int take_parameter(Conversion *c, const XlItem *item, XlDisk *d, char *word, unsigned *position, bool *lossy)
{
        const struct {
                const char *name;
                char **target;
        } fields[] = {
                { "format=", &d->format },   { "vdev=", &d->vdev },     { "access=", &d->access },
                { "backend=", &d->backend }, { "script=", &d->script }, { "backendtype=", &d->backendtype },
        };
        static const char *const flags[] = { "discard", "no-discard", "direct-io-safe", "trusted", "untrusted" };

        if (streq(word, "cdrom") || streq(word, "devtype=cdrom")) {
                d->cdrom = true;
                return 0;
        }
        if (streq(word, "devtype=disk"))
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                const char *v = startswith(word, fields[i].name);

                if (v)
                        return set_text(fields[i].target, v);
        }
        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if (streq(word, flags[i])) {
                        *lossy = true;
                        return 0;
                }
        if (startswith(word, "specification=") || startswith(word, "colo") || startswith(word, "active-disk=") ||
            startswith(word, "hidden-disk=")) {
                *lossy = true;
                return 0;
        }
        return take_position(c, item, d, word, position);
}

static int parse_xl_disk(Conversion *c, const XlItem *item, const char *s, XlDisk *d, bool *lossy)
{
        unsigned position = 0;
        int r = 0;

        for (bool more = true; more && r >= 0; ) {
                _cleanup_free_ char *word = NULL;
                const char *target;

                s += strspn(s, " \t");
                target = startswith(s, "target=");
                if (target)
                        return set_text(&d->target, target);
                word = strndup(s, strcspn(s, ","));
                if (!word)
                        return -ENOMEM;
                s += strlen(word);
                more = *s++ == ',';
                r = take_parameter(c, item, d, word, &position, lossy);
        }
        return r;
}

static const char *disk_type(const XlDisk *d, const char **path)
{
        const char *rest;

        if (d->script && streq(d->script, "block-tap")) {
                if ((rest = startswith(*path, "vhd:"))) {
                        *path = rest;
                        return "vhd";
                }
                if ((rest = startswith(*path, "aio:"))) {
                        *path = rest;
                        return "aio";
                }
        }
        if ((rest = startswith(*path, "aio:"))) {
                *path = rest;
                return "aio";
        }
        if (!d->format || streq(d->format, "raw"))
                return (d->backendtype && streq(d->backendtype, "phy")) || startswith(*path, "/dev/") ||
                                       (**path && **path != '/')
                               ? "phy"
                               : "file";
        return streq(d->format, "qed") ? NULL : d->format;
}

int xl_read_disk(Conversion *c, const XlItem *item, const char *s, StrBuf *b, bool *lossy)
{
        XlDisk d = { 0 };
        const char *path, *type, *access;
        int64_t backend = 0;
        unsigned device;
        int r;

        if (startswith(s, "atapi-pt")) { /* OpenXT's own, kept as it is */
                *lossy = true;
                return 0;
        }
        r = parse_xl_disk(c, item, s, &d, lossy);
        if (r < 0)
                goto out;
        path = strempty(d.target);
        access = d.access && *d.access ? d.access : d.cdrom ? "ro" : "rw";
        type = disk_type(&d, &path);
        if (!d.vdev || vm_device_number(d.vdev, &device) < 0)
                r = conversion_fail(c, "line %u: disk '%s': %s%s", item->line, s, d.vdev ? "bad vdev " : "vdev is missing",
                                    strempty(d.vdev));
        else if (!streq(access, "ro") && !streq(access, "r") && !streq(access, "rw") && !streq(access, "w"))
                r = conversion_fail(c, "line %u: disk '%s': unknown access '%s'", item->line, s, access);
        else if (!type)
                r = conversion_fail(c, "line %u: disk '%s': format qed has no counterpart", item->line, s);
        else if (strchr(path, ':'))
                r = conversion_fail(c, "line %u: disk '%s': a xenvm config cannot name a path with ':'", item->line, s);
        else if (!*path && !d.cdrom)
                r = conversion_fail(c, "line %u: disk '%s': the target is missing", item->line, s);
        else if (d.backend && (value_parse_int(d.backend, &backend) < 0 || backend < 0))
                r = conversion_fail(c, "line %u: disk '%s': backend '%s' is not the number of a domain", item->line, s,
                                    d.backend);
        if (r < 0)
                goto out;
        if (d.script && !streq(d.script, "block-tap") && !streq(d.script, "block"))
                *lossy = true;
        strbuf_addf(b, "%s%s:%s:%s:%c:%s", *path && *path != '/' ? "/dev/" : "", path, *path ? type : "file", d.vdev,
                    access[1] == 'w' || access[0] == 'w' ? 'w' : 'r', d.cdrom ? "cdrom" : "disk");
        if (backend)
                strbuf_addf(b, "::backend-domid=%lld", (long long) backend);
out:
        xl_disk_done(&d);
        return r;
}

/* ---- network cards ---- */

static void add_field(StrBuf *b, size_t start, const char *name, const char *value)
{
        strbuf_addf(b, "%s%s=%s", b->len > start ? "," : "", name, value);
}

void xl_format_nic(const VmConfig *config, const VmNic *n, size_t position, StrBuf *b)
{
        size_t start = b->len;
        char number[24];

        if (n->id != (int64_t) position) {
                snprintf(number, sizeof number, "%lld", (long long) n->id);
                add_field(b, start, "devid", number);
        }
        /* A derived address needs a uuid that stays. */
        if (n->mac_given || !config->uuid_generated)
                add_field(b, start, "mac", n->mac);
        if (*n->bridge)
                add_field(b, start, "bridge", n->bridge);
        if (vmconfig_is_hvm(config) && *n->model)
                add_field(b, start, "model", n->model);
        if (vmconfig_is_hvm(config) && b->len > start)
                add_field(b, start, "type", "ioemu");
        if (n->backend_domid) {
                snprintf(number, sizeof number, "%lld", (long long) n->backend_domid);
                add_field(b, start, "backend", number);
        }
        if (n->rate > 0) {
                snprintf(number, sizeof number, "%lldB/s", (long long) n->rate);
                add_field(b, start, "rate", number);
        }
}

/*
 * xl: a number, K, M or G (of 1000), B for bytes or b for bits, "/s"; and behind '@' how often that is given out, which
 * xenvm does not say. Returns bytes in a second, or -1.
 */
static int64_t read_rate(const char *s, bool *lossy)
{
        static const char units[] = "KMG";
        char *end;
        int64_t rate = strtoll(s, &end, 10);
        const char *unit = end > s && *end ? strchr(units, *end) : NULL;

        if (end == s || rate <= 0)
                return -1;
        for (const char *u = units; unit && u <= unit; u++)
                if (__builtin_mul_overflow(rate, 1000, &rate))
                        return -1;
        if (unit)
                end++;
        if (*end == 'b')
                rate = MAX2(rate / 8, (int64_t) 1);
        else if (*end != 'B')
                return -1;
        end = startswith(end + 1, "/s") ? end + 3 : NULL;
        if (!end || (*end && *end != '@'))
                return -1;
        *lossy |= *end == '@';
        return rate;
}

int xl_read_nic(Conversion *c, const XlItem *item, const char *s, StrBuf *b, bool *lossy)
{
        static const struct {
                const char *xl, *xenvm;
        } fields[] = {
                { "devid", "id" },      { "mac", "mac" },   { "bridge", "bridge" },
                { "model", "model" },   { "type", NULL },   { "backend", "backend-domid" },
                { "wireless", "wireless" }, { "rate", "rate" },
        };
        _cleanup_strv_ char **words = NULL;
        size_t start = b->len;
        bool vif_only = false, bridge = false;

        if (strv_split(s, ',', &words) < 0)
                return -ENOMEM;
        for (char **w = words; *w; w++)
                vif_only |= streq(strstrip(*w), "type=vif");
        for (char **w = words; *w; w++) {
                char *word = strstrip(*w), *value = strchr(word, '=');
                int64_t number;
                size_t i;

                if (!*word)
                        continue;
                if (!value)
                        return conversion_fail(c, "line %u: vif '%s': '=' is missing in '%s'", item->line, s, word);
                *value++ = '\0';
                value = strstrip(value);
                for (i = 0; i < ELEMENTSOF(fields); i++)
                        if (streq(strstrip(word), fields[i].xl))
                                break;
                if (i == ELEMENTSOF(fields)) {
                        *lossy = true;
                        continue;
                }
                if (streq(fields[i].xl, "backend") && value_parse_int(value, &number) < 0)
                        return conversion_fail(c, "line %u: vif '%s': backend '%s' is not the number of a domain",
                                               item->line, s, value);
                if (!fields[i].xenvm || (vif_only && streq(word, "model")) || (streq(word, "backend") && number == 0))
                        continue;
                if (streq(word, "rate")) {
                        char text[24];

                        number = read_rate(value, lossy);
                        if (number < 0)
                                return conversion_fail(c, "line %u: vif '%s': rate '%s' is not such as 10Mb/s or 250KB/s", item->line,
                                                       s, value);
                        snprintf(text, sizeof text, "%lld", (long long) number);
                        add_field(b, start, "rate", text);
                        continue;
                }
                bridge |= streq(word, "bridge");
                /* OpenXT's xl took the path of a network object as bridge. */
                add_field(b, start, streq(word, "bridge") && value[0] == '/' ? "network" : fields[i].xenvm, value);
        }
        if (!bridge)
                return conversion_warn(c, "line %u: vif '%s' names no bridge: xl would take xenbr0, xenvm the first that exists",
                                       item->line, s);
        return 0;
}

/* ---- PCI ---- */

void xl_format_pci(const VmConfig *config, const VmPci *p, StrBuf *b)
{
        strbuf_addf(b, "%04x:%02x:%02x.%x", p->domain, p->bus, p->slot, p->func);
        if (p->guest_slot != XENVM_UNSET)
                strbuf_addf(b, "@%llx", (long long) p->guest_slot);
        else if (p->vdevfn != XENVM_UNSET)
                strbuf_addf(b, "@%llx", (long long) p->vdevfn / 8);
        strbuf_addf(b, ",msitranslate=%d,power_mgmt=%d%s", vm_pci_msitranslate(config, p), vm_pci_power_mgmt(config, p),
                    p->bind ? ",seize=1" : "");
}

static bool hex_field(const char **s, unsigned digits, unsigned max, unsigned *ret)
{
        unsigned n = 0, v = 0;

        for (; isxdigit((unsigned char) **s); ++*s, n++)
                v = v * 16 + (unsigned) (isdigit((unsigned char) **s) ? **s - '0'
                                                                      : tolower((unsigned char) **s) - 'a' + 10);
        *ret = v;
        return n > 0 && n <= digits && v <= max;
}

/* [dddd:]bb:ss.f[@vslot] */
static bool parse_xl_address(const char *s, unsigned part[static 4], int *slot)
{
        const char *first = strchr(s, ':');
        unsigned v;

        part[0] = 0;
        *slot = -1;
        if (first && strchr(first + 1, ':') && (!hex_field(&s, 4, 0xffff, &part[0]) || *s++ != ':'))
                return false;
        if (!hex_field(&s, 2, 0xff, &part[1]) || *s++ != ':' || !hex_field(&s, 2, 0x1f, &part[2]) || *s++ != '.' ||
            !hex_field(&s, 1, 7, &part[3]))
                return false;
        if (*s == '@') {
                s++;
                if (!hex_field(&s, 2, 0x1f, &v))
                        return false;
                *slot = (int) v;
        }
        return *s == '\0';
}

int xl_read_pci(Conversion *c, const XlItem *item, const char *s, int64_t msitranslate, int64_t power_mgmt, bool seize,
                StrBuf *b, bool *lossy)
{
        _cleanup_strv_ char **words = NULL;
        unsigned part[4];
        int slot;

        if (strv_split(s, ',', &words) < 0)
                return -ENOMEM;
        if (strstr(words[0], ".*"))
                return conversion_fail(c, "line %u: pci '%s': '.*' is only expanded by xl; name each function", item->line, s);
        if (!parse_xl_address(strstrip(words[0]), part, &slot))
                return conversion_fail(c, "line %u: pci '%s': bad address '%s'", item->line, s, words[0]);
        for (char **w = words + 1; *w; w++) {
                char *word = strstrip(*w), *value = strchr(word, '=');
                int64_t number;

                if (!value || value_parse_int(value + 1, &number) < 0) {
                        *lossy = true;
                        continue;
                }
                *value = '\0';
                if (streq(word, "msitranslate"))
                        msitranslate = number != 0;
                else if (streq(word, "power_mgmt"))
                        power_mgmt = number != 0;
                else if (streq(word, "seize"))
                        seize = number != 0;
                else
                        *lossy = true;
        }
        strbuf_addf(b, "0,%s%04x:%02x:%02x.%x,msitranslate=%lld,power_mgmt=%lld", seize ? "bind," : "", part[0], part[1],
                    part[2], part[3], (long long) msitranslate, (long long) power_mgmt);
        if (slot >= 0)
                strbuf_addf(b, ",guest_slot=%d", slot);
        return 0;
}
