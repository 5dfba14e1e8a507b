#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt vm on a live manager and database: creation from images, properties, errors that say what to do."""
import json
import os
import signal
import struct
import subprocess

import dbus

import oxt
from peers import Peers

XM = "com.citrix.xenclient.xenmgr"
stack = oxt.Stack()
stack.daemon("dbd", "com.citrix.xenclient.db")
stack.daemon("xenmgr", "com.citrix.xenclient.xenmgr")
disks = os.path.join(stack.state, "storage", "disks")


def vm(*words):
    r = stack.run([oxt.program("oxt"), "vm", *words])
    return r.returncode, r.stdout, r.stderr


def good(*words):
    status, out, err = vm(*words)
    assert status == 0 and err == "", (words, status, out, err)
    return out


def bad(*words, status=1):
    got, out, err = vm(*words)
    assert got == status and err, (words, got, out, err)
    return err


def show(name):
    return json.loads(good("show", "--json", name))


def make(name, content):
    path = os.path.join(stack.root, name)
    with open(path, "wb") as f:
        f.write(content)
    return path


def uuid_of(name):
    return next(v["uuid"] for v in json.loads(good("list", "--json")) if v["name"] == name)


QCOW2 = make("debian.qcow2", b"QFI\xfb" + b"\0" * 65532)
RAW = make("disk.raw", b"x" * 1024 + b"\0" * (1 << 20))
VHD = make("a.vhd", b"\0" * 4096 + b"conectix" + b"\0" * 504)
ISO = make("install.iso", b"\0" * 0x8001 + b"CD001" + b"\0" * 4090)


@oxt.case
def service_vms():
    """Before anything is made the list has the service VMs alone."""
    assert good("list").startswith("NAME ") and all(v["state"] == "stopped" for v in json.loads(good("list", "--json")))


@oxt.case
def create_plain():
    """A VM without disks: name, memory, CPUs, properties."""
    out = good("create", "plain", "--memory", "256M", "--vcpus", "2", "--set", "boot=dc", "--set", "description=a b")
    assert out.startswith("created plain ("), out
    p = show("plain")["properties"]
    assert (p["name"], p["memory"], p["vcpus"], p["boot"], p["description"]) == ("plain", 256, 2, "dc", "a b")
    assert p["state"] == "stopped" and p["uuid"] == uuid_of("plain")
    assert "plain" in good("list") and "plain" in good("show", "plain")


@oxt.case
def create_from_images():
    """qcow2, raw, VHD and CD images are copied into the storage folder, each with its type and device."""
    out = good("create", "work", "-i", QCOW2, "-i", RAW, "--image", VHD, "--image", ISO)
    assert out.count("copied to") + out.count("cloned to") == 4, out
    d = show("work")["disks"]
    assert [(x["virt-path"], x["phys-type"], x["devtype"], x["mode"]) for x in d] == [
        ("hda", "qcow2", "disk", "w"), ("hdb", "file", "disk", "w"), ("hdd", "vhd", "disk", "w"), ("hdc", "file", "cdrom", "r")]
    for source, x in zip((QCOW2, RAW, VHD, ISO), d):
        copy = os.path.join(stack.state, x["phys-path"].lstrip("/"))
        with open(source, "rb") as a, open(copy, "rb") as b:
            assert a.read() == b.read(), x
        assert uuid_of("work") in copy


@oxt.case
def in_place():
    """An image in the storage folder, or with --in-place, is not copied."""
    inside = os.path.join(disks, "mine.img")
    os.rename(make("mine.img", b"\0" * 512), inside)
    out = good("create", "inside", "-i", inside)
    assert "used where it is" in out and show("inside")["disks"][0]["phys-path"] == "/storage/disks/mine.img"
    out = good("create", "outside", "--in-place", "-i", RAW)
    assert "used where it is" in out and show("outside")["disks"][0]["phys-path"] == RAW


@oxt.case
def holes_stay_holes():
    """Copying a sparse image takes no more room than the image."""
    path = os.path.join(stack.root, "sparse.raw")
    with open(path, "wb") as f:
        f.write(b"start" * 1000)
        f.seek(1 << 30)
        f.write(b"\0" * 511 + b"e")
    good("create", "sparse", "-i", path)
    copy = os.path.join(stack.state, show("sparse")["disks"][0]["phys-path"].lstrip("/"))
    st = os.stat(copy)
    assert st.st_size == os.path.getsize(path) and st.st_blocks * 512 < 1 << 20, st
    with open(copy, "rb") as f:
        assert f.read(5) == b"start" and f.seek(-1, 2) and f.read(1) == b"e"


def read_iso(path):
    """The files of a small ISO 9660 image, by what its structures say."""
    with open(path, "rb") as f:
        image = f.read()
    volume = image[16 * 2048:17 * 2048]
    assert volume[:7] == b"\1CD001\1" and image[17 * 2048:17 * 2048 + 6] == b"\xffCD001"
    sectors, = struct.unpack_from("<I", volume, 80)
    assert sectors * 2048 == len(image) and struct.unpack_from(">I", volume, 84)[0] == sectors
    where, size = struct.unpack_from("<I4xI", volume, 156 + 2)
    directory, files, at = image[where * 2048:where * 2048 + size], {}, 0
    while at < size and directory[at]:
        where, length = struct.unpack_from("<I4xI", directory, at + 2)
        name = directory[at + 33:at + 33 + directory[at + 32]]
        if name not in (b"\0", b"\1"):
            # what Linux makes of it
            files[name.decode().lower().split(";")[0].rstrip(".")] = image[where * 2048:where * 2048 + length]
        at += directory[at]
    return volume[40:72].rstrip().decode(), files


@oxt.case
def cloud_init():
    """Cloud-init's data is on a CD of its own."""
    user = make("user-data", b"#cloud-config\nhostname: x\n")
    net = make("net", b"version: 2\n")
    good("create", "my cloud", "-i", QCOW2, "--cloud-init", user, "--network-config", net)
    d = show("my cloud")["disks"]
    assert [(x["virt-path"], x["devtype"]) for x in d] == [("hda", "disk"), ("hdc", "cdrom")]
    label, files = read_iso(os.path.join(stack.state, d[1]["phys-path"].lstrip("/")))
    status, _, err = vm("create", "odd cloud", "--cloud-init", make("odd-data", b"hostname: x\n"))
    assert status == 0 and "begins with neither #cloud-config" in err, err
    assert label == "cidata" and sorted(files) == ["meta-data", "network-config", "user-data"], files
    assert files["user-data"] == b"#cloud-config\nhostname: x\n" and files["network-config"] == b"version: 2\n"
    assert files["meta-data"].decode() == "instance-id: %s\nlocal-hostname: my-cloud\n" % uuid_of("my cloud")


@oxt.case
def empty_disk_and_nic():
    """An empty disk of a size, and a network card."""
    out = good("create", "install", "--disk", "2G", "-i", ISO, "--network", "user")
    assert "empty disk of 2048 MiB" in out, out
    s = show("install")
    assert s["disks"][-1]["phys-type"] == "vhd" and s["nics"][0]["network"] == "user", s


@oxt.case
def networks_of_host():
    """Where a network daemon lists the host's networks, --network takes those, lists them when it refuses, and completes them."""
    name = "com.citrix.xenclient.networkdaemon"
    daemon = Peers(stack, name)
    try:
        daemon.answer({"list": ["aa{ss}", [{"name": "a", "object": "/wired/0/bridged"}, {"name": "b", "object": "/wifi/0"}]]})
        err = bad("create", "n", "--network", "/wired/7", status=2)
        assert "  /wired/0/bridged\n  /wifi/0\n" in err and "not '/wired/7'" in err, err
        assert good("--complete", "create", "--network") == "none\nuser\n/wired/0/bridged\n/wifi/0\n"
        good("create", "wireless", "--network", "/wifi/0")
        assert show("wireless")["nics"][0]["network"] == "/wifi/0"
        good("delete", "--force", "wireless")
    finally:
        daemon.stop()


@oxt.case
def failed_creations():
    """What cannot be made leaves neither a VM nor a file behind."""
    before, files = json.loads(good("list", "--json")), sorted(os.listdir(disks))
    assert "no image" in bad("create", "n", "-i", make("odd", b"abc"), status=2)
    assert "No such file" in bad("create", "n", "-i", "/nonexistent", status=2)
    assert "takes a size such as 20G" in bad("create", "n", "--disk", "2x", status=2)
    assert "takes a size such as" in bad("create", "n", "--memory", "0", status=2)
    assert "takes a number from 1" in bad("create", "n", "--vcpus", "0", status=2)
    assert "'oxt vm create --help'" in bad("create", status=2)
    assert "name is one line" in bad("create", "", status=2)
    for network in ("foo", "", "/", "/wired/", "a,b"):
        err = bad("create", "n", "--network", network, status=2)
        assert "none, user" in err and "/wired/0/bridged" in err, err
    assert "already" in bad("create", "plain")
    err = bad("create", "n", "-t", "no-such", "-i", RAW)
    assert "no-such" in err and "templates are: " in err and "new-vm-linux" in err, err
    assert "boot" in bad("create", "n", "--set", "boto=c", "-i", RAW, status=2)
    bad("create", "n", "-i", RAW, "--set", "virt-type=vax", status=2)
    # The image cannot be copied; and one that was copied is of no use.
    os.rename(disks, disks + ".away")
    with open(disks, "w"):
        assert "disks" in bad("create", "n", "-i", RAW)
    os.unlink(disks)
    os.rename(disks + ".away", disks)
    bad("create", "n", "-i", RAW, "-i", QCOW2, "-t", "service-none")
    assert json.loads(good("list", "--json")) == before and sorted(os.listdir(disks)) == files


@oxt.case
def interrupted():
    """However a creation is ended, it leaves all of the VM or nothing."""
    files = sorted(os.listdir(disks))
    big = os.path.join(stack.root, "big.raw")
    with open(big, "wb") as f:
        for _ in range(192):
            f.write(os.urandom(4096) * 256)
    for how in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        for _ in range(2):
            p = subprocess.Popen([oxt.program("oxt"), "vm", "create", "cut off", "-i", big], env=stack.env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            oxt.wait_for(lambda: p.poll() is not None or set(os.listdir(disks)) - set(files), what="the copy")
            p.send_signal(how)
            p.wait(60)
            if any(v["name"] == "cut off" for v in json.loads(good("list", "--json"))):
                d = show("cut off")["disks"]
                # What nobody can hold back may fall between the VM and its disk.
                assert how == signal.SIGKILL or os.path.exists(os.path.join(stack.state, d[0]["phys-path"].lstrip("/"))), d
                good("delete", "cut off")
            oxt.wait_for(lambda: sorted(os.listdir(disks)) == files, what="the removal of the copy")
    os.unlink(big)


@oxt.case
def images_of_callers():
    """What a caller has brought into the storage is a VM's from then on, or goes with the caller."""
    files, uuid = sorted(os.listdir(disks)), "12345678-1234-1234-1234-123456789abc"
    call = lambda bus, member, *args: bus.get_object(XM, "/", introspect=False).get_dbus_method(member, "org.oxt.Xenmgr1")(*args)

    def bring(bus, number, path=RAW, suffix="img", mode=os.O_RDONLY):
        fd = os.open(path, mode)
        try:
            return [str(s) for s in call(bus, "Import", dbus.types.UnixFd(fd), uuid, dbus.UInt32(number), suffix)]
        finally:
            os.close(fd)

    def refused(*args, **kwargs):
        try:
            bring(*args, **kwargs)
        except dbus.DBusException as e:
            return e.get_dbus_message()
        raise AssertionError("taken: %s" % (args,))
    one, other = dbus.bus.BusConnection(stack.address), dbus.bus.BusConnection(stack.address)
    names = ["%s-%d.img" % (uuid, n) for n in range(3)]
    assert [bring(one, n)[0] for n in range(3)] == ["/storage/disks/" + n for n in names]
    assert "File exists" in refused(one, 0) and "File exists" in refused(other, 0)
    for suffix in ("", "../x", ".x", "a/b", "IMG", "x" * 17):
        assert "a suffix" in refused(one, 3, suffix=suffix), suffix
    assert "can be read" in refused(one, 3, path=stack.root) and "can be read" in refused(one, 3, mode=os.O_WRONLY)
    call(other, "Discard")
    assert sorted(os.listdir(disks)) == sorted(files + names)
    good("create", "takes", "-i", os.path.join(disks, names[1]))
    one.close()
    oxt.wait_for(lambda: sorted(os.listdir(disks)) == sorted(files + names[1:2]), what="the removal of what no VM has")
    bring(other, 0)
    call(other, "Discard")
    assert sorted(os.listdir(disks)) == sorted(files + names[1:2])
    other.close()
    good("delete", "takes")
    os.unlink(os.path.join(disks, names[1]))


@oxt.case
def as_another_user():
    """Who may call the manager needs no right to the folder of the images."""
    oxt.needs_root()
    files, mode = sorted(os.listdir(disks)), os.stat(disks).st_mode
    os.chmod(disks, 0o750)
    user = make("user-data", b"#cloud-config\n")
    try:
        run = lambda *words: stack.run(oxt.as_user("nobody", oxt.program("oxt"), "vm", *words))
        r = run("create", "theirs", "-i", QCOW2, "--cloud-init", user, "--disk", "1G")
        assert r.returncode == 0 and "copied to" in r.stdout.replace("cloned", "copied"), r
        assert len(show("theirs")["disks"]) == 3 and len(os.listdir(disks)) == len(files) + 3
        r = run("create", "wrong", "-i", QCOW2, "-t", "service-none")
        assert r.returncode == 1 and len(os.listdir(disks)) == len(files) + 3, r
        r = run("delete", "theirs")
        assert r.returncode == 0 and r.stdout.count("removed ") == 3 and sorted(os.listdir(disks)) == files, r
    finally:
        os.chmod(disks, mode)


@oxt.case
def set_properties():
    """Properties are set; wrong names and values are answered with the right ones."""
    assert "takes one of: pv pvh hvm" in bad("set", "plain", "virt-type=vax", status=2)
    good("set", "plain", "memory=512", "pae=false", "description=x=y")
    p = show("plain")["properties"]
    assert (p["memory"], p["pae"], p["description"]) == (512, False, "x=y")
    err = bad("set", "plain", "memroy=1", status=2)
    assert "no property 'memroy'" in err and "memory " in err, err
    assert "vcpus" in bad("set", "plain", "cpus=1", status=2)
    assert "start-on-boot" in bad("set", "plain", "start_on_boot=true", status=2)
    assert "oxt vm show --all" in bad("set", "plain", "zzzzzzz=1", status=2)
    assert "can only be read" in bad("set", "plain", "domid=1", status=2)
    assert "memory" in bad("set", "plain", "memory=much", status=2)
    assert "PROPERTY=VALUE" in bad("set", "plain", "memory", status=2)
    # All are looked at before the first is set.
    bad("set", "plain", "memory=1024", "pea=true", status=2)
    assert show("plain")["properties"]["memory"] == 512


@oxt.case
def names():
    """VMs are found by name and UUID; wrong names are answered with the nearest."""
    assert show(uuid_of("plain"))["properties"]["name"] == "plain"
    assert "did you mean 'plain'" in bad("show", "plian")
    assert "there is no VM 'quite-other'" in bad("show", "quite-other")
    good("rename", "plain", "plane")
    assert show("plane")["properties"]["name"] == "plane"
    assert "already" in bad("rename", "plane", "work")
    assert "name is one line" in bad("rename", "plane", "", status=2) and "name is one line" in bad("set", "plane", "name=", status=2)
    good("set", "plane", "name=work")
    err = bad("show", "work")
    assert "2 VMs are named 'work'" in err and err.count("stopped") == 2
    good("set", next(v["uuid"] for v in json.loads(good("list", "--json")) if v["memory"] == 512), "name=plain")


@oxt.case
def show_everything():
    """--all shows each property with its meaning."""
    out = good("show", "--all", "plain")
    assert "Memory in MiB" in out and "start-on-boot" in out and "virt-type" in out


@oxt.case
def completion():
    """VMs, properties and templates are completed; a name is quoted and never run by the shell."""
    assert "unknown command 'strat'; did you mean 'start'?" in bad("strat", "plain", status=2)
    assert "plain" in good("--complete", "start") and "plain" in good("--complete", "delete", "--force")
    script, program = os.path.realpath(os.path.join(oxt.BUILD, "data", "oxt")), os.path.realpath(oxt.program("oxt"))
    good("rename", "plain", "$(touch ran) b;'")
    r = stack.run(["bash", "-c", '. "$1"; COMP_WORDS=("$2" vm start \\$); COMP_CWORD=3; _oxt_complete "$2"; echo "${COMPREPLY[@]}"',
                   "bash", script, program], cwd=stack.root)
    assert r.stdout == r"\$\(touch\ ran\)\ b\;\'" + "\n" and not os.path.exists(os.path.join(stack.root, "ran")), r
    good("rename", "$(touch ran) b;'", "plain")
    assert "memory=\n" in good("--complete", "set", "plain") and "domid=\n" not in good("--complete", "set", "plain")
    assert good("--complete", "create", "--network") == "none\nuser\n"
    assert "new-vm-linux" in good("--complete", "create", "--template") and "boot=\n" in good("--complete", "create", "-s")


@oxt.case
def delete():
    """Deleting takes the VM and what was copied for it, and nothing else."""
    good("delete", "inside")
    assert os.path.exists(os.path.join(disks, "mine.img"))
    uuid = uuid_of("work")
    assert "removed" in good("delete", "work")
    assert not [f for f in os.listdir(disks) if f.startswith(uuid)]
    uuid = uuid_of("sparse")
    good("delete", "--keep-disks", uuid)
    assert [f for f in os.listdir(disks) if f.startswith(uuid)]
    assert "there is no VM" in bad("delete", "work")
    good("create", "kept", "-i", VHD)
    uuid = uuid_of("kept")
    good("delete", "--keep-disks", "kept")
    assert [f for f in os.listdir(disks) if f.startswith(uuid)] == [uuid + "-0.vhd"]


@oxt.case
def delete_what_others_use():
    """An image that another VM uses, or that is shared, outlives the VM it came with; what cannot be removed is told."""
    good("create", "first", "-i", QCOW2, "-i", RAW, "-i", VHD, "-i", ISO)
    images = [os.path.join(disks, f) for f in sorted(os.listdir(disks)) if f.startswith(uuid_of("first"))]
    assert len(images) == 4
    good("create", "second", "-i", images[0])
    status, _, err = stack.call(XM, "/vm/%s/disk/1" % uuid_of("first").replace("-", "_"), "org.freedesktop.DBus.Properties", "Set", "ssv",
                                "com.citrix.xenclient.vmdisk", "shared", "b", "true")
    assert status == 0, err
    stuck = os.path.join(disks, uuid_of("first") + "-stuck")
    os.mkdir(stuck)
    status, out, err = vm("delete", "first")
    assert status == 1 and "cannot remove %s: " % stuck in err, (status, out, err)
    assert sorted(out.splitlines()) == sorted(["kept %s: it is shared, or another VM uses it" % i for i in images[:2]] +
                                              ["removed " + i for i in images[2:]]), out
    assert [os.path.exists(i) for i in images] == [True, True, False, False]
    assert "first" not in good("list") and show("second")["disks"][0]["phys-path"].endswith(os.path.basename(images[0]))
    os.rmdir(stuck)
    good("delete", "second")
    assert os.path.exists(images[0]), "it came with another VM"


@oxt.case
def usb():
    """USB devices of this host are listed as the kernel has them; others are refused, and VMs that do not run."""
    folder = "/sys/bus/usb/devices"

    def reads(name, what):
        with open(os.path.join(folder, name, what)) as f:
            return f.read().strip()

    there = [d for d in (os.listdir(folder) if os.path.isdir(folder) else [])
             if "-" in d and ":" not in d and reads(d, "bDeviceClass") != "09"]
    out = good("usb", "list")
    if there:
        assert sorted(line.split()[0] for line in out.splitlines()[1:]) == sorted(there), out
        assert set(there) <= set(good("usb", "--complete", "attach", "plain").splitlines())
    else:
        assert out == "This host has no USB devices.\n"
    good("create", "usbtest")
    assert "no USB device '99-1'" in bad("usb", "attach", "usbtest", "99-1")
    assert "does not run" in bad("usb", "detach", "usbtest", "99-1")
    assert "does not run" in bad("usb", "list", "usbtest")
    assert "there is no VM 'nobody'" in bad("usb", "attach", "nobody", "99-1")
    bad("usb", "attach", "usbtest", status=2)
    good("delete", "usbtest")


@oxt.case
def without_manager():
    """Without a manager, and without a bus, it says what to do."""
    manager = stack.processes[-1]
    manager.terminate()
    manager.wait()
    assert "oxt up" in bad("start", "plain") or "ServiceUnknown" in bad("start", "plain")


try:
    oxt.main()
finally:
    stack.stop()
