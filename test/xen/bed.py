# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the cases share: runs inside dom0, on a real Xen."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import uuid as uuids
import zlib

from files_for_both import Notifications, ask

BIN = "/share/bin"
ROOT = "/tmp/xen-test"
RESULTS = "/share/results"
STATE, RUNTIME = ROOT + "/state", ROOT + "/run"
os.makedirs(STATE, exist_ok=True)
os.makedirs(RUNTIME, exist_ok=True)
os.environ.update(OXT_STATE_DIR=STATE, OXT_RUNTIME_DIR=RUNTIME, OXT_DATA_DIR="/share/data",
                  PATH=BIN + ":" + os.environ["PATH"])
# A hypervisor under emulation is slow, and slower where the host does other things at the same time: how
# long dom0 took to come up (20 s where nothing else runs) tells by how much.
with open("/proc/uptime") as f:
    SLOW = min(max(float(f.read().split()[0]) / 20, 1), 4)
# Nothing takes longer than this unless it hangs.
CALL = 60 * SLOW
LINE = 100 * SLOW

# Read at each start of a guest, so not through the share.
KERNEL, INITRD = ROOT + "/vmlinux", ROOT + "/guest.cpio"
for file in KERNEL, INITRD:
    if not os.path.exists(file):
        shutil.copy("/share/" + os.path.basename(file), file)

cases = [] # in the order in which their files define them


def case(function=None, seconds=300):
    """Declares a case; it is ended after `seconds`."""
    if not function:
        return lambda f: case(f, seconds)
    function.seconds = int(seconds * SLOW)
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
    return subprocess.run(["xl", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120 * SLOW)


def image(name, mib=8):
    """An empty disk."""
    path = "%s/%s.raw" % (ROOT, name)
    with open(path, "wb") as f:
        f.truncate(mib << 20)
    return path


making_bridges = threading.Lock()


def bridge(name):
    """A bridge of dom0."""
    with making_bridges:
        if not os.path.exists("/sys/class/net/" + name):
            subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return name


def picture(path):
    """Width, height and bytes of what is stored of a PNG file as xenvm writes it here."""
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[-8:-4] == b"IEND", data[:64]
    width, height = (int.from_bytes(data[at:at + 4], "big") for at in (16, 20))
    pixels = zlib.decompress(data[41:-16])
    assert len(pixels) == (width * 3 + 1) * height, (width, height, len(pixels))
    return width, height, pixels


def listing(name):
    """What `xl list -l` says of a domain."""
    return json.loads(xl("list", "-l", name).stdout)[0]["config"]


def store(path):
    """xenstore: node -> value below path; {} where there is none."""
    r = subprocess.run(["xenstore-ls", "-f", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(re.findall(r'^(\S+) = "(.*?)"', r.stdout, re.M))


def domains():
    """name -> domid of what runs beside dom0."""
    found = {}
    for line in xl("list").stdout.splitlines()[1:]:
        words = line.split()
        if len(words) >= 2 and words[1] != "0":
            found[words[0]] = int(words[1])
    return found


def for_both(of_kind):
    """Runs of_kind("pv") and of_kind("pvh") side by side: much of what a guest under emulation does is waiting."""
    errors = []

    def run(kind):
        try:
            of_kind(kind)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(kind,), daemon=True) for kind in ("pv", "pvh")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors: # of two that of a guest which the emulation spoiled is no news
        raise next((e for e in errors if not isinstance(e, Silent)), errors[0])


class Silent(AssertionError):
    """A guest that did not print a single line."""


class Vm:
    """One xenvm with a config of its own, commanded through its socket."""

    def __init__(self, kind="pv", extra="", start=False, memory=128, cmdline=""):
        self.uuid = str(uuids.uuid4())
        self.name = "t-" + self.uuid[:8]
        self.file = "%s/%s.conf" % (ROOT, self.uuid)
        self.log = "%s/%s.log" % (RESULTS, self.uuid)
        self.notifications = Notifications("%s/%s.notify" % (ROOT, self.uuid))
        with open(self.file, "w") as f:
            f.write("notify=unix,%s/%s.notify\n" % (ROOT, self.uuid))
            f.write("uuid=%s\nname=%s\nvirt-type=%s\nmemory=%d\nkernel=%s\ninitrd=%s\n"
                    "cmdline=console=hvc0 quiet %s\ndisplay=none\nbackend=xen\nstartup=%s\ndebug=true\noutput=%s\n%s\n" %
                    (self.uuid, self.name, kind, memory, KERNEL, INITRD, cmdline, "start" if start else "shutdown", self.log, extra))
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
        good, answer = ask("%s/xenvm/vm-%s" % (RUNTIME, self.uuid), method, seconds, params)
        if not good:
            raise AssertionError("%s: %s" % (method, answer))
        return answer

    def fails(self, method, seconds=CALL, **params):
        """The text of the error with which the command must end."""
        good, answer = ask("%s/xenvm/vm-%s" % (RUNTIME, self.uuid), method, seconds, params)
        assert not good, "%s succeeded: %s" % (method, answer)
        return answer

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
        try:
            wait_for(lambda: self.lines(), LINE, "the guest's first line")
        except AssertionError as e:
            raise (AssertionError if self.console() else Silent)("%s; log:\n%s" % (e, self.log_text()))

    def wait_state(self, state, seconds=CALL):
        wait_for(lambda: self.state() == state, seconds, "state %s (it is %s)" % (state, self.state()))

    def told(self):
        """The messages of the notifications so far."""
        return self.notifications.heard

    def states(self):
        return [n[len("vm:state:"):] for n in self.told() if n.startswith("vm:state:")]

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
