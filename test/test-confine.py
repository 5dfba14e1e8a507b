#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU as a user of its own in a stack that root started: what the kernel says of it, and what that user reaches."""
import json
import os
import pwd
import random
import signal
import subprocess

import oxt
from processes import alive
from xenvm import Machine, Monitors, sector

FIRST, LAST = 1879048192, 2147352575  # the setting vm.users
SANDBOX = 2  # seccomp with a filter

# Tries as who runs it what a guest that has broken out of QEMU would try; prints what succeeded.
BREAKOUT = r"""
import json, os, signal, socket, sys
todo = json.loads(sys.argv[1])
def attempt(name, f):
    try:
        f()
        print("succeeded:", name)
    except OSError as e:
        print("refused:", name, e.strerror)
def connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
for path in todo["files"]:
    attempt("read " + path, lambda: open(path, "rb").read(1))
    attempt("write " + path, lambda: os.close(os.open(path, os.O_WRONLY)))
for path in todo["folders"]:
    attempt("list " + path, lambda: os.listdir(path))
    attempt("make a file in " + path, lambda: os.mkdir(os.path.join(path, "x")))
for path in todo["sockets"]:
    attempt("connect to " + path, lambda: connect(path))
for pid in todo["processes"]:
    attempt("signal %d" % pid, lambda: os.kill(pid, 0))
    attempt("descriptors of %d" % pid, lambda: os.listdir("/proc/%d/fd" % pid))
    attempt("memory of %d" % pid, lambda: os.close(os.open("/proc/%d/mem" % pid, os.O_RDONLY)))
"""


def cgroup_folder():
    """Where the groups of VMs are on this host, or a reason why there are none."""
    if os.path.exists("/run/systemd/system"):
        return None
    with open("/proc/self/mountinfo") as f:
        for line in f:
            if " - cgroup2 " in line:
                folder = line.split()[4]
                return os.path.join(folder, "oxt") if os.access(folder, os.W_OK) else None
    return None


class Whole(oxt.Stack):
    def __init__(self, **env):
        oxt.needs_root()
        super().__init__(bus=False)
        self.env.update(env)
        r = self.run([oxt.program("oxt"), "up"])
        assert r.returncode == 0, r.stdout + r.stderr
        self.disks = os.path.join(self.state, "storage/disks")

    def guest(self, name, *options):
        image = os.path.join(self.root, name + ".img")
        with open(image, "wb") as f:
            f.write(sector("loop") + bytes(1 << 20))
        r = self.run([oxt.program("oxt"), "vm", "create", name, "-i", image, "--memory", "32", "--network", "user", *options])
        assert r.returncode == 0, r.stderr
        self.vm("start", name)
        return self.properties(name)["uuid"]

    def vm(self, *words):
        r = self.run([oxt.program("oxt"), "vm", *words])
        assert r.returncode == 0, (words, r.stdout, r.stderr)
        return r.stdout

    def properties(self, name):
        return json.loads(self.vm("show", "--json", name))["properties"]

    def folder(self, uuid):
        return os.path.join(self.runtime, "vm", uuid)

    def record(self, uuid):
        with open(os.path.join(self.folder(uuid), "monitor.json")) as f:
            return json.load(f)

    def pid(self, uuid, who="vm"):
        return self.record(uuid)[who]["pid"]

    def daemon_pid(self, name):
        """0: it is not there for the moment."""
        try:
            with open(os.path.join(self.runtime, "daemon", name + ".json")) as f:
                return json.load(f)["pid"]
        except FileNotFoundError:
            return 0

    def stop(self):
        self.run([oxt.program("oxt"), "down", "--timeout", "1"])
        super().stop()


def status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def limits(pid):
    with open("/proc/%d/limits" % pid) as f:
        return {line[:26].strip(): line[26:].split()[:2] for line in f.read().splitlines()[1:]}


def check_process(pid, uuid):
    """Everything that keeps a QEMU in its place; gives its user."""
    s = status(pid)
    uids = {int(u) for u in s["Uid"].split()}
    assert len(uids) == 1 and uids == {int(g) for g in s["Gid"].split()}, (s["Uid"], s["Gid"])
    uid = uids.pop()
    assert FIRST <= uid <= LAST and s["Groups"].strip() == "", (uid, s["Groups"])
    assert s["NoNewPrivs"] == "1" and int(s["Seccomp"]) == SANDBOX, (s["NoNewPrivs"], s["Seccomp"])
    assert int(s["CapEff"], 16) == int(s["CapPrm"], 16) == int(s["CapInh"], 16) == int(s["CapAmb"], 16) == 0
    with open("/proc/%d/environ" % pid, "rb") as f:
        assert f.read() == b""
    k = limits(pid)
    assert k["Max core file size"] == ["0", "0"] and k["Max open files"] == ["4096", "4096"] and k["Max processes"] == ["1024", "1024"], k
    if cgroup_folder():
        with open("/proc/%d/cgroup" % pid) as f:
            assert [line for line in f.read().splitlines() if line.startswith("0::") and line.endswith("/oxt/" + uuid)]
        assert os.path.isdir(os.path.join(cgroup_folder(), uuid))
    return uid


def breakout(uid, **todo):
    todo = {"files": [], "folders": [], "sockets": [], "processes": [], **todo}
    r = subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--no-new-privs", "/usr/bin/python3", "-c",
                        BREAKOUT, json.dumps(todo)], cwd="/", env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = r.stdout.splitlines()
    assert r.returncode == 0 and len(lines) == 2 * len(todo["files"] + todo["folders"]) + len(todo["sockets"]) + 3 * len(todo["processes"]), r.stdout
    return [line for line in lines if not line.startswith("refused: ")]


def files_below(folder):
    for where, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(where, name)


@oxt.case
def own_user():
    """Each QEMU has a user, a control group and limits of its own, and nothing open but what it was handed"""
    stack = Whole()
    try:
        uuids = [stack.guest("one"), stack.guest("two")]
        uids = [check_process(stack.pid(u), u) for u in uuids]
        assert uids[0] != uids[1]
        for uuid in uuids:
            pid = stack.pid(uuid)
            targets = {os.readlink("/proc/%d/fd/%s" % (pid, n)) for n in os.listdir("/proc/%d/fd" % pid)}
            files = {t for t in targets if t.startswith("/") and not t.startswith(("/dev/", "/memfd:"))}
            own = {t for t in files if t.startswith((stack.folder(uuid), os.path.join(stack.disks, uuid)))}
            assert any(t.startswith(stack.disks) for t in own) and files == own, files
            assert oct(os.stat(stack.folder(uuid)).st_mode) == "0o40710", "the folder is open to others"
    finally:
        stack.stop()


@oxt.case
def breaking_out():
    """Who has taken over a QEMU reaches no image, no record, no socket and no process of the stack or of another VM"""
    stack = Whole()
    try:
        mine, other = stack.guest("mine"), stack.guest("other")
        uid = status(stack.pid(mine))["Uid"].split()[0]
        files = [f for f in list(files_below(stack.state)) + list(files_below(stack.runtime)) if not f.startswith(stack.folder(mine) + "/qemu/")]
        sockets = [f for f in files if not os.path.isfile(f) and not os.path.islink(f)]
        public = tuple(os.path.join(stack.runtime, n) for n in ("daemon", "channel", "bus.conf"))  # say nothing that matters
        records = [f for f in files if os.path.isfile(f) and not f.startswith(public)]
        assert any(f.endswith(".img") or stack.disks in f for f in records) and any("db" in os.path.basename(f) for f in records), records
        assert any(f.endswith("bus.sock") for f in sockets) and any(f.endswith("helper.sock") for f in sockets), sockets
        assert any(f.endswith("rpc.sock") for f in sockets) and any(f.endswith("qmp.sock") for f in sockets), sockets
        processes = [stack.pid(other), stack.pid(other, "monitor"), stack.pid(mine, "monitor")]
        processes += [stack.daemon_pid(d) for d in ("dbd", "xenmgr", "rpc-proxy", "oxt-helper")]
        got = breakout(uid, files=records, sockets=sockets, processes=processes,
                       folders=[stack.folder(mine), stack.folder(other), stack.folder(other) + "/qemu", stack.disks, os.path.join(stack.state, "db")])
        assert got == [], got
    finally:
        stack.stop()


@oxt.case
def ends():
    """Nothing is left of a VM that was destroyed, shut down or killed, whoever of its keepers was killed in between"""
    stack = Whole()
    try:
        def gone(uuid, pid):
            oxt.wait_for(lambda: not alive(pid), 10, "the end of QEMU")
            oxt.wait_for(lambda: not os.path.exists(os.path.join(stack.folder(uuid), "qemu")), 10, "the end of its folder")
            if cgroup_folder():
                oxt.wait_for(lambda: not os.path.exists(os.path.join(cgroup_folder(), uuid)), 10, "the end of its control group")

        uuid = stack.guest("ends")
        pid = stack.pid(uuid)
        stack.vm("destroy", "ends")
        gone(uuid, pid)
        # The monitor is killed: the next one finds it, and can end it.
        stack.vm("start", "ends")
        pid, monitor = stack.pid(uuid), stack.pid(uuid, "monitor")
        os.kill(monitor, signal.SIGKILL)
        oxt.wait_for(lambda: stack.pid(uuid, "monitor") != monitor and stack.owned("org.xen.vm.uuid_" + uuid.replace("-", "_")), 20, "the next monitor")
        assert stack.pid(uuid) == pid and alive(pid)
        stack.vm("destroy", "ends")
        gone(uuid, pid)
        # The helper is killed, which has started it: the next one ends it.
        stack.vm("start", "ends")
        pid, helper = stack.pid(uuid), stack.daemon_pid("oxt-helper")
        os.kill(helper, signal.SIGKILL)
        oxt.wait_for(lambda: stack.daemon_pid("oxt-helper") not in (0, helper) and oxt.listens(os.path.join(stack.runtime, "helper.sock")), 20, "the next helper")
        assert alive(pid)
        check_process(pid, uuid)
        stack.vm("destroy", "ends")
        gone(uuid, pid)
        # It leaves a folder that nobody but its user and root can empty: the VM starts again all the same.
        stack.vm("start", "ends")
        pid = stack.pid(uuid)
        uid = status(pid)["Uid"].split()[0]
        subprocess.run(["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "mkdir", "-m", "700", "-p", "/proc/%d/cwd/left/behind" % pid], check=True)
        stack.vm("destroy", "ends")
        oxt.wait_for(lambda: not alive(pid), 10, "the end of QEMU")
        assert os.path.isdir(os.path.join(stack.folder(uuid), "qemu/left"))
        # QEMU dies by itself: a crash.
        stack.vm("start", "ends")
        pid = stack.pid(uuid)
        os.kill(pid, signal.SIGKILL)
        oxt.wait_for(lambda: stack.properties("ends")["state"] == "stopped", 10, "the crash")
        gone(uuid, pid)
    finally:
        stack.stop()


@oxt.case
def helper_away():
    """Without oxt-helper a VM's end waits for it; if it stays away the VM is kept as it is, and found by who asks again"""
    stack = Whole(XENVM_TIMEOUT_SCALE="0.1")
    try:
        uuid = stack.guest("kept")
        pid, socket = stack.pid(uuid), os.path.join(stack.runtime, "helper.sock")
        destroy = [oxt.program("xenvm-cmd"), uuid, "destroy"]
        os.rename(socket, socket + ".away")
        r = stack.run(destroy)
        assert r.returncode == 1 and str(pid) in r.stderr and "oxt-helper" in r.stderr, r
        assert alive(pid) and stack.pid(uuid) == pid
        r = stack.run([oxt.program("xenvm-cmd"), uuid, "get-status"])
        assert r.stdout.strip() == "running" and os.path.exists(os.path.join(stack.runtime, "channel", uuid + ".json")), r

        def attempts():
            with open(os.path.join(stack.state, "vm-log", uuid + ".log")) as f:
                return f.read().count("this is tried again")

        assert attempts() == 1
        waiting = subprocess.Popen(destroy, env=stack.env, stderr=subprocess.PIPE, text=True)
        oxt.wait_for(lambda: attempts() == 2, 5, "the second attempt")
        assert waiting.poll() is None and alive(pid)
        os.rename(socket + ".away", socket)
        assert waiting.wait(60) == 0, waiting.stderr.read()
        assert not alive(pid)
    finally:
        stack.stop()


@oxt.case
def seen_from_outside():
    """Console, screen and use of a VM are to be had though its QEMU is another user's, also after its monitor was killed"""
    stack = Whole()
    try:
        uuid = stack.guest("seen", "--set", "display=vnc")
        xec_vm = [oxt.program("xec-vm"), "-u", uuid]
        for _ in range(2):
            path = stack.run([oxt.program("xenvm-cmd"), uuid, "console"])
            assert path.returncode == 0 and path.stdout.startswith("/dev/pts/"), path
            owner = os.stat(path.stdout.strip())
            assert owner.st_uid == pwd.getpwnam("oxt-mgr").pw_uid and owner.st_mode & 0o007 == 0, oct(owner.st_mode)
            picture = os.path.join(stack.root, "screen.png")
            r = stack.run([*xec_vm, "screen", picture])
            assert r.returncode == 0, r.stderr
            with open(picture, "rb") as f:
                assert f.read(4) == b"\x89PNG"
            usage = json.loads(stack.run([oxt.program("xenvm-cmd"), uuid, "usage"]).stdout)
            assert usage["cpu_usec"] >= 0 and usage["memory_kib"] > 0, usage
            monitor = stack.pid(uuid, "monitor")
            os.kill(monitor, signal.SIGKILL)
            oxt.wait_for(lambda: stack.pid(uuid, "monitor") != monitor and stack.owned("org.xen.vm.uuid_" + uuid.replace("-", "_")), 20, "the next monitor")
            oxt.wait_for(lambda: stack.run([oxt.program("xenvm-cmd"), uuid, "console"]).returncode == 0, 10, "the console")
    finally:
        stack.stop()


@oxt.case
def alone():
    """A monitor that root starts by hand, without oxt-helper, gives QEMU a user of its own too"""
    oxt.needs_root()
    stack = Monitors()
    try:
        m = Machine(stack, **{"cpu-weight": "300"})
        m.monitor()
        m.cmd("start")
        pid = m.pid()
        check_process(pid, m.uuid)
        folder = cgroup_folder()
        weight = os.path.join(folder, m.uuid, "cpu.weight") if folder else ""
        if os.path.exists(weight):
            with open(weight) as f:
                assert f.read().strip() == "300"
        else:
            assert "cpu-weight of %s has no effect" % m.uuid in m.log()
        m.cmd("destroy")
        assert not alive(pid) and (not folder or not os.path.exists(os.path.join(folder, m.uuid)))
        assert sorted(os.listdir(m.dir)) == ["lock", "monitor.json"], os.listdir(m.dir)
        m.cmd("quit")
    finally:
        stack.stop()


@oxt.case
def few_users():
    """Two VMs that run never have the same user; where there is none left a start says so, until one has ended"""
    oxt.needs_root()
    stack = Monitors()
    try:
        user = random.randrange(FIRST, LAST)  # which no VM of another test has
        stack.env["OXT_VM_USERS"] = "%d-%d" % (user, user + 1)
        machines = [Machine(stack) for _ in range(3)]
        for m in machines:
            m.monitor()
        for m in machines[:2]:
            m.cmd("start")
        users = {status(m.pid())["Uid"] for m in machines[:2]}
        assert len(users) == 2, users
        text = machines[2].fails("start")
        assert "there is no user for it" in text, text
        machines[0].cmd("destroy")
        machines[2].cmd("start")
        assert {status(m.pid())["Uid"] for m in machines[1:]} == users
        for m in machines:
            m.cmd("destroy")
            m.cmd("quit")
    finally:
        stack.stop()


@oxt.case
def without_users():
    """With vm.users = none, and in a user namespace that has not these users, QEMU runs as its monitor's user, and VMs start all the same"""
    oxt.needs_root()
    stack = Monitors()
    try:
        for prefix, setting in ([], "none"), (["unshare", "--user", "--map-root-user"], None):
            if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL).returncode:
                raise oxt.Skip("no user namespaces here")
            m = Machine(stack)
            if setting:
                stack.env["OXT_VM_USERS"] = setting
            r = stack.run([*prefix, oxt.program("xenvm"), "--config", m.config, "--monitor-json", "true"])
            stack.env.pop("OXT_VM_USERS", None)
            assert r.returncode == 0, r.stderr
            oxt.wait_for(lambda: stack.owned(m.name), 10, "the monitor")
            m.cmd("start")
            assert status(m.pid())["Uid"].split() == ["0"] * 4 and status(m.pid())["NoNewPrivs"] == "1"
            assert setting or "this user namespace" in m.log()
            m.cmd("destroy")
            m.cmd("quit")
    finally:
        stack.stop()


@oxt.case
def private_files():
    """A kernel, a key and images that nobody but the monitor's user may read reach QEMU all the same, and a throw-away disk works"""
    oxt.needs_root()
    stack = Monitors()
    try:
        kernel, key, secret, image = (os.path.join(stack.root, n) for n in ("kernel", "key", "secret.img", "plain.img"))
        header = bytearray(1 << 16)  # what QEMU looks at of a kernel (Documentation/x86/boot.rst): protocol 2.12, loaded high
        for at, size, value in ((0x1f1, 1, 1), (0x1fe, 2, 0xaa55), (0x202, 4, 0x53726448), (0x206, 2, 0x20c), (0x211, 1, 1),
                                (0x22c, 4, 0x7fffffff), (0x238, 4, 2047)):
            header[at:at + size] = value.to_bytes(size, "little")
        for path, data in ((kernel, bytes(header)), (key, b"a passphrase"), (image, bytes(1 << 20))):
            with open(path, "wb") as f:
                f.write(data)
        make = ["qemu-img", "create", "-q", "-f", "luks", "--object", "secret,id=k,file=" + key, "-o", "key-secret=k,iter-time=100", secret, "1M"]
        if not any(subprocess.run(make, stderr=subprocess.DEVNULL).returncode == 0 for _ in range(10)):  # it wants to measure the processor
            raise oxt.Skip("qemu-img makes no LUKS image here")
        m = Machine(stack, kernel=kernel)
        m.write(disk=[m.image + ":file:hda:w:disk", secret + ":file:xvdb:w:disk:key-file=" + key, image + ":file:xvdc:w:disk:temporary"])
        for path in (kernel, key, secret, image, m.image):
            os.chmod(path, 0o600)
        m.monitor()
        m.cmd("start")
        check_process(m.pid(), m.uuid)
        assert m.status() == "running"
        m.cmd("destroy")
        m.cmd("quit")
        # One that is not there, or no file, is told before QEMU starts.
        for path, words in ((os.path.join(stack.root, "none"), "No such file"), (stack.root, "Invalid argument")):
            m = Machine(stack, kernel=path)
            m.monitor()
            text = m.fails("start")
            assert "kernel" in text and path in text and words in text, text
            m.cmd("quit")
    finally:
        stack.stop()


oxt.main()
