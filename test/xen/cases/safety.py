# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is killed, refused, leaked or not ours."""
import os
import re
import subprocess
import uuid as uuids

from bed import CALL, LINE, ROOT, Vm, case, domains, wait_for, xl


@case
def killed_monitor():
    """xenvm killed: the domain runs on, a new xenvm takes it over; an end meanwhile is noticed."""
    vm = Vm("pv")
    try:
        vm.command("start", LINE)
        vm.up()
        domid = vm.domid()
        vm.monitor.kill()
        vm.monitor.wait()
        n = len(vm.lines())
        wait_for(lambda: len(vm.lines()) > n + 1, CALL, "the guest to count on without a monitor")
        vm.spawn()
        assert vm.state() == "running" and vm.domid() == domid, vm.log_text()
        vm.monitor.kill()
        vm.monitor.wait()
        assert xl("destroy", vm.name).returncode == 0
        vm.spawn()
        vm.wait_state("shutdown")
        vm.command("start", LINE)
        assert vm.state() == "running"
    finally:
        vm.end()


@case
def refused():
    """What cannot be used is refused with the reason, before a domain is made."""
    vm = Vm("pv", extra="disk=%s/none.raw:file:xvda:w:disk" % ROOT)
    try:
        try:
            vm.command("start", LINE)
            raise RuntimeError("it started")
        except AssertionError as e:
            assert "none.raw" in str(e), e
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


@case
def too_much_memory():
    """More memory than the host has free is refused with both numbers."""
    vm = Vm("pv", memory=65536)
    try:
        try:
            vm.command("start", LINE)
            raise RuntimeError("it started")
        except AssertionError as e:
            assert re.search("Not_enough_free_memory: [0-9]+ MiB are needed, [0-9]+ MiB are available", str(e)), e
    finally:
        vm.end()


def counts():
    """What a start must give back: domains, xenstore nodes, loop devices."""
    nodes = subprocess.run(["xenstore-ls", "-f", "/"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {"domains": len(domains()),
            "nodes": len([n for n in nodes if n.startswith(("/local/domain", "/vm", "/libxl"))]),
            "loops": len(subprocess.run(["losetup", "-a"], stdout=subprocess.PIPE, text=True).stdout.splitlines())}


@case
def no_leaks():
    """Ten starts and stops leave no domain, xenstore node, loop device or descriptor behind."""
    disk = ROOT + "/leak.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    vm = Vm("pv", extra="disk=%s:file:xvda:w:disk" % disk)
    try:
        vm.command("start", LINE)
        vm.command("destroy", LINE)
        before, descriptors = counts(), len(os.listdir("/proc/%d/fd" % vm.monitor.pid))
        for _ in range(10):
            vm.command("start", LINE)
            vm.command("destroy", LINE)
        assert counts() == before, (before, counts())
        now = len(os.listdir("/proc/%d/fd" % vm.monitor.pid))
        assert now <= descriptors, (descriptors, now)
    finally:
        vm.end()


@case
def foreign():
    """A domain that xl started is left alone, and its uuid is refused."""
    file = ROOT + "/foreign.cfg"
    identity = str(uuids.uuid4())
    with open(file, "w") as f:
        f.write('name="foreign"\nuuid="%s"\nkernel="/share/vmlinux"\nramdisk="/share/guest.cpio"\nmemory=128\n' % identity)
    assert xl("create", file).returncode == 0
    try:
        r = subprocess.run(["xenvm", "--no-daemonize", "--backend", "xen", "--uuid", identity], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CALL)
        assert r.returncode == 2, (r.returncode, r.stdout)
        assert "foreign" in domains()
    finally:
        xl("destroy", "foreign")
