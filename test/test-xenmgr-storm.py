#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
xenmgr is killed at any moment, and everything at once: many clients, while xenmgr, monitors and dbd are killed. What
is told is checked against a model of a VM's states, and in the end the model, D-Bus and the processes must agree.
"""
import glob
import json
import os
import random
import signal
import subprocess
import threading
import time

import oxt
from life import IDLE, POWEROFF, VM, with_life
from xenmgr import DB, XM, uuid_of

SEED = int(os.environ.get("OXT_SEED", "7"))
ROUNDS = int(os.environ.get("OXT_ROUNDS", "10"))

# Which word of notify may follow which; a VM that nobody has heard of yet is in "shutdown".
AFTER = {
    "shutdown": {"creating-domain"},
    "creating-domain": {"creating-devices", "created", "shutdown"},
    "creating-devices": {"created", "shutdown"},
    "created": {"running", "shutdown"},
    "running": {"paused", "shutdowning", "rebooting", "shutdown"},
    "paused": {"running", "shutdowning", "rebooting", "shutdown"},
    "shutdowning": {"shutdown", "rebooting", "running"},
    "rebooting": {"shutdown"},
}
PUBLIC = {"shutdown": "stopped", "creating-domain": "creating", "creating-devices": "creating", "created": "creating",
          "running": "running", "paused": "paused", "shutdowning": "stopping", "rebooting": "rebooting"}


class Watch(threading.Thread):
    """Follows all signals of the manager from outside, with the moments at which there was a new manager."""

    def __init__(self, life):
        super().__init__(daemon=True)
        self.process = subprocess.Popen(
            ["busctl", "--address=" + life.stack.address, "--json=short", "monitor", "--match", "interface='%s'" % XM,
             "--match", "type='signal',member='NameOwnerChanged',arg0='%s'" % XM],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.process.stderr.readline()
        self.events = []
        self.start()

    def run(self):
        for line in self.process.stdout:
            m = json.loads(line)
            if m.get("type") != "signal":
                continue
            data = m["payload"]["data"] if m.get("payload") else []
            if m["member"] == "NameOwnerChanged":
                self.events.append(("manager", None, bool(data[2])))
            elif m["member"] == "notify":
                self.events.append(("notify", data[0], data[1]))
            elif m["member"] == "vm_state_changed":
                self.events.append(("state", data[0], data[2]))

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.join()


def check_told(events, uuid, found_paused):
    """
    What was told of one VM obeys the model. A manager that is new may have missed something, so that whatever state
    it finds is a beginning, and it may see a start begin anew; but it may not tell what was told before. One that was
    found paused may run again, and nobody was told of the pause.
    """
    state, fresh, pending = "shutdown", False, None
    for kind, of, value in events:
        if kind == "manager":
            fresh, pending = True, None
        elif of != uuid or (kind == "notify" and not value.startswith("vm:state:")):
            continue
        elif kind == "notify":
            word = value[len("vm:state:"):]
            assert pending is None, "%s was told, and not the state %s before it" % (word, PUBLIC[pending])
            again = word == "creating-domain" or (word == "running" and found_paused)
            assert word in AFTER[state] or (fresh and (word != state or again)), "%s was told after %s" % (word, state)
            state, fresh, pending = word, False, word
        else:
            assert pending and value == PUBLIC[pending], "the state %s was told after %s" % (value, pending)
            pending = None
    return state


def call(life, vm, member, seconds=60):
    """The answer's error text, "" for success. A call that has no answer within its time is a failure of the test."""
    r = subprocess.run(["busctl", "--address=" + life.stack.address, "--timeout=%d" % seconds, "call", XM, vm, VM, member],
                       capture_output=True, text=True)
    text = r.stderr.strip()
    assert "timed out" not in text or "199:" in text, "%s has no answer in %d s: %s" % (member, seconds, text)
    return "" if r.returncode == 0 else text or "failed"


def reality(life, vm):
    """stopped, running or paused, as the processes and the VM's own monitor say."""
    if not life.pids("qemu-system", vm):
        return "stopped"
    name = "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")
    r = subprocess.run(["busctl", "--address=" + life.stack.address, "call", name, "/org/xen/vm/" + name.split("uuid_")[1], name,
                        "get_status", "a{ss}", "0"], capture_output=True, text=True)
    return r.stdout.split('"')[1] if r.returncode == 0 else "unknown"


def wait_rest(life, vm, seconds=40):
    """Until the VM rests, and D-Bus agrees with reality; gives the state."""
    seen = []

    def rests():
        seen[:] = [life.state(vm), reality(life, vm), str(life.call(vm, "org.oxt.Xenmgr1", "Operations"))]
        return seen[0] == seen[1] and seen[0] in ("stopped", "running", "paused") and seen[2] == "[]"
    try:
        oxt.wait_for(rests, seconds)
    except AssertionError:
        raise AssertionError("state, reality, what is done: %s" % seen) from None
    return seen[0]


def files_left(life, vm, stopped=True):
    folder = os.path.join(life.stack.runtime, "vm", uuid_of(vm))
    intents = [f for f in ("starting", "creating", "deleting") if os.path.exists(os.path.join(folder, f))]
    return intents + (glob.glob(life.stack.runtime + "/channel/%s*" % uuid_of(vm)) if stopped else [])


def killed_during(life, member, prepare, states):
    """Kills xenmgr at a random moment of an operation, again and again; each time the VM must come to rest."""
    chance = random.Random(SEED)
    vm = life.guest()
    for i in range(ROUNDS):
        prepare(vm)
        # What the whole takes is between 50 and 300 ms; some kills come before it, some after its end.
        delay = chance.uniform(0, 0.25)
        caller = threading.Thread(target=call, args=(life, vm, member))
        caller.start()
        time.sleep(delay)
        life.restart_manager()
        caller.join()
        state = wait_rest(life, vm)
        assert state in states, "%s, killed after %.3f s: %s" % (member, delay, state)
        oxt.wait_for(lambda: not files_left(life, vm, state == "stopped"), 10, "no files left: %s" % files_left(life, vm))


def with_watch(function):
    def run(life):
        watch = Watch(life)
        try:
            function(life)
            life.turn(0.3)
        finally:
            watch.end()
        log = life.stack.log("xenmgr")
        for uuid in {e[1] for e in watch.events if e[1]}:
            try:
                check_told(watch.events, uuid, "%s was found paused" % uuid in log)
            except AssertionError as e:
                raise AssertionError("%s: %s\n%s" % (uuid, e, [v[2] for v in watch.events if v[1] in (uuid, None)])) from None
    run.__doc__, run.__name__ = function.__doc__, function.__name__
    return with_life(run)


@with_watch
def killed_at_start(life):
    """xenmgr is killed at any moment of a start: the next one finishes it or takes it back, and tells nothing twice."""
    killed_during(life, "start", lambda vm: call(life, vm, "destroy"), ("running", "stopped"))


@with_watch
def killed_at_end(life):
    """xenmgr is killed at any moment of a destroy, a shutdown and a reboot: the VM runs or does not, and all agree; after a reboot it runs."""
    killed_during(life, "destroy", lambda vm: call(life, vm, "start"), ("running", "stopped"))
    killed_during(life, "shutdown", lambda vm: call(life, vm, "start"), ("running", "stopped"))
    killed_during(life, "reboot", lambda vm: call(life, vm, "start"), ("running",))


@with_life
def killed_at_delete(life):
    """xenmgr is killed at any moment of a delete: the VM is whole, with its disk, or there is nothing of it any more."""
    chance = random.Random(SEED)
    outcomes = set()
    for i in range(ROUNDS * 2):
        vm = life.guest()
        disk = life.stack.state + str(life.call(vm, VM, "get_db_key", "config.disk.0.path"))
        os.rename(disk, disk + ".vhd")
        life.call(vm, VM, "set_db_key", "config.disk.0.path", disk[len(life.stack.state):] + ".vhd")
        life.call(vm, VM, "set_db_key", "config.disk.0.type", "vhd")
        caller = threading.Thread(target=call, args=(life, vm, "delete"))
        caller.start()
        # busctl takes some 10 ms until it calls; the delete itself takes some more.
        time.sleep(chance.uniform(0, 0.05))
        life.restart_manager()
        caller.join()
        there = vm in [str(v) for v in life.call("/", XM, "list_vms")]
        outcomes.add(there)
        assert life.db("exists", "/vm/" + uuid_of(vm)) == there
        folder = os.path.join(life.stack.runtime, "vm", uuid_of(vm))
        if there:
            assert os.path.exists(disk + ".vhd"), "the VM is there, its disk is not"
            assert not os.path.exists(folder + "/deleting")
            assert call(life, vm, "delete") == ""

        def left():
            return glob.glob(folder + "*") + glob.glob(folder + "/*") + glob.glob(disk + "*")
        try:
            oxt.wait_for(lambda: not left(), 10)
        except AssertionError:
            raise AssertionError("there was %s VM; left: %s" % ("a" if there else "no", left())) from None


@with_life
def killed_at_create(life):
    """xenmgr is killed at any moment of a create: there is a whole VM, whose hook has run, or none."""
    chance = random.Random(SEED)
    hook, lines = life.hook("sleep 0.02; echo $1 >> $LOG")
    before = {str(v) for v in life.call("/", XM, "list_vms")}
    tree = json.dumps({"run-post-create": hook, "slot": "-1", "config": {"memory": "32"}})
    for i in range(ROUNDS * 2):
        p = subprocess.Popen(["busctl", "--address=" + life.stack.address, "call", XM, "/", XM, "create_vm_with_template_and_json", "ss",
                              "", tree], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.08))
        life.restart_manager()
        p.wait()
        new = {str(v) for v in life.call("/", XM, "list_vms")} - before
        assert len(new) <= 1, new
        for vm in new:
            oxt.wait_for(lambda: uuid_of(vm) in lines(), 10, "the hook of the new VM")
            oxt.wait_for(lambda: not files_left(life, vm), 10, "no files left")
            assert call(life, vm, "delete") == ""


@with_watch
def storm(life):
    """200 random operations of 8 clients, with processes killed in between: what is told obeys the model, and in the end all agree."""
    chance = random.Random(SEED)
    vms = [life.guest(POWEROFF if i == 3 else IDLE) for i in range(4)]
    over, calls, wrong = threading.Event(), [], []
    lock = threading.Lock()

    def client(seed):
        choice = random.Random(seed)
        for _ in range(25):
            vm = choice.choice(vms)
            member = choice.choice(["start", "start", "start", "destroy", "shutdown", "reboot", "pause", "unpause"])
            began = time.monotonic()
            try:
                error = call(life, vm, member, 90)
            except AssertionError as e:
                wrong.append(str(e))
                error = "no answer"
            with lock:
                calls.append((began, time.monotonic(), vm, member, error))

    def killer():
        while not over.wait(chance.uniform(0.5, 2)):
            victim = chance.choice(["xenmgr", "xenvm", "xenvm", "dbd"])
            if victim == "xenvm":
                for pid in life.pids("bin/xenvm", chance.choice(vms))[:1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            elif victim == "xenmgr":
                life.restart_manager()
            else:
                dbd = [p for p in life.stack.processes if p.args[0].endswith("/dbd")][-1]
                dbd.kill()
                dbd.wait()
                life.stack.daemon("dbd", DB)

    threads = [threading.Thread(target=client, args=(chance.random(),)) for _ in range(8)]
    kills = threading.Thread(target=killer)
    for t in threads + [kills]:
        t.start()
    for t in threads:
        t.join()
    over.set()
    kills.join()
    assert not wrong, wrong
    assert len(calls) == 200
    for vm in vms:
        state = wait_rest(life, vm)
        check_last(sorted(c for c in calls if c[2] == vm), state, vm == vms[3])
    for vm in vms:
        for member, state in (("destroy", "stopped"), ("start", "running"), ("destroy", "stopped")):
            assert call(life, vm, member) == ""
            if vm != vms[3] or state == "stopped":
                assert wait_rest(life, vm) == state
        oxt.wait_for(lambda: not files_left(life, vm), 10, "no files left")
        oxt.wait_for(lambda: not life.fails_quietly(vm, "delete"), 10, "delete")


def check_last(calls, state, ends_itself):
    """
    Calls overlap, and one that failed may have had its effect; but what one client was told last, with no other
    call beside or behind it, must be so.
    """
    last = max(calls, key=lambda c: c[1])
    if last[4] or any(c is not last and c[1] > last[0] for c in calls):
        return
    possible = {"start": ("running", "paused"), "unpause": ("running", "stopped"), "reboot": ("running", "stopped", "paused"),
                "pause": ("paused", "stopped"), "destroy": ("stopped",), "shutdown": ("stopped",)}[last[3]]
    if ends_itself:
        possible += ("stopped",)
    assert state in possible, "the last call was %s, and it is %s" % (last[3], state)


if __name__ == "__main__":
    oxt.main()
