#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs inside dom0 on a real Xen: xenvm with its Xen back end, and whole stacks. Prints TAP."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
import uuid as uuids

BIN = "/share/bin"
ROOT = "/tmp/xen-test"
RESULTS = "/share/results"
STATE, RUNTIME = ROOT + "/state", ROOT + "/run"
os.makedirs(STATE, exist_ok=True)
os.makedirs(RUNTIME, exist_ok=True)
os.environ.update(OXT_STATE_DIR=STATE, OXT_RUNTIME_DIR=RUNTIME, OXT_DATA_DIR="/share/data",
                  PATH=BIN + ":" + os.environ["PATH"])
# A hypervisor under emulation is slow; nothing here takes longer than this unless it hangs.
CALL = 60
LINE = 100

cases = []


def case(function):
    cases.append(function)
    return function


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (seconds, what))
        time.sleep(0.1)


def xl(*args):
    return subprocess.run(["xl", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def domains():
    """name -> domid of what runs beside dom0."""
    found = {}
    for line in xl("list").stdout.splitlines()[1:]:
        words = line.split()
        if len(words) >= 2 and words[1] != "0":
            found[words[0]] = int(words[1])
    return found


class Vm:
    """One xenvm with a config of its own, commanded through its socket."""

    def __init__(self, kind="pv", extra="", start=False, memory=128, cmdline=""):
        self.uuid = str(uuids.uuid4())
        self.name = "t-" + self.uuid[:8]
        self.file = "%s/%s.conf" % (ROOT, self.uuid)
        self.log = "%s/%s.log" % (RESULTS, self.uuid)
        with open(self.file, "w") as f:
            f.write("uuid=%s\nname=%s\nvirt-type=%s\nmemory=%d\nkernel=/share/vmlinux\ninitrd=/share/guest.cpio\n"
                    "cmdline=console=hvc0 quiet %s\ndisplay=none\nbackend=xen\nstartup=%s\ndebug=true\noutput=%s\n%s\n" %
                    (self.uuid, self.name, kind, memory, cmdline, "start" if start else "shutdown", self.log, extra))
        self.monitor = None
        self.spawn()

    def spawn(self):
        self.monitor = subprocess.Popen(["xenvm", "--no-daemonize", "--monitor-dbus", "false", "--monitor-json", "true",
                                         "--config", self.file],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.log + ".err", "a"))
        wait_for(lambda: self.monitor.poll() is not None or self.answers(), CALL, "xenvm to serve")
        assert self.monitor.poll() is None, self.log_text()

    def log_text(self):
        return "".join(open(p).read() for p in (self.log + ".err", self.log) if os.path.exists(p))[-3000:]

    def answers(self):
        try:
            self.command("get-status")
            return True
        except OSError:
            return False

    def command(self, method, seconds=CALL, **params):
        """The result, or an AssertionError with the error's text."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(seconds)
        s.connect("%s/xenvm/vm-%s" % (RUNTIME, self.uuid))
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method,
                              "params": {k: str(v) for k, v in params.items()}}).encode()
        s.sendall(struct.pack(">I", len(request)) + request)
        reply = b""
        while True:
            chunk = s.recv(65536)
            if not chunk:
                break
            reply += chunk
        s.close()
        answer = json.loads(reply)
        if "error" in answer:
            raise AssertionError("%s: %s" % (method, answer["error"]["message"]))
        return answer["result"]

    def state(self):
        return self.command("get-status")

    def domid(self):
        return int(self.command("get-domid"))

    def console(self):
        try:
            with open("/var/log/xen/guest-%s.log" % self.name, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def lines(self):
        """What the guest printed each second: dictionaries, the newest last."""
        return [dict(zip(("count", "disks", "nics", "kib"), map(int, m)))
                for m in re.findall(r"guest: count (\d+) disks (\d+) nics (\d+) kib (\d+)", self.console())]

    def up(self):
        wait_for(lambda: self.lines(), LINE, "the guest's first line; log:\n" + self.log_text())

    def wait_state(self, state, seconds=CALL):
        wait_for(lambda: self.state() == state, seconds, "state %s (it is %s)" % (state, self.state()))

    def states(self):
        return re.findall(r"State (\S+)", self.log_text())

    def end(self):
        try:
            if self.monitor.poll() is None:
                self.command("destroy")
                self.command("quit")
                self.monitor.wait(20)
        finally:
            if self.monitor.poll() is None:
                self.monitor.kill()
            if self.name in domains():
                xl("destroy", self.name)


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


def guest_end(kind, how, config, wanted):
    """A guest that ends by itself `how`, and the states that follow `running`."""
    vm = Vm(kind, extra=config, cmdline="end=" + how)
    try:
        vm.command("start", LINE)
        follow = lambda: vm.states()[vm.states().index("running") + 1:][:len(wanted)]
        wait_for(lambda: follow() == wanted, LINE, "%s, not %s; log:\n%s" % (wanted, follow(), vm.log_text()))
        return vm.log_text()
    finally:
        vm.end()


START = ["creating-domain", "creating-devices", "created", "running"]


@case
def on_halt():
    """A guest that powers itself off: on_halt destroy."""
    guest_end("pv", "poweroff", "on_halt=destroy", ["shutdown"])


@case
def on_reboot():
    """A guest that reboots itself: on_reboot restart, twice round."""
    guest_end("pv", "reboot", "on_reboot=restart", ["rebooted"] + START + ["rebooted"] + START)


@case
def on_crash():
    """A guest that crashes: told, then on_crash destroy."""
    assert "error:crashed" in guest_end("pv", "crash", "on_crash=destroy", ["shutdown"])


@case
def preserve():
    """on_crash preserve leaves the dead domain for a look at it."""
    vm = Vm("pv", extra="on_crash=preserve", cmdline="end=crash")
    try:
        vm.command("start", LINE)
        wait_for(lambda: "error:crashed" in vm.log_text(), LINE, "the crash to be told")
        time.sleep(2)
        assert vm.domid() > 0 and domains().get(vm.name) == vm.domid()
    finally:
        vm.end()


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


def save_and_restore(kind):
    vm = Vm(kind)
    image = ROOT + "/image"
    try:
        vm.command("start", LINE)
        vm.up()
        vm.command("checkpoint", LINE, file=image)
        assert vm.state() == "running"
        n = vm.lines()[-1]["count"]
        wait_for(lambda: vm.lines()[-1]["count"] > n, CALL, "the guest to count on after the checkpoint")
        vm.command("suspend", LINE, file=image)
        assert vm.state() == "suspended" and vm.name not in domains()
        n = vm.lines()[-1]["count"]
        vm.command("restore", LINE, file=image)
        assert vm.state() == "running" and not os.path.exists(image)
        wait_for(lambda: vm.lines()[-1]["count"] > n, CALL, "the guest to count on after the restore")
        assert vm.console().count("guest: up") == 1
    finally:
        vm.end()


@case
def pv_save():
    """PV: checkpoint, suspend and restore; the guest counts on where it was."""
    save_and_restore("pv")


@case
def pvh_save():
    """PVH: checkpoint, suspend and restore; the guest counts on where it was."""
    save_and_restore("pvh")


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


@case
def hvm_devices():
    """HVM: creation, device model, xenstore contents, pause and destroy (its boot is beyond the emulation)."""
    disk = ROOT + "/hvm.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    vm = Vm("hvm", extra="kernel=\ninitrd=\nhvm=true\nacpi=true\napic=true\npae=true\nserial=pty\n"
                         "disk=%s:file:hda:w:disk\ndisk=:file:hdc:r:cdrom\nboot=dc" % disk, memory=160)
    try:
        vm.command("start", LINE, paused="true")
        assert vm.state() == "created"
        domid = vm.domid()
        listing = json.loads(xl("list", "-l", vm.name).stdout)[0]
        assert listing["config"]["c_info"]["type"] == "hvm" and listing["config"]["c_info"]["uuid"] == vm.uuid
        assert listing["config"]["b_info"]["type.hvm"]["boot"] == "dc"
        assert len(listing["config"]["disks"]) == 2
        store = subprocess.run(["xenstore-ls", "/local/domain/%d" % domid], stdout=subprocess.PIPE, text=True).stdout
        assert "vbd" in store and "console" in store, store
        vm.command("destroy", LINE)
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


@case
def converted():
    """xl reads what oxt convert writes, and means the same: type, uuid, memory, disks, nics."""
    disk = ROOT + "/convert.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    for kind, extra in (("pv", ""), ("hvm", "hvm=true\nkernel=\ninitrd=\nboot=cd\nacpi=true")):
        vm = Vm(kind, extra="disk=%s:file:xvda:w:disk\nnic=bridge=xenbr0,mac=02:00:00:00:00:01\n%s" % (disk, extra))
        try:
            cfg = ROOT + "/converted.cfg"
            r = subprocess.run(["xenvm-convert", vm.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=CALL)
            assert r.returncode == 0, r.stderr
            with open(cfg, "w") as f:
                f.write(r.stdout)
            out = xl("create", "-n", cfg).stdout
            got = json.loads(out[out.index("{"):])
            assert got["c_info"]["type"] == kind and got["c_info"]["uuid"] == vm.uuid, got["c_info"]
            assert got["b_info"]["target_memkb"] == 128 * 1024, got["b_info"]
            assert len(got["disks"]) == 1 and got["disks"][0]["pdev_path"] == disk, got["disks"]
            assert got["nics"][0]["mac"] == "02:00:00:00:00:01", got["nics"]
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


def main():
    wanted = sys.argv[1:]
    chosen = [c for c in cases if not wanted or c.__name__ in wanted]
    failed = 0
    print("1..%d" % len(chosen), flush=True)
    for number, c in enumerate(chosen, 1):
        began = time.monotonic()
        name = c.__doc__.strip().splitlines()[0].rstrip(".")
        try:
            c()
            print("ok %d - %s (%.0f s)" % (number, name, time.monotonic() - began), flush=True)
        except BaseException:
            failed += 1
            print("not ok %d - %s" % (number, name))
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            sys.stdout.flush()
    sys.exit(1 if failed else 0)


main()
