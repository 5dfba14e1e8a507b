#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose rules let it call xenmgr, and what it cannot reach all the same: the host, its devices and files, other rules."""
import json
import os
import re
import uuid
import xml.etree.ElementTree
from unittest.mock import patch

import dbus

import oxt
import rawbus
from rpcproxy import RULES, UUID, GuestProxy
from xenmgr import DB, PROPERTIES, XM, Host, key_table, uuid_of, with_host

VALUES = {"s": ("/bin/sh", ""), "b": (True, False)}
DISK = "com.citrix.xenclient.vmdisk"


def guest_of(host, vm):
    """A connection that bears the mark of that VM's guest, as rpc-proxy makes them."""
    guest = dbus.bus.BusConnection(host.stack.address)
    guest.request_name("org.oxt.conn.d7.u%s.s0.r%s" % (uuid_of(vm).replace("-", "_"), "0123456789abcdef" * 2))
    return guest


def victim(host):
    return host.create(tree={"config": {"disk": {"0": {"path": "/storage/a", "type": "file", "mode": "r", "device": "hda",
                                                       "devtype": "disk"}},
                                        "nic": {"0": {"network": "/wired/0/bridged"}}}})


@with_host
def hostile_guest(host):
    """A guest that may call xenmgr.vm cannot reach the host through any key, template or database path."""
    vm = victim(host)
    guest = guest_of(host, vm)
    assert host.get(vm, XM + ".vm", "name")
    before = host.db("dump", "/vm/" + uuid_of(vm))
    denied = lambda *args: host.fails(*args, bus=guest)[0] in ("AccessDenied", "Failed")
    host_only = [row for row in key_table() if {"host-only", "admin"} & set(row["flags"].split())]
    assert {"run-pre-boot", "qemu-dm-path", "extra-xenvm", "kernel", "stubdom-cmdline", "gpu", "type", "usb-control",
            "policy-modify-vm-settings"} <= {r["property"] for r in host_only}
    for row in host_only:
        name = row["property"]
        for interface in [XM + ".vm.unrestricted"] + [XM + ".vm"] * ("unrestricted" not in row["flags"].split()):
            for value in VALUES[row["signature"]]:
                assert host.fails(vm, PROPERTIES, "Set", interface, name, value, bus=guest)[0] == "AccessDenied", name
        for key in (row["path"], row["path"].replace("/", "."), "/" + row["path"], row["path"] + "/0", name):
            assert denied(vm, XM + ".vm", "set_db_key", key, "/bin/sh"), key
        tree = "/bin/sh"
        for part in reversed(row["path"].split("/")):
            tree = {part: tree}
        assert denied("/", XM, "create_vm_with_template_and_json", "new-vm-empty", json.dumps(tree)), tree
        assert host.db("dump", "/vm/" + uuid_of(vm)) == before, name
    for key in ("config//kernel", "rpc-firewall-rules.0", "rpc-firewall-rules/9", "policies.modify-vm-settings", "config.pci.0.bdf",
                "backend", "config.disk.0.shared.x", "uuid/../../x"):
        assert denied(vm, XM + ".vm", "set_db_key", key, "x"), key
    for path in ("/etc/shadow", "/storage/../etc/shadow", "/dev/sda", "/storage/x/.."):
        assert denied(vm, XM + ".vm", "set_db_key", "config.disk.0.path", path), path
        assert denied(vm + "/disk/0", PROPERTIES, "Set", DISK, "phys-path", path), path
        assert denied(vm + "/disk/0", DISK, "attach_vhd", path), path
    assert denied(vm + "/disk/0", DISK, "attach_phy", "/dev/sda")
    assert denied(vm + "/disk/0", DISK, "mount", "/etc", False)
    assert denied(vm + "/disk/0", DISK, "generate_crypto_key_in", 256, "/etc")
    assert denied(vm, XM + ".vm", "suspend_to_file", "/etc/passwd")
    assert denied(vm, XM + ".vm", "resume_from_file", "/etc/passwd")
    assert denied(vm, XM + ".vm.pci", "add_pt_rule", "0x0100", "", "")
    assert denied(vm, PROPERTIES, "Set", XM + ".vm", "cd", "../../etc/shadow")
    for row in key_table("host"):
        interface = XM + ".config" + ".ui" * ("ui" in row["flags"].split())
        if "host-only" in row["flags"].split():
            for value in VALUES[row["signature"]]:
                assert host.fails("/", PROPERTIES, "Set", interface, row["property"], value, bus=guest)[0] == "AccessDenied", row
            assert not host.db("exists", row["path"]), row
    assert denied("/", "com.citrix.xenclient.policy", "enforce", uuid_of(vm), "")
    for tree in ({"config": {"kernel": "/etc/shadow"}}, {"run-pre-boot": "/bin/sh"}, {"rpc-firewall-rules": {"0": "allow"}},
                 {"config": {"extra-xenvm": {"0": "x"}}}, {"policies": {"modify-vm-settings": "true"}},
                 {"config": {"disk": {"0": {"path": "/dev/sda"}}}}, {"config": {"disk": {"0": {"type": "phy"}}}},
                 {"config": {"pci": {"0": {"bdf": "0000:00:02.0"}}}}, {"type": {"x": "y"}}, {"uuid": uuid_of(vm)}):
        assert denied("/", XM, "create_vm_with_template_and_json", "new-vm-empty", json.dumps(tree)), tree
    assert denied("/", XM, "create_vm_with_template_and_uuid", "new-vm", uuid_of(vm))
    assert denied("/", XM + ".unrestricted", "unrestricted_delete_vm", uuid_of(vm))
    assert denied("/", XM + ".unrestricted", "unrestricted_create_vm")
    assert denied(vm, XM + ".vm", "add_argo_firewall_rule", "myself -> 0:1")
    assert denied("/host", XM + ".host", "set_license", "2030-01-01 00:00:00 UTC", "a", "b")
    assert denied(vm, "org.oxt.Xenmgr1", "Delete", True)
    with open("/dev/null") as f:
        assert denied("/", "org.oxt.Xenmgr1", "Import", dbus.types.UnixFd(f), uuid_of(vm), dbus.UInt32(0), "img")
    for name in ("boot", "cmd-line", "sound", "timer-mode"):
        assert denied(vm, PROPERTIES, "Set", XM + ".vm", name, "x\nkernel=/etc/shadow"), name
    assert host.db("dump", "/vm/" + uuid_of(vm)) == before
    host.set(vm, XM + ".vm", "description", "harmless", bus=guest)
    assert host.get(vm, XM + ".vm", "description") == "harmless", "what does no harm is allowed"
    attention = []
    host.bus.add_signal_receiver(lambda *a: attention.append([str(x) for x in a]), signal_name="requested_attention")
    host.call("/", XM + ".guestreq", "request_attention", bus=guest)
    oxt.wait_for(lambda: host.turn() or attention == [[uuid_of(vm), vm]])
    guest.close()


@with_host
def user_interface(host):
    """The guest that is the host's user interface, of type uivm, sets what administers VMs; programs, files and types it does not."""
    vm, ui = victim(host), host.create(tree={"type": "uivm"})
    guest, other = guest_of(host, ui), guest_of(host, vm)
    admin = [row for row in key_table() if "admin" in row["flags"].split()]
    assert {"gpu", "policy-audio-access", "usb-control", "control-platform-power-state"} <= {r["property"] for r in admin}
    for row in admin:
        name, value = row["property"], "" if row["signature"] == "s" else True
        assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", name, value, bus=other)[0] == "AccessDenied", name
        host.set(vm, XM + ".vm", name, value, bus=guest)
        assert host.get(vm, XM + ".vm", name) == value, name
    for bus, works in ((guest, True), (other, False)):
        for call in ((vm, XM + ".vm.pci", "add_pt_rule", "0x0100", "", ""), ("/", "com.citrix.xenclient.policy", "enforce", uuid_of(vm), "")):
            try:
                host.call(*call, bus=bus)
                refused = False
            except dbus.DBusException as e:
                refused = "by the host alone" in str(e)
            assert refused != works, (call, works)
    for name, value in (("run-pre-boot", "/bin/sh"), ("kernel", "/etc/shadow"), ("type", "uivm")):
        assert host.fails(vm, PROPERTIES, "Set", XM + ".vm", name, value, bus=guest)[0] == "AccessDenied", name
    for bus in (guest, other):
        bus.close()


@with_host
def service_vms(host):
    """A guest changes nothing of a service VM, whose disks and boot order decide who speaks with its rights; the user interface does."""
    disk = {"disk": {"0": {"path": "/storage/a", "type": "vhd", "mode": "r", "device": "hda", "devtype": "disk"}},
            "nic": {"0": {"network": "/wired/0/bridged"}}}
    vm, ui, sync = victim(host), host.create(tree={"type": "uivm", "config": disk}), host.create(tree={"type": "syncvm", "config": disk})
    calls = [(PROPERTIES, "Set", XM + ".vm", "boot", "n"), (PROPERTIES, "Set", XM + ".vm.unrestricted", "cmd-line", "x"),
             (XM + ".vm", "set_db_key", "config.disk.0.path", "/storage/b"), (XM + ".vm", "set_domstore_key", "a", "b"),
             (XM + ".vm", "add_disk"), (XM + ".vm", "add_nic"), (XM + ".vm", "delete")]
    of_disk = [(PROPERTIES, "Set", DISK, "phys-path", "/storage/b"), (DISK, "attach_vhd", "/storage/b"), (DISK, "delete")]
    guest, other = guest_of(host, vm), guest_of(host, ui)
    for service in (ui, sync):
        before = host.db("dump", "/vm/" + uuid_of(service))
        for path, call in [(service, c) for c in calls] + [(service + "/disk/0", c) for c in of_disk] + [
                (service + "/nic/0", (PROPERTIES, "Set", "com.citrix.xenclient.vmnic", "network", "/x"))]:
            assert host.fails(path, *call, bus=guest)[0] == "AccessDenied", call
        assert host.db("dump", "/vm/" + uuid_of(service)) == before and not host.db("exists", "/dom-store/" + uuid_of(service))
        assert host.get(service, XM + ".vm", "type") == host.call(service, PROPERTIES, "Get", XM + ".vm", "type", bus=guest)
    for bus, service in ((other, sync), (other, ui)):
        host.set(service, XM + ".vm.unrestricted", "boot", "n", bus=bus)
        host.call(service, XM + ".vm", "set_domstore_key", "a", "b", bus=bus)
        assert host.get(service, XM + ".vm", "boot") == "n" and host.db("read", "/dom-store/%s/a" % uuid_of(service)) == "b"
    for bus in (guest, other):
        bus.close()


@with_host
def templates(host):
    """A guest makes VMs of the templates for users' VMs, and by none of the others one that is more than its own; by no way of asking."""
    vm = victim(host)
    guest = guest_of(host, vm)
    folder = os.path.join(oxt.SOURCE, "data/templates/default")
    own = os.path.join(host.stack.state, "templates/default")
    plain = {"new-vm", "new-vm-empty", "new-vm-linux", "new-vm-windows8", "new-vm-xp"}
    os.makedirs(own)
    os.chmod(os.path.dirname(own), 0o755)
    for name, tree in (("child-x", {"type": "svm"}), ("fixed", {"uuid": str(uuid.uuid4())}), ("usb", {"usb-control": "true"}),
                       ("ports", {"config": {"pci": {"0": {"class": "0x0c03"}}}}), ("net", {"provides-default-network-backend": "true"})):
        with open(os.path.join(own, name), "w") as file:
            json.dump(tree, file)
    os.chmod(own, 0o755)
    shipped = set(os.listdir(folder))
    assert plain | {"service-uivm", "new-vm-sync", "new-vm-ndvm-hvm", "oxt-demo"} <= shipped
    for name in sorted(shipped - plain) + os.listdir(own):
        for call in ("create_vm_with_template", name), ("create_vm_with_template_and_json", name, ""), \
                ("create_vm_with_template_and_uuid", name, str(uuid.uuid4())), ("create_vm_with_ui", name, "n", "d", "i"):
            assert host.fails("/", XM, *call, bus=guest)[0] == "AccessDenied", call
    for name in sorted(plain):
        made = str(host.call("/", XM, "create_vm_with_template", name, bus=guest))
        tree = host.db("dump", "/vm/" + uuid_of(made))
        assert host.get(made, XM + ".vm", "type") == "svm" and not re.search("rpc-firewall|provides-|pci|domstore", tree), tree
    assert host.fails(vm, XM + ".vm", "create_child_service_vm", "x", bus=guest)[0] == "AccessDenied"
    for u in ("00000000-0000-0000-0000-000000000003", "00000000-0000-0000-0000-000000000000", uuid_of(vm).upper()):
        assert host.fails("/", XM, "create_vm_with_template_and_uuid", "new-vm", u, bus=guest)[0] == "AccessDenied", u
        assert not host.db("exists", "/vm/" + u), u
    host.call("/", XM, "create_vm_with_template", "oxt-demo")
    guest.close()


def with_small_stores():
    with patch.dict(os.environ, {"OXT_DB_GUEST_NODES": "20", "OXT_DB_GUEST_BYTES": "5000"}):
        return Host("--no-autostart")


@oxt.case_with(with_small_stores, Host.show_log)
def budget(host):
    """A guest fills the database in no way: a VM's records, nodes and bytes are bounded, and so is what xenmgr writes into a store for it."""
    vm = victim(host)
    guest, here = guest_of(host, vm), "/vm/" + uuid_of(vm)
    set_key = lambda key, value: host.call(vm, XM + ".vm", "set_db_key", key, value, bus=guest)
    refused = lambda *args: host.fails(*args, bus=guest)[1]
    for kind, leaf, most in (("disk", "path", 64), ("nic", "network", 32)):
        for n in range(1, most):
            set_key("config.%s.%d.%s" % (kind, n, leaf), "/storage/x")
        text = refused(vm, XM + ".vm", "set_db_key", "config.%s.%d.%s" % (kind, most, leaf), "/storage/x")
        assert "at most %d records" % most in text, text
        set_key("config.%s.1.enable" % kind, "false")
        for n in ("01", "00", "1234567890", "9" * 30):
            assert "by the host alone" in refused(vm, XM + ".vm", "set_db_key", "config.%s.%s.%s" % (kind, n, leaf), "/storage/x"), n
        assert len(host.db("list", here + "/config/" + kind)) == most
        text = refused("/", XM, "create_vm_with_template_and_json", "new-vm-empty",
                       json.dumps({"config": {kind: {str(n): {leaf: "/storage/x"} for n in range(most + 1)}}}))
        assert "at most %d records" % most in text, text
    keys = ("description", "image_path", "s3-mode", "realm", "sync-uuid", "pv-addons-version", "boot-sentinel", "cpuid")
    vms = sorted(map(str, host.call("/", XM, "list_vms")))
    for tree, why in (({k: "x" * 65536 for k in keys}, "524288 bytes"), ({"name": "x" * 257}, "256 bytes")):
        text = refused("/", XM, "create_vm_with_template_and_json", "new-vm-empty", json.dumps(tree))
        assert why in text and sorted(map(str, host.call("/", XM, "list_vms"))) == vms, text
    assert "256 bytes" in refused(vm, XM + ".vm", "set_db_key", "name", "x" * 257)
    assert "a value 65536" in refused(vm, XM + ".vm", "set_db_key", "realm", "x" * 65537)
    assert "65536 bytes" in refused("/", XM, "create_vm_with_ui", "new-vm", "n", "x" * 65537, "")
    for key in keys[:-1]:
        set_key(key, "x" * 65536)
    assert "524288 bytes" in refused(vm, XM + ".vm", "set_db_key", keys[-1], "x" * 65536)
    assert "524288 bytes" in refused(vm, PROPERTIES, "Set", XM + ".vm", "long_form_vg", "x" * 65536)
    assert len(host.db("dump", here)) < 600000 and not host.db("exists", here + "/config/long-form")
    set_key("realm", "")
    host.set(vm, XM + ".vm", "long_form_vg", "x" * 1000, bus=guest)
    # The store of a VM, which has its guest's limits whoever of the guests writes there, and by xenmgr too; the host has none.
    for n in range(18):
        host.call(vm, XM + ".vm", "set_domstore_key", "n.%d" % n, "1", bus=guest)
    assert "db.guest-nodes" in refused(vm, XM + ".vm", "set_domstore_key", "n.18", "1")
    host.call(vm, XM + ".vm", "set_domstore_key", "n.18", "x" * 5000)
    assert "db.guest-" in refused(vm, XM + ".vm", "set_domstore_key", "n.1", "x" * 5000)
    assert host.db("read", "/dom-store/%s/n/1" % uuid_of(vm)) == "1" and len(host.db("list", "/dom-store/%s/n" % uuid_of(vm))) == 19
    guest.close()


# What a guest with such rules is meant to do with VMs; it ends or makes one, and is no way to the host.
LIFE = {"start", "start_internal", "shutdown", "shutdown_idle", "destroy", "reboot", "delete", "sleep", "resume", "hibernate", "pause",
        "unpause", "switch", "create_vm", "script_dequeue"}
HOSTILE = {"s": ("", "config.kernel", "x\nkernel=/etc/shadow", "../../../../etc/shadow", "/etc/shadow"), "i": (-1, 0, 1 << 30),
           "b": (False, True)}
# Plain settings of the host that are in no table of keys.
OF_HOST = {"/audio/capture-pcm", "/audio/playback-pcm", "/power-management/ac-lid-close-action", "/power-management/battery-lid-close-action"}
RECORDS = r"config/(nic/\d+/(id|network|wireless-driver|enable|mac|model)|disk/\d+/(path|type|mode|device|devtype|snapshot|enable))"


def tree_of(node, path=""):
    """Of a database's JSON: path: text."""
    if not isinstance(node, dict):
        return {path: node}
    return {k: v for name, child in node.items() for k, v in tree_of(child, path + "/" + name).items()}


def files_of(folder):
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
            if "/db" not in place[len(folder):] and "/log" not in place[len(folder):]}


def calls_of(host, path):
    """Each method, and each property that can be set, of all interfaces of the object: (interface, member, signatures)"""
    text = host.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")
    for interface in xml.etree.ElementTree.fromstring(text).findall("interface"):
        name = interface.get("name")
        if name.startswith("org.freedesktop"):
            continue
        for m in interface.findall("method"):
            yield name, m.get("name"), [a.get("type") for a in m.findall("arg") if a.get("direction") != "out"]
        for p in interface.findall("property"):
            if "write" in p.get("access"):
                yield name, "=" + p.get("name"), [p.get("type")]


@with_host
def every_member(host):
    """Every method and property of every object, with hostile values: nothing changes that is not the VM's own plain setting."""
    vm = victim(host)
    guest = guest_of(host, vm)
    before, files = tree_of(json.loads(host.db("dump", "/"))), files_of(host.stack.state)
    tried = 0
    for path in ("/", "/host", vm, vm + "/disk/0", vm + "/nic/0"):
        for interface, member, signatures in calls_of(host, path):
            if member in LIFE or any(s not in HOSTILE for s in signatures):
                continue
            for n in range(max([1] + [len(HOSTILE[s]) for s in signatures])):
                values = [HOSTILE[s][n % len(HOSTILE[s])] for s in signatures]
                try:
                    if member[0] == "=":
                        host.set(path, interface, member[1:], values[0], bus=guest)
                    else:
                        host.call(path, interface, member, *values, bus=guest, signature="".join(signatures), timeout=20)
                except dbus.DBusException as e:
                    assert e.get_dbus_name() != "org.freedesktop.DBus.Error.NoReply", (interface, member, values)
                tried += 1
    after = tree_of(json.loads(host.db("dump", "/")))
    changed = {p: after.get(p) for p in set(before) | set(after) if before.get(p) != after.get(p)}
    plain = lambda rows: {row["path"] for row in rows if not {"host-only", "admin"} & set(row["flags"].split())}
    keys, own, made = plain(key_table()), "/vm/" + uuid_of(vm) + "/", {"uuid", "name", "slot", "seamless-id", "description", "image_path"}
    allowed = plain(key_table("host")) | OF_HOST | {own + k for k in keys}
    known = {p.split("/")[2] for p in before if p.startswith("/vm/")}
    wrong = [p for p in changed if p not in allowed and not re.fullmatch(own + RECORDS, p) and not p.startswith("/dom-store/" + uuid_of(vm)) and
             not (p.startswith("/vm/") and p.split("/")[2] not in known and p.split("/", 3)[3] in made)]
    assert not wrong and tried > 1000 and own + "name" in changed, (tried, wrong)
    assert not changed.get(own + "config/disk/0/path", "").startswith("/etc"), changed
    assert files_of(host.stack.state) == files, files_of(host.stack.state) ^ files
    guest.close()


@oxt.case
def through_the_proxy():
    """The same guest as it really comes: over its channel and rpc-proxy, whose rules let it call all of xenmgr and the database."""
    rules = RULES.replace("allow out-any", "allow destination %s\nallow destination %s\nallow out-any" % (XM, DB))
    with GuestProxy(rules) as p:
        own, path = "/vm/%s/" % UUID, "/vm/" + UUID.replace("-", "_")
        p.write(own + "name", "x")
        p.stack.daemon("xenmgr", XM, "--no-autostart")
        guest = p.client()
        read = lambda key: p.stack.call(DB, "/", DB, "read", "s", own + key)[1]
        before = p.stack.call(DB, "/", DB, "dump", "s", "/vm")[1]

        def denied(interface, member, signature, *args, at=path):
            r = guest.call(XM, at, interface, member, signature, args)
            # By xenmgr itself, not by the rules.
            return r.kind == rawbus.ERROR and "AccessDenied" in r.error_name and "by the host alone" in r.args[0]
        for name, value in (("type", ("s", "syncvm")), ("run-pre-boot", ("s", "/bin/sh")), ("policy-modify-vm-settings", ("b", True))):
            assert denied(PROPERTIES, "Set", "ssv", XM + ".vm.unrestricted", name, value), name
        assert denied(XM + ".vm", "set_db_key", "ss", "config.kernel", "/etc/shadow")
        assert denied(XM, "create_vm_with_template_and_json", "ss", "new-vm-empty", json.dumps({"run-pre-boot": "/bin/sh"}), at="/")
        # Its own part is all that it sees of the database, whatever path it names.
        for where in (own + "type", "/" + own + "type", "../../vm/%s/type" % UUID, "/xenmgr/autostart"):
            guest.call(DB, "/", DB, "write", "ss", (where, "syncvm"))
        assert guest.call(DB, "/", DB, "read", "s", (own + "type",)).args == ["syncvm"]
        assert p.stack.call(DB, "/", DB, "dump", "s", "/vm")[1] == before
        assert p.stack.call(DB, "/", DB, "read", "s", "/xenmgr/autostart")[1] != 's "syncvm"'
        assert guest.call(XM, path, PROPERTIES, "Set", "ssv", (XM + ".vm", "description", ("s", "harmless"))).kind == rawbus.RETURN
        oxt.wait_for(lambda: read("description") == 's "harmless"', what="what does no harm")
        guest.close()


@oxt.case
def synchroniser():
    """The shipped rules let the VM of type syncvm make and remove users' VMs whatever the host's policy; keys of the host it cannot set."""
    with open(os.path.join(oxt.SOURCE, "data/rpc-proxy.rules")) as f:
        rules = f.read()
    with GuestProxy(rules) as p:
        p.write("/vm/%s/type" % UUID, "syncvm")
        p.write("/vm-create-disallowed", "true")
        p.write("/vm-delete-disallowed", "true")
        p.stack.daemon("xenmgr", XM, "--no-autostart")
        sync = p.client()
        read = lambda path: p.stack.call(DB, "/", DB, "read", "s", path)[1]

        def good(path, interface, member, signature="", *args):
            r = sync.call(XM, path, interface, member, signature, args)
            assert r.kind == rawbus.RETURN, (member, r.error_name, r.args)
            return r.args

        def denied(path, interface, member, signature="", *args):
            r = sync.call(XM, path, interface, member, signature, args)
            # By xenmgr itself, not by the rules.
            return r.kind == rawbus.ERROR and "AccessDenied" in r.error_name and "by the host alone" in r.args[0]
        free = XM + ".unrestricted"
        vm, = good("/", free, "unrestricted_create_vm_with_template_and_json", "ss", "new-vm-linux", json.dumps({"name": "synced"}))
        other, = good("/", free, "unrestricted_create_vm")
        assert read("/vm/%s/name" % uuid_of(vm)) == 's "synced"'
        for rule in ("add", "delete"):
            good(vm, XM + ".vm", rule + "_argo_firewall_rule", "s", "myself -> 0:99")
            listed, = good(vm, XM + ".vm", "list_argo_firewall_rules")
            assert ("myself -> 0:99" in listed) == (rule == "add"), listed
        good("/host", XM + ".host", "set_license", "sss", "2030-01-01 00:00:00 UTC", "device", "hash")
        for template, tree in (("new-vm", {"run-pre-boot": "/bin/sh"}), ("new-vm", {"type": "uivm"}), ("service-usbvm", {}), ("new-vm-ndvm-hvm", {})):
            assert denied("/", free, "unrestricted_create_vm_with_template_and_json", "ss", template, json.dumps(tree)), (template, tree)
        service = "00000000-0000-0000-0000-000000000001"
        assert denied("/", free, "unrestricted_delete_vm", "s", service)
        assert denied("/vm/" + service.replace("-", "_"), XM + ".vm", "add_argo_firewall_rule", "s", "myself -> 0:99")
        for made in (vm, other):
            good("/", free, "unrestricted_delete_vm", "s", uuid_of(made))
            assert p.stack.call(DB, "/", DB, "exists", "s", "/vm/" + uuid_of(made))[1] == "b false"
        sync.close()


if __name__ == "__main__":
    oxt.main()
