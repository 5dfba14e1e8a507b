/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host.h"

#include <ctype.h>
#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs.h"
#include "host-internal.h"
#include "log.h"
#include "parse.h"
#include "pci.h"
#include "strbuf.h"
#include "vm.h"

#define STORAGE_CHECK_USEC (30 * USEC_PER_SEC)
#define STORAGE_LOW_PERCENT 5
#define DMI "/sys/class/dmi/id/"

/* Fixed facts: a text each, read when first asked for. */
static const struct {
        const char *property, *file;
} dmi_facts[] = {
        { "bios-revision", DMI "bios_version" },
        { "model", DMI "product_name" },
        { "serial", DMI "product_serial" },
        { "vendor", DMI "sys_vendor" },
};

char *host_file_text(const char *path)
{
        char *text = NULL;

        if (read_file(path, 64 * KIB, &text, NULL) < 0)
                return NULL;
        memmove(text, strstrip(text), strlen(strstrip(text)) + 1);
        return text;
}

const char *host_dmi(Manager *m, const char *property)
{
        for (size_t i = 0; i < ELEMENTSOF(dmi_facts); i++)
                if (streq(dmi_facts[i].property, property)) {
                        if (!m->host->facts[i]) {
                                char *text = host_file_text(dmi_facts[i].file);

                                m->host->facts[i] = text && utf8_valid(text, strlen(text)) ? text : strdup("");
                        }
                        return strempty(m->host->facts[i]);
                }
        return "";
}

/* "key : value" of the first line that begins with the key. */
char *host_proc_value(const char *path, const char *key)
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

static int64_t meminfo_mib(const char *key)
{
        _cleanup_free_ char *text = host_proc_value("/proc/meminfo", key);

        return text ? strtoll(text, NULL, 10) / 1024 : -1;
}

int64_t host_total_memory_mib(_unused_ Manager *m)
{
        return meminfo_mib("MemTotal");
}

int64_t host_free_memory_mib(_unused_ Manager *m)
{
        return meminfo_mib("MemAvailable");
}

bool host_is_xen(void)
{
        _cleanup_free_ char *type = NULL;

        return read_file("/sys/hypervisor/type", 64, &type, NULL) >= 0 && startswith(type, "xen");
}

int64_t host_storage_mib(Manager *m, bool only_free)
{
        struct statvfs v;

        if (statvfs(paths_get(manager_paths(m), PATH_STORAGE), &v) < 0)
                return 0;
        return (int64_t) ((only_free ? v.f_bavail : v.f_blocks) * v.f_frsize / MIB);
}

/* Chassis types of the SMBIOS text that are carried around: portable, laptop, notebook, sub notebook. */
bool host_is_laptop(void)
{
        _cleanup_free_ char *type = host_file_text(DMI "chassis_type");
        long n = type ? strtol(type, NULL, 10) : 0;

        return n == 8 || n == 9 || n == 10 || n == 14;
}

/* The first network card of a kind: its MAC address and model. */
char *host_nic(bool wireless, bool model)
{
        DIR *d = opendir("/sys/class/net");
        struct dirent *e;
        char *found = NULL, name[256] = "";

        while (d && (e = readdir(d))) {
                char path[512], link[512];
                bool is_wireless;

                snprintf(path, sizeof path, "/sys/class/net/%.200s/device", e->d_name);
                if (e->d_name[0] == '.' || access(path, F_OK) < 0)
                        continue;
                snprintf(link, sizeof link, "/sys/class/net/%.200s/wireless", e->d_name);
                is_wireless = access(link, F_OK) == 0;
                if (is_wireless == wireless && (!*name || strcmp(e->d_name, name) < 0))
                        snprintf(name, sizeof name, "%s", e->d_name);
        }
        if (d)
                (void) closedir(d);
        if (*name && !model) {
                char path[512];

                snprintf(path, sizeof path, "/sys/class/net/%.200s/address", name);
                found = host_file_text(path);
        } else if (*name) {
                _cleanup_free_ char *path = strformat("/sys/class/net/%s/device", name);
                _cleanup_free_ char *target = path ? realpath(path, NULL) : NULL;
                const PciDevice *p = NULL;

                /* A virtio card hangs below its PCI device. */
                for (char *slash; !p && target && (slash = strrchr(target, '/')); *slash = '\0')
                        p = pci_find(slash + 1);
                found = p ? pci_name(p) : NULL;
        }
        return found ? found : strdup("");
}

/* CD drives: SCSI devices of type 5. Kept until the next second, since clients ask in bursts. */
char *const *host_cd_drives(Manager *m)
{
        HostState *h = m->host;
        struct dirent *e;
        DIR *d;

        if (h->cd_read_at && now_usec() - h->cd_read_at < USEC_PER_SEC)
                return h->cd_drives;
        h->cd_read_at = now_usec();
        h->cd_drives = strv_free(h->cd_drives);
        d = opendir("/sys/bus/scsi/devices");
        while (d && (e = readdir(d))) {
                _cleanup_free_ char *path = NULL, *type = NULL;

                if (!isdigit((unsigned char) e->d_name[0]))
                        continue;
                path = strformat("/sys/bus/scsi/devices/%s/type", e->d_name);
                type = path ? host_file_text(path) : NULL;
                if (type && streq(type, "5"))
                        (void) strv_extend(&h->cd_drives, e->d_name);
        }
        if (d)
                (void) closedir(d);
        return h->cd_drives;
}

/* GPUs: the boot VGA first, then the other display devices. */
size_t host_gpus(const PciDevice **ret, size_t max)
{
        const PciDevice *list;
        size_t n = pci_list(&list), count = 0;

        for (int pass = 0; pass < 2; pass++)
                for (size_t i = 0; i < n && count < max; i++)
                        if ((list[i].class == 0x0300 || list[i].class == 0x0380) && list[i].boot_vga == (pass == 0))
                                ret[count++] = &list[i];
        return count;
}

bool host_gpu_matches(_unused_ Manager *m, const char *text)
{
        const PciDevice *gpus[32];
        size_t n = host_gpus(gpus, ELEMENTSOF(gpus));

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
        (void) sd_event_source_set_time_relative(m->host->storage_timer, STORAGE_CHECK_USEC);
        (void) sd_event_source_set_enabled(m->host->storage_timer, SD_EVENT_ONESHOT);
        return 0;
}

HostState *host_new(Manager *m)
{
        HostState *h = calloc(1, sizeof *h);

        if (h && sd_event_add_time_relative(m->event, &h->storage_timer, CLOCK_MONOTONIC, STORAGE_CHECK_USEC,
                                            USEC_PER_SEC, on_storage, m) < 0) {
                free(h);
                return NULL;
        }
        return h;
}

HostState *host_free(HostState *h)
{
        if (!h)
                return NULL;
        sd_event_source_disable_unref(h->storage_timer);
        for (size_t i = 0; i < ELEMENTSOF(h->facts); i++)
                free(h->facts[i]);
        strv_free(h->cd_drives);
        free(h);
        return NULL;
}
