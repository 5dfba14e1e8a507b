/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From xenvm to xl. What has the same meaning in both is a row of xl_scalars. */
#include "config-values.h"
#include "xl-convert-internal.h"


#define K(field) XENVM_KEY_##field

const XlScalar xl_scalars[] = {
        { XL_IDENTITY, K(uuid), "uuid", XL_FORM_TEXT, false, NULL },
        { XL_MEMORY, K(memory_kib), "memory", XL_FORM_INT, false, NULL },
        { XL_MEMORY, K(memory_max_kib), "maxmem", XL_FORM_INT, false, NULL },
        { XL_MEMORY, K(hap), "hap", XL_FORM_BOOL, false, NULL },
        { XL_PLATFORM, K(initrd), "ramdisk", XL_FORM_TEXT, false, NULL },
        { XL_PLATFORM, K(boot), "boot", XL_FORM_TEXT, true, NULL },
        { XL_PLATFORM, K(pae), "pae", XL_FORM_BOOL, true, "1" },
        { XL_PLATFORM, K(acpi), "acpi", XL_FORM_BOOL, true, "1" },
        { XL_PLATFORM, K(apic), "apic", XL_FORM_BOOL, true, "1" },
        { XL_PLATFORM, K(nx), "nx", XL_FORM_BOOL, true, "1" },
        { XL_PLATFORM, K(nested), "nestedhvm", XL_FORM_BOOL, false, NULL },
        { XL_PLATFORM, K(hpet), "hpet", XL_FORM_INT, false, NULL },
        { XL_PLATFORM, K(vpt_align), "vpt_align", XL_FORM_INT, false, NULL },
        { XL_PLATFORM, K(flask_label), "seclabel", XL_FORM_TEXT, false, NULL },
        { XL_PLATFORM, K(disable_migrate), "nomigrate", XL_FORM_BOOL, false, NULL },
        { XL_PLATFORM, K(usb), "usb", XL_FORM_BOOL, true, "0" },
        { XL_DEVICE_MODEL, K(videoram), "videoram", XL_FORM_INT, false, NULL },
        { XL_DEVICE_MODEL, K(sound), "soundhw", XL_FORM_TEXT, false, NULL },
        { XL_DEVICE_MODEL, K(qemu_dm_path), "device_model_override", XL_FORM_TEXT, false, NULL },
        { XL_DEVICE_MODEL, K(stubdom_memory_kib), "stubdomain_memory", XL_FORM_INT, false, NULL },
        { XL_DEVICE_MODEL, K(stubdom_kernel), "stubdomain_kernel", XL_FORM_TEXT, false, NULL },
        { XL_DEVICE_MODEL, K(stubdom_initrd), "stubdomain_ramdisk", XL_FORM_TEXT, false, NULL },
        { XL_DEVICE_MODEL, K(stubdom_cmdline), "stubdomain_cmdline", XL_FORM_TEXT, false, NULL },
        { XL_DEVICES, K(pci_msitranslate), "pci_msitranslate", XL_FORM_INT, false, NULL },
        { XL_DEVICES, K(pci_power_management), "pci_power_mgmt", XL_FORM_INT, false, NULL },
};
const size_t n_xl_scalars = ELEMENTSOF(xl_scalars);

const char *const xl_timer_modes[4] = { "delay_for_missed_ticks", "no_delay_for_missed_ticks",
                                        "no_missed_ticks_pending", "one_missed_tick_pending" };

void conversion_done(Conversion *c)
{
        free(c->text);
        strv_free(c->warnings);
        free(c->error);
        *c = (Conversion) { 0 };
}

int conversion_warn(Conversion *c, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        return text ? strv_extend(&c->warnings, text) : -ENOMEM;
}

int conversion_fail(Conversion *c, const char *fmt, ...)
{
        va_list ap;

        free(c->error);
        va_start(ap, fmt);
        c->error = strformatv(fmt, ap);
        va_end(ap);
        return c->error ? -EINVAL : -ENOMEM;
}

/* ---- the output: lines in order, each found again by its key ---- */

typedef struct Line {
        char *key, *value;
} Line;

typedef struct Output {
        const VmConfig *config;
        Conversion *conversion;
        Line *lines;
        size_t n;
        int r; /* the first failure; what follows does nothing */
} Output;

static void output_done(Output *o)
{
        for (size_t i = 0; i < o->n; i++) {
                free(o->lines[i].key);
                free(o->lines[i].value);
        }
        free(o->lines);
}

static void put_line(Output *o, const char *key, char *value)
{
        Line *lines = o->r < 0 ? NULL : reallocarray(o->lines, o->n + 1, sizeof *lines);

        if (!lines || !value) {
                o->r = o->r < 0 ? o->r : -ENOMEM;
                free(value);
                return;
        }
        o->lines = lines;
        lines[o->n] = (Line) { strdup(key), value };
        if (!lines[o->n++].key)
                o->r = -ENOMEM;
}

static void put_number(Output *o, const char *key, int64_t n)
{
        put_line(o, key, n < 0 ? strformat("'%lld'", (long long) n) : strformat("%lld", (long long) n));
}

static void quote(Output *o, const char *key, const char *s, StrBuf *b)
{
        if (o->r >= 0 && xl_quote(s, b) < 0)
                o->r = conversion_fail(o->conversion, "%s: the value holds a control character, which xl.cfg cannot express",
                                       key);
}

static void put_text(Output *o, const char *key, const char *s)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *value = NULL;

        quote(o, key, s, &b);
        if (o->r >= 0)
                o->r = strbuf_take(&b, &value);
        if (o->r >= 0)
                put_line(o, key, value);
}

/* A list is collected with list_begin/list_item and put when it is not empty. */
typedef struct TextList {
        StrBuf b;
        bool any;
} TextList;

static void list_item(Output *o, TextList *l, const char *key, const char *s)
{
        strbuf_add(&l->b, l->any ? ", " : "[");
        l->any = true;
        quote(o, key, s, &l->b);
}

static void put_list(Output *o, const char *key, TextList *l)
{
        char *value = NULL;

        if (l->any) {
                strbuf_addc(&l->b, ']');
                if (o->r >= 0)
                        o->r = strbuf_take(&l->b, &value);
                if (o->r >= 0)
                        put_line(o, key, value);
        }
        strbuf_done(&l->b);
}

/* ---- the settings ---- */

static bool is_default(const VmConfig *c, XenvmKey key)
{
        _cleanup_free_ char *value = NULL;

        if (vmconfig_given(c, key))
                return false;
        if (vmconfig_format(c, key, 0, &value) < 0)
                return true;
        return streq(value, strempty(xenvm_keys[key].fallback)) || streq(value, "-1");
}

static void put_scalars(Output *o, XlGroup group)
{
        const VmConfig *c = o->config;

        for (size_t i = 0; i < n_xl_scalars; i++) {
                const XlScalar *s = &xl_scalars[i];
                _cleanup_free_ char *value = NULL;

                if (s->group != group || vmconfig_count(c, s->key) == 0)
                        continue;
                if (s->key == XENVM_KEY_uuid ? c->uuid_generated : is_default(c, s->key) && !(s->always && vmconfig_is_hvm(c)))
                        continue;
                if (vmconfig_format(c, s->key, 0, &value) < 0) {
                        o->r = -ENOMEM;
                        return;
                }
                if (s->form == XL_FORM_TEXT)
                        put_text(o, s->xl, value);
                else if (s->form == XL_FORM_BOOL)
                        put_number(o, s->xl, streq(value, "true"));
                else
                        put_number(o, s->xl, strtoll(value, NULL, 10));
                if (s->key == XENVM_KEY_acpi) {
                        put_number(o, "acpi_s3", c->acpi);
                        put_number(o, "acpi_s4", c->acpi);
                }
        }
}

static void put_affinity(Output *o)
{
        const VmConfig *c = o->config;
        TextList l = { STRBUF_INIT, false };

        if (c->cpus_affinity.n == 0)
                return;
        for (int64_t vcpu = 0; vcpu < c->vcpus; vcpu++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

                for (size_t i = 0; i < c->cpus_affinity.n; i++) {
                        const VmAffinity *a = &c->cpus_affinity.items[i];

                        for (int cpu = 0; a->vcpu == vcpu && b.len == 0 && cpu < 64; cpu++)
                                for (; cpu < 64; cpu++)
                                        if (a->cpus & (UINT64_C(1) << cpu))
                                                strbuf_addf(&b, "%s%d", b.len ? "," : "", cpu);
                }
                list_item(o, &l, "cpus", b.len ? b.data : "all");
        }
        put_list(o, "cpus", &l);
}

static void put_cpuid(Output *o)
{
        static const char *const registers[] = { "eax", "ebx", "ecx", "edx" };
        TextList l = { STRBUF_INIT, false };

        for (size_t i = 0; i < o->config->cpuid.n; i++) {
                const VmCpuid *c = &o->config->cpuid.items[i];
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                const char *separator = ":";

                strbuf_addf(&b, c->leaf < 16 ? "%lld" : "0x%llx", (long long) c->leaf);
                if (c->subleaf != XENVM_UNSET)
                        strbuf_addf(&b, ",%lld", (long long) c->subleaf);
                for (size_t k = 0; k < ELEMENTSOF(registers); k++)
                        if (c->mask[k][0]) {
                                strbuf_addf(&b, "%s%s=%s", separator, registers[k], c->mask[k]);
                                separator = ",";
                        }
                list_item(o, &l, "cpuid", strempty(b.data));
        }
        put_list(o, "cpuid", &l);
}

static void put_memory(Output *o)
{
        put_scalars(o, XL_MEMORY);
        put_number(o, "vcpus", o->config->vcpus);
        put_affinity(o);
        put_cpuid(o);
}

static void put_platform(Output *o)
{
        const VmConfig *c = o->config;
        int64_t offset;

        if (*c->kernel && !streq(c->kernel, HVM_LOADER))
                put_text(o, "kernel", c->kernel);
        if (*c->cmdline)
                put_text(o, "cmdline", c->cmdline);
        put_scalars(o, XL_PLATFORM);
        if (!is_default(c, XENVM_KEY_viridian))
                put_number(o, "viridian", c->viridian);
        if (c->timer_mode != XENVM_UNSET)
                put_text(o, "timer_mode", xl_timer_modes[c->timer_mode]);
        if (c->time_offset) {
                XlValue v = { .kind = XL_STRING, .text = c->time_offset };

                /* A plain number where it is one; a sign only works in quotes. */
                if (c->time_offset[0] != '0' && c->time_offset[0] != '-' && xl_value_number(&v, &offset))
                        put_number(o, "rtc_timeoffset", offset);
                else
                        put_text(o, "rtc_timeoffset", c->time_offset);
        }
}

static void put_display(Output *o)
{
        const VmConfig *c = o->config;
        const VmDisplay *d = &c->display;
        TextList vfb = { STRBUF_INIT, false };

        if (!vmconfig_is_hvm(c)) {
                if (d->kind == VM_DISPLAY_VNC) {
                        _cleanup_free_ char *s = strformat("vnc=1,vncdisplay=%lld,vncunused=%d,keymap=%s", (long long) d->port,
                                                           d->unused_port, d->keymap);

                        list_item(o, &vfb, "vfb", strempty(s));
                } else if (c->vfb)
                        list_item(o, &vfb, "vfb", "vnc=1");
                put_list(o, "vfb", &vfb);
                return;
        }
        put_number(o, "vnc", d->kind == VM_DISPLAY_VNC);
        switch (d->kind) {
        case VM_DISPLAY_VNC:
                put_number(o, "vncdisplay", d->port);
                put_number(o, "vncunused", d->unused_port);
                put_text(o, "keymap", d->keymap);
                put_text(o, "vga", "stdvga");
                break;
        case VM_DISPLAY_SDL:
                put_number(o, "sdl", 1);
                break;
        case VM_DISPLAY_INTEL:
                put_text(o, "gfx_passthru", "igd");
                break;
        case VM_DISPLAY_GTK: /* only as a comment: xl knows of no such window */
        case VM_DISPLAY_NONE:
                put_text(o, "vga", "none");
                put_number(o, "nographic", 1);
                break;
        }
        if (c->vfb) {
                list_item(o, &vfb, "vfb", "vnc=1");
                put_list(o, "vfb", &vfb);
        }
}

static void put_device_model(Output *o)
{
        const VmConfig *c = o->config;
        TextList args = { STRBUF_INIT, false }, vkb = { STRBUF_INIT, false };

        put_display(o);
        if (vmconfig_is_hvm(c) && !streq(c->serial, "none"))
                put_text(o, "serial", *c->serial ? c->serial : "pty");
        else if (!vmconfig_is_hvm(c) && *c->serial)
                put_text(o, "serial", c->serial);
        if (c->vkbd) {
                list_item(o, &vkb, "vkb", "backend-type=qemu");
                put_list(o, "vkb", &vkb);
        } else if (vmconfig_is_hvm(c))
                put_number(o, "vkb_device", 0);
        if (c->stubdom)
                put_number(o, "device_model_stubdomain_override", 1);
        put_scalars(o, XL_DEVICE_MODEL);
        for (size_t i = 0; i < c->extra_hvm.n; i++) {
                _cleanup_free_ char *name = strformat("-%s", c->extra_hvm.items[i].name);

                list_item(o, &args, "device_model_args_hvm", strempty(name));
                if (c->extra_hvm.items[i].value)
                        list_item(o, &args, "device_model_args_hvm", c->extra_hvm.items[i].value);
        }
        put_list(o, "device_model_args_hvm", &args);
}

static void put_devices(Output *o)
{
        const VmConfig *c = o->config;
        TextList disks = { STRBUF_INIT, false }, nics = { STRBUF_INIT, false }, pcis = { STRBUF_INIT, false };
        TextList ports = { STRBUF_INIT, false }, mmio = { STRBUF_INIT, false };

        for (size_t i = 0; i < c->disk.n && o->r >= 0; i++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

                o->r = xl_format_disk(o->conversion, &c->disk.items[i], &b);
                list_item(o, &disks, "disk", strempty(b.data));
        }
        put_list(o, "disk", &disks);
        for (size_t i = 0; i < c->nic.n; i++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

                xl_format_nic(c, &c->nic.items[i], i, &b);
                list_item(o, &nics, "vif", strempty(b.data));
        }
        put_list(o, "vif", &nics);
        put_scalars(o, XL_DEVICES);
        for (size_t i = 0; i < c->pci.n; i++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

                xl_format_pci(c, &c->pci.items[i], &b);
                list_item(o, &pcis, "pci", strempty(b.data));
        }
        put_list(o, "pci", &pcis);
        for (size_t i = 0; i < c->passthrough_io.n; i++) {
                const VmRange *r = &c->passthrough_io.items[i];
                _cleanup_free_ char *s = strformat("%llx-%llx", (unsigned long long) r->start, (unsigned long long) r->end);

                list_item(o, &ports, "ioports", strempty(s));
        }
        put_list(o, "ioports", &ports);
        for (size_t i = 0; i < c->passthrough_mmio.n; i++) {
                const VmRange *r = &c->passthrough_mmio.items[i];
                _cleanup_free_ char *s = strformat("%llx,%llx", (unsigned long long) r->start >> 12,
                                                   (unsigned long long) ((r->end >> 12) - (r->start >> 12) + 1));

                list_item(o, &mmio, "iomem", strempty(s));
        }
        put_list(o, "iomem", &mmio);
        if (c->vtpm_instance != XENVM_UNSET) {
                _cleanup_free_ char *s = strformat("backend=%lld", (long long) c->vtpm_backend);
                TextList vtpm = { STRBUF_INIT, false };

                list_item(o, &vtpm, "vtpm", strempty(s));
                put_list(o, "vtpm", &vtpm);
        }
}

static void put_all(Output *o)
{
        const VmConfig *c = o->config;

        if (c->name || !c->uuid_generated)
                put_text(o, "name", c->name ? c->name : c->uuid);
        else if (o->r >= 0)
                o->r = conversion_fail(o->conversion, "neither name nor uuid is given, but xl needs a name");
        put_scalars(o, XL_IDENTITY);
        put_text(o, "type", streq(c->virt_type, "pvh") ? "pvh" : vmconfig_is_hvm(c) ? "hvm" : "pv");
        put_memory(o);
        put_platform(o);
        put_device_model(o);
        put_devices(o);
        put_text(o, "on_poweroff", vm_action_to_text(c->on_halt));
        put_text(o, "on_reboot", vm_action_to_text(c->on_reboot));
        put_text(o, "on_crash", vm_action_to_text(c->on_crash));
        put_text(o, "on_watchdog", vm_action_to_text(c->on_crash));
}

/* ---- what the way from xl left behind: "# xl: key = value" ---- */

static int restore_xl(Output *o, const char *setting)
{
        _cleanup_xl_ XlFile *f = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *why = NULL;
        char *value = NULL;
        int r = xl_parse(setting, strlen(setting), &f, &why);

        if (r == -ENOMEM)
                return r;
        if (r < 0 || f->n_items != 1)
                return conversion_warn(o->conversion, "the comment '# xl: %s' is no setting of xl and is left out", setting);
        xl_print(&f->items[0].value, &b);
        r = strbuf_take(&b, &value);
        if (r < 0)
                return r;
        for (size_t i = 0; i < o->n; i++)
                if (streq(o->lines[i].key, f->items[0].key)) {
                        free(o->lines[i].value);
                        o->lines[i].value = value;
                        return 0;
                }
        put_line(o, f->items[0].key, value);
        return o->r;
}

static int restore_all(Output *o, const char *text, size_t size)
{
        const char *end = text + size;
        int r = 0;

        while (text < end && r >= 0) {
                const char *e = memchr(text, '\n', (size_t) (end - text));
                size_t n = e ? (size_t) (e - text) : (size_t) (end - text);
                _cleanup_free_ char *copy = strndup(text, n);
                const char *s;

                if (!copy)
                        return -ENOMEM;
                s = startswith(strstrip(copy), "#");
                s = s ? startswith(s + strspn(s, " \t"), "xl:") : NULL;
                if (s)
                        r = restore_xl(o, s + strspn(s, " \t"));
                text += n + (e != NULL);
        }
        return r;
}

/* ---- what the way back would lose ---- */

/* The value as it counts: with defaults and derived parts filled in. */
static int effective(const VmConfig *c, XenvmKey key, size_t i, char **ret)
{
        _cleanup_free_ char *form = NULL;
        int r = vmconfig_format(c, key, i, &form);

        if (r < 0)
                return r;
        if (key == XENVM_KEY_serial && !*form)
                *ret = strdup("pty");
        else if (key == XENVM_KEY_nic) {
                VmNic n = c->nic.items[i]; /* borrowed */
                StrBuf b = STRBUF_INIT;

                n.mac_given = true;
                value_format_nic(NULL, &n, false, &b);
                return strbuf_take(&b, ret);
        } else if (key == XENVM_KEY_pci) {
                const VmPci *p = &c->pci.items[i];

                *ret = strformat("%lld %d %x %x %x %x %d %d %lld %lld", (long long) p->devid, p->bind, p->domain, p->bus,
                                 p->slot, p->func, vm_pci_msitranslate(c, p), vm_pci_power_mgmt(c, p),
                                 (long long) p->guest_slot, (long long) p->vdevfn);
        } else
                *ret = TAKE_PTR(form);
        return *ret ? 0 : -ENOMEM;
}

static int same(const VmConfig *a, const VmConfig *b, XenvmKey key, size_t i, size_t j, bool *ret)
{
        _cleanup_free_ char *x = NULL, *y = NULL;
        int r = effective(a, key, i, &x);

        if (r >= 0)
                r = effective(b, key, j, &y);
        if (r >= 0)
                *ret = streq(x, y);
        return r;
}

static int keep_setting(Output *o, XenvmKey key, size_t i, StrBuf *comments)
{
        _cleanup_free_ char *form = NULL;
        int r = vmconfig_format(o->config, key, i, &form);

        if (r < 0)
                return r;
        strbuf_addf(comments, "# xenvm: %s = %s\n", xenvm_keys[key].name, form);
        return conversion_warn(o->conversion, "%s = %s has no counterpart in xl; kept as a comment", xenvm_keys[key].name, form);
}

/* Converts back and keeps as comments what came out different. */
static int keep_lost(Output *o, const char *text, StrBuf *comments)
{
        _cleanup_conversion_ Conversion back = { 0 };
        _cleanup_config_ VmConfig *c = NULL;
        /* A file of xl's own of this type has no counterpart; one that says where it comes from is read. */
        const char *mark = streq(o->config->virt_type, "pvh") ? "# " XL_PVH_MARK "\n" : "";
        _cleanup_free_ char *marked = strformat("%s%s", mark, text);
        int r = marked ? convert_xl_to_config(marked, strlen(marked), o->config->uuid, &back, &c) : -ENOMEM;

        if (r == -EINVAL || r == -EBADMSG)
                return conversion_fail(o->conversion, "the result cannot be read back: %s", strempty(back.error));
        for (XenvmKey key = 0; r >= 0 && key < _XENVM_KEY_MAX; key++) {
                bool list = xenvm_type_is_list(xenvm_keys[key].type), given = vmconfig_given(o->config, key);
                bool in_place = key == XENVM_KEY_disk || key == XENVM_KEY_nic || key == XENVM_KEY_pci;
                size_t n = vmconfig_count(o->config, key), m = vmconfig_count(c, key);
                bool equal = n == m, all = equal;

                if ((key == XENVM_KEY_name || key == XENVM_KEY_uuid) && !given)
                        continue;
                for (size_t i = 0; r >= 0 && equal && i < n; i++) {
                        r = same(o->config, c, key, i, i, &equal);
                        all &= equal;
                        if (in_place && !equal) {
                                r = keep_setting(o, key, i, comments);
                                equal = true;
                        }
                }
                if (in_place && n == m)
                        continue;
                /* A value that is unset here was set by the way back. */
                for (size_t i = 0; r >= 0 && !all && i < (list ? n : 1); i++)
                        r = keep_setting(o, key, i, comments);
        }
        strbuf_add(comments, mark);
        return r;
}

static int output_text(Output *o, StrBuf *b)
{
        for (size_t i = 0; i < o->n; i++)
                strbuf_addf(b, "%s = %s\n", o->lines[i].key, o->lines[i].value);
        return b->oom ? -ENOMEM : 0;
}

static int read_xenvm(const char *text, size_t size, Conversion *ret, VmConfig **ret_config)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        int r = vmconfig_parse(text, size, NULL, &problems, ret_config);

        for (size_t i = 0; i < problems.n; i++) {
                _cleanup_free_ char *s = config_problem_format(&problems.items[i], NULL, false);

                if (!s)
                        return -ENOMEM;
                if (problems.items[i].severity < CONFIG_ERROR) {
                        if (conversion_warn(ret, "%s", s) < 0)
                                return -ENOMEM;
                } else if (!ret->error) {
                        ret->error = TAKE_PTR(s);
                        r = -EBADMSG;
                }
        }
        return r;
}

int convert_xenvm_to_xl(const char *text, size_t size, Conversion *ret)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_strbuf_ StrBuf plain = STRBUF_INIT, b = STRBUF_INIT, comments = STRBUF_INIT;
        Output o = { .conversion = ret };
        int r = read_xenvm(text, size, ret, &c);

        if (r < 0)
                return r;
        o.config = c;
        put_all(&o);
        r = o.r;
        if (r >= 0)
                r = output_text(&o, &plain);
        if (r >= 0)
                r = keep_lost(&o, strempty(plain.data), &comments);
        if (r >= 0)
                r = restore_all(&o, text, size);
        if (r >= 0)
                r = output_text(&o, &b);
        output_done(&o);
        if (r < 0)
                return r;
        strbuf_add(&b, strempty(comments.data));
        return comments.oom ? -ENOMEM : strbuf_take(&b, &ret->text);
}
