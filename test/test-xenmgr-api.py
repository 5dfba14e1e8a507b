#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenmgr's D-Bus API against the tables in test/data/xenmgr, on a live dbd and xenmgr."""
import json
import os
import subprocess
import tarfile
import time
import uuid as uuids
import xml.etree.ElementTree

import dbus
import dbus.lowlevel
import dbus.lowlevel

import oxt
from xenmgr import DB, PROPERTIES, XM, uuid_of, with_host

DATA = os.path.join(oxt.SOURCE, "test/data/xenmgr")


def table(name):
    with open(os.path.join(DATA, name)) as f:
        return [line.rstrip("\n").split("\t") for line in f if not line.startswith("#")]


API = table("dbus-api.tsv")


def args_text(arguments):
    return ",".join("%s:%s" % (a.get("name") or "", a.get("type")) for a in arguments)


@with_host
def introspection(host):
    """Every interface, member, signature, argument name and access of the table, and none beside."""
    vm = host.create()
    disk = str(host.call(vm, XM + ".vm", "add_disk"))
    nic = str(host.call(vm, XM + ".vm", "add_nic"))
    found = set()
    for path in ("/", "/host", vm, disk, nic):
        xml_text = host.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")
        for i in xml.etree.ElementTree.fromstring(str(xml_text)).iter("interface"):
            name = i.get("name")
            if not name.startswith("com.citrix"):
                continue
            for m in i.iter("method"):
                ins = [a for a in m.iter("arg") if a.get("direction") != "out"]
                outs = [a for a in m.iter("arg") if a.get("direction") == "out"]
                found.add((name, "method", m.get("name"), args_text(ins), args_text(outs), ""))
            for s in i.iter("signal"):
                found.add((name, "signal", s.get("name"), "", args_text(s.iter("arg")), ""))
            for p in i.iter("property"):
                found.add((name, "property", p.get("name"), "", p.get("type"), p.get("access")))
    wanted = {tuple((r + [""] * 6)[:6]) for r in API}
    assert not wanted - found, "missing: %s" % sorted(wanted - found)[:5]
    assert not found - wanted, "not in the table: %s" % sorted(found - wanted)[:5]


SPECIAL = {  # property: a good value that is not simply another text or number
    "virt-type": "pvh", "os": "linux", "s3-mode": "restart", "s4-mode": "ignore", "hdtype": "ahci",
    "timer-mode": "no_missed_ticks_pending", "extra-hvm": "a=1;b", "extra-xenvm": "debug=true;x=y",
}
NOT_READ_BACK = {"cd", "gpu", "wired-network", "wireless-network", "stubdom", "type"}


def value_for(name, kind, old):
    if kind == "b":
        return dbus.Boolean(not old)
    if kind == "i":
        return dbus.Int32(int(old) + 7 if int(old) >= 0 else 7)
    return dbus.String(SPECIAL.get(name, "text-" + name))


@with_host
def properties(host):
    """Every property of a VM is read, set, and read back; GetAll agrees with Get; others refuse to be set."""
    vm = host.create(tree={"type": "svm"})
    for interface in (XM + ".vm", XM + ".vm.unrestricted"):
        rows = [(r[2], r[4], r[5]) for r in API if r[0] == interface and r[1] == "property"]
        everything = host.call(vm, PROPERTIES, "GetAll", interface)
        assert set(everything) == {r[0] for r in rows}
        for name, kind, access in rows:
            old = host.get(vm, interface, name)
            assert old == everything[name] or name == "memory-target", (name, old, everything[name])
            if name in ("policy-modify-vm-settings", "native-experience"):
                continue
            if access == "read":
                error, text = host.fails(vm, PROPERTIES, "Set", interface, name, old)
                assert error == "Failed", (name, error, text)
                continue
            if name in NOT_READ_BACK:
                continue
            new = value_for(name, kind, old)
            host.set(vm, interface, name, new)
            assert host.get(vm, interface, name) == new, (name, new, host.get(vm, interface, name))
            everything = host.call(vm, PROPERTIES, "GetAll", interface)
    for interface, path in ((XM + ".config", "/"), (XM + ".config.ui", "/"), (XM + ".host", "/host")):
        for name, kind, access in [(r[2], r[4], r[5]) for r in API if r[0] == interface and r[1] == "property"]:
            old = host.get(path, interface, name)
            if access == "read" or name in ("language", "idle-time-threshold", "ui-ready"):
                continue
            new = dbus.String("sleep") if name == "measure-fail-action" else value_for(name, kind, old)
            host.set(path, interface, name, new)
            assert host.get(path, interface, name) == new, (name, new, host.get(path, interface, name))
        host.call(path, PROPERTIES, "GetAll", interface)


@with_host
def stored_values(host):
    """Values in the database are those of the contract, both ways; a bad one fails Get but not GetAll."""
    vm = host.create()
    root = "/vm/" + uuid_of(vm) + "/"
    host.set(vm, XM + ".vm", "extra-hvm", " usb ; ;vga=std")
    assert [str(x) for x in host.db("list", root + "config/extra-hvm")] == ["0", "1"]
    assert host.db("read", root + "config/extra-hvm/1") == "vga=std"
    host.set(vm, XM + ".vm", "name", "  My VM ")
    assert host.db("read", root + "name") == "My VM"
    host.set(vm, XM + ".vm", "policy-print-screen", False)
    assert host.db("read", root + "policies/print-screen-disallowed") == "true"
    host.set(vm, XM + ".vm", "run-pre-boot", "/bin/true")
    host.set(vm, XM + ".vm", "run-pre-boot", "")
    assert not host.db("exists", root + "run-pre-boot")
    host.set(vm, XM + ".vm", "memory", 512)
    assert host.get(vm, XM + ".vm", "memory-static-max") == 512
    for text, value in (("yes", True), ("0", False), ("1", True), ("no", False)):
        host.db("write", root + "config/acpi", text)
        assert oxt.wait_for(lambda: host.get(vm, XM + ".vm", "acpi") == value, what=text) is not None
    host.db("write", root + "config/vcpus", " 0x10 ")
    oxt.wait_for(lambda: host.get(vm, XM + ".vm", "vcpus") == 16)
    host.db("write", root + "config/vcpus", "abc")
    oxt.wait_for(lambda: "vcpus" in host.fails(vm, PROPERTIES, "Get", XM + ".vm", "vcpus")[1])
    assert host.call(vm, PROPERTIES, "GetAll", XM + ".vm")["vcpus"] == 0
    host.db("write", root + "os", "beos")
    oxt.wait_for(lambda: host.get(vm, XM + ".vm", "os") == "unknown")
    assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", "os", "beos")[1] == "unknown os"
    host.db("write", root + "type", "pvm")
    oxt.wait_for(lambda: host.get(vm, XM + ".vm", "type") == "svm")


@with_host
def overrides(host):
    """native-experience and the other computed values."""
    vm, other = host.create(tree={"slot": "2"}), host.create(tree={"slot": "3"})
    host.set(other, XM + ".vm", "native-experience", True)
    host.set(vm, XM + ".vm", "native-experience", True)
    assert host.get(other, XM + ".vm", "native-experience") == 0
    for name, value in (("start-on-boot", 1), ("show-switcher", 0), ("wireless-control", 1), ("usb-grab-devices", 1),
                        ("control-platform-power-state", 1)):
        assert host.get(vm, XM + ".vm", name) == value, name
    host.set(vm, XM + ".vm", "slot", 3)
    assert host.get(other, XM + ".vm", "slot") == 2, "the other VM gets the old slot"
    host.set(vm, XM + ".vm", "stubdom", True)
    assert host.get(vm, XM + ".vm", "stubdom") == 1
    host.set(vm, XM + ".vm", "virt-type", "pv")
    assert host.get(vm, XM + ".vm", "stubdom") == 0, "only hvm has a stub domain"
    assert host.get(vm, XM + ".vm", "acpi-state") == 5 and host.get(vm, XM + ".vm", "domid") == -1
    host.set(vm, XM + ".vm", "crypto-user", "nobody")
    assert host.get(vm, XM + ".vm", "state") == "locked"
    assert host.call(vm, XM + ".vm.auth", "auth_required") == 1


@with_host
def templates(host):
    """Every template gives exactly the tree of its table."""
    wanted = {}
    for name, key, value in table("templates.tsv"):
        wanted.setdefault(name, {})[key] = value
    listed = {str(t) for t in host.call("/", XM, "list_templates")}
    assert {t for t in wanted if not t.startswith("service-")} | {"oxt-demo"} == listed, listed

    def flat(tree, prefix=""):
        for k, v in tree.items():
            if isinstance(v, dict):
                yield from flat(v, prefix + k + "/")
            else:
                yield prefix + k, v

    for name, keys in wanted.items():
        path = str(host.call("/", XM, "create_vm_with_template_and_json", name,
                             json.dumps({"uuid": str(uuids.uuid4())})))
        have = dict(flat(json.loads(host.db("dump", "/vm/" + uuid_of(path)))))
        extra = {"uuid": uuid_of(path), "seamless-id": uuid_of(path), "name": keys.get("name", "name-" + uuid_of(path))}
        if "slot" not in keys:
            assert have.pop("slot")
        assert have == {**keys, **extra}, (name, {k: (have.get(k), v) for k, v in {**keys, **extra}.items() if have.get(k) != v})
    ui = {str(t["template"]): str(t["description"]) for t in host.call("/", XM, "list_ui_templates")}
    assert ui == {"new-vm": "Windows 7", "new-vm-windows8": "Windows 8/10", "new-vm-xp": "Windows XP",
                  "new-vm-linux": "Linux (Debian, Ubuntu)"}, ui
    # The two service VMs that are active by default
    for uuid, kind in (("00000000-0000-0000-0000-000000000001", "uivm"), ("00000000-0000-0000-0000-000000000002", "ndvm")):
        path = str(host.call("/", XM, "find_vm_by_uuid", uuid))
        assert host.get(path, XM + ".vm", "type") == kind


@with_host
def creation(host):
    """Merging, uuids, slots, names, policies and limits of creation; a failure leaves nothing behind."""
    before = len(host.call("/", XM, "list_vms"))
    for bad, text in ((("nothing-such", ""), "223:"), (("../default/new-vm", ""), "223:"), (("new-vm", "{"), "JSON"),
                      (("new-vm", "[]"), "JSON"), (("new-vm", '{"a/b": "c"}'), "JSON")):
        error, message = host.fails("/", XM, "create_vm_with_template_and_json", *bad)
        assert error == "Failed" and text in message, (bad, message)
    assert len(host.call("/", XM, "list_vms")) == before
    slots = []
    for _ in range(10):
        slots.append(int(host.get(host.create(), XM + ".vm", "slot")))
    assert slots == [1, 2, 3, 4, 5, 6, 7, 8, 9, -1], slots
    host.db("write", "/xenmgr/strict-slots", "true")
    oxt.wait_for(lambda: host.fails("/", XM, "create_vm")[1].startswith("205:"))
    path = str(host.call("/", XM, "create_vm_with_template_and_json", "new-vm", json.dumps(
        {"slot": "-1", "config": {"memory": "99", "x": {"y": "z"}}, "argo-firewall-rules": "none"})))
    assert host.get(path, XM + ".vm", "memory") == 99 and host.get(path, XM + ".vm", "boot") == "cd"
    assert host.db("read", "/vm/%s/argo-firewall-rules" % uuid_of(path)) == "none"
    uuid = "11111111-2222-3333-4444-555555555555"
    host.db("rm", "/xenmgr/strict-slots")
    host.db("inject", "/vm/" + uuid, json.dumps({"config": {"disk": {"0": {"sha1sum": "ab"}, "3": {"sha1sum": "cd"}}}}))
    path = str(host.call("/", XM, "create_vm_with_template_and_uuid", "new-vm", uuid))
    assert uuid_of(path) == uuid
    assert host.db("read", "/vm/%s/config/disk/0/sha1sum" % uuid) == "ab"
    assert host.db("read", "/vm/%s/config/disk/3/sha1sum" % uuid) == "cd", "a record with the sum alone"
    path = str(host.call("/", XM, "create_vm_with_ui", "new-vm-linux", "tux", "a description", "images/x.png"))
    assert [host.get(path, XM + ".vm", p) for p in ("name", "description", "image-path")] == ["tux", "a description", "images/x.png"]
    host.wait_signal("vm_created", uuid_of(path), path)
    host.set("/", XM + ".config", "vm-creation-allowed", False)
    assert host.fails("/", XM, "create_vm")[1].startswith("220:")
    assert host.db("read", "/vm-create-disallowed") == "true"
    path = str(host.call("/", XM + ".unrestricted", "unrestricted_create_vm"))
    host.set("/", XM + ".config", "vm-creation-allowed", True)
    assert not host.db("exists", "/vm-create-disallowed")
    host.set("/", XM + ".config", "vm-deletion-allowed", False)
    assert host.fails(path, XM + ".vm", "delete")[1].startswith("220:")
    host.call("/", XM + ".unrestricted", "unrestricted_delete_vm", uuid_of(path))
    host.wait_signal("vm_deleted", uuid_of(path), path)
    assert host.fails(path, XM + ".vm", "list_disks")[0] == "UnknownObject"
    assert not host.db("exists", "/vm/" + uuid_of(path))


@with_host
def child_service_vms(host):
    """A child is made from child-<name>, without a slot, and its parent gets what the template wants."""
    folder = os.path.join(host.stack.state, "templates/default")
    os.makedirs(folder)
    with open(os.path.join(folder, "child-helper"), "w") as f:
        json.dump({"type": "helper", "config": {"memory": "64"},
                   "parent-override": {"config": {"nic": {"0": {"backend-uuid": "${UUID}"}}}, "note": "of ${PARENT_UUID}"}}, f)
    os.chmod(folder, 0o755)
    parent = host.create()
    assert [str(t) for t in host.call("/", XM, "list_child_service_vm_templates")] == ["helper"]
    child = str(host.call(parent, XM + ".vm", "create_child_service_vm", "helper"))
    assert host.get(child, XM + ".vm", "type") == "helper" and not host.db("exists", "/vm/%s/slot" % uuid_of(child))
    assert host.db("read", "/vm/%s/config/nic/0/backend-uuid" % uuid_of(parent)) == uuid_of(child)
    assert host.db("read", "/vm/%s/note" % uuid_of(parent)) == "of " + uuid_of(parent)
    assert host.get(parent, XM + ".vm", "memory") == 1024, "the rest of the parent stays"
    assert [str(p) for p in host.get(parent, XM + ".vm", "dependencies")] == [child]


@with_host
def policies(host):
    """modify-vm-settings closes the restricted interface alone; enforce and retrieve."""
    vm = host.create()
    host.set(vm, XM + ".vm", "policy-modify-vm-settings", False)
    assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", "memory", 1)[1].startswith("202:")
    assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", "policy-modify-vm-settings", True)[1].startswith("202:")
    assert host.fails(vm, XM + ".vm", "add_net_firewall_rule", 1, "in", "1.2.3.4", "")[1].startswith("202:")
    host.set(vm, XM + ".vm", "wired-network", "/wired/0/shared")
    host.set(vm, XM + ".vm.unrestricted", "memory", 321)
    assert host.get(vm, XM + ".vm", "memory") == 321
    host.call("/", "com.citrix.xenclient.policy", "enforce", uuid_of(vm), " block-audio-rec ; nonsense;block-cd-access")
    assert host.call("/", "com.citrix.xenclient.policy", "retrieve", uuid_of(vm)) == "block-cd-access;block-audio-rec"
    assert host.get(vm, XM + ".vm", "policy-modify-vm-settings") == 1, "what is not listed is allowed"


@with_host
def records(host):
    """Disks and nics: ids, defaults, optional values, errors of missing records."""
    vm = host.create()
    disk0, disk1 = (str(host.call(vm, XM + ".vm", "add_disk")) for _ in range(2))
    assert (disk0, disk1) == (vm + "/disk/0", vm + "/disk/1")
    V = "com.citrix.xenclient.vmdisk"
    assert host.call(disk1, PROPERTIES, "GetAll", V) == {
        "backend-name": "", "backend-uuid": "", "devtype": "disk", "enabled": 1, "encryption-key-set": 0, "managed-disktype": "",
        "mode": "w", "phys-path": "", "phys-type": "vhd", "shared": 0, "snapshot": "none", "utilization-bytes": 0,
        "virt-path": "hdb", "virtual-size-mb": 0}
    path = str(host.call("/", XM, "create_vhd", 64))
    host.call(disk0, V, "attach_vhd", path)
    assert host.get(disk0, V, "virtual-size-mb") == 64 and 0 < host.get(disk0, V, "utilization-bytes") < 1 << 20
    real = host.stack.state + path
    assert subprocess.run(["qemu-img", "info", "--output=json", real], capture_output=True, text=True).stdout.find('"vpc"') > 0
    for name, value in (("snapshot", "temporary"), ("managed-disktype", "user"), ("shared", True), ("enabled", False),
                        ("virt-path", "xvda"), ("mode", "r"), ("devtype", "cdrom"), ("phys-type", "file")):
        host.set(disk1, V, name, value)
        assert host.get(disk1, V, name) == value, name
    host.set(disk1, V, "snapshot", "none")
    assert not host.db("exists", "/vm/%s/config/disk/1/snapshot" % uuid_of(vm))
    assert host.fails(disk1, PROPERTIES, "Set", V, "mode", "rw")[0] == "Failed"
    assert host.fails(disk1, PROPERTIES, "Set", V, "backend-uuid", "x")[0] == "Failed"
    assert host.fails(disk1, V, "generate_crypto_key", 128)[0] == "Failed"
    assert host.fails(disk1, V, "mount", "/mnt", True)[1].startswith("207:")
    keys = os.path.join(host.stack.state, "config")
    os.makedirs(keys, exist_ok=True)
    os.chmod(keys, 0o777)
    host.call(disk0, V, "generate_crypto_key", 256)
    key = [f for f in os.listdir(keys + "/platform-crypto-keys")]
    assert key == [os.path.basename(path)[:-4] + ",aes-xts-plain,256.key"], key
    assert os.path.getsize(keys + "/platform-crypto-keys/" + key[0]) == 32
    assert host.fails(disk0, V, "generate_crypto_key", 256)[1].startswith("238:")
    assert host.fails(disk0, V, "generate_crypto_key", 512)[1].startswith("239:")
    assert host.get(disk0, V, "encryption-key-set") == 1
    host.call(disk0, V, "delete")
    assert not os.path.exists(real) and not os.listdir(keys + "/platform-crypto-keys"), "the file and its key go"
    assert host.fails(disk0, PROPERTIES, "Get", V, "mode")[1].startswith("206:")
    assert str(host.call(vm, XM + ".vm", "add_disk")) == vm + "/disk/2", "ids are not used again"

    nic = str(host.call(vm, XM + ".vm", "add_nic"))
    N = "com.citrix.xenclient.vmnic"
    everything = host.call(nic, PROPERTIES, "GetAll", N)
    assert everything["network"] == "/wired/0/bridged" and everything["mac"] == "auto" and everything["model"] == "e1000"
    host.set(nic, N, "mac", "02:11:22:33:44:55")
    assert host.get(nic, N, "mac-actual") == "02:11:22:33:44:55"
    host.set(nic, N, "mac", "auto")
    assert host.get(nic, N, "mac-actual") == everything["mac-actual"] == host.get(vm, XM + ".vm", "mac")
    assert host.fails(nic, PROPERTIES, "Set", N, "mac", "02:11:22:33:44")[0] == "Failed"
    host.set(nic, N, "wireless-driver", True)
    host.set(vm, XM + ".vm", "wireless-network", "/wifi/0/shared")
    assert host.get(nic, N, "network") == "/wifi/0/shared" and host.get(vm, XM + ".vm", "wired-network") == ""
    host.call(nic, N, "delete")
    assert host.fails(nic, N, "delete")[1].startswith("222:")
    for number, uuid, mac in ((0, 1, "4e:1c:b4:98:ed:0a"), (1, 1, "f2:48:68:4f:d0:81")):
        uuid = "00000000-0000-0000-0000-%012d" % uuid
        host.db("inject", "/vm/%s/config/nic" % uuid, json.dumps({str(number): {"network": "brbridged"}}))
        nic = "/vm/%s/nic/%d" % (uuid.replace("-", "_"), number)
        oxt.wait_for(lambda: host.get(nic, N, "mac-actual") == mac, what=mac)
        assert host.get(nic, N, "network") == "/wired/0/bridged"


@with_host
def rules(host):
    """Firewall, PCI and product records."""
    vm = host.create()
    add = lambda r: host.call(vm, XM + ".vm", "add_argo_firewall_rule", r)
    add("MYSELF:5 ->  0 : 2222")
    add("myself:5 -> 0:2222")
    assert [str(r) for r in host.call(vm, XM + ".vm", "list_argo_firewall_rules")] == ["myself:5 -> 0:2222"]
    for bad in ("", "myself", "a -> b", "myself -> 0:70000000000", "dom-type=a-b -> 0"):
        assert host.fails(vm, XM + ".vm", "add_argo_firewall_rule", bad)[1].startswith("237:"), bad
    host.call(vm, XM + ".vm", "delete_argo_firewall_rule", "Myself:5->0:2222")
    host.call(vm, XM + ".vm", "delete_argo_firewall_rule", "myself -> *")
    assert len(host.call(vm, XM + ".vm", "list_argo_firewall_rules")) == 0
    host.call(vm, XM + ".vm", "add_net_firewall_rule", 3, "in", "10.0.0.1", "tcp")
    assert host.call(vm, XM + ".vm", "list_net_firewall_rules") == [
        {"id": "3", "direction": "in", "remote-ip": "10.0.0.1", "extra": "tcp"}]
    assert "the network firewall rule 3 is stored for others" in host.stack.log("xenmgr"), "what is not enforced is said"
    assert host.fails(vm, XM + ".vm", "add_net_firewall_rule", 4, "up", "", "")[0] == "Failed"
    host.call(vm, XM + ".vm", "delete_net_firewall_rule", 3)
    P = XM + ".vm.pci"
    host.call(vm, P, "add_pt_rule", "0x0200", "any", "")
    host.call(vm, P, "add_pt_rule", "512", "0x8086", "")
    host.call(vm, P, "add_pt_rule_bdf", "0000:00:1b.0@1f")
    assert [(str(r["id"]), str(r["rule"])) for r in host.call(vm, P, "list_pt_rules")] == [
        ("1", "match class=0x0200  "), ("2", "match class=0x0200 vendor=0x8086 "), ("3", "bdf=0000:00:1b.0 @ 31")]
    assert host.fails(vm, P, "add_pt_rule_bdf", "00:1b.0")[0] == "Failed"
    host.call(vm, P, "delete_pt_rule", "0x200", "", "any")
    assert len(host.call(vm, P, "list_pt_rules")) == 2
    host.db("inject", "/vm/%s/productproperty" % uuid_of(vm), json.dumps({
        "c.k.1": {"key": "k", "class": "c", "instance": "1", "type": "uint8", "userconfigurable": "true", "value": "7"},
        "none": {"type": "uint8"}}))
    Q = XM + ".vm.product"
    oxt.wait_for(lambda: len(host.call(vm, Q, "list_product_properties")) == 1)
    assert host.call(vm, Q, "list_product_properties")[0]["user-configurable"] == "true"
    host.call(vm, Q, "set_product_property", "c.k.1", "255")
    assert host.call(vm, Q, "get_product_property", "c.k.1") == "255"
    assert host.fails(vm, Q, "set_product_property", "c.k.1", "256")[0] == "Failed"
    assert 'oe:key="c.k.1" oe:value="255"' in host.call(vm, Q, "get_ovf_env_xml")
    # One that no CD takes is told before a start fails of it.
    host.set(vm, XM + ".vm", "ovf-transport-iso", True)
    told = lambda: "OVF environment is larger" in str(host.call(vm, "org.oxt.Xenmgr1", "DryRun"))
    assert not told()
    host.db("inject", "/vm/%s/productproperty" % uuid_of(vm), json.dumps(
        {k: {"key": k, "type": "string", "value": '"' * 60000} for k in "abc"}))
    oxt.wait_for(told)


@with_host
def signals(host):
    """Changes are told once a burst is over, whoever made them; names at once."""
    vm = host.create()
    host.turn(0.8)
    host.signals.clear()
    times = [time.monotonic()]
    for i in range(20):
        host.set(vm, XM + ".vm", "memory", 500 + i)
        times.append(time.monotonic())
    host.set(vm, XM + ".vm", "name", "first")
    host.set(vm, XM + ".vm", "name", "first")
    host.wait_signal("vm_config_changed", uuid_of(vm), seconds=20)
    host.turn(0.9)
    told = [s for s in host.signals if s[0] == "vm_config_changed"]
    # On a machine that halts for a while the burst is more than one.
    longest = max(b - a for a, b in zip(times, times[1:]))
    assert told == [("vm_config_changed", uuid_of(vm), vm)] or longest > 0.3, (longest, host.signals)
    assert len([s for s in host.signals if s[0] == "vm_name_changed"]) == 2, host.signals
    host.signals.clear()
    host.db("write", "/vm/%s/description" % uuid_of(vm), "by somebody else")
    host.wait_signal("vm_config_changed", uuid_of(vm))
    assert host.get(vm, XM + ".vm", "description") == "by somebody else"
    host.signals.clear()
    host.set(vm, XM + ".vm", "memory", 519)
    host.set(vm, XM + ".vm", "run-pre-boot", "")
    host.set(vm, XM + ".vm", "policy-print-screen", False)
    host.turn(0.8)
    assert host.signals == [], host.signals
    host.set(vm, XM + ".vm", "download-progress", 5)
    host.wait_signal("vm_transfer_changed", uuid_of(vm))
    host.set("/", XM + ".config.ui", "wallpaper", "x")
    host.wait_signal("config_changed")
    uuid = "99999999-8888-7777-6666-555555555555"
    host.db("inject", "/vm/" + uuid, json.dumps({"name": "injected", "config": {"memory": "128"}}))
    host.wait_signal("vm_created", uuid)
    host.db("rm", "/vm/" + uuid)
    host.wait_signal("vm_deleted", uuid)
    assert host.fails("/vm/" + uuid.replace("-", "_"), XM + ".vm", "list_nics")[0] == "UnknownObject"


@with_host
def dispatch(host):
    """Errors of dispatch: paths, members, signatures, properties."""
    vm = host.create()
    assert host.fails("/nowhere", XM, "list_vms") == ("UnknownObject", "/nowhere")
    assert host.fails("/", XM, "no_such") == ("UnknownMethod", "no_such")
    assert host.fails("/", XM + ".nothing", "list_vms")[0] == "UnknownMethod"
    assert host.fails("/", XM, "find_vm_by_domid", "x")[0] == "Failed"
    assert host.fails("/", XM, "find_vm_by_domid")[0] == "Failed" == host.fails("/", XM, "list_vms", 1)[0]
    assert host.fails("/", XM, "find_vm_by_domid", dbus.Int64(1))[0] == "Failed", "numbers are of the type that is declared"
    assert host.fails("/", None, "list_vms")[0] == "UnknownMethod", "no interface is named"
    assert host.fails("/", XM, "find_vm_by_domid", 12345)[0] == "Failed"
    assert host.fails(vm, PROPERTIES, "Get", XM + ".vm", "nothing")[0] == "Failed"
    assert host.fails(vm, PROPERTIES, "GetAll", XM + ".nothing")[0] == "Failed"
    assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", "memory", "many")[0] == "Failed"
    assert host.fails("/", PROPERTIES, "Set", XM + ".config.ui", "language", "tlh")[1].startswith("236:")
    assert host.fails("/host", XM + ".host", "get_gpu_placement", "x")[1].startswith("234:")
    assert host.fails("/", XM + ".diag", "gather", "a", "00")[1].startswith("216:")
    assert host.call("/host", XM + ".host", "is_service_running", DB) == 1
    assert host.call("/host", XM + ".host", "is_service_running", "com.citrix.xenclient.bed") == 0
    for member in ("list_isos", "list_pci_devices", "list_gpu_devices", "list_disk_devices", "list_cd_devices", "list_sound_cards",
                   "list_playback_devices", "list_capture_devices", "list_gpus_for_displayhandler"):
        host.call("/host", XM + ".host", member)
    host.call("/", XM + ".testing", "script_queue", "a")
    assert host.call("/", XM + ".testing", "script_dequeue") == "a"
    state = host.call("/host", XM + ".installer", "get_installstate")
    assert set(state.values()) == {"False"} and len(state) == 4


@with_host
def scripts_of_the_gone(host):
    """Who waits for a script and leaves takes neither a place nor a script from those that wait still."""
    for _ in range(20):
        gone = dbus.bus.BusConnection(host.stack.address)
        gone.send_message(dbus.lowlevel.MethodCallMessage(XM, "/", XM + ".testing", "script_dequeue"))
        gone.flush()
        name = gone.get_unique_name()
        gone.close()
        oxt.wait_for(lambda: not host.bus.name_has_owner(name), what="the end of a connection")
    host.call("/", XM, "list_domids")
    answers = []
    for _ in range(2):
        host.call("/", XM + ".testing", "script_dequeue", reply_handler=lambda s: answers.append(str(s)),
                  error_handler=lambda e: answers.append(e.get_dbus_name()))
    for text in ("a", "b", "c"):
        host.call("/", XM + ".testing", "script_queue", text)
    oxt.wait_for(lambda: host.turn() or answers == ["a", "b"], what="the scripts")
    assert host.call("/", XM + ".testing", "script_dequeue") == "c"


@with_host
def limits(host):
    """What is at a limit is taken, one more is refused, and nothing of it is left."""
    vm = host.create()
    here = "/vm/" + uuid_of(vm)
    text = lambda n: "x" * n

    def refused(what, *args, tree=here, bus=None):
        before = host.db("dump", tree)
        message = host.fails(*args, bus=bus)[1]
        assert what in message and host.db("dump", tree) == before, (args[1:3], message)
    host.set(vm, XM + ".vm", "name", text(256))
    assert host.get(vm, XM + ".vm", "name") == text(256)
    refused("256 bytes", vm, PROPERTIES, "Set", XM + ".vm", "name", text(257))
    refused("65536 bytes", vm, PROPERTIES, "Set", XM + ".vm", "description", text(65537))
    host.set(vm, XM + ".vm", "description", text(65536))
    assert len(host.get(vm, XM + ".vm", "description")) == 65536
    refused("a value 65536", vm, XM + ".vm", "set_db_key", "config.note", text(65537))
    for member, kind, most in (("add_disk", "disk", 64), ("add_nic", "nic", 32)):
        for _ in range(most - len(host.db("list", here + "/config/" + kind))):
            host.call(vm, XM + ".vm", member)
        assert len(host.call(vm, XM + ".vm", "list_%ss" % kind)) == most
        refused("at most %d" % most, vm, XM + ".vm", member)
    for n in range(256):
        host.call(vm, XM + ".vm.pci", "add_pt_rule", "0x%04x" % (n + 1), "", "")
    assert len(host.call(vm, XM + ".vm.pci", "list_pt_rules")) == 256
    refused("at most 256", vm, XM + ".vm.pci", "add_pt_rule", "0x0200", "", "")
    refused("256 bytes", "/", XM, "create_vm_with_ui", "new-vm", text(257), "", "", tree="/vm")
    much = {"k%d" % i: text(65536) for i in range(15)}
    tree = lambda extra: json.dumps(dict(much, **{"slot": "-1", "last": text(extra)}))
    room = (1 << 20) - len(tree(0))
    host.call("/", XM, "create_vm_with_template_and_json", "new-vm-empty", tree(room))
    refused("longer than 1048576 bytes", "/", XM, "create_vm_with_template_and_json", "new-vm-empty", tree(room + 1), tree="/vm")
    refused("not an object of texts", "/", XM, "create_vm_with_template_and_json", "new-vm-empty",
            json.dumps({"a": text(65537)}), tree="/vm")

    def fill(count):
        have = len(host.call("/", XM, "list_vms"))
        for n in range(have, count):
            host.db("inject", "/vm/%08x-1111-2222-3333-444444444444" % n, json.dumps({"type": "svm", "slot": "-1"}))
        oxt.wait_for(lambda: len(host.call("/", XM, "list_vms")) == count, 60)
    guest = dbus.bus.BusConnection(host.stack.address)
    guest.request_name("org.oxt.conn.d7.u%s.s0.r%s" % (uuid_of(vm).replace("-", "_"), "0123456789abcdef" * 2))
    fill(63)
    assert host.call("/", XM, "create_vm_with_template_and_json", "new-vm-empty", '{"slot": "-1"}', bus=guest)
    refused("205:", "/", XM, "create_vm_with_template_and_json", "new-vm-empty", '{"slot": "-1"}', tree="/vm", bus=guest)
    fill(4095)
    host.create(tree={"slot": "-1"})
    refused("205:", "/", XM, "create_vm_with_template_and_json", "new-vm-empty", '{"slot": "-1"}', tree="/vm")
    guest.close()


def file_text(path, missing=""):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return missing


def file_value(path, key):
    lines = [line.split(":", 1) for line in file_text(path).splitlines() if ":" in line]
    return next((v.strip() for k, v in lines if k.strip() == key), "")


@with_host
def facts_of_host(host):
    """What /host tells is what this host's own files say; what it lacks is empty, and never an error."""
    dmi = {"bios-revision": "bios_version", "model": "product_name", "serial": "product_serial", "vendor": "sys_vendor"}
    have = host.call("/host", PROPERTIES, "GetAll", XM + ".host")
    for name, leaf in dmi.items():
        path = "/sys/class/dmi/id/" + leaf  # the serial number is root's to read, and xenmgr gave up root
        open_to_all = os.path.exists(path) and os.stat(path).st_mode & 0o004
        assert have[name] == (file_text(path) if open_to_all else ""), (name, have[name])
    assert have["total-mem"] == int(file_value("/proc/meminfo", "MemTotal").split()[0]) // 1024
    assert 0 < have["free-mem"] <= have["avail-mem"] <= have["total-mem"]
    assert have["cpu-count"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert have["physical-cpu-model"] == file_value("/proc/cpuinfo", "model name") != ""
    assert have["laptop"] == (file_text("/sys/class/dmi/id/chassis_type") in ("8", "9", "10", "14"))
    assert have["safe-graphics"] == ("safe-graphic" in file_text("/proc/cmdline"))
    storage = os.statvfs(os.path.join(host.stack.state, "storage"))
    assert have["total-storage"] == storage.f_blocks * storage.f_frsize >> 20
    assert 0 < have["free-storage"] <= have["total-storage"]
    net = "/sys/class/net/"
    cards = sorted(n for n in os.listdir(net) if os.path.exists(net + n + "/device"))
    for kind, mac, model in ((False, "eth0-mac", "eth0-model"), (True, "wireless-mac", "wireless-model")):
        own = [n for n in cards if os.path.exists(net + n + "/wireless") == kind]
        assert have[mac] == (file_text(net + own[0] + "/address") if own else ""), mac
        on_pci = own and "/pci" in os.path.realpath(net + own[0] + "/device")
        assert bool(have[model]) == bool(on_pci), (model, have[model])
    pci = "/sys/bus/pci/devices/"
    devices = {str(d["addr"]): d for d in host.call("/host", XM + ".host", "list_pci_devices")}
    assert set(devices) == set(os.listdir(pci) if os.path.isdir(pci) else [])
    for address, d in devices.items():
        assert int(d["vendor-id"], 16) == int(file_text(pci + address + "/vendor"), 16)
        assert int(d["device-id"], 16) == int(file_text(pci + address + "/device"), 16)
        assert int(d["class"], 16) == int(file_text(pci + address + "/class"), 16) >> 8 and d["name"]
    gpus = [a for a, d in devices.items() if int(d["class"], 16) in (0x300, 0x380)]
    assert sorted(str(g["addr"]) for g in host.call("/host", XM + ".host", "list_gpu_devices")) == sorted(gpus)
    disks = [str(d["block-device"]) for d in host.call("/host", XM + ".host", "list_disk_devices")]
    assert sorted(disks) == sorted("/dev/" + n for n in os.listdir("/sys/block")
                                   if os.path.exists("/sys/block/%s/device" % n) and not n.startswith("sr"))
    pcm = file_text("/proc/asound/pcm").splitlines()
    for member, word in (("list_playback_devices", "playback"), ("list_capture_devices", "capture")):
        listed = [str(d["id"]) for d in host.call("/host", XM + ".host", member)]
        assert listed == [line[:5] for line in pcm if word in line]
    isos = os.path.join(host.stack.state, "storage/isos")
    os.makedirs(isos, exist_ok=True)
    for name in ("b.iso", "a.iso", "null.iso", "c.img"):
        open(os.path.join(isos, name), "w").close()
    listed = [str(n) for n in host.call("/host", XM + ".host", "list_isos")]
    assert "null.iso" not in listed and "c.img" not in listed and {"a.iso", "b.iso"} <= set(listed)


@with_host
def status_report(host):
    """A report holds the user's words, the database without secrets, logs, and what VMs left only if that is wanted."""
    vm = host.create(tree={"name": "to be found", "productproperty": {"p": {"key": "p", "password": "true", "value": "hush-1"},
                                                                      "q": {"key": "q", "value": "open-1"}}})
    host.db("write", "/vm/%s/varstored-efivar-blob" % uuid_of(vm), "hush-2")
    oxt.wait_for(lambda: host.call(vm, XM + ".vm", "get_db_key", "varstored-efivar-blob") == "hush-2")
    logs, run = os.path.join(host.stack.state, "log"), os.path.join(host.stack.runtime, "vm", uuid_of(vm))
    for folder, name, text in ((logs, "dbd.log", "x" * 600000 + "the end"), (run, "xenvm.conf", "memory=1"), (run, "secret.key", "hush-3")):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    report = lambda vms: str(host.call("/", XM + ".diag", "create_status_report", False, vms, "it <fails>", "a & b", "", "7"))
    for vms in (False, True):
        path = report(vms)
        assert os.stat(path).st_mode & 0o077 == 0, "it is nobody else's to read"
        with tarfile.open(path) as t:
            files = {m.name[2:]: t.extractfile(m).read().decode() for m in t.getmembers() if m.isfile()}
        os.unlink(path)
        conf = "vm-%s-xenvm.conf" % uuid_of(vm)
        assert set(files) == {"user-report.xml", "database.json", "log-dbd.log"} | ({conf} if vms else set()), set(files)
        words = xml.etree.ElementTree.fromstring(files["user-report.xml"])
        assert [words.find(n).text or "" for n in ("summary", "description", "repro-steps", "ticket")] == ["it <fails>", "a & b", "", "7"]
        tree = json.loads(files["database.json"])["vm"][uuid_of(vm)]
        assert tree["name"] == "to be found" and tree["productproperty"]["q"]["value"] == "open-1"
        assert "hush" not in "".join(files.values())
        assert files["log-dbd.log"].endswith("the end") and len(files["log-dbd.log"]) < 600000, "the end of a long log"
    assert not [n for n in os.listdir("/tmp") if n.startswith(os.path.basename(path).split(".")[0])], "nothing is left"


@with_host
def cd_drives(host):
    """A sticky CD drive stays assigned over a restart, whether or not the host has the drive; none is ejected."""
    vm = host.create()
    interface, drive = XM + ".host", "9:8:7:6"
    assert host.call("/host", interface, "get_cd_device_assignment", drive) == (False, "")
    host.call("/host", interface, "assign_cd_device", drive, True, uuid_of(vm))
    assert host.db("read", "/xenmgr/cdassign/9_8_7_6") == uuid_of(vm)
    host.manager.kill()
    host.manager.wait()
    host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
    assert host.call("/host", interface, "get_cd_device_assignment", drive) == (True, uuid_of(vm))
    assert host.fails("/host", interface, "eject_cd_device", drive)[1].startswith("223:")
    assert host.fails("/host", interface, "eject_cd_device", "sr0")[0] == "Failed"
    assert host.fails("/host", interface, "assign_cd_device", drive, True, "no-vm")[0] == "Failed"
    host.call("/host", interface, "assign_cd_device", drive, True, "")
    assert host.call("/host", interface, "get_cd_device_assignment", drive) == (False, "")
    assert not host.db("exists", "/xenmgr/cdassign/9_8_7_6")


@with_host
def agents(host):
    """Only the agent of a VM that runs is believed: not a stranger, and not what bears the mark of a start that is over."""
    vm = host.create()
    ended = dbus.bus.BusConnection(host.stack.address)
    ended.request_name("org.oxt.conn.d8.u%s.s0.r%s" % (uuid_of(vm).replace("-", "_"), "fedcba9876543210" * 2))
    for bus in (host.bus, ended):
        bus.send_message(dbus.lowlevel.SignalMessage("/", "com.citrix.xenclient.guest", "agent_started"))
        bus.call_blocking(XM, "/", "org.freedesktop.DBus.Peer", "Ping", "", ())
        assert host.get(vm, XM + ".vm", "pv-addons") == 0
    ended.close()


@with_host
def survives(host):
    """A new xenmgr, and one whose database or bus went away, serves the same VMs."""
    vm = host.create()
    host.set(vm, XM + ".vm", "name", "kept")
    host.manager.kill()
    host.manager.wait()
    host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
    assert host.get(vm, XM + ".vm", "name") == "kept"
    dbd = [p for p in host.stack.processes if p.args[0].endswith("/dbd")][-1]
    dbd.kill()
    dbd.wait()
    assert host.get(vm, XM + ".vm", "name") == "kept", "reads go on without the database"
    host.stack.daemon("dbd", DB)
    oxt.wait_for(lambda: try_set(host, vm, "back"))
    assert host.get(vm, XM + ".vm", "name") == "back"


@with_host
def creation_without_database(host):
    """Whenever the database is killed, the VMs there are those whose creation succeeded: a failed one leaves nothing behind."""
    known = {str(p) for p in host.call("/", XM, "list_vms")}
    succeeded = failed = 0
    for i in range(25):
        answers = []
        for _ in range(4):
            host.call("/", XM, "create_vm_with_template", "new-vm", reply_handler=lambda p: answers.append(str(p)),
                      error_handler=lambda e: answers.append(None), timeout=30)
        host.turn(0.0004 * (i % 12))
        dbd = [p for p in host.stack.processes if p.args[0].endswith("/dbd")][-1]
        dbd.kill()
        dbd.wait()
        oxt.wait_for(lambda: host.turn() or len(answers) == 4, 30, "the answers")
        host.stack.daemon("dbd", DB)
        known |= {p for p in answers if p}
        succeeded, failed = succeeded + sum(p is not None for p in answers), failed + answers.count(None)
        oxt.wait_for(lambda: {"/vm/" + str(u).replace("-", "_") for u in host.db("list", "/vm")} == known, 15, "what was promised")
        oxt.wait_for(lambda: {str(p) for p in host.call("/", XM, "list_vms")} == known, 15, "the same in xenmgr")
    removed = host.stack.log("xenmgr").count("whose creation had failed")
    print("# %d creations succeeded, %d failed, %d of which the database had taken" % (succeeded, failed, removed))
    assert succeeded and failed, "the kills came at different moments"
    host.turn(0.1)
    assert {s[2] for s in host.signals if s[0] == "vm_created"} <= known, "what failed was never told of"
    assert not [s for s in host.signals if s[0] == "vm_deleted"]


@with_host
def service_vms(host):
    """Each start of xenmgr puts service VMs back as their templates have them, unless the settings say otherwise."""
    uivm, ndvm, usbvm = ("00000000-0000-0000-0000-%012d" % n for n in (1, 2, 3))

    def restart():
        host.manager.terminate()
        host.manager.wait()
        host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")

    read = lambda uuid, key: str(host.db("read", "/vm/%s/%s" % (uuid, key)))
    original = {u: str(host.db("dump", "/vm/" + u)) for u in (uivm, ndvm)}
    assert not host.db("exists", "/vm/" + usbvm) and read(ndvm, "config/virt-type") == "hvm"
    for u in (uivm, ndvm):
        host.db("write", "/vm/%s/config/memory" % u, "77")
        host.db("write", "/vm/%s/config/nic/0/network" % u, "/x")
        host.db("write", "/vm/%s/config/disk/0/sha1sum" % u, "ab")
        host.db("write", "/vm/%s/config/disk/0/sha256sum" % u, "cd")
    host.db("write", "/xenmgr/overwrite-ndvm-settings", "false")
    restart()
    assert read(ndvm, "config/memory") == "77" and read(ndvm, "config/nic/0/network") == "/x", "kept"
    assert read(uivm, "config/memory") == "256" and not host.db("exists", "/vm/%s/config/nic" % uivm), "written anew"
    for name, value in (("sha1sum", "ab"), ("sha256sum", "cd")):
        assert read(uivm, "config/disk/0/" + name) == value, "what was measured stays"
        host.db("rm", "/vm/%s/config/disk/0/%s" % (uivm, name))
    assert json.loads(str(host.db("dump", "/vm/" + uivm))) == json.loads(original[uivm])
    host.db("write", "/xenmgr/ndvm-mode", "pv")
    host.db("write", "/xenmgr/usbvm-enable", "true")
    host.db("rm", "/xenmgr/overwrite-ndvm-settings")
    restart()
    assert read(ndvm, "config/virt-type") == "pv" and read(ndvm, "config/memory") == "192"
    path = str(host.call("/", XM, "find_vm_by_uuid", usbvm))
    assert host.get(path, XM + ".vm", "type") == "usbvm"
    host.db("write", "/xenmgr/usbvm-enable", "false")
    host.db("rm", "/vm/" + uivm)
    restart()
    assert read(uivm, "config/memory") == "256", "made again"
    assert host.get(path, XM + ".vm", "type") == "usbvm", "one that is active no more stays"


@with_host
def creations_at_once(host):
    """Creations at the same time get slots and uuids of their own; one uuid is made once."""
    answers = []
    call = lambda *args: host.call("/", XM, *args, reply_handler=lambda p: answers.append(str(p)),
                                   error_handler=lambda e: answers.append(e), timeout=30)
    for _ in range(12):
        call("create_vm_with_template", "new-vm")
    oxt.wait_for(lambda: host.turn() or len(answers) == 12)
    assert len(set(answers)) == 12
    assert sorted(int(host.get(p, XM + ".vm", "slot")) for p in answers) == [-1, -1, -1] + list(range(1, 10))
    answers.clear()
    uuid = str(uuids.uuid4())
    for _ in range(3):
        call("create_vm_with_template_and_uuid", "new-vm", uuid)
    oxt.wait_for(lambda: host.turn() or len(answers) == 3)
    made = [a for a in answers if not isinstance(a, dbus.DBusException)]
    assert made == ["/vm/" + uuid.replace("-", "_")] and all("being created" in str(a) for a in answers if a not in made), answers


@with_host
def template_folders(host):
    """A flavour's folder that is empty or missing gives no templates, and a broken one says so; the empty template is always there."""
    folder = os.path.join(host.stack.state, "templates/default")
    os.makedirs(folder)
    os.chmod(os.path.dirname(folder), 0o755)
    for name, text in (("good", '{"config": {"memory": "5"}, "ui-selectable": "true", "description": "d"}'), ("broken", "{"),
                       ("list", "[]"), ("number", '{"a": {"b": 7}}')):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    os.chmod(folder, 0o755)
    listed = {str(t) for t in host.call("/", XM, "list_templates")}
    assert {"good", "new-vm"} <= listed, listed
    assert {"template": "good", "description": "d"} in host.call("/", XM, "list_ui_templates")
    assert host.get(host.create("good"), XM + ".vm", "memory") == 5
    before = len(host.call("/", XM, "list_vms"))
    for name in ("broken", "list"):
        error, text = host.fails("/", XM, "create_vm_with_template", name)
        assert error == "Failed" and name in text, text
    assert len(host.call("/", XM, "list_vms")) == before
    assert host.get(host.create(""), XM + ".vm", "memory") == 0


def try_set(host, vm, name):
    try:
        host.set(vm, XM + ".vm", "name", name)
        return True
    except dbus.DBusException:
        return False


if __name__ == "__main__":
    oxt.main()
