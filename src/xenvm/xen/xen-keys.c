/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-keys.h"

#define ROW(field) [XENVM_KEY_##field]
#define MONITOR "the monitor's own"
#define STORED "is only stored"
#define OF_QEMU "is of the back end qemu"
#define PATCHED "takes OpenXT's patched Xen"

const XenKey xen_keys[_XENVM_KEY_MAX] = {
        ROW(uuid) = { XEN_ALL, "uuid of the domain" },
        ROW(name) = { XEN_ALL, "name of the domain, else the uuid; a host has each name once" },
        ROW(startup) = { XEN_ALL, MONITOR },
        ROW(debug) = { XEN_ALL, MONITOR },
        ROW(output) = { XEN_ALL, MONITOR },
        ROW(no_mem_check) = { XEN_ALL, "libxl is not asked beforehand whether the memory suffices" },
        ROW(on_halt) = { XEN_ALL, "the monitor acts; libxl is told, so that `xl list -l` shows it" },
        ROW(on_reboot) = { XEN_ALL, "as on_halt" },
        ROW(on_crash) = { XEN_ALL, "as on_halt, for the watchdog too" },
        ROW(notify) = { XEN_ALL, MONITOR },

        ROW(hvm) = { XEN_ALL, "HVM or PV; virt-type wins" },
        ROW(hap) = { XEN_HARDWARE, "hap" },
        ROW(kernel) = { XEN_ALL, "kernel; HVM with one boots it and not the disks" },
        ROW(cmdline) = { XEN_ALL, "cmdline, with a kernel" },
        ROW(initrd) = { XEN_ALL, "ramdisk, with a kernel" },
        ROW(memory_kib) = { XEN_ALL, "target_memkb" },
        ROW(memory_max_kib) = { XEN_ALL, "max_memkb" },
        ROW(extra_maxmem) = { XEN_NONE, STORED },
        ROW(vcpus) = { XEN_ALL, "max_vcpus, all of them there from the start" },
        ROW(cores_per_socket) = { XEN_NONE, "libxl has no such field; cpuid can say the same" },
        ROW(cpu_weight) = { XEN_NONE, OF_QEMU },
        ROW(boot) = { XEN_HVM, "boot" },
        ROW(timer_mode) = { XEN_HARDWARE, "timer_mode" },
        ROW(time_offset) = { XEN_ALL, "rtc_timeoffset" },
        ROW(hpet) = { XEN_HVM, "hpet" },
        ROW(vpt_align) = { XEN_HVM, "vpt_align" },
        ROW(flask_label) = { XEN_ALL, "ssid_label; one that the hypervisor does not know is a warning" },
        ROW(disable_migrate) = { XEN_ALL, "disable_migrate, and the monitor refuses suspend and checkpoint" },

        ROW(pae) = { XEN_HVM, "pae" },
        ROW(acpi) = { XEN_HVM, "acpi, acpi_s3, acpi_s4" },
        ROW(apic) = { XEN_HVM, "apic" },
        ROW(nx) = { XEN_HVM, "nx" },
        ROW(viridian) = { XEN_HVM, "viridian" },
        ROW(nested) = { XEN_HVM, "nested_hvm" },
        ROW(xci_cpuid_signature) = { XEN_NONE, PATCHED },
        ROW(smbios_pt) = { XEN_HVM, "smbios_firmware: the host's tables of the types 1, 2, 3, 11, 22 and 39" },
        ROW(smbios_oem_types_pt) = { XEN_HVM, "with smbios-pt these types too" },
        ROW(acpi_pt) = { XEN_HVM, "acpi_firmware: the host's SLIC and MSDM, where it has them" },
        ROW(diskinfo_pt) = { XEN_NONE, PATCHED },
        ROW(power_management) = { XEN_HVM, "xenstore node for the device model, if not 0" },
        ROW(oem_features) = { XEN_HVM, "as power-management" },
        ROW(inject_sci) = { XEN_HVM, "as power-management" },
        ROW(pci_msitranslate) = { XEN_ALL, "msitranslate of pci lines that do not say" },
        ROW(pci_power_management) = { XEN_ALL, "power_mgmt of pci lines that do not say" },
        ROW(pci_script) = { XEN_NONE, STORED },
        ROW(usb) = { XEN_HVM, "usb" },
        ROW(videoram) = { XEN_HVM, "video_memkb" },
        ROW(display) = { XEN_ALL, "HVM: vnc (on `<runtime>/vm/<uuid>/vnc.sock`; on TCP, on the loopback, only with `port=` or `use-port-unused`), sdl or gfx_passthru (intel); others: vnc with a port makes a vfb; gtk is refused" },
        ROW(serial) = { XEN_HVM, "serial; other guests have Xen's console" },
        ROW(sound) = { XEN_HVM, "soundhw" },
        ROW(cdrom_pt) = { XEN_HVM, "as extra-hvm; " PATCHED " to mean something" },
        ROW(qemu_pv) = { XEN_NONE, STORED },

        ROW(vsnd) = { XEN_NONE, "libxl wants lists of streams that the key cannot tell" },
        ROW(vkbd) = { XEN_ALL, "vkb, served by QEMU" },
        ROW(vfb) = { XEN_PARAVIRTUAL, "vfb with VNC on the display's port; HVM guests have a card" },
        ROW(v4v) = { XEN_NONE, PATCHED },
        ROW(stubdom) = { XEN_HVM, "device_model_stubdomain; its uuid cannot be chosen" },
        ROW(stubdom_memory_kib) = { XEN_HVM, "stubdomain_memkb" },
        ROW(stubdom_kernel) = { XEN_HVM, "stubdomain_kernel" },
        ROW(stubdom_initrd) = { XEN_HVM, "stubdomain_ramdisk" },
        ROW(stubdom_cmdline) = { XEN_HVM, "stubdomain_cmdline" },
        ROW(qemu_dm_path) = { XEN_HVM, "device_model" },
        ROW(qemu_dm_timeout) = { XEN_NONE, "libxl has a limit of its own" },
        ROW(vtpm_backend) = { XEN_ALL, "backend_domid of the vtpm" },
        ROW(vtpm_instance) = { XEN_ALL, "devid of a vtpm" },
        ROW(xci_service) = { XEN_NONE, STORED },

        ROW(disk) = { XEN_ALL, "a disk, see below" },
        ROW(nic) = { XEN_ALL, "a nic, see below" },
        ROW(pci) = { XEN_ALL, "a pci device: seize (bind), msitranslate, power_mgmt, vdevfn" },
        ROW(cpuid) = { XEN_ALL, "cpuid, in the form of xend" },
        ROW(cpus_affinity) = { XEN_ALL, "vcpu_hard_affinity" },
        ROW(extra_hvm) = { XEN_HVM, "extra_hvm, as it is" },
        ROW(extra_local_watch) = { XEN_ALL, "a node that the guest may write, watched" },
        ROW(extra_vm_watch) = { XEN_ALL, "watched" },
        ROW(passthrough_io) = { XEN_ALL, "ioports" },
        ROW(passthrough_mmio) = { XEN_ALL, "iomem, at the same place in the guest" },
        ROW(platform) = { XEN_ALL, "platformdata: nodes below the domain's platform" },
        ROW(bios_string) = { XEN_HVM, "xenstore node bios-strings/NAME; xenvendor-manufacturer and -product are the system's" },

        ROW(backend) = { XEN_ALL, MONITOR },
        ROW(virt_type) = { XEN_ALL, "type" },
        ROW(accel) = { XEN_NONE, OF_QEMU },
        ROW(machine) = { XEN_NONE, OF_QEMU },
        ROW(firmware) = { XEN_HVM, "bios: seabios or ovmf" },
};

const char *xen_guests_to_text(unsigned guests)
{
        static const char *const words[] = {
                [XEN_NONE] = "none",   [XEN_PV] = "PV",           [XEN_PVH] = "PVH",
                [XEN_HVM] = "HVM",     [XEN_PARAVIRTUAL] = "PV, PVH", [XEN_HARDWARE] = "PVH, HVM",
                [XEN_PV | XEN_HVM] = "PV, HVM", [XEN_ALL] = "all",
        };

        return words[guests];
}
