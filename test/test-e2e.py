#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole way: a guest under QEMU calls its host, is judged, and survives the death of every process of the stack."""
import json
import re
import subprocess

import oxt
import whole
from processes import alive

PROCESSES = 16
HELD = 64

# 16 processes at once make one call that the VM's rule allows and one that the rules deny; then it goes on calling.
SCRIPT = """
x() { xec -i com.citrix.xenclient.xenmgr --signature '' $1 >/tmp/$2 2>&1; echo "$? $(tr '\\n' ' ' </tmp/$2)"; }
for i in $(seq 16); do
  (a=$(x list-vms a$i); d=$(x create-vm d$i); echo "oxt: p$i allowed $a"; echo "oxt: p$i denied $d") &
done
wait
echo "oxt: all done"
killall -9 oxt-guest
sleep 1
until x list-vms k | grep -q '^0'; do sleep 0.1; done
echo "oxt: again after $(cut -d. -f1 /proc/uptime)"
for i in $(seq 64); do
  (printf '\\0AUTH EXTERNAL 30\\r\\nBEGIN\\r\\n'; sleep 9999) | nc 127.0.0.1 5555 >/dev/null 2>&1 &
done
while :; do
  n=$((n+1))
  echo "oxt: tick $n $(x list-vms t)"
  sleep 0.1
done
"""
RESTORED = 3  # seconds


class World:
    """One stack and one VM for all cases, in their order: a boot is dear."""
    stack = None
    vm = None

    @classmethod
    def get(cls):
        if not cls.stack:
            cls.stack = whole.WholeStack()
            cls.vm = whole.LinuxVm(cls.stack, "demo", SCRIPT, "-l,unix:/run/oxt/host-bus,-l,tcp:5555")
            cls.vm.start()
        return cls.stack, cls.vm


@oxt.case
def stock_client():
    """A D-Bus client that knows nothing of oxt creates and starts a VM, and busctl and gdbus introspect xenmgr."""
    stack, vm = World.get()
    oxt.wait_for(lambda: vm.get("state") == "running", 10, "the VM to run")
    assert int(vm.get("domid")) == 1
    for command in (["busctl", "--address=" + stack.address, "introspect", whole.XENMGR, "/"],
                    ["gdbus", "introspect", "--address", stack.address, "--dest", whole.XENMGR, "--object-path", "/"]):
        r = stack.run(command)
        assert r.returncode == 0 and "create_vm_with_template" in r.stdout, r.stderr


@oxt.case
def looked_at():
    """The tools show the VM's log, the phases of its start with its agent, and what it uses, as whoever started the stack."""
    stack, vm = World.get()
    vm.wait_for("all done", 60)

    def tool(*words):
        r = stack.run(words)
        assert r.returncode == 0, (words, r.stderr)
        return r.stdout
    xec_vm = oxt.program("xec-vm")
    assert "Starting QEMU" in tool(xec_vm, "-n", "demo", "log", "-n", "1000")
    phases = [line.split()[0] for line in tool(xec_vm, "-n", "demo", "timeline").splitlines()]
    assert phases[0] == "start" and "running" in phases and "agent" in phases, phases
    row = json.loads(tool(oxt.program("oxt"), "top", "--json", "-n", "1", "-d", "1"))
    row = next(r for r in row if r["name"] == "demo")
    assert row["state"] == "running" and row["cpu_percent"] > 0 and row["memory_kib"] > 16 * 1024, row


@oxt.case
def calls_are_judged():
    """16 processes of the guest at once each get the answer to an allowed call and a refusal of a denied one."""
    stack, vm = World.get()
    vm.wait_for("all done", 60)
    console = vm.console()
    for i in range(1, PROCESSES + 1):
        allowed = [line for line in console if line.startswith("p%d allowed " % i)]
        denied = [line for line in console if line.startswith("p%d denied " % i)]
        assert len(allowed) == len(denied) == 1, console
        assert allowed[0].startswith("p%d allowed 0 " % i) and vm.path in allowed[0], allowed
        assert "org.freedesktop.DBus.Error.AccessDenied" in denied[0], denied
        assert not denied[0].startswith("p%d denied 0 " % i), denied


@oxt.case
def audit():
    """Each denied call has its line in the log and its record, with the rule that decided; allowed ones have none."""
    stack, vm = World.get()
    lines = [line for line in stack.log_of("rpc-proxy").splitlines() if "DENY" in line and "create_vm" in line]
    assert len(lines) == PROCESSES, lines
    for line in lines:
        assert re.search(r"\(1->0\) DENY method-call \{ sender='[^']*' dest='com.citrix.xenclient.xenmgr' "
                         r"intf='com.citrix.xenclient.xenmgr' member='create_vm' ", line), line
        assert re.search(r"rule \S*rpc-proxy\.rules:\d+: deny all", line), line
    assert "member='list_vms'" not in stack.log_of("rpc-proxy")

    r = stack.run(["busctl", "--address=" + stack.address, "--json=short", "call", "com.citrix.xenclient.rpc_proxy", "/",
                   "org.oxt.RpcProxy1", "Denials", "u", "512"])
    records = [d for d in json.loads(json.loads(r.stdout)["data"][0]) if d.get("member") == "create_vm"]
    assert len(records) == PROCESSES
    for d in records:
        assert d["uuid"] == vm.uuid and d["domid"] == 1 and d["verdict"] == "deny", d
        assert d["rule"] == "deny all" and d["file"].endswith("rpc-proxy.rules") and d["line"] > 0, d
        with open(d["file"]) as f:
            assert f.read().splitlines()[d["line"] - 1] == "deny all"


@oxt.case
def guest_program_killed():
    """oxt-guest is killed inside the guest: the next one gets into step with a host side that stayed."""
    stack, vm = World.get()
    vm.wait_for("again after", 15)
    assert "left its channel: the guest side started anew" in stack.log_of("rpc-proxy")


@oxt.case
def held_connections():
    """64 connections that the guest holds open hinder nobody: its other programs are answered."""
    stack, vm = World.get()

    def held():
        return next((c["connections"] for c in stack.status()["proxy"]["clients"] if c["uuid"] == vm.uuid), 0)

    oxt.wait_for(lambda: held() >= HELD, 20, "%d connections" % HELD)
    ticks_on(vm, 5)
    markers = [n for n in stack.connect().list_names() if n.startswith("org.oxt.conn.d1.")]
    assert len(markers) >= HELD, len(markers)


@oxt.case
def vm_rule():
    """The rule that the VM was given is in the database; without it the same call is denied, at once."""
    stack, vm = World.get()
    node = "/vm/%s/rpc-firewall-rules/0" % vm.uuid
    tool = oxt.program("db-read"), oxt.program("db-write")
    rule = stack.run([tool[0], node]).stdout.strip()
    assert rule.startswith("allow ") and rule.endswith("member list_vms"), rule
    assert stack.run([tool[1], node, "deny all"]).returncode == 0
    seen = len(vm.console())
    oxt.wait_for(lambda: any("AccessDenied" in line for line in vm.console()[seen:]), 5, "a denied call")
    assert stack.run([tool[1], node, rule]).returncode == 0
    ticks_on(vm, 5)


def last_tick(vm):
    return next((int(line.split()[1]) for line in reversed(vm.console()) if line.startswith("tick ")), 0)


def ticks_on(vm, seconds):
    """A call that the guest began after now is answered."""
    after = last_tick(vm) + 1  # the one that is under way does not count

    def answered():
        return any(line.startswith("tick ") and int(line.split()[1]) > after and line.split()[2] == "0"
                   for line in vm.console())

    oxt.wait_for(answered, seconds, "an answered call after tick %d; the last lines are %s" % (after, vm.console()[-5:]))


def pid_of(stack, vm, name):
    if name == "xenvm":
        return vm.monitor()["monitor"]["pid"]
    supervisor = stack.status()["supervisor"]
    if name == "supervisor":
        return supervisor["pid"]
    return next(d["pid"] for d in supervisor["daemons"] if d["name"] == name)


def restored(stack, vm, name, old, qemu):
    """Everything is ready with a new process of that name, and the host sees the VM run."""
    try:
        if pid_of(stack, vm, name) in (0, old):
            return False
    except (KeyError, ValueError, OSError, StopIteration):
        return False
    s = stack.status()
    if not s["supervisor"] or not s["supervisor"]["ready"] or not s["vms"]:
        return False
    record = next((v for v in s["vms"] if v["uuid"] == vm.uuid), {})
    assert alive(qemu), "QEMU ended"
    return record.get("state") == "running" and record.get("domid") == 1


def kill_test(name):
    stack, vm = World.get()
    qemu = vm.monitor()["vm"]["pid"]

    def killed():
        old = pid_of(stack, vm, name)
        whole.kill(old)
        if name == "supervisor":
            stack.up()  # adopts what runs
        oxt.wait_for(lambda: restored(stack, vm, name, old, qemu), 10, "the stack to be whole")
        ticks_on(vm, 10)
    ticks_on(vm, 10)
    seconds = oxt.in_time(RESTORED, killed, "the way back after the end of " + name)
    print("# %s killed: the host's side whole and the guest's call answered after %.2f s" % (name, seconds))
    # The monitor obeys (it may have been started anew), and the VM is the same.
    r = stack.run([oxt.program("xenvm-cmd"), vm.uuid, "get-status"])
    assert r.returncode == 0 and "running" in r.stdout, r.stdout + r.stderr
    assert vm.monitor()["vm"]["pid"] == qemu and alive(qemu)


def add_kill_test(name):
    def run():
        kill_test(name)

    run.__doc__ = "%s is killed: the VM runs on and the stack is whole again within %d s" % (name, RESTORED)
    run.__name__ = "kill_" + name.replace("-", "_")
    oxt.case(run)


for _name in ("rpc-proxy", "dbd", "xenmgr", "xenvm", "bus", "supervisor"):
    add_kill_test(_name)


@oxt.case
def shutdown():
    """The host shuts the guest down through its agent, and `oxt down` leaves no process behind."""
    stack, vm = World.get()
    qemu = vm.monitor()["vm"]["pid"]
    agent = "com.citrix.xenclient.guest.uuid_" + vm.uuid.replace("-", "_")
    oxt.wait_for(lambda: stack.owned(agent), RESTORED, "the agent's name")
    timeline = stack.run([oxt.program("xenvm-cmd"), vm.uuid, "timeline"]).stdout
    assert "guest agent " in timeline, timeline
    stack.start(["dbus-monitor", "--address", stack.address, "interface='com.citrix.xenclient.guest'"],
                ready=lambda: "NameAcquired" in stack.log("dbus-monitor"))
    r = stack.run([oxt.program("xec"), "-o", vm.path, "shutdown"])
    assert r.returncode == 0, r.stderr
    oxt.wait_for(lambda: not alive(qemu), 20, "the end of QEMU")
    oxt.wait_for(lambda: "member=request_shutdown" in stack.log("dbus-monitor"), what="the agent's call")
    World.stack = None
    stack.stop()
    left = subprocess.run(["pgrep", "-fa", stack.root], stdout=subprocess.PIPE, text=True).stdout
    assert not left, left


try:
    oxt.main()
finally:
    if World.stack:
        World.stack.stop()
