/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"

char *devices_list_disks(const Monitor *m)
{
        const VmConfig *c = m->vm ? m->config : monitor_next_config(m);
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->disk.n; i++) {
                const VmDisk *d = &c->disk.items[i];

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

static const Kind *find_kind(VmDeviceKind kind)
{
        const Kind *k = kinds;

        while (k->kind != kind)
                k++;
        return k;
}

/*
 * Changes to a running VM, a line each: "+disk VALUE", "-nic ID", "=disk VIRTPATH PATH" (another medium),
 * "=nic ID BRIDGE" and "=nic ID backend-domid=N". The current configuration follows them, the next one does not. They are in
 * m->changes, in the file `plugged` for the next monitor, and in the header of a saved VM, which is restored with them (but
 * for numbers of domains, which mean nothing later).
 */
#define BACKEND_CHANGE "backend-domid="

static char *plugged_path(Monitor *m)
{
        return path_join(m->dir, "plugged");
}

static void write_down(Monitor *m, const char *line)
{
        _cleanup_free_ char *path = plugged_path(m);
        _cleanup_fclose_ FILE *f = path ? fopen(path, "ae") : NULL;

        if (!f || fprintf(f, "%s\n", line) < 0)
                log_warning("A device change cannot be written down; a restarted monitor will not show it");
}

void devices_forget(Monitor *m)
{
        _cleanup_free_ char *path = plugged_path(m);

        if (path)
                (void) unlink(path);
        m->changes = strv_free(m->changes);
        m->usb = strv_free(m->usb);
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

static VmDisk *find_disk(const VmConfig *c, const char *virtpath)
{
        for (size_t i = 0; i < c->disk.n; i++)
                if (streq(c->disk.items[i].virtpath, virtpath))
                        return &c->disk.items[i];
        return NULL;
}

static VmNic *find_nic(const VmConfig *c, int64_t id)
{
        for (size_t i = 0; i < c->nic.n; i++)
                if (c->nic.items[i].id == id)
                        return &c->nic.items[i];
        return NULL;
}

static int set_field(VmConfig *c, XenvmKey key, char **field, const char *value)
{
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return vmconfig_changed(c, key);
}

/* text is "ID REST" for a change, "ID" for a removal. -ENOENT: there is no such device. */
static int change_element(VmConfig *c, const Kind *k, char sign, const char *text)
{
        _cleanup_free_ char *id = strndup(text, strcspn(text, " "));
        const char *rest = strchr(text, ' ');
        VmDisk *d = id && k->kind == VM_DEVICE_DISK ? find_disk(c, id) : NULL;
        int64_t number;
        VmNic *n = id && k->kind == VM_DEVICE_NIC && parse_i64(id, &number) >= 0 ? find_nic(c, number) : NULL;
        int r;

        if (!id)
                return -ENOMEM;
        for (size_t i = 0; k->kind == VM_DEVICE_PCI && sign == '-' && parse_i64(id, &number) >= 0 && i < c->pci.n; i++)
                if (c->pci.items[i].devid == number)
                        return vmconfig_remove(c, k->key, i);
        if (!d && !n)
                return -ENOENT;
        if (sign == '-')
                return vmconfig_remove(c, k->key, d ? (size_t) (d - c->disk.items) : (size_t) (n - c->nic.items));
        rest = rest ? rest + 1 : "";
        if (n && startswith(rest, BACKEND_CHANGE)) {
                r = parse_i64(rest + strlen(BACKEND_CHANGE), &n->backend_domid);
                return r < 0 ? r : vmconfig_changed(c, k->key);
        }
        return d ? set_field(c, k->key, &d->path, rest) : set_field(c, k->key, n->network[0] ? &n->network : &n->bridge, rest);
}

static const Kind *line_kind(const char *line, const char **ret_text)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                const char *rest = strchr("+-=", line[0]) && line[0] ? startswith(line + 1, kinds[i].name) : NULL;

                if (rest && *rest == ' ') {
                        *ret_text = rest + 1;
                        return &kinds[i];
                }
        }
        return NULL;
}

static int change_config(VmConfig *c, const char *line, char **ret_why)
{
        const char *text;
        const Kind *k = line_kind(line, &text);

        if (!k)
                return -EINVAL;
        if (k->kind == VM_DEVICE_USB)
                return 0;
        return line[0] == '+' ? vmconfig_add(c, k->key, text, ret_why) : change_element(c, k, line[0], text);
}

static void apply(Monitor *m, const char *line)
{
        _cleanup_free_ char *why = NULL;
        const char *text;
        const Kind *k = line_kind(line, &text);
        int r;

        if (!k)
                return;
        if (strv_extend(&m->changes, line) < 0)
                log_oom();
        if (k->kind == VM_DEVICE_USB) {
                apply_usb(m, line[0], text);
                return;
        }
        if (!m->next && vmconfig_copy(m->config, &m->next) < 0) /* the next start is without it */
                log_oom();
        r = change_config(m->config, line, &why);
        if (r < 0)
                log_warning("A change of devices is not listed: %s", why ? why : strerror(-r));
}

/* lines is changed. */
static void apply_all(Monitor *m, char *lines)
{
        for (char *line; (line = strsep(&lines, "\n"));)
                if (line[0])
                        apply(m, line);
}

void devices_replay(Monitor *m)
{
        _cleanup_free_ char *path = plugged_path(m), *text = NULL;

        if (path && read_file(path, 256 * KIB, &text, NULL) >= 0)
                apply_all(m, text);
}

bool devices_plugged(const Monitor *m)
{
        for (char **c = m->changes; c && *c; c++)
                if ((*c)[0] != '=')
                        return true;
        return false;
}

char *devices_changes(const Monitor *m)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (char **c = m->changes; c && *c; c++)
                if (!startswith(*c, "=nic ") || !strstr(*c, " " BACKEND_CHANGE))
                        strbuf_addf(&b, "%s\n", *c);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

int devices_saved_config(const Monitor *m, const char *devices, VmConfig **ret, char **ret_why)
{
        _cleanup_free_ char *copy = strdup(strempty(devices));
        _cleanup_config_ VmConfig *c = NULL;
        int r = copy ? vmconfig_copy(monitor_next_config(m), &c) : -ENOMEM;
        char *line, *rest = copy;

        while (r >= 0 && (line = strsep(&rest, "\n")))
                if (line[0])
                        r = change_config(c, line, ret_why);
        if (r >= 0)
                *ret = TAKE_PTR(c);
        return r;
}

void devices_restore(Monitor *m, const char *devices)
{
        _cleanup_free_ char *copy = strdup(strempty(devices));

        devices_forget(m);
        if (!copy)
                return;
        apply_all(m, copy);
        for (char **c = m->changes; c && *c; c++)
                write_down(m, *c);
}

uint32_t devices_plugged_nics(const Monitor *m)
{
        uint32_t ids = 0;

        /* A card of the start whose id is taken again was unplugged before. */
        for (char **c = m->changes; c && *c; c++) {
                const char *value = startswith(*c, "+nic ");
                _cleanup_free_ char *why = NULL;
                VmNic n;

                if (!value || vmconfig_parse_nic(value, &n, &why) < 0)
                        continue;
                if (n.id >= 0 && n.id < 32)
                        ids |= UINT32_C(1) << n.id;
                vm_nic_done(&n);
        }
        return ids;
}

typedef struct Change {
        Monitor *monitor;
        Request *request;
        char *line;
} Change;

static void change_free(Change *c)
{
        request_unref(c->request);
        free(c->line);
        free(c);
}

static void on_changed(void *userdata, int r, const char *text)
{
        Change *c = userdata;

        if (r >= 0) {
                apply(c->monitor, c->line);
                write_down(c->monitor, c->line);
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
        *c = (Change) { .monitor = m, .request = request_ref(q), .line = strformat("%c%s %s", sign, k->name, text) };
        if (!c->line) {
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

static void change_begun(Request *q, Change *change, int r)
{
        if (r >= 0)
                return;
        refuse(q, r, NULL);
        if (change)
                change_free(change);
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
        change_begun(q, change, change ? m->backend->attach(m->vm, &device, on_changed, change) : -ENOMEM);
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
        change_begun(q, change, change ? m->backend->attach(m->vm, &device, on_changed, change) : -ENOMEM);
}

static void del(Monitor *m, Request *q, const Kind *k, const char *id)
{
        Change *change = change_new(m, q, k, '-', id);

        change_begun(q, change, change ? m->backend->detach(m->vm, k->kind, id, on_changed, change) : -ENOMEM);
}

void devices_unplugged(Monitor *m, VmDeviceKind kind, const char *id)
{
        const Kind *k = find_kind(kind);
        _cleanup_free_ char *line = strformat("-%s %s", k->name, id);

        if (!line || (kind == VM_DEVICE_USB && !strv_contains(m->usb, id)))
                return;
        log_notice("The guest has let go of %s %s", k->name, id);
        apply(m, line);
        write_down(m, line);
}

static Change *change_element_new(Monitor *m, Request *q, VmDeviceKind kind, const char *id, const char *value)
{
        _cleanup_free_ char *text = strformat("%s %s", id, value);

        return text ? change_new(m, q, find_kind(kind), '=', text) : NULL;
}

void devices_set_medium(Monitor *m, Request *q, const char *virtpath, const char *path)
{
        const VmDisk *d = find_disk(m->config, virtpath);
        Change *change;

        if (!d || !d->cdrom) {
                request_fail(q, REQUEST_FAILED, "there is no CD drive %s", virtpath);
                return;
        }
        if (path && access(path, R_OK) < 0) {
                request_fail(q, REQUEST_FAILED, "%s cannot be read: %s", path, strerror(errno));
                return;
        }
        change = change_element_new(m, q, VM_DEVICE_DISK, virtpath, strempty(path));
        change_begun(q, change, change ? m->backend->set_medium(m->vm, d, path, on_changed, change) : -ENOMEM);
}

static Change *nic_change_new(Monitor *m, Request *q, int64_t id, const char *value)
{
        char number[24];

        snprintf(number, sizeof number, "%lld", (long long) id);
        return change_element_new(m, q, VM_DEVICE_NIC, number, value);
}

void devices_switch_network(Monitor *m, Request *q, int64_t id, const char *network)
{
        const VmNic *n = find_nic(m->config, id);
        Change *change;

        if (!n) {
                request_fail(q, REQUEST_FAILED, "there is no network card %lld", (long long) id);
                return;
        }
        change = nic_change_new(m, q, id, network);
        change_begun(q, change, change ? m->backend->set_link(m->vm, n, network, on_changed, change) : -ENOMEM);
}

void devices_set_nic_backend(Monitor *m, Request *q, int64_t id, int64_t domid)
{
        const VmNic *n = find_nic(m->config, id);
        char value[48];
        Change *change;

        if (!n)
                request_fail(q, REQUEST_FAILED, "there is no network card %lld", (long long) id);
        else if (domid < 0 || domid > INT32_MAX)
                request_fail(q, REQUEST_FAILED, "domid = %lld: the number of a domain is accepted", (long long) domid);
        else if (!m->backend->set_nic_backend && domid != n->backend_domid)
                request_fail(q, REQUEST_FAILED, "this back end has no driver domains");
        else if (!m->backend->set_nic_backend)
                request_done(q, NULL);
        else {
                snprintf(value, sizeof value, BACKEND_CHANGE "%lld", (long long) domid);
                change = nic_change_new(m, q, id, value);
                change_begun(q, change, change ? m->backend->set_nic_backend(m->vm, n, domid, on_changed, change) : -ENOMEM);
        }
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
