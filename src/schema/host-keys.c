/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-keys.h"

#define ACTIONS "sleep hibernate shutdown forced-shutdown idle-shutdown reboot nothing"

#define ROW(property, path, type, flags, fallback, effect, text)                                   \
        { property, path, VMKEY_##type, flags, fallback, NULL, VMKEY_EFFECT_##effect, NULL, text }

#define RO VMKEY_READ_ONLY
#define UI HOSTKEY_UI
#define SIGNAL HOSTKEY_SIGNAL
#define HOST VMKEY_HOST_ONLY
#define OFF_FILE HOSTKEY_FILE | VMKEY_INVERTED | HOST

const VmKey host_keys[] = {
        ROW("argo-firewall", "/xenmgr/argo-firewall", BOOL, HOST, "true", STORED, "Inter-domain firewall is on"),
        ROW("argo-hosts-file", "/xenmgr/argo-hosts-file", BOOL, SIGNAL, "true", STORED,
            "Service VMs are in /etc/hosts"),
        ROW("autolock-cd-drives", "/xenmgr/autolock-cd-drives", BOOL, 0, "true", STORED,
            "VMs may lock CD drives themselves"),
        ROW("autostart", "/xenmgr/autostart", BOOL, SIGNAL, "true", MANAGER, "VMs are started when the host boots"),
        ROW("bypass-sha1sum-checks", "/xenmgr/bypass-sha1sum-checks", BOOL, RO, "false", MANAGER,
            "Hashes of disks are not compared"),
        ROW("configurable-save-changes-across-reboots", "configurable-save-changes-across-reboots", BOOL,
            RO | HOSTKEY_CAPS, "true", STORED, "UI may offer snapshots"),
        ROW("connect-remote-desktop-allowed", "/xenmgr/uiConnectRemoteDesktopAllowed", BOOL, SIGNAL, "true", STORED,
            "UI may offer remote desktops"),
        ROW("dom0-mem-target-mib", "/dom0-mem-target-mib", INT, 0, "256", STORED,
            "Memory of the host's own domain in MiB"),
        ROW("enable-argo-ssh", "/config/etc/ssh/argo_not_to_be_run", BOOL, OFF_FILE, "true", STORED,
            "ssh between domains"),
        ROW("enable-dom0-networking", "/config/system/dom0-networking-disabled", BOOL, OFF_FILE, "true", STORED,
            "Networks of the host itself"),
        ROW("enable-ssh", "/config/etc/ssh/sshd_not_to_be_run", BOOL, OFF_FILE, "true", STORED, "ssh to the host"),
        ROW("guest-only-networking", "/xenmgr/guest-only-networking", BOOL, RO, "false", STORED,
            "Networks are for guests only"),
        ROW("iso-path", "/xenmgr/isos", TEXT, SIGNAL | HOST, "/storage/isos", MANAGER, "Folder of CD images"),
        ROW("measure-fail-action", "/xenmgr/measure-fail-action", TEXT, SIGNAL | HOST, "forced-shutdown", STORED,
            "What follows a changed disk of a measured VM: " ACTIONS),
        ROW("ota-upgrades-allowed", "/ota-upgrades-disallowed", BOOL, SIGNAL | VMKEY_INVERTED | HOSTKEY_REMOVE | HOST,
            "false", STORED, "Upgrades over the network"),
        ROW("platform-crypto-key-dirs", "/xenmgr/platform-crypto-key-dirs", TEXT, SIGNAL | HOST,
            "/config/platform-crypto-keys", CONFIG, "Folders of disk keys of the platform, separated by commas"),
        ROW("pvm-autostart-delay", "/xenmgr/pvm-autostart-delay", INT, SIGNAL, "0", STORED, "Not used"),
        ROW("secondary-gpu-pt", "secondary-gpu-pt", BOOL, RO | HOSTKEY_CAPS, "true", STORED,
            "Secondary GPUs may be passed through"),
        ROW("svm-autostart-delay", "/xenmgr/svm-autostart-delay", INT, SIGNAL, "0", MANAGER,
            "Seconds after each autostarted VM"),
        ROW("use-networking-domain", NULL, BOOL, RO, "true", COMPUTED, "Networks are served by VMs"),
        ROW("vm-creation-allowed", "/vm-create-disallowed", BOOL, SIGNAL | VMKEY_INVERTED | HOSTKEY_REMOVE | HOST,
            "false", MANAGER, "VMs may be created"),
        ROW("vm-deletion-allowed", "/vm-delete-disallowed", BOOL, SIGNAL | VMKEY_INVERTED | HOSTKEY_REMOVE | HOST,
            "false", MANAGER, "VMs may be deleted"),
        ROW("xc-diag-timeout", "/xenmgr/xc-diag-timeout", INT, SIGNAL, "180", MANAGER,
            "Seconds for guests to send diagnostics"),

        ROW("idle-time-threshold", NULL, INT, UI | SIGNAL, "0", COMPUTED, "Always 0"),
        ROW("language", NULL, TEXT, UI, "en-us", MANAGER, "Language of the UI"),
        ROW("modify-advanced-vm-settings", "/xenmgr/uiModifyAdvancedVmSettings", BOOL, UI | SIGNAL, "true", STORED,
            "UI shows advanced settings of VMs"),
        ROW("modify-services", "/xenmgr/uiModifyServices", BOOL, UI | SIGNAL, "true", STORED,
            "UI may change service VMs"),
        ROW("modify-settings", "/xenmgr/uiModifySettings", BOOL, UI | SIGNAL, "true", STORED, "UI may change settings"),
        ROW("modify-usb-settings", "/xenmgr/uiModifyUsbSettings", BOOL, UI | SIGNAL, "true", STORED,
            "UI may change USB settings"),
        ROW("pointer-trail-timeout", "/xenmgr/pointerTrailTimeout", INT, UI | SIGNAL | HOSTKEY_MSEC, "0", STORED,
            "Milliseconds of the pointer's trail"),
        ROW("show-mboot-warning", "/xenmgr/showMbootWarning", BOOL, UI | SIGNAL, "true", STORED,
            "Warn of failed measured boot"),
        ROW("show-msg-on-no-disk", "/xenmgr/showMsgOnNoDisk", BOOL, UI | SIGNAL, "true", STORED,
            "Tell of VMs without disk"),
        ROW("show-msg-on-vm-start", "/xenmgr/showMsgOnVmStart", BOOL, UI | SIGNAL, "true", STORED,
            "Tell of a VM's start"),
        ROW("show-msg-on-vm-start-tools-warning", "/xenmgr/showMsgOnVmStartToolsWarning", BOOL, UI | SIGNAL, "true",
            STORED, "Warn of missing tools at a VM's start"),
        ROW("show-tools-warning", "/xenmgr/showToolsWarning", BOOL, UI | SIGNAL, "true", STORED,
            "Warn of missing tools"),
        ROW("supported-languages", NULL, PATHS, UI | RO, "", COMPUTED, "Languages of the UI"),
        ROW("switcher-enabled", "/switcher/enabled", BOOL, UI, "true", STORED, "Switcher bar"),
        ROW("switcher-keyboard-follows-mouse", "/switcher/keyboard_follows_mouse", BOOL, UI, "false", STORED,
            "Keyboard goes where the pointer is"),
        ROW("switcher-resistance", "/switcher/resistance", INT, UI, "10", STORED, "Resistance of the screen's edge"),
        ROW("switcher-self-switch-enabled", "/switcher/self-switch-disabled", BOOL, UI | VMKEY_INVERTED, "true", STORED,
            "Switching to the VM that is shown"),
        ROW("switcher-status-report-enabled", "/switcher/status-report-enabled", BOOL, UI, "true", STORED,
            "Status reports from the switcher"),
        ROW("view-type", "/xenmgr/viewType", TEXT, UI | SIGNAL, "", STORED, "View of the UI"),
        ROW("wallpaper", "/xenmgr/wallpaper", TEXT, UI | SIGNAL, "images/wallpapers/s9.png", STORED,
            "Wallpaper of the UI"),
        { 0 },
};

const size_t n_host_keys = ELEMENTSOF(host_keys) - 1;
