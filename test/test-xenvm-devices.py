#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices and disks of every kind on real QEMU: as a Linux guest finds them (one boot), as firmware does, as QEMU says."""
import base64
import os
import re
import shutil
import socket
import subprocess

import oxt
import whole
from processes import alive
from xenvm import SERIAL_A, WAIT, Machine, Monitors, done, places

# What the guest finds is said once; then it serves: echoes on a port, and says what lies in its CD drive.
SCRIPT = """
ifconfig lo up
cat >/tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] && ifconfig eth0 $ip netmask ${subnet:-255.255.255.0} && echo "oxt: address $ip"
END
chmod 755 /tmp/dhcp
ifconfig eth0 up
(udhcpc -i eth0 -q -n -t 20 -s /tmp/dhcp 2>/dev/null; nc -ll -p 7 -e cat) &
echo "oxt: rng $(cat /sys/class/misc/hw_random/rng_current) $(head -c 64 /dev/hwrng | wc -c)"
echo "oxt: classes $(cat /sys/bus/pci/devices/*/class | sort -u | tr '\\n' ' ')"
for d in vda vdb vdc vdd; do
  [ -b /dev/$d ] || continue
  printf "guest-wrote-%s" $d | dd of=/dev/$d bs=512 seek=9 conv=fsync 2>/dev/null
  echo "oxt: disk $d $(cat /sys/block/$d/size) $(dd if=/dev/$d bs=512 skip=9 count=1 2>/dev/null | head -c 15)"
done
echo "oxt: disks done"
while :; do
  echo "oxt: cd $(dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | head -c 8)"
  sleep 0.3
done
"""
# A boot sector that asks its BIOS for a TPM (int 1a, ax bb00: ebx is then "TCPA") and writes T or N to the serial port.
FINDS_TPM = bytes.fromhex("6631db" "b800bb" "cd1a" "6685c0" "750b" "6681fb54435041" "b054" "7402" "b04e") + SERIAL_A[:3] + SERIAL_A[-1:] + WAIT
MODULES = "virtio-rng scsi_common scsi_mod libata ata_piix cdrom sr_mod"
BOOT = 60  # seconds

stack = Monitors()


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise oxt.Skip("%s is not installed" % p)


def image(name, *words):
    path = os.path.join(stack.root, name)
    for _ in range(5):  # for LUKS it measures the host's speed, and gives up when that host is busy
        r = subprocess.run(["qemu-img", "create", "-q", *words, path, "4M"], stderr=subprocess.PIPE, text=True)
        if r.returncode == 0:
            return path
    raise AssertionError(r.stderr)


def loop_device(path):
    """A block device over the file, or None where none can be had."""
    r = subprocess.run(["losetup", "--find", "--show", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return r.stdout.strip() if r.returncode == 0 else None


def contents(path, *words):
    """What the guest wrote, as another reader of the image finds it."""
    raw = path + ".raw"
    subprocess.run(["qemu-img", "convert", *words, "-O", "raw", raw], check=True)
    with open(raw, "rb") as f:
        return f.read()[9 * 512:9 * 512 + 15]


class World:
    """One Linux guest with everything, for the cases that look at it from inside."""
    vm = None

    @classmethod
    def get(cls):
        if cls.vm:
            return cls.vm
        need("qemu-img")
        folder = whole.image("guest-image-devices", modules=MODULES)
        cls.key = os.path.join(stack.root, "luks.key")
        with open(cls.key, "w") as f:
            f.write("correct horse")
        cls.luks = image("luks.img", "--object", "secret,id=k,file=" + cls.key, "-f", "luks", "-o", "key-secret=k,iter-time=10")
        cls.vhd = image("disk.vhd", "-f", "vpc", "-o", "force_size=on")
        cls.qcow2 = image("disk.qcow2", "-f", "qcow2")
        cls.loop = loop_device(image("block.img", "-f", "raw"))
        cls.port = oxt.free_port()
        disks = [cls.luks + ":file:xvda:w:disk:key-file=" + cls.key, cls.vhd + ":vhd:xvdb:w:disk", cls.qcow2 + ":qcow2:xvdc:w:disk",
                 ":file:hdc:r:cdrom"]
        if cls.loop:
            disks.append(cls.loop + ":phy:xvdd:w:disk")
        vm = Machine(stack, memory="192", hvm="false", kernel=folder + "/vmlinux", initrd=folder + "/initrd", disk=disks, display="vnc",
                     sound="hda", nic=["bridge=user,model=virtio,forward=tcp:%d:7" % cls.port],
                     cmdline="console=ttyS0 quiet oxt.run=" + base64.b64encode(SCRIPT.encode()).decode())
        vm.monitor()
        vm.cmd("start")
        cls.vm = vm
        cls.said("oxt: cd", BOOT)
        return vm

    @classmethod
    def said(cls, text, seconds=20):
        def last():
            found = re.findall(r"^%s ?(.*?)\r?$" % re.escape(text), cls.vm.output(), re.M)
            return found and [found[-1]]

        try:
            return oxt.wait_for(last, seconds, text)[0]
        except AssertionError as e:
            raise AssertionError("%s; the console ends with %r; log:\n%s" % (e, cls.vm.output()[-800:], cls.vm.log()[-3000:])) from None

    @classmethod
    def end(cls):
        if cls.vm:
            cls.vm.cmd("destroy")
            cls.vm.cmd("quit")
        if cls.vm and cls.loop:
            subprocess.run(["losetup", "--detach", cls.loop], check=True)
        cls.vm = None


@oxt.case
def random_numbers():
    """The guest's random numbers come from the host"""
    World.get()
    assert World.said("oxt: rng") == "virtio_rng.0 64"


@oxt.case
def classes():
    """The guest finds a display, a sound card and a USB controller"""
    World.get()
    found = World.said("oxt: classes").split()
    assert any(c.startswith("0x0300") for c in found), found
    assert any(c.startswith("0x0403") for c in found), found
    assert any(c.startswith("0x0c03") for c in found), found


@oxt.case
def disks():
    """Disks of every type take what the guest writes; of the encrypted one the file shows nothing without the key"""
    m = World.get()
    World.said("oxt: disks done")
    for name in ("vda", "vdb", "vdc") + (("vdd",) if World.loop else ()):
        size, text = World.said("oxt: disk " + name).split()
        assert text == "guest-wrote-" + name, (name, text)
        assert int(size) >= 4 << 11, (name, size)
    assert int(World.said("oxt: disk vda").split()[0]) == 4 << 11
    # QEMU's own readers would want its locks: the guest is stopped, and only its files are looked at.
    m.cmd("pause")
    with open(World.luks, "rb") as f:
        raw = f.read()
    assert raw.startswith(b"LUKS") and b"guest-wrote" not in raw
    assert contents(World.luks, "-U", "--object", "secret,id=k,file=" + World.key, "--image-opts",
                    "driver=luks,key-secret=k,file.filename=" + World.luks) == b"guest-wrote-vda"
    assert contents(World.vhd, "-U", "-f", "vpc", World.vhd) == b"guest-wrote-vdb"
    assert contents(World.qcow2, "-U", "-f", "qcow2", World.qcow2) == b"guest-wrote-vdc"
    if World.loop:
        with open(os.path.join(stack.root, "block.img"), "rb") as f:
            assert b"guest-wrote-vdd" in f.read()
    m.cmd("unpause")


@oxt.case
def cd():
    """A CD is in the guest's drive once it is inserted, another once that is swapped, and none once it is ejected"""
    m = World.get()
    assert World.said("oxt: cd") == ""
    for text in ("CD-ONE--", "CD-TWO--"):
        path = os.path.join(stack.root, text + ".iso")
        with open(path, "wb") as f:
            f.write(text.encode().ljust(1 << 20, b"\0"))
        m.cmd("cd-insert-file", "hdc", path)
        oxt.wait_for(lambda: World.said("oxt: cd") == text, 20, text)
        assert path in m.cmd("disk-list")
    m.cmd("cd-eject", "hdc")
    oxt.wait_for(lambda: World.said("oxt: cd") == "", 20, "the empty drive")


@oxt.case
def forward():
    """What is sent to the forwarded port of the host comes back from the guest, through passt where that is installed"""
    m = World.get()
    World.said("oxt: address", 30)
    if shutil.which("passt"):
        helpers = {h["name"]: h["pid"] for h in m.record()["details"]["helpers"]}
        assert alive(helpers["passt"]), helpers

    def echo():
        try:
            with socket.create_connection(("127.0.0.1", World.port), 20) as s:
                s.settimeout(20)
                s.sendall(b"hello guest")
                return s.recv(64) == b"hello guest"
        except OSError:
            return False

    oxt.wait_for(echo, 30, "the guest's echo")


@oxt.case
def end():
    """With the VM end the programs that served it"""
    m = World.get()
    helpers = [h["pid"] for h in m.record()["details"]["helpers"]]
    World.end()
    oxt.wait_for(lambda: not any(alive(p) for p in helpers), 5, "the end of %s" % helpers)


@oxt.case
def unplugging():
    """While an unplugging waits for a guest that does not let go, pausing and questions go on, and a save is refused; the VM's end ends it"""
    m = stack.machine(display="vnc")
    m.cmd("start")

    def begun():
        return "change of its devices is under way" in m.fails("checkpoint", "/nonexistent/folder/never")

    def meanwhile():
        oxt.wait_for(begun, 5, "the removal")
        assert "another change" in m.fails("device", "disk", "del", "hda")
        m.cmd("get-vnc")
        m.cmd("pause")
        assert m.status() == "paused"
        m.cmd("unpause")
        assert m.status() == "running"
        assert "not in suspended" in m.fails("trigger", "s3resume")  # in QEMU's own words
        assert begun()

    for place in ("xvdb", "xvdc", "xvdd"):
        path = os.path.join(stack.root, "held-" + place)
        with open(path, "wb") as f:
            f.truncate(1 << 20)
        m.cmd("device", "disk", "add", "%s:file:%s:w:disk" % (path, place))
        removal = m.begin("device", "disk", "del", place)
        try:
            meanwhile()
            break
        except AssertionError:
            if removal.poll() is None or place == "xvdd":
                raise  # else the ten seconds were too short for a busy host
    assert removal.wait(60) == 1 and "does not let go" in removal.stderr.read()
    assert place in m.cmd("disk-list")
    for words in ("destroy",), ("halt", "force"):
        if m.status() == "shutdown":
            m.cmd("start")
        m.cmd("device", "nic", "add", "bridge=user,model=e1000")
        removal = m.begin("device", "nic", "del", "0")
        oxt.wait_for(begun, 5, "the removal")
        m.cmd(*words)
        assert removal.wait(60) == 1, words
        error = removal.stderr.read()
        assert any(w in error for w in ("given up", "does not let go")), words
        assert m.status() == "shutdown"
    done(m)


@oxt.case
def let_go():
    """What a guest lets go of unasked, after the time for it, or while no monitor is there, is gone and can be plugged in again"""
    extra = os.path.join(stack.root, "ejected.img")
    with open(extra, "wb") as f:
        f.truncate(1 << 20)
    line = os.path.join(stack.root, "eject.serial")
    m = stack.machine("eject", serial="unix:%s,server,nowait" % line)
    m.cmd("start")
    guest = socket.socket(socket.AF_UNIX)
    guest.connect(line)

    def eject(slot, name, command, back=lambda: None):
        guest.sendall(bytes([slot]))
        back()
        oxt.wait_for(lambda: name not in m.cmd(command), 20, "the end of " + name)

    def add(kind, value):
        def added():  # what the host had for the one before goes a moment after it
            r = stack.run([oxt.program("xenvm-cmd"), m.uuid, "device", kind, "add", value])
            assert r.returncode == 0 or "under way" in r.stderr, r.stderr
            return r.returncode == 0

        oxt.wait_for(added, 20, "the device")

    def plug():
        add("disk", extra + ":file:xvdb:w:disk")
        assert extra in m.cmd("disk-list")
        files = [f for s in m.ask_qemu("query-fdsets")[0] for f in s["fds"] if f.get("opaque") == "disk-xvdb"]
        assert len(files) == 1, files

    plug()
    slot = places(m)["xvdb"]
    eject(slot, "xvdb", "disk-list")
    plug()
    assert places(m)["xvdb"] == slot
    assert "does not let go" in m.fails("device", "disk", "del", "xvdb")
    assert extra in m.cmd("disk-list")
    eject(slot, "xvdb", "disk-list")
    plug()
    m.kill_monitor()
    eject(slot, "xvdb", "disk-list", m.monitor)
    plug()
    for _ in range(2):
        add("nic", "bridge=user,model=e1000")
        assert "vif0" in places(m)
        eject(places(m)["vif0"], "e1000", "nic-list")
    guest.close()
    done(m)


@oxt.case
def tpm():
    """A guest with vtpm-instance finds a TPM by its BIOS, whose state is kept and whose program ends with the VM"""
    need("swtpm")
    m = Machine(stack)
    with open(m.image, "wb") as f:
        f.write(FINDS_TPM.ljust(510, b"\0") + b"\x55\xaa")
    m.monitor()
    m.cmd("start")
    oxt.wait_for(lambda: m.output() == "N", 20, "the guest's word that there is no TPM")
    m.cmd("destroy")
    m.write(**{"vtpm-instance": "1"})
    m.cmd("read-config")
    for _ in range(2):
        m.cmd("start")
        oxt.wait_for(lambda: m.output() == "T", 20, "the guest's word that there is a TPM")
        assert m.ask_qemu("query-tpm")[0][0]["model"] == "tpm-tis"
        swtpm, = [h["pid"] for h in m.record()["details"]["helpers"] if h["name"] == "swtpm"]
        assert alive(swtpm)
        assert "swtpm has ended" not in m.log()
        m.cmd("destroy")
        oxt.wait_for(lambda: not alive(swtpm), 5, "swtpm's end")
        kept = [f for d, _, files in os.walk(stack.state) for f in files if d.endswith("tpm-" + m.uuid)]
        assert any(f.startswith("tpm2") for f in kept), kept
    # One that ends before its VM is told of, also by a monitor that has not started it.
    for adopted in (False, True):
        m.cmd("start")
        if adopted:
            m.kill_monitor()
            m.monitor()
        swtpm, = [h["pid"] for h in m.record()["details"]["helpers"] if h["name"] == "swtpm"]
        told = m.log().count("swtpm has ended")
        os.kill(swtpm, 9)
        oxt.wait_for(lambda: m.log().count("swtpm has ended") == told + 1, 10, "the word of swtpm's end")
        assert m.status() == "running"
        m.cmd("destroy")
    m.cmd("quit")


@oxt.case
def uefi():
    """A VM with UEFI is started by the host's OVMF, which speaks on the serial line; its variables are kept"""
    if not os.path.isdir("/usr/share/qemu/firmware"):
        raise oxt.Skip("no firmware is installed (package ovmf)")
    m = Machine(stack, firmware="uefi", memory="64", disk=[], boot="cd")
    m.monitor()
    m.cmd("start")
    oxt.wait_for(lambda: "BdsDxe" in m.output(), BOOT, "the firmware's words")
    kept = [os.path.join(d, f) for d, _, files in os.walk(stack.state) for f in files if m.uuid in f and f.startswith("uefi-")]
    assert len(kept) == 1, kept
    flash = [d["inserted"]["image"]["virtual-size"] for d in m.ask_qemu("query-block")[0] if d["device"].startswith("pflash")]
    assert len(flash) == 2 and flash[1] == os.path.getsize(kept[0]), flash
    m.cmd("destroy")
    with open(kept[0], "r+b") as f:  # the firmware has written there; a mark of ours in the unused end stays, too
        f.seek(-16, os.SEEK_END)
        f.write(b"oxt-was-here-now")
    m.cmd("start")
    m.cmd("destroy")
    with open(kept[0], "rb") as f:
        assert f.read().endswith(b"oxt-was-here-now")
    m.cmd("quit")


@oxt.case
def machines():
    """A boot sector runs on a machine with PCI Express too, from an IDE, a SCSI and a virtio disk"""
    for keys, place in (({"machine": "q35"}, "hda"), ({"machine": "q35"}, "xvda"), ({}, "sda"), ({}, "xvda")):
        m = Machine(stack, **keys)
        os.truncate(m.image, 1 << 20)  # the AHCI driver of SeaBIOS reads no disk of one sector
        m.write(disk=[m.image + ":file:%s:w:disk" % place])
        m.monitor()
        m.cmd("start")
        if place != "sda":  # SeaBIOS has no driver for that controller; it is there all the same
            oxt.wait_for(lambda: m.output() == "A", 20, "the guest's letter from %s of %s" % (place, keys))
        if keys:
            kind = m.ask_qemu({"execute": "qom-get", "arguments": {"path": "/machine", "property": "type"}})[0]
            assert kind == "pc-q35-7.2-machine", kind
        m.cmd("destroy")
        m.cmd("quit")


@oxt.case
def vhd_children():
    """A VHD that builds on another is refused wherever it comes from: QEMU would show zeros for what the other has"""
    plain, child, top = (os.path.join(stack.root, n) for n in ("plain.vhd", "child.vhd", "top.qcow2"))
    for path in (plain, child):
        subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", path, "4M"], check=True)
    with open(child, "r+b") as f:
        for at in (0, os.path.getsize(child) - 512):  # the type, in both footers, and their sums
            f.seek(at)
            footer = bytearray(f.read(512))
            footer[60:68] = (4).to_bytes(4, "big") + bytes(4)
            footer[64:68] = (~sum(footer) & 0xffffffff).to_bytes(4, "big")
            f.seek(at)
            f.write(footer)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", child, "-F", "vpc", top, "4M"], check=True)
    m = Machine(stack)
    m.monitor()
    own = m.image + ":file:hda:w:disk"
    for disk in (child + ":vhd:hdb:w:disk", child + ":vhd:xvda:w:disk:temporary", child + ":vhd:hdc:r:cdrom", top + ":qcow2:xvda:w:disk"):
        m.write(disk=[own, disk])
        m.cmd("read-config")
        text = m.fails("start")
        assert "Device.Tap2.Mount_failure" in text and child in text and "builds on another" in text, (disk, text)
    m.write(disk=[own, plain + ":vhd:hdb:w:disk"])
    m.cmd("read-config")
    m.cmd("start")
    text = m.fails("device", "disk", "add", child + ":vhd:xvdb:w:disk")
    assert child in text and "builds on another" in text, text
    assert "xvdb" not in m.cmd("disk-list")
    m.cmd("destroy")
    m.cmd("quit")


@oxt.case
def sound():
    """Each sound card is there"""
    m = Machine(stack)
    m.monitor()
    for card in ("ac97", "es1370", "hda", "sb16"):
        m.write(sound=card)
        m.cmd("read-config")
        m.cmd("start")
        found = m.ask_qemu({"execute": "qom-get", "arguments": {"path": "/machine/peripheral/sound0", "property": "type"}})[0]
        assert found.lower() == {"hda": "intel-hda"}.get(card, card), (card, found)
        m.cmd("destroy")
    m.cmd("quit")


try:
    oxt.main()
finally:
    World.end()
    stack.stop()
