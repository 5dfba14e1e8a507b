/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include "strbuf.h"

char *devices_list_disks(const VmConfig *c)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->disk.n; i++) {
                const VmDisk *d = &c->disk.items[i];

                strbuf_addf(&b, "%sphyspath: %s, type: %s, virtpath: %s, mode: %s, devtype: %s", i > 0 ? "\n" : "", d->path,
                            d->type == VM_DISK_PHY ? "phys" : vm_disk_type_to_text(d->type), d->virtpath,
                            d->writable ? "w" : "r", d->cdrom ? "cdrom" : "disk");
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

char *devices_nic_table(const VmConfig *c)
{
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


char *devices_pci_table(const VmConfig *c)
{
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

static char *list_nics(const VmConfig *c)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];

                strbuf_addf(&b, "%sid: %lld, network:%s, mac:%s", i > 0 ? "\n" : "", (long long) n->id,
                            n->network[0] ? n->network : n->bridge, n->mac);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static char *list_pci(const VmConfig *c)
{
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

typedef struct Kind {
        const char *name, *alias;
        VmDeviceKind kind;
        char *(*list)(const VmConfig *c);
} Kind;

static const Kind kinds[] = {
        { "disk", "vbd", VM_DEVICE_DISK, devices_list_disks },
        { "nic", "vif", VM_DEVICE_NIC, list_nics },
        { "pci", "pci", VM_DEVICE_PCI, list_pci },
};

static void on_changed(void *userdata, int r, const char *text)
{
        Request *q = userdata;

        if (r < 0)
                request_fail(q, REQUEST_FAILED, "%s", text);
        else
                request_done(q, NULL);
        request_unref(q);
}

static void add(Monitor *m, Request *q, const Kind *k, const char *extra)
{
        VmDevice device = { .kind = k->kind };
        _cleanup_free_ char *why = NULL;
        VmDisk disk = { 0 };
        VmNic nic = { 0 };
        VmPci pci = { 0 };
        int r;

        switch (k->kind) {
        case VM_DEVICE_DISK:
                r = vmconfig_parse_disk(extra, &disk, &why);
                device.disk = &disk;
                break;
        case VM_DEVICE_NIC:
                r = vmconfig_parse_nic(extra, &nic, &why);
                device.nic = &nic;
                break;
        default:
                r = vmconfig_parse_pci(extra, &pci, &why);
                device.pci = &pci;
        }
        if (r >= 0) {
                r = m->backend->attach(m->vm, &device, on_changed, request_ref(q));
                if (r < 0)
                        request_unref(q);
        }
        if (r < 0)
                request_fail(q, REQUEST_FAILED, "%s",
                             why              ? why
                             : r == -EBUSY    ? "Vm_bad_state: another change is under way"
                             : r == -EOPNOTSUPP ? "this machine cannot be given devices while it runs"
                                                : strerror(-r));
        vm_disk_done(&disk);
        vm_nic_done(&nic);
}

void devices_command(Monitor *m, Request *q, const char *type, const char *cmd, const char *extra)
{
        const Kind *k = NULL;
        char *text;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i].name, type) || streq(kinds[i].alias, type))
                        k = &kinds[i];
        if (!k) {
                request_fail(q, REQUEST_FAILED, "device type unknown: %s", type);
                return;
        }
        if (streq(cmd, "list")) {
                text = k->list(m->vm ? m->config : monitor_next_config(m));
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
        if (streq(cmd, "add")) {
                add(m, q, k, extra);
                return;
        }
        r = m->backend->detach(m->vm, k->kind, extra, on_changed, request_ref(q));
        if (r < 0) {
                request_unref(q);
                request_fail(q, REQUEST_FAILED, "%s", r == -EBUSY ? "Vm_bad_state: another change is under way" : strerror(-r));
        }
}
