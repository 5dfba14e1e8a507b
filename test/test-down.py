#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt down with VMs that run: in order, after their time is over, and where nothing is left to ask."""
import json
import os
import signal
import subprocess
import time

import oxt

XM = "com.citrix.xenclient.xenmgr"
HALTED = bytes.fromhex("fbf4ebfd")  # sti; again: hlt; jmp again: deaf to the power button


class Stack(oxt.Stack):
    def __init__(self):
        super().__init__(bus=False)
        r = self.oxt("up")
        if r.returncode != 0:
            self.stop()
            raise AssertionError(r.stdout + r.stderr)

    def oxt(self, *args):
        return self.run([oxt.program("oxt"), *args], 120)

    def guest(self, name="guest", priority=0):
        """Creates and starts a VM; its monitor's record."""
        disk = os.path.join(self.state, "storage/disks/%s.img" % name)
        with open(disk, "wb") as f:
            f.write(HALTED.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
        os.chmod(disk, 0o666)
        tree = {"slot": "-1", "name": name, "shutdown-priority": str(priority), "config": {
            "virt-type": "hvm", "memory": "32", "display": "none", "notify": "dbus", "disk": {
                "0": {"path": "/storage/disks/%s.img" % name, "type": "file", "mode": "w", "device": "hda", "devtype": "disk"}}}}
        status, out, error = self.call(XM, "/", XM, "create_vm_with_template_and_json", "ss", "", json.dumps(tree))
        assert status == 0, error
        self.vm = out.split('"')[1]
        r = self.run(["busctl", "--address=" + self.address, "--timeout=60", "call", XM, self.vm, XM + ".vm", "start"])
        assert r.returncode == 0, r.stderr
        with open(os.path.join(self.runtime, "vm", self.vm.split("/")[2].replace("_", "-"), "monitor.json")) as f:
            return json.load(f)

    def daemon(self, name):
        return {d["name"]: d for d in json.loads(self.oxt("status", "--json").stdout)["supervisor"]["daemons"]}[name]

    def left(self):
        out = subprocess.run(["pgrep", "-af", self.root], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
        return [line for line in out.splitlines() if "Z" not in self.state_of(line.split()[0])]

    @staticmethod
    def state_of(pid):
        try:
            with open("/proc/%s/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            return "Z"

    def nothing_left(self):
        oxt.wait_for(lambda: not self.left(), 5, "the end of %s" % self.left())
        assert os.listdir(self.runtime) == ["up.lock"], os.listdir(self.runtime)
        with open("/proc/net/unix") as f:
            assert self.root not in f.read()

    def stop(self):
        self.oxt("down", "--timeout", "0")
        for line in self.left():
            os.kill(int(line.split()[0]), signal.SIGKILL)
        super().stop()


with_stack = oxt.case_with(Stack)


@with_stack
def deaf_guest(stack):
    """A guest that does not listen has its time, and is then ended; that is said."""
    record = stack.guest()
    assert stack.state_of(record["vm"]["pid"]) != "Z"
    begin = time.monotonic()
    r = stack.oxt("down", "--timeout", "2")
    assert r.returncode == 0, r.stdout + r.stderr
    assert time.monotonic() - begin >= 2 and "shutting down the VM" in r.stdout and "1 VM did not shut down in 2 s" in r.stdout, r.stdout
    stack.nothing_left()


@with_stack
def by_priority(stack):
    """VMs of a higher shutdown-priority are asked first, equal ones together, and each stage has its share of the time."""
    for name, priority in (("low", -5), ("high-1", 7), ("middle", 0), ("high-2", 7)):
        stack.guest(name, priority)
    p = subprocess.Popen([oxt.program("oxt"), "down", "--timeout", "9"], env=stack.env, stdout=subprocess.PIPE, text=True)
    said = []
    for line in p.stdout:
        if "shutting down the VM" in line:
            said.append((line.split("VM ")[1].split()[0], time.monotonic()))
    assert p.wait() == 0
    names = [name for name, _when in said]
    assert sorted(names[:2]) == ["high-1", "high-2"] and names[2:] == ["middle", "low"], names
    assert said[2][1] - said[1][1] >= 1 and said[3][1] - said[2][1] >= 1, "they are deaf, so each has its three seconds"
    stack.nothing_left()


@with_stack
def nobody_to_ask(stack):
    """With supervisor, xenmgr and bus killed, monitor and VM are found by their records."""
    record = stack.guest()
    pids = [stack.daemon(name)["pid"] for name in ("xenmgr", "bus")]
    with open(os.path.join(stack.runtime, "daemon", "supervisor.json")) as f:
        pids.insert(0, json.load(f)["pid"])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert all(stack.state_of(record[who]["pid"]) != "Z" for who in ("monitor", "vm"))
    r = stack.oxt("down", "--timeout", "10")
    assert r.returncode == 0 and "VM " + record["uuid"] in r.stdout, r.stdout + r.stderr
    stack.nothing_left()


@with_stack
def foreign_process(stack):
    """A record that names a process of root's ends nothing of root's."""
    oxt.needs_root()
    record = stack.guest()
    folder = os.path.join(stack.runtime, "vm", record["uuid"])
    victim = subprocess.Popen(["sleep", "600"])
    try:
        with open("/proc/%d/stat" % victim.pid) as f:
            start = int(f.read().rsplit(")", 1)[1].split()[19])
        record["uuid"] = "11111111-2222-3333-4444-555555555555"
        record["vm"] = record["monitor"] = {"pid": victim.pid, "start": start}
        forged = os.path.join(os.path.dirname(folder), record["uuid"])
        os.mkdir(forged)
        with open(os.path.join(forged, "monitor.json"), "w") as f:
            json.dump(record, f)
        stack.oxt("down", "--timeout", "0")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


oxt.main()
