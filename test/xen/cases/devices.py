# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices and memory of a guest that runs."""
import fcntl
import json
import os
import threading

from bed import CALL, LINE, ROOT, Vm, bridge, case, image, store, wait_for


def master(interface):
    """The bridge on which an interface of dom0 is."""
    path = "/sys/class/net/%s/brport/bridge" % interface
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else None


@case
def hotplug():
    """A disk and a card plugged in and out are seen by the guest; its memory follows the target."""
    disk, ours, other = image("disk"), bridge("oxtbr0"), bridge("oxtbr1")
    vm = Vm("pv", memory=160)

    def seen(what, n):
        wait_for(lambda: vm.lines()[-1][what] == n, CALL, "the guest to see %d %s" % (n, what))

    try:
        vm.command("start", LINE)
        vm.up()
        assert vm.lines()[-1]["disks"] == 0 and vm.lines()[-1]["nics"] == 0
        vm.command("device", LINE, type="disk", cmd="add", extra=disk + ":file:xvdb:w:disk")
        seen("disks", 1)
        vm.command("device", LINE, type="nic", cmd="add", extra="bridge=" + ours)
        seen("nics", 1)
        vif = "vif%d.0" % vm.domid()
        assert master(vif) == ours
        vm.command("nic-network-switch", LINE, id=0, network=other)
        assert master(vif) == other
        assert store("/local/domain/0/backend/vif/%d/0" % vm.domid())["/local/domain/0/backend/vif/%d/0/bridge" % vm.domid()] == other
        vm.command("set-nic-backend-dom", LINE, id=0, domid=0)
        seen("nics", 1)
        vm.command("device", LINE, type="nic", cmd="del", extra="0")
        seen("nics", 0)
        vm.command("device", LINE, type="disk", cmd="del", extra="xvdb")
        seen("disks", 0)
        before = vm.lines()[-1]["kib"]
        vm.command("set-mem-target", mb=130)
        wait_for(lambda: vm.lines()[-1]["kib"] < before - 10000, CALL, "the balloon")
    finally:
        vm.end()


@case
def meanwhile():
    """While a disk is being plugged in: usage and get-vnc answer, and a suspend is refused before anything changes."""
    vm = Vm("pv", extra="display=vnc")
    try:
        vm.command("start", LINE)

        def plug():
            try:
                vm.command("device", LINE, type="disk", cmd="add", extra=image("slow") + ":file:xvdb:w:disk")
            except AssertionError:
                pass # on a busy machine libxl may lose patience with the script

        plugging = threading.Thread(target=plug)
        os.makedirs("/run/xen-hotplug", exist_ok=True)
        with open("/run/xen-hotplug/block", "w") as lock: # Xen's script waits for it
            fcntl.flock(lock, fcntl.LOCK_EX)
            plugging.start()
            wait_for(lambda: store("/local/domain/0/backend/vbd/%d" % vm.domid()), CALL, "the disk to be on its way")
            error = vm.fails("suspend", file=ROOT + "/meanwhile.image")
            usage = json.loads(vm.command("usage"))
            assert vm.command("get-vnc") == ""
        plugging.join()
        assert "Vm_bad_state: another change is under way" in error and usage["memory_kib"] > 0, (error, usage)
        assert vm.state() == "running" and "suspending" not in vm.states()
    finally:
        vm.end()
