# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices and memory of a guest that runs."""
import fcntl
import glob
import json
import os
import threading

from bed import CALL, LINE, ROOT, RUNTIME, Vm, bridge, case, for_both, image, store, wait_for


def master(interface):
    """The bridge on which an interface of dom0 is."""
    path = "/sys/class/net/%s/brport/bridge" % interface
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else None


def plug(kind):
    disk, ours, other = image("disk-" + kind), bridge("oxtbr0"), bridge("oxtbr1")
    vm = Vm(kind, memory=160)

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
        # The guest itself serves no cards: the card is where it was.
        error = vm.fails("set-nic-backend-dom", LINE, id=0, domid=vm.domid())
        assert "Cannot give the network card another back end" in error, error
        wait_for(lambda: master(vif) == other, CALL, "the card to be back")
        seen("nics", 1)
        with open("%s/vm/%s/plugged" % (RUNTIME, vm.uuid)) as f: # for the next monitor: what went well, and only that
            assert [line for line in f.read().splitlines() if "backend-domid" in line] == ["=nic 0 backend-domid=0"]
        vm.command("device", LINE, type="nic", cmd="del", extra="0")
        seen("nics", 0)
        vm.command("device", LINE, type="disk", cmd="del", extra="xvdb")
        seen("disks", 0)
        # What is refused is told with its reason, and changes nothing.
        for kind, cmd, extra, reason in (("disk", "add", ROOT + "/none.raw:file:xvdc:w:disk", "cannot open %s/none.raw" % ROOT),
                                         ("disk", "add", disk + ":file:xvdc:w:disk:temporary", "Xen has no snapshot mode 'temporary'"),
                                         ("nic", "add", "bridge=%s,forward=tcp:2222:22" % ours, "forward= is for the user-mode network"),
                                         ("disk", "del", "xvdq", "no disk xvdq"), ("nic", "del", "7", "no card 7"),
                                         ("pci", "del", "0", "disks and network cards alone")):
            error = vm.fails("device", LINE, type=kind, cmd=cmd, extra=extra)
            assert reason in error, error
        assert vm.command("disk-list") == "", vm.command("disk-list")
        before = vm.lines()[-1]["kib"]
        vm.command("set-mem-target", mb=130)
        wait_for(lambda: vm.lines()[-1]["kib"] < before - 10000, CALL, "the balloon")
    finally:
        vm.end()


@case
def hotplug():
    """PV and PVH: a disk and a card plugged in and out are seen by the guest; its memory follows the target."""
    for_both(plug)


@case
def cables():
    """A card without bridge takes the first of the host, one on a network alone starts without a cable; a cable goes to bridges only."""
    ours, vm = bridge("oxtbr0"), Vm("pv", extra="nic=id=0,network=/wired/0/bridged\nnic=id=1")
    try:
        vm.command("start", LINE)
        vm.up()
        wait_for(lambda: vm.lines()[-1]["nics"] == 2, CALL, "the guest to see both cards")
        first, second = ("vif%d.%d" % (vm.domid(), n) for n in (0, 1))
        bridges = sorted(p.split("/")[4] for p in glob.glob("/sys/class/net/*/bridge"))
        assert master(first) is None and master(second) == bridges[0], (master(first), master(second), bridges)
        with open(vm.log, errors="replace") as f:
            assert "nic 0 is left without a cable" in f.read()
        for wrong in "/wired/1/bridged", "no-bridge", ours + "-but-far-too-long", "lo":
            error = vm.fails("nic-network-switch", LINE, id=1, network=wrong)
            assert "the host has no bridge '%s'" % wrong in error and master(second) == bridges[0], (error, master(second))
        vm.command("nic-network-switch", LINE, id=0, network=ours)
        assert master(first) == ours
        with open("/sys/class/net/%s/flags" % first) as f:
            assert int(f.read(), 16) & 1, "it is up"
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
