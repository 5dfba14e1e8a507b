#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels out of guests' disks: the program that reads them, and a guest that boots with its own."""
import os
import re
import shutil
import struct
import subprocess
import tempfile

import oxt
import whole

DBUS_SET = whole.dbus.PROPERTIES_IFACE


class Folder:
    """A folder for images, and what makes them."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="oxt-extract-")
        self.tree = os.path.join(self.path, "tree")
        os.makedirs(self.tree + "/boot")
        self.kernel = os.urandom(3 << 20)
        with open(self.tree + "/boot/vmlinuz-6", "wb") as f:
            f.write(self.kernel)
        os.symlink("vmlinuz-6", self.tree + "/boot/vmlinuz")
        os.symlink("/boot/vmlinuz", self.tree + "/kernel")
        os.symlink("loop", self.tree + "/loop")
        os.symlink("../../../../etc/passwd", self.tree + "/out")
        with open(self.tree + "/empty", "w"):
            pass
        with open(self.tree + "/huge", "wb") as f:
            f.truncate(513 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def file_system(self, kind="ext4", mib=16):
        image = os.path.join(self.path, kind + ".img")
        subprocess.run(["mkfs." + kind, "-q", "-F", "-d", self.tree, image, "%dM" % mib], check=True, stdout=subprocess.DEVNULL)
        return image

    def partitioned(self, image, number=1):
        """The file system as that partition of a disk: a table of four, or a chain of logical ones."""
        disk = os.path.join(self.path, "disk.img")
        sectors = os.path.getsize(image) // 512
        entry = lambda kind, start, n: struct.pack("<BBBBBBBBII", 0, 0, 0, 0, kind, 0, 0, 0, start, n)

        def table(*entries):
            return b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"
        with open(disk, "wb") as f, open(image, "rb") as fs:
            f.seek(446)
            if number <= 4:
                f.write(table(*[entry(0, 0, 0)] * (number - 1), entry(0x83, 2048, sectors)))
            else:
                f.write(table(entry(5, 64, sectors + 4000)))
                f.seek(64 * 512 + 446)
                f.write(table(entry(0x83, 2048 - 64, sectors)))
            f.seek(2048 * 512)
            shutil.copyfileobj(fs, f)
        return disk


def extract(image, path, *options):
    with open(image, "rb") as f:
        r = subprocess.run([oxt.program("oxt-extract"), *options, path], stdin=f, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=60)
    return r.returncode, r.stdout, r.stderr.decode()


@oxt.case
def file_systems():
    """A file is found in ext2, ext3 and ext4, on a whole disk and in partitions, in raw images and VHDs."""
    with Folder() as f:
        for kind in ("ext2", "ext3", "ext4"):
            image = f.file_system(kind)
            for path in ("/boot/vmlinuz-6", "/boot/vmlinuz", "/kernel"):
                assert extract(image, path) == (0, f.kernel, ""), (kind, path)
        for number in (1, 3, 5):
            assert extract(f.partitioned(image, number), "/kernel", "-p", str(number))[:2] == (0, f.kernel), number
        for options in ([], ["-o", "subformat=fixed"]):
            vhd = os.path.join(f.path, "disk.vhd")
            subprocess.run(["qemu-img", "convert", "-O", "vpc", *options, f.partitioned(image), vhd], check=True)
            assert extract(vhd, "/kernel", "--format", "vhd", "-p", "1")[:2] == (0, f.kernel), options


@oxt.case
def refusals():
    """What is not there, no file, or no file system is an error that says so, and nothing of the host is reached."""
    with Folder() as f:
        image = f.file_system()
        for path, why in (("/none", "no such file"), ("/loop", "no such file"), ("/out", "no such file"), ("/boot", "no regular file"),
                          ("/empty", "empty"), ("/huge", "larger")):
            status, out, error = extract(image, path)
            assert status == 1 and out == b"" and why in error, (path, status, out[:40], error)
        assert extract(image, "/kernel", "-p", "1")[0] == 1
        assert extract(image, "/kernel", "-f", "vhd")[2] == "it is no VHD"
        assert extract(image, "kernel")[0] == extract(image, "/kernel", "-f", "qcow2")[0] == 2
        with open(image, "r+b") as broken:
            for at in range(1024, 16 << 20, 4096 + 64):
                broken.seek(at)
                broken.write(os.urandom(16))
        status, out, error = extract(image, "/kernel")
        assert status in (0, 1), (status, error)


def create(stack, **keys):
    bus = stack.connect()
    manager = whole.dbus.Interface(bus.get_object(whole.XENMGR, "/"), whole.XENMGR)
    path = manager.create_vm_with_template_and_json("oxt-demo", whole.json.dumps(keys))
    return bus.get_object(whole.XENMGR, path)


@oxt.case
def boots():
    """A pvh guest boots the kernel and initrd of its own disk; without them its start says what is missing."""
    stack = whole.WholeStack()
    try:
        with Folder() as f:
            for name in ("vmlinux", "initrd"):
                shutil.copy(os.path.join(stack.state, "storage/guest", name), f.tree + "/boot")
            os.makedirs(stack.state + "/storage/disks", exist_ok=True)
            disk = stack.state + "/storage/disks/own.vhd"
            subprocess.run(["qemu-img", "convert", "-O", "vpc", f.partitioned(f.file_system(mib=120)), disk], check=True)
            os.chmod(disk, 0o666)
        vm = create(stack, name="own", config={
            "kernel": "", "initrd": "", "kernel-extract": "0,1:/boot/vmlinux", "initrd-extract": "0,1:/boot/initrd", "memory": "192",
            "disk": {"0": {"path": "/storage/disks/own.vhd", "type": "vhd", "mode": "w", "device": "xvda", "devtype": "disk"}}})
        uuid = str(vm.Get(whole.VM, "uuid", dbus_interface=DBUS_SET))
        folder = os.path.join(stack.runtime, "vm", uuid)
        vm.Set(whole.VM, "serial", "file:%s/console.log" % folder, dbus_interface=DBUS_SET)
        operations = whole.dbus.Interface(vm, "org.oxt.Xenmgr1")
        assert operations.DryRun() == "[]", operations.DryRun()
        whole.dbus.Interface(vm, whole.VM).start(timeout=60)
        assert "kernel" in [p["phase"] for p in whole.json.loads(operations.Timeline())["phases"]]

        def is_up():
            with open(folder + "/console.log", errors="replace") as console:
                return "guest is up" in console.read()
        oxt.wait_for(is_up, 60, "the guest")
        whole.dbus.Interface(vm, whole.VM).destroy(timeout=60)
        for source, why in (("0,1:/boot/none", "no such file"), ("0,2:/boot/vmlinux", "no such partition"), ("3:/x", "does not have"),
                            ("0,1:boot", "not of the form"), ("0,0:/x", "not of the form")):
            vm.Set(whole.VM, "kernel-extract", source, dbus_interface=DBUS_SET)
            try:
                whole.dbus.Interface(vm, whole.VM).start(timeout=60)
                raise AssertionError("it started with " + source)
            except whole.dbus.DBusException as e:
                text = e.get_dbus_message()
                assert re.match("223:", text) and why in text, text
        assert not [n for n in os.listdir(folder) if n.endswith(".part")]
    finally:
        stack.stop()


if __name__ == "__main__":
    oxt.main()
