# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the cases share: runs inside dom0, on a real Xen."""
import json
import os
import re
import socket
import struct
import subprocess
import time
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

cases = [] # in the order in which their files define them


def case(function=None, seconds=300):
    """Declares a case; it is ended after `seconds`."""
    if not function:
        return lambda f: case(f, seconds)
    function.seconds = seconds
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
