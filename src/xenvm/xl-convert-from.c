/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From xl to xenvm: all but devices, and what the way from xenvm left as comments. */
#include "config-values.h"
#include "xl-input.h"

/* ---- groups of settings ---- */

static void take_identity(Input *in)
{
        XlItem *name, *type = xl_take(in->file, "type"), *builder = xl_take(in->file, "builder");
        const char *word = type ? input_text(in, type) : builder ? input_text(in, builder) : "pv";

        input_take_scalars(in, XL_IDENTITY);
        name = xl_take(in->file, "name");
        if (name && input_text(in, name))
                input_put(in, XENVM_KEY_name, name->value.text);
        if (!word)
                return;
        if (streq(word, "hvm") || streq(word, "pv") || (!type && streq(word, "generic")))
                in->hvm = streq(word, "hvm");
        else if (streq(word, "pvh") && type && strv_contains(in->file->comments, XL_PVH_MARK))
                in->hvm = false; /* the mark itself is a setting, and is restored with the others */
        else if (streq(word, "pvh") && type)
                in->r = conversion_fail(in->conversion, "line %u: type pvh has no counterpart in xenvm", type->line);
        else
                input_bad(in, type ? type : builder, type ? "\"hvm\" or \"pv\"" : "\"hvm\" or \"generic\"");
        input_put_bool(in, XENVM_KEY_hvm, in->hvm);
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
                        input_put(in, XENVM_KEY_cpus_affinity, b.data);
        }
        if (lossy)
                input_keep(in, item, "only numbers of CPUs from 0 to 63 can be said");
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
                input_bad(in, item, "LEAF:REGISTER=MASK");
        else if (comma && comma < colon)
                *comma = '+';
        input_put(in, XENVM_KEY_cpuid, copy);
}

static void take_memory(Input *in)
{
        XlItem *vcpus, *max, *cpuid;
        int64_t n = 1, m = 0;
        bool lossy = false;

        input_take_scalars(in, XL_MEMORY);
        vcpus = xl_take(in->file, "vcpus");
        max = xl_take(in->file, "maxvcpus");
        if (vcpus)
                input_number(in, vcpus, &n);
        if (max && input_number(in, max, &m) && vcpus && m != n)
                input_keep(in, max, "differs from vcpus; the larger one counts");
        if (vcpus || max)
                input_put_number(in, XENVM_KEY_vcpus, MAX2(n, m));
        take_cpus(in, MAX2(n, m));
        cpuid = xl_take(in->file, "cpuid");
        if (cpuid)
                input_each_string(in, cpuid, take_cpuid_line, &lossy);
        if (lossy)
                input_keep(in, cpuid, "the form host,… cannot be said");
}

static void take_cmdline(Input *in)
{
        XlItem *cmdline = xl_take(in->file, "cmdline"), *root = xl_take(in->file, "root"), *extra = xl_take(in->file, "extra");
        _cleanup_free_ char *joined = NULL;

        if (cmdline) {
                if (input_text(in, cmdline))
                        input_put(in, XENVM_KEY_cmdline, cmdline->value.text);
                return;
        }
        if ((root && !input_text(in, root)) || (extra && !input_text(in, extra)) || (!root && !extra))
                return;
        joined = strformat("%s%s%s%s", root ? "root=" : "", root ? root->value.text : "", root && extra ? " " : "",
                           extra ? extra->value.text : "");
        if (joined)
                input_put(in, XENVM_KEY_cmdline, joined);
}

static void take_viridian(Input *in)
{
        XlItem *item = xl_take(in->file, "viridian");
        int64_t n;

        if (item && item->value.kind == XL_LIST) {
                input_put_bool(in, XENVM_KEY_viridian, item->value.n_items > 0);
                input_keep(in, item, "groups of enlightenments cannot be chosen");
        } else if (item && input_number(in, item, &n))
                input_put_bool(in, XENVM_KEY_viridian, n != 0);
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
        if (n < (int64_t) ELEMENTSOF(xl_timer_modes) || input_number(in, item, &n))
                input_put_number(in, XENVM_KEY_timer_mode, n);
}

static void take_platform(Input *in)
{
        XlItem *kernel = xl_take(in->file, "kernel"), *boot, *offset, *item;
        int64_t acpi = input_take_number(in, "acpi", 1), n;
        const char *const sleep_states[] = { "acpi_s3", "acpi_s4" };

        if (kernel && input_text(in, kernel))
                input_put(in, XENVM_KEY_kernel, kernel->value.text);
        take_cmdline(in);
        input_take_scalars(in, XL_PLATFORM);
        for (size_t i = 0; i < ELEMENTSOF(sleep_states); i++) {
                item = xl_take(in->file, sleep_states[i]);
                if (item && input_number(in, item, &n) && (n != 0) != (acpi != 0))
                        input_keep(in, item, "xenvm has it as acpi is");
        }
        boot = xl_take(in->file, "boot");
        if (boot && boot->value.kind == XL_STRING && strchr(boot->value.text, 'a') && in->r >= 0)
                in->r = conversion_warn(in->conversion, "line %u: boot: a (floppy) may not be there", boot->line);
        take_viridian(in);
        take_timer_mode(in);
        offset = xl_take(in->file, "rtc_timeoffset");
        if (offset && input_text(in, offset))
                input_put(in, XENVM_KEY_time_offset, offset->value.text);
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
                const char *text = item ? input_text(in, item) : NULL;
                size_t w;

                if (!text)
                        continue;
                for (w = 0; w < ELEMENTSOF(words); w++)
                        if (streq(text, words[w].xl))
                                break;
                if (w == ELEMENTSOF(words)) {
                        input_bad(in, item, "an action such as \"restart\"");
                        return;
                }
                input_put(in, actions[i].key, words[w].xenvm);
                if (!words[w].same)
                        input_keep(in, item, "xenvm has no such action");
        }
        crash = xl_take(in->file, "on_crash");
        if (watchdog && input_text(in, watchdog) &&
            !streq(watchdog->value.text, crash && crash->value.text ? crash->value.text : "destroy"))
                input_keep(in, watchdog, "xenvm treats it as on_crash");
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
                input_put(in, key, value);
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
        input_take_device_model(in);
        input_take_devices(in);
        take_actions(in);
        for (size_t i = 0; i < in->file->n_items; i++)
                if (!in->file->items[i].used)
                        input_keep(in, &in->file->items[i], "has no counterpart in xenvm");
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
