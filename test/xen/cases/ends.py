# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that ends by itself, and the on_* actions: those of PVH guests (both.py has the same of PV guests)."""
import time

from bed import CALL, LINE, Vm, case, domains, wait_for, xl


def guest_end(kind, how, config, wanted):
    """A guest that ends by itself `how`, and the states that follow `running`."""
    vm = Vm(kind, extra=config, cmdline="end=" + how)
    try:
        vm.command("start", LINE)

        def follow():
            states = vm.states()
            return states[states.index("running") + 1:][:len(wanted)] if "running" in states else None

        wait_for(lambda: follow() == wanted, LINE, "%s after running; log:\n%s" % (wanted, vm.log_text()))
        return vm.told()
    finally:
        vm.end()


START = ["creating-domain", "creating-devices", "created", "running"]


@case
def on_halt():
    """A PVH guest that powers itself off: on_halt destroy."""
    guest_end("pvh", "poweroff", "on_halt=destroy", ["shutdown"])


@case
def on_reboot():
    """A PVH guest that reboots itself: on_reboot restart, twice round."""
    guest_end("pvh", "reboot", "on_reboot=restart", ["rebooted"] + START + ["rebooted"] + START)


@case
def on_crash():
    """A PVH guest that crashes: told, then on_crash restart."""
    assert "error:crashed" in guest_end("pvh", "crash", "on_crash=restart", START)


@case
def preserve():
    """on_crash preserve leaves the dead domain for a look at it."""
    vm = Vm("pv", extra="on_crash=preserve", cmdline="end=crash")
    try:
        vm.command("start", LINE)
        wait_for(lambda: "error:crashed" in vm.told(), LINE, "the crash to be told")
        time.sleep(2)
        assert vm.domid() > 0 and domains().get(vm.name) == vm.domid()
    finally:
        vm.end()


@case
def destroyed_by_another():
    """`xl destroy` is no crash: the VM is shut down and stays so, whatever on_crash says; also where no monitor saw it."""
    vm = Vm("pv", extra="on_crash=restart")
    try:
        for seen in True, False:
            vm.command("start", LINE)
            if not seen:
                vm.monitor.kill()
                vm.monitor.wait()
            assert xl("destroy", vm.name).returncode == 0
            if not seen:
                vm.spawn()
            vm.wait_state("shutdown")
            wait_for(lambda: vm.states()[-1] == "shutdown", CALL, "shutdown to be told; log:\n" + vm.log_text())
            assert vm.domid() == -1
            assert "error:crashed" not in vm.told(), vm.told()
    finally:
        vm.end()
