/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host.h"

#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "caps.h"
#include "fs.h"
#include "host-events.h"
#include "host-internal.h"
#include "lifecycle.h"
#include "parse.h"
#include "pci.h"
#include "strbuf.h"
#include "vm.h"
#include "xen-control.h"

#define STORAGE_CHECK_USEC (30 * USEC_PER_SEC)
#define STORAGE_LOW_PERCENT 5
#define DMI "/sys/class/dmi/id/"

/* Fixed facts: a text each, read when first asked for. key: of a line of the file; NULL: all of it. */
static const struct {
        const char *property, *file, *key;
} facts[] = {
        { "bios-revision", DMI "bios_version", NULL },
        { "laptop", DMI "chassis_type", NULL },
        { "model", DMI "product_name", NULL },
        { "physical-cpu-model", "/proc/cpuinfo", "model name" },
        { "serial", DMI "product_serial", NULL },
        { "vendor", DMI "sys_vendor", NULL },
};

char *host_file_text(const char *path)
{
        char *text = NULL;

        if (read_file(path, 64 * KIB, &text, NULL) < 0)
                return NULL;
        memmove(text, strstrip(text), strlen(strstrip(text)) + 1);
        return text;
}

static int compare_text(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int host_folder(const char *path, const char *suffix, char ***ret)
{
        DIR *d = opendir(path);
        struct dirent *e;
        int r = 0;

        while (d && r >= 0 && (e = readdir(d)))
                if (e->d_name[0] != '.' && endswith(e->d_name, suffix) && utf8_valid(e->d_name, strlen(e->d_name)))
                        r = strv_extend(ret, e->d_name);
        if (d)
                (void) closedir(d);
        if (*ret)
                qsort(*ret, strv_length(*ret), sizeof **ret, compare_text);
        return r;
}

/* "key : value" of the first line that begins with the key. */
static char *proc_value(const char *path, const char *key)
{
        _cleanup_free_ char *text = NULL;

        if (read_file(path, 8 * MIB, &text, NULL) < 0)
                return NULL;
        for (char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
                if (startswith(p, key)) {
                        char *colon = strchr(p, ':'), *end = p + strcspn(p, "\n");

                        if (!colon || colon > end)
                                continue;
                        *end = '\0';
                        return strdup(strstrip(colon + 1));
                }
        return NULL;
}

const char *host_fact(Manager *m, const char *property)
{
        for (size_t i = 0; i < ELEMENTSOF(facts); i++)
                if (streq(facts[i].property, property)) {
                        if (!m->host->facts[i]) {
                                char *text = facts[i].key ? proc_value(facts[i].file, facts[i].key)
                                                          : host_file_text(facts[i].file);

                                m->host->facts[i] = text && utf8_valid(text, strlen(text)) ? text : strdup("");
                        }
                        return strempty(m->host->facts[i]);
                }
        return "";
}

static int64_t meminfo_mib(const char *key)
{
        _cleanup_free_ char *text = proc_value("/proc/meminfo", key);

        return text ? strtoll(text, NULL, 10) / 1024 : -1;
}

int64_t host_total_memory_mib(Manager *m)
{
        return host_is_xen() ? host_xen_total_mib(m) : meminfo_mib("MemTotal");
}

int64_t host_free_memory_mib(Manager *m)
{
        return host_is_xen() ? host_xen_free_mib(m) : meminfo_mib("MemAvailable");
}

int64_t host_cpus(Manager *m)
{
        return host_is_xen() ? host_xen_cpus(m) : sysconf(_SC_NPROCESSORS_ONLN);
}

bool host_is_xen(void)
{
        return xen_control_access(F_OK);
}

int64_t host_storage_mib(Manager *m, bool only_free)
{
        struct statvfs v;

        if (statvfs(paths_get(manager_paths(m), PATH_STORAGE), &v) < 0)
                return 0;
        return (int64_t) ((only_free ? v.f_bavail : v.f_blocks) * v.f_frsize / MIB);
}

/* Chassis types of the SMBIOS text that are carried around: portable, laptop, notebook, sub notebook. */
bool host_is_laptop(Manager *m)
{
        long n = strtol(host_fact(m, "laptop"), NULL, 10);

        return n == 8 || n == 9 || n == 10 || n == 14;
}

/* The name of the PCI device that it is, or hangs below as a virtio card does. */
static char *nic_model(const char *nic)
{
        _cleanup_free_ char *path = strformat("/sys/class/net/%s/device", nic);
        _cleanup_free_ char *target = path ? realpath(path, NULL) : NULL;
        const PciDevice *p = NULL;

        for (char *slash; !p && target && (slash = strrchr(target, '/')); *slash = '\0')
                p = pci_find(slash + 1);
        return p ? pci_name(p) : NULL;
}

/* The first network cards of both kinds. */
static void read_nics(HostState *h)
{
        _cleanup_strv_ char **names = NULL;

        for (size_t i = 0; i < ELEMENTSOF(h->nics); i++) {
                free(h->nics[i].model);
                h->nics[i] = (HostNic) { 0 };
        }
        (void) host_folder("/sys/class/net", "", &names);
        for (char **n = names; n && *n; n++) {
                _cleanup_free_ char *device = strformat("/sys/class/net/%s/device", *n);
                _cleanup_free_ char *wireless = strformat("/sys/class/net/%s/wireless", *n);
                HostNic *nic = &h->nics[wireless && access(wireless, F_OK) == 0];

                if (*nic->name || !device || access(device, F_OK) < 0)
                        continue;
                snprintf(nic->name, sizeof nic->name, "%s", *n);
                nic->model = nic_model(*n);
        }
}

/* No event tells that an address was changed: it is read each time. */
char *host_nic(Manager *m, bool wireless, bool model)
{
        HostNic *nic = &m->host->nics[wireless];
        _cleanup_free_ char *path = NULL;
        char *found = NULL;

        if (!host_kept(HOST_NICS))
                read_nics(m->host);
        if (model)
                return strdup(strempty(nic->model));
        path = strformat("/sys/class/net/%s/address", nic->name);
        found = path && *nic->name ? host_file_text(path) : NULL;
        return found ? found : strdup("");
}

const char *host_amt_mac(Vm *vm, char buf[static 18])
{
        _cleanup_free_ char *mac = vm_has_amt(vm) ? host_nic(vm->manager, false, false) : NULL;
        unsigned first;

        if (!mac || strlen(mac) != 17 || sscanf(mac, "%2x:", &first) != 1)
                return NULL;
        snprintf(buf, 18, "%02x%s", first & 0xfd, mac + 2);
        return buf;
}

/* Bus and number of the USB device that a SCSI device hangs below, as "bus << 8 + number"; "": it is another kind. */
static int add_usb_id(char ***l, const char *id)
{
        _cleanup_free_ char *link = strformat(SCSI_DEVICES "/%s", id);
        _cleanup_free_ char *path = link ? realpath(link, NULL) : NULL;

        for (char *slash; path && (slash = strrchr(path, '/')); *slash = '\0') {
                _cleanup_free_ char *bus_path = strformat("%s/busnum", path), *number_path = strformat("%s/devnum", path);
                _cleanup_free_ char *bus = bus_path ? host_file_text(bus_path) : NULL;
                _cleanup_free_ char *number = number_path ? host_file_text(number_path) : NULL;

                if (bus && number)
                        return strv_extendf(l, "%d", (atoi(bus) << 8) + atoi(number));
        }
        return strv_extend(l, "");
}

/* CD drives: SCSI devices of type 5. */
char *const *host_cd_drives(Manager *m)
{
        HostState *h = m->host;
        _cleanup_strv_ char **all = NULL;

        if (host_kept(HOST_CDS))
                return h->cd_drives;
        h->cd_drives = strv_free(h->cd_drives);
        h->cd_names = strv_free(h->cd_names);
        h->cd_usb_ids = strv_free(h->cd_usb_ids);
        (void) host_folder(SCSI_DEVICES, "", &all);
        for (char **id = all; id && *id; id++) {
                static const char *const files[] = { "type", "vendor", "model" };
                char *texts[ELEMENTSOF(files)];

                for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                        _cleanup_free_ char *path = strformat(SCSI_DEVICES "/%s/%s", *id, files[i]);

                        texts[i] = path ? host_file_text(path) : NULL;
                }
                if (streq(strempty(texts[0]), "5") &&
                    strv_extendf(&h->cd_names, "%s %s", strempty(texts[1]), strempty(texts[2])) >= 0 &&
                    add_usb_id(&h->cd_usb_ids, *id) >= 0)
                        (void) strv_extend(&h->cd_drives, *id);
                for (size_t i = 0; i < ELEMENTSOF(files); i++)
                        free(texts[i]);
        }
        return h->cd_drives;
}

size_t host_gpus(const PciDevice **ret, size_t max, bool all)
{
        const PciDevice *list;
        size_t n = pci_list(&list), count = 0;
        int passes = all || caps_bool("secondary-gpu-pt", true) ? 2 : 1;

        for (int pass = 0; pass < passes; pass++)
                for (size_t i = 0; i < n && count < max; i++)
                        if ((list[i].class == 0x0300 || list[i].class == 0x0380) && list[i].boot_vga == (pass == 0))
                                ret[count++] = &list[i];
        return count;
}

bool host_gpu_matches(_unused_ Manager *m, const char *text)
{
        const PciDevice *gpus[32];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus), false);

        for (size_t i = 0; i < n; i++)
                if (strstr(gpus[i]->address, text))
                        return true;
        return false;
}

/* The watch on free space */

static int on_storage(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Manager *m = userdata;
        int64_t total = host_storage_mib(m, false), left = host_storage_mib(m, true);

        if (total > 0 && m->serving) {
                int32_t percent = (int32_t) ((left * 100 + total / 2) / total);

                if (percent <= STORAGE_LOW_PERCENT)
                        (void) service_emit(m->daemon->service, "/host", XENMGR_INTERFACE ".host", "storage_space_low",
                                            "i", percent);
        }
        (void) sd_event_source_set_time_relative(m->host->storage_timer, lifecycle_scaled(STORAGE_CHECK_USEC));
        (void) sd_event_source_set_enabled(m->host->storage_timer, SD_EVENT_ONESHOT);
        return 0;
}

HostState *host_new(Manager *m)
{
        HostState *h = calloc(1, sizeof *h);

        if (h && (sd_event_add_time_relative(m->event, &h->storage_timer, CLOCK_MONOTONIC, lifecycle_scaled(STORAGE_CHECK_USEC),
                                             USEC_PER_SEC, on_storage, m) < 0 ||
                  host_events_start(m) < 0))
                return host_free(h);
        return h;
}

HostState *host_free(HostState *h)
{
        if (!h)
                return NULL;
        sd_event_source_disable_unref(h->storage_timer);
        sd_event_source_disable_unref(h->cd_timer);
        host_events_end();
        host_xen_free(h->xen);
        for (size_t i = 0; i < ELEMENTSOF(h->facts); i++)
                free(h->facts[i]);
        for (size_t i = 0; i < ELEMENTSOF(h->nics); i++)
                free(h->nics[i].model);
        for (size_t i = 0; i < ELEMENTSOF(h->sound); i++)
                free(h->sound[i]);
        strv_free(h->cd_drives);
        strv_free(h->cd_names);
        strv_free(h->cd_usb_ids);
        strv_free(h->disks);
        strv_free(h->isos);
        free(h);
        return NULL;
}
