# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is killed, refused, leaked or not ours."""
import fcntl
import glob
import os
import re
import signal
import struct
import subprocess
import threading
import uuid as uuids

from bed import CALL, INITRD, KERNEL, LINE, ROOT, RUNTIME, Vm, case, domains, for_both, image, store, wait_for, xl


def kill_monitor(kind):
    vm = Vm(kind)
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
def killed_monitor():
    """PV and PVH: xenvm killed: the domain runs on, a new xenvm takes it over; an end meanwhile is noticed."""
    for_both(kill_monitor)


def domids():
    """Those that xenstore knows: quicker than asking xl."""
    r = subprocess.run(["xenstore-list", "/local/domain"], stdout=subprocess.PIPE, text=True)
    return {int(d) for d in r.stdout.split()}


def in_background(vm, command, **params):
    """Begins a command and does not wait for its answer."""
    threading.Thread(target=lambda: answers(lambda: vm.command(command, LINE, **params)), daemon=True).start()


def answers(ask):
    """An answer, or None where the monitor is gone in the middle of it."""
    try:
        return ask()
    except (OSError, ValueError, AssertionError):
        return None


def kill_in_start(vm, begun):
    """Kills the monitor in the middle of a start, once it has begun. A start that was quicker does not count."""
    for _ in range(5):
        told = len(vm.told())
        in_background(vm, "start")
        wait_for(lambda: begun(vm.told()[told:]), CALL, "a domain in the middle of being made")
        vm.monitor.kill()
        vm.monitor.wait()
        assert domids() > {0}
        vm.spawn()
        wait_for(lambda: vm.state() in ("shutdown", "created", "running"), CALL, "the new monitor to see what there is")
        if vm.state() == "shutdown":
            return
        vm.command("destroy")
    raise AssertionError("the start was always complete already")


@case
def killed_in_start():
    """xenvm killed in the middle of a start: the next one finds what was made of the domain, and destroys it."""
    vm = Vm("pv", extra="disk=%s:file:xvda:w:disk" % image("half"))
    try:
        # As soon as there is a domain; and once its memory is built, when its devices are made.
        for begun in lambda told: domids() > {0}, lambda told: "vm:state:creating-devices" in told:
            kill_in_start(vm, begun)
            wait_for(lambda: domids() == {0}, CALL, "the domain to go")
            wait_for(lambda: not store("/vm/" + vm.uuid) and loops() == 0, CALL, "its nodes and loop devices to go")
        vm.command("start", LINE)
        assert vm.state() == "running"
    finally:
        vm.end()


@case
def destroyed_in_start():
    """`destroy` in the middle of a start, at two places: nothing of the half-made domain is left."""
    # A device of ours: a script that libxl kills in the middle of making one leaves it.
    subprocess.run(["losetup", "/dev/loop6", image("half")], check=True)
    vm = Vm("pv", extra="disk=/dev/loop6:phy:xvda:w:disk")
    try:
        for begun in lambda told: domids() > {0}, lambda told: "vm:state:creating-devices" in told:
            told = len(vm.told())
            in_background(vm, "start")
            wait_for(lambda: begun(vm.told()[told:]), CALL, "a domain in the middle of being made")
            vm.command("destroy", LINE)
            assert vm.state() == "shutdown" and vm.domid() == -1
            wait_for(lambda: domids() == {0}, CALL, "the domain to go")
            wait_for(lambda: not store("/vm/" + vm.uuid), CALL, "its nodes to go")
        vm.command("start", LINE)
        assert vm.state() == "running"
    finally:
        vm.end()
        subprocess.run(["losetup", "-d", "/dev/loop6"])


def begin_suspend(vm, file):
    """A suspend that is in the middle of writing the image when this returns."""
    in_background(vm, "suspend", file=file)
    wait_for(lambda: any(os.path.getsize(p) > 4 << 20 for p in glob.glob(file + "*")), CALL, "a part of the image")


def savers():
    """The processes of libxl that write images."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path) as f:
                if f.read().startswith("libxl-save-help"):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass # it has ended
    return found


@case
def destroyed_in_save():
    """`destroy` and `xl destroy` in the middle of a suspend: the VM is shut down, no image is left, and it starts again."""
    vm = Vm("pv")
    file = ROOT + "/destroyed.image"

    def is_shut_down():
        vm.wait_state("shutdown")
        assert vm.domid() == -1
        wait_for(lambda: domids() == {0}, CALL, "the domain to go")
        assert not glob.glob(file + "*")

    try:
        vm.command("start", LINE)
        vm.up()
        begin_suspend(vm, file)
        vm.command("destroy", LINE)
        is_shut_down()
        vm.command("start", LINE)
        wait_for(lambda: vm.console().count("guest: up") >= 2, LINE, "the guest's second boot")
        begin_suspend(vm, file)
        stopped = savers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert xl("destroy", vm.name).returncode == 0
        is_shut_down()
        vm.command("start", LINE)
        # Now it goes on with a domain that is gone, and tells of it.
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not set(stopped) & set(savers()), CALL, "the end of what wrote the image")
        assert stopped and vm.state() == "running", vm.log_text()
    finally:
        vm.end()


@case
def killed_in_save():
    """xenvm killed in the middle of a suspend: the guest goes on, and can be suspended again."""
    vm = Vm("pv")
    file = ROOT + "/killed.image"
    try:
        vm.command("start", LINE)
        vm.up()
        begin_suspend(vm, file)
        vm.monitor.kill()
        vm.monitor.wait()
        n = len(vm.lines())
        vm.spawn()
        vm.wait_state("running")
        wait_for(lambda: len(vm.lines()) > n + 1, CALL, "the guest to count on; log:\n" + vm.log_text())
        assert not os.path.exists(file)
        vm.command("suspend", LINE, file=file)
        vm.command("restore", LINE, file=file)
        assert vm.state() == "running" and vm.console().count("guest: up") == 1
    finally:
        vm.end()


@case
def refused():
    """What cannot be used is refused with the reason, before a domain is made."""
    vm = Vm("pv", extra="disk=%s/none.raw:file:xvda:w:disk" % ROOT)
    try:
        error = vm.fails("start", LINE)
        assert "none.raw" in error, error
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


@case
def too_much_memory():
    """More memory than the host has free is refused with both numbers."""
    vm = Vm("pv", memory=65536)
    try:
        error = vm.fails("start", LINE)
        assert re.search("Not_enough_free_memory: [0-9]+ MiB are needed, [0-9]+ MiB are available", error), error
    finally:
        vm.end()


@case
def one_at_a_time():
    """A start waits while another domain of the host is built, and can be called off meanwhile."""
    vm = Vm("pvh", extra="kernel=%s\ninitrd=\n" % idle_kernel(), memory=32)
    try:
        with open(RUNTIME + "/buildvm.lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for call_off in True, False:
                told = len(vm.told())
                in_background(vm, "start")
                wait_for(lambda: "vm:state:creating-domain" in vm.told()[told:], CALL, "the start")
                assert vm.state() == "creating-domain" and domids() == {0}
                if call_off:
                    vm.command("destroy")
                    assert vm.state() == "shutdown"
        vm.wait_state("running")
    finally:
        vm.end()


@case
def no_iommu():
    """An HVM guest with a device of the host is refused where the hardware cannot confine the device."""
    if "hvm_directio" in xl("info").stdout:
        return
    vm = Vm("hvm", extra="pci=0,0000:00:1f.0")
    try:
        error = vm.fails("start", LINE)
        assert 'RequiresMoreCapabilities("config requires directio")' in error, error
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


def loops():
    """Loop devices in use."""
    return len(glob.glob("/sys/block/loop*/loop"))


def grants():
    """The grants that Xen knows of, of all domains."""
    xl("dmesg", "-c")
    xl("debug-keys", "g")
    return len(re.findall(r"^.*\[0x[0-9a-f]+\]", xl("dmesg", "-c").stdout, re.M))


def counts(vm):
    """What a start must give back."""
    return {"domains": len(xl("list").stdout.splitlines()), # the nameless that cannot die, too
            "nodes": sorted(n for n in store("/") if n.startswith(("/local/domain", "/vm", "/libxl", "/state", "/xenmgr"))),
            "loops": loops(), "grants": grants(), "descriptors": len(os.listdir("/proc/%d/fd" % vm.monitor.pid)),
            "files": sorted(os.listdir("/var/lib/xen"))}


ROUNDS, ROUNDS_LINUX = 50, 10


def idle_kernel():
    """A PVH kernel that waits for interrupts for ever (sti, hlt, jmp)."""
    path, address, code = ROOT + "/idle.elf", 0x100000, b"\xfb\xf4\xeb\xfc"
    note = struct.pack("<III4sII", 4, 8, 18, b"Xen", address, 0) # XEN_ELFNOTE_PHYS32_ENTRY
    at = 64 + 2 * 56
    header = struct.pack("<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 62, 1, address, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, at, address, address, len(code), len(code), 16)
    notes = struct.pack("<IIQQQQQQ", 4, 4, at + 16, 0, 0, len(note), len(note), 4)
    with open(path, "wb") as f:
        f.write(header + load + notes + code.ljust(16, b"\0") + note)
    return path


def leaves_nothing(vm, rounds):
    """Starts and stops, counted from the second on: the first may make what stays, such as a folder."""
    try:
        vm.command("start", LINE)
        vm.command("destroy", LINE)
        before = counts(vm)
        for _ in range(rounds):
            vm.command("start", LINE)
            vm.command("destroy", LINE)
        after = counts(vm)
        assert {k: v for k, v in after.items() if k != "descriptors"} == {k: v for k, v in before.items() if k != "descriptors"}, \
            (before, after)
        assert after["descriptors"] <= before["descriptors"], (before["descriptors"], after["descriptors"])
    finally:
        vm.end()


@case(seconds=900)
def no_leaks():
    """50 starts and stops leave no domain, grant, descriptor, xenstore node or loop device behind."""
    # To load a Linux, and to run the scripts for a disk, takes seconds here; of what takes less there can be more.
    leaves_nothing(Vm("pvh", extra="kernel=%s\ninitrd=\n" % idle_kernel(), memory=32), ROUNDS - ROUNDS_LINUX)
    leaves_nothing(Vm("pv", extra="disk=%s:file:xvda:w:disk\n" % image("leak"), memory=96), ROUNDS_LINUX)


@case
def foreign():
    """A domain that xl started is left alone, and its uuid is refused."""
    file = ROOT + "/foreign.cfg"
    identity = str(uuids.uuid4())
    with open(file, "w") as f:
        f.write('name="foreign"\nuuid="%s"\nkernel="%s"\nramdisk="%s"\nmemory=128\n' % (identity, KERNEL, INITRD))
    assert xl("create", file).returncode == 0
    try:
        r = subprocess.run(["xenvm", "--no-daemonize", "--backend", "xen", "--uuid", identity], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CALL)
        assert r.returncode == 2, (r.returncode, r.stdout)
        before = store("/local/domain/%d" % domains()["foreign"])
        vm = Vm("pv")
        try: # another one is started and ended beside it
            vm.command("start", LINE)
            vm.command("destroy", LINE)
        finally:
            vm.end()
        assert store("/local/domain/%d" % domains()["foreign"]).keys() >= before.keys()
    finally:
        xl("destroy", "foreign")
