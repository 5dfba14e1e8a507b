# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices and memory of a guest that runs."""
from bed import CALL, LINE, ROOT, Vm, case, wait_for


@case
def hotplug():
    """A disk attached while the guest runs is seen inside; memory follows its target."""
    disk = ROOT + "/disk.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    vm = Vm("pv", memory=160)
    try:
        vm.command("start", LINE)
        vm.up()
        assert vm.lines()[-1]["disks"] == 0
        vm.command("device", LINE, type="disk", cmd="add", extra=disk + ":file:xvdb:w:disk")
        wait_for(lambda: vm.lines()[-1]["disks"] == 1, CALL, "the disk inside the guest")
        before = vm.lines()[-1]["kib"]
        vm.command("set-mem-target", mb=130)
        wait_for(lambda: vm.lines()[-1]["kib"] < before - 10000, CALL, "the balloon")
    finally:
        vm.end()
