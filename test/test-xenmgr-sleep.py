#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sleep, hibernation, pauses, saved VMs, guests that reboot for ever, and the autostart queue, on real QEMU."""
import os
import select
import subprocess
import sys
import threading
import time

import oxt
import xenvm
from life import IDLE, VM, Life, with_life
from xenmgr import XM, uuid_of

# What a guest's agent does when it is asked: a program of its own, since it must own the guest's name.
AGENT = r"""
import sys, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])
class Agent(dbus.service.Object):
    @dbus.service.method("com.citrix.xenclient.guest")
    def request_sleep(self):
        print("sleep", flush=True)
    @dbus.service.method("com.citrix.xenclient.guest")
    def request_hibernate(self):
        print("hibernate", flush=True)
Agent(bus, "/")
bus.request_name("com.citrix.xenclient.guest.uuid_" + sys.argv[2])
print("ready", flush=True)
GLib.MainLoop().run()
"""


class Agent:
    def __init__(self, life, vm):
        self.process = subprocess.Popen([sys.executable, "-c", AGENT, life.stack.address, uuid_of(vm).replace("-", "_")],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def asked(self):
        assert select.select([self.process.stdout], [], [], 60)[0], "the agent is asked nothing"
        return self.process.stdout.readline().strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


def guest(life, kind, after):
    return life.guest(xenvm.sector(kind, after)[:510].rstrip(b"\0"))


@with_life
def sleep_and_resume(life):
    """A guest falls asleep when its agent is asked, is woken by resume, and before it is shut down; without tools it is refused."""
    life.with_limits(0.1)
    vm = guest(life, "s3", 72)  # the guest sleeps 4 s after its start, whoever asks
    life.start(vm)
    assert life.fails(vm, VM, "sleep")[1].startswith("213:")
    agent = Agent(life, vm)
    try:
        life.call(vm, VM, "sleep", timeout=60)
        assert agent.asked() == "sleep" and life.get(vm, VM, "acpi-state") == 3
        life.call(vm, VM, "sleep", timeout=60)  # it sleeps already
    finally:
        agent.stop()
    life.call(vm, VM, "resume", timeout=60)
    assert life.get(vm, VM, "acpi-state") == 0
    life.call(vm, VM, "destroy")
    vm = guest(life, "s3", 4)
    life.start(vm)
    oxt.wait_for(lambda: life.get(vm, VM, "acpi-state") == 3, 20, "S3")
    life.turn()
    life.signals.clear()
    life.call(vm, VM, "shutdown", timeout=60)
    assert life.state(vm) == "stopped"
    life.turn(0.2)
    assert ("notify", uuid_of(vm), "power-state:0") in life.signals, "it was not woken before"


@with_life
def sleep_in_vain(life):
    """An agent that only says yes: sleep fails with 227 and hibernate with 228 when their time is over; the VM goes on."""
    vm = life.guest(IDLE)
    life.start(vm)
    agent = Agent(life, vm)
    try:
        for member, number in (("sleep", "227:"), ("hibernate", "228:")):
            began = time.monotonic()
            assert life.fails(vm, VM, member, timeout=90)[1].startswith(number), member
            assert agent.asked() == member and time.monotonic() - began < 60
    finally:
        agent.stop()
    assert life.state(vm) == "running" and life.fails(vm, VM, "hibernate")[1].startswith("213:")


@with_life
def sleep_of_one_that_ends(life):
    """A VM that ends in place of sleeping: sleep fails with 227 there and then, and what waits behind it has its turn."""
    life.with_limits(1)
    vm = life.guest(IDLE)
    life.start(vm)
    agent = Agent(life, vm)
    ending = threading.Thread(target=lambda: agent.asked() == "sleep" and life.kill("qemu-system", vm))
    try:
        ending.start()
        assert life.fails(vm, VM, "sleep", timeout=120)[1].startswith("227:")
    finally:
        ending.join()
        agent.stop()
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def hibernate(life):
    """A guest whose agent hibernates it is stopped, and known as hibernated until its next start."""
    life.with_limits(0.1)
    vm = guest(life, "s4", 72)
    life.start(vm)
    agent = Agent(life, vm)
    try:
        life.call(vm, VM, "hibernate", timeout=60)
        assert agent.asked() == "hibernate"
    finally:
        agent.stop()
    oxt.wait_for(lambda: life.get(vm, VM, "hibernated"), 10)
    assert life.state(vm) == "stopped" and life.get(vm, VM, "acpi-state") == 4
    life.start(vm)
    oxt.wait_for(lambda: not life.get(vm, VM, "hibernated"), 10)


@with_life
def hibernate_asleep(life):
    """A guest that sleeps is woken before its agent is asked to hibernate it; this one then reboots, which is not hibernating."""
    vm = guest(life, "s3", 4)
    life.start(vm)
    agent = Agent(life, vm)
    try:
        oxt.wait_for(lambda: life.get(vm, VM, "acpi-state") == 3, 20, "S3")
        life.turn()
        life.signals.clear()
        assert life.fails(vm, VM, "hibernate", timeout=90)[1].startswith("228:")
        assert agent.asked() == "hibernate"
    finally:
        agent.stop()
    oxt.wait_for(lambda: life.turn() or ("notify", uuid_of(vm), "power-state:0") in life.signals, 10, "the word that it was woken")
    assert not life.get(vm, VM, "hibernated")


@with_life
def pauses(life):
    """Pausing twice changes nothing; a paused VM can be shut down and destroyed."""
    vm = life.guest()
    life.call(vm, VM, "pause")  # nothing runs
    for end in ("shutdown", "destroy"):
        life.start(vm)
        life.call(vm, VM, "pause")
        life.wait_state(vm, "paused")
        life.fails(vm, VM, "pause")
        assert life.state(vm) == "paused"
        life.start(vm)  # it runs, as far as a start is concerned
        assert life.state(vm) == "paused"
        life.call(vm, VM, end, timeout=60)
        assert life.state(vm) == "stopped", end


@with_life
def saved(life):
    """A VM is saved to a file and goes on from it where it was; damaged files and full folders cost nothing."""
    serial = os.path.join(life.stack.root, "serial")
    os.chmod(life.stack.root, 0o777)
    vm = life.guest(xenvm.COUNT, config={"serial": "file:" + serial})
    life.start(vm)
    oxt.wait_for(lambda: os.path.exists(serial) and os.path.getsize(serial) > 3, 20, "the guest's first letters")
    file = life.stack.state + "/storage/saved"
    assert life.fails(vm, VM, "suspend_to_file", "/nowhere/saved", timeout=60)[1].startswith("199:")
    assert life.state(vm) == "running", "a save that fails leaves the VM as it was"
    life.call(vm, VM, "suspend_to_file", file, timeout=60)
    oxt.wait_for(lambda: not life.pids("qemu-system", vm), 10, "QEMU's end")
    with open(serial) as f:
        before = f.read()
    life.call(vm, VM, "resume_from_file", file, timeout=60)
    life.wait_state(vm, "running")

    def letters():
        with open(serial) as f:
            return f.read()
    # The serial file begins anew; the letters go on.
    oxt.wait_for(lambda: len(letters()) > 3, 20, "more letters")
    following = chr(ord("A") + (ord(before[-1]) - ord("A") + 1) % 26)
    assert letters()[0] in (before[-1], following), (before, letters())
    assert os.path.exists(file), "the file stays"
    life.call(vm, VM, "destroy")
    with open(file, "r+b") as f:
        f.write(b"rubbish rubbish rubbish")
    assert life.fails(vm, VM, "resume_from_file", file, timeout=60)[1].startswith("199:")
    assert life.fails(vm, VM, "resume_from_file", "/nowhere/saved", timeout=60)[1].startswith("199:")
    oxt.wait_for(lambda: life.state(vm) == "stopped" and not life.pids("qemu-system", vm), 20)
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def reboot_loop(life):
    """A guest that does nothing but reboot is started at once a few times, then more and more slowly; shutdown ends it."""
    vm = guest(life, "reset", 0)
    life.start(vm)
    oxt.wait_for(lambda: life.words(vm).count("creating-domain") >= 6, 30, "the first reboots")
    begins = life.words(vm).count("creating-domain")
    life.turn(3)
    assert life.words(vm).count("creating-domain") - begins <= 3, "it spins"
    oxt.wait_for(lambda: life.state(vm) == "stopped", 20, "a pause between two starts")
    life.call(vm, VM, "shutdown", timeout=60)
    began = life.words(vm).count("creating-domain")
    life.turn(5)
    assert life.state(vm) == "stopped" and life.words(vm).count("creating-domain") == began, "it came back"


@oxt.case
def autostart_goes_on():
    """xenmgr is killed while VMs are started with the host: the next one starts those that are left, and none twice."""
    life = Life("--no-autostart")
    try:
        for uuid, name in (("000000000001", "uivm"), ("000000000002", "ndvm")):
            life.db("write", "/vm/00000000-0000-0000-0000-%s/start_on_boot" % uuid, "false")
            life.db("write", "/xenmgr/overwrite-%s-settings" % name, "false")
        go, hook = (os.path.join(life.stack.root, name) for name in ("go", "hook"))
        os.chmod(life.stack.root, 0o777)
        with open(hook, "w") as f:
            f.write("#!/bin/sh\n: > %s.begun\nwhile [ ! -e %s ]; do sleep 0.02; done\n" % (go, go))
        os.chmod(hook, 0o755)
        vms = [life.guest(start_on_boot="true", slot=str(i), **({"run-pre-boot": hook} if i == 2 else {})) for i in (1, 2, 3)]
        life.manager.terminate()
        life.manager.wait()
        life.turn(0.2)
        life.signals.clear()
        life.manager = life.stack.daemon("xenmgr", XM)
        oxt.wait_for(lambda: os.path.exists(go + ".begun"), 30, "the second VM's hook")
        assert life.state(vms[0]) == "running" and life.state(vms[2]) == "stopped"
        life.manager.kill()
        life.manager.wait()
        with open(go, "w"):
            pass
        life.manager = life.stack.daemon("xenmgr", XM)
        for vm in vms:
            life.wait_state(vm, "running")
        life.turn(0.5)
        for vm in vms:
            assert life.words(vm).count("running") == 1, (vm, life.words(vm))
        oxt.wait_for(lambda: not life.db("list", "/xenmgr/autostart-pending-vms"), 10, "an empty queue")
    finally:
        life.stop()


if __name__ == "__main__":
    oxt.main()
