#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory of the host at starts: counted once, asked back from running VMs, refused with error 101."""
import json
import os
import subprocess
import threading

import oxt
import whole
from life import VM, with_life
from xenmgr import XM, uuid_of


def limited(life, mib):
    """All VMs together may have so many MiB."""
    life.stack.env["OXT_VM_MEMORY"] = str(mib)
    life.restart_manager()


def start_all(life, vms):
    results = {}

    def start(vm):
        status, _, error = life.stack.call(XM, vm, VM, "start")
        results[vm] = error if status else None
    threads = [threading.Thread(target=start, args=(vm,)) for vm in vms]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [results[vm] for vm in vms]


@with_life
def counted_once(life):
    """Starts at once do not all get the last memory: as many run as fit, the others fail with 101 and fit later."""
    vms = [life.guest(config={"memory": "64"}) for _ in range(4)]
    limited(life, 170)
    results = start_all(life, vms)
    running = [vm for vm in vms if life.state(vm) == "running"]
    assert len(running) == 2 and [r is None for r in results] == [vm in running for vm in vms], results
    assert all("101:" in r for r in results if r), results
    waiting = [vm for vm in vms if vm not in running]
    found = json.loads(life.call(waiting[0], "org.oxt.Xenmgr1", "DryRun"))
    assert [f["check"] for f in found] == ["memory"] and found[0]["error"].startswith("101:"), found
    life.restart_manager()  # and a new xenmgr counts them too
    assert "101:" in start_all(life, waiting[:1])[0]
    life.call(running[0], VM, "destroy")
    life.start(waiting[0])
    life.set(waiting[1], VM, "run-pre-boot", "/bin/false")
    life.call(running[1], VM, "destroy")
    assert life.fails(waiting[1], VM, "start")[1].startswith("223:")
    life.start(running[1])  # a start that failed left nothing counted
    life.call(running[1], VM, "destroy")
    life.set(waiting[1], VM, "run-pre-boot", "")
    life.start(waiting[1])


@with_life
def saved_counts(life):
    """A VM that goes on from a file is granted its memory as one that starts is, and passes the same checks."""
    saved, other = life.guest(config={"memory": "64"}), life.guest(config={"memory": "64"})
    life.stack.env["XENVM_TIMEOUT_SCALE"] = "1"  # nothing is waited for in vain
    limited(life, 100)
    file = life.stack.state + "/storage/saved"
    life.start(saved)
    life.call(saved, VM, "suspend_to_file", file, timeout=60)
    life.wait_state(saved, "suspended")
    life.start(other)
    assert life.fails(saved, VM, "resume_from_file", file, timeout=60)[1].startswith("101:")
    life.call(other, VM, "destroy")
    disk = life.stack.state + "/storage/disks/g1.img"
    os.rename(disk, disk + ".away")
    assert "Bad Physical Path" in life.fails(saved, VM, "resume_from_file", file, timeout=60)[1]
    os.rename(disk + ".away", disk)
    life.call(saved, VM, "resume_from_file", file, timeout=60)
    life.wait_state(saved, "running")
    timeline = json.loads(life.call(saved, "org.oxt.Xenmgr1", "Timeline"))
    assert timeline["what"] == "restore" and {"checked", "memory", "started"} <= {p["phase"] for p in timeline["phases"]}, timeline
    assert "101:" in start_all(life, [other])[0]
    life.call(saved, VM, "destroy")
    life.start(other)


@with_life
def with_less(life):
    """A VM with a memory-min starts with that where more is not free."""
    first, second = life.guest(config={"memory": "64"}), life.guest(config={"memory": "64", "memory-min": "32"})
    limited(life, 120)
    life.start(first)
    assert json.loads(life.call(second, "org.oxt.Xenmgr1", "DryRun")) == []
    target = lambda vm: int(life.get(vm, VM, "memory-target"))
    assert target(second) == 0
    life.start(second)
    with open(os.path.join(life.stack.runtime, "vm", uuid_of(second), "xenvm.conf")) as f:
        assert "memory=32" in f.read().split()
    assert (target(first), target(second)) == (64, 32)
    life.set(first, VM, "memory", 96)
    life.restart_manager()
    assert (target(first), target(second)) == (64, 32), "what they were started with"
    subprocess.run([oxt.program("xenvm-cmd"), uuid_of(first), "set-mem-target", "48"], check=True)
    oxt.wait_for(lambda: target(first) == 48)
    life.kill("xenvm", first)
    life.restart_manager()
    oxt.wait_for(lambda: (target(first), target(second)) == (48, 32), what="what was set while they ran")
    life.call(second, VM, "destroy")
    life.call(first, VM, "destroy")
    assert (target(first), target(second)) == (0, 0)
    life.start(second)
    with open(os.path.join(life.stack.runtime, "vm", uuid_of(second), "xenvm.conf")) as f:
        assert "memory=64" in f.read().split()
    assert target(second) == 64


@oxt.case
def given_back():
    """A running guest gives back what it has above its memory-min for one that starts."""
    os.environ["OXT_VM_MEMORY"] = "420"
    stack = whole.WholeStack()
    try:
        rich, poor = whole.LinuxVm(stack, "rich", ""), whole.LinuxVm(stack, "poor", "")
        for vm, memory, least in ((rich, 256, 160), (poor, 192, 0)):
            for key, value in (("memory", memory), ("memory-min", least)):
                vm.object.Set(whole.VM, key, whole.dbus.Int32(value), dbus_interface=whole.dbus.PROPERTIES_IFACE)
        rich.start()
        rich.wait_for("guest is up", 150)
        poor.start()
        assert rich.get("state") == poor.get("state") == "running"
        assert "is asked for" in stack.log_of("xenmgr")
        poor.wait_for("guest is up", 150)
    finally:
        del os.environ["OXT_VM_MEMORY"]
        stack.stop()


if __name__ == "__main__":
    oxt.main()
