/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices of the host on D-Bus: PCI, GPUs, disks. */
#include <ctype.h>
#include <unistd.h>

#include "host-events.h"
#include "host-internal.h"
#include "log.h"
#include "strbuf.h"
#include "vm.h"

/* PCI and GPUs */

int fill_pci(_unused_ Call *c, sd_bus_message *reply)
{
        const PciDevice *list;
        size_t n = pci_list(&list);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = pci_append_row(reply, &list[i]);
        return r;
}

static bool given_to_display(Manager *m, const char *address)
{
        return strstr(db_text(m, DISPLAY_GPUS, ""), address);
}

static int64_t placement(Manager *m, const char *address, size_t index)
{
        char path[64];

        snprintf(path, sizeof path, GPU_PLACEMENT "/%s", address);
        return db_int(m, path, (int64_t) index);
}

int fill_gpus(Call *c, sd_bus_message *reply)
{
        const PciDevice *gpus[32];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus), false);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_free_ char *name = pci_name(gpus[i]);
                char place[24];

                if (given_to_display(c->userdata, gpus[i]->address))
                        continue;
                snprintf(place, sizeof place, "%lld", (long long) placement(c->userdata, gpus[i]->address, i));
                r = reply_add_row(reply, "addr", gpus[i]->address, "name", name, "placement", place, NULL);
        }
        return r;
}

int nearest_place(const int64_t *places, size_t n, size_t own, bool left)
{
        int found = -1;

        for (size_t i = 0; i < n; i++)
                if ((left ? places[i] < places[own] : places[i] > places[own]) &&
                    (found < 0 || (left ? places[i] > places[found] : places[i] < places[found])))
                        found = (int) i;
        return found;
}

/* A VM without a GPU of its own is seen on the host's first. */
int64_t host_seamless_slot(Vm *vm, bool left)
{
        Manager *m = vm->manager;
        const char *gpu = vm_text(vm, "gpu", "");
        const PciDevice *gpus[32];
        int64_t places[ELEMENTSOF(gpus)];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus), false), own = 0;
        int next;

        for (size_t i = 0; i < n; i++) {
                places[i] = placement(m, gpus[i]->address, i);
                if (streq(gpus[i]->address, gpu))
                        own = i;
        }
        next = n ? nearest_place(places, n, own, left) : -1;
        for (size_t i = 0; next >= 0 && i < m->n_vms; i++)
                if (vm_is_running(m->vms[i]) && streq(vm_text(m->vms[i], "gpu", ""), gpus[next]->address))
                        return m->vms[i] == vm ? -1 : vm_int(m->vms[i], "slot", 0);
        return -1;
}

static bool assigned_to_vm(Manager *m, const char *address)
{
        for (size_t i = 0; i < m->n_vms; i++)
                if (streq(vm_text(m->vms[i], "gpu", ""), address))
                        return true;
        return false;
}

/* The number of the card below /dev/dri; -1: none. */
static int drm_card(const char *address)
{
        _cleanup_free_ char *path = strformat("/sys/bus/pci/devices/%s/drm", address);
        _cleanup_strv_ char **names = NULL;
        int card = -1;

        (void) host_folder(strempty(path), "", &names);
        for (char **n = names; n && *n; n++)
                if (startswith(*n, "card") && !strchr(*n, '-'))
                        card = atoi(*n + 4);
        return card;
}

int fill_dh_gpus(Call *c, sd_bus_message *reply)
{
        const PciDevice *gpus[32];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus), true);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_free_ char *name = pci_name(gpus[i]);
                char card[16];

                if (assigned_to_vm(c->userdata, gpus[i]->address))
                        continue;
                snprintf(card, sizeof card, "%d", drm_card(gpus[i]->address));
                r = reply_add_row(reply, "addr", gpus[i]->address, "name", name, "drmcard", card, NULL);
        }
        return r;
}

/* The index of the GPU in the list; -1 after the call was failed. */
static int find_gpu(Call *c, const char *id)
{
        const PciDevice *gpus[32];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus), false);
        _cleanup_free_ char *quoted = strformat("\"%.64s\"", id);

        for (size_t i = 0; i < n; i++)
                if (streq(gpus[i]->address, id))
                        return (int) i;
        (void) call_fail_code(c, ERROR_UNKNOWN_GPU, quoted);
        return -1;
}

int method_set_placement(Call *c)
{
        char path[64], text[24];
        const char *id;
        int32_t slot;
        int r;

        r = sd_bus_message_read(c->message, "si", &id, &slot);
        if (r < 0 || find_gpu(c, id) < 0)
                return r < 0 ? r : 0;
        snprintf(path, sizeof path, GPU_PLACEMENT "/%s", id);
        snprintf(text, sizeof text, "%d", slot);
        return manager_store(c->userdata, path, text, c);
}

int method_get_placement(Call *c)
{
        const char *id;
        int r, i;

        r = sd_bus_message_read(c->message, "s", &id);
        if (r < 0 || (i = find_gpu(c, id)) < 0)
                return r < 0 ? r : 0;
        return call_reply(c, "i", (int32_t) placement(c->userdata, id, (size_t) i));
}

int method_set_dh_gpu(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_strv_ char **list = NULL;
        char address[13];
        const char *text;
        int64_t slot;
        int r;

        if (refuse_guest(c, "The display handler's GPU"))
                return 0;
        r = sd_bus_message_read(c->message, "s", &text);
        if (r >= 0)
                r = strv_split(text, ',', &list);
        for (char **a = list; r >= 0 && *text && a && *a; a++)
                if (pci_address_parse(*a, address, &slot) < 0 || slot >= 0 || assigned_to_vm(m, *a))
                        return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not the address of a free GPU", *a);
        if (r < 0)
                return r;
        return manager_store(m, DISPLAY_GPUS, text, c);
}

int method_get_dh_gpu(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_strv_ char **list = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *text = NULL;
        const PciDevice *gpus[1];
        int r;

        r = strv_split(db_text(m, DISPLAY_GPUS, ""), ',', &list);
        for (char **a = list; r >= 0 && a && *a; a++)
                if (**a)
                        strbuf_addf(&b, "%s%d", b.len ? "," : "", drm_card(*a));
        if (!b.len)
                strbuf_addf(&b, "%d",
                            host_gpus(gpus, 1, true) && gpus[0]->boot_vga ? drm_card(gpus[0]->address) : -1);
        r = strbuf_take(&b, &text);
        return r < 0 ? r : call_reply(c, "s", text);
}

/* Disks */

static void read_disks(HostState *h)
{
        _cleanup_strv_ char **all = NULL;

        h->disks = strv_free(h->disks);
        (void) host_folder("/sys/block", "", &all);
        for (char **n = all; n && *n; n++) {
                _cleanup_free_ char *device = strformat("/sys/block/%s/device", *n);

                if (device && access(device, F_OK) == 0 && !startswith(*n, "sr"))
                        (void) strv_extend(&h->disks, *n);
        }
}

static int fill_disks(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        int r = 0;

        if (!host_kept(HOST_DISKS))
                read_disks(m->host);
        for (char **n = m->host->disks; r >= 0 && n && *n; n++) {
                _cleanup_free_ char *device = strformat("/dev/%s", *n);
                _cleanup_free_ char *udi = strformat("/org/freedesktop/Hal/devices/storage_%s", *n);

                r = device && udi ? reply_add_row(reply, "udi", udi, "block-device", device, NULL) : -ENOMEM;
        }
        return r;
}

int method_list_disks(Call *c)
{
        return call_reply_array(c, "a{ss}", fill_disks);
}
