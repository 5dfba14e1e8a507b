# SPDX-License-Identifier: LGPL-2.1-or-later
"""Life of a guest: start, pause, unpause, destroy, and requests to it."""
import subprocess
import time

from bed import CALL, LINE, Vm, bridge, case, domains, for_both, image, listing, wait_for


def life_of(kind):
    vm = Vm(kind)
    try:
        assert vm.state() == "shutdown" and vm.domid() == -1
        vm.command("start", LINE)
        assert vm.state() == "running", vm.state()
        assert domains().get(vm.name) == vm.domid(), (domains(), vm.domid())
        vm.up()
        vm.command("pause")
        assert vm.state() == "paused"
        n = len(vm.lines())
        time.sleep(3)
        assert len(vm.lines()) <= n + 1
        vm.command("unpause")
        wait_for(lambda: len(vm.lines()) > n + 1, CALL, "the guest to go on counting")
        vm.command("destroy")
        assert vm.state() == "shutdown" and vm.domid() == -1
        assert vm.name not in domains()
        assert vm.states()[:4] == ["creating-domain", "creating-devices", "created", "running"], vm.states()
    finally:
        vm.end()


@case
def life():
    """PV and PVH: start, pause, unpause, destroy."""
    for_both(life_of)


@case
def as_xl_sees_it():
    """What `xl list -l` says of a domain agrees with its config: kind, memory, CPUs, disks, cards, actions."""
    disk = image("listed")
    for kind in "pv", "pvh":
        vm = Vm(kind, memory=96, extra="memory-max=128\nvcpus=2\ndisk=%s:file:xvda:w:disk\ndisk=%s:phy:xvdb:r:disk\n"
                "nic=bridge=%s,mac=02:00:00:00:00:07\non_halt=preserve\non_crash=restart" % (disk, "/dev/loop7", bridge("oxtbr0")))
        subprocess.run(["losetup", "/dev/loop7", image("listed2")], check=True)
        try:
            vm.command("start", LINE, paused="true")
            c = listing(vm.name)
            told = {"type": c["c_info"]["type"], "uuid": c["c_info"]["uuid"], "name": c["c_info"]["name"],
                    "memory": c["b_info"]["target_memkb"], "max": c["b_info"]["max_memkb"], "vcpus": c["b_info"]["max_vcpus"],
                    "disks": [(d["vdev"], d["pdev_path"], d.get("readwrite", 0)) for d in c["disks"]],
                    "nics": [(n["mac"], n["bridge"]) for n in c["nics"]],
                    "actions": (c.get("on_poweroff"), c.get("on_reboot"), c.get("on_crash"), c.get("on_watchdog"))}
            wanted = {"type": kind, "uuid": vm.uuid, "name": vm.name, "memory": 96 * 1024, "max": 128 * 1024, "vcpus": 2,
                      "disks": [("xvda", disk, 1), ("xvdb", "/dev/loop7", 0)], "nics": [("02:00:00:00:00:07", "oxtbr0")],
                      "actions": ("preserve", "restart", "restart", "restart")}
            assert told == wanted, (told, wanted)
        finally:
            vm.end()
            subprocess.run(["losetup", "-d", "/dev/loop7"])


def requests_of(kind):
    vm = Vm(kind)
    try:
        vm.command("start", LINE)
        vm.up()
        first = vm.domid()
        vm.command("reboot", LINE, **{"auto-start": "true"})
        assert vm.state() == "running" and vm.domid() != first
        wait_for(lambda: vm.console().count("guest: up") >= 2, LINE, "the guest's second boot")
        vm.command("halt", LINE)
        assert vm.state() == "shutdown" and vm.name not in domains()
        wait_for(lambda: vm.states()[-2:] == ["shutdowning", "shutdown"], CALL, "both to be told")
    finally:
        vm.end()


@case
def requests():
    """PV and PVH: reboot with auto-start, then a clean halt."""
    for_both(requests_of)
