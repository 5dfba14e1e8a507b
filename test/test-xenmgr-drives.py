#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
CD drives of the host and their events. The host is a VM with an emulated drive, so that discs come and go and its button is
pressed as on a real one; in it run a bus, dbd and xenmgr with a VM of their own that is given the drive. One boot of Linux.
"""
import base64
import glob
import os
import re
import shutil
import subprocess
import tarfile

import oxt
import whole
from xenvm import Machine, Monitors, sector

MODULES = "scsi_common scsi_mod cdrom sr_mod libata ata_piix soundcore snd snd-timer snd-pcm snd-dummy"
QEMU = ("/usr/share/seabios", "/usr/share/qemu/kvmvapic.bin", *glob.glob("/usr/lib/*/qemu/accel-tcg-x86_64.so"))
PASSWD = "root:x:0:0:root:/:/bin/sh\noxt-dbd:x:901:901::/:/bin/sh\noxt-mgr:x:902:902::/:/bin/sh\n"
GROUP = "root:x:0:\noxt:x:900:oxt-mgr,oxt-dbd\noxt-dbd:x:901:\noxt-mgr:x:902:\noxt-proxy:x:903:\ncdrom:x:24:oxt-mgr\n"

VM = ('{"slot": "-1", "config": {"virt-type": "hvm", "memory": "16", "display": "none", "notify": "dbus", "disk": {'
      '"0": {"path": "/storage/disks/loop.img", "type": "file", "mode": "w", "device": "hda", "devtype": "disk"},'
      '"1": {"path": "/storage/isos/null.iso", "type": "file", "mode": "r", "device": "hdc", "devtype": "cdrom"}}}}')

# "now:" asks the test for what only somebody at the machine can do. A state is the drive, who holds it (x: the VM), and
# whether the VM's device model has it open, which it has while the VM is shown the disc.
SCRIPT = """
export OXT_STATE_DIR=/state OXT_RUNTIME_DIR=/run/stack OXT_DATA_DIR=/data DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus.sock
export PATH=/opt/bin:$PATH
say() { echo "oxt: $*"; }
host() { xec -o /host -i com.citrix.xenclient.xenmgr.host "$@"; }
fail() { say "failed: $*"; tail -n 25 /tmp/xenmgr.log /state/vm-log/*; say end; exit 1; }
good() { "$@" >/tmp/out 2>&1 || { cat /tmp/out; fail "$*"; }; }
state() {
  drive=$(host list-cd-devices | grep -c 'QEMU DVD-ROM')
  host get-cd-device-assignment $id | grep -q "$uuid" && held=x || held=-
  ls -l /proc/$(pidof qemu-system-x86_64)/fd | grep -q 'dev/sr' && shown=disc || shown=-
  echo "$drive $held $shown"
}
reach() { # state, what
  end=$(($(date +%s) + 120))
  until [ "$(state)" = "$1" ]; do
    [ $(date +%s) -lt $end ] || fail "$2: $(state)"
    sleep 0.3
  done
  say "$2: $1"
}
echo 0 >/proc/sys/dev/cdrom/autoclose
mount -t tmpfs tmp /tmp; chmod 1777 /tmp
mkdir -p /dev/shm /dev/pts /run/stack /state/storage/disks; mount -t devpts pts /dev/pts
chmod 755 /run /run/stack /state
echo 500 >/sys/module/block/parameters/events_dfl_poll_msecs
rmmod snd-dummy || fail "no sound card to take out"
until [ -e /dev/sr0 ]; do sleep 0.1; done
chown 0:24 /dev/sr0; chmod 660 /dev/sr0
good dbus-daemon --config-file=/bus.conf --fork
dbd >/tmp/dbd.log 2>&1 &
xenmgr --debug --no-autostart >/tmp/xenmgr.log 2>&1 &
n=0; until xec list-vms >/tmp/out 2>&1; do n=$((n+1)); [ $n -lt 100 ] || fail "xenmgr is not up"; sleep 0.3; done
cp /loop.img /state/storage/disks/; chmod 666 /state/storage/disks/loop.img
mkdir -p /state/storage/isos; : >/state/storage/isos/null.iso
id=$(ls /sys/bus/scsi/devices | grep ^[0-9])
vm=$(xec create-vm-with-template-and-json "" "$(cat /vm.json)")
uuid=$(echo $vm | sed 's,.*/vm/,,; s,_,-,g; s,[^0-9a-f-],,g')
say "drive $id, VM $uuid"
good xec -o /vm/$(echo $uuid | tr - _) -i com.citrix.xenclient.xenmgr.vm start
reach "1 - -" "nobody has it"
good host assign-cd-device $id false $uuid
reach "1 x disc" "assigned"
say "now: take the disc out"
reach "1 x -" "no disc"
cdrom_id --lock-media /dev/sr0 # as a system does with what it has mounted: the drive gets the disc all the same
say "now: put a disc in"
reach "1 x disc" "another disc"
good host eject-cd-device $id
reach "1 x -" "ejected"
dd if=/dev/sr0 of=/dev/null count=1 2>&1 | grep -q 'No medium' || fail "the tray is shut"
say "now: put a disc in"
reach "1 x disc" "the next disc"
# As udev does while there is a disc, so that the button asks.
while [ ! -e /tmp/pressed ]; do cdrom_id --lock-media /dev/sr0 >/dev/null; sleep 1; done &
say "now: press the button"
reach "1 x -" "the button"
touch /tmp/pressed; wait $!
say "now: put a disc in"
reach "1 x disc" "a disc once more"
echo 1 >/sys/block/sr0/device/delete
reach "0 - -" "pulled out"
echo "- - -" >/sys/class/scsi_host/host${id%%:*}/scan
reach "1 - -" "plugged in"
[ $(host list-sound-cards | grep -c Dummy) = 0 ] || fail "a sound card that is not there"
insmod /lib/modules/snd-dummy.ko
n=0; until host list-sound-cards | grep -q Dummy; do n=$((n+1)); [ $n -lt 100 ] || fail "no sound card"; sleep 0.3; done
say "sound card: seen"
grep -E 'disc|drive' /tmp/xenmgr.log | sed 's/^/oxt: log: /'
say end
"""


def libraries(path):
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r"(?:=> *|^\s*)(/\S+)", out, re.M)


def host_disk(path):
    """What the host has beside the guest image: a tar archive as a disk."""
    programs = [oxt.program(n) for n in ("dbd", "xenmgr", "xenvm", "xec")]
    tools = [shutil.which("dbus-daemon"), shutil.which("qemu-system-x86_64"), "/lib/udev/cdrom_id"]
    files = {"/opt/bin/" + os.path.basename(p): p for p in programs + tools}
    files["/usr/bin/qemu-system-x86_64"] = files.pop("/opt/bin/qemu-system-x86_64")
    for p in programs + tools:
        files.update({library: library for library in libraries(p)})
    files.update({f: f for f in QEMU})
    files["/data"] = os.path.join(oxt.SOURCE, "data")
    root = os.path.dirname(path)
    for name, content in (("etc/passwd", PASSWD), ("etc/group", GROUP), ("vm.json", VM), ("run.sh", SCRIPT),
                          ("bus.conf", oxt.BUS_CONFIG.format(socket="/run/bus.sock"))):
        copy = os.path.join(root, os.path.basename(name))
        with open(copy, "w") as f:
            f.write(content)
        files["/" + name] = copy
    with open(os.path.join(root, "loop.img"), "wb") as f:
        f.write(sector("loop"))
    files["/loop.img"] = f.name
    with tarfile.open(path, "w", dereference=True) as tar:
        for name, source in files.items():
            tar.add(os.path.realpath(source), name)


@oxt.case
def drives():
    """A VM that holds the host's CD drive is shown each disc; the button opens it, and a drive that is pulled out is free"""
    if not os.path.exists("/lib/udev/cdrom_id"):
        raise oxt.Skip("udev is not installed")
    stack = Monitors()
    folder = whole.image("guest-image-drives", [], MODULES)
    disk = os.path.join(stack.root, "host.tar")
    host_disk(disk)
    discs = [os.path.join(stack.root, "disc%d.iso" % i) for i in range(2)]
    for i, disc in enumerate(discs):
        with open(disc, "wb") as f:
            f.write(bytes([i]) * (1 << 20))
    m = Machine(stack, memory="768", hvm="false", kernel=folder + "/vmlinux", initrd=folder + "/initrd",
                disk=[disk + ":file:xvda:r:disk", discs[0] + ":file:hdc:r:cdrom"], on_halt="destroy",
                cmdline="console=ttyS0 quiet oxt.run=" + base64.b64encode(b"tar xf /dev/vda -C / && . /run.sh").decode())
    tray = lambda act: {"execute": "blockdev-%s-tray" % act, "arguments": {"id": "hdc"}}

    def take_out(_):
        m.cmd("cd-eject", "hdc")
        m.ask_qemu(tray("close"))  # a drive of QEMU's tells of an open tray only once it is shut

    def drive(devices):
        return next(d for d in devices if d.get("qdev", "").endswith("hdc"))

    def press(_):
        """The button of a drive that is not locked opens it, and nobody is asked."""
        def asks():
            if not drive(m.ask_qemu("query-block")[0])["locked"]:
                return False
            _, devices = m.ask_qemu(tray("open"), "query-block")
            return not drive(devices)["tray_open"] or m.ask_qemu(tray("close")) is None
        oxt.wait_for(asks, 120, "a locked drive")

    acts = {"take the disc out": take_out, "press the button": press,
            "put a disc in": lambda number: m.cmd("cd-insert-file", "hdc", discs[number % 2])}

    def lines(start="oxt: "):
        whole_lines = m.output().replace("\r", "").split("\n")[:-1]
        return [line[len(start):] for line in whole_lines if line.startswith(start)]

    asked = lambda: lines("oxt: now: ")
    done = 0
    try:
        m.monitor()
        m.cmd("start")
        while "end" not in lines():
            oxt.wait_for(lambda: len(asked()) > done or "end" in lines(), 240, "what comes after %s" % lines()[-1:])
            if len(asked()) > done:
                acts[asked()[done]](done)
                done += 1
        print("# " + "\n# ".join(lines()))
        assert done == 5 and not [line for line in lines() if line.startswith("failed")], m.output()[-6000:]
    finally:
        m.cmd("destroy")
        stack.stop()


if __name__ == "__main__":
    oxt.main()
