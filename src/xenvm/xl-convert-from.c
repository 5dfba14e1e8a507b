/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From xl to xenvm. */
#include "config-values.h"
#include "parse.h"
#include "xl-convert-internal.h"

typedef struct Line {
        XenvmKey key;
        char *value;
} Line;

typedef struct Input {
        XlFile *file;
        Conversion *conversion;
        bool hvm;
        Line *lines;
        size_t n;
        StrBuf comments;
        int r; /* the first failure; what follows does nothing */
} Input;

static void input_done(Input *in)
{
        for (size_t i = 0; i < in->n; i++)
                free(in->lines[i].value);
        free(in->lines);
        strbuf_done(&in->comments);
}

static void put(Input *in, XenvmKey key, const char *value)
{
        Line *lines;

        if (in->r < 0)
                return;
        if (strpbrk(value, "\n\r")) {
                in->r = conversion_fail(in->conversion, "%s: a value of several lines cannot stand in a xenvm config",
                                        xenvm_keys[key].name);
                return;
        }
        lines = reallocarray(in->lines, in->n + 1, sizeof *lines);
        if (lines) {
                in->lines = lines;
                lines[in->n].key = key;
                lines[in->n].value = strdup(value);
        }
        if (!lines || !lines[in->n++].value)
                in->r = -ENOMEM;
}

static void put_number(Input *in, XenvmKey key, int64_t n)
{
        char s[24];

        snprintf(s, sizeof s, "%lld", (long long) n);
        put(in, key, s);
}

static void put_bool(Input *in, XenvmKey key, bool b)
{
        put(in, key, b ? "true" : "false");
}

/* Keeps an item that xenvm cannot say, or not wholly. */
static void keep(Input *in, const XlItem *item, const char *why)
{
        if (in->r < 0)
                return;
        strbuf_addf(&in->comments, "# xl: %s = ", item->key);
        xl_print(&item->value, &in->comments);
        strbuf_addc(&in->comments, '\n');
        in->r = conversion_warn(in->conversion, "line %u: %s: %s; kept as a comment", item->line, item->key, why);
}

static void bad(Input *in, const XlItem *item, const char *expected)
{
        if (in->r >= 0)
                in->r = conversion_fail(in->conversion, "line %u: %s: %s expected", item->line, item->key, expected);
}

/* The text of a string or number; NULL (with an error) for a list. */
static const char *text_of(Input *in, const XlItem *item)
{
        if (item->value.kind != XL_LIST)
                return item->value.text;
        bad(in, item, "a string");
        return NULL;
}

static bool number_of(Input *in, const XlItem *item, int64_t *ret)
{
        if (xl_value_number(&item->value, ret))
                return true;
        bad(in, item, "a number");
        return false;
}

/* A number that may be missing. */
static int64_t take_number(Input *in, const char *key, int64_t fallback)
{
        XlItem *item = xl_take(in->file, key);
        int64_t n = fallback;

        if (item)
                number_of(in, item, &n);
        return n;
}

/* Calls f for each string: of a list, or the one that stands alone. */
static void each_string(Input *in, const XlItem *item, void (*f)(Input *, const XlItem *, const char *, void *), void *data)
{
        if (item->value.kind != XL_LIST) {
                f(in, item, item->value.text, data);
                return;
        }
        for (size_t i = 0; i < item->value.n_items && in->r >= 0; i++) {
                if (item->value.items[i].kind == XL_LIST)
                        bad(in, item, "a list of strings");
                else
                        f(in, item, item->value.items[i].text, data);
        }
}

/* ---- groups of settings ---- */

static void take_scalars(Input *in, XlGroup group)
{
        for (size_t i = 0; i < n_xl_scalars; i++) {
                const XlScalar *s = &xl_scalars[i];
                XlItem *item;
                int64_t n;
                const char *text;

                if (s->group != group)
                        continue;
                item = xl_take(in->file, s->xl);
                if (!item) {
                        if (in->hvm && s->hvm_default)
                                put_bool(in, s->key, s->hvm_default[0] == '1');
                } else if (s->form == XL_FORM_TEXT) {
                        text = text_of(in, item);
                        if (text)
                                put(in, s->key, text);
                } else if (number_of(in, item, &n)) {
                        if (s->form == XL_FORM_BOOL)
                                put_bool(in, s->key, n != 0);
                        else
                                put_number(in, s->key, n);
                }
        }
}

static void take_identity(Input *in)
{
        XlItem *name, *type = xl_take(in->file, "type"), *builder = xl_take(in->file, "builder");
        const char *word = type ? text_of(in, type) : builder ? text_of(in, builder) : "pv";

        take_scalars(in, XL_IDENTITY);
        name = xl_take(in->file, "name");
        if (name && text_of(in, name))
                put(in, XENVM_KEY_name, name->value.text);
        if (!word)
                return;
        if (streq(word, "hvm") || streq(word, "pv") || (!type && streq(word, "generic")))
                in->hvm = streq(word, "hvm");
        else if (streq(word, "pvh"))
                in->r = conversion_fail(in->conversion, "line %u: type pvh has no counterpart in xenvm", type->line);
        else
                bad(in, type ? type : builder, type ? "\"hvm\" or \"pv\"" : "\"hvm\" or \"generic\"");
        put_bool(in, XENVM_KEY_hvm, in->hvm);
}

/* "2", "0-3,^1" or "all" as a set; false: some other form. */
static bool parse_cpus(const char *s, uint64_t *ret, bool *all)
{
        _cleanup_strv_ char **words = NULL;

        *ret = 0;
        *all = streq(s, "all");
        if (*all)
                return true;
        if (strv_split(s, ',', &words) < 0)
                return false;
        for (char **w = words; *w; w++) {
                char *word = strstrip(*w), *dash;
                bool minus = *word == '^';
                int64_t first, last;

                word += minus;
                dash = strchr(word, '-');
                if (dash)
                        *dash++ = '\0';
                if (value_parse_int(word, &first) < 0 || first < 0 || first > 63)
                        return false;
                last = first;
                if (dash && (value_parse_int(dash, &last) < 0 || last < first || last > 63))
                        return false;
                for (; first <= last; first++)
                        *ret = minus ? *ret & ~(UINT64_C(1) << first) : *ret | UINT64_C(1) << first;
        }
        return *ret != 0;
}

static void take_cpus(Input *in, int64_t vcpus)
{
        XlItem *item = xl_take(in->file, "cpus");
        bool lossy = false;

        for (int64_t vcpu = 0; item && vcpu < vcpus && vcpu < 4096; vcpu++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                const XlValue *v = &item->value;
                uint64_t cpus;
                bool all;

                if (v->kind == XL_LIST) {
                        if ((size_t) vcpu >= v->n_items)
                                break;
                        v = &v->items[vcpu];
                }
                if (v->kind == XL_LIST || !parse_cpus(v->text, &cpus, &all)) {
                        lossy = true;
                        continue;
                }
                if (all)
                        continue;
                strbuf_addf(&b, "%lld", (long long) vcpu);
                for (int i = 0, n = 0; i < 64; i++)
                        if (cpus & (UINT64_C(1) << i))
                                strbuf_addf(&b, "%c%d", n++ ? ',' : ':', i);
                if (b.oom)
                        in->r = -ENOMEM;
                else
                        put(in, XENVM_KEY_cpus_affinity, b.data);
        }
        if (lossy)
                keep(in, item, "only numbers of CPUs from 0 to 63 can be said");
}

static void take_cpuid_line(Input *in, const XlItem *item, const char *s, void *lossy)
{
        _cleanup_free_ char *copy = strdup(s);
        char *comma, *colon;

        if (startswith(s, "host") || !copy) {
                *(bool *) lossy = true;
                return;
        }
        /* N,S:reg=mask is N+S:reg=mask here. */
        comma = strchr(copy, ',');
        colon = strchr(copy, ':');
        if (!colon)
                bad(in, item, "LEAF:REGISTER=MASK");
        else if (comma && comma < colon)
                *comma = '+';
        put(in, XENVM_KEY_cpuid, copy);
}

static void take_memory(Input *in)
{
        XlItem *vcpus, *max, *cpuid;
        int64_t n = 1, m = 0;
        bool lossy = false;

        take_scalars(in, XL_MEMORY);
        vcpus = xl_take(in->file, "vcpus");
        max = xl_take(in->file, "maxvcpus");
        if (vcpus)
                number_of(in, vcpus, &n);
        if (max && number_of(in, max, &m) && vcpus && m != n)
                keep(in, max, "differs from vcpus; the larger one counts");
        if (vcpus || max)
                put_number(in, XENVM_KEY_vcpus, MAX2(n, m));
        take_cpus(in, MAX2(n, m));
        cpuid = xl_take(in->file, "cpuid");
        if (cpuid)
                each_string(in, cpuid, take_cpuid_line, &lossy);
        if (lossy)
                keep(in, cpuid, "the form host,… cannot be said");
}

static void take_cmdline(Input *in)
{
        XlItem *cmdline = xl_take(in->file, "cmdline"), *root = xl_take(in->file, "root"), *extra = xl_take(in->file, "extra");
        _cleanup_free_ char *joined = NULL;

        if (cmdline) {
                if (text_of(in, cmdline))
                        put(in, XENVM_KEY_cmdline, cmdline->value.text);
                return;
        }
        if ((root && !text_of(in, root)) || (extra && !text_of(in, extra)) || (!root && !extra))
                return;
        joined = strformat("%s%s%s%s", root ? "root=" : "", root ? root->value.text : "", root && extra ? " " : "",
                           extra ? extra->value.text : "");
        if (joined)
                put(in, XENVM_KEY_cmdline, joined);
}

static void take_viridian(Input *in)
{
        XlItem *item = xl_take(in->file, "viridian");
        int64_t n;

        if (item && item->value.kind == XL_LIST) {
                put_bool(in, XENVM_KEY_viridian, item->value.n_items > 0);
                keep(in, item, "groups of enlightenments cannot be chosen");
        } else if (item && number_of(in, item, &n))
                put_bool(in, XENVM_KEY_viridian, n != 0);
}

static void take_timer_mode(Input *in)
{
        XlItem *item = xl_take(in->file, "timer_mode");
        int64_t n;

        if (!item)
                return;
        for (n = 0; n < (int64_t) ELEMENTSOF(xl_timer_modes); n++)
                if (item->value.kind == XL_STRING && streq(item->value.text, xl_timer_modes[n]))
                        break;
        if (n < (int64_t) ELEMENTSOF(xl_timer_modes) || number_of(in, item, &n))
                put_number(in, XENVM_KEY_timer_mode, n);
}

static void take_platform(Input *in)
{
        XlItem *kernel = xl_take(in->file, "kernel"), *boot, *offset, *item;
        int64_t acpi = take_number(in, "acpi", 1), n;
        const char *const sleep_states[] = { "acpi_s3", "acpi_s4" };

        if (kernel && text_of(in, kernel))
                put(in, XENVM_KEY_kernel, kernel->value.text);
        take_cmdline(in);
        take_scalars(in, XL_PLATFORM);
        for (size_t i = 0; i < ELEMENTSOF(sleep_states); i++) {
                item = xl_take(in->file, sleep_states[i]);
                if (item && number_of(in, item, &n) && (n != 0) != (acpi != 0))
                        keep(in, item, "xenvm has it as acpi is");
        }
        boot = xl_take(in->file, "boot");
        if (boot && boot->value.kind == XL_STRING && strchr(boot->value.text, 'a') && in->r >= 0)
                in->r = conversion_warn(in->conversion, "line %u: boot: a (floppy) may not be there", boot->line);
        take_viridian(in);
        take_timer_mode(in);
        offset = xl_take(in->file, "rtc_timeoffset");
        if (offset && text_of(in, offset))
                put(in, XENVM_KEY_time_offset, offset->value.text);
}

static void take_usbdevice(Input *in, const XlItem *item _unused_, const char *s, void *data _unused_)
{
        _cleanup_free_ char *value = strformat("usbdevice=%s", s);

        if (value)
                put(in, XENVM_KEY_extra_hvm, value);
}

/* "-name", "value" pairs. False if they do not look like that. */
static bool take_arguments(Input *in, const XlItem *item)
{
        const XlValue *l = &item->value;

        if (l->kind != XL_LIST)
                return false;
        for (size_t i = 0; i < l->n_items; i++)
                if (l->items[i].kind != XL_STRING || (i == 0 && l->items[i].text[0] != '-'))
                        return false;
        for (size_t i = 0; i < l->n_items; i++) {
                const char *name = l->items[i].text, *value = i + 1 < l->n_items ? l->items[i + 1].text : "-";
                _cleanup_free_ char *pair = NULL;

                if (name[0] != '-' || !name[1])
                        return false;
                if (*value == '-')
                        pair = strdup(name + 1);
                else {
                        pair = strformat("%s=%s", name + 1, value);
                        i++;
                }
                if (pair)
                        put(in, XENVM_KEY_extra_hvm, pair);
        }
        return true;
}

/* Key, value pairs of a vfb string. */
static void take_vfb(Input *in, XlItem *vfb)
{
        _cleanup_free_ char *value = NULL;
        _cleanup_strv_ char **words = NULL;
        const XlValue *v = &vfb->value;
        const char *port = "0", *unused = NULL, *keymap = "en-us";
        bool detailed = false, lossy = v->kind == XL_LIST && v->n_items > 1;

        if (v->kind == XL_LIST && v->n_items > 0)
                v = &v->items[0];
        if (v->kind == XL_LIST) {
                if (!in->hvm)
                        put(in, XENVM_KEY_display, "none");
                return;
        }
        if (strv_split(v->text, ',', &words) < 0) {
                in->r = -ENOMEM;
                return;
        }
        for (char **w = words; *w; w++) {
                const char *word = strstrip(*w), *s;

                if ((s = startswith(word, "vncdisplay=")))
                        port = s;
                else if ((s = startswith(word, "vncunused=")))
                        unused = s;
                else if ((s = startswith(word, "keymap=")))
                        keymap = s;
                else {
                        lossy |= *word && !streq(word, "vnc=1") && !streq(word, "type=vnc");
                        continue;
                }
                detailed = true;
        }
        if (detailed && !in->hvm) {
                value = strformat("vnc:%sport=%s,keymap=%s", unused && streq(unused, "0") ? "" : "use-port-unused,", port, keymap);
                if (value)
                        put(in, XENVM_KEY_display, value);
        } else {
                if (!in->hvm)
                        put(in, XENVM_KEY_display, "none");
                put_bool(in, XENVM_KEY_vfb, true);
        }
        if (lossy)
                keep(in, vfb, "has more than xenvm can say");
}

static void take_display(Input *in)
{
        XlItem *vfb = xl_take(in->file, "vfb"), *vga = xl_take(in->file, "vga"), *gfx = xl_take(in->file, "gfx_passthru");
        XlItem *keymap = xl_take(in->file, "keymap");
        int64_t vnc = take_number(in, "vnc", in->hvm), port = take_number(in, "vncdisplay", 0);
        int64_t unused = take_number(in, "vncunused", 1), sdl = take_number(in, "sdl", 0);
        _cleanup_free_ char *value = NULL;

        take_number(in, "nographic", 0);
        if (!in->hvm && !vnc) {
                if (vfb)
                        take_vfb(in, vfb);
                else
                        put(in, XENVM_KEY_display, "none");
                return;
        }
        if (gfx && (gfx->value.kind == XL_LIST || streq(gfx->value.text, "0")))
                gfx = NULL;
        if (sdl)
                put(in, XENVM_KEY_display, "sdl");
        else if (gfx)
                put(in, XENVM_KEY_display, "intel");
        else if (!vnc)
                put(in, XENVM_KEY_display, "none");
        else {
                value = strformat("vnc:%sport=%lld,keymap=%s", unused ? "use-port-unused," : "", (long long) port,
                                  keymap && text_of(in, keymap) ? keymap->value.text : "en-us");
                if (value)
                        put(in, XENVM_KEY_display, value);
                if (vga && vga->value.kind == XL_STRING && !streq(vga->value.text, "stdvga"))
                        keep(in, vga, "xenvm shows stdvga on VNC");
        }
        if (vfb)
                take_vfb(in, vfb);
}

static void take_serial(Input *in)
{
        XlItem *item = xl_take(in->file, "serial");
        const XlValue *v = item ? &item->value : NULL;

        if (v && v->kind == XL_LIST) {
                if (v->n_items > 1)
                        keep(in, item, "xenvm has one port; the first is taken");
                v = v->n_items > 0 ? &v->items[0] : NULL;
        }
        if (v && v->kind != XL_LIST)
                put(in, XENVM_KEY_serial, v->text);
        else if (in->hvm || item)
                put(in, XENVM_KEY_serial, "none");
}

static bool restored_stubdom(const XlFile *f)
{
        for (char **c = f->comments; c && *c; c++)
                if (startswith(*c, "xenvm: stubdom ="))
                        return true;
        return false;
}

static void take_device_model(Input *in)
{
        static const char *const arguments[] = { "device_model_args_hvm", "device_model_args" };
        XlItem *vkb = xl_take(in->file, "vkb"), *version = xl_take(in->file, "device_model_version"), *usb;
        int64_t stubdom = take_number(in, "device_model_stubdomain_override", 0);

        take_number(in, "vkb_device", 0);
        take_serial(in);
        take_scalars(in, XL_DEVICE_MODEL);
        take_display(in);
        if (vkb && vkb->value.kind == XL_LIST && vkb->value.n_items > 0) {
                put_bool(in, XENVM_KEY_vkbd, true);
                if (vkb->value.n_items > 1 || vkb->value.items[0].kind == XL_LIST ||
                    !streq(vkb->value.items[0].text, "backend-type=qemu"))
                        keep(in, vkb, "the parameters cannot be said");
        }
        if (version && (version->value.kind != XL_STRING || !streq(version->value.text, "qemu-xen")))
                keep(in, version, "xenvm knows qemu-xen alone");
        if (stubdom && !restored_stubdom(in->file)) {
                char uuid[37];

                if (!uuid_random(uuid))
                        in->r = -EIO;
                else
                        put(in, XENVM_KEY_stubdom, uuid);
        }
        for (size_t i = 0; i < ELEMENTSOF(arguments); i++) {
                XlItem *item = xl_take(in->file, arguments[i]);

                if (item && !take_arguments(in, item))
                        keep(in, item, "not a list of \"-name\", \"value\"");
        }
        usb = xl_take(in->file, "usbdevice");
        if (usb)
                each_string(in, usb, take_usbdevice, NULL);
}

/* ---- devices ---- */

typedef struct DeviceReader {
        XenvmKey key;
        int64_t msitranslate, power_mgmt;
        bool seize, lossy;
} DeviceReader;

static void take_device(Input *in, const XlItem *item, const char *s, void *data)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        DeviceReader *d = data;
        bool lossy = false;
        int r;

        if (d->key == XENVM_KEY_disk)
                r = xl_read_disk(in->conversion, item, s, &b, &lossy);
        else if (d->key == XENVM_KEY_nic)
                r = xl_read_nic(in->conversion, item, s, &b, &lossy);
        else
                r = xl_read_pci(in->conversion, item, s, d->msitranslate, d->power_mgmt, d->seize, &b, &lossy);
        if (r < 0 || b.oom) {
                in->r = r < 0 ? r : -ENOMEM;
                return;
        }
        d->lossy |= lossy;
        if (b.len > 0 || d->key == XENVM_KEY_nic)
                put(in, d->key, strempty(b.data));
}

static void take_device_list(Input *in, const char *name, DeviceReader *d)
{
        XlItem *item = xl_take(in->file, name);

        if (!item)
                return;
        each_string(in, item, take_device, d);
        if (d->lossy)
                keep(in, item, "has parameters without counterpart");
}

static void take_port(Input *in, const XlItem *item, const char *s, void *data _unused_)
{
        unsigned long long first, last;
        char value[64], *end;

        first = strtoull(s, &end, 16);
        last = first;
        if (end > s && *end == '-') {
                s = end + 1;
                last = strtoull(s, &end, 16);
        }
        if (end == s || *end || last < first) {
                bad(in, item, "ports such as \"2f8-2ff\"");
                return;
        }
        snprintf(value, sizeof value, "0x%llx-0x%llx", first, last);
        put(in, XENVM_KEY_passthrough_io, value);
}

static void take_iomem(Input *in, const XlItem *item, const char *s, void *lossy)
{
        unsigned long long start, count, gfn;
        char value[64], *end;

        start = strtoull(s, &end, 16);
        if (end == s || *end != ',') {
                bad(in, item, "pages such as \"fed40,5\"");
                return;
        }
        s = end + 1;
        count = strtoull(s, &end, 16);
        if (end > s && *end == '@') {
                gfn = strtoull(end + 1, &end, 16);
                *(bool *) lossy |= gfn != start;
        }
        if (end == s || *end || count == 0 || start > INT64_MAX >> 12 || count > (INT64_MAX >> 12) - start) {
                bad(in, item, "pages such as \"fed40,5\"");
                return;
        }
        snprintf(value, sizeof value, "0x%llx-0x%llx", start << 12, ((start + count) << 12) - 1);
        put(in, XENVM_KEY_passthrough_mmio, value);
}

static void take_devices(Input *in)
{
        DeviceReader disk = { .key = XENVM_KEY_disk }, nic = { .key = XENVM_KEY_nic }, pci = { .key = XENVM_KEY_pci };
        XlItem *ports = xl_take(in->file, "ioports"), *iomem = xl_take(in->file, "iomem");
        bool lossy = false;

        take_device_list(in, "disk", &disk);
        take_device_list(in, "vif", &nic);
        pci.msitranslate = take_number(in, "pci_msitranslate", 0) != 0;
        pci.power_mgmt = take_number(in, "pci_power_mgmt", 0) != 0;
        pci.seize = take_number(in, "pci_seize", 0) != 0;
        take_scalars(in, XL_DEVICES);
        take_device_list(in, "pci", &pci);
        if (ports)
                each_string(in, ports, take_port, NULL);
        if (iomem)
                each_string(in, iomem, take_iomem, &lossy);
        if (lossy)
                keep(in, iomem, "the guest sees the pages at their own address");
}

static void take_actions(Input *in)
{
        static const struct {
                const char *xl;
                XenvmKey key;
        } actions[] = { { "on_poweroff", XENVM_KEY_on_halt }, { "on_reboot", XENVM_KEY_on_reboot },
                        { "on_crash", XENVM_KEY_on_crash } };
        static const struct {
                const char *xl, *xenvm;
                bool same;
        } words[] = {
                { "destroy", "destroy", true },          { "restart", "restart", true },
                { "preserve", "preserve", true },        { "coredump-destroy", "destroy", false },
                { "coredump-restart", "restart", false }, { "rename-restart", "restart", false },
                { "soft-reset", "restart", false },
        };
        XlItem *crash, *watchdog = xl_take(in->file, "on_watchdog");

        for (size_t i = 0; i < ELEMENTSOF(actions); i++) {
                XlItem *item = xl_take(in->file, actions[i].xl);
                const char *text = item ? text_of(in, item) : NULL;
                size_t w;

                if (!text)
                        continue;
                for (w = 0; w < ELEMENTSOF(words); w++)
                        if (streq(text, words[w].xl))
                                break;
                if (w == ELEMENTSOF(words)) {
                        bad(in, item, "an action such as \"restart\"");
                        return;
                }
                put(in, actions[i].key, words[w].xenvm);
                if (!words[w].same)
                        keep(in, item, "xenvm has no such action");
        }
        crash = xl_take(in->file, "on_crash");
        if (watchdog && text_of(in, watchdog) &&
            !streq(watchdog->value.text, crash && crash->value.text ? crash->value.text : "destroy"))
                keep(in, watchdog, "xenvm treats it as on_crash");
}

/* ---- the comments of the way from xenvm ---- */

/* The line that a kept element stands for: the same device, id or address. in->n: none. */
static size_t find_line(const Input *in, const VmConfig *c, XenvmKey key, const char *value)
{
        _cleanup_free_ char *why = NULL;
        unsigned line = 0;

        if (key == XENVM_KEY_disk) {
                VmDisk d;

                if (vmconfig_parse_disk(value, &d, &why) >= 0) {
                        for (size_t i = 0; i < c->disk.n; i++)
                                if (c->disk.items[i].device == d.device)
                                        line = c->disk.items[i].line;
                        vm_disk_done(&d);
                }
        } else if (key == XENVM_KEY_nic) {
                VmNic n;

                if (vmconfig_parse_nic(value, &n, &why) >= 0) {
                        for (size_t i = 0; i < c->nic.n; i++)
                                if (c->nic.items[i].id == n.id)
                                        line = c->nic.items[i].line;
                        vm_nic_done(&n);
                }
        } else if (key == XENVM_KEY_pci) {
                VmPci p;

                if (vmconfig_parse_pci(value, &p, &why) >= 0)
                        for (size_t i = 0; i < c->pci.n; i++) {
                                const VmPci *q = &c->pci.items[i];

                                if (q->domain == p.domain && q->bus == p.bus && q->slot == p.slot && q->func == p.func)
                                        line = q->line;
                        }
        }
        return line > 0 ? line - 1 : in->n;
}

static void drop_lines(Input *in, XenvmKey key)
{
        size_t n = 0;

        for (size_t i = 0; i < in->n; i++) {
                if (in->lines[i].key == key)
                        free(in->lines[i].value);
                else
                        in->lines[n++] = in->lines[i];
        }
        in->n = n;
}

static void restore_setting(Input *in, const VmConfig *c, char *setting, bool dropped[])
{
        char *value = strchr(setting, '=');
        XenvmKey key = _XENVM_KEY_MAX;
        size_t i = in->n;

        if (value) {
                *value++ = '\0';
                key = xenvm_key_find(strstrip(setting));
                value = strstrip(value);
        }
        if (key == _XENVM_KEY_MAX) {
                in->r = conversion_warn(in->conversion, "the comment '# xenvm: %s' is no setting of xenvm and is left out",
                                        setting);
                return;
        }
        if (key == XENVM_KEY_disk || key == XENVM_KEY_nic || key == XENVM_KEY_pci)
                i = find_line(in, c, key, value);
        else if (!dropped[key]) {
                /* Of other settings the comments are the whole truth. */
                drop_lines(in, key);
                dropped[key] = true;
                i = in->n;
        }
        if (i >= in->n || in->lines[i].key != key) {
                put(in, key, value);
                return;
        }
        free(in->lines[i].value);
        in->lines[i].value = strdup(value);
        if (!in->lines[i].value)
                in->r = -ENOMEM;
}

static int lines_text(const Input *in, StrBuf *b)
{
        for (size_t i = 0; i < in->n; i++)
                strbuf_addf(b, "%s = %s\n", xenvm_keys[in->lines[i].key].name, in->lines[i].value);
        return b->oom ? -ENOMEM : 0;
}

/* Reads our own output: what xl allows and xenvm does not shows here. */
static int lines_config(const Input *in, const char *uuid, VmConfig **ret)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r = lines_text(in, &b);

        if (r >= 0)
                r = vmconfig_parse(strempty(b.data), b.len, uuid, &problems, ret);
        if (r >= 0 && problems.n_errors == 0)
                return 0;
        for (size_t i = 0; i < problems.n; i++)
                if (problems.items[i].severity >= CONFIG_ERROR)
                        return conversion_fail(in->conversion, "%s: %s%s%s", problems.items[i].key, problems.items[i].text,
                                               problems.items[i].detail ? "; " : "", strempty(problems.items[i].detail));
        return r;
}

static int restore_all(Input *in)
{
        bool dropped[_XENVM_KEY_MAX] = { false };

        /* In front of each, since numbers of lines change. */
        for (char **p = in->file->comments; p && *p && in->r >= 0; p++) {
                const char *setting = startswith(*p, "xenvm:");
                _cleanup_config_ VmConfig *c = NULL;
                _cleanup_free_ char *copy = NULL;

                if (!setting)
                        continue;
                copy = strdup(setting + strspn(setting, " \t"));
                in->r = copy ? lines_config(in, NULL, &c) : -ENOMEM;
                if (in->r >= 0)
                        restore_setting(in, c, copy, dropped);
        }
        return in->r;
}

static int convert(const char *text, size_t size, const char *uuid, Conversion *ret, Input *in, VmConfig **ret_config)
{
        char *why = NULL;
        int r;

        *in = (Input) { .conversion = ret };
        r = xl_parse(text, size, &in->file, &why);
        if (r < 0) {
                free(ret->error);
                ret->error = why;
                return r;
        }
        take_identity(in);
        take_memory(in);
        take_platform(in);
        take_device_model(in);
        take_devices(in);
        take_actions(in);
        for (size_t i = 0; i < in->file->n_items; i++)
                if (!in->file->items[i].used)
                        keep(in, &in->file->items[i], "has no counterpart in xenvm");
        r = in->r < 0 ? in->r : restore_all(in);
        return r < 0 ? r : lines_config(in, uuid, ret_config);
}

int convert_xl_to_config(const char *text, size_t size, const char *uuid, Conversion *ret, VmConfig **ret_config)
{
        Input in;
        int r = convert(text, size, uuid, ret, &in, ret_config);

        xl_free(in.file);
        input_done(&in);
        return r;
}

int convert_xl_to_xenvm(const char *text, size_t size, Conversion *ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_config_ VmConfig *c = NULL;
        Input in;
        int r = convert(text, size, NULL, ret, &in, &c);

        if (r >= 0)
                r = lines_text(&in, &b);
        if (r >= 0) {
                strbuf_add(&b, strempty(in.comments.data));
                r = in.comments.oom ? -ENOMEM : strbuf_take(&b, &ret->text);
        }
        xl_free(in.file);
        input_done(&in);
        return r;
}
