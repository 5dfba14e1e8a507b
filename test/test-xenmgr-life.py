#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenmgr's life cycle on real QEMU, with guests that are a boot sector."""
import datetime
import glob
import hashlib
import json
import os
import signal
import subprocess
import threading
import time

import oxt
import xenvm
from life import Caller, Held, IDLE, Life, POWEROFF, RESET, VM, with_life
from xenmgr import XM, uuid_of


@with_life
def start_and_destroy(life):
    """The signals of a start and of a destroy, in order; domid and monitor come and go."""
    vm = life.guest()
    life.start(vm)
    assert life.state(vm) == "running"
    domid = int(life.get(vm, VM, "domid"))
    assert domid > 0 and [int(d) for d in life.call("/", XM, "list_domids")] == [domid]
    assert str(life.call("/", XM, "find_vm_by_domid", domid)) == vm
    assert life.get(vm, VM, "acpi-state") == 0
    assert life.words(vm) == ["creating-domain", "creating-devices", "created", "running"]
    assert life.states(vm) == ["creating", "creating", "creating", "running"]
    life.start(vm)  # runs already: nothing happens
    assert life.fails(vm, VM, "delete")[1].startswith("204:")
    life.signals.clear()
    life.call(vm, VM, "pause")
    life.wait_state(vm, "paused")
    life.call(vm, VM, "unpause")
    life.wait_state(vm, "running")
    life.call(vm, VM, "destroy")
    assert life.state(vm) == "stopped" and life.get(vm, VM, "domid") == -1
    assert life.states(vm) == ["paused", "running", "stopped"]
    oxt.wait_for(lambda: not life.pids("xenvm", vm) and not life.pids("qemu-system", vm), what="the monitor's end")
    life.call(vm, VM, "destroy")
    life.call(vm, VM, "shutdown")
    life.start(vm)
    assert int(life.get(vm, VM, "domid")) > domid, "a start has a number of its own"
    timeline = json.loads(life.call(vm, "org.oxt.Xenmgr1", "Timeline"))
    assert [p["phase"] for p in timeline["phases"]][-1] == "started" and timeline["failed"] is None
    life.call(vm, VM, "destroy")
    life.call(vm, VM, "delete")
    oxt.wait_for(lambda: not os.path.exists(os.path.join(life.stack.runtime, "vm", uuid_of(vm))), 3, "its folder's end")


@with_life
def guest_ends(life):
    """A guest that powers itself off is stopped; one that resets is started anew with another domid."""
    vm = life.guest(POWEROFF)
    life.start(vm)
    life.wait_state(vm, "stopped")
    assert life.states(vm)[-1] == "stopped" and "rebooting" not in life.words(vm)
    vm = life.guest(RESET)
    life.start(vm)

    def booted_again():
        return life.words(vm).count("running") >= 3
    oxt.wait_for(booted_again, 30, "three boots")
    words = life.words(vm)
    first = words.index("shutdown")
    assert words[first:first + 4] == ["shutdown", "creating-domain", "creating-devices", "created"], words
    life.call(vm, VM, "set_db_key", "preserve-on-reboot", "true")
    oxt.wait_for(lambda: life.state(vm) == "stopped", 20)
    life.call(vm, VM, "destroy")


@with_life
def shutdown_escalates(life):
    """A guest that ignores the power button is ended when its time is over."""
    vm = life.guest(IDLE)
    life.start(vm)
    began = time.monotonic()
    life.call(vm, VM, "shutdown", timeout=60)
    assert life.state(vm) == "stopped", life.state(vm)
    assert time.monotonic() - began < 30


@with_life
def reboot(life):
    """Reboot of a guest that does not listen: it runs again, with another domid."""
    vm = life.guest(IDLE)
    life.start(vm)
    domid = int(life.get(vm, VM, "domid"))
    life.call(vm, VM, "reboot", timeout=60)
    oxt.wait_for(lambda: life.state(vm) == "running" and int(life.get(vm, VM, "domid")) != domid, 30, "the reboot")


@with_life
def found_again(life):
    """VMs survive the death of xenmgr, of their monitor, of both, and of the bus; nothing is told twice."""
    vm = life.guest()
    life.start(vm)
    domid, qemu = int(life.get(vm, VM, "domid")), life.pids("qemu-system", vm)
    assert len(qemu) == 1

    def same():
        return life.state(vm) == "running" and int(life.get(vm, VM, "domid")) == domid

    life.turn(0.2)
    life.signals.clear()
    life.restart_manager()
    assert same(), "found before the first call is answered"
    life.turn(0.5)
    assert life.states(vm) == [], life.signals
    monitor = life.pids("bin/xenvm", vm)
    life.kill("bin/xenvm", vm)
    oxt.wait_for(lambda: life.pids("bin/xenvm", vm) not in ([], monitor), 3, "a new monitor")
    oxt.wait_for(lambda: same() and life.stack.owned("org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")), 3)
    life.kill("bin/xenvm", vm)
    life.restart_manager()
    oxt.wait_for(same, 3, "the VM after both died")
    assert life.states(vm) == [], life.signals
    life.end_bus()
    life.new_bus()
    oxt.wait_for(same, 5, "the VM on the new bus")
    assert life.pids("qemu-system", vm) == qemu
    life.call(vm, VM, "destroy")
    assert life.state(vm) == "stopped"


@with_life
def found_late(life):
    """A monitor that does not answer a new xenmgr in time: its VM is not taken for stopped, and nothing is told of it twice."""
    life.with_limits(1)
    script, lines = life.hook("echo $2 >> $LOG")
    vm = life.guest(**{"run-on-state-change": script})
    life.start(vm)
    oxt.wait_for(lambda: lines() == ["running"], what="the hook")
    life.turn(0.2)
    life.signals.clear()
    life.kill("bin/xenvm", vm, signal.SIGSTOP)
    life.restart_manager()
    assert life.fails(vm, VM, "delete")[1].startswith("204:")
    start = Caller(life, vm, "start")
    assert [o["state"] for o in json.loads(life.call(vm, "org.oxt.Xenmgr1", "Operations"))] == ["running"], "it waits"
    life.kill("bin/xenvm", vm, signal.SIGCONT)
    assert start.wait() == "" and life.state(vm) == "running"
    life.turn(0.5)
    assert life.states(vm) == [] and lines() == ["running"], (life.signals, lines())
    life.kill("bin/xenvm", vm, signal.SIGSTOP)
    life.with_limits(0.05)
    life.call(vm, VM, "destroy", timeout=60)
    assert not life.pids("qemu-system", vm), "it was not destroyed"
    assert life.state(vm) == "stopped"


@with_life
def ended_while_away(life):
    """VMs that end while no xenmgr is there: one that rebooted runs again, so does one that is to be kept alive, and no other."""
    rebooted, plain, kept, never = (life.guest(**{"keep-alive": keep}) for keep in ("false", "false", "true", "true"))
    for vm in (rebooted, plain, kept):
        life.start(vm)
    life.manager.kill()
    life.manager.wait()
    u = uuid_of(rebooted).replace("-", "_")
    status, _, error = life.stack.call("org.xen.vm.uuid_" + u, "/org/xen/vm/" + u, "org.xen.vm.uuid_" + u, "reboot", "a{ss}", "1",
                                       "forced", "true")
    assert status == 0, error
    for vm in (plain, kept):
        life.kill("qemu-system", vm)
    for vm, state in ((rebooted, "rebooted"), (plain, "shutdown"), (kept, "shutdown")):
        oxt.wait_for(lambda: life.record(vm)["state"] == state, 20, state)
    life.restart_manager()
    for vm in (rebooted, kept):
        life.wait_state(vm, "running")
    oxt.wait_for(lambda: not life.pids("bin/xenvm", plain), 10, "the end of a monitor without VM")
    assert life.state(plain) == life.state(never) == "stopped" and not life.pids("xenvm", never)
    # Both dead: what the monitor has written down of the reboot is all there is.
    life.manager.kill()
    life.manager.wait()
    assert life.stack.call("org.xen.vm.uuid_" + u, "/org/xen/vm/" + u, "org.xen.vm.uuid_" + u, "reboot", "a{ss}", "1", "forced", "true")[0] == 0
    oxt.wait_for(lambda: life.record(rebooted)["state"] == "rebooted", 20, "the second reboot")
    life.kill("bin/xenvm", rebooted)
    life.restart_manager()
    life.call(rebooted, VM, "pause", timeout=60)  # behind the start, which is a part of the reboot
    assert life.state(rebooted) == "paused"


@with_life
def killed_before_restart(life):
    """xenmgr is killed while keep-alive waits before it starts a VM again: the next one starts it."""
    vm = life.guest(POWEROFF, **{"keep-alive": "true"})
    life.start(vm)
    oxt.wait_for(lambda: "it is started again in 4 s" in life.stack.log("xenmgr"), 60, "a pause between two starts")
    life.turn()
    life.signals.clear()
    life.restart_manager()
    oxt.wait_for(lambda: "creating-domain" in life.words(vm), 20, "the next start")


@with_life
def ended_without_bus(life):
    """A VM that ends while there is no bus is seen to on the next one: hooks run, keep-alive starts it; a reboot goes on."""
    script, lines = life.hook("echo $1 $2 >> $LOG")
    plain = life.guest(**{"run-on-state-change": script})
    kept = life.guest(**{"keep-alive": "true"})
    rebooted = life.guest()
    for vm in (plain, kept, rebooted):
        life.start(vm)
    domid = int(life.get(rebooted, VM, "domid"))
    hook = Held(life, "held")
    life.set(rebooted, VM, "run-pre-boot", hook.path)
    life.call(rebooted, VM, "reboot", timeout=60)
    oxt.wait_for(lambda: os.path.exists(hook.begun), 20, "the start behind the reboot")
    life.end_bus()
    hook.release()
    for vm in (plain, kept):
        life.kill("qemu-system", vm)
        oxt.wait_for(lambda: life.record(vm)["state"] == "shutdown", 20, "the end")
    life.new_bus()
    for vm in (kept, rebooted):
        life.wait_state(vm, "running")
    assert int(life.get(rebooted, VM, "domid")) != domid
    oxt.wait_for(lambda: "%s stopped" % uuid_of(plain) in lines(), 10, "the hook of the end")
    assert life.state(plain) == "stopped"
    life.start(plain)


@with_life
def interrupted_start(life):
    """A start whose xenmgr is killed is finished by the next one, or leaves a VM that can be started."""
    for when in ("creating-domain", "created", "running"):
        vm = life.guest()
        life.signals.clear()
        caller = threading.Thread(target=lambda: subprocess.run(
            ["busctl", "--address=" + life.stack.address, "call", XM, vm, VM, "start"], capture_output=True))
        caller.start()
        oxt.wait_for(lambda: when in life.words(vm), 20, when)
        life.restart_manager()
        caller.join()
        oxt.wait_for(lambda: life.state(vm) in ("running", "stopped"), 10, "an end of the start at " + when)
        life.turn(1)
        life.start(vm)  # if it runs already nothing happens
        assert life.state(vm) == "running"
        life.call(vm, VM, "destroy")
        oxt.wait_for(lambda: not glob.glob(life.stack.runtime + "/vm/*/starting"), what="the mark's end")


@oxt.case
def bus_lost_in_start():
    """The bus dies in the middle of a start with the host: it is finished on the next bus, and so are those behind it."""
    life = Life("--no-autostart")
    try:
        life.with_limits(1)
        for uuid, name in (("000000000001", "uivm"), ("000000000002", "ndvm")):
            life.db("write", "/vm/00000000-0000-0000-0000-%s/start_on_boot" % uuid, "false")
            life.db("write", "/xenmgr/overwrite-%s-settings" % name, "false")
        qemu = Held(life, "qemu", 'exec qemu-system-x86_64 "$@"')
        vms = [life.guest(start_on_boot="true", slot="1", config={"qemu-dm-path": qemu.path, "qemu-dm-timeout": "600"}),
               life.guest(start_on_boot="true", slot="2")]
        life.manager.terminate()
        life.manager.wait()
        life.manager = life.stack.daemon("xenmgr", XM)
        oxt.wait_for(lambda: os.path.exists(qemu.begun), 30, "the first one's QEMU")
        life.end_bus()
        life.new_bus()
        assert life.state(vms[0]) == "creating"
        qemu.release()
        for vm in vms:
            life.wait_state(vm, "running")
        oxt.wait_for(lambda: not life.db("list", "/xenmgr/autostart-pending-vms"), 10, "an empty queue")
        oxt.wait_for(lambda: not glob.glob(life.stack.runtime + "/vm/*/starting"), 10, "the mark's end")
    finally:
        life.stop()


@with_life
def dependencies(life):
    """Backends are started first; one that is named and does not run is an error; a cycle is an error."""
    life.db("write", "/xenmgr/overwrite-ndvm-settings", "false")
    life.db("write", "/vm/00000000-0000-0000-0000-000000000002/provides-default-network-backend", "false")
    backend = life.guest(name="net", **{"provides-network-backend": "true", "type": "ndvm"})
    front = life.guest(config={"nic": {"0": {"backend-uuid": uuid_of(backend)}}})
    assert life.fails(front, VM, "start")[1].startswith("232:")
    dry = json.loads(life.call(front, "org.oxt.Xenmgr1", "DryRun"))
    assert [f["error"][:4] for f in dry] == ["232:"]
    life.call(front, VM, "set_db_key", "config.nic.0.backend-uuid", "")
    life.set(backend, VM, "provides-default-network-backend", True)
    life.set(front, VM, "track-dependencies", True)
    assert [str(d) for d in life.get(front, VM, "dependencies")] == [backend]
    life.start(front)
    assert life.state(backend) == life.state(front) == "running"
    life.turn(0.2)
    told = [(s[1], s[3]) for s in life.signals if s[0] == "vm_state_changed"]
    assert told.index((uuid_of(backend), "running")) < told.index((uuid_of(front), "creating"))
    for vm in (front, backend):
        life.call(vm, VM, "destroy")
    life.call(front, VM, "set_db_key", "config.nic.0.backend-uuid", uuid_of(backend))
    life.call(backend, VM, "set_db_key", "config.nic.0.backend-uuid", uuid_of(front))
    oxt.wait_for(lambda: "cycle" in life.fails(front, VM, "start")[1])


@with_life
def checks(life):
    """What forbids a start is an error with its number, the VM stays stopped, and a dry run names all of it."""
    vm = life.guest(config={"disk": {"0": {"path": "/storage/none", "type": "file", "mode": "w", "device": "hda", "devtype": "disk"},
                                     "1": {"path": "/storage/disks", "type": "file", "mode": "w", "device": "hdb", "devtype": "disk"}}})
    assert life.fails(vm, VM, "start")[1] == "Bad Physical Path for disk 0 (/storage/none)"
    life.call(vm, VM, "set_db_key", "config.memory", "99999999")
    found = json.loads(life.call(vm, "org.oxt.Xenmgr1", "DryRun"))
    assert [f["check"] for f in found] == ["disks", "disks", "memory"], found
    assert found[-1]["error"].startswith("101:")
    os.mkfifo(life.stack.state + "/storage/disks/fifo")
    fifo = life.guest(measured="true")
    life.call(fifo, VM, "set_db_key", "config.disk.0.path", "/storage/disks/fifo")
    assert "Bad Physical Path" in life.fails(fifo, VM, "start")[1], "whoever opened it would wait for ever"
    os.symlink("/etc/passwd", life.stack.state + "/storage/disks/link")
    vm = life.guest()
    life.call(vm, VM, "set_db_key", "config.disk.0.path", "/storage/disks/link")
    assert "Bad Physical Path" in life.fails(vm, VM, "start")[1], "a link must not lead out of the storage folder"
    vm = life.guest(config={"vcpus": "abc"})
    assert "config/vcpus" in life.fails(vm, VM, "start")[1]
    vm = life.guest(config={"memory": "0"})
    assert "config/memory" in life.fails(vm, VM, "start")[1]
    assert life.state(vm) == "stopped" and not life.pids("xenvm", vm)


@with_life
def kernel_in_disk(life):
    """A kernel that cannot be taken out of its disk: the caller is told which disk and why, by a dry run too where that can be known."""
    oxt.needs_root()
    disk = life.stack.state + "/storage/disks/g1.img"
    vm = life.guest(config={"virt-type": "pv", "kernel-extract": "/boot/vmlinuz"})
    dry = lambda: json.loads(life.call(vm, "org.oxt.Xenmgr1", "DryRun"))
    with open(disk, "ab") as f:  # the footer of a VHD that builds on another
        f.write(b"conectix".ljust(60, b"\0") + (4).to_bytes(4, "big") + bytes(448))
    life.call(vm, VM, "set_db_key", "config.disk.0.type", "vhd")
    oxt.wait_for(lambda: ["kernel"] == [f["check"] for f in dry() if "builds on another" in f["error"]], what=lambda: "the finding: %s" % dry())
    assert "223:" in life.fails(vm, VM, "start")[1]
    life.call(vm, VM, "set_db_key", "config.disk.0.type", "file")
    life.call(vm, VM, "set_db_key", "config.disk.0.enable", "false")
    os.chmod(disk, 0o600)
    os.chown(disk, 0, 0)
    error = lambda: life.fails(vm, VM, "start")[1]
    oxt.wait_for(lambda: "the kernel cannot be taken out of the disk: disk 0 (%s) cannot be opened: Permission denied" % disk in error(), what=error)


def sums(path):
    with open(path, "rb") as f:
        data = f.read()
    return hashlib.sha1(data).hexdigest(), hashlib.sha256(data).hexdigest()


@with_life
def measured(life):
    """A measured VM starts while its disks are what they were; the first start is trusted."""
    vm = life.guest(measured="true")
    disk = life.stack.state + "/storage/disks/g1.img"
    life.start(vm)
    key = "/vm/%s/config/disk/0/sha1sum" % uuid_of(vm)
    wanted, wanted256 = sums(disk)
    assert life.state(vm) == "running" and life.db("read", key) == wanted
    assert life.db("read", key.replace("sha1sum", "sha256sum")) == wanted256
    life.call(vm, VM, "destroy")
    with open(disk, "r+b") as f:
        f.seek(2000)
        f.write(b"changed")
    error = life.fails(vm, VM, "start")[1]
    assert error.startswith("217:") and wanted in error and sums(disk)[0] in error, error
    assert life.state(vm) == "stopped" and "has changed" in life.stack.log("xenmgr")
    life.db("rm", key)  # the other sum alone protects it too
    oxt.wait_for(lambda: sums(disk)[1] in life.fails(vm, VM, "start")[1])
    life.db("write", "/xenmgr/bypass-sha1sum-checks", "true")
    oxt.wait_for(lambda: life.get("/", XM + ".config", "bypass-sha1sum-checks"))
    life.start(vm)
    assert life.state(vm) == "running"


@with_life
def hooks(life):
    """Hooks run with their arguments; a failing one stops the start; one stands in for the start."""
    script, lines = life.hook("case $2 in running|paused) sleep 0.5;; esac; echo $# $1 $2 >> $LOG")
    vm = life.guest(**{"run-on-state-change": script, "run-pre-boot": script, "run-on-acpi-state-change": script})
    life.start(vm)
    life.call(vm, VM, "pause")
    life.call(vm, VM, "destroy")
    happened = ["1 " + uuid_of(vm)] + ["2 %s %s" % (uuid_of(vm), word) for word in ("running", "0", "paused", "stopped", "5")]
    oxt.wait_for(lambda: len(lines()) >= len(happened), what=lambda: "hooks: %s" % lines())
    assert lines() == happened, "in the order of what happened: %s" % lines()
    life.set(vm, VM, "run-pre-boot", "/bin/false")
    assert life.fails(vm, VM, "start")[1].startswith("223:") and life.state(vm) == "stopped"
    life.set(vm, VM, "run-pre-boot", "/bin/sleep")
    assert life.fails(vm, VM, "start")[1].startswith("223:")
    life.set(vm, VM, "run-pre-boot", "")
    life.set(vm, VM, "run-insteadof-start", "rpc:destination=%s,interface=%s.testing,member=script_queue" % (XM, XM))
    life.start(vm)
    assert life.state(vm) == "stopped" and life.call("/", XM + ".testing", "script_dequeue") == uuid_of(vm)
    life.call(vm, VM, "start_internal", timeout=60)
    assert life.state(vm) == "running"


@with_life
def instead_of_start(life):
    """run-insteadof-start is run in place of every start, whoever wants it; it may ask for the start itself; it can be called off."""
    life.with_limits(1)
    script, lines = life.hook("echo $1 >> $LOG\nexec busctl --address=$DBUS_SYSTEM_BUS_ADDRESS call %s /vm/$(echo $1 | tr - _) "
                              "%s start_internal" % (XM, VM))
    idle, reboots, dies = life.guest(), life.guest(xenvm.sector("reset", 36)[:510].rstrip(b"\0")), life.guest(POWEROFF, **{"keep-alive": "true"})
    for vm in (idle, reboots, dies):
        life.set(vm, VM, "run-insteadof-start", script)
        life.start(vm)
    count = lambda vm: lines().count(uuid_of(vm))
    assert life.state(idle) == "running" and count(idle) == 1
    for vm in (reboots, dies):  # a start behind a reboot, and one by keep-alive
        oxt.wait_for(lambda: count(vm) > 1 and life.words(vm).count("running") > 1, 30, "the second start")
    life.set(dies, VM, "keep-alive", False)
    life.call(reboots, VM, "destroy")
    life.call(idle, VM, "destroy")
    operations = lambda: json.loads(life.call(idle, "org.oxt.Xenmgr1", "Operations"))
    oxt.wait_for(lambda: operations() == [], what="the hook's end")
    life.hook("exec sleep 600 # $1")
    start = threading.Thread(target=life.stack.call, args=(XM, idle, VM, "start"))
    start.start()
    oxt.wait_for(lambda: [(o["what"], o["step"]) for o in operations()] == [("start", "running run-insteadof-start")])
    assert life.call(idle, "org.oxt.Xenmgr1", "Cancel")
    start.join()
    assert operations() == [] and life.state(idle) == "stopped"


@with_life
def keep_alive(life):
    """A VM that dies at once is started again, but not in a tight loop."""
    vm = life.guest(POWEROFF, **{"keep-alive": "true"})
    life.start(vm)
    end = time.monotonic() + 5
    oxt.wait_for(lambda: life.words(vm).count("creating-domain") >= 2, 20, "a second start")
    life.turn(max(0, end - time.monotonic()))
    starts = life.words(vm).count("creating-domain")
    assert starts <= 4, "%d starts in 5 s" % starts
    life.set(vm, VM, "keep-alive", False)
    life.turn(5)
    after = life.words(vm).count("creating-domain")
    assert after <= starts + 1


@oxt.case
def autostart():
    """At the first start after the host's, VMs are started by priority, then slot; a new xenmgr starts none again."""
    life = Life("--no-autostart")
    try:
        late = life.guest(**{"start_on_boot": "true", "slot": "2"})
        first = life.guest(**{"start_on_boot": "true", "slot": "1"})
        service = life.guest(**{"start_on_boot": "true", "start_on_boot_priority": "10", "type": "svc"})
        life.guest(**{"start_on_boot": "true", "ready": "false"})
        for service_vm in ("000000000001", "000000000002"):
            life.db("write", "/vm/00000000-0000-0000-0000-%s/start_on_boot" % service_vm, "false")
        life.db("write", "/xenmgr/overwrite-uivm-settings", "false")
        life.db("write", "/xenmgr/overwrite-ndvm-settings", "false")
        life.manager.terminate()
        life.manager.wait()
        life.signals.clear()
        life.manager = life.stack.daemon("xenmgr", XM)
        for vm in (service, first, late):
            life.wait_state(vm, "running")
        life.turn(0.5)
        order = [s[1] for s in life.signals if s[0] == "vm_state_changed" and s[3] == "running"]
        assert order == [uuid_of(v) for v in (service, first, late)], order
        life.call(first, VM, "destroy")
        life.manager.kill()
        life.manager.wait()
        life.manager = life.stack.daemon("xenmgr", XM)
        life.turn(1)
        assert life.state(first) == "stopped" and life.state(late) == "running"
    except Exception:
        print("# " + life.stack.log("xenmgr").replace("\n", "\n# "))
        raise
    finally:
        life.stop()


@with_life
def snapshots_left_over(life):
    """Throw-away snapshots that a host left are gone after the manager's next start, but none that is a VM's disk"""
    folder = os.path.join(life.stack.state, "storage/disks")
    life.disk("in full.snap", b"")
    for path in (life.disk("mine.snap", b""), os.path.join(folder, "in full.snap")):
        life.guest(config={"disk": {"0": {"path": path, "type": "file", "mode": "w", "device": "hda", "devtype": "disk"}}})
    for name in ("old.vhd.snap", "old.snap.tmp.vhd", "old.vhd", "snap"):
        with open(os.path.join(folder, name), "w"):
            pass
    life.restart_manager()
    oxt.wait_for(lambda: not {"old.vhd.snap", "old.snap.tmp.vhd"} & set(os.listdir(folder)), what="the end of what was left")
    assert {"mine.snap", "in full.snap", "old.vhd", "snap"} <= set(os.listdir(folder))


@with_life
def autostart_settings(life):
    """autostart and svm-autostart-delay: nothing is started with the host while the one is false; the other is the pause after each VM."""
    vms = [life.guest(**{"start_on_boot": "true", "type": "svc"}) for _ in range(2)]
    life.db("write", "/xenmgr/overwrite-uivm-settings", "false")
    life.db("write", "/xenmgr/overwrite-ndvm-settings", "false")
    for service_vm in ("000000000001", "000000000002"):
        life.db("write", "/vm/00000000-0000-0000-0000-%s/start_on_boot" % service_vm, "false")

    def boot():
        life.manager.terminate()
        life.manager.wait()
        if os.path.exists(life.stack.runtime + "/vm/.booted"):
            os.unlink(life.stack.runtime + "/vm/.booted")
        life.manager = life.stack.daemon("xenmgr", XM)
    life.set("/", XM + ".config", "autostart", False)
    boot()
    life.turn(1)
    assert [life.state(vm) for vm in vms] == ["stopped", "stopped"] and os.path.exists(life.stack.runtime + "/vm/.booted")
    life.set("/", XM + ".config", "autostart", True)
    life.set("/", XM + ".config", "svm-autostart-delay", 3)
    boot()
    for vm in vms:
        life.wait_state(vm, "running", 60)
    # By the manager's own clock: this process may have been away meanwhile.
    at = [datetime.datetime.fromisoformat(line.split()[0]) for line in life.stack.log("xenmgr").splitlines() if line.endswith(": running")]
    assert len(at) == 2 and (at[1] - at[0]).total_seconds() > 2.5, at


if __name__ == "__main__":
    oxt.main()
