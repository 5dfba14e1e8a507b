# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoint, suspend and restore."""
import os

from bed import CALL, LINE, ROOT, Vm, case, domains, for_both, wait_for


def save_and_restore(kind):
    vm = Vm(kind)
    image = "%s/%s.image" % (ROOT, kind)
    try:
        vm.command("start", LINE)
        vm.up()
        vm.command("checkpoint", LINE, file=image)
        assert vm.state() == "running"
        n = vm.lines()[-1]["count"]
        wait_for(lambda: vm.lines()[-1]["count"] > n, CALL, "the guest to count on after the checkpoint")
        vm.command("suspend", LINE, file=image, live="true" if kind == "pvh" else "false")
        assert vm.state() == "suspended" and vm.name not in domains()
        n = vm.lines()[-1]["count"]
        vm.command("restore", LINE, file=image)
        assert vm.state() == "running" and not os.path.exists(image)
        wait_for(lambda: vm.lines()[-1]["count"] > n, CALL, "the guest to count on after the restore")
        assert vm.console().count("guest: up") == 1
        # libxl tells of an end once for each time that it is asked: a stop for a save is none.
        vm.command("checkpoint", LINE, file=image)
        vm.command("halt", LINE)
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


@case
def save():
    """PV and (live) PVH: checkpoint, suspend and restore; the guest counts on where it was, and its end is noticed."""
    for_both(save_and_restore)
