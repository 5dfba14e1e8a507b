#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Long operations of xenmgr: how far they are, and that they can be called off."""
import json
import os
import subprocess
import threading
import time

import oxt
from life import VM, with_life
from xenmgr import XM, uuid_of

OWN = "org.oxt.Xenmgr1"


class Calling:
    """A call in another process, since this one waits for nothing."""

    def __init__(self, life, vm, member):
        self.thread = threading.Thread(target=self.run, args=(life, vm, member))
        self.thread.start()

    def run(self, life, vm, member):
        self.status, _, self.error = life.stack.call(XM, vm, VM, member)

    def end(self):
        self.thread.join()
        return self.error if self.status else None


def operations(life, vm):
    return json.loads(life.call(vm, OWN, "Operations"))


def big_disk(life, vm, size):
    path = os.path.join(life.stack.state, "storage/disks/g1.img")
    with open(path, "r+b") as f:
        f.truncate(size)


@with_life
def measuring(life):
    """While disks are measured xenmgr answers at once, tells how far it is, and can be told to stop."""
    vm = life.guest(measured="true")
    big_disk(life, vm, 2 << 30)
    told = []
    life.bus.add_signal_receiver(lambda *args: told.append([str(a) for a in args]), signal_name="Progress", dbus_interface=OWN)
    start = Calling(life, vm, "start")
    step = oxt.wait_for(lambda: [o for o in operations(life, vm) if o["done"]], what="progress")[0]
    assert step["what"] == "start" and step["state"] == "running" and step["step"] == "measuring its disks", step
    assert step["total"] == 2 << 30 and 0 < step["done"] < step["total"], step
    longest = 0
    for _ in range(20):
        began = time.monotonic()
        assert life.state(vm) == "stopped"
        longest = max(longest, time.monotonic() - began)
    print("# the slowest of 20 calls meanwhile: %.1f ms" % (longest * 1000))
    assert [o["step"] for o in operations(life, vm)] == ["measuring its disks"], "it was measured all the time"
    oxt.wait_for(lambda: (life.turn(), len(told) > 2)[1], what="signals")
    assert {(t[0], t[1], t[3]) for t in told} == {("start", "measuring its disks", str(2 << 30))}
    done = [int(t[2]) for t in told]
    assert done == sorted(done) and done[-1] > done[0]
    assert life.call(vm, OWN, "Cancel")
    assert "cancelled" in start.end()
    assert not life.call(vm, OWN, "Cancel"), "a second one finds nothing"
    assert operations(life, vm) == [] and life.state(vm) == "stopped"
    big_disk(life, vm, 1 << 20)
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def measuring_hangs(life):
    """A disk from which nothing comes holds up nobody: its start can be called off at once, and else fails in time."""
    faults = os.path.join(life.stack.root, "faults")
    life.stack.env.update(oxt.preloaded("libdisk-faults.so", life.stack.env), OXT_DISK_FAULTS=faults)
    life.restart_manager()
    vm, other = life.guest(measured="true"), life.guest(measured="true")
    with open(faults, "w") as f:
        f.write("read-hangs g1.img")

    def begin():
        start = Calling(life, vm, "start")
        oxt.wait_for(lambda: [o["step"] for o in operations(life, vm)] == ["measuring its disks"], what="the measuring")
        return start
    for end in (lambda: life.call(vm, OWN, "Cancel"), lambda: life.call(vm, VM, "destroy")):
        start = begin()
        end()
        assert "cancelled" in start.end() or "destroyed" in start.error, start.error
        assert operations(life, vm) == []
    start = begin()
    life.start(other)
    assert life.state(other) == "running"
    error = start.end()
    assert "217:" in error and "disk 0" in error and "nothing has come of it" in error, error
    with open(faults, "w"):
        pass
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def from_a_terminal(life):
    """`oxt vm start` shows on a terminal how far it is, and `oxt vm cancel` ends it with an error."""
    vm = life.guest(measured="true", name="big")
    big_disk(life, vm, 4 << 30)
    oxt_vm = [oxt.program("oxt"), "--state-dir", life.stack.state, "--runtime-dir", life.stack.runtime, "vm"]
    master, slave = os.openpty()
    shown = b""
    start = subprocess.Popen(oxt_vm + ["start", "big"], stderr=slave, stdout=subprocess.PIPE, env=life.stack.env)
    while b"measuring its disks" not in shown or b"%" not in shown:
        shown += os.read(master, 4096)
    r = life.stack.run(oxt_vm + ["cancel", "big"])
    assert r.returncode == 0 and r.stdout == "big: stopped\n", r
    assert start.wait(60) == 1
    os.close(slave)
    while b"cancelled" not in shown:
        shown += os.read(master, 4096)
    r = life.stack.run(oxt_vm + ["cancel", "big"])
    assert r.returncode == 0 and "nothing is being done" in r.stderr
    os.close(master)


@with_life
def hanging_hook(life):
    """A start that hangs in a hook is called off, with all that waits behind it; the VM can be started again."""
    vm = life.guest(**{"run-pre-boot": "/usr/bin/yes"})
    start, pause = Calling(life, vm, "start"), None
    oxt.wait_for(lambda: [o for o in operations(life, vm) if o["step"] == "running run-pre-boot"])
    pause = Calling(life, vm, "pause")
    oxt.wait_for(lambda: [(o["what"], o["state"]) for o in operations(life, vm)] == [("start", "running"), ("pause", "waiting")])
    assert life.call(vm, OWN, "Cancel")
    assert "cancelled" in start.end() and "cancelled" in pause.end()
    oxt.wait_for(lambda: life.stack.run(["pgrep", "-f", "yes " + uuid_of(vm)]).returncode == 1, what="the end of the hook's process")
    life.set(vm, VM, "run-pre-boot", "")
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def shutdown_called_off(life):
    """A shutdown that a guest does not follow can be called off: the VM goes on."""
    life.with_limits(1)
    vm = life.guest()
    life.start(vm)
    shutdown = Calling(life, vm, "shutdown")
    step = oxt.wait_for(lambda: [o for o in operations(life, vm) if o["step"]])[0]
    assert step["step"] == "waiting for the guest to shut down", step
    assert life.call(vm, OWN, "Cancel")
    assert "cancelled" in shutdown.end() and operations(life, vm) == []
    life.call(vm, VM, "destroy")
    assert life.state(vm) == "stopped"


if __name__ == "__main__":
    oxt.main()
