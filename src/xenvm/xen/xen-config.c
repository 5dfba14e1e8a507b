/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-config.h"

#include <fcntl.h>
#include <unistd.h>

#include "log.h"
#include "net-bridge.h"
#include "parse.h"
#include "xen-firmware.h"
#include "xen-ids.h"
#include "xen-keys.h"

/* The tap layer of Xen's own kind of VHD: the script comes with Xen, the program it calls only where that layer is. */
#define TAP_SCRIPT "/etc/xen/scripts/block-tap"
#define TAP_PROGRAM "/usr/sbin/tap-ctl"

/* libxl frees what it is given with free(). */
static int give(char **target, const char *text)
{
        free(*target);
        *target = strdup(text);
        return *target ? 0 : -ENOMEM;
}

static int refuse(char **ret_why, const char *fmt, ...) _printf_(2, 3);

static int refuse(char **ret_why, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        *ret_why = strformatv(fmt, ap);
        va_end(ap);
        return *ret_why ? -EOPNOTSUPP : -ENOMEM;
}

static libxl_action_on_shutdown action(VmAction a)
{
        static const libxl_action_on_shutdown map[] = {
                [VM_ACTION_DESTROY] = LIBXL_ACTION_ON_SHUTDOWN_DESTROY,
                [VM_ACTION_RESTART] = LIBXL_ACTION_ON_SHUTDOWN_RESTART,
                [VM_ACTION_PRESERVE] = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE,
        };

        return map[a];
}

/* Only the tap layer follows a VHD to the one below it. */
static bool vhd_has_parent(const VmDisk *d, const char *path)
{
        AS_USER;
        _cleanup_close_ int fd = d->type == VM_DISK_VHD && path && d->backend_domid == 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                                                                                          : -EBADF;

        return fd >= 0 && vm_vhd_has_parent(fd);
}

static bool has_tap(void)
{
        return access(TAP_SCRIPT, X_OK) == 0 && access(TAP_PROGRAM, X_OK) == 0;
}

/* VHD and aio through the tap layer, as OpenXT's own configurations have it. */
static int give_tap(const VmDisk *d, libxl_device_disk *ret)
{
        char *target = strformat("%s:%s", d->type == VM_DISK_VHD ? "vhd" : "aio", ret->pdev_path);

        if (!target)
                return -ENOMEM;
        free(ret->pdev_path);
        ret->pdev_path = target;
        ret->format = LIBXL_DISK_FORMAT_RAW;
        ret->backend = LIBXL_DISK_BACKEND_PHY;
        /* The script is run in our environment. */
        if (d->key_dir && (setenv("TAPDISK2_CRYPTO_KEYDIR", d->key_dir, 1) < 0 || setenv("TAPDISK3_CRYPTO_KEYDIR", d->key_dir, 1) < 0))
                return -errno;
        return give(&ret->script, "block-tap");
}

int xen_disk_make(const VmDisk *d, const Paths *paths, libxl_device_disk *ret, char **ret_why)
{
        static const struct {
                libxl_disk_format format;
                libxl_disk_backend backend;
        } types[_VM_DISK_TYPE_MAX] = {
                [VM_DISK_PHY] = { LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_PHY },
                /* The block script makes a loop device of a file under PHY, which needs no device model. */
                [VM_DISK_FILE] = { LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_UNKNOWN },
                [VM_DISK_AIO] = { LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_UNKNOWN },
                [VM_DISK_QCOW] = { LIBXL_DISK_FORMAT_QCOW, LIBXL_DISK_BACKEND_QDISK },
                [VM_DISK_QCOW2] = { LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK },
                [VM_DISK_VHD] = { LIBXL_DISK_FORMAT_VHD, LIBXL_DISK_BACKEND_QDISK },
        };
        int r;

        libxl_device_disk_init(ret);
        if (d->type == VM_DISK_VDI)
                return refuse(ret_why, "disk %s: type vdi is no longer available", d->virtpath);
        if (d->snapshot != VM_SNAPSHOT_NONE)
                return refuse(ret_why, "disk %s: Xen has no snapshot mode '%s'", d->virtpath,
                              vm_snapshot_to_text(d->snapshot));
        if (d->key_file)
                return refuse(ret_why, "disk %s: key-file needs a device-mapper device, which is not made on Xen; give "
                                       "the opened device as phy", d->virtpath);
        if (d->bps || d->iops)
                return refuse(ret_why, "disk %s: bps and iops are limits of QEMU's; Xen has none", d->virtpath);
        if (d->path[0]) {
                ret->pdev_path = paths_map(paths, d->path);
                if (!ret->pdev_path)
                        return -ENOMEM;
                r = d->backend_domid == 0 ? ids_access(ret->pdev_path, d->writable ? R_OK | W_OK : R_OK) : 0;
                if (r < 0)
                        return refuse(ret_why, "Device.Tap2.Mount_failure: disk %s: cannot open %s: %s", d->virtpath,
                                      ret->pdev_path, strerror(-r));
        }
        ret->format = d->path[0] ? types[d->type].format : LIBXL_DISK_FORMAT_EMPTY;
        ret->backend = types[d->type].backend;
        ret->readwrite = d->writable && !d->cdrom;
        ret->is_cdrom = ret->removable = d->cdrom;
        ret->backend_domid = (libxl_domid) d->backend_domid;
        if (d->path[0] && (d->type == VM_DISK_VHD || d->type == VM_DISK_AIO) && has_tap()) {
                r = give_tap(d, ret);
                if (r < 0)
                        return r;
        } else if (vhd_has_parent(d, ret->pdev_path))
                return refuse(ret_why, "Device.Tap2.Mount_failure: disk %s: %s: " VHD_PARENT_REFUSED " (the tap layer could, which this "
                                       "host has not: " TAP_PROGRAM ")", d->virtpath, d->path);
        else if (vm_disk_has_key(d))
                return refuse(ret_why, "disk %s: %s has a key in key-dir; only the tap layer can read it, which this host has "
                                       "not (" TAP_PROGRAM ")", d->virtpath, d->path);
        return give(&ret->vdev, d->virtpath);
}

/* What Xen's own tools take when a rate comes without one. */
#define RATE_INTERVAL_USEC 50000

/* Instead of the script that puts a card on its bridge: libxl has no cards without one. */
#define NO_CABLE_SCRIPT "/bin/true"

/* A card that this host serves. The path of a network is no bridge's name: only who manages networks knows its bridge. */
static int give_bridge(const VmNic *n, libxl_device_nic *ret)
{
        const char *bridge = n->bridge[0] ? n->bridge : strchr(n->network, '/') ? "" : n->network;
        char first[IFNAMSIZ];
        int r;

        if (!bridge[0] && !n->network[0]) {
                bridge_first(first);
                bridge = first;
        }
        r = give(&ret->bridge, bridge); /* also if it is empty: libxl would take xenbr0 */
        if (r < 0 || bridge[0])
                return r;
        log_warning("nic %d is left without a cable: the host has no bridge for it", (int) n->id);
        return give(&ret->script, NO_CABLE_SCRIPT);
}

int xen_nic_make(const VmNic *n, bool emulated, libxl_device_nic *ret, char **ret_why)
{
        int r;

        libxl_device_nic_init(ret);
        if (n->n_forwards > 0)
                return refuse(ret_why, "nic %d: forward= is for the user-mode network of QEMU; Xen has none", (int) n->id);
        if (sscanf(n->mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &ret->mac[0], &ret->mac[1], &ret->mac[2],
                   &ret->mac[3], &ret->mac[4], &ret->mac[5]) != 6)
                return refuse(ret_why, "nic %d: '%s' is no MAC address", (int) n->id, n->mac);
        ret->devid = (libxl_devid) n->id;
        ret->backend_domid = (libxl_domid) n->backend_domid;
        if (emulated)
                ret->nictype = LIBXL_NIC_TYPE_VIF_IOEMU;
        if (n->rate > 0) {
                ret->rate_interval_usecs = RATE_INTERVAL_USEC;
                ret->rate_bytes_per_interval = (uint64_t) MAX2(n->rate / (int64_t) (USEC_PER_SEC / RATE_INTERVAL_USEC), 1);
        }
        if (n->backend_domid == 0)
                r = give_bridge(n, ret);
        else /* there the network's path may come in its place, as OpenXT has it */
                r = n->bridge[0] || n->network[0] ? give(&ret->bridge, n->bridge[0] ? n->bridge : n->network) : 0;
        if (r >= 0 && n->model[0])
                r = give(&ret->model, n->model);
        return r;
}

int xen_pci_make(const VmConfig *c, const VmPci *p, libxl_device_pci *ret)
{
        libxl_device_pci_init(ret);
        ret->domain = p->domain;
        ret->bus = p->bus;
        ret->dev = p->slot;
        ret->func = p->func;
        ret->seize = p->bind;
        ret->msitranslate = vm_pci_msitranslate(c, p);
        ret->power_mgmt = vm_pci_power_mgmt(c, p);
        if (p->vdevfn != XENVM_UNSET)
                ret->vdevfn = (uint32_t) p->vdevfn;
        else if (p->guest_slot != XENVM_UNSET)
                ret->vdevfn = (uint32_t) p->guest_slot << 3;
        return 0;
}

static int make_cpus(libxl_ctx *ctx, const VmConfig *c, libxl_domain_build_info *b)
{
        b->max_vcpus = (int) c->vcpus;
        if (libxl_cpu_bitmap_alloc(ctx, &b->avail_vcpus, (int) c->vcpus) != 0)
                return -ENOMEM;
        for (int i = 0; i < c->vcpus; i++)
                libxl_bitmap_set(&b->avail_vcpus, i);
        if (c->cpus_affinity.n > 0) {
                b->vcpu_hard_affinity = calloc((size_t) c->vcpus, sizeof(libxl_bitmap));
                if (!b->vcpu_hard_affinity)
                        return -ENOMEM;
                b->num_vcpu_hard_affinity = (int) c->vcpus;
                for (int i = 0; i < c->vcpus; i++) {
                        libxl_bitmap_init(&b->vcpu_hard_affinity[i]);
                        if (libxl_cpu_bitmap_alloc(ctx, &b->vcpu_hard_affinity[i], 0) != 0)
                                return -ENOMEM;
                        libxl_bitmap_set_any(&b->vcpu_hard_affinity[i]);
                }
        }
        for (size_t i = 0; i < c->cpus_affinity.n; i++) {
                const VmAffinity *a = &c->cpus_affinity.items[i];

                if (a->vcpu < 0 || a->vcpu >= c->vcpus)
                        continue;
                libxl_bitmap_set_none(&b->vcpu_hard_affinity[a->vcpu]);
                for (int cpu = 0; cpu < 64; cpu++)
                        if (a->cpus & (UINT64_C(1) << cpu))
                                libxl_bitmap_set(&b->vcpu_hard_affinity[a->vcpu], cpu);
        }
        for (size_t i = 0; i < c->cpuid.n; i++) {
                static const char *const registers[] = { "eax", "ebx", "ecx", "edx" };
                const VmCpuid *id = &c->cpuid.items[i];
                char text[256];
                int n = snprintf(text, sizeof text, "0x%llx", (unsigned long long) id->leaf);

                if (id->subleaf != XENVM_UNSET)
                        n += snprintf(text + n, sizeof text - (size_t) n, ",0x%llx", (unsigned long long) id->subleaf);
                for (size_t k = 0, first = 1; k < ELEMENTSOF(registers); k++)
                        if (id->mask[k][0]) {
                                n += snprintf(text + n, sizeof text - (size_t) n, "%s%s=%s", first ? ":" : ",",
                                              registers[k], id->mask[k]);
                                first = 0;
                        }
                if (libxl_cpuid_parse_config_xend(&b->cpuid, text) != 0)
                        return -EINVAL;
        }
        return 0;
}

static int make_strings(const VmPairs *pairs, libxl_string_list *ret)
{
        libxl_string_list l;
        size_t n = 0;

        if (pairs->n == 0)
                return 0;
        l = calloc(pairs->n * 2 + 1, sizeof(char *));
        if (!l)
                return -ENOMEM;
        *ret = l;
        for (size_t i = 0; i < pairs->n; i++) {
                l[n] = strformat("-%s", pairs->items[i].name);
                if (!l[n++])
                        return -ENOMEM;
                if (pairs->items[i].value && pairs->items[i].value[0]) {
                        l[n] = strdup(pairs->items[i].value);
                        if (!l[n++])
                                return -ENOMEM;
                }
        }
        return 0;
}

static int make_platform(const VmConfig *c, libxl_key_value_list *ret)
{
        libxl_key_value_list l;

        if (c->platform.n == 0)
                return 0;
        l = calloc(c->platform.n * 2 + 1, sizeof(char *));
        if (!l)
                return -ENOMEM;
        *ret = l;
        for (size_t i = 0; i < c->platform.n; i++) {
                l[2 * i] = strdup(c->platform.items[i].name);
                l[2 * i + 1] = strdup(strempty(c->platform.items[i].value));
                if (!l[2 * i] || !l[2 * i + 1])
                        return -ENOMEM;
        }
        return 0;
}

static bool hap(const VmConfig *c)
{
        bool v = c->hap;

        for (size_t i = 0; i < c->platform.n; i++)
                if (streq(c->platform.items[i].name, "hap"))
                        (void) parse_bool(strempty(c->platform.items[i].value), &v);
        return v;
}

/* TCP only where the config says so, on the loopback; else a socket in the VM's own folder. */
static int set_vnc(const VmConfig *c, const Paths *paths, libxl_vnc_info *vnc)
{
        _cleanup_free_ char *path = NULL;

        libxl_defbool_set(&vnc->enable, true);
        libxl_defbool_set(&vnc->findunused, c->display.unused_port);
        vnc->display = (int) c->display.port;
        if (c->display.port_given || c->display.unused_port)
                return 0;
        path = paths_format(paths, PATH_VM, "%s/vnc.sock", c->uuid);
        vnc->listen = path ? strformat("unix:%s", path) : NULL;
        return vnc->listen ? 0 : -ENOMEM;
}

static int make_hvm(const VmConfig *c, const Paths *paths, libxl_domain_build_info *b)
{
        bool vnc = c->display.kind == VM_DISPLAY_VNC;
        int r = 0;

        libxl_defbool_set(&b->u.hvm.pae, c->pae);
        libxl_defbool_set(&b->u.hvm.nx, c->nx);
        libxl_defbool_set(&b->u.hvm.acpi_s3, c->acpi);
        libxl_defbool_set(&b->u.hvm.acpi_s4, c->acpi);
        libxl_defbool_set(&b->u.hvm.viridian, c->viridian);
        if (c->hpet != XENVM_UNSET)
                libxl_defbool_set(&b->u.hvm.hpet, c->hpet);
        if (c->vpt_align != XENVM_UNSET)
                libxl_defbool_set(&b->u.hvm.vpt_align, c->vpt_align);
        libxl_defbool_set(&b->u.hvm.usb, c->usb);
        libxl_defbool_set(&b->u.hvm.vnc.enable, false);
        libxl_defbool_set(&b->u.hvm.vkb_device, false); /* vkbd makes one */
        if (c->display.kind == VM_DISPLAY_SDL) {
                libxl_defbool_set(&b->u.hvm.sdl.enable, true);
                r = c->display.text && !ids_restricted() ? give(&b->u.hvm.sdl.display, c->display.text) : 0;
        }
        b->u.hvm.vga.kind = c->display.kind == VM_DISPLAY_NONE ? LIBXL_VGA_INTERFACE_TYPE_NONE
                                                               : LIBXL_VGA_INTERFACE_TYPE_STD;
        if (vnc && r >= 0) {
                r = set_vnc(c, paths, &b->u.hvm.vnc);
                if (r >= 0)
                        r = give(&b->u.hvm.keymap, c->display.keymap);
        }
        if (c->display.kind == VM_DISPLAY_INTEL) {
                libxl_defbool_set(&b->u.hvm.gfx_passthru, true);
                b->u.hvm.gfx_passthru_kind = LIBXL_GFX_PASSTHRU_KIND_IGD;
        }
        if (r >= 0)
                r = give(&b->u.hvm.boot, c->boot);
        if (r >= 0 && !streq(c->serial, "none"))
                r = give(&b->u.hvm.serial, c->serial[0] ? c->serial : "pty");
        if (streq(c->firmware, "uefi"))
                b->u.hvm.bios = LIBXL_BIOS_TYPE_OVMF;
        if (r >= 0 && c->sound && c->sound[0])
                r = give(&b->u.hvm.soundhw, c->sound);
        if (r >= 0 && c->time_offset)
                r = give(&b->u.hvm.timeoffset, c->time_offset);
        if (r >= 0 && c->qemu_dm_path[0] && !ids_restricted())
                r = give(&b->device_model, c->qemu_dm_path);
        if (r >= 0 && c->stubdom && c->stubdom[0]) {
                libxl_defbool_set(&b->device_model_stubdomain, true);
                b->stubdomain_memkb = (uint64_t) c->stubdom_memory_kib;
                r = give(&b->stubdomain_kernel, c->stubdom_kernel);
                if (r >= 0 && c->stubdom_initrd)
                        r = give(&b->stubdomain_ramdisk, c->stubdom_initrd);
                if (r >= 0)
                        r = give(&b->stubdomain_cmdline, c->stubdom_cmdline);
        }
        return r < 0 || ids_restricted() ? r : make_strings(&c->extra_hvm, &b->extra_hvm);
}

bool xen_config_has_screen(const VmConfig *c)
{
        if (vmconfig_is_hvm(c))
                return c->display.kind != VM_DISPLAY_NONE;
        return c->vfb || (c->display.kind == VM_DISPLAY_VNC && (c->display.port_given || c->display.unused_port));
}

static int make_display_devices(const VmConfig *c, const Paths *paths, bool hvm, libxl_domain_config *d)
{
        if (!hvm && xen_config_has_screen(c)) {
                d->vfbs = calloc(1, sizeof *d->vfbs);
                if (!d->vfbs)
                        return -ENOMEM;
                libxl_device_vfb_init(&d->vfbs[d->num_vfbs++]);
                if (set_vnc(c, paths, &d->vfbs[0].vnc) < 0 || give(&d->vfbs[0].keymap, strempty(c->display.keymap)) < 0)
                        return -ENOMEM;
        }
        if (c->vkbd || d->num_vfbs) {
                d->vkbs = calloc(1, sizeof *d->vkbs);
                if (!d->vkbs)
                        return -ENOMEM;
                libxl_device_vkb_init(&d->vkbs[d->num_vkbs++]);
                d->vkbs[0].backend_type = LIBXL_VKB_BACKEND_QEMU;
        }
        return 0;
}

static int make_devices(const VmConfig *c, const Paths *paths, bool emulated, libxl_domain_config *d, char **ret_why)
{
        int r;

        d->disks = calloc(c->disk.n + 1, sizeof *d->disks);
        d->nics = calloc(c->nic.n + 1, sizeof *d->nics);
        d->pcidevs = calloc(c->pci.n + 1, sizeof *d->pcidevs);
        d->b_info.ioports = calloc(c->passthrough_io.n + 1, sizeof *d->b_info.ioports);
        d->b_info.iomem = calloc(c->passthrough_mmio.n + 1, sizeof *d->b_info.iomem);
        if (!d->disks || !d->nics || !d->pcidevs || !d->b_info.ioports || !d->b_info.iomem)
                return -ENOMEM;
        for (size_t i = 0; i < c->disk.n; i++) {
                r = xen_disk_make(&c->disk.items[i], paths, &d->disks[d->num_disks++], ret_why);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < c->nic.n; i++) {
                r = xen_nic_make(&c->nic.items[i], emulated, &d->nics[d->num_nics++], ret_why);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < c->pci.n; i++)
                (void) xen_pci_make(c, &c->pci.items[i], &d->pcidevs[d->num_pcidevs++]);
        for (size_t i = 0; i < c->passthrough_io.n; i++) {
                const VmRange *p = &c->passthrough_io.items[i];

                d->b_info.ioports[d->b_info.num_ioports++] =
                        (libxl_ioport_range) { .first = (uint32_t) p->start, .number = (uint32_t) (p->end - p->start + 1) };
        }
        for (size_t i = 0; i < c->passthrough_mmio.n; i++) {
                const VmRange *p = &c->passthrough_mmio.items[i];
                uint64_t first = p->start >> 12, last = p->end >> 12;

                d->b_info.iomem[d->b_info.num_iomem++] =
                        (libxl_iomem_range) { .start = first, .number = last - first + 1, .gfn = first };
        }
        return 0;
}

/* What is given and has no effect here. */
static void make_notes(const VmConfig *c, unsigned guest, StrBuf *notes)
{
        static const XenvmKey not_for_root[] = { XENVM_KEY_qemu_dm_path, XENVM_KEY_extra_hvm };

        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                if (vmconfig_given(c, k) && !(xen_keys[k].guests & guest))
                        strbuf_addf(notes, "%s has no effect on a %s guest of Xen (%s)\n", xenvm_keys[k].name,
                                    xen_guests_to_text(guest), xen_keys[k].text);
        for (size_t i = 0; i < c->nic.n; i++)
                if (c->nic.items[i].wireless)
                        strbuf_addf(notes, "nic: wireless has no effect on Xen\n");
        if (guest != XEN_HVM || !ids_restricted())
                return;
        for (size_t i = 0; i < ELEMENTSOF(not_for_root); i++)
                if (vmconfig_given(c, not_for_root[i]))
                        strbuf_addf(notes, "%s has no effect: the device model runs as root here, and this monitor acts for another user\n",
                                    xenvm_keys[not_for_root[i]].name);
}

/* What a device model that runs as root must not be told by a user who is not. */
static int check_restricted(const VmConfig *c, char **ret_why)
{
        if (!ids_restricted())
                return 0;
        if (c->serial[0] && !words_contain("pty none null", c->serial))
                return refuse(ret_why, "serial: '%s' would be opened by root; here it can be pty, null or none", c->serial);
        if (c->stubdom && c->stubdom[0] && (ids_access(c->stubdom_kernel, R_OK) < 0 ||
                                            (c->stubdom_initrd && ids_access(c->stubdom_initrd, R_OK) < 0)))
                return refuse(ret_why, "stubdom: its kernel and initrd must be readable for the user that this monitor acts for");
        return 0;
}

/* An unknown label must not keep a VM from starting. */
static int make_label(libxl_ctx *ctx, const char *label, char **ret, StrBuf *notes)
{
        uint32_t sid;

        if (libxl_flask_context_to_sid(ctx, (char *) label, strlen(label), &sid) >= 0)
                return give(ret, label);
        if (notes)
                strbuf_addf(notes, "flask-label %s is not known to the hypervisor, or it knows no labels: none is set\n", label);
        return 0;
}

int xen_config_make(libxl_ctx *ctx, const VmConfig *c, const Paths *paths, const FirmwareTables *tables, libxl_domain_config *ret,
                    StrBuf *notes, char **ret_why)
{
        libxl_domain_create_info *ci = &ret->c_info;
        libxl_domain_build_info *b = &ret->b_info;
        bool pvh = streq(c->virt_type, "pvh"), hvm = vmconfig_is_hvm(c);
        int64_t offset = 0;
        int r;

        libxl_domain_config_init(ret);
        r = check_restricted(c, ret_why);
        if (r < 0)
                return r;
        ci->type = hvm ? LIBXL_DOMAIN_TYPE_HVM : pvh ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
        if (libxl_uuid_from_string(&ci->uuid, c->uuid) != 0)
                return refuse(ret_why, "uuid: '%s' is none", c->uuid);
        if (c->display.kind == VM_DISPLAY_GTK)
                return refuse(ret_why, "display = gtk: libxl opens windows of SDL only; vnc is for everybody");
        r = give(&ci->name, c->name && c->name[0] ? c->name : c->uuid);
        if (r < 0)
                return r;
        if ((hvm || pvh) && !hap(c)) /* else libxl's own default */
                libxl_defbool_set(&ci->hap, false);
        if (c->flask_label && c->flask_label[0]) {
                r = make_label(ctx, c->flask_label, &ci->ssid_label, notes);
                if (r < 0)
                        return r;
        }
        r = make_platform(c, &ci->platformdata);
        if (r < 0)
                return r;
        if (c->pci.n > 0)
                ci->passthrough = LIBXL_PASSTHROUGH_ENABLED;

        libxl_domain_build_info_init_type(b, ci->type);
        r = make_cpus(ctx, c, b);
        if (r == -EINVAL)
                return refuse(ret_why, "cpuid: libxl does not take the mask");
        if (r < 0)
                return r;
        b->target_memkb = (uint64_t) c->memory_kib;
        b->max_memkb = c->memory_max_kib != XENVM_UNSET ? (uint64_t) c->memory_max_kib : b->target_memkb;
        if (c->videoram != XENVM_UNSET)
                b->video_memkb = (uint64_t) c->videoram * 1024;
        if (c->time_offset && parse_i64(c->time_offset, &offset) >= 0)
                b->rtc_timeoffset = (uint32_t) offset;
        if (c->timer_mode != XENVM_UNSET && (hvm || pvh))
                b->timer_mode = (libxl_timer_mode) c->timer_mode;
        if (c->disable_migrate)
                libxl_defbool_set(&b->disable_migrate, true);
        if (hvm) {
                libxl_defbool_set(&b->acpi, c->acpi);
                libxl_defbool_set(&b->apic, c->apic);
                if (c->nested)
                        libxl_defbool_set(&b->nested_hvm, true);
        }
        if (c->kernel[0]) {
                b->kernel = paths_map(paths, c->kernel);
                if (!b->kernel)
                        return -ENOMEM;
                r = ids_access(b->kernel, R_OK);
                if (r < 0)
                        return refuse(ret_why, "kernel: cannot read %s: %s", b->kernel, strerror(-r));
        } else if (!hvm)
                return refuse(ret_why, "kernel: a paravirtualised guest needs one");
        /* libxl takes these for a direct boot, and misses its kernel. */
        if (c->cmdline[0] && b->kernel) {
                r = give(&b->cmdline, c->cmdline);
                if (r < 0)
                        return r;
        }
        if (c->initrd && c->initrd[0] && b->kernel) {
                b->ramdisk = paths_map(paths, c->initrd);
                if (!b->ramdisk)
                        return -ENOMEM;
                r = ids_access(b->ramdisk, R_OK);
                if (r < 0)
                        return refuse(ret_why, "initrd: cannot read %s: %s", b->ramdisk, strerror(-r));
        }
        r = hvm ? make_hvm(c, paths, b) : 0;
        if (r >= 0 && hvm && tables->smbios_path)
                r = give(&b->u.hvm.smbios_firmware, tables->smbios_path);
        if (r >= 0 && hvm && tables->acpi_path)
                r = give(&b->u.hvm.acpi_firmware, tables->acpi_path);
        if (r >= 0)
                r = make_display_devices(c, paths, hvm, ret);
        if (r >= 0)
                r = make_devices(c, paths, hvm, ret, ret_why);
        if (r < 0)
                return r;
        if (c->vtpm_instance != XENVM_UNSET) {
                ret->vtpms = calloc(1, sizeof *ret->vtpms);
                if (!ret->vtpms)
                        return -ENOMEM;
                libxl_device_vtpm_init(&ret->vtpms[ret->num_vtpms++]);
                ret->vtpms[0].backend_domid = (libxl_domid) c->vtpm_backend;
                ret->vtpms[0].devid = (libxl_devid) c->vtpm_instance;
        }
        /* Stored only, so that `xl list -l` tells the truth: it is the monitor that acts. */
        ret->on_poweroff = action(c->on_halt);
        ret->on_reboot = ret->on_soft_reset = action(c->on_reboot);
        ret->on_crash = ret->on_watchdog = action(c->on_crash);
        if (notes)
                make_notes(c, hvm ? XEN_HVM : pvh ? XEN_PVH : XEN_PV, notes);
        return 0;
}
