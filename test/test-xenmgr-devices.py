#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What /host tells of devices is kept until the kernel, or the folder of ISOs, tells of a change. xenmgr has folders of ours
in place of sysfs; the events are the kernel's own, of devices that this machine has.
"""
import glob
import os
import pwd
import socket
import subprocess
import time

import oxt
from oxt import wait_for
from xenmgr import XM, Host

HOST = XM + ".host"
NETLINK_KOBJECT_UEVENT = 15
# Subsystem: a device of it whose `uevent` can be written, with no effect but the event.
DEVICES = {"pci": "/sys/bus/pci/devices/*", "net": "/sys/class/net/lo", "block": "/sys/block/loop*"}
FALLBACK = "does not tell this process of devices"


def needs_sysfs():
    oxt.needs_root()
    if not os.access("/sys/class/net/lo/uevent", os.W_OK) or os.statvfs("/sys").f_flag & os.ST_RDONLY:
        raise oxt.Skip("/sys is read-only")
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode:
        raise oxt.Skip("no mount namespace can be made")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


class Devices(Host):
    def __init__(self, *unshare):
        super().__init__("--no-autostart")
        self.manager.terminate()
        self.manager.wait()
        self.sysfs = os.path.join(self.stack.root, "sysfs")
        mounts = {"bus": "/sys/bus", "net": "/sys/class/net", "block": "/sys/block"}
        for name in ("bus/pci/devices", "bus/scsi/devices", "net", "block"):
            os.makedirs(os.path.join(self.sysfs, name))
        script = " && ".join("mount --bind %s/%s %s" % (self.sysfs, name, path) for name, path in mounts.items())
        self.manager = self.stack.start(["unshare", "--mount", "sh", "-c", "%s && exec %s %s --no-autostart" % (
            script, " ".join(unshare), oxt.program("xenmgr"))], ready=lambda: self.stack.owned(XM))

    def log(self):
        return self.stack.log("unshare")

    def pci(self):
        return [str(d["addr"]) for d in self.call("/host", HOST, "list_pci_devices")]

    def disks(self):
        return [str(d["block-device"]) for d in self.call("/host", HOST, "list_disk_devices")]

    def isos(self):
        return [str(n) for n in self.call("/host", HOST, "list_isos")]

    def add_pci(self, number):
        address = "0000:%02x:00.0" % number
        for name, value in (("class", "0x030000"), ("vendor", "0x8086"), ("device", "0x1237")):
            write(os.path.join(self.sysfs, "bus/pci/devices", address, name), value + "\n")
        return address


def with_devices(*unshare):
    def decorate(function):
        def run():
            needs_sysfs()
            host = Devices(*unshare)
            try:
                function(host)
            except Exception:
                print("# " + host.log().replace("\n", "\n# "))
                raise
            finally:
                host.stop()
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        return oxt.case(run)
    return decorate


def tell(subsystem):
    """Has the kernel tell of a change of a device that this machine has."""
    devices = glob.glob(DEVICES[subsystem])
    if not devices:
        raise oxt.Skip("this machine has no device %s" % DEVICES[subsystem])
    with open(sorted(devices)[0] + "/uevent", "w") as f:
        f.write("change")


def forge(subsystem):
    """What is not the kernel's: a process with all rights sends to its group."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as s:
        s.sendto(b"change@/devices/x\0ACTION=change\0DEVPATH=/devices/x\0SUBSYSTEM=%s\0" % subsystem.encode(), (0, 1))


@with_devices()
def events(host):
    """PCI devices, disks and network cards that come are seen once the kernel tells of them."""
    assert host.pci() == [] and host.disks() == [] and host.get("/host", HOST, "eth0-mac") == ""
    added = host.add_pci(1)
    tell("pci")
    wait_for(lambda: host.pci() == [added], what="the PCI device")
    assert [str(g["addr"]) for g in host.call("/host", HOST, "list_gpu_devices")] == [added]
    os.makedirs(host.sysfs + "/block/sdx/device")
    os.makedirs(host.sysfs + "/block/loop0")
    tell("block")
    wait_for(lambda: host.disks() == ["/dev/sdx"], what="the disk")
    write(host.sysfs + "/net/enp1s0/address", "00:16:3e:00:00:01\n")
    os.mkdir(host.sysfs + "/net/enp1s0/device")
    tell("net")
    wait_for(lambda: host.get("/host", HOST, "eth0-mac") == "00:16:3e:00:00:01", what="the network card")
    write(host.sysfs + "/net/enp1s0/address", "06:16:3e:00:00:02\n")
    assert host.get("/host", HOST, "eth0-mac") == "06:16:3e:00:00:02", "no event tells of an address"
    vm = host.create(tree={"amt-pt": "true"})
    nic, config = str(host.call(vm, XM + ".vm", "add_nic")), lambda: str(host.call(vm, "org.oxt.Xenmgr1", "Config")).splitlines()
    assert not any("mac=" in line for line in config())
    host.db("write", "/system-amt-pt-active", "true")
    wait_for(lambda: any(line.endswith(",mac=04:16:3e:00:00:02") for line in config()), what="the address of a VM with AMT")
    assert host.get(nic, "com.citrix.xenclient.vmnic", "mac-actual") == "04:16:3e:00:00:02"
    assert FALLBACK not in host.log()
    assert os.stat("/proc/%d" % host.manager.pid).st_uid == pwd.getpwnam("oxt-mgr").pw_uid, "who hears it is no root"


@with_devices()
def kept(host):
    """Without an event of the kernel nothing is read again, and what others send is no event."""
    def unseen(number):
        known = host.pci()
        added = host.add_pci(number)
        forge("pci")
        time.sleep(1.2)
        return added not in known and host.pci() == known

    # Somebody else's device may come just then.
    assert any(unseen(number) for number in range(1, 11))
    tell("pci")
    wait_for(lambda: len(host.pci()) == len(os.listdir(host.sysfs + "/bus/pci/devices")), what="all of them")


@with_devices("unshare --user")
def container(host):
    """In a user namespace of its own, where the kernel tells of no device, the host is looked at again."""
    wait_for(lambda: FALLBACK in host.log())
    assert host.pci() == []
    added = host.add_pci(1)
    wait_for(lambda: host.pci() == [added], what="the PCI device")
    os.makedirs(host.sysfs + "/block/sdx/device")
    wait_for(lambda: host.disks() == ["/dev/sdx"], what="the disk")


@with_devices("unshare --user")
def cd_drives(host):
    """CD drives have a name and, where they hang below a USB device, its number; a disk is none."""
    folders = {"1:0:0:0": ("5", "controller/host1/1:0:0:0"), "6:0:0:0": ("5", "usb3/3-2/host6/6:0:0:0"),
               "2:0:0:0": ("0", "controller/host2/2:0:0:0")}
    assert host.call("/host", HOST, "list_cd_devices") == []
    for name, number in (("busnum", "3"), ("devnum", "18")):
        write(os.path.join(host.sysfs, "bus/devices/usb3/3-2", name), number + "\n")
    for address, (kind, folder) in folders.items():
        for name, value in (("type", kind), ("vendor", "TEST    "), ("model", "DVD " + address)):
            write(os.path.join(host.sysfs, "bus/devices", folder, name), value + "\n")
        os.symlink("/sys/bus/devices/" + folder, os.path.join(host.sysfs, "bus/scsi/devices", address))
    drives = lambda: [tuple(str(d[key]) for key in ("id", "name", "usb-id")) for d in host.call("/host", HOST, "list_cd_devices")]
    wanted = [("1:0:0:0", "TEST DVD 1:0:0:0", ""), ("6:0:0:0", "TEST DVD 6:0:0:0", str(3 * 256 + 18))]
    wait_for(lambda: drives() == wanted, what=drives)


@with_devices()
def isos(host):
    """ISOs that come and go are seen at once, also where their folder goes, or is another one."""
    folder = os.path.join(host.stack.state, "storage/isos")
    assert host.isos() == []
    for name in ("b.iso", "a.iso", "null.iso", "a.img"):
        write(os.path.join(folder, name), "")
    wait_for(lambda: host.isos() == ["a.iso", "b.iso"])
    os.rename(folder + "/b.iso", folder + "/c.iso")
    os.unlink(folder + "/a.iso")
    wait_for(lambda: host.isos() == ["c.iso"])
    os.rename(folder, folder + "-before")
    wait_for(lambda: host.isos() == [])
    write(folder + "/d.iso", "")
    wait_for(lambda: host.isos() == ["d.iso"])
    host.set("/", XM + ".config", "iso-path", "/storage/isos-before")
    wait_for(lambda: host.isos() == ["c.iso"])
    write(folder + "-before/e.iso", "")
    wait_for(lambda: host.isos() == ["c.iso", "e.iso"])


if __name__ == "__main__":
    oxt.main()
