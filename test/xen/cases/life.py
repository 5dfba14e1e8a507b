# SPDX-License-Identifier: LGPL-2.1-or-later
"""Life of a guest: start, pause, unpause, destroy, and requests to it."""
import time

from bed import CALL, LINE, Vm, case, domains, wait_for


def life(kind):
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
def pv_life():
    """PV: start, pause, unpause, destroy."""
    life("pv")


@case
def pvh_life():
    """PVH: start, pause, unpause, destroy."""
    life("pvh")


def requests(kind):
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
        tail = vm.states()
        assert tail[-2:] == ["shutdowning", "shutdown"], tail
    finally:
        vm.end()


@case
def pv_requests():
    """PV: reboot with auto-start, then a clean halt."""
    requests("pv")


@case
def pvh_requests():
    """PVH: reboot with auto-start, then a clean halt."""
    requests("pvh")
