#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What xenvm saves of VMs and gets back, on real QEMU, with guests of one boot sector."""
import json
import os
import signal
import stat
import struct
import subprocess

import oxt
from xenvm import Machine, Monitors, Watcher, done, places

stack = Monitors()
watcher = Watcher(stack)
machine = stack.machine


@oxt.case
def suspend_and_restore():
    """A counter in the guest goes on where it was; files of others and damaged ones are refused"""
    m = machine("count")
    m.cmd("start")
    oxt.wait_for(lambda: len(m.output()) > 12, 10, "the count")
    save = os.path.join(stack.root, "saved")
    watcher.clear()
    m.cmd("suspend", "file=" + save)
    assert m.status() == "suspended" and watcher.states(m) == ["suspending", "suspended"]
    assert stat.S_IMODE(os.stat(save).st_mode) == 0o600 and not os.path.exists(save + ".tmp")
    before = m.output()
    other = machine("count")
    assert "another VM" in other.fails("restore", save)
    done(other)
    with open(save, "rb") as f:
        data = f.read()
    damaged = os.path.join(stack.root, "damaged")
    for name, bad in (("cut short", data[:-10]), ("sum", data[:200000] + b"\0\1\2\3" + data[200004:]),
                      ("header is damaged", data[:17] + b"\xff" + data[18:]), ("not a saved VM", b"hello"),
                      ("header is damaged", data[:30] + b"}" + data[31:])):
        with open(damaged, "wb") as f:
            f.write(bad)
        assert name in m.fails("restore", damaged), name
    watcher.clear()
    m.cmd("restore", "file=" + save, "delete=false")
    assert watcher.states(m) == ["restoring", "creating-domain", "creating-devices", "created", "running"]
    oxt.wait_for(lambda: len(m.output()) > 3, 10, "the count after")
    expected = chr((ord(before[-1]) - 64) % 26 + 65)
    assert m.output()[0] in (expected, before[-1]), (before, m.output())
    m.cmd("checkpoint", save)
    assert m.status() == "running"
    at = len(m.output())
    oxt.wait_for(lambda: len(m.output()) > at + 2, 10, "the count after the checkpoint")
    m.cmd("destroy")
    m.cmd("restore-no-del", save)
    assert m.status() == "running" and os.path.exists(save)
    m.cmd("destroy")
    m.cmd("restore", save)
    assert m.status() == "running" and not os.path.exists(save)
    m.cmd("destroy")
    # A config that has changed since is told apart before anything is built.
    m.cmd("start")
    m.cmd("suspend", save)
    m.write(memory="48")
    m.cmd("read-config")
    assert "32 MiB" in m.fails("restore", save)
    m.write(memory="32", vcpus="2")
    m.cmd("read-config")
    assert "config has changed" in m.fails("restore", save)
    assert os.path.exists(save)
    done(m)


@oxt.case
def config_since_the_start():
    """A monitor that takes a VM on goes by the config it was started with, and by what the file says now at the next start alone"""
    m = machine("count")
    m.cmd("set", "vcpus", "2")
    m.cmd("set", "memory", str((40 << 10) + 1))  # only the command can say that
    m.cmd("start")
    oxt.wait_for(lambda: len(m.output()) > 3, 10, "the count")
    m.write(memory="48", disk=[m.image + ":file:hdb:w:disk"])
    m.kill_monitor()
    m.monitor()
    assert "hda" in m.cmd("disk-list") and "hdb" not in m.cmd("disk-list")
    assert m.cmd("get", "memory") == str(48 << 10) and m.cmd("get", "vcpus") == "1"
    save = os.path.join(stack.root, "saved later")
    m.cmd("suspend", save)
    assert "40 MiB" in m.fails("restore", save)
    m.write(memory="40", vcpus="2", disk=[m.image + ":file:hda:w:disk"])
    m.cmd("read-config")
    assert "40 MiB" in m.fails("restore", save)
    m.cmd("set", "memory", str((40 << 10) + 1))
    before = m.output()
    m.cmd("restore", save)
    oxt.wait_for(lambda: len(m.output()) > 3, 10, "the count after")
    assert m.output()[0] in (chr((ord(before[-1]) - 64) % 26 + 65), before[-1]), (before, m.output())
    m.cmd("destroy")
    assert sorted(os.listdir(m.dir)) == ["lock", "monitor.json"], os.listdir(m.dir)
    done(m)


@oxt.case
def damaged_saves():
    """A byte changed anywhere in a saved VM's file, its padding apart: refused, nothing is built, and the good file still works"""
    m = machine("count")
    m.cmd("start")
    save, bad = (os.path.join(stack.root, n) for n in ("good", "bad"))
    m.cmd("suspend", save)
    with open(save, "rb") as f:
        data = f.read()
    length = struct.unpack(">I", data[17:21])[0]
    header = 21 + length + 16  # "OxtSavedDomain 1\n", length, JSON, its sum
    assert json.loads(data[21:21 + length])["uuid"] == m.uuid and data[header:65536].strip(b"\0") == b""
    places = [*range(0, 21), *range(21, header, max(1, length // 24)), *range(header - 16, header),
              *range(65536, len(data), (len(data) - 65536) // 12), len(data) - 1]
    watcher.clear()
    for at in places:
        with open(bad, "wb") as f:
            f.write(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1:])
        error = m.fails("restore", bad)
        assert any(w in error for w in ("damaged", "not a saved VM", "cut short")), (at, error)
    assert m.pid() == 0 and "creating-domain" not in watcher.states(m)
    with open(bad, "wb") as f:
        f.write(data + b"x")
    assert "cut short" in m.fails("restore", bad)
    m.cmd("restore", save)
    assert m.status() == "running"
    done(m)


@oxt.case
def cancelled_saves():
    """A suspend and a checkpoint that are cancelled in the middle: the VM goes on, and an older file stays as it was"""
    m = machine("count", memory="4096", no_mem_check="true")  # so much that it takes a while
    m.cmd("start")
    save = os.path.join(stack.root, "long")
    with open(save, "w") as f:
        f.write("an older one")
    for command in ("suspend", "checkpoint"):
        watcher.clear()
        saving = m.begin(command, save)
        oxt.wait_for(lambda: os.path.exists(save + ".tmp"), 20, "the file")
        assert m.cmd("progress").startswith(command)
        assert "Vm_bad_state" in m.fails("pause")
        m.cmd("cancel")
        assert saving.wait(60) == 1 and "cancelled" in saving.stderr.read()
        assert m.status() == "running" and watcher.states(m) == ["suspending", "running"], watcher.states(m)
        assert not os.path.exists(save + ".tmp")
        with open(save) as f:
            assert f.read() == "an older one"
        at = len(m.output())
        oxt.wait_for(lambda: len(m.output()) > at + 2, 20, "the count")
    assert "no suspend or checkpoint" in m.fails("cancel")
    # A monitor that is killed in the middle: its successor lets the VM go on, and the older file is still the old one.
    saving = subprocess.Popen([oxt.program("xenvm-cmd"), m.uuid, "suspend", save], env=stack.env, stderr=subprocess.DEVNULL)
    oxt.wait_for(lambda: os.path.exists(save + ".tmp"), 20, "the file")
    m.kill_monitor()
    assert saving.wait(60) == 1
    m.monitor()
    m.wait_status("running", 30)
    at = len(m.output())
    oxt.wait_for(lambda: len(m.output()) > at + 2, 20, "the count")
    with open(save) as f:
        assert f.read() == "an older one"
    assert not os.path.exists(save + ".tmp")
    # One that ends in the middle because it is told to lets the VM go on itself.
    for way in ("quit", "SIGTERM"):
        saving = subprocess.Popen([oxt.program("xenvm-cmd"), m.uuid, "suspend", save], env=stack.env, stderr=subprocess.DEVNULL)
        oxt.wait_for(lambda: os.path.exists(save + ".tmp"), 20, "the file")
        if way == "quit":
            m.cmd("quit")
        else:
            os.kill(m.pid("monitor"), signal.SIGTERM)
        assert saving.wait(60) == 1
        m.wait_gone()
        assert not os.path.exists(save + ".tmp")
        # A host that is slow has it stopped still, and the next monitor lets it go on.
        m.monitor()
        m.wait_status("running", 30)
        at = len(m.output())
        oxt.wait_for(lambda: len(m.output()) > at + 2, 20, "the count")
    done(m)


@oxt.case
def full_disk():
    """A save onto a full disk fails in words, the VM goes on, and the older file is a good one still"""
    oxt.needs_root()
    m = Machine(stack, "count")
    folder = os.path.join(stack.root, "small")
    os.mkdir(folder)
    r = stack.run(["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=8m none %s && exec %s --config %s" % (
        folder, os.path.abspath(oxt.program("xenvm")), m.config)])
    if "mount" in r.stderr or "unshare" in r.stderr:
        raise oxt.Skip("no mount namespaces here")
    oxt.wait_for(lambda: stack.owned(m.name), 10, "the monitor")
    save = os.path.join(folder, "saved")
    m.cmd("start")
    m.cmd("checkpoint", save)
    inside = "/proc/%d/root%s/" % (m.pid("monitor"), folder)
    room = os.statvfs(inside).f_bavail * os.statvfs(inside).f_bsize
    with open(inside + "other", "wb") as f:
        f.write(b"x" * (room - os.path.getsize(inside + "saved") // 2))
    watcher.clear()
    error = m.fails("suspend", save)
    assert "space" in error, error
    assert m.status() == "running" and watcher.states(m) == ["suspending", "running"], watcher.states(m)
    at = len(m.output())
    oxt.wait_for(lambda: len(m.output()) > at + 2, 10, "the count")
    m.cmd("destroy")
    m.cmd("restore", save)
    assert m.status() == "running"
    done(m)


@oxt.case
def slow_disk():
    """While a disk takes its time with the saved file the monitor answers, cancels and destroys; what that disk then says is told"""
    m = Machine(stack, "count")
    faults, save = os.path.join(stack.root, "faults"), os.path.join(stack.root, "slow")

    def faulty(text):
        with open(faults + ".new", "w") as f:
            f.write(text)
        os.rename(faults + ".new", faults)

    def written():
        """Whether all of the file is, but on the disk."""
        try:
            with open(save + ".tmp", "rb") as f:
                return f.read(3) == b"Oxt"
        except FileNotFoundError:
            return False

    def saving(command):
        p = subprocess.Popen([oxt.program("xenvm-cmd"), "--reply-timeout", "600", m.uuid, command, save], env=stack.env, stderr=subprocess.PIPE, text=True)
        oxt.wait_for(written, 20, "the file")
        return p

    faulty("sync-delay 300000")
    environment = dict(stack.env)
    stack.env.update(oxt.preloaded("libdisk-faults.so", stack.env), OXT_DISK_FAULTS=faults)
    m.monitor()
    stack.env.clear()
    stack.env.update(environment)
    with open(save, "w") as f:
        f.write("an older one")
    m.cmd("start")
    for command in ("suspend", "checkpoint"):
        p = saving(command)
        assert m.status() == "suspending" and "Vm_bad_state" in m.fails("pause")
        m.cmd("cancel")
        assert p.wait(60) == 1 and "cancelled" in p.stderr.read()
        assert m.status() == "running" and not os.path.exists(save + ".tmp")
    p = saving("suspend")
    m.cmd("destroy")
    assert p.wait(60) == 1 and m.status() == "shutdown" and not os.path.exists(save + ".tmp")
    faulty("sync EIO")
    m.cmd("start")
    assert "Input/output error" in m.fails("suspend", save) and m.status() == "running" and not os.path.exists(save + ".tmp")
    with open(save) as f:
        assert f.read() == "an older one"
    # Once the file is in its place it is the new one, and the save is no failure any more.
    faulty("sync-folder EIO")
    m.cmd("suspend", save)
    assert m.status() == "suspended" and "%s: a crash of this host may" % save in m.log()
    m.cmd("restore", save)
    done(m)


@oxt.case
def startup_restore():
    """startup = restore begins with the saved state and keeps the file"""
    m = machine("count")
    m.cmd("start")
    save = os.path.join(stack.root, "saved at start")
    m.cmd("suspend", save)
    m.cmd("quit")
    m.wait_gone()
    m.write(startup="restore " + save)
    m.monitor()
    m.wait_status("running")
    assert os.path.exists(save)
    done(m)
    # With restore-del it is gone once the VM is there.
    m.write(startup="restore-del " + save)
    m.monitor()
    m.wait_status("running")
    oxt.wait_for(lambda: not os.path.exists(save), 5, "the file's end")
    done(m)


@oxt.case
def live_suspend():
    """suspend live=true: the guest counts on while it is written, and goes on from where it was then"""
    m = machine("count")
    m.cmd("start")
    oxt.wait_for(lambda: len(m.output()) > 3, 10, "the count")
    save = os.path.join(stack.root, "saved live")
    watcher.clear()
    m.cmd("suspend", "file=" + save, "live=true")
    assert watcher.states(m) == ["suspending", "suspended"]
    before = m.output()
    m.cmd("restore", save)
    oxt.wait_for(lambda: len(m.output()) > 3, 10, "the count after")
    assert m.output()[0] in (chr((ord(before[-1]) - 64) % 26 + 65), before[-1]), (before, m.output())
    done(m)


@oxt.case
def suspend_with_changes():
    """Suspended and restored with the disks and cards that were plugged in and unplugged, and the CD that lies in the drive"""
    m = machine("count")
    first, extra, more, iso = (os.path.join(stack.root, n) for n in ("first.img", "plug1.img", "plug2.img", "swap.iso"))
    for size, path in enumerate((first, extra, more, iso), 1):
        with open(path, "wb") as f:
            f.truncate(size << 20)
    m.write(disk=[m.image + ":file:hda:w:disk", first + ":file:xvda:w:disk", ":file:hdc:r:cdrom"],
            nic=["bridge=user,model=e1000", "bridge=user,model=virtio"])
    m.cmd("read-config")
    m.cmd("start")
    m.cmd("device", "disk", "add", extra + ":file:xvdb:w:disk")
    m.cmd("device", "nic", "add", "bridge=user,model=e1000")
    m.cmd("device", "disk", "add", more + ":file:xvdd:r:disk:iops=70")
    m.cmd("cd-insert-file", "hdc", iso)
    disks, cards, where = m.cmd("disk-list"), m.cmd("nic-list"), places(m)
    assert iso in disks and "xvdb" in disks and "xvdd" in disks and len(cards.splitlines()) == 4
    assert {"xvda", "xvdb", "xvdd", "vif0", "vif1", "vif2"} <= set(where), where
    save = os.path.join(stack.root, "saved with changes")
    m.cmd("suspend", save)
    assert m.status() == "suspended" and m.cmd("disk-list") != disks
    # Refused before anything is touched: an image that is gone, a file of which a byte of the header changed.
    os.rename(more, more + ".away")
    watcher.clear()
    assert more in m.fails("restore", save)
    assert watcher.states(m) == [] and m.status() == "suspended" and os.path.exists(save)
    os.rename(more + ".away", more)
    m.kill_monitor()
    m.monitor()
    m.cmd("restore", "file=" + save, "delete=false")
    assert m.status() == "running" and m.cmd("disk-list") == disks and m.cmd("nic-list") == cards
    assert places(m) == where, (places(m), where)
    block = {d.get("qdev", "").split("/")[3]: d.get("inserted") for d in m.ask_qemu("query-block")[0] if d.get("qdev", "").count("/") > 2}
    assert block["xvdd"]["ro"] and block["xvdd"]["iops"] == 70 and block["xvdb"]["image"]["virtual-size"] == 2 << 20, block
    # Once more, with the restored VM's own changes on top; what is not in the config is gone after the next start.
    m.cmd("cd-eject", "hdc")
    disks = m.cmd("disk-list")
    m.cmd("suspend", save)
    m.cmd("restore", save)
    assert m.cmd("disk-list") == disks and places(m) == where and not os.path.exists(save)
    at = len(m.output())
    oxt.wait_for(lambda: len(m.output()) > at + 2, 10, "the count")
    m.cmd("destroy")
    m.cmd("start")
    assert "xvdb" not in m.cmd("disk-list") and len(m.cmd("nic-list").splitlines()) == 3
    done(m)


try:
    oxt.main()
finally:
    stack.stop()
