/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pci.h"

#include <ctype.h>
#include <dirent.h>

#include "fs.h"
#include "host-events.h"
#include "strbuf.h"

#define PCI_DIR "/sys/bus/pci/devices"
#define CLASS_VGA 0x0300
#define CLASS_DISPLAY 0x0380
#define VENDOR_INTEL 0x8086

static PciDevice *devices;
static size_t n_devices;

static uint32_t read_number(const char *address, const char *file)
{
        _cleanup_free_ char *text = NULL;
        char path[128];

        snprintf(path, sizeof path, PCI_DIR "/%.12s/%s", address, file);
        return read_file(path, 64, &text, NULL) < 0 ? 0 : (uint32_t) strtoul(text, NULL, 0);
}

static int compare(const void *a, const void *b)
{
        return strcmp(((const PciDevice *) a)->address, ((const PciDevice *) b)->address);
}

size_t pci_list(const PciDevice **ret)
{
        DIR *d = host_kept(HOST_PCI) ? NULL : opendir(PCI_DIR);
        struct dirent *e;

        if (d)
                n_devices = 0;
        while (d && (e = readdir(d))) {
                PciDevice *grown, dev = { 0 };
                int64_t slot;

                if (pci_address_parse(e->d_name, dev.address, &slot) < 0)
                        continue;
                dev.class = read_number(dev.address, "class") >> 8;
                dev.vendor = read_number(dev.address, "vendor");
                dev.device = read_number(dev.address, "device");
                dev.boot_vga = read_number(dev.address, "boot_vga") == 1;
                grown = realloc(devices, (n_devices + 1) * sizeof *grown);
                if (!grown)
                        break;
                devices = grown;
                devices[n_devices++] = dev;
        }
        if (d) {
                (void) closedir(d);
                if (n_devices)
                        qsort(devices, n_devices, sizeof *devices, compare);
        }
        *ret = devices;
        return n_devices;
}

const PciDevice *pci_find(const char *address)
{
        const PciDevice *list;
        size_t n = pci_list(&list);

        for (size_t i = 0; i < n; i++)
                if (streq(list[i].address, address))
                        return &list[i];
        return NULL;
}

/* The line of pci.ids that begins with the four digits, behind `from`; indent: tabs before them. */
static const char *ids_line(const char *from, const char *digits, const char *indent, size_t *ret_n)
{
        for (const char *p = from; *p;) {
                size_t n = strcspn(p, "\n"), i = strlen(indent);

                if (strncmp(p, indent, i) == 0 && strncmp(p + i, digits, 4) == 0 && p[i + 4] == ' ') {
                        const char *name = p + i + 4 + strspn(p + i + 4, " ");

                        *ret_n = n - (size_t) (name - p);
                        return name;
                }
                if (*indent && p != from && *p != '\t' && *p != '#')
                        return NULL; /* the next vendor */
                p += n + (p[n] == '\n');
        }
        return NULL;
}

char *pci_name(const PciDevice *d)
{
        static char *ids;
        static bool tried;
        const char *vendor = NULL, *device = NULL;
        size_t vn = 0, dn = 0;
        char digits[8];

        if (!tried && read_file("/usr/share/misc/pci.ids", 16 * MIB, &ids, NULL) < 0)
                (void) read_file("/usr/share/hwdata/pci.ids", 16 * MIB, &ids, NULL);
        tried = true;
        if (ids) {
                snprintf(digits, sizeof digits, "%04x", d->vendor & 0xffff);
                vendor = ids_line(ids, digits, "", &vn);
                snprintf(digits, sizeof digits, "%04x", d->device & 0xffff);
                if (vendor)
                        device = ids_line(vendor, digits, "\t", &dn);
        }
        if (!vendor)
                return strformat("Unknown device [%04x:%04x]", d->vendor, d->device);
        if (!device)
                return strformat("%.*s Unknown device [%04x:%04x]", (int) vn, vendor, d->vendor, d->device);
        return strformat("%.*s %.*s", (int) vn, vendor, (int) dn, device);
}

static bool is_gpu(const PciDevice *d)
{
        return d->class == CLASS_VGA || d->class == CLASS_DISPLAY;
}

bool pci_is_intel_gpu(const char *address)
{
        const PciDevice *d = pci_find(address);

        return d && d->vendor == VENDOR_INTEL && is_gpu(d);
}

bool pci_is_boot_vga(const char *address)
{
        const PciDevice *d = pci_find(address);

        return d && d->boot_vga;
}

int pci_address_parse(const char *s, char ret_address[static 13], int64_t *ret_slot)
{
        static const char form[] = "xxxx:xx:xx.x";
        int64_t slot = -1;
        char *end;

        for (size_t i = 0; i < 12; i++)
                if (form[i] == 'x' ? !isxdigit((unsigned char) s[i]) : s[i] != form[i])
                        return -EINVAL;
        if (s[12] == '@') {
                slot = strtol(s + 13, &end, 16);
                if (!isxdigit((unsigned char) s[13]) || *end || slot > 31)
                        return -EINVAL;
        } else if (s[12])
                return -EINVAL;
        for (size_t i = 0; i < 12; i++)
                ret_address[i] = (char) tolower((unsigned char) s[i]);
        ret_address[12] = '\0';
        *ret_slot = slot;
        return 0;
}

size_t pci_rules_of_vm(Vm *vm, PciRule *ret, unsigned *ret_ids, size_t max)
{
        size_t n = vm_record_ids(vm, "pci", ret_ids, max);

        for (size_t i = 0; i < n; i++) {
                char path[64];
                const char *bdf;

                snprintf(path, sizeof path, "config/pci/%u/force-slot", ret_ids[i]);
                ret[i] = (PciRule) { .slot = -1, .force_slot = vm_bool(vm, path, false), .class = -1, .vendor = -1, .device = -1 };
                snprintf(path, sizeof path, "config/pci/%u/bdf", ret_ids[i]);
                bdf = vm_text(vm, path, "");
                if (*bdf) {
                        if (pci_address_parse(bdf, ret[i].address, &ret[i].slot) < 0)
                                snprintf(ret[i].address, sizeof ret[i].address, "%s", "?");
                        continue;
                }
                snprintf(path, sizeof path, "config/pci/%u/class", ret_ids[i]);
                ret[i].class = vm_int(vm, path, -1);
                snprintf(path, sizeof path, "config/pci/%u/vendor", ret_ids[i]);
                ret[i].vendor = vm_int(vm, path, -1);
                snprintf(path, sizeof path, "config/pci/%u/device", ret_ids[i]);
                ret[i].device = vm_int(vm, path, -1);
        }
        return n;
}

char *pci_rule_text(const PciRule *r)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *text = NULL;

        if (*r->address) {
                strbuf_addf(&b, "bdf=%s", r->address);
                if (r->slot >= 0)
                        strbuf_addf(&b, " @ %lld", (long long) r->slot);
        } else {
                /* Blanks stay where a part is missing. */
                strbuf_add(&b, "match ");
                if (r->class >= 0)
                        strbuf_addf(&b, "class=0x%04X", (unsigned) r->class);
                strbuf_addc(&b, ' ');
                if (r->vendor >= 0)
                        strbuf_addf(&b, "vendor=0x%04X", (unsigned) r->vendor);
                strbuf_addc(&b, ' ');
                if (r->device >= 0)
                        strbuf_addf(&b, "device=0x%04X", (unsigned) r->device);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static bool matches(const PciRule *r, const PciDevice *d)
{
        uint32_t class = d->class;

        if (*r->address)
                return streq(r->address, d->address);
        if (r->class < 0 && r->vendor < 0 && r->device < 0)
                return false;
        if (r->class == CLASS_VGA)
                class &= 0xff00;
        return (r->class < 0 || (uint32_t) r->class == class) && (r->vendor < 0 || (uint32_t) r->vendor == d->vendor) &&
               (r->device < 0 || (uint32_t) r->device == d->device);
}

static int add_once(char ***l, const char *address)
{
        return strv_contains(*l, address) ? 0 : strv_extend(l, address);
}

static int compare_text(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int pci_devices_of_vm(Vm *vm, char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        PciRule rules[PCI_RULES_MAX];
        unsigned ids[PCI_RULES_MAX];
        size_t n_rules = pci_rules_of_vm(vm, rules, ids, PCI_RULES_MAX), n;
        const PciDevice *list;
        const char *gpu = vm_text(vm, "gpu", "");
        int r = 0;

        if (!n_rules && !*gpu)
                return 0;
        n = pci_list(&list);
        if (*gpu && !streq(gpu, "hdx")) {
                for (size_t i = 0; r >= 0 && i < n; i++) /* all functions of the card */
                        if (strncmp(list[i].address, gpu, strlen("dddd:bb")) == 0)
                                r = add_once(&l, list[i].address);
                if (!l)
                        r = -ENODEV;
        }
        for (size_t k = 0; r >= 0 && k < n_rules; k++) {
                if (*rules[k].address && !pci_find(rules[k].address))
                        return -ENODEV;
                for (size_t i = 0; r >= 0 && i < n; i++)
                        if (matches(&rules[k], &list[i]))
                                r = add_once(&l, list[i].address);
        }
        if (r < 0)
                return r;
        if (l)
                qsort(l, strv_length(l), sizeof *l, compare_text);
        *ret = TAKE_PTR(l);
        return 0;
}

int64_t pci_guest_slot(Vm *vm, const char *address)
{
        PciRule rules[PCI_RULES_MAX];
        unsigned ids[PCI_RULES_MAX];
        size_t n = pci_rules_of_vm(vm, rules, ids, PCI_RULES_MAX);
        const PciDevice *d = pci_find(address);

        for (size_t i = 0; d && i < n; i++)
                if ((rules[i].slot >= 0 || rules[i].force_slot) && matches(&rules[i], d))
                        return rules[i].slot >= 0 ? rules[i].slot : strtol(address + strlen("dddd:bb:"), NULL, 16);
        return -1;
}

int pci_append_row(sd_bus_message *reply, const PciDevice *d)
{
        _cleanup_free_ char *name = d ? pci_name(d) : NULL;
        char class[16], vendor[16], device[16];

        if (!name)
                return d ? -ENOMEM : 0;
        snprintf(class, sizeof class, "0x%X", d->class);
        snprintf(vendor, sizeof vendor, "0x%X", d->vendor);
        snprintf(device, sizeof device, "0x%X", d->device);
        return reply_add_row(reply, "addr", d->address, "name", name, "class", class, "vendor-id", vendor, "device-id",
                             device, NULL);
}
