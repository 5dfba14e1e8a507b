#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What properties of a VM do beyond a line of its configuration, where no other test is about it: one case for each.

test-xenmgr-effects.py knows for every property which case shows its effect.
"""
import json
import os

import dbus
import dbus.lowlevel

import oxt
import rawbus
from life import IDLE, VM, with_life
from rpcproxy import RULES, UUID, GuestProxy
from xenmgr import PROPERTIES, XM, uuid_of
from xenvm import sector


def lines(life, vm, key):
    text = str(life.call(vm, "org.oxt.Xenmgr1", "Config"))
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(key + "=")]


@with_life
def icon(life):
    """image-path: the file below the UI's folder that read_icon gives; image_path_vg is the same."""
    vm = life.guest()
    folder = os.path.join(life.stack.state, "xui/images")
    os.makedirs(folder)
    for folder_up in (folder, os.path.dirname(folder)):
        os.chmod(folder_up, 0o755)
    for name, data in (("a.png", b"\x89PNG\0a"), ("b.png", b"b" * 100000)):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
        os.chmod(os.path.join(folder, name), 0o644)
    for name, value, data in (("image-path", " images/a.png ", b"\x89PNG\0a"), ("image_path_vg", "images/b.png", b"b" * 100000)):
        life.set(vm, VM, name, value)
        assert bytes(life.call(vm, VM, "read_icon")) == data
        assert life.get(vm, VM, "image-path") == life.get(vm, VM, "image_path_vg")
    life.set(vm, VM, "image-path", "../../etc/passwd")
    assert life.fails(vm, VM, "read_icon")[1].startswith("223:"), "never out of that folder"


@with_life
def amt(life):
    """amt-pt: on a host with AMT passthrough only one running guest may have it (219)."""
    first, second, plain = life.guest(**{"amt-pt": "true"}), life.guest(**{"amt-pt": "true"}), life.guest()
    life.start(first)
    life.start(second)
    life.call(second, VM, "destroy")
    life.db("write", "/system-amt-pt-active", "true")
    oxt.wait_for(lambda: life.get("/host", XM + ".host", "system-amt-pt"))
    assert life.fails(second, VM, "start")[1].startswith("219:")
    life.start(plain)
    life.set(second, VM, "amt-pt", False)
    life.start(second)


@with_life
def one_at_a_time(life):
    """OEM ACPI features, which only one running guest may have, are refused to a second (233)."""
    first, second = life.guest(), life.guest()
    life.start(first)
    life.set(first, VM, "oem-acpi-features", True)
    life.set(second, VM, "oem-acpi-features", True)
    assert life.fails(second, VM, "start")[1].startswith("233:")
    life.set(first, VM, "oem-acpi-features", False)
    life.set(second, VM, "oem-acpi-features", False)
    life.start(second)


@with_life
def cd_changed(life):
    """cd: the image of the ISO folder that is in the VM's CD drive, at its start and changed while it runs; "" empties the drive."""
    isos = os.path.join(life.stack.state, "storage/isos")
    os.makedirs(isos, exist_ok=True)
    for name in ("null.iso", "a.iso", "b.iso"):
        with open(os.path.join(isos, name), "wb") as f:
            f.write(bytes(1 << 20))
    vm = life.guest(config={"disk": {"0": {"path": life.disk("boot.img", IDLE), "type": "file", "mode": "w", "device": "hda", "devtype": "disk"},
                                     "1": {"path": "", "type": "file", "mode": "r", "device": "hdc", "devtype": "cdrom"}}})

    def inserted():
        pid, = life.pids("qemu-system", vm)
        opened = [os.path.realpath("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)]
        return sorted({os.path.basename(path) for path in opened if path.startswith(isos)})
    life.set(vm, VM, "cd", "a.iso")
    assert life.get(vm, VM, "cd") == "a.iso" and any("/storage/isos/a.iso:" in line for line in lines(life, vm, "disk"))
    life.start(vm)
    assert inserted() == ["a.iso"], inserted()
    for value, wanted in (("b.iso", ["b.iso"]), ("", []), ("a.iso", ["a.iso"])):
        life.set(vm, VM, "cd", value)
        oxt.wait_for(lambda: inserted() == wanted, 15, "%s in the drive" % wanted)
    assert life.fails(vm, PROPERTIES, "Set", VM, "cd", "../secret")[0] == "Failed" and inserted() == ["a.iso"]


@with_life
def asleep(life):
    """auto-s3-wake: a VM that falls asleep is woken at once; another stays asleep until resume."""
    code = sector("s3")[:510].rstrip(b"\0")
    awake, asleep_vm = life.guest(code, **{"auto-s3-wake": "true"}), life.guest(code)
    for vm in (awake, asleep_vm):
        life.start(vm)
    acpi = lambda vm: int(life.get(vm, VM, "acpi-state"))
    told = lambda vm: [s[2] for s in life.signals if s[:2] == ("notify", uuid_of(vm)) and s[2].startswith("power-state:")]
    oxt.wait_for(lambda: acpi(asleep_vm) == 3, 20, "its sleep")
    oxt.wait_for(lambda: life.turn() or (told(awake)[:1] == ["power-state:3"] and "power-state:0" in told(awake)), 20, "the waking")
    assert told(asleep_vm) == ["power-state:3"] and acpi(asleep_vm) == 3


@with_life
def hibernated(life):
    """hibernated: set when a guest hibernates, seen as acpi-state 4, and over with the next start."""
    code = sector("s4")[:510].rstrip(b"\0")
    vm = life.guest(code)
    life.start(vm)
    oxt.wait_for(lambda: life.state(vm) == "stopped" and life.get(vm, VM, "hibernated"), 20, "hibernation")
    assert life.get(vm, VM, "acpi-state") == 4
    life.disk("g1.img", IDLE)
    life.start(vm)
    assert not life.get(vm, VM, "hibernated") and life.get(vm, VM, "acpi-state") == 0


@with_life
def operating_system(life):
    """os: Linux has no driver for wireless cards of ours, so it gets plain ones."""
    vm = life.guest(config={"nic": {"0": {"network": "/wifi/0", "wireless-driver": "true"}}})
    for name, wireless in (("windows", True), ("linux", False), ("windows8", True)):
        life.set(vm, VM, "os", name)
        assert ("wireless=true" in lines(life, vm, "vif")[0]) == wireless, name


@with_life
def policies(life):
    """policy-*: what a policy forbids is not in the configuration."""
    vm = life.guest(config={"sound": "ac97", "nic": {"0": {"network": "/wired/0"}, "1": {"network": "/wifi/0"}}})
    network = lambda: [v.split("network=")[1].split(",")[0] for v in lines(life, vm, "vif")]
    for name, seen, allowed, forbidden in (
            ("policy-audio-access", lambda: lines(life, vm, "sound"), ["ac97"], []),
            ("policy-audio-recording", lambda: "disable-audio-rec=" in lines(life, vm, "extra-hvm"), False, True),
            ("policy-wired-networking", network, ["/wired/0", "/wifi/0"], ["/wifi/0"]),
            ("policy-wireless-networking", network, ["/wired/0", "/wifi/0"], ["/wired/0"])):
        assert seen() == allowed, (name, seen())
        life.set(vm, VM, name, False)
        assert seen() == forbidden, (name, seen())
        life.set(vm, VM, name, True)


@with_life
def suspend_image(life):
    """start-from-suspend-image: a start restores that memory image where it exists, and boots where it does not."""
    vm = life.guest()
    life.start(vm)
    image = "/storage/saved"
    life.call(vm, VM, "suspend_to_file", life.stack.state + image, timeout=60)
    life.wait_state(vm, "suspended")
    life.call(vm, VM, "destroy")
    life.set(vm, VM, "start-from-suspend-image", image)
    life.signals.clear()
    life.start(vm)
    assert "restoring" in life.words(vm) and life.state(vm) == "running", life.words(vm)
    life.call(vm, VM, "destroy")
    life.set(vm, VM, "start-from-suspend-image", "/storage/nothing")
    life.signals.clear()
    life.start(vm)
    assert "restoring" not in life.words(vm) and life.state(vm) == "running", life.words(vm)


@with_life
def gpu(life):
    """gpu: the device of that address is passed on, before those of the rules; a start without it is refused."""
    vm = life.guest()
    life.db("write", "/vm/%s/gpu" % uuid_of(vm), "0000:ff:1f.7")
    oxt.wait_for(lambda: life.get(vm, VM, "gpu") == "0000:ff:1f.7")
    findings = json.loads(life.call(vm, "org.oxt.Xenmgr1", "DryRun"))
    assert [f["check"] for f in findings] == ["pci"], findings
    assert life.fails(vm, VM, "start")[0] == "Failed" and life.state(vm) == "stopped"
    life.db("rm", "/vm/%s/gpu" % uuid_of(vm))
    life.start(vm)


@with_life
def hooks_of_existence(life):
    """run-post-create and run-pre-delete: run with the uuid; while one fails, the VM stays."""
    script, lines = life.hook("echo $# $1 >> $LOG")
    vm = life.guest(**{"run-post-create": script, "run-pre-delete": "/bin/false"})
    assert lines() == ["1 " + uuid_of(vm)]
    assert life.fails(vm, VM, "delete")[1].startswith("223:") and life.get(vm, VM, "name")
    life.set(vm, VM, "run-pre-delete", script)
    life.call(vm, VM, "delete")
    assert lines() == ["1 " + uuid_of(vm)] * 2
    before = len(life.call("/", XM, "list_vms"))
    error, text = life.fails("/", XM, "create_vm_with_template_and_json", "", json.dumps({"run-post-create": "/bin/false"}))
    assert error == "Failed" and text.startswith("223:") and len(life.call("/", XM, "list_vms")) == before + 1, "the VM stays"


@with_life
def computed(life):
    """private-space, portica-enabled, memory-target, stub_domid, uuid, mac: from what is stored and what runs."""
    vm = life.guest(config={"memory": "48"})
    assert life.get(vm, VM, "uuid") == uuid_of(vm)
    for number, mib in ((1, 5), (2, 3)):
        name = "/storage/disks/space-%d" % number
        with open(life.stack.state + name, "wb") as f:
            f.truncate(mib * (1 << 20) + 7)
        disk = str(life.call(vm, VM, "add_disk"))
        life.set(disk, "com.citrix.xenclient.vmdisk", "phys-path", name)
    assert life.get(vm, VM, "private-space") == 1 + 5 + 3
    life.set(disk, "com.citrix.xenclient.vmdisk", "phys-type", "phy")
    assert life.get(vm, VM, "private-space") == 1 + 5
    life.set(disk, "com.citrix.xenclient.vmdisk", "enabled", False)
    life.set(disk.replace("disk/2", "disk/1"), "com.citrix.xenclient.vmdisk", "enabled", False)
    portica = lambda: int(life.get(vm, VM, "portica-enabled"))
    assert portica() == 0
    life.db("write", "/vm/%s/portica-installed" % uuid_of(vm), "true")
    life.db("write", "/vm/%s/portica-enabled" % uuid_of(vm), "true")
    oxt.wait_for(lambda: portica() == 2)
    life.set(vm, VM, "seamless-traffic", True)
    assert portica() == 1
    assert life.get(vm, VM, "mac") == ""
    nic = str(life.call(vm, VM, "add_nic"))
    assert life.get(vm, VM, "mac") == life.get(nic, "com.citrix.xenclient.vmnic", "mac-actual") != ""
    assert life.get(vm, VM, "memory-target") == 0 and life.get(vm, VM + ".unrestricted", "stub_domid") == -1
    life.start(vm)
    assert life.get(vm, VM, "memory-target") == 48 and life.get(vm, VM + ".unrestricted", "stub_domid") == -1


@with_life
def waiting_for_login(life):
    """autostart-pending and crypto-user: a VM whose user's vault is closed waits in the queue, with the host's other VMs up."""
    waits = life.guest(**{"start_on_boot": "true", "crypto-user": "nobody", "slot": "1"})
    starts = life.guest(**{"start_on_boot": "true", "slot": "2"})
    for service_vm in ("000000000001", "000000000002"):
        life.db("write", "/vm/00000000-0000-0000-0000-%s/start_on_boot" % service_vm, "false")
    for kind in ("uivm", "ndvm"):
        life.db("write", "/xenmgr/overwrite-%s-settings" % kind, "false")
    assert life.get(waits, VM, "state") == "locked"
    life.manager.terminate()
    life.manager.wait()
    life.manager = life.stack.daemon("xenmgr", XM)
    life.wait_state(starts, "running")
    oxt.wait_for(lambda: not life.get(starts, VM, "autostart-pending"), 10, "the queue without it")
    assert life.get(waits, VM, "autostart-pending")
    assert life.get(waits, VM, "state") == "locked"
    life.set(waits, VM, "crypto-user", "")
    m = dbus.lowlevel.SignalMessage("/", "com.citrix.xenclient.input", "auth_status")
    m.append("logged in", dbus.Int32(0), signature="si")
    life.bus.send_message(m)
    life.wait_state(waits, "running")
    # It leaves the queue a moment after it runs.
    oxt.wait_for(lambda: not life.get(waits, VM, "autostart-pending"), what="the queue without it too")


@oxt.case
def conditions():
    """domstore-*, usb-control, wireless-control: set through xenmgr, each decides in rpc-proxy's rules at once."""
    names = ("domstore-read-access", "domstore-write-access", "usb-control", "wireless-control")
    rules = RULES.replace("allow out-any", "".join("allow destination test.canary interface i.%s if-boolean %s true\n" % (
        n.replace("-", "_"), n) for n in names) + "allow out-any")
    with GuestProxy(rules) as p:
        p.write("/vm/%s/name" % UUID, "x")
        p.stack.daemon("xenmgr", XM, "--no-autostart")
        guest = p.client()
        path = "/vm/" + UUID.replace("-", "_")

        def allowed():
            return [n for n in names if guest.call("test.canary", "/a", "i." + n.replace("-", "_"), "M").kind == rawbus.RETURN]

        assert allowed() == []
        bus = dbus.bus.BusConnection(p.stack.address)
        for name in names:
            for value in (True, False):
                bus.get_object(XM, path, introspect=False).Set(VM, name, dbus.Boolean(value), dbus_interface=PROPERTIES,
                                                               signature="ssv")
                assert allowed() == [name] * value, (name, value, allowed())
        bus.close()
        guest.close()


if __name__ == "__main__":
    oxt.main()
