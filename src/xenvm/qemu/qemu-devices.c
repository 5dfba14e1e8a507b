/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of QEMU's command line that is about disks, cards, PCI devices, display and sound. */
#include "qemu-args.h"

#include "strbuf.h"

const char *qemu_disk_id(const VmDisk *d, char buf[static 40])
{
        /* QEMU's ids begin with a letter; a virtpath can be a number. */
        bool letter = d->virtpath[0] >= 'a' && d->virtpath[0] <= 'z';

        snprintf(buf, 40, "%s%.32s", letter ? "" : "disk", d->virtpath);
        return buf;
}

const char *qemu_disk_format(const VmDisk *d)
{
        static const char *const formats[_VM_DISK_TYPE_MAX] = {
                [VM_DISK_PHY] = "raw",   [VM_DISK_FILE] = "raw",     [VM_DISK_VHD] = "vpc", [VM_DISK_QCOW] = "qcow",
                [VM_DISK_QCOW2] = "qcow2", [VM_DISK_AIO] = "raw",
        };

        return formats[d->type];
}

typedef enum DiskBus { DISK_IDE, DISK_SCSI, DISK_VIRTIO } DiskBus;

/* Where the device number says that the disk is; unit counts from 0. */
static DiskBus disk_place(const VmDisk *d, unsigned *ret_unit)
{
        static const unsigned ide_majors[] = { 3, 22, 33, 34, 56, 57, 88, 89, 90, 91 };
        unsigned major = d->device / 256, minor = d->device % 256;

        for (unsigned i = 0; i < ELEMENTSOF(ide_majors); i++)
                if (major == ide_majors[i]) {
                        *ret_unit = i * 2 + minor / 64;
                        return DISK_IDE;
                }
        *ret_unit = minor / 16;
        return major == 8 ? DISK_SCSI : DISK_VIRTIO;
}

/* The nodes that QEMU makes of an image: its file, and what lies below it, each with a descriptor of ours. */
static void add_image(ArgList *l, StrBuf *b, const VmDisk *d, const QemuImage *image, const char *prefix, const char *id, bool writable)
{
        const QemuLayer assumed = { .path = d->path, .format = qemu_disk_format(d), .fd = -EBADF,
                                    .driver = d->type == VM_DISK_PHY ? "host_device" : "file" };
        _cleanup_free_ char *owner = strformat("disk %s", id);
        StrBuf place = STRBUF_INIT;

        strbuf_add(&place, prefix);
        for (size_t i = 0; i < (image ? image->n : 1); i++) {
                const QemuLayer *y = image ? &image->layers[i] : &assumed;

                if (i > 0)
                        strbuf_addf(b, ",%sdriver=%s", strempty(place.data), y->format);
                strbuf_addf(b, ",%sfile.driver=%s,%sfile.filename=/dev/fdset/%d", strempty(place.data), y->driver, strempty(place.data),
                            arg_file(l, i == 0 && writable ? QEMU_FILE_WRITE : QEMU_FILE_READ, strempty(owner), y->path, y->fd));
                strbuf_add(&place, "backing.");
        }
        l->oom |= !owner || place.oom;
        strbuf_done(&place);
}

static void add_drive(ArgList *l, const VmDisk *d, const QemuImage *image, const char *id, bool overlay)
{
        bool writable = d->writable && !d->cdrom && !overlay;
        StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *text = NULL;

        strbuf_addf(&b, "if=none,id=drive-%s", id);
        if (d->path[0]) {
                const char *format = qemu_disk_format(d);

                if (d->key_file) {
                        arg_add(l, "-object", "secret,id=key-%s,file=/proc/self/fd/%d", id,
                                arg_file(l, QEMU_FILE_AGAIN, "key-file", d->key_file, -EBADF));
                        strbuf_addf(&b, ",format=luks,key-secret=key-%s,file.driver=%s", id, format);
                } else
                        strbuf_addf(&b, ",format=%s", format);
                add_image(l, &b, d, image, d->key_file ? "file." : "", id, writable);
                if (writable) /* else QEMU would first open it for reading, and needs a second descriptor for writing */
                        strbuf_add(&b, ",auto-read-only=off,discard=unmap");
        }
        if (d->cdrom)
                strbuf_add(&b, ",media=cdrom");
        if (overlay)
                strbuf_add(&b, ",snapshot=on");
        else if (!d->writable || d->cdrom)
                strbuf_add(&b, ",readonly=on");
        /* A full disk or a vanished file stops the guest, which can go on once that is mended. */
        if (d->path[0] && !d->cdrom)
                strbuf_add(&b, ",werror=stop,rerror=stop");
        if (d->bps)
                strbuf_addf(&b, ",throttling.bps-total=%lld", (long long) d->bps);
        if (d->iops)
                strbuf_addf(&b, ",throttling.iops-total=%lld", (long long) d->iops);
        if (strbuf_take(&b, &text) < 0)
                l->oom = true;
        else
                arg_add(l, "-drive", "%s", text);
}

static bool check_disk(ArgList *l, const VmDisk *d)
{
        if (d->type == VM_DISK_VDI)
                arg_refuse(l, "disk %s: the type vdi is no longer available", d->virtpath);
        else if (d->snapshot != VM_SNAPSHOT_NONE && d->snapshot != VM_SNAPSHOT_TEMPORARY)
                arg_refuse(l, "disk %s: snapshot mode %s cannot be honoured by QEMU (none and temporary can)", d->virtpath,
                           vm_snapshot_to_text(d->snapshot));
        else if (d->backend_domid != 0)
                arg_refuse(l, "disk %s: backend-domid = %lld: QEMU has no driver domains", d->virtpath,
                           (long long) d->backend_domid);
        else
                return true;
        return false;
}

bool qemu_disk_overlay(const VmDisk *d)
{
        unsigned unit;

        /* An IDE disk cannot be read-only: it writes into an overlay, and the image stays as it is. */
        return !d->cdrom && (d->snapshot != VM_SNAPSHOT_NONE || (!d->writable && disk_place(d, &unit) == DISK_IDE));
}

void qemu_add_disks(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine)
{
        bool lsi = false, virtio_scsi = false;
        unsigned n_virtio_cd = 0, ide_taken = 0, scsi_taken = 0;

        for (size_t i = 0; i < c->disk.n; i++) {
                const VmDisk *d = &c->disk.items[i];
                unsigned unit;
                DiskBus bus = disk_place(d, &unit);
                char id[40];

                if (!check_disk(l, d))
                        return;
                qemu_disk_id(d, id);
                if (bus == DISK_IDE && (unit > 3 || ide_taken & (1U << unit))) {
                        arg_refuse(l, "disk %s: the machine has four IDE places, hda to hdd, for one disk each", d->virtpath);
                        return;
                }
                if (bus == DISK_SCSI && (unit > 6 || scsi_taken & (1U << unit))) {
                        arg_refuse(l, "disk %s: the SCSI controller has seven places, sda to sdg, for one disk each",
                                   d->virtpath);
                        return;
                }
                add_drive(l, d, env->images ? &env->images[i] : NULL, id, qemu_disk_overlay(d));
                if (bus == DISK_IDE) {
                        ide_taken |= 1U << unit;
                        if (machine == QEMU_MACHINE_Q35)
                                arg_add(l, "-device", "%s,drive=drive-%s,bus=ide.%u,id=%s", d->cdrom ? "ide-cd" : "ide-hd",
                                        id, unit, id);
                        else
                                arg_add(l, "-device", "%s,drive=drive-%s,bus=ide.%u,unit=%u,id=%s",
                                        d->cdrom ? "ide-cd" : "ide-hd", id, unit / 2, unit % 2, id);
                } else if (bus == DISK_SCSI) {
                        scsi_taken |= 1U << unit;
                        if (!lsi)
                                arg_add(l, "-device", "lsi53c895a,id=scsi0");
                        lsi = true;
                        arg_add(l, "-device", "%s,drive=drive-%s,bus=scsi0.0,scsi-id=%u,id=%s",
                                d->cdrom ? "scsi-cd" : "scsi-hd", id, unit, id);
                } else if (d->cdrom) {
                        /* virtio-blk has no tray. */
                        if (!virtio_scsi)
                                arg_add(l, "-device", "virtio-scsi-pci,id=vscsi0");
                        virtio_scsi = true;
                        arg_add(l, "-device", "scsi-cd,drive=drive-%s,bus=vscsi0.0,scsi-id=%u,id=%s", id, n_virtio_cd++, id);
                } else
                        arg_add(l, "-device", "%s,drive=drive-%s,id=%s",
                                machine == QEMU_MACHINE_MICROVM ? "virtio-blk-device" : "virtio-blk-pci", id, id);
        }
}

const char *qemu_nic_model(const VmConfig *c, const VmNic *n, QemuMachine machine)
{
        static const char *const same[] = { "rtl8139", "e1000", "e1000e", "virtio-net-pci", "pcnet", "ne2k_pci", "vmxnet3" };

        if (machine == QEMU_MACHINE_MICROVM)
                return "virtio-net-device";
        if (streq(n->model, "virtio"))
                return "virtio-net-pci";
        if (!n->model[0]) /* PV guests never saw an emulated card */
                return vmconfig_is_hvm(c) ? "rtl8139" : "virtio-net-pci";
        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                if (streq(n->model, same[i]))
                        return same[i];
        return NULL;
}

const char *qemu_forward(const VmForward *f, char buf[static 40])
{
        snprintf(buf, 40, "%s:127.0.0.1:%u-:%u", f->udp ? "udp" : "tcp", f->host, f->guest);
        return buf;
}

static void add_user_network(ArgList *l, const VmNic *n)
{
        StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *text = NULL;
        char forward[40];

        strbuf_addf(&b, "user,id=net%lld", (long long) n->id);
        for (size_t i = 0; i < n->n_forwards; i++)
                strbuf_addf(&b, ",hostfwd=%s", qemu_forward(&n->forwards[i], forward));
        if (strbuf_take(&b, &text) < 0)
                l->oom = true;
        else
                arg_add(l, "-netdev", "%s", text);
}

void qemu_add_nics(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine)
{
        static const QemuLink none = { .kind = QEMU_LINK_NONE };

        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];
                const QemuLink *link = env->links ? &env->links[i] : &none;
                const char *model = qemu_nic_model(c, n, machine);
                long long id = n->id;

                if (!model) {
                        arg_refuse(l, "nic %lld: model %s is not one of rtl8139 e1000 e1000e virtio pcnet ne2k_pci vmxnet3", id,
                                   n->model);
                        return;
                }
                if (n->n_forwards > 0 && !streq(n->bridge, "user")) {
                        arg_refuse(l, "nic %lld: forward= needs the user-mode network, bridge=user", id);
                        return;
                }
                if (n->rate > 0 && streq(n->bridge, "user")) {
                        arg_refuse(l, "nic %lld: rate= cannot be honoured: only a card on a bridge can be limited", id);
                        return;
                }
                if (n->wireless)
                        arg_warn(l, "nic %lld: wireless has no effect on QEMU", id);
                if (n->backend_domid != 0)
                        arg_warn(l, "nic %lld: backend-domid = %lld: QEMU has no driver domains; the card is left without a cable",
                                 id, (long long) n->backend_domid);
                switch (link->kind) {
                case QEMU_LINK_USER:
                        add_user_network(l, n);
                        break;
                case QEMU_LINK_STREAM:
                        arg_add(l, "-netdev", "stream,id=net%lld,server=off,addr.type=fd,addr.str=%d", id, link->fd);
                        break;
                case QEMU_LINK_TAP:
                        arg_add(l, "-netdev", "tap,id=net%lld,fd=%d", id, link->fd);
                        break;
                case QEMU_LINK_NONE:
                        break;
                }
                if (link->kind == QEMU_LINK_NONE)
                        arg_add(l, "-device", "%s,mac=%s,id=vif%lld", model, n->mac, id);
                else
                        arg_add(l, "-device", "%s,netdev=net%lld,mac=%s,id=vif%lld", model, id, n->mac, id);
        }
}

const char *qemu_pci_name(const VmPci *p, char buf[static 16])
{
        snprintf(buf, 16, "%04x:%02x:%02x.%x", p->domain, p->bus, p->slot & 0x1f, p->func & 7);
        return buf;
}

const char *qemu_pci_id(const VmPci *p, char buf[static 40])
{
        snprintf(buf, 40, "pci%lld-%02x-%02x-%x", (long long) p->devid, p->bus, p->slot, p->func);
        return buf;
}

void qemu_add_pci(ArgList *l, const VmConfig *c, _unused_ QemuMachine machine)
{
        for (size_t i = 0; i < c->pci.n; i++) {
                const VmPci *p = &c->pci.items[i];
                char place[40] = "", name[16], id[40];

                if (p->guest_slot != XENVM_UNSET)
                        snprintf(place, sizeof place, ",addr=0x%llx", (unsigned long long) p->guest_slot);
                else if (p->vdevfn != XENVM_UNSET)
                        snprintf(place, sizeof place, ",addr=0x%llx.%llu", (unsigned long long) p->vdevfn / 8,
                                 (unsigned long long) p->vdevfn % 8);
                arg_add(l, "-device", "vfio-pci,host=%s,id=%s%s", qemu_pci_name(p, name), qemu_pci_id(p, id), place);
        }
}

static bool keymap_known(const char *k)
{
        /* The keymaps that QEMU carries; an unknown one would make it abort. */
        static const char *const known[] = { "ar", "bepo", "cz", "da", "de", "de-ch", "en-gb", "en-us", "es", "et", "fi", "fo",
                                             "fr", "fr-be", "fr-ca", "fr-ch", "hr", "hu", "is", "it", "ja", "lt", "lv", "mk",
                                             "nl", "no", "pl", "pt", "pt-br", "ru", "sl", "sv", "th", "tr" };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (streq(k, known[i]))
                        return true;
        return false;
}

void qemu_add_display(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine)
{
        const VmDisplay *d = &c->display;
        const char *window = d->kind == VM_DISPLAY_SDL ? "sdl" : d->kind == VM_DISPLAY_GTK ? "gtk" : NULL;

        if (machine == QEMU_MACHINE_MICROVM || d->kind == VM_DISPLAY_NONE) {
                arg_add(l, "-display", "none");
                return;
        }
        if (d->kind == VM_DISPLAY_INTEL && c->pci.n == 0) {
                arg_refuse(l, "display = intel: the host's graphics card must be given to the VM with a pci line");
                return;
        }
        if (d->kind == VM_DISPLAY_INTEL) {
                arg_add(l, "-display", "none");
                return;
        }
        if (window && env->confined) {
                arg_refuse(l, "display = %s: QEMU runs as a user of its own, who may open windows on nobody's screen; vnc is for everybody", window);
                return;
        }
        if (c->vfb)
                arg_add(l, "-device", "virtio-vga,id=video0");
        else if (c->videoram != XENVM_UNSET && c->videoram > 0)
                arg_add(l, "-device", "VGA,id=video0,vgamem_mb=%lld", (long long) c->videoram);
        else
                arg_add(l, "-device", "VGA,id=video0");
        if (d->kind == VM_DISPLAY_VNC) {
                arg_add(l, "-vnc", "unix:%s%svnc.sock", env->confined ? "" : env->dir, env->confined ? "" : "/");
                if (d->unused_port)
                        arg_add(l, "-vnc", "127.0.0.1:0,to=99");
                else if (d->port_given)
                        arg_add(l, "-vnc", "127.0.0.1:%lld", (long long) d->port);
                if (d->keymap && keymap_known(d->keymap))
                        arg_add(l, "-k", "%s", d->keymap);
                else if (d->keymap)
                        arg_warn(l, "display: keymap %s is not known to QEMU; the default is used", d->keymap);
        } else
                arg_add(l, "-display", "%s", window);
        if (c->usb) {
                arg_add(l, "-device", "piix3-usb-uhci,id=usb0");
                arg_add(l, "-device", "usb-tablet,id=tablet0,bus=usb0.0");
        }
        if (c->vkbd) {
                arg_add(l, "-device", "virtio-keyboard-pci,id=vkbd0");
                arg_add(l, "-device", "virtio-mouse-pci,id=vkbd1");
        }
}

void qemu_add_sound(ArgList *l, const VmConfig *c, QemuMachine machine)
{
        static const struct {
                const char *name, *device, *codec;
        } cards[] = { { "ac97", "AC97,audiodev=snd0", NULL },
                      { "es1370", "ES1370,audiodev=snd0", NULL },
                      { "hda", "intel-hda", "hda-duplex,audiodev=snd0" },
                      { "sb16", "sb16,audiodev=snd0", NULL } };
        const char *wanted = c->sound && c->sound[0] ? c->sound : c->vsnd ? "hda" : NULL;

        if (!wanted || machine == QEMU_MACHINE_MICROVM)
                return;
        for (size_t i = 0; i < ELEMENTSOF(cards); i++)
                if (streq(wanted, cards[i].name)) {
                        arg_add(l, "-audiodev", "none,id=snd0");
                        arg_add(l, "-device", "%s,id=sound0", cards[i].device);
                        if (cards[i].codec)
                                arg_add(l, "-device", "%s,id=codec0", cards[i].codec);
                        return;
                }
        arg_refuse(l, "sound = %s: ac97, es1370, hda and sb16 are accepted", wanted);
}
