/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-keys.h"

#include <ctype.h>

#include "parse.h"
#include "strbuf.h"

#define POLICY (VMKEY_ALWAYS | VMKEY_ADMIN)

const VmKey vm_keys[] = {
        /* Identity and presentation */
        { "uuid", NULL, VMKEY_TEXT, VMKEY_READ_ONLY, "", NULL, VMKEY_EFFECT_COMPUTED, "uuid", "Identity of the VM" },
        { "type", "type", VMKEY_TEXT, VMKEY_HOST_ONLY, "svm", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "svm: a user's VM; any other word: a service VM of that kind" },
        { "name", "name", VMKEY_TEXT, VMKEY_STRIP, "", NULL, VMKEY_EFFECT_MANAGER, "name", "Name that is shown" },
        { "description", "description", VMKEY_TEXT, 0, "", NULL, VMKEY_EFFECT_STORED, NULL, "Free text" },
        { "image-path", "image_path", VMKEY_TEXT, VMKEY_STRIP, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Icon, below /usr/lib/xui" },
        { "image_path_vg", "image_path", VMKEY_TEXT, VMKEY_STRIP, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "The same, under the display handler's name" },
        { "slot", "slot", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_LIVE, NULL, "Place in the switcher: 1 to 9, 0 for the UI's VM, -1 for none" },
        { "hidden-in-switcher", "hidden", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Not shown in the switcher" },
        { "hidden-in-ui", "hidden-in-ui", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Not shown in the UI" },
        { "show-switcher", "show-switcher", VMKEY_BOOL, 0, "true", NULL,
          VMKEY_EFFECT_STORED, NULL, "Switcher bar inside the VM" },
        { "seamless-id", "seamless-id", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Identity for seamless windows; the uuid at creation" },
        { "seamless-traffic", "seamless-traffic", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Seamless windows may leave the VM; user VMs only. Where it is not set the flavour says" },
        { "seamless-mouse-left", NULL, VMKEY_INT, VMKEY_READ_ONLY, "-1", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Slot of the running VM whose GPU is placed to the left" },
        { "seamless-mouse-right", NULL, VMKEY_INT, VMKEY_READ_ONLY, "-1", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Slot of the running VM whose GPU is placed to the right" },
        { "os", "os", VMKEY_ENUM, 0, "unknown", "linux windows windows8 unknown",
          VMKEY_EFFECT_MANAGER, NULL, "Operating system in the VM" },
        { "realm", "realm", VMKEY_TEXT, 0, "", NULL, VMKEY_EFFECT_STORED, NULL, "Realm of the synchroniser" },
        { "sync-uuid", "sync-uuid", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Identity for the synchroniser" },
        { "icbinn-path", "icbinn-path", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Host folder that the file server exports to the VM" },
        { "download-progress", "download-progress", VMKEY_INT, VMKEY_ALWAYS | VMKEY_SILENT, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Percent of a download; told by vm_transfer_changed" },
        { "ready", "ready", VMKEY_BOOL, 0, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "false keeps the VM out of autostart" },
        { "portica-installed", "portica-installed", VMKEY_BOOL, VMKEY_READ_ONLY, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Seamless windows tool is installed in the guest" },
        { "portica-enabled", NULL, VMKEY_INT, VMKEY_READ_ONLY, "0", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "0 not installed, 1 active, 2 inactive" },
        { "pv-addons", "pv-addons-installed", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_DETECTED, NULL, "Guest tools are installed" },
        { "pv-addons-version", "pv-addons-version", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_DETECTED, NULL, "Version of the guest tools, four numbers" },
        { "native-experience", "native-experience", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "This VM is to look like the whole machine" },
        { "long_form_vg", "config/long-form", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Long label of the display overlay" },
        { "short_form_vg", "config/short-form", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Short label of the display overlay" },
        { "text_color_vg", "config/text-color", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Colour of the label's text" },
        { "primary_domain_color", "config/domain-color", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Colour of the overlay, #rrggbb" },
        { "secondary_domain_color", "config/secondary-domain-color", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Second colour of the overlay" },
        { "border_width_vg", "config/border-width", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Width of the overlay's border" },
        { "border_height_vg", "config/border-height", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Height of the overlay's border" },
        { "display-handler-strict", "config/display-handler-strict", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Display handler may not resize" },
        { "vglass_enabled", "config/vglass-enabled", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Display handler shows the VM" },
        { "mosaic_vm_enabled", "config/mosaic-vm-enabled", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "VM takes part in the mosaic" },
        { "mosaic_mode", "config/mosaic-mode", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "1 seamless, 2 windowed, 4 pinned" },
        { "windowed_x", "config/windowed-x", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Left edge of the window" },
        { "windowed_y", "config/windowed-y", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Upper edge of the window" },
        { "windowed_w", "config/windowed-w", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Width of the window" },
        { "windowed_h", "config/windowed-h", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_STORED, NULL, "Height of the window" },
        /* Life cycle */
        { "start-on-boot", "start_on_boot", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Started when the host boots" },
        { "start-on-boot-priority", "start_on_boot_priority", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Higher starts earlier" },
        { "shutdown-priority", "shutdown-priority", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Higher is shut down earlier with the host" },
        { "keep-alive", "keep-alive", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Started again after each end that was not a reboot" },
        { "track-dependencies", "track-dependencies", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "VMs that serve this one are started first" },
        { "dependencies", NULL, VMKEY_PATHS, VMKEY_READ_ONLY, "", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "VMs that serve this one, deepest first" },
        { "measured", "measured", VMKEY_BOOL, VMKEY_READ_ONLY, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Hashes of the disks are compared before a start" },
        { "s3-mode", "s3-mode", VMKEY_ENUM, 0, "pv", "pv ignore restart snapshot",
          VMKEY_EFFECT_STORED, NULL, "What happens when the host sleeps" },
        { "s4-mode", "s4-mode", VMKEY_ENUM, 0, "pv", "pv ignore restart snapshot",
          VMKEY_EFFECT_STORED, NULL, "What happens when the host hibernates" },
        { "hibernated", "hibernated", VMKEY_BOOL, VMKEY_READ_ONLY, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "The VM hibernated and is started at the next boot" },
        { "auto-s3-wake", "auto-s3-wake", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Woken at once when it falls asleep" },
        { "control-platform-power-state", "control-platform-power-state", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Sleep, hibernation and shutdown of the VM are those of the host" },
        { "start-from-suspend-image", "start-from-suspend-image", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Memory image that is restored, where it exists, instead of a boot" },
        { "preserve-on-reboot", "preserve-on-reboot", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "A guest that reboots is not started again" },
        { "boot-sentinel", "boot-sentinel", VMKEY_TEXT, VMKEY_OPTIONAL, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Node that the guest writes when its services are up" },
        { "run-post-create", "run-post-create", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call after the VM was made" },
        { "run-pre-delete", "run-pre-delete", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call before the VM is deleted" },
        { "run-pre-boot", "run-pre-boot", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call before each start" },
        { "run-insteadof-start", "run-insteadof-start", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call in place of a start" },
        { "run-on-state-change", "run-on-state-change", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call at each change of state" },
        { "run-on-acpi-state-change", "run-on-acpi-state-change", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY,
          "", NULL, VMKEY_EFFECT_MANAGER, NULL, "Program or rpc: call at each change of the ACPI state" },
        { "time-offset", "time-offset", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_CONFIG, "time-offset", "Offset of the guest's clock in seconds" },
        { "amt-pt", "amt-pt", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_MANAGER, NULL, "Intel AMT passthrough" },
        { "provides-network-backend", "provides-network-backend", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Serves networks to other VMs" },
        { "provides-default-network-backend", "provides-default-network-backend", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Serves those nics that name nobody" },
        { "provides-graphics-fallback", "provides-graphics-fallback", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Shown when nothing better is there" },
        { "greedy-pciback-bind", "greedy-pciback-bind", VMKEY_BOOL, 0, "true", NULL,
          VMKEY_EFFECT_STORED, NULL, "Passthrough devices are taken from the host early" },
        { "oem-acpi-features", "oem-acpi-features", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "oem-features", "OEM ACPI features; one running VM at most" },
        { "gpu", "gpu", VMKEY_TEXT, VMKEY_ADMIN, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "PCI address of the GPU that is passed through" },
        /* Hardware */
        { "virt-type", "config/virt-type", VMKEY_ENUM, 0, "pv", "pv pvh hvm",
          VMKEY_EFFECT_CONFIG, "hvm", "Kind of virtual machine" },
        { "memory", "config/memory", VMKEY_INT, 0, "0", NULL, VMKEY_EFFECT_CONFIG, "memory", "Memory in MiB" },
        { "memory-static-max", "config/memory-static-max", VMKEY_INT, VMKEY_OPTIONAL, "", NULL,
          VMKEY_EFFECT_CONFIG, "memory-max", "Upper limit of the memory in MiB; memory if not set" },
        { "memory-min", "config/memory-min", VMKEY_INT, VMKEY_OPTIONAL, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Lower limit of the memory in MiB; memory if not set" },
        { "memory-target", NULL, VMKEY_INT, VMKEY_READ_ONLY, "0", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Memory that the running VM is to have, in MiB" },
        { "vcpus", "config/vcpus", VMKEY_INT, 0, "0", NULL, VMKEY_EFFECT_CONFIG, "vcpus", "Number of virtual CPUs" },
        { "cores-per-socket", "config/cores-per-socket", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_CONFIG, "cores-per-socket", "Cores in a socket; vcpus if not set" },
        { "pae", "config/pae", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "pae", "PAE" },
        { "acpi", "config/acpi", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "acpi", "ACPI" },
        { "apic", "config/apic", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "apic", "APIC" },
        { "nx", "config/nx", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "nx", "NX bit" },
        { "hap", "config/hap", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "hap", "Hardware assisted paging" },
        { "viridian", "config/viridian", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "viridian", "Hyper-V enlightenments" },
        { "nestedhvm", "config/nestedhvm", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "nested", "Virtualisation inside the VM" },
        { "hpet", "config/hpet", VMKEY_BOOL, 0, "true", NULL, VMKEY_EFFECT_CONFIG, "hpet", "HPET timer" },
        { "timer-mode", "config/timer-mode", VMKEY_ENUM, 0, "no_delay_for_missed_ticks",
          "delay_for_missed_ticks no_delay_for_missed_ticks no_missed_ticks_pending one_missed_tick_pending",
          VMKEY_EFFECT_CONFIG, "timer-mode", "What happens to missed timer ticks" },
        { "acpi-table", "config/acpi-table", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "The host's SLIC table is shown to the VM" },
        { "boot", "config/boot", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_CONFIG, "boot", "Boot order: c disk, d CD, n network, a floppy" },
        { "bios", "config/bios", VMKEY_TEXT, 0, "seabios", NULL, VMKEY_EFFECT_STORED, NULL, "seabios or ovmf" },
        { "secureboot", "config/secureboot", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "UEFI secure boot" },
        { "authenforce", "config/authenforce", VMKEY_BOOL, 0, "true", NULL,
          VMKEY_EFFECT_STORED, NULL, "UEFI authenticated variables" },
        { "kernel", "config/kernel", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "kernel", "Kernel of a pv or pvh VM" },
        { "kernel-extract", "config/kernel-extract", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Kernel inside a disk: [disk[,partition]:]/path" },
        { "initrd", "config/initrd", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "initrd", "Initial ramdisk of a pv or pvh VM" },
        { "initrd-extract", "config/initrd-extract", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Initial ramdisk inside a disk: [disk[,partition]:]/path" },
        { "cmd-line", "config/cmdline", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_CONFIG, "cmdline", "Kernel command line of a pv or pvh VM" },
        { "display", "config/display", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "display", "none, nogfx (no graphics) or a kind of display" },
        { "videoram", "config/videoram", VMKEY_INT, 0, "0", NULL,
          VMKEY_EFFECT_CONFIG, "videoram", "Video memory in MiB" },
        { "sound", "config/sound", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_CONFIG, "sound", "Emulated sound card; none: no sound" },
        { "serial", "config/serial", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "serial", "Serial port" },
        { "hdtype", "config/hdtype", VMKEY_ENUM, 0, "ide", "ide ahci",
          VMKEY_EFFECT_STORED, NULL, "Kind of disk controller" },
        { "qemu-dm-path", "config/qemu-dm-path", VMKEY_TEXT, VMKEY_HOST_ONLY,
          "/opt/xensource/libexec/qemu-dm-wrapper", NULL, VMKEY_EFFECT_CONFIG, "qemu-dm-path", "Device model" },
        { "qemu-dm-timeout", "config/qemu-dm-timeout", VMKEY_INT, 0, "30", NULL,
          VMKEY_EFFECT_CONFIG, "qemu-dm-timeout", "Seconds until the device model must be ready" },
        { "notify", "config/notify", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Where the monitor's messages went; ours is always told dbus" },
        { "flask-label", "config/flask-label", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "flask-label", "Security label" },
        { "init-flask-label", "config/init-flask-label", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Security label while the VM is made" },
        { "stubdom-flask-label", "config/stubdom-flask-label", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_STORED, NULL, "Security label of the stub domain" },
        { "passthrough-mmio", "config/passthrough-mmio", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "passthrough-mmio", "Memory ranges of the host" },
        { "passthrough-io", "config/passthrough-io", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "passthrough-io", "I/O ports of the host" },
        { "vkbd", "config/vkbd", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "vkbd", "PV keyboard and mouse" },
        { "vsnd", "config/vsnd", VMKEY_BOOL, 0, "false", NULL, VMKEY_EFFECT_CONFIG, "vsnd", "PV sound" },
        { "argo", "config/argo", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "v4v", "Inter-domain communication device" },
        { "extra-hvm", "config/extra-hvm", VMKEY_LIST, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "extra-hvm", "More arguments of the device model" },
        { "extra-xenvm", "config/extra-xenvm", VMKEY_LIST, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, NULL, "More lines of the monitor's configuration" },
        { "cpuid", "cpuid", VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_CONFIG, "cpuid", "CPUID responses, separated by ;" },
        { "xci-cpuid-signature", "xci-cpuid-signature", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "xci-cpuid-signature", "CPUID signature of XenClient" },
        { "restrict-display-depth", "restrict-display-depth", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "platform", "Limits the colour depth of the emulated VGA" },
        { "restrict-display-res", "restrict-display-res", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "platform", "Limits the resolution of the emulated VGA" },
        { "stubdom", "stubdom", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_CONFIG, "stubdom", "Device model in a domain of its own; hvm only" },
        { "stubdom-memory", "config/stubdom-memory", VMKEY_INT, VMKEY_UNRESTRICTED, "96", NULL,
          VMKEY_EFFECT_CONFIG, "stubdom-memory", "Memory of the stub domain in MiB" },
        { "stubdom-cmdline", "config/stubdom-cmdline", VMKEY_TEXT, VMKEY_UNRESTRICTED | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "stubdom-cmdline", "Kernel command line of the stub domain" },
        { "stub_domid", NULL, VMKEY_INT, VMKEY_READ_ONLY | VMKEY_UNRESTRICTED, "-1", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Number of the stub domain" },
        { "usb-enabled", "usb-enabled", VMKEY_BOOL, 0, "true", NULL, VMKEY_EFFECT_CONFIG, "usb", "PV USB" },
        { "usb-auto-passthrough", "usb-auto-passthrough", VMKEY_BOOL, 0, "true", NULL,
          VMKEY_EFFECT_STORED, NULL, "USB devices plugged in while the VM is shown are given to it" },
        { "usb-control", "usb-control", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_PROXY, NULL, "VM may talk to the USB daemon" },
        { "usb-grab-devices", "usb-grab-devices", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "VM takes all USB devices" },
        { "wireless-control", "wireless-control", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_PROXY, NULL, "VM may control wireless networks" },
        { "domstore-read-access", "domstore-read-access", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_PROXY, NULL, "VM may read its own part of the database" },
        { "domstore-write-access", "domstore-write-access", VMKEY_BOOL, VMKEY_ADMIN, "false", NULL,
          VMKEY_EFFECT_PROXY, NULL, "VM may write its own part of the database" },
        { "ovf-transport-iso", "ovf-transport-iso", VMKEY_BOOL, 0, "false", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "CD image with the OVF environment" },
        { "crypto-user", "crypto-user", VMKEY_TEXT, VMKEY_OPTIONAL | VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "User whose vault must be open" },
        { "crypto-key-dirs", "crypto-key-dirs", VMKEY_TEXT, VMKEY_HOST_ONLY, "", NULL,
          VMKEY_EFFECT_CONFIG, "disk", "Folders of disk keys, separated by commas" },
        /* Policies */
        { "policy-cd-access", "policies/cd-access", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "CD drives of the host allowed" },
        { "policy-cd-recording", "policies/cd-rec", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Recording on CD drives of the host allowed" },
        { "policy-audio-access", "policies/audio-access", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Sound allowed" },
        { "policy-audio-recording", "policies/audio-rec", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Sound recording allowed" },
        { "policy-wired-networking", "policies/wired-networking", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Wired networks allowed" },
        { "policy-wireless-networking", "policies/wireless-networking", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Wireless networks allowed" },
        { "policy-modify-vm-settings", "policies/modify-vm-settings", VMKEY_BOOL, POLICY, "true", NULL,
          VMKEY_EFFECT_MANAGER, NULL, "Changes of the VM's settings allowed" },
        { "policy-print-screen", "policies/print-screen-disallowed", VMKEY_BOOL,
          POLICY | VMKEY_SILENT | VMKEY_INVERTED, "false", NULL,
          VMKEY_EFFECT_STORED, NULL, "Screen shots allowed" },
        /* Computed */
        { "acpi-state", NULL, VMKEY_INT, VMKEY_READ_ONLY, "5", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "ACPI power state: 0 on, 3 asleep, 4 hibernated, 5 off" },
        { "autostart-pending", NULL, VMKEY_BOOL, VMKEY_READ_ONLY, "false", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Waits in the queue of autostart" },
        { "cd", NULL, VMKEY_TEXT, 0, "", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "File in the virtual CD drive, below iso-path" },
        { "domid", NULL, VMKEY_INT, VMKEY_READ_ONLY, "-1", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Number of the running domain" },
        { "mac", NULL, VMKEY_TEXT, VMKEY_READ_ONLY, "", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "MAC address of the first nic" },
        { "private-space", NULL, VMKEY_INT, VMKEY_READ_ONLY, "0", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Size of the disk files in MiB" },
        { "state", NULL, VMKEY_TEXT, VMKEY_READ_ONLY, "stopped", NULL, VMKEY_EFFECT_COMPUTED, NULL, "Public state" },
        { "wired-network", NULL, VMKEY_TEXT, VMKEY_UNCHECKED, "", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Network of the first nic without wireless driver" },
        { "wireless-network", NULL, VMKEY_TEXT, VMKEY_UNCHECKED, "", NULL,
          VMKEY_EFFECT_COMPUTED, NULL, "Network of the first nic with wireless driver" },
        { 0 },
};

const size_t n_vm_keys = ELEMENTSOF(vm_keys) - 1;

const VmKey *vm_key_find(const char *property)
{
        for (const VmKey *k = vm_keys; k->property; k++)
                if (streq(k->property, property))
                        return k;
        return NULL;
}

const VmKey *vm_key_of_path(const char *path)
{
        for (const VmKey *k = vm_keys; k->property; k++) {
                const char *rest = k->path ? startswith(path, k->path) : NULL;

                if (rest && (!*rest || *rest == '/'))
                        return k;
        }
        return NULL;
}

const char *vm_key_signature(const VmKey *k)
{
        static const char *const signatures[] = { [VMKEY_BOOL] = "b", [VMKEY_INT] = "i",  [VMKEY_TEXT] = "s",
                                                  [VMKEY_ENUM] = "s", [VMKEY_LIST] = "s", [VMKEY_PATHS] = "ao" };

        return signatures[k->type];
}

int schema_parse_int(const char *s, int64_t *ret)
{
        char *end;
        long long v;

        while (isspace((unsigned char) *s))
                s++;
        /* No octal: a leading zero is decimal, as the database's writers mean it. */
        const char *digits = *s == '-' ? s + 1 : s;
        bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');

        if (!isdigit((unsigned char) *digits) || (hex && !isxdigit((unsigned char) digits[2])))
                return -EINVAL;
        errno = 0;
        v = strtoll(s, &end, hex ? 16 : 10);
        if (errno != 0)
                return -EINVAL;
        while (isspace((unsigned char) *end))
                end++;
        if (*end)
                return -EINVAL;
        *ret = v;
        return 0;
}

bool vm_key_check(const VmKey *k, const char *text, const char **ret_why)
{
        int64_t i;
        bool b;

        switch (k->type) {
        case VMKEY_BOOL:
                *ret_why = "true or false";
                return parse_bool(text, &b) >= 0;
        case VMKEY_INT:
                *ret_why = "a whole number of 32 bits";
                return schema_parse_int(text, &i) >= 0 && i >= INT32_MIN && i <= INT32_MAX;
        case VMKEY_ENUM:
                *ret_why = k->choices;
                return words_contain(k->choices, text);
        default:
                *ret_why = "text";
                return true;
        }
}

/* "<word>/<n>/<leaf>" with the leaf in choices, and n as we write numbers. */
static bool is_record_leaf(const char *path, const char *record, const char *leaves, const char **ret_leaf)
{
        const char *n = startswith(path, record);
        size_t digits = n ? strspn(n, "0123456789") : 0;

        if (!digits || digits > 9 || (digits > 1 && *n == '0') || n[digits] != '/' || !words_contain(leaves, n + digits + 1))
                return false;
        *ret_leaf = n + digits + 1;
        return true;
}

bool vm_path_guest_may_write(const char *path, const char *untrusted_value)
{
        const VmKey *k = vm_key_of_path(path);
        const char *leaf;

        if (k)
                return streq(path, k->path) && !(k->flags & (VMKEY_HOST_ONLY | VMKEY_ADMIN));
        if (is_record_leaf(path, "config/nic/", "id network wireless-driver enable mac model", &leaf))
                return true;
        if (!is_record_leaf(path, "config/disk/", "path type mode device devtype snapshot enable", &leaf))
                return false;
        if (streq(leaf, "type"))
                return !streq(untrusted_value, "phy");
        if (!streq(leaf, "path") || !*untrusted_value)
                return true;
        return startswith(untrusted_value, "/storage/") && !strstr(untrusted_value, "/../") &&
               !endswith(untrusted_value, "/..");
}
