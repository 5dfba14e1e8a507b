#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees as OpenXT wrote them, put into the database behind xenmgr's back: each kind of node and record read through D-Bus."""
import json
import os
import signal

import dbus

import oxt
from xenmgr import PROPERTIES, XM, key_table, with_host

VM, DISK, NIC = XM + ".vm", "com.citrix.xenclient.vmdisk", "com.citrix.xenclient.vmnic"
UUID = "6f1c2d3e-4a5b-4c6d-8e7f-001122334455"
PATH = "/vm/" + UUID.replace("-", "_")
# What is read where nothing is stored; all others read false, 0 or "".
DEFAULTS = {
    "type": "svm", "os": "unknown", "show-switcher": True, "ready": True, "s3-mode": "pv", "s4-mode": "pv",
    "greedy-pciback-bind": True, "virt-type": "pv", "hpet": True, "timer-mode": "no_delay_for_missed_ticks",
    "bios": "seabios", "authenforce": True, "hdtype": "ide", "qemu-dm-path": "/opt/xensource/libexec/qemu-dm-wrapper",
    "qemu-dm-timeout": 30, "usb-enabled": True, "usb-auto-passthrough": True, "stubdom-memory": 96, "stub_domid": -1,
    "domid": -1, "acpi-state": 5, "seamless-mouse-left": -1, "seamless-mouse-right": -1, "state": "stopped", "uuid": UUID,
    "policy-cd-access": True, "policy-cd-recording": True, "policy-audio-access": True, "policy-audio-recording": True,
    "policy-wired-networking": True, "policy-wireless-networking": True, "policy-modify-vm-settings": True,
    "policy-print-screen": True, "dependencies": [],
}
# Properties whose value is more than their node.
MORE_THAN_THE_NODE = {"stubdom", "gpu", "seamless-traffic"}


def inject(host, tree, uuid=UUID):
    host.db("inject", "/vm/" + uuid, json.dumps(dict(tree, uuid=uuid)))
    host.wait_signal("vm_created", uuid)


def put(tree, path, value):
    names = path.split("/")
    for name in names[:-1]:
        tree = tree.setdefault(name, {})
    tree[names[-1]] = value


def native(value):
    return [str(v) for v in value] if isinstance(value, list) else value


@with_host
def nothing_stored(host):
    """A VM of which only the uuid is stored reads every property, with the defaults of the table."""
    inject(host, {})
    for interface in (VM, VM + ".unrestricted"):
        for name, value in host.call(PATH, PROPERTIES, "GetAll", interface).items():
            wanted = DEFAULTS.get(str(name), type(value)())
            assert native(value) == wanted, (name, value, wanted)


@with_host
def each_key(host):
    """Every key in each of the forms in which OpenXT's programs wrote it."""
    rows = [r for r in key_table() if r["path"] and r["property"] not in MORE_THAN_THE_NODE]
    assert len(rows) > 120
    for turn in range(4):
        tree, wanted = {}, {}
        for row in rows:
            inverted = "inverted" in row["flags"]
            if row["signature"] == "b":
                text = ("true", "false", "yes", "0")[turn]
                value = (text in ("true", "yes")) != inverted
            elif row["signature"] == "i":
                text, value = (("7", 7), ("0x1f", 31), (" 12 ", 12), ("3", 3))[turn]
            elif row["choices"] == "list":
                text, value = (({"0": "a"}, "a"), ({str(i): "i%d" % i for i in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9, 11)},
                                                   ";".join("i%d" % i for i in range(12))), ({"1": "b", "0": "a"}, "a;b"), ({}, ""))[turn]
            elif row["choices"]:
                words = row["choices"].split()
                text = value = words[turn % len(words)]
            else:
                text = value = ("a", "\u00e9\u00fc \u2603", "with: 'quotes' \"and\" \\", "x" * 4000)[turn]
            put(tree, row["path"], text)
            wanted[row["property"]] = value
        tree.pop("crypto-user", None)  # a vault would make the state "locked"
        wanted["crypto-user"] = ""
        tree.pop("native-experience", None)  # it forces others
        wanted["native-experience"] = False
        inject(host, tree)
        have = {**host.call(PATH, PROPERTIES, "GetAll", VM + ".unrestricted"), **host.call(PATH, PROPERTIES, "GetAll", VM)}
        for name, value in wanted.items():
            assert have[name] == value, (turn, name, have[name], value)
        host.db("rm", "/vm/" + UUID)
        host.wait_signal("vm_deleted", UUID)
        host.signals.clear()


@with_host
def disks(host):
    """Disk records: every type, mode, snapshot and kind, a hole in the numbers, sums, and what is missing."""
    types = "file phy qcow vdi aio vhd raw".split()
    snapshots = "temporary temporary-encrypted coalesce scripted scripted-author scripted-no-snapshot".split()
    records = {}
    for i, kind in enumerate(types):
        records[str(3 * i)] = {"path": "/storage/disks/%s" % kind, "type": kind, "mode": "rw"[i % 2], "device": "xvd" + chr(97 + i),
                               "devtype": ("disk", "cdrom")[i % 2], "shared": ("true", "0")[i % 2], "enable": ("no", "1")[i % 2]}
        if i < len(snapshots):
            records[str(3 * i)]["snapshot"] = snapshots[i]
        if i < 3:
            records[str(3 * i)]["managed-disktype"] = ("system", "application", "user")[i]
    records["1"] = {"sha1sum": "0" * 40, "type": "vhd", "mode": "r", "devtype": "disk", "path": "/x", "device": "hdc"}
    inject(host, {"config": {"disk": records}})
    listed = [str(p) for p in host.call(PATH, VM, "list_disks")]
    assert listed == [PATH + "/disk/%d" % n for n in sorted(map(int, records))], listed
    for number, record in records.items():
        have = host.call(PATH + "/disk/" + number, PROPERTIES, "GetAll", DISK)
        assert have == {
            "backend-name": "", "backend-uuid": "", "devtype": record["devtype"], "enabled": record.get("enable", "1") == "1",
            "encryption-key-set": False, "managed-disktype": record.get("managed-disktype", ""), "mode": record["mode"],
            "phys-path": record["path"], "phys-type": record["type"], "shared": record.get("shared", "0") == "true",
            "snapshot": record.get("snapshot", "none"), "utilization-bytes": 0, "virt-path": record["device"],
            "virtual-size-mb": 0}, (number, have)
    assert host.get(PATH, VM, "cd") == "x", "the disk named hdc is the CD"
    assert str(host.call(PATH, VM, "add_disk")) == PATH + "/disk/19", "one more than the last"


@with_host
def nics(host):
    """Nic records: old names of networks, optional leaves, backends by uuid and name, numbers with holes."""
    inject(host, {"name": "server"}, "11111111-2222-3333-4444-555555555555")
    server = "/vm/11111111_2222_3333_4444_555555555555"
    records = {"0": {}, "2": {"network": "brbridged"}, "3": {"network": "brshared"}, "5": {"network": "brwireless"},
               "7": {"network": "brinternal"}, "8": {"id": "8", "network": "/any/0", "wireless-driver": "true", "enable": "false",
                                                     "mac": "00:16:3e:01:02:03", "model": "rtl8139", "backend-name": "server"},
               "9": {"network": "/wired/1/bridged", "backend-uuid": "11111111-2222-3333-4444-555555555555"}}
    inject(host, {"config": {"nic": records}})
    assert [str(p) for p in host.call(PATH, VM, "list_nics")] == [PATH + "/nic/" + n for n in records]
    networks = ["/wired/0/bridged", "/wired/0/bridged", "/wired/0/shared", "/wifi/0/shared", "/internal", "/any/0", "/wired/1/bridged"]
    for (number, record), network in zip(records.items(), networks):
        have = host.call(PATH + "/nic/" + number, PROPERTIES, "GetAll", NIC)
        actual = str(have.pop("mac-actual"))
        assert have == {"backend-name": record.get("backend-name", ""), "backend-uuid": record.get("backend-uuid", ""),
                        "enabled": "enable" not in record, "mac": record.get("mac", "auto"), "model": record.get("model", "e1000"),
                        "network": network, "wireless-driver": "wireless-driver" in record}, (number, have)
        assert actual == record["mac"] if "mac" in record else len(actual) == 17 and int(actual[1], 16) & 2
    assert host.get(PATH + "/nic/0", NIC, "mac-actual") == "86:d6:8e:3c:40:aa"
    assert [str(p) for p in host.get(PATH, VM, "dependencies")].count(server) == 1
    assert host.get(PATH, VM, "wired-network") == "/wired/0/bridged" and host.get(PATH, VM, "wireless-network") == "/any/0"
    assert str(host.call(PATH, VM, "add_nic")) == PATH + "/nic/10"


@with_host
def other_records(host):
    """PCI rules, both kinds of firewall rules, product properties, policies, and a managed VM's disks."""
    vhd = str(host.call("/", XM, "create_vhd", 1))
    inject(host, {
        "config": {"pci": {"0": {"class": "0x0200", "force-slot": "false"}, "4": {"vendor": "32902", "device": "0x1234"},
                           "9": {"bdf": "0000:00:1b.0@1f"}},
                   "disk": {"0": {"path": vhd, "type": "vhd", "mode": "w", "devtype": "disk", "device": "hda"}}},
        "argo-firewall-rules": {"1": "myself -> 0:22", "0": "0:15555 -> myself:5555", "10": "myself -> *", "2": "my-stubdom -> 0:5100"},
        "rpc-firewall-rules": {"0": "allow all"},
        "firewall-rule": {"7": {"direction": "out", "remote-ip": "10.1.2.3", "extra": "--dport 80"}},
        "policies": {"cd-access": "false", "audio-rec": "0", "print-screen-disallowed": "true", "wired-networking": "yes"},
        "productproperty": {"c.k.1": {"key": "k", "class": "c", "instance": "1", "type": "String", "description": "d",
                                      "userconfigurable": "true", "password": "true", "value": "v"}, "odd": {"value": "x"}},
        "backend": {"state": "1"}})
    assert [(str(r["id"]), str(r["rule"])) for r in host.call(PATH, VM + ".pci", "list_pt_rules")] == [
        ("0", "match class=0x0200  "), ("4", "match  vendor=0x8086 device=0x1234"), ("9", "bdf=0000:00:1b.0 @ 31")]
    host.call(PATH, VM + ".pci", "add_pt_rule_bdf", "0000:00:02.0")
    assert str(host.call(PATH, VM + ".pci", "list_pt_rules")[-1]["id"]) == "10"
    assert [str(r) for r in host.call(PATH, VM, "list_argo_firewall_rules")] == [
        "0:15555 -> myself:5555", "myself -> 0:22", "my-stubdom -> 0:5100", "myself -> *"], "by their numbers"
    assert host.call(PATH, VM, "list_net_firewall_rules") == [
        {"id": "7", "direction": "out", "remote-ip": "10.1.2.3", "extra": "--dport 80"}]
    assert host.call(PATH, VM + ".product", "list_product_properties") == [
        {"id": "c.k.1", "type": "String", "key": "k", "class": "c", "instance": "1", "label": "", "description": "d",
         "user-configurable": "true", "password": "true"}]
    assert host.call("/", "com.citrix.xenclient.policy", "retrieve", UUID) == "block-cd-access;block-audio-rec"
    assert not host.get(PATH, VM, "policy-print-screen") and host.get(PATH, VM, "policy-wired-networking")
    host.call(PATH, VM, "delete")
    assert os.path.exists(host.stack.state + vhd), "a managed VM's disks stay"


class Behind:
    """Calls that reach xenmgr while the database halts, in this order; then it goes on."""

    def __init__(self, host):
        self.host, self.asked, self.answers = host, 0, []
        self.dbd = [p for p in host.stack.processes if p.args[0].endswith("/dbd")][-1]
        self.dbd.send_signal(signal.SIGSTOP)

    def call(self, *args):
        self.asked += 1
        self.host.call(*args, timeout=60, reply_handler=lambda *_: self.answers.append(""),
                       error_handler=lambda e: self.answers.append(e.get_dbus_message()))

    def go_on(self):
        """The texts of the errors, "" for those that succeeded. What was told before is forgotten."""
        try:
            self.host.call("/", XM, "list_vms")  # behind all of them
            self.host.turn()
            self.early, self.host.signals[:] = list(self.host.signals), []
        finally:
            self.dbd.send_signal(signal.SIGCONT)
        oxt.wait_for(lambda: (self.host.turn(), len(self.answers) == self.asked)[1], 60, "the answers")
        return self.answers


@with_host
def behind_a_deletion(host):
    """What is written behind a deletion brings nothing back: no disk of one leaf, no VM of one key."""
    uuid = "6f1c2d3e-4a5b-4c6d-8e7f-001122334456"
    inject(host, {"productproperty": {"k": {"key": "k", "type": "String", "value": "v"}},
                  "config": {"disk": {"0": {"path": "/dev/null", "type": "phy", "mode": "w", "devtype": "disk"}}, "nic": {"0": {"id": "0"}}}},
           uuid)
    vm = "/vm/" + uuid.replace("-", "_")
    behind = Behind(host)
    for kind, interface in (("/disk/0", DISK), ("/nic/0", NIC)):
        behind.call(vm + kind, interface, "delete")
        behind.call(vm + kind, PROPERTIES, "Set", interface, "enabled", False)
    answers = behind.go_on()
    assert [a[:4] for a in answers] == ["", "206:", "", "222:"], answers
    assert host.db("list", "/vm/%s/config/disk" % uuid) == [] == host.db("list", "/vm/%s/config/nic" % uuid)

    behind = Behind(host)
    behind.call(vm, VM, "delete")
    for key, value in (("description", "late"), ("slot", dbus.Int32(3)), ("native-experience", True), ("extra-hvm", "a;b"),
                       ("memory-min", dbus.Int32(64)), ("policy-cd-access", False)):
        behind.call(vm, PROPERTIES, "Set", VM, key, value)
    behind.call(vm, VM, "set_db_key", "config.display", "late")
    behind.call(vm, VM, "set_domstore_key", "a", "late")
    behind.call(vm, VM, "add_argo_firewall_rule", "myself -> *")
    behind.call(vm, VM, "add_net_firewall_rule", dbus.Int32(1), "in", "10.0.0.1", "")
    behind.call(vm, VM + ".pci", "add_pt_rule", "0x0200", "any", "any")
    behind.call(vm, VM + ".product", "set_product_property", "k", "late")
    behind.call("/", "com.citrix.xenclient.policy", "enforce", uuid, "block-cd-access")
    behind.call("/", XM, "create_vm_with_template_and_uuid", "new-vm-empty", uuid)
    behind.call(vm, VM, "add_disk")
    behind.call(vm, VM, "add_nic")
    answers = behind.go_on()
    assert [a[:4] for a in answers if a and "in use" not in a] == ["206:", "222:"] and answers.count("") == behind.asked - 3, answers
    assert not host.db("exists", "/vm/" + uuid) and not host.db("exists", "/dom-store/" + uuid)
    host.call("/", XM, "list_vms")
    host.turn()
    assert [s[0] for s in host.signals if s[1:2] == (uuid,)] == ["vm_deleted"], host.signals


@with_host
def image_after_record(host):
    """The image of a deleted disk goes once its record has left the database, also where xenmgr was killed in between, and no other disk has it."""
    vm = host.create()

    def disk(path=None):
        record, path = str(host.call(vm, VM, "add_disk")), path or str(host.call("/", XM, "create_vhd", 1))
        host.call(record, DISK, "attach_vhd", path)
        return record, path, host.stack.state + path
    (first, _, image), (second, _, other), (third, path, shared) = disk(), disk(), disk()
    fourth = disk(path)[0]
    host.call(third, DISK, "delete")
    assert os.path.exists(shared), "another disk of the VM has it"
    host.call(fourth, DISK, "delete")
    assert not os.path.exists(shared)
    behind = Behind(host)
    behind.call(first, DISK, "delete")
    host.call("/", XM, "list_vms")
    assert os.path.exists(image), "its record may stay"
    assert behind.go_on() == [""] and not os.path.exists(image)
    behind = Behind(host)
    behind.call(second, DISK, "delete")
    host.call("/", XM, "list_vms")
    host.manager.kill()
    host.manager.wait()
    behind.dbd.send_signal(signal.SIGCONT)
    record = "/vm/%s/config/disk/1" % vm.split("/")[2].replace("_", "-")
    oxt.wait_for(lambda: not host.db("exists", record), what="the record's end")
    assert os.path.exists(other)
    host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
    oxt.wait_for(lambda: not os.path.exists(other), what="the end of what was begun")


@with_host
def settings_of_the_host(host):
    """Host-wide settings: their defaults, and each node in the form in which OpenXT wrote it."""
    config = {
        "argo-firewall": True, "argo-hosts-file": True, "autolock-cd-drives": True, "autostart": True,
        "bypass-sha1sum-checks": False, "configurable-save-changes-across-reboots": True,
        "connect-remote-desktop-allowed": True, "dom0-mem-target-mib": 256, "enable-argo-ssh": True,
        "enable-dom0-networking": True, "enable-ssh": True, "guest-only-networking": False, "iso-path": "/storage/isos",
        "measure-fail-action": "forced-shutdown", "ota-upgrades-allowed": True,
        "platform-crypto-key-dirs": "/config/platform-crypto-keys", "pvm-autostart-delay": 0, "secondary-gpu-pt": True,
        "svm-autostart-delay": 0, "use-networking-domain": True, "vm-creation-allowed": True, "vm-deletion-allowed": True,
        "xc-diag-timeout": 180}
    ui = {
        "idle-time-threshold": 0, "language": "en-us", "modify-advanced-vm-settings": True, "modify-services": True,
        "modify-settings": True, "modify-usb-settings": True, "pointer-trail-timeout": 0, "show-mboot-warning": True,
        "show-msg-on-no-disk": True, "show-msg-on-vm-start": True, "show-msg-on-vm-start-tools-warning": True,
        "show-tools-warning": True, "supported-languages": ["en-us"], "switcher-enabled": True,
        "switcher-keyboard-follows-mouse": False, "switcher-resistance": 10, "switcher-self-switch-enabled": False,
        "switcher-status-report-enabled": True, "view-type": "", "wallpaper": "images/wallpapers/s9.png"}
    assert not host.get("/", XM + ".config", "autolock-cd-drives"), "the database that is shipped says so"
    for path in ("/xenmgr", "/power-management", "/switcher"):
        host.db("rm", path)
    oxt.wait_for(lambda: host.get("/", XM + ".config", "autolock-cd-drives"))
    for interface, wanted in ((XM + ".config", config), (XM + ".config.ui", ui)):
        have = {str(k): native(v) for k, v in host.call("/", PROPERTIES, "GetAll", interface).items()}
        assert have == wanted, {k: (have.get(k), wanted.get(k)) for k in {*have, *wanted} if have.get(k) != wanted.get(k)}
    for path, text, interface, name, value in (
            ("/xenmgr/isos", "/storage/other", ".config", "iso-path", "/storage/other"),
            ("/xenmgr/autostart", "no", ".config", "autostart", False),
            ("/xenmgr/svm-autostart-delay", "0x10", ".config", "svm-autostart-delay", 16),
            ("/xenmgr/bypass-sha1sum-checks", "1", ".config", "bypass-sha1sum-checks", True),
            ("/xenmgr/uiConnectRemoteDesktopAllowed", "false", ".config", "connect-remote-desktop-allowed", False),
            ("/xenmgr/pointerTrailTimeout", "1.5", ".config.ui", "pointer-trail-timeout", 1500),
            ("/xenmgr/showMsgOnNoDisk", "0", ".config.ui", "show-msg-on-no-disk", False),
            ("/xenmgr/uiModifyServices", "false", ".config.ui", "modify-services", False),
            ("/xenmgr/viewType", "grid", ".config.ui", "view-type", "grid"),
            ("/vm-create-disallowed", "true", ".config", "vm-creation-allowed", False),
            ("/vm-delete-disallowed", "true", ".config", "vm-deletion-allowed", False),
            ("/ota-upgrades-disallowed", "true", ".config", "ota-upgrades-allowed", False),
            ("/dom0-mem-target-mib", "512", ".config", "dom0-mem-target-mib", 512),
            ("/switcher/enabled", "false", ".config.ui", "switcher-enabled", False),
            ("/switcher/self-switch-disabled", "false", ".config.ui", "switcher-self-switch-enabled", True),
            ("/switcher/keyboard_follows_mouse", "yes", ".config.ui", "switcher-keyboard-follows-mouse", True),
            ("/switcher/resistance", "3", ".config.ui", "switcher-resistance", 3)):
        host.db("write", path, text)
        oxt.wait_for(lambda: host.get("/", XM + interface, name) == value, what=name)
    host.db("inject", "/extpack", json.dumps({"1": {"vendor": "v", "name": "n", "description": "d", "version": "2", "image": "i"}}))
    oxt.wait_for(lambda: host.call("/", XM, "list_extension_packs") == [
        {"id": "1", "vendor": "v", "name": "n", "description": "d", "version": "2", "image": "i"}])
    for node, getter, setter in (("ac-lid-close-action", "get_ac_lid_close_action", "set_ac_lid_close_action"),
                                 ("battery-lid-close-action", "get_battery_lid_close_action", "set_battery_lid_close_action")):
        assert host.call("/host", XM + ".powersettings", getter) == "nothing"
        host.db("write", "/power-management/" + node, "sleep")
        oxt.wait_for(lambda: host.call("/host", XM + ".powersettings", getter) == "sleep")
        for action, stored in (("hibernate", "hibernate"), ("explode", "nothing")):
            host.call("/host", XM + ".powersettings", setter, action)
            assert host.db("read", "/power-management/" + node) == stored


@with_host
def told_when_readable(host):
    """A setting of the host is told when its new value can be read, not before; and whoever wrote it."""
    read = {"config_changed": lambda: str(host.get("/", XM + ".config.ui", "wallpaper")),
            "license_changed": lambda: bool(host.get("/host", XM + ".host", "is-licensed"))}
    told = {name: [] for name in read}
    for name in read:
        host.bus.add_signal_receiver(lambda name=name: told[name].append(read[name]()), name)
    changed = []
    host.bus.add_signal_receiver(lambda: changed.append(1), "displayhandler_gpu_changed")
    assert host.get("/host", XM + ".host", "is-licensed")
    behind = Behind(host)
    behind.call("/", PROPERTIES, "Set", XM + ".config.ui", "wallpaper", "mine")
    behind.call("/host", XM + ".host", "set_license", "2001-01-01 00:00:00 UTC", "u", "h")
    behind.call("/host", XM + ".host", "set_displayhandler_gpu", "")
    assert behind.go_on() == ["", "", ""] and not behind.early, behind.early
    assert told == {"config_changed": ["mine"], "license_changed": [False]} and len(changed) == 1, (told, changed)

    def tells(name, wanted, *call):
        before = len(told[name])
        host.db(*call)
        oxt.wait_for(lambda: (host.turn(), told[name][before:] == [wanted])[1], what=str((name, call, told)))
    tells("config_changed", "theirs", "write", "/xenmgr/wallpaper", "theirs")
    tells("config_changed", "theirs", "write", "/vm-create-disallowed", "true")
    tells("config_changed", "theirs", "rm", "/vm-create-disallowed")
    tells("config_changed", "images/wallpapers/s9.png", "rm", "/xenmgr/wallpaper")
    tells("license_changed", True, "write", "/xenmgr/license/expiry", "2201-01-01 00:00:00 UTC")
    host.db("write", "/xenmgr/dh/gpu", "0000:01:00.0")
    oxt.wait_for(lambda: (host.turn(), len(changed) == 2)[1], what="the display handler's GPU")
    host.signals.clear()
    for _ in range(2):
        host.set("/", XM + ".config", "autostart", True)  # as it is: the setter tells all the same
    host.db("write", "/xenmgr/showNothing", "of no property")
    host.call("/", XM, "list_vms")
    host.turn()
    assert host.signals == [("config_changed",)] * 2, host.signals


if __name__ == "__main__":
    oxt.main()
