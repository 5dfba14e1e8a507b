#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Failures at every step of a start and of a shutdown. Each is made from outside, as it would happen; then the caller
must have the right error in time, nothing may be left, and the VM must start once the failure is gone.
"""
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import dbus

import oxt
from helper import HelperProcess
from life import Caller, Held, IDLE, Life, POWEROFF, VM
from xenmgr import DB, XM, uuid_of
from xenvm import OUT, WAIT, out

SLEEPS = out(*OUT["s3"]) + WAIT

# Limits are scaled to 5 % (at least 5 s): whatever takes longer than this waits for ever.
PATIENCE = 100


def write(path, text, mode=0o755):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


class Faulty(Life):
    """A manager whose monitors and device models are scripts, which a case may change."""

    def __init__(self):
        super().__init__("--no-autostart")
        self.bin = os.path.join(self.stack.root, "bin")
        os.mkdir(self.bin)
        shutil.copy(oxt.program("xenmgr"), self.bin)
        self.xenvm()
        self.qemu()
        self.extract()
        self.restart_manager()

    def restart_manager(self):
        self.manager.kill()
        self.manager.wait()
        self.manager = self.stack.daemon(os.path.join(self.bin, "xenmgr"), XM, "--no-autostart")

    def xenvm(self, text=None):
        write(os.path.join(self.bin, "xenvm"), "#!/bin/sh\n%s\n" % (text or 'exec %s "$@"' % oxt.program("xenvm")))

    def qemu(self, text=None):
        write(os.path.join(self.bin, "qemu"), "#!/bin/sh\n%s\n" % (text or 'exec qemu-system-x86_64 "$@"'))

    def extract(self, text=None):
        write(os.path.join(self.bin, "oxt-extract"), "#!/bin/sh\n%s\n" % (text or 'exec %s "$@"' % oxt.program("oxt-extract")))

    def lying_qemu(self, mode):
        self.qemu("OXT_FAKE_QEMU=%s exec /usr/bin/python3 %s/test/fake-qemu.py" % (mode, oxt.SOURCE))

    def machine(self, code=IDLE, config=(), **keys):
        return self.guest(code, config=dict({"qemu-dm-path": os.path.join(self.bin, "qemu"), "qemu-dm-timeout": "2"}, **dict(config)),
                          **keys)

    def set_key(self, vm, key, value):
        self.db("write", "/vm/%s/%s" % (uuid_of(vm), key), value)
        oxt.wait_for(lambda: str(self.call(vm, VM, "get_db_key", key.replace("/", "."))) == value)

    def disk_of(self, vm):
        return self.stack.state + self.db("read", "/vm/%s/config/disk/0/path" % uuid_of(vm))

    def folder(self, vm):
        return os.path.join(self.stack.runtime, "vm", uuid_of(vm))

    def attempt(self, vm, member="start"):
        """The error text of the call, "" when it succeeds; it must not take for ever."""
        began = time.monotonic()
        try:
            self.call(vm, VM, member, timeout=PATIENCE + 20)
            error = ""
        except dbus.DBusException as e:
            error = e.get_dbus_message()
        took = time.monotonic() - began
        assert took < PATIENCE, "%s took %.0f s (%s)" % (member, took, error)
        return error

    def at(self, vm, word, action):
        """Does something as soon as the VM's monitor has told a state; returns the thread."""
        seen = threading.Event()
        rule = "type='signal',interface='%s',member='notify'" % XM

        def run():
            p = subprocess.Popen(["busctl", "--address=" + self.stack.address, "--json=short", "monitor", "--match", rule],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            os.set_blocking(p.stderr.fileno(), True)
            p.stderr.readline()  # it is a monitor now
            seen.set()
            for line in p.stdout:
                if uuid_of(vm).encode() in line and ("vm:state:" + word).encode() in line:
                    action()
                    break
            p.kill()
            p.wait()
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert seen.wait(60), "busctl monitors nothing"
        return thread

    def kill(self, program, vm, sig=signal.SIGKILL):
        pids = self.pids(program, vm)
        # A child of the monitor that is about to become QEMU looks like it; what hangs is the monitor alone.
        for pid in sorted(pids)[:1] if sig == signal.SIGSTOP else pids:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass

    def left(self, vm):
        """What there is of a VM that does not run."""
        uuid = uuid_of(vm)
        found = ["process %s" % " ".join(p) for p in processes() if any(uuid in word for word in p[1:])]
        files = set(os.listdir(self.folder(vm))) if os.path.isdir(self.folder(vm)) else set()
        found += ["file " + f for f in sorted(files - {"xenvm.conf", "lock", "xenvm.log"})]
        found += glob.glob(self.stack.runtime + "/channel/%s*" % uuid) + glob.glob(self.stack.runtime + "/xenvm/*%s" % uuid)
        found += glob.glob(self.stack.state + "/storage/disks/*.snap*")
        return found


    def whole(self, vm):
        """Looks at a VM that runs behind a failure."""


class Helped(Faulty):
    """One with oxt-helper, which makes devices, limits and control groups for VMs."""

    def __init__(self):
        oxt.needs_root()
        super().__init__()
        self.helper = HelperProcess(self.stack)

    def machine(self, code=IDLE, config=(), **keys):
        return self.guest(code, config=dict({"extra-xenvm": {"1": "nic=id=2,bridge=br-test,rate=1000000"}}, **dict(config)), **keys)

    def made(self, vm):
        devices = [name.split("@")[0] for name in re.findall(r"^\d+: ([^:]+):", self.helper.links(), re.M)]
        groups = [path for path, names, _ in os.walk("/sys/fs/cgroup") if uuid_of(vm) in path]
        return ["device " + d for d in devices if d.startswith("oxt")] + ["limit of " + c for c in self.helper.chains()] + groups

    def left(self, vm):
        return super().left(vm) + self.made(vm)

    def whole(self, vm):
        assert [m for m in self.made(vm) if m.startswith("device ")], "the next start has no card: %s" % self.made(vm)


def processes():
    """Command lines of all that run in this test; zombies have none."""
    result = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                words = f.read().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue
        if words:
            result.append([path.split("/")[2], *words])
    return result


class Fault:
    """One row. make(life, vm) injects it and returns what undoes it, or None."""

    def __init__(self, step, name, make, error="", state="stopped", member="start", before=None, code=IDLE, **keys):
        self.step, self.name, self.make, self.error, self.state = step, name, make, error, state
        self.member, self.before, self.code, self.keys = member, before, code, keys


def ended(life, vm):
    try:
        oxt.wait_for(lambda: life.state(vm) == "stopped" and not life.left(vm), 10, "nothing left")
    except AssertionError:
        raise AssertionError("it is %s; left: %s" % (life.state(vm), life.left(vm))) from None


def run_fault(life, f):
    vm = life.machine(f.code, **f.keys)
    if f.before:
        f.before(life, vm)
    if f.member != "start":
        life.start(vm)
        life.wait_state(vm, "running")
    undo = f.make(life, vm)
    error = life.attempt(vm, f.member)
    try:
        assert re.match(f.error + "$" if not f.error else f.error, error), "error %r, expected %r" % (error, f.error)
        # None: either, but it must come to rest.
        states = [f.state] if f.state else ["running", "stopped"]
        oxt.wait_for(lambda: life.state(vm) in states, PATIENCE, "%s; it is %s" % (states, life.state(vm)))
    finally:
        if undo:
            undo()
    if f.state == "stopped":
        ended(life, vm)
        assert life.attempt(vm, "start") == "", "the VM does not start again"
        if f.code == IDLE:
            oxt.wait_for(lambda: life.state(vm) == "running", 20, "the VM after the failure is gone")
            life.whole(vm)
    assert life.attempt(vm, "destroy") == ""
    ended(life, vm)
    assert life.attempt(vm, "delete") == ""


steps_tried = set()


def rows_of(title, world=Faulty):
    def decorate(rows):
        steps_tried.update(f.step for f in rows())

        def run():
            wrong = []
            wanted = os.environ.get("OXT_FAULT")
            for f in rows():
                if wanted and wanted not in f.name:
                    continue
                life = world()
                try:
                    run_fault(life, f)
                except Exception as e:
                    wrong.append("%s, %s: %s" % (f.step, f.name, e))
                    print("# %s, %s: %s\n# %s" % (f.step, f.name, e, life.stack.log("xenmgr").replace("\n", "\n# ")))
                finally:
                    try:
                        life.stop()
                    except AssertionError as e:
                        wrong.append("%s, %s: %s" % (f.step, f.name, e))
            assert not wrong, "\n".join(wrong)
        run.__doc__, run.__name__ = title, rows.__name__
        return oxt.case(run)
    return decorate


# What is done to the world: each returns what undoes it.

def renamed(path_of):
    def make(life, vm):
        path = path_of(life, vm)
        os.rename(path, path + ".away")
        return lambda: os.rename(path + ".away", path)
    return make


def key(name, value, back=""):
    def make(life, vm):
        life.set_key(vm, name, value)
        return lambda: life.set_key(vm, name, back)
    return make


def script(which, text):
    def make(life, vm):
        getattr(life, which)(text)
        return getattr(life, which)
    return make


def lying(mode):
    def make(life, vm):
        life.lying_qemu(mode)
        return life.qemu
    return make


def killed_at(word, *programs, sig=signal.SIGKILL):
    def make(life, vm):
        thread = life.at(vm, word, lambda: [life.kill(p, vm, sig) for p in programs])
        return thread.join
    return make


def stopped_now(program):
    def make(life, vm):
        life.kill(program, vm, signal.SIGSTOP)
        return None
    return make


def killed_now(*programs):
    def make(life, vm):
        for p in programs:
            life.kill(p, vm)
    return make


def locked_by_another(life, vm):
    p = subprocess.Popen(["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-accel", "tcg", "-drive",
                          "if=ide,format=raw,file=" + life.disk_of(vm)], stdin=subprocess.DEVNULL)

    def locked():
        r = subprocess.run(["qemu-io", "-f", "raw", "-c", "quit", life.disk_of(vm)], capture_output=True)
        return r.returncode != 0
    oxt.wait_for(locked, 20, "the other QEMU's lock")
    return lambda: (p.kill(), p.wait())


def folder_is_file(life, vm):
    shutil.rmtree(life.folder(vm), ignore_errors=True)
    os.makedirs(os.path.dirname(life.folder(vm)), exist_ok=True)
    write(life.folder(vm), "")
    return lambda: os.unlink(life.folder(vm))


def folder_full(life, vm):
    oxt.needs_root()
    os.makedirs(life.folder(vm), exist_ok=True)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0777", "none", life.folder(vm)], capture_output=True)
    if r.returncode != 0:
        raise oxt.Skip("no file system can be mounted here")
    try:
        with open(os.path.join(life.folder(vm), "junk"), "wb") as f:
            f.write(b"x" * 65536)
    except OSError:
        pass
    return lambda: (subprocess.run(["umount", "-l", life.folder(vm)], check=True), shutil.rmtree(life.folder(vm)))


def name_taken(life, vm):
    other = dbus.bus.BusConnection(life.stack.address)
    other.request_name("org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_"))
    return other.close


def dbd(life):
    return [p for p in life.stack.processes if p.args[0].endswith("/dbd")][-1]


def dbd_stopped(life, vm):
    p = dbd(life)
    p.send_signal(signal.SIGSTOP)
    return lambda: p.send_signal(signal.SIGCONT)


def dbd_killed(life, vm):
    dbd(life).kill()
    dbd(life).wait()
    return lambda: life.stack.daemon("dbd", DB)


def backend_broken(life, vm):
    """A VM that serves the network, whose disk is missing; it is needed first."""
    net = life.machine(name="net", type="ndvm", **{"provides-network-backend": "true"})
    life.set_key(vm, "config/nic/0/backend-uuid", uuid_of(net))
    life.set_key(vm, "track-dependencies", "true")
    os.rename(life.disk_of(net), life.disk_of(net) + ".away")

    def undo():
        life.set_key(vm, "config/nic/0/backend-uuid", "")
        life.set_key(vm, "track-dependencies", "false")
    return undo


def hook(text):
    def make(life, vm):
        path = os.path.join(life.stack.root, "hook")
        write(path, "#!/bin/sh\n# %s\n%s\n" % (uuid_of(vm), text))
        life.set_key(vm, "run-pre-boot", path)
        return lambda: life.set_key(vm, "run-pre-boot", "")
    return make


def changed_disk(life, vm):
    life.set_key(vm, "measured", "true")
    life.start(vm)
    life.call(vm, VM, "destroy", timeout=60)
    with open(life.disk_of(vm), "r+b") as f:
        f.seek(4096)
        f.write(b"changed")
    return lambda: life.set_key(vm, "measured", "false")


def unreadable(life, vm):
    oxt.needs_root()
    os.chmod(life.disk_of(vm), 0o600)
    os.chown(life.disk_of(vm), 0, 0)
    return lambda: os.chmod(life.disk_of(vm), 0o666)


def bad_image(life, vm):
    path = os.path.join(life.stack.state, "storage/image")
    write(path, "this is no saved VM" * 100, 0o666)
    life.set_key(vm, "start-from-suspend-image", "/storage/image")
    return lambda: life.set_key(vm, "start-from-suspend-image", "")


def port_taken(life, vm):
    """A card in user space forwards a port of the host, which another program has."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    life.set_key(vm, "config/extra-xenvm/0", "nic=id=1,bridge=user,forward=tcp:%d:22" % taken.getsockname()[1])
    return lambda: (taken.close(), life.set_key(vm, "config/extra-xenvm/0", "debug=false"))


def from_disk(text=None):
    """The kernel is to come out of a disk on which there is none."""
    def make(life, vm):
        if text:
            life.extract(text)
        life.set_key(vm, "config/kernel-extract", "/boot/vmlinuz")
        life.set_key(vm, "config/virt-type", "pv")

        def undo():
            life.extract()
            life.set_key(vm, "config/virt-type", "hvm")
            life.set_key(vm, "config/kernel-extract", "")
        return undo
    return make


def sleeping(*make):
    """Once the guest sleeps."""
    def run(life, vm):
        oxt.wait_for(lambda: int(life.get(vm, VM, "acpi-state")) == 3, 20, "the guest to sleep")
        for m in make:
            m(life, vm)
    return run


def paused(make):
    def run(life, vm):
        life.call(vm, VM, "pause")
        make(life, vm)
    return run


# A monitor that does all that is asked of it, but for one command, to which it answers what it is told (nothing: not at all).
MONITOR = r"""
import os, sys, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
if os.fork():
    sys.exit(0)
config = sys.argv[sys.argv.index("--config") + 1]
uuid = os.path.basename(os.path.dirname(config))
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
name = "org.xen.vm.uuid_" + uuid.replace("-", "_")
answers = {"get_status": "shutdown", "get_domid": "-1", "get_acpi_state": "5"}
def on_message(connection, message):
    if message.get_type() != 1 or message.get_destination() != name and message.get_interface() != name:
        return 1
    member = message.get_member()
    if member == MEMBER and not ANSWER:
        return 0
    if member == MEMBER and ANSWER == "error":
        connection.send_message(dbus.lowlevel.ErrorMessage(message, "org.freedesktop.DBus.Error.Failed", "exception: no luck"))
        return 0
    reply = dbus.lowlevel.MethodReturnMessage(message)
    text = ANSWER if member == MEMBER else answers.get(member)
    if text is not None:
        reply.append(text, signature="s")
    connection.send_message(reply)
    if member == "quit":
        os._exit(0)
    return 0
import dbus.lowlevel
bus.add_message_filter(on_message)
bus.request_name(name)
up = dbus.lowlevel.SignalMessage("/org/xen/vm/" + uuid.replace("-", "_"), "xenvm.signal.notify", "notify")
up.append(uuid, 0, "dbus-rpc-up", signature="sis")
bus.send_message(up)
GLib.MainLoop().run()
"""


def monitor_answers(member, answer):
    def make(life, vm):
        path = os.path.join(life.bin, "monitor.py")
        write(path, "MEMBER, ANSWER = %r, %r\n%s" % (member, answer, MONITOR))
        life.xenvm('exec %s %s "$@"' % (sys.executable, path))

        def undo():
            life.xenvm()
            for p in processes():
                if path in p:
                    os.kill(int(p[0]), signal.SIGKILL)
        return undo
    return make


def agent(answer):
    """A guest's agent: a connection that owns its name and answers as it likes."""
    program = r"""
import sys, time, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])
class Agent(dbus.service.Object):
    @dbus.service.method("com.citrix.xenclient.guest", async_callbacks=("ok", "bad"))
    def request_shutdown(self, ok, bad):
        if sys.argv[3] == "error":
            bad(dbus.DBusException("no"))
        elif sys.argv[3] == "leave":
            bus.close()
            sys.exit(0)
        elif sys.argv[3] != "never":
            ok()
Agent(bus, "/")
bus.request_name("com.citrix.xenclient.guest.uuid_" + sys.argv[2])
print("ready", flush=True)
GLib.MainLoop().run()
"""

    def make(life, vm):
        p = subprocess.Popen([sys.executable, "-c", program, life.stack.address, uuid_of(vm).replace("-", "_"), answer],
                             stdout=subprocess.PIPE)
        p.stdout.readline()
        return lambda: (p.kill(), p.wait())
    return make


@rows_of("A start that fails at its checks")
def start_checks():
    return [
        Fault("checks", "disk missing", renamed(lambda life, vm: life.disk_of(vm)), "Bad Physical Path for disk 0"),
        Fault("checks", "disk is a folder", key("config/disk/0/path", "/storage/disks", "/storage/disks/g1.img"),
              "Bad Physical Path for disk 0"),
        Fault("checks", "memory", key("config/memory", "99999999", "32"), "101:"),
        Fault("memory", "the monitor does not say how much", monitor_answers("get", ""), "199:"),
        Fault("memory", "the monitor cannot say how much", monitor_answers("get", "error"), "199:.*no luck"),
        Fault("memory", "the monitor says far too much", monitor_answers("get", str(1 << 40)), "101:"),
        Fault("checks", "backend is not there", key("config/nic/0/backend-name", "nobody"), "232:"),
        Fault("dependencies", "backend does not start", backend_broken, ""),
        Fault("kernel", "its disk has none", from_disk(), "223:"),
        Fault("kernel", "its reader hangs", from_disk("exec sleep 600 # $*"), "223:.*too long"),
        Fault("kernel", "its reader is killed", from_disk("kill -9 $$"), "223:"),
        Fault("sums of disks", "disk has changed", changed_disk, "[0-9]+:.*has changed"),
        Fault("checks", "disk cannot be read", unreadable, "107:.*Permission denied"),
        Fault("configuration", "a value is wrong", key("config/vcpus", "many", "1"), ".*config/vcpus"),
        Fault("configuration", "its folder is a file", folder_is_file, "223:"),
        Fault("configuration", "its file system is full", folder_full, "223:"),
        Fault("database", "it hangs", dbd_stopped, "", "running"),
        Fault("database", "it is gone", dbd_killed, "", "running"),
    ]


@rows_of("A start whose monitor fails")
def start_monitor():
    return [
        Fault("monitor", "ends with an error", script("xenvm", "echo no luck >&2; exit 3"), "199:.*no luck"),
        Fault("monitor", "ends silently", script("xenvm", "exit 0"), "199:.*did not come up"),
        Fault("monitor", "hangs", script("xenvm", "exec sleep 600 # $*"), "199:.*did not come up"),
        Fault("monitor", "is no program", lambda life, vm: (os.chmod(life.bin + "/xenvm", 0o644), life.xenvm)[1], "199:"),
        Fault("monitor", "its name is taken", name_taken, "199:"),
        Fault("monitor", "killed as it begins", killed_at("creating-domain", "bin/xenvm"), "199:"),
        Fault("monitor", "killed when the VM is built", killed_at("created", "bin/xenvm"), "(199:|$)", None),
        Fault("monitor", "hangs as it begins", killed_at("creating-domain", "bin/xenvm", sig=signal.SIGSTOP), "199:"),
        Fault("monitor", "hangs when the VM is built", killed_at("created", "bin/xenvm", sig=signal.SIGSTOP), "(199:|$)", None),
    ]


SENTINEL = {"boot-sentinel": "services-up"}


@rows_of("A start whose device model or hook fails")
def start_device_model():
    return [
        Fault("run-pre-boot", "fails", hook("exit 3"), "223:.*status 3"),
        Fault("run-pre-boot", "is no program", key("run-pre-boot", "/nowhere"), "223:"),
        Fault("run-pre-boot", "hangs", hook("sleep 600"), "223:.*did not end"),
        Fault("run-pre-boot", "calls nobody", key("run-pre-boot", "rpc:destination=no.body,interface=no.body,member=nothing"), "223:"),
        Fault("run-pre-boot", "kills the monitor", hook('kill -9 $(sed "s/.*\\"monitor\\":{\\"pid\\":\\([0-9]*\\).*/\\1/" $OXT_RUNTIME_DIR/vm/$1/monitor.json)'),
              "(199:|$)", None),
        Fault("start paused", "image locked", locked_by_another, "107:"),
        Fault("start paused", "QEMU is gone at once", script("qemu", "echo no luck >&2; exit 1"), "199:.*no luck"),
        Fault("start paused", "QEMU hangs", script("qemu", "exec sleep 600 # $*"), "199:"),
        Fault("start paused", "QEMU says nothing", lying("silent"), "199:"),
        Fault("start paused", "QEMU talks rubbish", lying("garbage"), "199:"),
        Fault("start paused", "QEMU closes its door", lying("leave"), "199:"),
        Fault("start paused", "QEMU answers wrongly", lying("wrong-types"), "199:"),
        Fault("start paused", "QEMU goes in the middle", lying("die-later"), "199:"),
        Fault("start paused", "QEMU killed as it begins", killed_at("creating-devices", "qemu-system"), "(199:|102:|$)", None),
        Fault("start paused", "QEMU killed when built", killed_at("created", "qemu-system"), "(199:|102:|$)"),
        Fault("start paused", "a file cannot be made", key("config/serial", "file:/nowhere/serial", "none"), "199:.*nowhere"),
        Fault("start paused", "saved state is damaged", bad_image, "199:"),
        Fault("start paused", "a bridge that nobody makes leaves a card without cable", key("config/extra-xenvm/0", "nic=id=1,bridge=nobridge9", "debug=false"), "", "running"),
        Fault("start paused", "the port of a forward is taken", port_taken, "199:.*already in use"),
        Fault("unpause", "the guest ends at once", lambda life, vm: None, "", code=POWEROFF),
        Fault("unpause", "QEMU killed when it runs", killed_at("running", "qemu-system"), ""),
        Fault("sentinel", "the guest never says that it is up", lambda life, vm: None, "", "running", **SENTINEL),
        Fault("sentinel", "QEMU killed while it is waited for", killed_at("running", "qemu-system"), "", **SENTINEL),
        Fault("sentinel", "the monitor killed while it is waited for", killed_at("running", "bin/xenvm"), "(199:|$)", "running", **SENTINEL),
    ]


@rows_of("A start that fails leaves nothing of what oxt-helper made for it", Helped)
def start_helped():
    return [
        Fault("start paused", "a file cannot be made", key("config/serial", "file:/nowhere/serial", "none"), "199:"),
        Fault("start paused", "saved state is damaged", bad_image, "199:"),
        Fault("start paused", "QEMU killed when built", killed_at("created", "qemu-system"), "(199:|102:|$)"),
        Fault("start paused", "the monitor killed when the VM is built", killed_at("created", "bin/xenvm"), "(199:|$)", None),
        Fault("unpause", "QEMU killed when it runs", killed_at("running", "qemu-system"), ""),
    ]


@rows_of("A shutdown that meets failures ends the VM all the same")
def shutdown():
    def row(step, name, make, **more):
        return Fault(step, name, make, more.pop("error", ""), member="shutdown", **more)

    return [
        row("agent", "says yes and does nothing", agent("yes")),
        row("agent", "refuses", agent("error")),
        row("agent", "never answers", agent("never")),
        row("agent", "goes away", agent("leave")),
        row("wake", "QEMU hangs while the guest sleeps", sleeping(stopped_now("qemu-system")), code=SLEEPS),
        row("wake", "the monitor is killed while the guest sleeps", sleeping(killed_now("bin/xenvm")), error="(199:.*|$)", code=SLEEPS),
        row("wake", "QEMU is killed while the VM is paused", paused(killed_now("qemu-system"))),
        row("forced halt", "the monitor is killed", killed_at("shutdowning", "bin/xenvm"), error="(199:.*|$)"),
        row("forced halt", "QEMU hangs", killed_at("shutdowning", "qemu-system", sig=signal.SIGSTOP)),
        row("ACPI or PV", "QEMU hangs", stopped_now("qemu-system")),
        row("ACPI or PV", "QEMU is killed", killed_now("qemu-system")),
        row("ACPI or PV", "the monitor is killed", killed_now("bin/xenvm"), error="(199:.*|$)", state=None),
        row("ACPI or PV", "the monitor hangs", stopped_now("bin/xenvm"), error="(199:.*|$)"),
        row("ACPI or PV", "both are killed", killed_now("bin/xenvm", "qemu-system")),
        row("ACPI or PV", "the database hangs", dbd_stopped),
    ]


@rows_of("A VM is destroyed whatever hangs")
def destroy():
    def row(name, make, **more):
        return Fault("destroy", name, make, more.pop("error", ""), member="destroy", **more)

    return [
        row("QEMU hangs", stopped_now("qemu-system")),
        row("QEMU is killed", killed_now("qemu-system")),
        row("the monitor is killed", killed_now("bin/xenvm")),
        row("the monitor hangs", stopped_now("bin/xenvm")),
        row("the database hangs", dbd_stopped),
    ]


@oxt.case
def at_once():
    """A start directly behind one that failed, while what brought the monitor up has not ended, gets a monitor of its own."""
    life = Faulty()
    try:
        life.xenvm('%s "$@"; status=$?; sleep 2; exit $status' % oxt.program("xenvm"))
        vm = life.machine()
        undo = hook("exit 3")(life, vm)
        error = life.attempt(vm)
        assert error.startswith("223:"), error
        undo()
        error = life.attempt(vm)
        assert error == "" and life.state(vm) == "running", (error, life.state(vm))
    finally:
        life.stop()


with_faulty = oxt.case_with(Faulty, Faulty.show_log)


@with_faulty
def both_killed_in_start(life):
    """xenmgr and the monitor are killed when the VM is built: the next xenmgr does not delete it, and a start goes on with what is there."""
    life.with_limits(1)
    qemu = Held(life, "held-qemu", 'exec qemu-system-x86_64 "$@"')
    vm = life.machine(config={"qemu-dm-path": qemu.path, "qemu-dm-timeout": "600"})
    start = Caller(life, vm, "start")
    oxt.wait_for(lambda: os.path.exists(qemu.begun), 30, "its QEMU")
    life.manager.send_signal(signal.SIGSTOP)
    qemu.release()
    oxt.wait_for(lambda: life.record(vm)["state"] == "created", 30, "a VM that is built")
    life.kill("bin/xenvm", vm)
    life.xenvm('sleep 2; exec %s "$@"' % oxt.program("xenvm"))
    life.restart_manager()
    assert start.wait()
    pids = life.pids("qemu-system", vm)
    assert life.fails(vm, VM, "delete")[1].startswith("204:")
    assert life.attempt(vm) == "" and life.state(vm) == "running" and life.pids("qemu-system", vm) == pids
    oxt.wait_for(lambda: not os.path.exists(os.path.join(life.folder(vm), "starting")), 10, "the mark's end")


@with_faulty
def no_monitor_at_first(life):
    """A monitor that cannot be replaced at once is tried again, by a new xenmgr too; the VM counts as stopped when its QEMU is gone."""
    vm = life.machine()
    life.start(vm)
    qemu, name = life.pids("qemu-system", vm), "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")

    def without_monitors(*programs, restart=False):
        before = life.stack.log("xenmgr").count("could not be started: no luck")
        life.xenvm("echo no luck >&2; exit 3")
        for program in programs:
            life.kill(program, vm)
        if restart:
            life.restart_manager()
        return lambda: life.stack.log("xenmgr").count("could not be started: no luck") >= before + 2
    oxt.wait_for(without_monitors("bin/xenvm"), 30, "a second attempt")
    assert life.state(vm) == "running"
    life.xenvm()
    oxt.wait_for(lambda: life.stack.owned(name), 60, "a monitor")
    life.call(vm, VM, "pause", timeout=60)
    life.wait_state(vm, "paused")
    oxt.wait_for(without_monitors("bin/xenvm", restart=True), 30, "a second attempt of the new xenmgr")
    assert life.fails(vm, VM, "delete")[1].startswith("204:")
    life.xenvm()
    life.wait_state(vm, "paused", 60)
    assert life.pids("qemu-system", vm) == qemu
    without_monitors("bin/xenvm", "qemu-system")
    life.wait_state(vm, "stopped", 60)
    life.xenvm()
    assert life.attempt(vm) == "" and life.state(vm) == "running"


@oxt.case
def every_step():
    """The steps of a start and of a shutdown that xenmgr's README names all have failures here"""
    with open(os.path.join(oxt.SOURCE, "src/xenmgr/README.md")) as f:
        lines = re.findall(r"^    (?:start|shutdown) +(.* \u25ba .*)$", f.read(), re.M)
    steps = {re.sub(r"[()]| \d+ s$", "", step) for line in lines for step in line.split(" \u25ba ")}
    assert len(lines) == 2 and len(steps) > 12, lines
    assert steps <= steps_tried, steps - steps_tried


if __name__ == "__main__":
    oxt.main()
