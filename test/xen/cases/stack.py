# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole stack in dom0: a guest on Xen calls its host through a ring, is judged, and outlives every process."""
import base64
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time

import bed
from bed import CALL, LINE, case, wait_for
from processes import alive

HOME = "/opt/oxt"
STATE, RUNTIME = "/var/lib/oxt-stack", "/run/oxt-stack"
XENMGR = "com.citrix.xenclient.xenmgr"
VM = XENMGR + ".vm"
ENVIRONMENT = dict(os.environ, OXT_STATE_DIR=STATE, OXT_RUNTIME_DIR=RUNTIME, OXT_DATA_DIR=HOME + "/data",
                   PATH="%s/bin:%s" % (HOME, os.environ["PATH"]),
                   DBUS_SYSTEM_BUS_ADDRESS="unix:path=%s/bus.sock" % RUNTIME)

# A call that the VM's rule allows and one that the rules deny, then one allowed call after the other.
SCRIPT = """
x() {
  while :; do
    xec -i com.citrix.xenclient.xenmgr --signature '' $1 >/tmp/$1 2>&1
    s=$?
    grep -q 'cannot connect' /tmp/$1 || break # its way to the host was being made anew
    sleep 0.2
  done
  echo "$s $(tr '\\n' ' ' </tmp/$1)"
}
echo "oxt: allowed $(x list-vms)"
echo "oxt: denied $(x create-vm)"
(until bench-rpc-proxy latency /run/oxt/host-bus test.echo 3 >/tmp/l 2>&1 && grep -q '^[0-9]' /tmp/l; do sleep 3; done
 echo "oxt: latency $(cat /tmp/l)") &
while :; do
  n=$((n+1))
  echo "oxt: tick $n $(x list-vms)"
  sleep 0.5
done
"""


def sh(*words):
    r = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert r.returncode == 0, "%s: %s" % (" ".join(words), r.stdout)


def install():
    """Programs, data and the daemons' users, as the package would make them."""
    if os.path.exists(STATE + "/storage/guest"):
        return
    shutil.copytree(bed.BIN, HOME + "/bin", dirs_exist_ok=True)
    shutil.copytree("/share/data", HOME + "/data", dirs_exist_ok=True)
    for line in open(HOME + "/data/sysusers.d/oxt.conf"):
        words = line.split() or ["#"]
        if words[0] == "g":
            sh("groupadd", "--force", "--system", words[1])
        elif words[0] == "u":
            sh("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", words[1])
        elif words[0] == "m":
            sh("usermod", "--append", "--groups", words[2], words[1])
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
    for path in sorted(glob.glob(STATE + "/log/*.log") + glob.glob(STATE + "/vm-log/*.log")):
        with open(path, errors="replace") as f:
            text += "%s:\n%s\n" % (os.path.basename(path), "".join(f.readlines()[-12:]))
    return text


def up():
    install()
    good("oxt", "up", seconds=100)


def status():
    """Also of a stack that is not whole."""
    r = subprocess.run(["oxt", "status", "--json"], env=ENVIRONMENT, stdout=subprocess.PIPE, timeout=CALL)
    return json.loads(r.stdout)


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

    def __init__(self, script=SCRIPT, kind="pv"):
        # xec prints a path.
        self.boots = 0 # as many as must be on the console
        self.path = re.search(r"/vm/\w+", good("xec", "create-vm-with-template", "oxt-demo")).group()
        self.uuid = self.path[4:].replace("_", "-")
        encoded = base64.b64encode(script.encode()).decode()
        for name, value in (("name", "stack"), ("virt-type", kind),
                            ("cmd-line", "console=hvc0 quiet oxt.run=" + encoded)):
            good("xec", "-o", self.path, "-i", VM, "set", name, value)

    def get(self, name):
        return good("xec", "-o", self.path, "-i", VM, "get", name)

    def call(self, method, seconds=LINE):
        return good("xec", "-o", self.path, "-i", VM, method, seconds=seconds)

    def start(self):
        self.boots += 1
        self.call("start")
        assert self.get("state") == "running", logs()

    def domid(self):
        return bed.domains().get(self.uuid, -1)

    def console(self):
        """The marked lines of the guest's console since it booted last."""
        try:
            with open("/var/log/xen/guest-%s.log" % self.uuid, errors="replace") as f:
                lines = f.read().replace("\r", "").split("\n")[:-1] # the last may still be written
        except FileNotFoundError:
            return []
        lines = [line[5:] for line in lines if line.startswith("oxt: ")]
        boots = [n for n, line in enumerate(lines) if line == "guest is up"]
        return lines[boots[-1]:] if len(boots) >= self.boots else []

    def wait_for(self, text, seconds=LINE):
        def line():
            return next((l for l in self.console() if l.startswith(text)), None)

        try:
            return wait_for(line, seconds, "'%s' on the guest's console" % text)
        except AssertionError as e:
            kind = AssertionError if self.console() else bed.Silent
            raise kind("%s\nconsole: %s\n%s" % (e, "\n".join(self.console()[-10:]), logs())) from e

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
def stack_up():
    """The stack comes up in dom0, its daemons each as its own user."""
    up()
    daemons = {d["name"]: d for d in status()["supervisor"]["daemons"]}
    for name, user in (("bus", "oxt-bus"), ("dbd", "oxt-dbd"), ("rpc-proxy", "oxt-proxy"), ("xenmgr", "oxt-mgr"),
                       ("oxt-helper", "root")):
        assert daemons[name]["state"] == "ready", daemons[name]
        assert os.stat("/proc/%d" % daemons[name]["pid"]).st_uid == pwd.getpwnam(user).pw_uid, name


@case(seconds=150)
def stack_doctor():
    """oxt doctor knows a Xen host, and says what it lacks."""

    def finding():
        checks = json.loads(run("oxt", "doctor", "--json").stdout)["checks"]
        return next(c for c in checks if c["name"] == "xen")

    up()
    assert finding()["verdict"] == "ok" and "VMs run on Xen" in finding()["text"], finding()
    module = HOME + "/bin/xenvm-xen.so"
    os.rename(module, module + ".away")
    try:
        assert finding()["verdict"] == "bad" and "xenvm-xen.so" in finding()["text"], finding()
    finally:
        os.rename(module + ".away", module)
    os.rename("/dev/xen/gntdev", "/dev/xen/gntdev.away")
    try:
        assert finding()["advice"] == "modprobe xen-evtchn xen-gntdev", finding()
    finally:
        os.rename("/dev/xen/gntdev.away", "/dev/xen/gntdev")


@case(seconds=150)
def stack_calls():
    """A VM made with xec from a template runs on Xen; its guest's calls come through the ring, one allowed, one denied."""
    guest = World.get()
    assert guest.get("domid") == str(guest.domid()) and guest.domid() > 0
    record = guest.record()
    assert record["backend"] == "xen"
    # The monitor is root for Xen alone: what it does otherwise it does as oxt-mgr.
    with open("/proc/%d/status" % record["monitor"]["pid"]) as f:
        real, effective = re.search(r"^Uid:\s+(\d+)\s+(\d+)", f.read(), re.M).groups()
    assert real == "0" and int(effective) == pwd.getpwnam("oxt-mgr").pw_uid, (real, effective)
    for path in glob.glob("%s/vm/%s/*" % (RUNTIME, guest.uuid)) + glob.glob(STATE + "/vm-log/*"):
        assert os.stat(path).st_uid == pwd.getpwnam("oxt-mgr").pw_uid, path
    allowed, denied = guest.wait_for("allowed "), guest.wait_for("denied ")
    assert allowed.startswith("allowed 0 ") and guest.path in allowed, allowed
    assert not denied.startswith("denied 0 ") and "org.freedesktop.DBus.Error.AccessDenied" in denied, denied
    log = good("oxt", "policy", "log")
    said = [line for line in log.splitlines() if "uuid=%s deny" % guest.uuid in line]
    assert [line for line in said if line.endswith("member=create_vm")], log
    assert "deny all" in log and "rpc-proxy.rules" in log, log
    assert not [line for line in said if "member=list_vms" in line], log
    client = next(c for c in status()["proxy"]["clients"] if c["uuid"] == guest.uuid)
    assert client["domid"] == guest.domid(), client


@case(seconds=150)
def stack_looked_at():
    """Its console, log and use of the host are there for the tools, though a monitor of root's has them."""
    guest = World.get()
    guest.wait_for("tick 1", CALL)
    r = subprocess.run(["timeout", str(int(10 * bed.SLOW)), "xec-vm", "-u", guest.uuid, "console"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert "oxt: tick" in r.stdout, r.stdout + logs()
    assert "Command" in good("xec-vm", "-u", guest.uuid, "log")
    r = run("xec-vm", "-u", guest.uuid, "screen", "/tmp/screen.png")
    assert r.returncode != 0 and "vfb" in r.stdout, r.stdout
    row = next(v for v in json.loads(good("oxt", "top", "--json", "-n", "1", "-d", "2")) if v["uuid"] == guest.uuid)
    assert row["cpu_percent"] > 0 and row["memory_kib"] > 64 * 1024, row


@case(seconds=150)
def stack_two():
    """A PVH guest beside a PV one: each has a ring of its own, and is judged by its own domain's rules."""
    guest = World.get()
    other = Guest(kind="pvh")
    try:
        good("db-rm", "/vm/%s/rpc-firewall-rules" % other.uuid)
        other.start()
        line = other.wait_for("allowed ")
        assert not line.startswith("allowed 0 ") and "AccessDenied" in line, line
        guest.ticks_on()
        clients = {c["uuid"]: c["domid"] for c in status()["proxy"]["clients"]}
        assert clients[guest.uuid] == guest.domid() and clients[other.uuid] == other.domid() != guest.domid(), clients
        log = good("oxt", "policy", "log")
        assert "domain %d uuid=%s deny" % (other.domid(), other.uuid) in log, log
    finally:
        other.call("destroy")
        good("xec", "-o", other.path, "-i", VM, "delete")


@case(seconds=150)
def stack_xenstore():
    """Xenstore has what OpenXT's tools read of a VM, as xenmgr knows it; what the guest writes there comes to xenmgr."""
    guest = World.get()
    shown = "/xenmgr/vms/" + guest.uuid

    def nodes():
        found = bed.store(shown)
        return {node: found.get(shown + "/" + node) for node in
                ("domid", "name", "slot", "image", "type", "hidden", "hide-switcher", "seamlessid")}

    expected = {"domid": str(guest.domid()), "name": guest.get("name"), "slot": guest.get("slot"), "image": guest.get("image-path"),
                "type": "svm", "hidden": "0", "hide-switcher": "0", "seamlessid": guest.get("seamless-id")}
    wait_for(lambda: nodes() == expected, CALL, "%s, not %s\n%s" % (expected, nodes(), logs()))
    listed = subprocess.run(["xenstore-ls", "-p", "/xenmgr/vms"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert len(listed) > 8 and all(line.endswith("(r0)") for line in listed), listed
    assert bed.store("/state/" + guest.uuid)["/state/%s/state" % guest.uuid] == "running"
    assert bed.store("/vm/" + guest.uuid)["/vm/%s/state" % guest.uuid] == "running"
    good("xec", "-o", guest.path, "-i", VM, "set", "name", "other name")
    good("xec", "-o", guest.path, "-i", VM, "set", "hidden-in-switcher", "true")
    wait_for(lambda: (nodes()["name"], nodes()["hidden"]) == ("other name", "1"), CALL, "the changes: %s" % nodes())

    for part, value in (("Major", "4"), ("Minor", "1"), ("Micro", "2"), ("Build", "77")):
        sh("xenstore-write", "/local/domain/%d/attr/PVAddons/%sVersion" % (guest.domid(), part), value)
    sh("xenstore-write", "/local/domain/%d/attr/PVAddons/Installed" % guest.domid(), "1")
    wait_for(lambda: guest.get("pv-addons") == "true" and guest.get("pv-addons-version") == "4.1.2.77", CALL,
             "the guest's tools to be known: %s %s\n%s" % (guest.get("pv-addons"), guest.get("pv-addons-version"), logs()))


@case(seconds=150)
def stack_host():
    """The host's memory and CPUs are those that the hypervisor has, not dom0's."""
    World.get()

    def xl(name):
        return int(re.search(r"^%s *: (\d+)" % name, bed.xl("info").stdout, re.M)[1])

    def host(name):
        return int(good("xec", "-o", "/host", "-i", XENMGR + ".host", "get", name))

    wait_for(lambda: host("total-mem") == xl("total_memory"), CALL, "the memory of the host, not %d MiB" % host("total-mem"))
    wait_for(lambda: abs(host("free-mem") - xl("free_memory")) <= 1, CALL, "the free memory, not %d MiB" % host("free-mem"))
    assert host("cpu-count") == xl("nr_cpus") and host("avail-mem") >= host("free-mem")


@case(seconds=150)
def stack_memory():
    """A guest gives back what it has above its memory-min for one that starts; what none can give back is error 101."""
    rich, poor = World.get(), Guest("sleep 9999")
    rich.wait_for("tick ")

    def free():
        return int(re.search(r"^free_memory *: (\d+)", bed.xl("info").stdout, re.M)[1])

    def set_key(guest, name, value):
        good("xec", "-o", guest.path, "-i", VM, "set", name, str(value))

    try:
        before = free()
        set_key(rich, "memory-min", 72)
        set_key(poor, "memory", before + 100)
        r = run("xec", "-o", poor.path, "-i", VM, "start", seconds=LINE)
        assert r.returncode != 0 and "101" in r.stdout and "MiB are needed" in r.stdout, r.stdout
        assert poor.domid() < 0 and free() >= before - 8
        set_key(poor, "memory", before + 20)
        poor.start()
        node = "/local/domain/%d/memory" % rich.domid()
        target = int(bed.store(node)[node + "/target"])
        assert 72 * 1024 <= target < 112 * 1024, target
        rich.ticks_on()
    finally:
        poor.call("destroy")
        good("xec", "-o", poor.path, "-i", VM, "delete")
        set_key(rich, "memory-min", 0)
        good("xenvm-cmd", rich.uuid, "set-mem-target", "128")


@case(seconds=150)
def stack_sentinel():
    """A VM with a boot sentinel has started when its guest wrote that node in xenstore."""
    guest = World.get()
    guest.call("destroy")
    wait_for(lambda: guest.domid() < 0, CALL, "the end of the domain")
    good("xec", "-o", guest.path, "-i", VM, "set", "boot-sentinel", "services-up")
    guest.boots += 1
    caller = subprocess.Popen(["xec", "-o", guest.path, "-i", VM, "start"], env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: guest.domid() > 0 and guest.get("state") == "running", CALL, "the VM to run\n" + logs())
        assert caller.poll() is None
        node = "/local/domain/%d/services-up" % guest.domid()
        # The node is the guest's to write.
        listed = subprocess.run(["xenstore-ls", "-p", os.path.dirname(node)], stdout=subprocess.PIPE, text=True).stdout
        assert re.search(r"^services-up = .*\(n%d\)" % guest.domid(), listed, re.M), listed
        sh("xenstore-write", node, "1")
        began = time.monotonic()
        assert caller.wait(CALL) == 0 and time.monotonic() - began < 40, "it waited for its own time to run out"
    finally:
        caller.kill()
        good("xec", "-o", guest.path, "-i", VM, "set", "boot-sentinel", "")


@case(seconds=150)
def stack_restored():
    """Suspended to a file and resumed from it the guest is another domain, and its calls are answered again."""
    guest = World.get()
    guest.ticks_on()
    before, image = guest.domid(), STATE + "/storage/image"
    good("xec", "-o", guest.path, "-i", VM, "suspend-to-file", image, seconds=LINE)
    wait_for(lambda: guest.domid() < 0, CALL, "the end of the domain\n" + logs())
    good("xec", "-o", guest.path, "-i", VM, "resume-from-file", image, seconds=LINE)
    wait_for(lambda: guest.domid() > before, CALL, "the new domain\n" + logs())
    guest.ticks_on()


@case(seconds=150)
def stack_latency():
    """A call and its answer take milliseconds through the ring (what it took is printed beside a socket of dom0's)."""
    guest = World.get()
    guest.ticks_on()
    node = "/vm/%s/rpc-firewall-rules/9" % guest.uuid
    good("db-write", node, "allow destination test.echo")
    bus = RUNTIME + "/bus.sock"
    echo = subprocess.Popen(["bench-rpc-proxy", "serve", bus, "test.echo"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE)
    try:
        assert echo.stdout.readline() == b"ready\n"
        socket = float(good("bench-rpc-proxy", "latency", bus, "test.echo", "3").split()[0])
        line = guest.wait_for("latency ", CALL) # the guest began to measure when it could
        ring = float(line.split()[1])
        with open("%s/vm-log/%s.log" % (STATE, guest.uuid)) as f:
            mapped = re.findall(r"is mapped, after (\d+) us", f.read())
        print("# a call over a socket of dom0: %.0f us; from the guest through the ring and rpc-proxy: %.0f us; mapping a ring: %s us"
              % (socket, ring, ", ".join(mapped)))
        assert 0 < ring < 1e6, line
    finally:
        echo.kill()
        echo.wait()
        good("db-rm", node)


def pid_of(guest, name):
    if name == "xenvm":
        return guest.record()["monitor"]["pid"]
    supervisor = status()["supervisor"]
    if name == "supervisor":
        return supervisor["pid"]
    return next(d["pid"] for d in supervisor["daemons"] if d["name"] == name)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 10, "the end of process %d" % pid)


def whole(guest, name, old):
    """There is a new process of that name, everything is ready, and the VM is seen to run."""
    try:
        if pid_of(guest, name) in (0, old):
            return False
    except (KeyError, ValueError, OSError, StopIteration):
        return False
    s = status()
    record = next((v for v in s["vms"] or [] if v["uuid"] == guest.uuid), {})
    return s["supervisor"] and s["supervisor"]["ready"] and record.get("state") == "running"


def killed(*names):
    guest = World.get()
    guest.wait_for("tick ")
    domid = guest.domid()
    for name in names:
        old = pid_of(guest, name)
        began = time.monotonic()
        kill(old)
        if name == "supervisor":
            up() # adopts what runs
        wait_for(lambda: whole(guest, name, old), CALL, "the stack to be whole after the end of %s\n%s" % (name, logs()))
        guest.ticks_on(CALL)
        print("# %s killed: all is whole and the guest's call answered after %.1f s" % (name, time.monotonic() - began))
        assert guest.domid() == domid, (guest.domid(), domid)
        assert guest.get("domid") == str(domid)
        # The monitor obeys, be it a new one or the same.
        assert "running" in good("xenvm-cmd", guest.uuid, "get-status")


@case(seconds=150)
def stack_monitor_killed():
    """xenvm and oxt-helper, which starts it, are killed: the domain runs on, its channel comes back."""
    killed("xenvm", "oxt-helper", "xenvm")


@case(seconds=150)
def stack_daemons_killed():
    """xenmgr, dbd and rpc-proxy are killed: the domain runs on, its guest's calls are answered again."""
    killed("xenmgr", "dbd", "rpc-proxy")


@case(seconds=150)
def stack_bus_killed():
    """The bus and the supervisor are killed: the domain runs on, its guest's calls are answered again."""
    killed("bus", "supervisor")


@case(seconds=150)
def stack_started_again():
    """Destroyed and started again: another domain, and nothing of the old one's connections is left."""
    guest = World.get()
    guest.ticks_on()
    before = guest.domid()

    def connections():
        r = good("busctl", "--address=" + ENVIRONMENT["DBUS_SYSTEM_BUS_ADDRESS"], "list", "--no-legend") \
            if shutil.which("busctl") else good("dbus-send", "--bus=" + ENVIRONMENT["DBUS_SYSTEM_BUS_ADDRESS"],
                                                "--dest=org.freedesktop.DBus", "--print-reply", "/",
                                                "org.freedesktop.DBus.ListNames")
        return re.findall(r"org\.oxt\.conn\.d(\d+)\.", r)

    with open("%s/channel/%s.json" % (RUNTIME, guest.uuid)) as f:
        first = json.load(f)
    assert str(before) in connections(), connections()
    guest.call("destroy")
    wait_for(lambda: guest.domid() < 0, CALL, "the end of the domain")
    wait_for(lambda: not connections(), CALL, "the end of its connections: %s" % connections())
    assert not os.path.exists("%s/channel/%s.json" % (RUNTIME, guest.uuid))
    assert not [c for c in status()["proxy"]["clients"] if c["uuid"] == guest.uuid]
    guest.start()
    assert guest.domid() > before
    with open("%s/channel/%s.json" % (RUNTIME, guest.uuid)) as f:
        second = json.load(f)
    assert second["start"] != first["start"] and second["domid"] == guest.domid() != first["domid"], (first, second)
    guest.wait_for("allowed 0 ")
    assert set(connections()) <= {str(guest.domid())}, (connections(), guest.domid())


@case(seconds=150)
def stack_start_interrupted():
    """xenmgr, then xenvm is killed in the middle of a start: the VM runs, or is down and starts again."""
    guest = World.get()
    guest.call("destroy")
    wait_for(lambda: guest.domid() < 0, CALL, "the end of the domain")

    def begin():
        p = subprocess.Popen(["xec", "-o", guest.path, "-i", VM, "start"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists("%s/vm/%s/starting" % (RUNTIME, guest.uuid)), CALL, "the start to begin")
        return p

    guest.boots += 1
    caller = begin()
    kill(pid_of(guest, "xenmgr"))
    caller.wait(CALL)
    # The new one goes on with it.
    wait_for(lambda: run("xec", "-o", guest.path, "-i", VM, "get", "state").stdout.strip() == "running", CALL,
             "the interrupted start to end\n" + logs())
    assert guest.domid() > 0
    guest.wait_for("tick ")
    guest.call("destroy")
    wait_for(lambda: guest.domid() < 0, CALL, "the end of the domain")

    caller = begin()
    kill(guest.record()["monitor"]["pid"])
    caller.wait(LINE)
    wait_for(lambda: guest.get("state") in ("running", "stopped"), CALL, "a state\n" + logs())
    wait_for(lambda: (guest.domid() > 0) == (guest.get("state") == "running"), CALL, "the domain to be as the state says")
    if guest.domid() < 0:
        guest.start()
    assert len([d for d in bed.domains() if d == guest.uuid]) == 1


@case(seconds=150)
def stack_stopped():
    """The guest is shut down by its agent, the stack ended: no domain, xenstore node or process is left."""
    guest = World.get()
    agent = "com.citrix.xenclient.guest.uuid_" + guest.uuid.replace("-", "_")
    guest.wait_for("tick ")
    domid = guest.domid()
    guest.call("shutdown")
    wait_for(lambda: guest.domid() < 0, LINE, "the end of the domain\n" + logs())
    wait_for(lambda: guest.get("state") == "stopped", CALL, "the state")
    nodes = subprocess.run(["xenstore-ls", "-f", "/"], stdout=subprocess.PIPE, text=True).stdout
    left = [n for n in nodes.splitlines() if guest.uuid in n or "/domain/%d/" % domid in n or "/vif/%d/" % domid in n]
    assert not left, left
    good("xec", "-o", guest.path, "-i", VM, "delete")
    World.guest = None
    # One that has no time to shut down is destroyed.
    late = Guest("sleep 9999")
    late.start()
    out = good("oxt", "down", "--timeout", "0", seconds=100)
    assert "Nothing is left running" in out, out
    assert not processes("--runtime-dir=" + RUNTIME) and not processes(RUNTIME), out
    assert not bed.domains()
    assert not os.path.exists(RUNTIME + "/vm/" + guest.uuid)


@case(seconds=150)
def stack_bounds():
    """A monitor that root runs for oxt-mgr gives its config no file, program or device model argument of root's."""
    install()
    folder = "/run/bounds"
    os.makedirs(folder, exist_ok=True)
    shutil.chown(folder, "oxt-mgr")
    secret = folder + "/secret"
    with open(secret, "w") as f:
        f.write("x" * 4096)
    os.chmod(secret, 0o600)
    shutil.copy("/share/guest.cpio", folder + "/kernel")
    environment = dict(ENVIRONMENT, OXT_STATE_DIR=folder + "/state", OXT_RUNTIME_DIR=folder + "/run")
    for name in ("state", "run"):
        os.makedirs(folder + "/" + name, exist_ok=True)
        shutil.chown(folder + "/" + name, "oxt-mgr")

    def xenvm(lines, *words):
        config = folder + "/vm.conf"
        with open(config, "w") as f:
            f.write("uuid=00000000-0000-0000-0000-00000000b0d5\nmemory=64\n" + lines)
        return subprocess.run(["xenvm", "--user", "oxt-mgr", *words, config], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=CALL)

    good_kernel = "virt-type=pv\nkernel=%s/kernel\n" % folder
    for lines, said in (("virt-type=pv\nkernel=%s\n" % secret, "kernel: cannot read"),
                        (good_kernel + "initrd=%s\n" % secret, "initrd: cannot read"),
                        (good_kernel + "disk=%s:file:xvda:w:disk\n" % secret, "cannot open " + secret),
                        (good_kernel + "disk=/etc/shadow:file:xvda:r:disk\n", "cannot open /etc/shadow"),
                        ("hvm=true\nserial=file:/etc/passwd\n", "serial: 'file:/etc/passwd' would be opened by root")):
        r = xenvm(lines, "--backend", "xen", "--print-backend")
        assert r.returncode != 0 and said in r.stderr, (lines, r.stderr, r.stdout)
    r = xenvm("hvm=true\nqemu-dm-path=%s/run-me\nextra-hvm=drive=file:/etc/shadow\n" % folder, "--backend", "xen", "--print-backend")
    assert r.returncode == 0, r.stderr
    made = json.loads(r.stdout)["b_info"]
    assert not [key for key in made if key.startswith("device_model") and "run-me" in str(made[key])] and "extra_hvm" not in made, made
    assert "run-me" not in r.stdout and "/etc/shadow" not in r.stdout, r.stdout
    assert "qemu-dm-path has no effect" in r.stderr and "extra-hvm has no effect" in r.stderr, r.stderr
    # A log that it may not write is not written.
    with open(folder + "/vm.conf", "w") as f:
        f.write("uuid=00000000-0000-0000-0000-00000000b0d5\nmemory=64\n%sdebug=true\noutput=/etc/oxt-was-here\nstartup=shutdown\n"
                % good_kernel)
    monitor = subprocess.Popen(["xenvm", "--user", "oxt-mgr", "--backend", "xen", "--no-daemonize", "--monitor-dbus", "false",
                                "--monitor-json", "true", folder + "/vm.conf"], env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        made = folder + "/run/xenvm/vm-00000000-0000-0000-0000-00000000b0d5"
        wait_for(lambda: os.path.exists(made) or monitor.poll() is not None, CALL, "the monitor")
        assert monitor.poll() is None, monitor.stderr.read()
        assert os.stat(made).st_uid == pwd.getpwnam("oxt-mgr").pw_uid
        assert not os.path.exists("/etc/oxt-was-here")
    finally:
        monitor.kill()
        monitor.wait()
    # A user cannot ask for it.
    r = subprocess.run(["setpriv", "--reuid", "oxt-mgr", "--regid", "oxt-mgr", "--clear-groups", HOME + "/bin/xenvm", "--user", "oxt-dbd",
                        "--check", folder + "/vm.conf"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert r.returncode == 3 and "only root" in r.stdout, r.stdout
