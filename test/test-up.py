#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt up, down, status, env, logs, config, doctor: the supervisor and what it supervises."""
import json
import os
import re
import signal
import subprocess
import time

import oxt

DAEMONS = ["bus", "dbd", "rpc-proxy", "xenmgr"] + (["oxt-helper"] if os.geteuid() == 0 else [])
NAMES = {"dbd": "com.citrix.xenclient.db", "rpc-proxy": "com.citrix.xenclient.rpc_proxy", "xenmgr": "com.citrix.xenclient.xenmgr"}


class Up(oxt.Stack):
    """A stack that `oxt up` has started; ended however the case ends."""

    def __init__(self, start=True, prefix=()):
        super().__init__(bus=False)
        self.prefix = list(prefix)
        if start:
            r = self.oxt("up")
            if r.returncode != 0:
                self.stop()
                raise AssertionError(r.stdout + r.stderr)

    def oxt(self, *args, seconds=60):
        return self.run([*self.prefix, oxt.program("oxt"), *args], seconds=seconds)

    def status(self):
        return json.loads(self.oxt("status", "--json").stdout)

    def daemons(self):
        return {d["name"]: d for d in self.status()["supervisor"]["daemons"]}

    def whole(self):
        return self.status()["supervisor"]["ready"] and all(self.owned(name) for name in NAMES.values())

    def left(self):
        """Processes that belong to this stack, from their command lines."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    words = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(self.runtime in word for word in words):
                found.append(" ".join(words))
        return found

    def sockets(self):
        with open("/proc/net/unix") as f:
            return [line.split()[-1] for line in f if self.runtime in line]

    def stop(self):
        self.oxt("down", "--timeout", "0")
        super().stop()


def kill(pid):
    os.kill(pid, signal.SIGKILL)


@oxt.case
def up_and_down():
    """oxt up starts every daemon, status shows them, and oxt down leaves no process, socket or record."""
    stack = Up()
    try:
        status = stack.status()
        assert status["supervisor"]["ready"], status
        assert sorted(d["name"] for d in status["supervisor"]["daemons"]) == sorted(DAEMONS), status
        for d in status["supervisor"]["daemons"]:
            assert d["state"] == "ready" and d["pid"] > 1 and d["restarts"] == 0, d
        assert all(vm["state"] == "stopped" for vm in status["vms"]) and status["proxy"]["channels"] == 0, status
        text = stack.oxt("status").stdout
        assert all(name in text for name in DAEMONS) and "Guest channels: 0" in text and "uivm" in text, text
        r = stack.oxt("down")
        assert r.returncode == 0 and "Nothing is left" in r.stdout, r.stdout + r.stderr
        assert stack.left() == [] and stack.sockets() == []
        assert sorted(os.listdir(stack.runtime)) == ["up.lock"], os.listdir(stack.runtime)
        assert stack.oxt("status").returncode == 3
        assert stack.oxt("down").returncode == 0
    finally:
        stack.stop()


@oxt.case
def environment():
    """eval of oxt env makes foreign tools talk to the stack."""
    stack = Up()
    try:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OXT_", "DBUS_"))}
        script = 'eval "$("$0" env --state-dir "$1" --runtime-dir "$2")"; busctl list --address="$DBUS_SYSTEM_BUS_ADDRESS"; gdbus introspect ' \
                 '--system --dest com.citrix.xenclient.db --object-path /; command -v oxt'
        r = subprocess.run(["sh", "-c", script, oxt.program("oxt"), stack.state, stack.runtime], env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        assert all(name in r.stdout for name in NAMES.values()), r.stdout + r.stderr
        assert "interface com.citrix.xenclient.db" in r.stdout and oxt.program("oxt") in r.stdout, r.stdout + r.stderr
    finally:
        stack.stop()


@oxt.case
def restart():
    """Each daemon that is killed is back within 3 s, and status shows it."""
    stack = Up()
    try:
        for name in DAEMONS:
            def killed():
                d = stack.daemons()[name]
                kill(d["pid"])
                oxt.wait_for(lambda: stack.daemons()[name]["restarts"] == d["restarts"] + 1 and stack.whole(), 10, "the restart of " + name)
            oxt.in_time(3, killed, "the restart of " + name)
            d = stack.daemons()[name]
            assert d["restarts"] >= 1 and "signal 9" in d["last_end"], d
    finally:
        stack.stop()


@oxt.case
def back_off():
    """A daemon that keeps dying is started again after growing pauses."""
    stack = Up()
    try:
        for n in range(4):
            d = oxt.wait_for(lambda: [x for x in [stack.daemons()["dbd"]] if x["state"] == "ready" and x["restarts"] == n], 10)[0]
            kill(d["pid"])
            begin = time.monotonic()
            oxt.wait_for(lambda: stack.daemons()["dbd"]["restarts"] == n + 1 and stack.daemons()["dbd"]["pid"], 10)
        assert time.monotonic() - begin > 0.3
        pauses = re.findall(r"dbd .* starting it again in (\d+) ms", stack.oxt("logs", "supervisor").stdout)
        assert pauses == ["0", "100", "200", "400"], pauses
    finally:
        stack.stop()


@oxt.case
def watchdog():
    """A daemon that hangs is killed and started again; one that only has nothing to do is not."""
    stack = Up(start=False)
    try:
        stack.env["OXT_WATCHDOG"] = "3"
        assert stack.oxt("up").returncode == 0
        before = stack.daemons()
        time.sleep(4)
        assert all(d["restarts"] == 0 for d in stack.daemons().values())
        os.kill(before["dbd"]["pid"], signal.SIGSTOP)
        oxt.wait_for(lambda: stack.daemons()["dbd"]["restarts"] == 1 and stack.whole(), 5, "dbd")
        assert "no sign of life" in stack.oxt("logs", "supervisor").stdout
    finally:
        stack.stop()


@oxt.case
def adopt():
    """A new oxt up adopts what a killed supervisor has left, and restarts it from then on."""
    stack = Up()
    try:
        before = stack.daemons()
        kill(stack.status()["supervisor"]["pid"])
        oxt.wait_for(lambda: stack.status()["supervisor"]["pid"] == 0)
        assert {n: d["pid"] for n, d in stack.daemons().items()} == {n: d["pid"] for n, d in before.items()}
        r = stack.oxt("up")
        assert r.returncode == 0 and r.stdout.count("adopted") == len(DAEMONS), r.stdout + r.stderr
        after = stack.daemons()
        assert {n: d["pid"] for n, d in after.items()} == {n: d["pid"] for n, d in before.items()}, (before, after)
        kill(after["dbd"]["pid"])
        oxt.wait_for(lambda: stack.daemons()["dbd"]["restarts"] == 1 and stack.whole(), 3, "dbd")
        again = stack.oxt("up")
        assert again.returncode == 0 and "supervised already" in again.stdout, again.stdout
    finally:
        stack.stop()


@oxt.case
def down_without_supervisor():
    """oxt down ends everything by the runtime records when the supervisor is gone."""
    stack = Up()
    try:
        kill(stack.status()["supervisor"]["pid"])
        r = stack.oxt("down")
        assert r.returncode == 0, r.stdout + r.stderr
        oxt.wait_for(lambda: stack.left() == [], 5, "the end of %s" % stack.left())
        assert stack.sockets() == []
    finally:
        stack.stop()


@oxt.case
def lost_records():
    """Daemons are found again, and ended, even where their records are lost."""
    stack = Up()
    try:
        before = stack.daemons()
        kill(stack.status()["supervisor"]["pid"])
        oxt.wait_for(lambda: stack.status()["supervisor"]["pid"] == 0)
        os.unlink(os.path.join(stack.runtime, "daemon", "dbd.json"))
        os.unlink(os.path.join(stack.runtime, "daemon", "bus.json"))
        assert stack.oxt("up").returncode == 0
        assert {n: d["pid"] for n, d in stack.daemons().items()} == {n: d["pid"] for n, d in before.items()}
        kill(stack.status()["supervisor"]["pid"])
        oxt.wait_for(lambda: stack.status()["supervisor"]["pid"] == 0)
        os.unlink(os.path.join(stack.runtime, "daemon", "dbd.json"))
        assert stack.oxt("down").returncode == 0
        oxt.wait_for(lambda: stack.left() == [], 5, "the end of %s" % stack.left())
    finally:
        stack.stop()


@oxt.case
def foreground():
    """oxt up --foreground supervises until SIGTERM, which ends the stack."""
    stack = Up(start=False)
    try:
        p = stack.start([oxt.program("oxt"), "up", "--foreground"], ready=stack.whole)
        p.terminate()
        assert p.wait(60) == 0
        assert stack.left() == [] and stack.sockets() == []
    finally:
        stack.stop()


@oxt.case
def side_by_side():
    """Two stacks with different directories share nothing."""
    one = Up()
    two = Up()
    try:
        def write(stack, value):
            return stack.call("com.citrix.xenclient.db", "/", "com.citrix.xenclient.db", "write", "ss", "/side", value)

        def read(stack):
            return stack.call("com.citrix.xenclient.db", "/", "com.citrix.xenclient.db", "read", "s", "/side")[1]

        assert write(one, "one")[0] == 0 and write(two, "two")[0] == 0
        assert (read(one), read(two)) == ('s "one"', 's "two"')
        assert one.oxt("down").returncode == 0
        assert two.whole() and read(two) == 's "two"'
    finally:
        one.stop()
        two.stop()


@oxt.case
def ordinary_user():
    """An ordinary user's stack is that user in all its processes, and closed to others."""
    oxt.needs_root()
    stack = Up(start=False, prefix=oxt.as_user("daemon"))
    try:
        for path in (stack.state, stack.runtime):
            os.chown(path, 1, 1)
            os.chmod(path, 0o700)
        r = stack.oxt("up")
        assert r.returncode == 0, r.stdout + r.stderr
        for d in stack.daemons().values():
            assert os.stat("/proc/%d" % d["pid"]).st_uid == 1, d
        assert stack.oxt("down").returncode == 0 and stack.left() == []
    finally:
        stack.stop()


@oxt.case
def users():
    """Where root starts a stack, each daemon but the helper is a user of its own."""
    oxt.needs_root()
    stack = Up()
    try:
        owners = {name: os.stat("/proc/%d" % d["pid"]).st_uid for name, d in stack.daemons().items()}
        assert owners.pop("oxt-helper") == 0
        assert 0 not in owners.values() and len(set(owners.values())) == len(owners), owners
        for name in ("bus.sock", "up.sock", "notify.sock", "helper.sock"):
            mode = os.stat(os.path.join(stack.runtime, name)).st_mode & 0o777
            assert mode == 0o660, (name, oct(mode))
        # Whoever starts last: monitors must be able to announce their VMs.
        kill(stack.daemons()["rpc-proxy"]["pid"])
        oxt.wait_for(lambda: stack.daemons()["rpc-proxy"]["restarts"] == 1 and stack.whole(), 3)
        assert os.stat(os.path.join(stack.runtime, "channel")).st_uid == owners["xenmgr"]
    finally:
        stack.stop()


@oxt.case
def foreign_directory():
    """A runtime directory that somebody else has made is refused."""
    oxt.needs_root()
    stack = Up(start=False)
    try:
        os.chown(stack.runtime, 1, 1)
        r = stack.oxt("up")
        assert r.returncode == 1 and "nobody else can write" in r.stderr, r.stdout + r.stderr
        assert stack.left() == []
    finally:
        stack.stop()


@oxt.case
def bounded_logs():
    """A log that grows is turned over, also when a daemon writes to it without end."""
    stack = Up(start=False)
    try:
        assert stack.oxt("config", "set", "log.size", "4096").returncode == 0
        assert stack.oxt("config", "set", "log.keep", "3").returncode == 0
        assert stack.oxt("up").returncode == 0
        path = os.path.join(stack.state, "log", "dbd.log")
        for number in range(3):
            # As the daemon does: appending, through a descriptor that stays open.
            with open(path, "a") as f:
                f.write("line\n" * 2000)
            oxt.wait_for(lambda: os.path.getsize(path) < 4096, 5, "the log to be turned over")
        assert sorted(n for n in os.listdir(os.path.dirname(path)) if n.startswith("dbd.log")) == ["dbd.log", "dbd.log.1", "dbd.log.2"]
        assert os.path.getsize(path + ".1") <= 4096
    finally:
        stack.stop()


@oxt.case
def logs():
    """oxt logs shows what daemons said, of all or of one, in the order of time."""
    stack = Up()
    try:
        text = stack.oxt("logs").stdout
        assert "supervisor" in text and "bus is ready" in text, text
        stamps = [line[:23] for line in text.splitlines() if line[10:11] == "T"]
        assert stamps == sorted(stamps), text
        assert "bus is ready" not in stack.oxt("logs", "dbd").stdout
        r = stack.oxt("logs", "nonsense")
        assert r.returncode == 2 and "dbd" in r.stderr
    finally:
        stack.stop()


@oxt.case
def config():
    """oxt config changes one setting, keeps the rest of the file, and refuses what does not fit."""
    stack = Up(start=False)
    try:
        path = os.path.join(stack.state, "oxt.conf")
        with open(path, "w") as f:
            f.write("# mine\nlog.keep = 4\n")
        assert stack.oxt("config", "set", "log.size", "8192").returncode == 0
        assert stack.oxt("config", "get", "log.size").stdout == "8192\n"
        assert stack.oxt("config", "get", "log.keep").stdout == "4\n"
        with open(path) as f:
            assert f.read() == "# mine\nlog.keep = 4\nlog.size = 8192\n"
        r = stack.oxt("config", "set", "log.size", "1")
        assert r.returncode == 1 and "4096" in r.stderr, r.stderr
        assert stack.oxt("config", "unset", "log.size").returncode == 0
        assert stack.oxt("config", "get", "log.size").stdout == "1048576\n"
        assert stack.oxt("config", "get", "no.such").returncode == 1
        text = stack.oxt("config").stdout
        assert "log.keep = 4" in text and path in text, text
    finally:
        stack.stop()


@oxt.case
def doctor():
    """oxt doctor looks at each thing, and says what to do about what is missing."""
    stack = Up(start=False)
    try:
        r = stack.oxt("doctor", "--json")
        checks = {c["name"]: c for c in json.loads(r.stdout)["checks"]}
        assert {"kvm", "xen", "vsock", "iommu", "memory", "sandbox", "packages", "users", "vm-users", "bus-limits"} <= set(checks), checks
        bad = [c for c in checks.values() if c["verdict"] == "bad"]
        assert r.returncode == (1 if bad else 0)
        assert all(c["text"] for c in checks.values()) and all(c["advice"] for c in bad), checks
        on_xen = checks["xen"]["text"] == "this is the control domain of a Xen host"
        assert checks["backend"]["text"].startswith("VMs run on %s: the setting backend is auto" % ("xen" if on_xen else "qemu"))
        for setting, verdict, text in (("qemu", "ok", "VMs run on qemu, as the setting backend says"),
                                       ("xen", "ok" if on_xen else "bad", "the setting backend")):
            assert stack.oxt("config", "set", "backend", setting).returncode == 0
            found = {c["name"]: c for c in json.loads(stack.oxt("doctor", "--json").stdout)["checks"]}["backend"]
            assert found["verdict"] == verdict and text in found["text"], found
            assert verdict == "ok" or "auto" in found["advice"], found
        if not checks["users"]["text"].startswith("missing users"):
            data = os.path.join(stack.root, "data")
            os.makedirs(data + "/sysusers.d")
            with open(data + "/sysusers.d/oxt.conf", "w") as f:
                f.write("# as an older package made them\nm root oxt-no-such-group\n")
            stack.env["OXT_DATA_DIR"] = data
            found = {c["name"]: c for c in json.loads(stack.oxt("doctor", "--json").stdout)["checks"]}["users"]
            assert found["verdict"] == "note" and "root in oxt-no-such-group" in found["text"] and data in found["advice"], found
            del stack.env["OXT_DATA_DIR"]
        stack.env["PATH"] = ""
        r = stack.oxt("doctor")
        assert "KVM" in r.stdout, r.stdout
    finally:
        stack.stop()


@oxt.case
def wrong_words():
    """Wrong command lines end with 2 and say what is right."""
    stack = Up(start=False)
    try:
        for args in (["nonsense"], ["up", "--nonsense"], ["down", "--timeout", "-3"], ["--bus", "tram", "up"]):
            r = stack.oxt(*args)
            assert r.returncode == 2 and r.stderr, (args, r)
        r = stack.oxt("--runtime-dir", "/tmp/" + "x" * 100, "up")
        assert r.returncode == 1 and "too long" in r.stderr, r.stderr
    finally:
        stack.stop()


oxt.main()
