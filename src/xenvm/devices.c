/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "strbuf.h"

static bool is_unplugged(const Monitor *m, const char *kind, const char *id)
{
        for (char **u = m->vm ? m->unplugged : NULL; u && *u; u++) {
                const char *rest = startswith(*u, kind);

                if (rest && *rest == ' ' && streq(rest + 1, id))
                        return true;
        }
        return false;
}

static bool nic_is_unplugged(const Monitor *m, const VmNic *n)
{
        char id[24];

        snprintf(id, sizeof id, "%lld", (long long) n->id);
        return is_unplugged(m, "nic", id);
}

char *devices_list_disks(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->disk.n; i++) {
                const VmDisk *d = &c->disk.items[i];

                if (is_unplugged(m, "disk", d->virtpath))
                        continue;
                strbuf_addf(&b, "%sphyspath: %s, type: %s, virtpath: %s, mode: %s, devtype: %s", b.len > 0 ? "\n" : "", d->path,
                            d->type == VM_DISK_PHY ? "phys" : vm_disk_type_to_text(d->type), d->virtpath,
                            d->writable ? "w" : "r", d->cdrom ? "cdrom" : "disk");
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

char *devices_nic_table(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_addf(&b, "%3s | %24s | %18s | %30s", "id", "network", "mac", "model");
        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];

                if (nic_is_unplugged(m, n))
                        continue;
                strbuf_addf(&b, "\n%3lld | %24s | %18s | %30s", (long long) n->id, n->network[0] ? n->network : n->bridge, n->mac,
                            n->model);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}


char *devices_pci_table(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_addf(&b, "%7s | %4s | %5s | %5s | %5s | %10s | %11s | %11s", "domain", "bus", "slot", "func", "bind", "msi",
                    "power_mgmt", "guest_slot");
        for (size_t i = 0; i < c->pci.n; i++) {
                const VmPci *p = &c->pci.items[i];

                strbuf_addf(&b, "\n%7u | %4u | %5u | %5u | %5s | %10lld | %11lld | ", p->domain, p->bus, p->slot, p->func,
                            p->bind ? "y" : "n", (long long) (p->msitranslate == XENVM_UNSET ? -1 : p->msitranslate),
                            (long long) (p->power_mgmt == XENVM_UNSET ? -1 : p->power_mgmt));
                if (p->guest_slot == XENVM_UNSET)
                        strbuf_addf(&b, "%11s", "");
                else
                        strbuf_addf(&b, "%11lld", (long long) p->guest_slot);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static char *list_nics(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];

                if (nic_is_unplugged(m, n))
                        continue;
                strbuf_addf(&b, "%sid: %lld, network:%s, mac:%s", b.len > 0 ? "\n" : "", (long long) n->id,
                            n->network[0] ? n->network : n->bridge, n->mac);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static char *list_pci(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        int64_t last = XENVM_UNSET;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->pci.n; i++) {
                const VmPci *p = &c->pci.items[i];

                if (p->devid != last)
                        strbuf_addf(&b, "%sid:%lld", b.len > 0 ? "\n" : "", (long long) p->devid);
                last = p->devid;
                strbuf_addf(&b, "\n  domain:%u, bus:%u, slot: %u, func: %u", p->domain, p->bus, p->slot, p->func);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static char *list_usb(const Monitor *m)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (char **u = m->vm ? m->usb : NULL; u && *u; u++)
                strbuf_addf(&b, "%s%s", b.len > 0 ? "\n" : "", *u);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

typedef struct Kind {
        const char *name, *alias;
        VmDeviceKind kind;
        XenvmKey key; /* but for USB, which no config names */
        char *(*list)(const Monitor *m);
} Kind;

static const Kind kinds[] = {
        { "disk", "vbd", VM_DEVICE_DISK, XENVM_KEY_disk, devices_list_disks },
        { "nic", "vif", VM_DEVICE_NIC, XENVM_KEY_nic, list_nics },
        { "pci", "pci", VM_DEVICE_PCI, XENVM_KEY_pci, list_pci },
        { "usb", "usb", VM_DEVICE_USB, _XENVM_KEY_MAX, list_usb },
};

/*
 * What was plugged and unplugged while the VM runs is written down, a line each, so that the next monitor
 * shows the same lists: "+disk VALUE" and "-nic ID".
 */
static char *plugged_path(Monitor *m)
{
        return path_join(m->dir, "plugged");
}

static void write_down(Monitor *m, char sign, const char *kind, const char *text)
{
        _cleanup_free_ char *path = plugged_path(m);
        _cleanup_fclose_ FILE *f = path ? fopen(path, "ae") : NULL;

        if (!f || fprintf(f, "%c%s %s\n", sign, kind, text) < 0)
                log_warning("A device change cannot be written down; a restarted monitor will not show it");
}

void devices_forget(Monitor *m)
{
        _cleanup_free_ char *path = plugged_path(m);

        if (path)
                (void) unlink(path);
        m->unplugged = strv_free(m->unplugged);
        m->usb = strv_free(m->usb);
        m->plugged = false;
}

static void apply_usb(Monitor *m, char sign, const char *name)
{
        char **to = m->usb;

        if (sign == '+') {
                if (!strv_contains(m->usb, name) && strv_extend(&m->usb, name) < 0)
                        log_oom();
                return;
        }
        for (char **u = m->usb; u && *u; u++)
                if (streq(*u, name))
                        free(*u);
                else
                        *to++ = *u;
        if (to)
                *to = NULL;
}

static void apply(Monitor *m, const Kind *k, char sign, const char *text)
{
        _cleanup_free_ char *why = NULL;

        m->plugged = true;
        if (k->kind == VM_DEVICE_USB) {
                apply_usb(m, sign, text);
                return;
        }
        if (!m->next && vmconfig_copy(m->config, &m->next) < 0) /* the next start is without it */
                log_oom();
        if (sign == '-')
                (void) strv_extendf(&m->unplugged, "%s %s", k->name, text);
        else if (vmconfig_add(m->config, k->key, text, &why) < 0)
                log_warning("A device is not listed: %s", strempty(why));
}

void devices_replay(Monitor *m)
{
        _cleanup_free_ char *path = plugged_path(m), *text = NULL;
        char *line, *rest;

        if (!path || read_file(path, 256 * KIB, &text, NULL) < 0)
                return;
        for (rest = text; (line = strsep(&rest, "\n"));)
                for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                        const char *value = line[0] ? startswith(line + 1, kinds[i].name) : NULL;

                        if (value && *value == ' ')
                                apply(m, &kinds[i], line[0], value + 1);
                }
}

typedef struct Change {
        Monitor *monitor;
        Request *request;
        const Kind *kind;
        char sign;
        char *text;
} Change;

static void change_free(Change *c)
{
        request_unref(c->request);
        free(c->text);
        free(c);
}

static void on_changed(void *userdata, int r, const char *text)
{
        Change *c = userdata;

        if (r >= 0) {
                apply(c->monitor, c->kind, c->sign, c->text);
                write_down(c->monitor, c->sign, c->kind->name, c->text);
                request_done(c->request, NULL);
        } else
                request_fail(c->request, REQUEST_FAILED, "%s", text);
        change_free(c);
}

static Change *change_new(Monitor *m, Request *q, const Kind *k, char sign, const char *text)
{
        Change *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        *c = (Change) { .monitor = m, .request = request_ref(q), .kind = k, .sign = sign, .text = strdup(text) };
        if (!c->text) {
                change_free(c);
                return NULL;
        }
        return c;
}

static void refuse(Request *q, int r, const char *why)
{
        request_fail(q, REQUEST_FAILED, "%s",
                     why                  ? why
                     : r == -EBUSY        ? "Vm_bad_state: another change is under way"
                     : r == -EOPNOTSUPP   ? "this machine cannot be given devices while it runs"
                     : r == -ENXIO        ? "this device cannot be plugged into a running VM; disks can be xvd ones without snapshot"
                                          : strerror(-r));
}

/* The element gets its id and address as if it stood in the file, on a copy; the config changes when it is there. */
static void add(Monitor *m, Request *q, const Kind *k, const char *extra)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_free_ char *why = NULL, *text = NULL;
        VmDevice device = { .kind = k->kind };
        size_t index = vmconfig_count(m->config, k->key);
        Change *change;
        int r;

        r = vmconfig_copy(m->config, &c);
        if (r >= 0)
                r = vmconfig_add(c, k->key, extra, &why);
        for (size_t i = 0; r >= 0 && k->kind == VM_DEVICE_NIC && i < c->nic.n; i++)
                if (i >= m->config->nic.n || c->nic.items[i].id != m->config->nic.items[i].id) {
                        index = i; /* sorted by id: the first that differs is the new one */
                        break;
                }
        if (r >= 0)
                r = vmconfig_format(c, k->key, index, &text);
        if (r < 0) {
                refuse(q, r, why);
                return;
        }
        if (k->kind == VM_DEVICE_DISK)
                device.disk = &c->disk.items[index];
        else if (k->kind == VM_DEVICE_NIC)
                device.nic = &c->nic.items[index];
        else
                device.pci = &c->pci.items[index];
        change = change_new(m, q, k, '+', text);
        r = change ? m->backend->attach(m->vm, &device, on_changed, change) : -ENOMEM;
        if (r >= 0)
                return;
        refuse(q, r, NULL);
        if (change)
                change_free(change);
}

static void add_usb(Monitor *m, Request *q, const Kind *k, const char *name)
{
        UsbDevice usb;
        const VmDevice device = { .kind = k->kind, .usb = &usb };
        Change *change;
        int r = usb_read(USB_SYSFS, name, &usb);

        if (r < 0) {
                char shown[40];

                request_fail(q, REQUEST_FAILED, r == -EINVAL ? "'%s' is no name of a USB device: BUS-PORT[.PORT...] is expected, as 1-2.3"
                                                             : "this host has no USB device '%s'",
                             log_untrusted(shown, sizeof shown, name));
                return;
        }
        if (strv_contains(m->usb, name)) {
                request_fail(q, REQUEST_FAILED, "the VM has the USB device %s already", usb.name);
                return;
        }
        change = change_new(m, q, k, '+', usb.name);
        r = change ? m->backend->attach(m->vm, &device, on_changed, change) : -ENOMEM;
        if (r >= 0)
                return;
        refuse(q, r, NULL);
        if (change)
                change_free(change);
}

static void del(Monitor *m, Request *q, const Kind *k, const char *id)
{
        Change *change = change_new(m, q, k, '-', id);
        int r = change ? m->backend->detach(m->vm, k->kind, id, on_changed, change) : -ENOMEM;

        if (r >= 0)
                return;
        refuse(q, r, NULL);
        if (change)
                change_free(change);
}

void devices_command(Monitor *m, Request *q, const char *type, const char *cmd, const char *extra)
{
        const Kind *k = NULL;
        char *text;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i].name, type) || streq(kinds[i].alias, type))
                        k = &kinds[i];
        if (!k) {
                request_fail(q, REQUEST_FAILED, "device type unknown: %s", type);
                return;
        }
        if (streq(cmd, "list")) {
                text = k->list(m);
                request_done(q, strempty(text));
                free(text);
                return;
        }
        if (!streq(cmd, "add") && !streq(cmd, "del") && !streq(cmd, "rm")) {
                request_fail(q, REQUEST_FAILED, "device subcommand unknown: %s", cmd);
                return;
        }
        if (!m->vm || m->op) {
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: the state is %s, a running VM is expected", vm_state_to_text(m->state));
                return;
        }
        if (!extra) {
                request_fail(q, REQUEST_BAD_ARGUMENTS, "tasks argument not found: extra");
                return;
        }
        if (k->kind == VM_DEVICE_USB && !streq(cmd, "add") && !strv_contains(m->usb, extra))
                request_fail(q, REQUEST_FAILED, "the VM has no such USB device; 'list' shows those that it has");
        else if (k->kind == VM_DEVICE_USB && streq(cmd, "add"))
                add_usb(m, q, k, extra);
        else if (streq(cmd, "add"))
                add(m, q, k, extra);
        else
                del(m, q, k, extra);
}
