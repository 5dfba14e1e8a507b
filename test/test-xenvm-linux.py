#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenvm as a Linux guest sees it: what the boot sectors of test-xenvm.py cannot look at. Two boots."""
import base64
import os
import re

import oxt
import whole
from processes import alive
from xenvm import Machine, Monitors, Watcher

# A line five times a second: a number that only grows, memory, disks and cards as the guest's kernel knows them.
LOOKS = """
while :; do
  n=$((n+1))
  echo "oxt: look $n $(sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)" \
    "disks=$(cd /sys/block && echo vd*) cards=$(cd /sys/class/net && echo eth*)"
  sleep 0.2
done
"""
# What is not written to the disk's image by now is lost: the file is the proof of what the guest has written.
WRITES = """
(until [ -b /dev/vda ]; do sleep 0.1; done; printf guest | dd of=/dev/vda conv=fsync 2>/dev/null; echo "oxt: wrote") &
(until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; ifconfig eth0 up
 echo "oxt: address $(cat /sys/class/net/eth0/address)") &
"""
BOOT = 60   # seconds
MAC = "00:16:3e:01:02:03"

stack = Monitors()
watcher = Watcher(stack)


class Linux(Machine):
    def __init__(self, script, **keys):
        folder = whole.image()
        super().__init__(stack, memory="192", hvm="false", kernel=folder + "/vmlinux", initrd=folder + "/initrd", disk=[],
                         cmdline="console=ttyS0 quiet oxt.run=" + base64.b64encode(script.encode()).decode(), **keys)

    def look(self, accept=lambda look: True, seconds=20, what="a look"):
        """The first look that the guest takes from now on and that is accepted: number, KiB, disks, cards."""
        seen = len(self.output())

        def fitting():
            for m in re.finditer(r"^oxt: look (\d+) (\d+) disks=(.*) cards=(.*)$", self.output()[seen:], re.M):
                look = (int(m[1]), int(m[2]), m[3].split(), m[4].split())
                if accept(look):
                    return look
            return None

        try:
            return oxt.wait_for(fitting, seconds, what)
        except AssertionError as e:
            raise AssertionError("%s; the console ends with %r; log:\n%s" % (e, self.output()[-500:],
                                                                           self.log()[-2000:])) from None

    def said(self, text, seconds=20):
        oxt.wait_for(lambda: text in self.output(), seconds, "%r in %r" % (text, self.output()[-500:]))


class World:
    """One guest for all cases but the last: a boot is dear."""
    vm = None

    @classmethod
    def get(cls):
        if not cls.vm:
            cls.vm = Linux(WRITES + LOOKS, on_halt="destroy")
            cls.vm.monitor()
            cls.vm.cmd("start")
            cls.vm.look(seconds=BOOT)
        return cls.vm


@oxt.case
def suspend():
    """Suspended and restored, also by another monitor, Linux counts on where it was"""
    m = World.get()
    saved = os.path.join(stack.root, "saved")
    before = m.look()[0]
    m.cmd("suspend", saved)
    m.wait_status("suspended")
    m.kill_monitor()
    m.monitor()
    last = int(re.findall(r"look (\d+)", m.output())[-1])
    assert last >= before
    os.rename(m.serial, m.serial + ".1")
    m.cmd("restore", saved)
    after = m.look(seconds=10)[0]
    first = int(re.search(r"look (\d+)", m.output())[1])
    # At most the line that was in the middle of being written is cut in two.
    assert first - last in (1, 2), (last, first, after)


@oxt.case
def memory():
    """The target of the balloon is what the guest has left"""
    m = World.get()
    whole_memory = m.look()[1]
    m.cmd("set-mem-target", "128")
    less = m.look(lambda look: whole_memory - 66000 < look[1] < whole_memory - 60000, what="64 MiB less")[1]
    m.cmd("set-mem-target", "192")
    m.look(lambda look: look[1] == whole_memory, what="all memory back, from %d to %d" % (less, whole_memory))


@oxt.case
def disk():
    """A disk that is plugged in is there for the guest, which writes to it; unplugged it is gone"""
    m = World.get()
    assert m.look()[2] == ["vd*"]
    image = os.path.join(stack.root, "extra.img")
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    m.cmd("device", "disk", "add", image + ":file:xvdb:w:disk")
    m.look(lambda look: look[2] == ["vda"], what="the disk")
    m.said("oxt: wrote")
    with open(image, "rb") as f:
        assert f.read(5) == b"guest"
    m.cmd("device", "disk", "del", "xvdb")
    m.look(lambda look: look[2] == ["vd*"], what="the disk's end")
    assert "xvdb" not in m.cmd("device", "disk", "list")


@oxt.case
def card():
    """A network card that is plugged in is there with its address; unplugged it is gone"""
    m = World.get()
    assert m.look()[3] == ["eth*"]
    m.cmd("device", "nic", "add", "id=1,bridge=user,mac=%s,model=virtio" % MAC)
    m.look(lambda look: look[3] == ["eth0"], what="the card")
    m.said("oxt: address " + MAC)
    m.cmd("device", "nic", "del", "1")
    m.look(lambda look: look[3] == ["eth*"], what="the card's end")


@oxt.case
def suspend_plugged():
    """Restored with a card that was plugged in and without a disk that was unplugged, Linux goes on with both and plugs anew"""
    m = World.get()
    image, saved = (os.path.join(stack.root, n) for n in ("again.img", "saved with changes"))
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    m.cmd("device", "disk", "add", image + ":file:xvdb:w:disk")
    m.cmd("device", "nic", "add", "id=1,bridge=user,mac=%s,model=virtio" % MAC)
    m.look(lambda look: (look[2], look[3]) == (["vda"], ["eth0"]), what="both")
    m.cmd("device", "disk", "del", "xvdb")
    before = m.look(lambda look: look[2] == ["vd*"], what="the disk's end")[0]
    m.cmd("suspend", saved)
    m.kill_monitor()
    m.monitor()
    m.cmd("restore", saved)
    after = m.look(what="a look after the restore")
    assert after[0] > before and after[2:] == (["vd*"], ["eth0"]), (before, after)
    m.cmd("device", "disk", "add", image + ":file:xvdb:w:disk")
    m.look(lambda look: look[2] == ["vda"], what="the disk, again")
    m.cmd("device", "disk", "del", "xvdb")
    m.cmd("device", "nic", "del", "1")
    m.look(lambda look: (look[2], look[3]) == (["vd*"], ["eth*"]), what="the end of both")


@oxt.case
def halt():
    """A guest that listens to its power button is halted by it, without an agent"""
    m = World.get()
    qemu = m.pid()
    watcher.clear()
    m.cmd("halt")
    assert "oxt: power button" in m.output()
    m.wait_status("shutdown")
    assert not alive(qemu)
    assert watcher.states(m) == ["shutdowning", "shutdown"], watcher.states(m)
    m.cmd("quit")


@oxt.case
def crash():
    """A kernel that panics is a crash, and started anew as on_crash says"""
    m = Linux("echo 'oxt: panics'; echo c >/proc/sysrq-trigger", on_crash="restart")
    m.monitor()
    m.cmd("start")
    first = m.pid()
    watcher.wait(m, "error:crashed", BOOT)
    oxt.wait_for(lambda: watcher.states(m).count("running") >= 2, 10, "the second start")
    assert m.pid() != first and not alive(first)
    m.said("oxt: panics", BOOT)  # whose serial line begins anew
    m.cmd("destroy")
    m.cmd("quit")


try:
    oxt.main()
finally:
    stack.stop()
