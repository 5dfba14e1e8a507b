/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config-writer.h"

#include "log.h"
#include "mac.h"
#include "parse.h"
#include "strbuf.h"

typedef struct Writer {
        const ConfigInput *in;
        StrBuf out;
        char *why; /* the first error */
        bool hvm;
} Writer;

static void fail(Writer *w, const char *path, const char *value, const char *accepted)
{
        if (!w->why)
                w->why = strformat("The value of %s cannot be used: '%.64s'; it must be %s", path, value, accepted);
}

/* Reading the tree */

static json_object *get_node(json_object *o, const char *path)
{
        while (o && *path) {
                char name[128];
                size_t n = strcspn(path, "/");

                if (n >= sizeof name || !json_object_is_type(o, json_type_object))
                        return NULL;
                memcpy(name, path, n);
                name[n] = '\0';
                if (!json_object_object_get_ex(o, name, &o))
                        return NULL;
                path += n + (path[n] == '/');
        }
        return o;
}

static const char *get(const Writer *w, const char *path, const char *fallback)
{
        json_object *o = get_node(w->in->vm, path);

        return o && json_object_is_type(o, json_type_string) ? json_object_get_string(o) : fallback;
}

static bool get_bool(Writer *w, const char *path, bool fallback)
{
        const char *s = get(w, path, NULL);
        bool v = fallback;

        if (s && parse_bool(s, &v) < 0)
                fail(w, path, s, "true or false");
        return v;
}

static int64_t get_int(Writer *w, const char *path, int64_t fallback)
{
        const char *s = get(w, path, NULL);
        int64_t v = fallback;

        if (s && schema_parse_int(s, &v) < 0)
                fail(w, path, s, "a number");
        return v;
}

/* Writing lines */

/* No value may start a line of its own: what a guest could set must stay the value that it is. */
static bool is_one_line(const char *value)
{
        for (const char *p = value; *p; p++)
                if ((unsigned char) *p < 0x20 && *p != '\t')
                        return false;
        return true;
}

static void line(Writer *w, const char *key, const char *value)
{
        if (!is_one_line(value))
                fail(w, key, "…", "one line without control characters");
        else
                strbuf_addf(&w->out, "%s=%s\n", key, value);
}

static void line_int(Writer *w, const char *key, int64_t value)
{
        strbuf_addf(&w->out, "%s=%lld\n", key, (long long) value);
}

static char *map(const Writer *w, const char *path)
{
        return w->in->paths ? paths_map(w->in->paths, path) : strdup(path);
}

static void line_path(Writer *w, const char *key, const char *path)
{
        _cleanup_free_ char *mapped = map(w, path);

        line(w, key, mapped ? mapped : path);
}

/* Sections, in the contract's order */

static void write_prelude(Writer *w)
{
        const char *type = get(w, "type", "svm"), *name = get(w, "name", ""), *kernel = get(w, "config/kernel", "");

        line(w, "uuid", w->in->uuid);
        line_int(w, "power-management", 2);
        line(w, "startup", "poweroff");
        line(w, "extra-local-watch", "power-state");
        for (char *const *n = w->in->watched; n && *n; n++)
                line(w, "extra-local-watch", *n);
        line(w, "on_restart", "preserve");
        line(w, "qemu-dm-path", get(w, "config/qemu-dm-path", "/opt/xensource/libexec/qemu-dm-wrapper"));
        line_int(w, "qemu-dm-timeout", get_int(w, "config/qemu-dm-timeout", 30));
        line(w, "xci-cpuid-signature", get_bool(w, "xci-cpuid-signature", false) ? "true" : "false");
        if (get_bool(w, "oem-acpi-features", false))
                line_int(w, "oem-features", 1);
        if (*name && !streq(type, "svm") && !streq(type, "pvm"))
                line(w, "name", name);
        /* hvm must never get a kernel: the monitor would boot it in place of the disk. */
        if (!w->hvm && *kernel)
                line_path(w, "kernel", kernel);
        else if (!w->hvm && w->in->kernel)
                line(w, "kernel", w->in->kernel);
}

/* The fields of a disk line are separated by colons, without any escape. */
static bool disk_field_ok(const char *s)
{
        return is_one_line(s) && !strchr(s, ':');
}

static void write_key_dirs(Writer *w, StrBuf *b)
{
        _cleanup_strv_ char **own = NULL;
        const char *before = "::key-dir=";

        (void) strv_split(get(w, "crypto-key-dirs", ""), ',', &own);
        for (int pass = 0; pass < 2; pass++)
                for (char *const *d = pass == 0 ? own : w->in->key_dirs; d && *d; d++) {
                        _cleanup_free_ char *mapped = **d ? map(w, *d) : NULL;

                        if (!mapped)
                                continue;
                        if (!disk_field_ok(mapped) || strchr(mapped, ','))
                                fail(w, "crypto-key-dirs", mapped, "a path without colons and commas");
                        strbuf_addf(b, "%s%s", before, mapped);
                        before = ",";
                }
        if (before[0] == ':')
                strbuf_add(b, ":");
}

static void write_disk(Writer *w, const char *id)
{
        static const char *const modes[] = { "temporary", "temporary-encrypted", "coalesce",
                                             "scripted",  "scripted-author",     "scripted-no-snapshot" };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *path = NULL;
        const char *type, *mode, *device, *devtype, *snapshot;
        char p[64];
        bool known = false;

#define FIELD(leaf, fallback) (snprintf(p, sizeof p, "config/disk/%s/" leaf, id), get(w, p, fallback))
        snprintf(p, sizeof p, "config/disk/%s/enable", id);
        if (!get_bool(w, p, true))
                return;
        type = FIELD("type", NULL);
        if (!type || !words_contain("file phy qcow vdi aio vhd raw qcow2", type)) {
                fail(w, p, strempty(type), "file phy qcow vdi aio vhd raw");
                return;
        }
        mode = FIELD("mode", NULL);
        if (!mode || !words_contain("r w", mode)) {
                fail(w, p, strempty(mode), "r or w");
                return;
        }
        devtype = FIELD("devtype", NULL);
        if (!devtype || !words_contain("disk cdrom", devtype)) {
                fail(w, p, strempty(devtype), "disk or cdrom");
                return;
        }
        device = FIELD("device", "");
        snapshot = FIELD("snapshot", "");
        path = map(w, FIELD("path", ""));
#undef FIELD
        for (size_t i = 0; i < ELEMENTSOF(modes); i++)
                known = known || streq(snapshot, modes[i]);
        if (!known && *snapshot && !streq(snapshot, "none"))
                fail(w, "snapshot", snapshot, "a snapshot mode");
        if (!path || !disk_field_ok(path) || !disk_field_ok(device)) {
                fail(w, p, strempty(path), "a path without colons");
                return;
        }
        if (streq(type, "vhd") && strv_contains(w->in->missing, path))
                return;
        strbuf_addf(&b, "%s:%s:%s:%s:%s:%s", path, streq(type, "raw") ? "file" : type, device, mode, devtype,
                    known ? snapshot : "");
        if (streq(type, "vhd"))
                write_key_dirs(w, &b);
        else
                strbuf_add(&b, ":");
        if (b.data)
                line(w, "disk", b.data);
}

static int compare_numbers(const void *a, const void *b)
{
        long long x = atoll(*(char *const *) a), y = atoll(*(char *const *) b);

        return (x > y) - (x < y);
}

/* Names of the children of path that are numbers, in their order. */
static char **numbered(const Writer *w, const char *path)
{
        json_object *o = get_node(w->in->vm, path);
        char **l = NULL;
        uint64_t n;

        if (!o || !json_object_is_type(o, json_type_object))
                return NULL;
        json_object_object_foreach(o, key, value)
        {
                (void) value;
                if (parse_u64(key, &n) >= 0)
                        (void) strv_extend(&l, key);
        }
        if (l)
                qsort(l, strv_length(l), sizeof *l, compare_numbers);
        return l;
}

/* In the first drive that no disk has. */
static void write_ovf_cd(Writer *w, char *const *ids)
{
        for (char letter = 'a'; letter <= 'z'; letter++) {
                const char device[] = { 'h', 'd', letter, '\0' };
                bool taken = false;

                for (char *const *id = ids; id && *id; id++) {
                        char p[64];

                        snprintf(p, sizeof p, "config/disk/%.32s/device", *id);
                        taken = taken || streq(get(w, p, ""), device);
                }
                if (!taken) {
                        strbuf_addf(&w->out, "disk=%s:file:%s:r:cdrom::\n", w->in->ovf_iso, device);
                        return;
                }
        }
}

static void write_disks(Writer *w)
{
        _cleanup_strv_ char **ids = numbered(w, "config/disk");

        if (w->in->ovf_iso)
                write_ovf_cd(w, ids);
        for (char **id = ids; id && *id; id++)
                write_disk(w, *id);
}

/* The names under which networks were stored before there was a network daemon. */
const char *config_network(const char *stored)
{
        static const char *const old[][2] = { { "brbridged", "/wired/0/bridged" },
                                              { "brshared", "/wired/0/shared" },
                                              { "brwireless", "/wifi/0/shared" },
                                              { "brinternal", "/internal" },
                                              { "", "/wired/0/bridged" } };

        for (size_t i = 0; i < ELEMENTSOF(old); i++)
                if (streq(stored, old[i][0]))
                        return old[i][1];
        return stored;
}

static void write_nic(Writer *w, const ConfigNic *n)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *network, *mac, *model;
        char p[64], derived[18];
        bool wireless;

#define FIELD(leaf, fallback) (snprintf(p, sizeof p, "config/nic/%u/" leaf, n->id), get(w, p, fallback))
        snprintf(p, sizeof p, "config/nic/%u/enable", n->id);
        if (!get_bool(w, p, true) ||
            !get_bool(w, n->wireless ? "policies/wireless-networking" : "policies/wired-networking", true))
                return;
        network = config_network(FIELD("network", ""));
        mac = FIELD("mac", "");
        model = FIELD("model", "");
        snprintf(p, sizeof p, "config/nic/%u/wireless-driver", n->id);
        wireless = get_bool(w, p, false) && !streq(get(w, "os", ""), "linux");
#undef FIELD
        if (strchr(network, ',') || strchr(mac, ',') || strchr(model, ',')) {
                fail(w, "config/nic", network, "free of commas");
                return;
        }
        strbuf_addf(&b, "id=%u,network=%s", n->id, network);
        if (n->bridge)
                strbuf_addf(&b, ",bridge=%s", n->bridge);
        strbuf_addf(&b, ",backend-domid=%lld", (long long) n->backend_domid);
        if (wireless)
                strbuf_add(&b, ",wireless=true");
        if (!*mac && w->in->amt_mac)
                mac = w->in->amt_mac;
        /* The monitor puts the model into the text that it derives a MAC from; xenmgr never did. */
        if (*model && !*mac)
                mac = derive_mac(n->id, w->in->uuid, derived);
        if (*mac)
                strbuf_addf(&b, ",mac=%s", mac);
        if (*model)
                strbuf_addf(&b, ",model=%s", model);
        if (b.data)
                line(w, "vif", b.data);
}

static void write_pci_and_vga(Writer *w)
{
        for (char *const *d = w->in->pci; d && *d; d++)
                strbuf_addf(&w->out, "pci=0,bind,%s\n", *d);
        /* Paravirtualised guests have no emulated VGA. */
        if (!w->hvm)
                return;
        line(w, "extra-hvm", w->in->xengfx ? "xengfx=" : "std-vga=");
        if (!startswith(get(w, "config/display", ""), "vnc"))
                line(w, "extra-hvm", "surfman=");
}

static void write_list(Writer *w, const char *key, const char *path)
{
        _cleanup_strv_ char **ids = numbered(w, path);

        for (char **id = ids; id && *id; id++) {
                char p[128];
                const char *item;

                snprintf(p, sizeof p, "%s/%s", path, *id);
                item = get(w, p, "");
                if (key)
                        line(w, key, item);
                else if (!is_one_line(item))
                        fail(w, path, "…", "one line without control characters");
                else
                        strbuf_addf(&w->out, "%s\n", item);
        }
}

static void write_cd_drives(Writer *w)
{
        bool access = get_bool(w, "policies/cd-access", true), record = get_bool(w, "policies/cd-rec", true);

        for (char *const *d = w->in->cd_drives; access && d && *d; d++)
                strbuf_addf(&w->out, "extra-hvm=cdrom-pt%s%s=/dev/bsg/%s\n", record ? "" : "-ro",
                            w->in->cd_exclusive ? "-exclusive" : "", *d);
}

/* Keys that go through as they are stored, in the order in which they are written. */
static void write_stored(Writer *w)
{
        static const struct {
                const char *key, *path;
                VmKeyType type;
                bool not_for_hvm, for_stubdom;
        } keys[] = {
                { "stubdom-memory", "config/stubdom-memory", VMKEY_INT, .for_stubdom = true },
                { "stubdom-cmdline", "config/stubdom-cmdline", VMKEY_TEXT, .for_stubdom = true },
                { "serial", "config/serial", VMKEY_TEXT },
                { "flask-label", "config/flask-label", VMKEY_TEXT },
                { "passthrough-mmio", "config/passthrough-mmio", VMKEY_TEXT },
                { "passthrough-io", "config/passthrough-io", VMKEY_TEXT },
                { "v4v", "config/argo", VMKEY_BOOL },
                { "vfb", "config/vfb", VMKEY_BOOL },
                { "vkbd", "config/vkbd", VMKEY_BOOL },
                { "vsnd", "config/vsnd", VMKEY_BOOL },
                { "hap", "config/hap", VMKEY_BOOL },
                { "vcpus", "config/vcpus", VMKEY_INT },
                { "acpi-pt", "config/acpi-pt", VMKEY_BOOL },
                { "initrd", "config/initrd", VMKEY_TEXT, .not_for_hvm = true },
                { "cmdline", "config/cmdline", VMKEY_TEXT, .not_for_hvm = true },
                { "boot", "config/boot", VMKEY_TEXT },
                { "display", "config/display", VMKEY_TEXT },
                { "nx", "config/nx", VMKEY_BOOL },
                { "viridian", "config/viridian", VMKEY_BOOL },
                { "apic", "config/apic", VMKEY_BOOL },
                { "acpi", "config/acpi", VMKEY_BOOL },
                { "pae", "config/pae", VMKEY_BOOL },
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                const char *v = get(w, keys[i].path, NULL);

                if (!v || (keys[i].not_for_hvm && w->hvm) ||
                    (keys[i].for_stubdom && !(w->hvm && get_bool(w, "stubdom", false))))
                        continue;
                if (keys[i].type == VMKEY_BOOL)
                        line(w, keys[i].key, get_bool(w, keys[i].path, false) ? "true" : "false");
                else if (keys[i].type == VMKEY_INT)
                        line_int(w, keys[i].key, get_int(w, keys[i].path, 0));
                else if (streq(keys[i].key, "initrd")) {
                        if (*v)
                                line_path(w, "initrd", v);
                } else if (streq(keys[i].key, "display")) {
                        /* Kinds of the xl generation (dhqemu, …) have no counterpart: the monitor's default. */
                        if (streq(v, "nogfx") || streq(v, "none"))
                                line(w, "display", "none");
                        else if (startswith(v, "vnc"))
                                line(w, "display", v);
                        else if (*v) {
                                char shown[64];

                                log_warning("%s: monitors do not know the display '%s', it gets their default", w->in->uuid,
                                            log_untrusted(shown, sizeof shown, v));
                        }
                } else if (*v || !words_contain("serial boot", keys[i].key))
                        line(w, keys[i].key, v);
        }
        if (!w->hvm && w->in->initrd && !*get(w, "config/initrd", ""))
                line(w, "initrd", w->in->initrd);
        line(w, "hvm", w->hvm ? "true" : "false");
        line(w, "notify", "dbus");
}

static void write_timer_mode(Writer *w)
{
        const VmKey *k = vm_key_find("timer-mode");
        const char *mode = get(w, "config/timer-mode", k->fallback);
        int64_t n = 0, number;
        const char *c = k->choices;

        /* The generation of 2016 stored the number itself. */
        if (schema_parse_int(mode, &number) >= 0 && number >= 0 && number <= 3) {
                line_int(w, "timer-mode", number);
                return;
        }
        if (!words_contain(k->choices, mode)) {
                fail(w, "config/timer-mode", mode, k->choices);
                return;
        }
        for (; !(startswith(c, mode) && (c[strlen(mode)] == ' ' || !c[strlen(mode)])); n++)
                c += strcspn(c, " ") + 1;
        line_int(w, "timer-mode", n);
}

static void write_rest(Writer *w)
{
        int64_t memory = get_int(w, "config/memory", 0), max = get_int(w, "config/memory-static-max", 0);
        int64_t vcpus = get_int(w, "config/vcpus", 1), cores = get_int(w, "config/cores-per-socket", 0);
        const char *sound = get(w, "config/sound", "none"), *offset = get(w, "time-offset", NULL);
        _cleanup_strv_ char **cpuid = NULL;

        if (offset)
                line_int(w, "time-offset", get_int(w, "time-offset", 0));
        line_int(w, "videoram", get_int(w, "config/videoram", w->hvm ? 16 : 0));
        write_cd_drives(w);
        if (memory <= 0)
                fail(w, "config/memory", get(w, "config/memory", ""), "the memory in MiB, above 0");
        line_int(w, "memory", w->in->memory_mib > 0 ? w->in->memory_mib : memory);
        line_int(w, "memory-max", max > 0 ? max : memory);
        if (*sound && !streq(sound, "none") && get_bool(w, "policies/audio-access", true))
                line(w, "sound", sound);
        if (!get_bool(w, "policies/audio-rec", true))
                line(w, "extra-hvm", "disable-audio-rec=");
        line_int(w, "cores-per-socket", cores > 1 ? cores : MAX2(vcpus, (int64_t) 1));
        if (w->hvm && get_bool(w, "stubdom", false) && w->in->stubdom_uuid)
                line(w, "stubdom", w->in->stubdom_uuid);
        (void) strv_split(get(w, "cpuid", ""), ';', &cpuid);
        for (char **c = cpuid; c && *c; c++)
                if (*strstrip(*c))
                        line(w, "cpuid", strstrip(*c));
        if (!get_bool(w, "usb-enabled", true))
                line(w, "usb", "false");
        if (get_bool(w, "restrict-display-depth", false))
                line(w, "platform", "restrictdisplaydepth=1");
        if (get_bool(w, "restrict-display-res", false))
                line(w, "platform", "restrictdisplayres=1");
        write_stored(w);
        write_list(w, NULL, "config/extra-xenvm");
        line_int(w, "hpet", get_bool(w, "config/hpet", true));
        write_timer_mode(w);
        if (get_bool(w, "config/nestedhvm", false))
                line(w, "nested", "true");
}

int config_write(const ConfigInput *in, char **ret, char **ret_why)
{
        Writer w = { .in = in };
        const char *type = get(&w, "config/virt-type", "pv");

        w.hvm = streq(type, "hvm");
        if (!words_contain("pv pvh hvm", type))
                fail(&w, "config/virt-type", type, "pv, pvh or hvm");
        write_prelude(&w);
        write_disks(&w);
        for (size_t i = 0; i < in->n_nics; i++)
                write_nic(&w, &in->nics[i]);
        write_pci_and_vga(&w);
        write_list(&w, "extra-hvm", "config/extra-hvm");
        write_rest(&w);
        /* The old dialect knows hvm and pv alone; on QEMU both of those that are not hvm are the same. */
        if (streq(type, "pvh"))
                line(&w, "virt-type", "pvh");
        if (w.why) {
                strbuf_done(&w.out);
                *ret_why = w.why;
                return -EINVAL;
        }
        return strbuf_take(&w.out, ret);
}
