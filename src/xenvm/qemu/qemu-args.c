/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-args.h"

#include <stdarg.h>
#include <time.h>

#include "parse.h"
#include "strbuf.h"

#define KIB_PER_MIB 1024
/* Translated code of small VMs must not take more memory than the VM itself. */
#define TB_SIZE_MIN 32
#define TB_SIZE_MAX 512

void arg_add(ArgList *l, const char *option, const char *fmt, ...)
{
        _cleanup_free_ char *value = NULL;
        va_list ap;

        if (strv_extend(&l->args, option) < 0)
                l->oom = true;
        if (!fmt)
                return;
        va_start(ap, fmt);
        value = strformatv(fmt, ap);
        va_end(ap);
        if (!value || strv_extend(&l->args, value) < 0)
                l->oom = true;
}

void arg_warn(ArgList *l, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        if (!text || strv_extend(&l->warnings, text) < 0)
                l->oom = true;
}

void arg_refuse(ArgList *l, const char *fmt, ...)
{
        va_list ap;

        if (l->why)
                return;
        va_start(ap, fmt);
        l->why = strformatv(fmt, ap);
        va_end(ap);
        if (!l->why)
                l->oom = true;
}

/* A text with commas doubled, where QEMU splits at them; NULL on out of memory. */
static char *arg_escape(const char *s)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        strbuf_add(&b, "");
        for (; *s; s++) {
                if (*s == ',')
                        strbuf_addc(&b, ',');
                strbuf_addc(&b, *s);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

int arg_file(ArgList *l, QemuFileUse use, const char *owner, const char *path, int fd)
{
        int number = qemu_files_add(&l->files, l->first_file, use, owner, path, fd);

        if (number < 0)
                l->oom = true;
        else if (use == QEMU_FILE_READ || use == QEMU_FILE_WRITE || use == QEMU_FILE_OUTPUT) {
                _cleanup_free_ char *opaque = arg_escape(owner); /* QEMU's label of it: qemu-fdsets.c */

                for (char *p = opaque; p && *p; p++)
                        if (*p == ' ')
                                *p = '-';
                arg_add(l, "-add-fd", "fd=%d,set=%d,opaque=%s", number, number, strempty(opaque));
        }
        return number;
}

/* microvm has neither PCI nor a BIOS: only what virtio-mmio can carry. */
static bool fits_microvm(const VmConfig *c)
{
        if (vmconfig_is_hvm(c) || !c->kernel[0] || c->display.kind != VM_DISPLAY_NONE || c->vfb || c->vkbd || c->vsnd ||
            (c->sound && c->sound[0]) || c->pci.n > 0 || c->extra_hvm.n > 0 || qemu_wants_tpm(c) || qemu_wants_uefi(c))
                return false;
        for (size_t i = 0; i < c->disk.n; i++)
                if (c->disk.items[i].cdrom || !startswith(c->disk.items[i].virtpath, "xvd"))
                        return false;
        for (size_t i = 0; i < c->nic.n; i++)
                if (c->nic.items[i].model[0] && !streq(c->nic.items[i].model, "virtio"))
                        return false;
        return c->disk.n + c->nic.n <= 4; /* virtio-mmio has eight places; four are taken by our own devices */
}

QemuMachine qemu_machine(const VmConfig *c, const char *accel)
{
        if (streq(c->machine, "pc"))
                return QEMU_MACHINE_PC;
        if (streq(c->machine, "q35"))
                return QEMU_MACHINE_Q35;
        if (streq(c->machine, "microvm"))
                return QEMU_MACHINE_MICROVM;
        /*
         * Not under TCG: the only clock that a microvm offers there for measuring the TSC is the PIT, Linux gives
         * up on it when the host is busy, and then hangs for want of a timer. KVM guests have a clock of their own.
         */
        return streq(accel, "kvm") && fits_microvm(c) ? QEMU_MACHINE_MICROVM : QEMU_MACHINE_PC;
}

bool qemu_wants_uefi(const VmConfig *c)
{
        return streq(c->firmware, "uefi") && !c->kernel[0];
}

bool qemu_wants_tpm(const VmConfig *c)
{
        return c->vtpm_instance != XENVM_UNSET;
}

static void add_machine(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine)
{
        if (machine == QEMU_MACHINE_MICROVM) {
                /* The timers and the serial port of a PC: an ordinary distribution kernel needs them. */
                arg_add(l, "-machine", "microvm,pic=on,pit=on,rtc=on,isa-serial=on");
                if (!fits_microvm(c))
                        arg_refuse(l, "machine = microvm: this config asks for devices that only a PC has");
        } else
                arg_add(l, "-machine", "%s%s%s%s", machine == QEMU_MACHINE_Q35 ? "pc-q35-7.2" : "pc-i440fx-7.2",
                        vmconfig_is_hvm(c) && !c->acpi ? ",acpi=off" : "", c->hpet == 0 ? ",hpet=off" : "",
                        machine == QEMU_MACHINE_Q35 && c->display.kind == VM_DISPLAY_INTEL ? ",igd-passthrough=on" : "");
        if (streq(env->accel, "kvm"))
                arg_add(l, "-accel", "kvm");
        else {
                int64_t tb = c->memory_kib / KIB_PER_MIB / 2;

                arg_add(l, "-accel", "tcg,tb-size=%d", (int) MAX2(MIN2(tb, TB_SIZE_MAX), TB_SIZE_MIN));
        }
}

static void add_cpu(ArgList *l, const VmConfig *c, const QemuEnv *env)
{
        bool kvm = streq(env->accel, "kvm");

        /* Of KVM a guest gets the host's own virtualisation with the rest of its processor, unless that is said. */
        arg_add(l, "-cpu", "%s%s%s%s%s%s", kvm ? "host" : "max", kvm && !c->nested ? ",vmx=off,svm=off" : "",
                vmconfig_is_hvm(c) && !c->pae ? ",pae=off" : "", vmconfig_is_hvm(c) && !c->nx ? ",nx=off" : "",
                vmconfig_is_hvm(c) && !c->apic ? ",apic=off" : "",
                /* Figures that Microsoft's own hypervisor shows; TCG has none of them. */
                vmconfig_is_hvm(c) && c->viridian && kvm ? ",hv-relaxed,hv-vapic,hv-time,hv-spinlocks=0x1fff" : "");
        if (c->viridian && !kvm)
                arg_warn(l, "viridian: no effect without KVM");
        if (c->nested && !kvm)
                arg_warn(l, "nested: no effect without KVM");
        if (vmconfig_is_hvm(c) && !c->apic && c->vcpus > 1)
                arg_refuse(l, "apic = false with vcpus = %lld: several virtual CPUs need an APIC", (long long) c->vcpus);
        if (c->cores_per_socket != XENVM_UNSET) {
                int64_t cores = c->cores_per_socket;

                arg_add(l, "-smp", "%lld,sockets=%lld,cores=%lld,threads=1", (long long) c->vcpus,
                        (long long) ((c->vcpus + cores - 1) / cores), (long long) cores);
                if (c->vcpus % cores != 0)
                        arg_refuse(l, "cores-per-socket = %lld does not divide vcpus = %lld", (long long) cores,
                                   (long long) c->vcpus);
        } else
                arg_add(l, "-smp", "%lld", (long long) c->vcpus);
}

static void add_memory(ArgList *l, const VmConfig *c)
{
        int64_t kib = c->memory_max_kib != XENVM_UNSET && c->memory_max_kib > c->memory_kib ? c->memory_max_kib : c->memory_kib;

        arg_add(l, "-m", "%lldM", (long long) (kib / KIB_PER_MIB));
}

static void add_boot(ArgList *l, const VmConfig *c, const QemuEnv *env, QemuMachine machine)
{
        if (c->kernel[0]) {
                arg_add(l, "-kernel", "/proc/self/fd/%d", arg_file(l, QEMU_FILE_AGAIN, "kernel", c->kernel, -EBADF));
                if (c->cmdline[0])
                        arg_add(l, "-append", "%s", c->cmdline);
                if (c->initrd && c->initrd[0])
                        arg_add(l, "-initrd", "/proc/self/fd/%d", arg_file(l, QEMU_FILE_AGAIN, "initrd", c->initrd, -EBADF));
        } else if (!vmconfig_is_hvm(c))
                arg_refuse(l, "kernel: a paravirtualised VM (hvm = false) needs one");
        if (machine == QEMU_MACHINE_MICROVM)
                return;
        if (qemu_wants_uefi(c)) {
                if (!env->firmware_code || !env->firmware_vars) {
                        arg_refuse(l, "firmware = uefi: no UEFI firmware is installed (package ovmf)");
                        return;
                }
                arg_add(l, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=%s", env->firmware_code);
                arg_add(l, "-drive", "if=pflash,unit=1,format=raw,auto-read-only=off,file.driver=file,file.filename=/dev/fdset/%d",
                        arg_file(l, QEMU_FILE_WRITE, "firmware", env->firmware_vars, -EBADF));
        }
        for (const char *p = c->boot; *p; p++)
                if (!strchr("acdn", *p) || strchr(p + 1, *p)) {
                        arg_refuse(l, "boot = %s: each of the letters a c d n at most once is accepted", c->boot);
                        return;
                }
        if (c->boot[0])
                arg_add(l, "-boot", "order=%s,strict=on", c->boot);
}

static void add_clock(ArgList *l, const VmConfig *c, const QemuEnv *env)
{
        int64_t offset = 0;
        char text[32];
        struct tm tm;
        time_t t;

        if (c->time_offset && c->time_offset[0] && parse_i64(c->time_offset, &offset) < 0) {
                arg_refuse(l, "time-offset = %s: a number of seconds is accepted", c->time_offset);
                return;
        }
        if (offset == 0) {
                arg_add(l, "-rtc", "base=utc");
                return;
        }
        t = (time_t) (env->now + offset);
        if (!gmtime_r(&t, &tm) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
                arg_refuse(l, "time-offset = %s: too far from now", c->time_offset);
                return;
        }
        arg_add(l, "-rtc", "base=%s", text);
}

static void add_bios_strings(ArgList *l, const VmConfig *c)
{
        static const struct {
                const char *key, *field;
        } known[] = { { "xenvendor-manufacturer", "manufacturer" }, { "xenvendor-product", "product" } };

        for (size_t i = 0; i < c->bios_string.n; i++) {
                const VmPair *p = &c->bios_string.items[i];
                _cleanup_free_ char *value = arg_escape(strempty(p->value));
                const char *field = NULL;

                for (size_t k = 0; k < ELEMENTSOF(known); k++)
                        if (streq(p->name, known[k].key))
                                field = known[k].field;
                if (!value)
                        l->oom = true;
                else if (field)
                        arg_add(l, "-smbios", "type=1,%s=%s", field, value);
                else
                        arg_add(l, "-smbios", "type=11,value=%s=%s", p->name, value);
        }
}

static const char *device(QemuMachine machine, const char *pci, const char *mmio)
{
        return machine == QEMU_MACHINE_MICROVM ? mmio : pci;
}

static void add_own_devices(ArgList *l, const QemuEnv *env, QemuMachine machine)
{
        arg_add(l, "-device", "%s,id=channel0", device(machine, "virtio-serial-pci", "virtio-serial-device"));
        arg_add(l, "-chardev", "socket,id=rpc,fd=%d,server=on,wait=off", env->rpc_fd);
        arg_add(l, "-device", "virtserialport,bus=channel0.0,nr=1,chardev=rpc,id=rpc0,name=org.oxt.rpc.0");
        arg_add(l, "-device", "%s,id=balloon0", device(machine, "virtio-balloon-pci", "virtio-balloon-device"));
        arg_add(l, "-object", "rng-random,id=rng0,filename=/dev/urandom");
        arg_add(l, "-device", "%s,id=rngdev0,rng=rng0", device(machine, "virtio-rng-pci", "virtio-rng-device"));
        if (machine != QEMU_MACHINE_MICROVM)
                arg_add(l, "-device", "pvpanic,id=pvpanic0");
}

/* unix:PATH[,server[=on]][,wait=off]: we listen, and QEMU is given the socket. A client connects by itself. */
static bool add_serial_socket(ArgList *l, const char *words)
{
        _cleanup_strv_ char **parts = NULL;
        bool server = false, wait = true;

        if (strv_split(words, ',', &parts) < 0) {
                l->oom = true;
                return true;
        }
        for (char **w = parts + 1; *w; w++)
                if (streq(*w, "server") || streq(*w, "server=on"))
                        server = true;
                else if (streq(*w, "nowait") || streq(*w, "wait=off"))
                        wait = false;
                else if (!streq(*w, "wait") && !streq(*w, "wait=on"))
                        return false;
        if (!server || !parts[0][0])
                return false;
        arg_add(l, "-chardev", "socket,id=serial0,server=on,wait=%s,fd=%d", wait ? "on" : "off",
                arg_file(l, QEMU_FILE_LISTEN, "serial", parts[0], -EBADF));
        arg_add(l, "-serial", "chardev:serial0");
        return true;
}

static void add_serial(ArgList *l, const VmConfig *c)
{
        const char *v = c->serial, *file = startswith(v, "file:"), *device = startswith(v, "/dev/"), *local = startswith(v, "unix:");

        if (streq(v, "none"))
                return;
        if (file && *file)
                arg_add(l, "-serial", "file:/dev/fdset/%d", arg_file(l, QEMU_FILE_OUTPUT, "serial", file, -EBADF));
        else if (device && !startswith(device, "parport")) {
                arg_add(l, "-chardev", "serial,id=serial0,path=/dev/fdset/%d", arg_file(l, QEMU_FILE_WRITE, "serial", v, -EBADF));
                arg_add(l, "-serial", "chardev:serial0");
        } else if (!local || !add_serial_socket(l, local))
                arg_add(l, "-serial", "%s", v[0] ? v : "pty");
}

/* Words of the old device model that QEMU does not know any more. */
static void add_extra(ArgList *l, const VmConfig *c)
{
        static const char *const dropped[] = { "surfman", "xengfx", "vgpu", "gfx_passthru", "disable-audio-rec" };

        for (size_t i = 0; i < c->extra_hvm.n; i++) {
                const VmPair *p = &c->extra_hvm.items[i];
                _cleanup_free_ char *option = strformat("-%s", p->name);
                bool drop = startswith(p->name, "cdrom-pt") != NULL;

                for (size_t k = 0; k < ELEMENTSOF(dropped); k++)
                        drop |= streq(p->name, dropped[k]);
                if (!option)
                        l->oom = true;
                else if (drop)
                        arg_warn(l, "extra-hvm = %s: no effect on QEMU", p->name);
                else if (streq(p->name, "std-vga"))
                        continue; /* what a display has anyhow */
                else if (p->value && p->value[0])
                        arg_add(l, option, "%s", p->value);
                else
                        arg_add(l, option, NULL);
        }
}

static void add_tpm(ArgList *l, const VmConfig *c, const QemuEnv *env)
{
        if (!qemu_wants_tpm(c))
                return;
        if (!env->tpm_socket) {
                arg_refuse(l, "vtpm-instance: a TPM needs the program swtpm");
                return;
        }
        if (c->kernel[0] && c->initrd && c->initrd[0])
                arg_warn(l, "vtpm-instance with an initrd: QEMU puts the initrd over the ACPI tables, and the guest finds no TPM");
        arg_add(l, "-chardev", "socket,id=tpm,fd=%d", arg_file(l, QEMU_FILE_CONNECT, "TPM", env->tpm_socket, -EBADF));
        arg_add(l, "-tpmdev", "emulator,id=tpm0,chardev=tpm");
        arg_add(l, "-device", "tpm-tis,tpmdev=tpm0,id=tpmdev0");
}

/* Keys that say something QEMU has no word for. */
static void check_unmapped(ArgList *l, const VmConfig *c)
{
        const struct {
                bool given;
                const char *key;
        } ignored[] = {
                { c->xci_cpuid_signature, "xci-cpuid-signature" },
                { c->v4v, "v4v" },
                { c->diskinfo_pt, "diskinfo-pt" },
                { c->timer_mode != XENVM_UNSET, "timer-mode" },
                { c->vpt_align != XENVM_UNSET, "vpt-align" },
                { c->flask_label && c->flask_label[0], "flask-label" },
                { c->cpuid.n > 0, "cpuid" },
                { c->power_management != 0, "power-management" },
                { c->oem_features != 0, "oem-features" },
                { c->inject_sci != 0, "inject-sci" },
                { c->smbios_pt || c->smbios_oem_types_pt[0], "smbios-pt" },
                { c->acpi_pt, "acpi-pt" },
                { c->extra_vm_watch.n > 0, "extra-vm-watch" },
                { c->stubdom && c->stubdom[0], "stubdom" },
                { c->cdrom_pt && c->cdrom_pt[0], "cdrom-pt" },
        };

        for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
                if (ignored[i].given)
                        arg_warn(l, "%s: no effect on QEMU", ignored[i].key);
        for (size_t i = 0; i < c->platform.n; i++)
                arg_warn(l, "platform = %s: no effect on QEMU", c->platform.items[i].name);
        for (size_t i = 0; i < c->extra_local_watch.n; i++)
                if (!streq(c->extra_local_watch.items[i], "power-state"))
                        arg_warn(l, "extra-local-watch = %s: no effect on QEMU, where there is only power-state",
                                 c->extra_local_watch.items[i]);
        if (c->passthrough_io.n > 0)
                arg_refuse(l, "passthrough-io: QEMU cannot give I/O ports of the host to a VM");
        if (c->passthrough_mmio.n > 0)
                arg_refuse(l, "passthrough-mmio: QEMU cannot give memory of the host to a VM");
}

int qemu_args(const VmConfig *c, const QemuEnv *env, char ***ret_args, QemuFiles *ret_files, char ***ret_warnings, char **ret_why)
{
        QemuMachine machine = qemu_machine(c, env->accel);
        ArgList l = { .first_file = env->first_file };
        _cleanup_free_ char *name = arg_escape(c->name && c->name[0] ? c->name : env->uuid);

        arg_add(&l, "-nodefaults", NULL);
        arg_add(&l, "-no-user-config", NULL);
        arg_add(&l, "-S", NULL);
        arg_add(&l, "-name", "guest=%s", strempty(name));
        arg_add(&l, "-uuid", "%s", env->uuid);
        arg_add(&l, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        add_machine(&l, c, env, machine);
        add_cpu(&l, c, env);
        add_memory(&l, c);
        add_clock(&l, c, env);
        /* QEMU never ends by itself: how the guest ended can be asked later, and `preserve` works. */
        arg_add(&l, "-action", "reboot=shutdown,shutdown=pause,panic=pause,watchdog=pause");
        arg_add(&l, "-chardev", "socket,id=qmp,fd=%d,server=on,wait=off", env->qmp_fd);
        arg_add(&l, "-mon", "chardev=qmp,mode=control");
        arg_add(&l, "-chardev", "pipe,id=events,path=%s%sevents", env->confined ? "" : env->dir, env->confined ? "" : "/");
        arg_add(&l, "-mon", "chardev=events,mode=control");
        if (!env->confined) /* else who starts it writes that down */
                arg_add(&l, "-pidfile", "%s/qemu.pid", env->dir);
        if (env->incoming)
                arg_add(&l, "-incoming", "defer");
        add_boot(&l, c, env, machine);
        add_bios_strings(&l, c);
        qemu_add_display(&l, c, env, machine);
        add_serial(&l, c);
        add_own_devices(&l, env, machine);
        qemu_add_disks(&l, c, env, machine);
        qemu_add_nics(&l, c, env, machine);
        qemu_add_pci(&l, c, machine);
        qemu_add_sound(&l, c, machine);
        add_tpm(&l, c, env);
        check_unmapped(&l, c);
        add_extra(&l, c);
        if (l.oom || !name || l.why) {
                int r = l.oom || !name ? -ENOMEM : -EINVAL;

                strv_free(l.args);
                strv_free(l.warnings);
                qemu_files_done(&l.files);
                if (r == -EINVAL)
                        *ret_why = TAKE_PTR(l.why);
                free(l.why);
                return r;
        }
        *ret_args = l.args;
        *ret_files = l.files;
        *ret_warnings = l.warnings;
        return 0;
}
