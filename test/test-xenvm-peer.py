#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU that lies (fake-qemu.py): the monitor neither hangs nor grows, says what is wrong, and leaves nothing."""
import os
import shutil
import signal
import time

import oxt
from processes import alive
from xenvm import Machine, Monitors, done

stack = Monitors()
# A copy, since who it runs as may not be able to pass through the folders of the source.
FAKE = shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake-qemu.py"), stack.root)


def machine(mode, timeout="1"):
    m = Machine(stack, name=mode, **{"qemu-dm-path": FAKE, "qemu-dm-timeout": timeout})
    m.monitor()
    return m


def memory(pid):
    with open("/proc/%d/maps" % pid) as f:
        if "libasan" in f.read():
            return 0  # the sanitizer's own
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


@oxt.case
def bad_starts():
    """Every lie during a start: it fails in time and in words, and the monitor answers meanwhile"""
    # Where words say what it is the time is long: a QEMU that is only late must not hide it.
    for mode, words, timeout in (
            ("silent", "time", 4), ("garbage", "not JSON|time", 1), ("oversized", "more than|time", 1), ("deep", "not JSON|time", 1),
            ("event-first", "greeting|time", 1), ("greet-twice", "twice|time", 1), ("leave", "time", 1), ("mute", "time|answer", 1),
            ("wrong-types", "state", 30), ("error", "reason", 30), ("die", "broken", 30), ("die-later", "ended", 30)):
        m = machine(mode, str(timeout))
        pid = m.pid("monitor")
        before = descriptors(pid)
        start = m.begin("start")
        time.sleep(0.1)
        m.status()
        assert mode != "silent" or start.poll() is None, "the monitor answers only when the start has failed"
        assert start.wait(60) == 1, mode
        text = start.stderr.read()
        assert any(w in text for w in words.split("|")), (mode, text)
        assert "\033" not in text
        oxt.wait_for(lambda: m.status() == "shutdown", 3, mode)
        assert sorted(os.listdir(m.dir)) == ["lock", "monitor.json"], (mode, os.listdir(m.dir))
        assert descriptors(pid) == before, (mode, before, descriptors(pid))
        assert m.pid() == 0 and memory(pid) < 4096, (mode, memory(pid))
        m.cmd("quit")


@oxt.case
def odd_but_usable():
    """Answers to nobody and floods of events change nothing; a late answer is an answer"""
    for mode in ("strangers", "flood", "late", "honest"):
        m = machine(mode, "30")
        m.cmd("start")
        assert m.status() == "running", mode
        pid, qemu = m.pid("monitor"), m.pid()
        assert memory(pid) < 6144, (mode, memory(pid))
        m.cmd("destroy")
        assert not alive(qemu)
        m.cmd("quit")


@oxt.case
def flood_of_events():
    """Events without end where they are read before all else: commands are answered, and destroy ends it"""
    m = machine("flood-events", "30")
    m.cmd("start")
    pid, qemu = m.pid("monitor"), m.pid()
    for _ in range(5):
        assert m.status() == "running"
    assert memory(pid) < 6144, memory(pid)
    m.cmd("destroy")
    assert m.status() == "shutdown" and not alive(qemu) and m.pid("monitor") == pid
    m.cmd("quit")


@oxt.case
def stopped_process():
    """A QEMU that is stopped: short commands answer, destroy kills it at once"""
    m = machine("honest", "30")
    m.cmd("start")
    qemu = m.pid()
    os.kill(qemu, 19)
    pause = m.begin("pause")
    time.sleep(0.2)
    begin = time.monotonic()
    assert m.status() == "running"
    m.cmd("destroy")
    assert time.monotonic() - begin < 10 and not alive(qemu), "it did not wait for QEMU"
    assert pause.wait(60) == 1
    m.cmd("quit")


@oxt.case
def adopted_while_stopped():
    """A monitor that comes back to a QEMU that does not answer keeps the VM, controls it once it answers, and destroys it when told"""
    m = stack.machine()
    m.cmd("start")
    qemu = m.pid()

    def come_back():
        m.kill_monitor()
        m.monitor(wait=False)
        oxt.wait_for(lambda: stack.owned(m.name), 60, "the monitor")
        assert m.status() == "running" and alive(qemu) and m.pid() == qemu
        assert "cannot be asked" in m.fails("pause") and m.status() == "running"

    os.kill(qemu, signal.SIGSTOP)
    come_back()
    os.kill(qemu, signal.SIGCONT)
    oxt.wait_for(lambda: "Found the VM running" in m.log(), 30, "QEMU's answer")
    m.cmd("pause")
    m.cmd("unpause")
    os.kill(qemu, signal.SIGSTOP)
    come_back()
    m.cmd("destroy")
    assert not alive(qemu) and m.status() == "shutdown"
    m.served_by = m.pid("monitor")
    done(m)


@oxt.case
def pci_devices():
    """A PCI device is unplugged by the id that the list shows, and is in no list then, so that the VM can be saved again"""
    m = machine("honest", "30")
    m.cmd("start")
    m.cmd("device", "pci", "add", "3,0000:00:1b.0")
    m.cmd("device", "pci", "add", "4,0000:02:00.1")
    assert [l for l in m.cmd("device", "pci", "list").splitlines() if l.startswith("id")] == ["id:3", "id:4"]
    for wrong in ("5", "pci3-00-1b-0", "x"):
        assert "no such PCI device" in m.fails("device", "pci", "del", wrong)
    m.cmd("device", "pci", "del", "3")
    assert m.cmd("device", "pci", "list").splitlines() == ["id:4", "  domain:0, bus:2, slot: 0, func: 1"]
    save = os.path.join(stack.root, "never")
    assert "given to the VM" in m.fails("checkpoint", save)
    m.cmd("device", "pci", "del", "4")
    assert m.cmd("device", "pci", "list") == ""
    saving = m.begin("checkpoint", save)
    m.wait_status("suspending")
    m.cmd("destroy")
    assert saving.wait(60) == 1
    m.cmd("quit")


@oxt.case
def destroyed_meanwhile():
    """A start, suspend and checkpoint that wait for QEMU when destroy comes: they fail, destroy does its work, and the monitor goes on"""
    save = os.path.join(stack.root, "never")
    m = machine("honest", "30")
    monitor = m.pid("monitor")
    for words, state in ((("suspend", save), "suspending"), (("checkpoint", save), "suspending"),
                         (("suspend", "file=" + save, "live=true"), "suspending")):
        m.cmd("start")
        qemu = m.pid()
        os.kill(qemu, 19)
        waiting = m.begin(*words)
        m.wait_status(state)
        m.cmd("destroy")
        assert waiting.wait(60) == 1 and "interrupted by destroy" in waiting.stderr.read(), words
        assert m.status() == "shutdown" and not alive(qemu) and m.pid("monitor") == monitor, words
        assert not os.path.exists(save) and not os.path.exists(save + ".tmp"), words
    m.cmd("quit")
    m = machine("mute-cont", "30")
    monitor = m.pid("monitor")
    start = m.begin("start")
    m.wait_status("created")
    assert "start is under way" in m.fails("cd-eject", "hdc")
    m.cmd("destroy")
    assert start.wait(60) == 1 and "interrupted by destroy" in start.stderr.read()
    assert m.status() == "shutdown" and m.pid("monitor") == monitor
    m.cmd("quit")


@oxt.case
def ended_before_the_answer():
    """A guest that has ended when QEMU says that it runs: it was started, and what is to follow its end follows"""
    m = machine("ends-first", "30")
    monitor = m.pid("monitor")
    m.cmd("start")
    m.wait_status("shutdown")
    assert m.pid() == 0 and m.pid("monitor") == monitor
    m.cmd("quit")


try:
    oxt.main()
finally:
    stack.stop()
