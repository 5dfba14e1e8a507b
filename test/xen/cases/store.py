# SPDX-License-Identifier: LGPL-2.1-or-later
"""Xenstore: what OpenXT's guests and tools find there, and what they tell by writing there."""
import ctypes
import subprocess

from bed import CALL, LINE, Vm, case, store, wait_for


def write(path, value):
    subprocess.run(["xenstore-write", path, value], check=True)


def permissions(path):
    r = subprocess.run(["xenstore-ls", "-p", path], stdout=subprocess.PIPE, text=True, check=True)
    return r.stdout


@case
def nodes():
    """The monitor's state, the domain's identity and the nodes for the guest are in xenstore, and go with the domain."""
    vm = Vm("pv", extra="extra-local-watch=power-state\nextra-local-watch=services-up\nextra-vm-watch=weather")
    state, identity, manager = "/state/%s/state" % vm.uuid, "/vm/" + vm.uuid, "/xenmgr/vms/" + vm.uuid
    try:
        vm.command("start", LINE, paused="true")
        assert store("/state")[state] == "created" and store(identity)[identity + "/state"] == "created"
        domain = "/local/domain/%d" % vm.domid()
        assert store(manager) == {manager + "/domid": str(vm.domid()), manager + "/name": vm.name}, store(manager)
        own = store(domain)
        assert own[domain + "/vm"] == identity
        for node in "acpi-state", "power-state", "bsgdev", "bsgdev-req", "services-up":
            assert own[domain + "/" + node] == "", own
        listed = permissions(domain)
        assert "n%d" % vm.domid() in [line for line in listed.splitlines() if line.startswith("services-up")][0], listed
        assert "(r0)" in [line for line in listed.splitlines() if line.startswith("vm ")][0], listed
        vm.command("unpause")
        assert store("/state")[state] == "running"
        # Written by the guest or by its device model, told by the monitor.
        for node, value, told in ((domain + "/services-up", "1", "services-up:1"), (identity + "/weather", "rain", "weather:rain"),
                                  (domain + "/power-state", "3", "power-state:3"), (domain + "/acpi-state", "s0", "power-state:0"),
                                  (identity + "/rtc/timeoffset", "3600", "rtc:3600")):
            write(node, value)
            wait_for(lambda: told in vm.told(), CALL, "the notification %s; there were %s" % (told, vm.told()))
        vm.command("destroy")
        assert store("/state")[state] == "shutdown"
        assert not store(identity) and not store(manager) and not store(domain)
        vm.command("quit")
        vm.monitor.wait(20)
        assert not store("/state/" + vm.uuid)
    finally:
        vm.end()


def write_often(path, times):
    """As a guest could: with one connection, so as fast as xenstore takes it."""
    xenstore = ctypes.CDLL("libxenstore.so.4")
    xenstore.xs_open.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(xenstore.xs_open(0))
    for n in range(times):
        value = b"%d" % (n % 5)
        assert xenstore.xs_write(handle, 0, path.encode(), value, len(value))
    xenstore.xs_close(handle)


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        return int([line for line in f if line.startswith("VmRSS")][0].split()[1])


@case
def flood():
    """A guest that writes its nodes without end costs the monitor no memory, and its last word is heard."""
    vm = Vm("pv")
    try:
        vm.command("start", LINE, paused="true")
        power = "/local/domain/%d/power-state" % vm.domid()
        write_often(power, 500)
        before = resident_kib(vm.monitor.pid)
        write_often(power + "/below", 5000)
        after = resident_kib(vm.monitor.pid)
        assert after < before + 300, (before, after)
        write(power, "5")
        wait_for(lambda: vm.command("get-acpi-state") == "5", CALL, "the last state")
    finally:
        vm.end()
