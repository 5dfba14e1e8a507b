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

    def __init__(self, kind="pv", extra="", start=False, memory=128):
        self.uuid = str(uuids.uuid4())
        self.name = "t-" + self.uuid[:8]
        self.file = "%s/%s.conf" % (ROOT, self.uuid)
        self.log = "%s/%s.log" % (ROOT, self.uuid)
        with open(self.file, "w") as f:
            f.write("uuid=%s\nname=%s\nvirt-type=%s\nmemory=%d\nkernel=/share/vmlinux\ninitrd=/share/guest.cpio\n"
                    "cmdline=console=hvc0 quiet\ndisplay=none\nbackend=xen\nstartup=%s\ndebug=true\noutput=%s\n%s\n" %
                    (self.uuid, self.name, kind, memory, "start" if start else "shutdown", self.log, extra))
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
