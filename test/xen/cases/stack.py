# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole stack in dom0: a guest on Xen calls its host through a ring, is judged, and outlives every process."""
import base64
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

import bed
from bed import CALL, LINE, case, wait_for

HOME = "/opt/oxt"
STATE, RUNTIME = "/var/lib/oxt-stack", "/run/oxt-stack"
XENMGR = "com.citrix.xenclient.xenmgr"
VM = XENMGR + ".vm"
ENVIRONMENT = dict(os.environ, OXT_STATE_DIR=STATE, OXT_RUNTIME_DIR=RUNTIME, OXT_DATA_DIR=HOME + "/data",
                   PATH="%s/bin:%s" % (HOME, os.environ["PATH"]),
                   DBUS_SYSTEM_BUS_ADDRESS="unix:path=%s/bus.sock" % RUNTIME)

# A call that the VM's rule allows and one that the rules deny, then one allowed call after the other.
SCRIPT = """
x() { xec -i com.citrix.xenclient.xenmgr --signature '' $1 >/tmp/$1 2>&1; echo "$? $(tr '\\n' ' ' </tmp/$1)"; }
echo "oxt: allowed $(x list-vms)"
echo "oxt: denied $(x create-vm)"
while :; do
  n=$((n+1))
  echo "oxt: tick $n $(x list-vms)"
  sleep 0.5
done
"""


def install():
    """Programs, data and the daemons' users, as the package would make them."""
    if os.path.exists(HOME):
        return
    os.makedirs(HOME)
    shutil.copytree(bed.BIN, HOME + "/bin")
    shutil.copytree("/share/data", HOME + "/data")
    lines = [line.split() for line in open(HOME + "/data/sysusers.d/oxt.conf") if line[0] in "ugm"]
    groups = {words[1]: [] for words in lines if words[0] in "ug"}
    for words in lines:
        if words[0] == "m":
            groups[words[2]].append(words[1])
    numbers = {name: 900 + n for n, name in enumerate(groups)}
    with open("/etc/group", "a") as f:
        for name, members in groups.items():
            f.write("%s:x:%d:%s\n" % (name, numbers[name], ",".join(members)))
    with open("/etc/passwd", "a") as f:
        for words in lines:
            if words[0] == "u":
                f.write("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n" % ((words[1],) + (numbers[words[1]],) * 2))
    os.makedirs(STATE + "/storage/guest")
    for name in ("vmlinux", "initrd"):
        shutil.copy("/share/guest/" + name, STATE + "/storage/guest")


def run(*words, seconds=CALL):
    return subprocess.run(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, timeout=seconds)


def good(*words, seconds=CALL):
    r = run(*words, seconds=seconds)
    assert r.returncode == 0, "%s: %s\n%s" % (" ".join(words), r.stdout, logs())
    return r.stdout.strip()


def logs():
    """The ends of what the daemons and monitors wrote."""
    text = ""
    for path in sorted(glob.glob(STATE + "/log/*.log")):
        with open(path, errors="replace") as f:
            text += "%s:\n%s\n" % (os.path.basename(path), "".join(f.readlines()[-12:]))
    return text


def up():
    install()
    good("oxt", "up", seconds=100)


def status():
    return json.loads(good("oxt", "status", "--json"))


def processes(word):
    """pids of the processes with that word on their command lines."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path) as f:
                if word in f.read().split("\0"):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


class Guest:
    """A VM from the template oxt-demo, made with xec."""

    def __init__(self, script=SCRIPT):
        # xec prints a path.
        self.path = re.search(r"/vm/\w+", good("xec", "create-vm-with-template", "oxt-demo")).group()
        self.uuid = self.path[4:].replace("_", "-")
        encoded = base64.b64encode(script.encode()).decode()
        for name, value in (("name", "stack"), ("virt-type", "pv"),
                            ("cmd-line", "console=hvc0 quiet oxt.run=" + encoded)):
            good("xec", "-o", self.path, "-i", VM, "set", name, value)

    def get(self, name):
        return good("xec", "-o", self.path, "-i", VM, "get", name)

    def call(self, method, seconds=LINE):
        return good("xec", "-o", self.path, "-i", VM, method, seconds=seconds)

    def start(self):
        self.call("start")
        assert self.get("state") == "running", logs()

    def domid(self):
        return bed.domains().get(self.uuid, -1)

    def console(self):
        """The marked lines of the guest's console so far."""
        try:
            with open("/var/log/xen/guest-%s.log" % self.uuid, errors="replace") as f:
                lines = f.read().replace("\r", "").split("\n")[:-1] # the last may still be written
        except FileNotFoundError:
            return []
        return [line[5:] for line in lines if line.startswith("oxt: ")]

    def wait_for(self, text, seconds=LINE):
        def line():
            return next((l for l in self.console() if l.startswith(text)), None)

        try:
            return wait_for(line, seconds, "'%s' on the guest's console" % text)
        except AssertionError as e:
            raise AssertionError("%s\nconsole: %s\n%s" % (e, "\n".join(self.console()[-10:]), logs())) from e

    def last_tick(self):
        return next((int(line.split()[1]) for line in reversed(self.console()) if line.startswith("tick ")), 0)

    def ticks_on(self, seconds=LINE):
        """A call that the guest began after now is answered."""
        after = self.last_tick() + 1 # the one that is under way does not count

        def answered():
            return any(line.startswith("tick ") and int(line.split()[1]) > after and line.split()[2] == "0"
                       for line in self.console())

        try:
            wait_for(answered, seconds, "an answered call after tick %d" % after)
        except AssertionError as e:
            raise AssertionError("%s\nconsole: %s\n%s" % (e, "\n".join(self.console()[-10:]), logs())) from e

    def record(self):
        with open("%s/vm/%s/monitor.json" % (RUNTIME, self.uuid)) as f:
            return json.load(f)


class World:
    """One stack and one running VM for all cases: both are dear."""
    guest = None

    @classmethod
    def get(cls):
        up()
        if not cls.guest:
            cls.guest = Guest()
        if cls.guest.domid() < 0:
            cls.guest.start()
        return cls.guest


@case(seconds=150)
def stack_calls():
    """A VM made with xec from a template runs on Xen; its guest's calls come through the ring, one allowed, one denied."""
    guest = World.get()
    assert guest.get("domid") == str(guest.domid()) and guest.domid() > 0
    assert guest.record()["backend"] == "xen"
    allowed, denied = guest.wait_for("allowed "), guest.wait_for("denied ")
    assert allowed.startswith("allowed 0 ") and guest.path in allowed, allowed
    assert not denied.startswith("denied 0 ") and "org.freedesktop.DBus.Error.AccessDenied" in denied, denied
    log = good("oxt", "policy", "log")
    assert "create_vm" in log and "deny all" in log and "rpc-proxy.rules" in log, log
    assert "member=list_vms" not in log, log
    client = next(c for c in status()["proxy"]["clients"] if c["uuid"] == guest.uuid)
    assert client["domid"] == guest.domid(), client
