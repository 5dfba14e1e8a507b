/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From xl to xenvm: display, device model and devices. */
#include "parse.h"
#include "xl-input.h"

static void take_usbdevice(Input *in, const XlItem *item _unused_, const char *s, void *data _unused_)
{
        _cleanup_free_ char *value = strformat("usbdevice=%s", s);

        if (value)
                input_put(in, XENVM_KEY_extra_hvm, value);
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
                        input_put(in, XENVM_KEY_extra_hvm, pair);
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
                        input_put(in, XENVM_KEY_display, "none");
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
                        input_put(in, XENVM_KEY_display, value);
        } else {
                if (!in->hvm)
                        input_put(in, XENVM_KEY_display, "none");
                input_put_bool(in, XENVM_KEY_vfb, true);
        }
        if (lossy)
                input_keep(in, vfb, "has more than xenvm can say");
}

static void take_display(Input *in)
{
        XlItem *vfb = xl_take(in->file, "vfb"), *vga = xl_take(in->file, "vga"), *gfx = xl_take(in->file, "gfx_passthru");
        XlItem *keymap = xl_take(in->file, "keymap");
        int64_t vnc = input_take_number(in, "vnc", in->hvm), port = input_take_number(in, "vncdisplay", 0);
        int64_t unused = input_take_number(in, "vncunused", 1), sdl = input_take_number(in, "sdl", 0);
        _cleanup_free_ char *value = NULL;

        input_take_number(in, "nographic", 0);
        if (!in->hvm && !vnc) {
                if (vfb)
                        take_vfb(in, vfb);
                else
                        input_put(in, XENVM_KEY_display, "none");
                return;
        }
        if (gfx && (gfx->value.kind == XL_LIST || streq(gfx->value.text, "0")))
                gfx = NULL;
        if (sdl)
                input_put(in, XENVM_KEY_display, "sdl");
        else if (gfx)
                input_put(in, XENVM_KEY_display, "intel");
        else if (!vnc)
                input_put(in, XENVM_KEY_display, "none");
        else {
                value = strformat("vnc:%sport=%lld,keymap=%s", unused ? "use-port-unused," : "", (long long) port,
                                  keymap && input_text(in, keymap) ? keymap->value.text : "en-us");
                if (value)
                        input_put(in, XENVM_KEY_display, value);
                if (vga && vga->value.kind == XL_STRING && !streq(vga->value.text, "stdvga"))
                        input_keep(in, vga, "xenvm shows stdvga on VNC");
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
                        input_keep(in, item, "xenvm has one port; the first is taken");
                v = v->n_items > 0 ? &v->items[0] : NULL;
        }
        if (v && v->kind != XL_LIST)
                input_put(in, XENVM_KEY_serial, v->text);
        else if (in->hvm || item)
                input_put(in, XENVM_KEY_serial, "none");
}

static bool restored_stubdom(const XlFile *f)
{
        for (char **c = f->comments; c && *c; c++)
                if (startswith(*c, "xenvm: stubdom ="))
                        return true;
        return false;
}

void input_take_device_model(Input *in)
{
        static const char *const arguments[] = { "device_model_args_hvm", "device_model_args" };
        XlItem *vkb = xl_take(in->file, "vkb"), *version = xl_take(in->file, "device_model_version"), *usb;
        int64_t stubdom = input_take_number(in, "device_model_stubdomain_override", 0);

        input_take_number(in, "vkb_device", 0);
        take_serial(in);
        input_take_scalars(in, XL_DEVICE_MODEL);
        take_display(in);
        if (vkb && vkb->value.kind == XL_LIST && vkb->value.n_items > 0) {
                input_put_bool(in, XENVM_KEY_vkbd, true);
                if (vkb->value.n_items > 1 || vkb->value.items[0].kind == XL_LIST ||
                    !streq(vkb->value.items[0].text, "backend-type=qemu"))
                        input_keep(in, vkb, "the parameters cannot be said");
        }
        if (version && (version->value.kind != XL_STRING || !streq(version->value.text, "qemu-xen")))
                input_keep(in, version, "xenvm knows qemu-xen alone");
        if (stubdom && !restored_stubdom(in->file)) {
                char uuid[37];

                if (!uuid_random(uuid))
                        in->r = -EIO;
                else
                        input_put(in, XENVM_KEY_stubdom, uuid);
        }
        for (size_t i = 0; i < ELEMENTSOF(arguments); i++) {
                XlItem *item = xl_take(in->file, arguments[i]);

                if (item && !take_arguments(in, item))
                        input_keep(in, item, "not a list of \"-name\", \"value\"");
        }
        usb = xl_take(in->file, "usbdevice");
        if (usb)
                input_each_string(in, usb, take_usbdevice, NULL);
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
                input_put(in, d->key, strempty(b.data));
}

static void take_device_list(Input *in, const char *name, DeviceReader *d)
{
        XlItem *item = xl_take(in->file, name);

        if (!item)
                return;
        input_each_string(in, item, take_device, d);
        if (d->lossy)
                input_keep(in, item, "has parameters without counterpart");
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
                input_bad(in, item, "ports such as \"2f8-2ff\"");
                return;
        }
        snprintf(value, sizeof value, "0x%llx-0x%llx", first, last);
        input_put(in, XENVM_KEY_passthrough_io, value);
}

static void take_iomem(Input *in, const XlItem *item, const char *s, void *lossy)
{
        unsigned long long start, count, gfn;
        char value[64], *end;

        start = strtoull(s, &end, 16);
        if (end == s || *end != ',') {
                input_bad(in, item, "pages such as \"fed40,5\"");
                return;
        }
        s = end + 1;
        count = strtoull(s, &end, 16);
        if (end > s && *end == '@') {
                gfn = strtoull(end + 1, &end, 16);
                *(bool *) lossy |= gfn != start;
        }
        if (end == s || *end || count == 0 || start > INT64_MAX >> 12 || count > (INT64_MAX >> 12) - start) {
                input_bad(in, item, "pages such as \"fed40,5\"");
                return;
        }
        snprintf(value, sizeof value, "0x%llx-0x%llx", start << 12, ((start + count) << 12) - 1);
        input_put(in, XENVM_KEY_passthrough_mmio, value);
}

void input_take_devices(Input *in)
{
        DeviceReader disk = { .key = XENVM_KEY_disk }, nic = { .key = XENVM_KEY_nic }, pci = { .key = XENVM_KEY_pci };
        XlItem *ports = xl_take(in->file, "ioports"), *iomem = xl_take(in->file, "iomem");
        bool lossy = false;

        take_device_list(in, "disk", &disk);
        take_device_list(in, "vif", &nic);
        pci.msitranslate = input_take_number(in, "pci_msitranslate", 0) != 0;
        pci.power_mgmt = input_take_number(in, "pci_power_mgmt", 0) != 0;
        pci.seize = input_take_number(in, "pci_seize", 0) != 0;
        input_take_scalars(in, XL_DEVICES);
        take_device_list(in, "pci", &pci);
        if (ports)
                input_each_string(in, ports, take_port, NULL);
        if (iomem)
                input_each_string(in, iomem, take_iomem, &lossy);
        if (lossy)
                input_keep(in, iomem, "the guest sees the pages at their own address");
}
