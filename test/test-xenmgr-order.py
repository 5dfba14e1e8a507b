#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The order of things: the signals of each change, to the last one, and who wins when two want different things."""
import os
import signal

import oxt
import xenvm
from life import Caller, Held, IDLE, VM, with_life
from xenmgr import XM, uuid_of


def guest_that(life, kind, after=9):
    """A guest that does that to itself after half a second (9 ticks)."""
    return life.guest(xenvm.sector(kind, after)[:510].rstrip(b"\0"))


def told(life, vm):
    """All that was told of the VM's states so far: words of notify, and (state, acpi) of vm_state_changed."""
    life.turn()
    result = []
    for s in life.signals:
        if s[0] == "notify" and s[1] == uuid_of(vm):
            result.append(s[2].replace("vm:state:", ""))
        elif s[0] == "vm_state_changed" and s[1] == uuid_of(vm):
            result.append((s[3], int(s[4])))
    return result


def wait_told(life, vm, wanted):
    """Exactly these, and nothing behind them."""
    try:
        oxt.wait_for(lambda: len(told(life, vm)) >= len(wanted), 30)
    except AssertionError:
        pass
    life.turn(0.3)
    seen = told(life, vm)
    assert seen == wanted, "told:  %s\nwanted: %s" % (seen, wanted)
    life.signals.clear()


START = ["creating-domain", ("creating", 0), "creating-devices", ("creating", 0), "created", ("creating", 0),
         "running", ("running", 0)]
STOP = ["shutdown", ("stopped", 5)]


@with_life
def signals_of_calls(life):
    """The exact signals of start, pause, suspend and resume, shutdown, reboot and destroy."""
    vm = life.guest()
    life.turn(0.3)
    life.signals.clear()
    life.start(vm)
    wait_told(life, vm, START)
    life.call(vm, VM, "pause")
    wait_told(life, vm, ["paused", ("paused", 0)])
    life.call(vm, VM, "unpause")
    wait_told(life, vm, ["running", ("running", 0)])
    saved = life.stack.state + "/storage/saved"
    life.call(vm, VM, "suspend_to_file", saved, timeout=60)
    wait_told(life, vm, ["suspending", ("suspending", 0), "suspended", ("suspended", 0)])
    life.call(vm, VM, "resume_from_file", saved, timeout=60)
    wait_told(life, vm, ["restoring", ("restoring", 0)] + START)
    life.call(vm, VM, "shutdown", timeout=60)
    wait_told(life, vm, ["shutdowning", ("stopping", 0)] + STOP)
    life.start(vm)
    wait_told(life, vm, START)
    life.call(vm, VM, "reboot", timeout=60)
    wait_told(life, vm, ["shutdowning", ("stopping", 0), "rebooting", ("rebooting", 0)] + STOP + START)
    life.call(vm, VM, "destroy")
    wait_told(life, vm, STOP)
    life.call(vm, VM, "destroy")
    life.call(vm, VM, "shutdown")
    life.call(vm, VM, "pause")
    wait_told(life, vm, [])


@with_life
def signals_of_guests(life):
    """The exact signals when a guest powers off, reboots, sleeps, hibernates, panics, and when QEMU dies."""
    def run(kind, *wanted):
        vm = guest_that(life, kind, 54 if kind == "reset" else 9)
        life.turn(0.3)
        life.signals.clear()
        life.start(vm)
        if kind == "reset":  # which it does after 3 s
            life.call(vm, VM, "set_db_key", "config.disk.0.path", life.disk("quiet.img", IDLE))
        wait_told(life, vm, START + list(wanted))
        return vm

    run("poweroff", *STOP)
    run("panic", *STOP)
    # The reboot finds another disk, so that it is the only one.
    vm = run("reset", "rebooting", ("rebooting", 0), *STOP, *START)
    for pid in life.pids("qemu-system", vm):
        os.kill(pid, signal.SIGKILL)
    wait_told(life, vm, STOP)
    run("s3", "power-state:3", ("running", 3))
    vm = run("s4", "power-state:4", ("running", 0), "shutdown", ("stopped", 4))
    assert life.get(vm, VM, "hibernated")


@with_life
def signals_of_failures(life):
    """A start that fails tells how far it came and that it is over; one that fails at its checks tells nothing."""
    vm = life.guest(config={"serial": "file:/nowhere/serial"})
    life.turn(0.3)
    life.signals.clear()
    assert life.fails(vm, VM, "start")[1].startswith("199:")
    life.turn(0.3)
    seen = told(life, vm)
    assert seen[:2] == ["creating-domain", ("creating", 0)] and seen[-2:] == STOP and "running" not in seen, seen
    life.signals.clear()
    life.call(vm, VM, "set_db_key", "config.disk.0.path", "/storage/none")
    assert "Bad Physical Path" in life.fails(vm, VM, "start")[1]
    wait_told(life, vm, [])


@with_life
def signal_after_work(life):
    """Whoever hears that a VM stopped finds nothing of it any more; who hears that it runs finds it."""
    vm = life.guest()
    found = []

    def on_state(uuid, path, state, acpi):
        channel = os.path.exists("%s/channel/%s.json" % (life.stack.runtime, uuid))
        found.append((str(state), channel, bool(life.pids("qemu-system", vm))))
    life.bus.add_signal_receiver(on_state, "vm_state_changed", XM)
    life.start(vm)
    life.call(vm, VM, "destroy")
    life.start(vm)
    for pid in life.pids("qemu-system", vm):
        os.kill(pid, signal.SIGKILL)
    life.wait_state(vm, "stopped")
    life.turn(0.3)
    assert found.count(("stopped", False, False)) == 2 and len([f for f in found if f[0] == "stopped"]) == 2, found


# Who wins. The first request is held at a point of ours; the second comes; then the first may go on.

DESTROYED, RUNNING, DELETING = "destroyed meanwhile", "204:", "being deleted"
# running job, request, error of the first, error of the second, state in the end
PAIRS = [
    ("start", "start", "", "", "running"),
    ("start", "shutdown", "", "", "stopped"),
    ("start", "destroy", DESTROYED, "", "stopped"),
    ("start", "reboot", "", "", "running"),
    ("start", "pause", "", "", "paused"),
    ("start", "unpause", "", "", "running"),
    ("start", "delete", "", RUNNING, "running"),
    ("shutdown", "shutdown", "", "", "stopped"),
    ("shutdown", "start", "", "", "running"),
    ("shutdown", "destroy", DESTROYED, "", "stopped"),
    ("shutdown", "reboot", "", "", "stopped"),
    ("shutdown", "pause", "", "", "stopped"),
    ("shutdown", "delete", "", RUNNING, "stopped"),
    ("destroy", "start", "", "", "running"),
    ("destroy", "destroy", "", "", "stopped"),
    ("destroy", "shutdown", "", "", "stopped"),
    ("destroy", "delete", "", RUNNING, "stopped"),
    ("reboot", "destroy", DESTROYED, "", "stopped"),
    ("reboot", "start", "", "", "running"),
    ("reboot", "shutdown", "", "", "stopped"),
    ("reboot", "delete", "", RUNNING, "running"),
    ("delete", "start", "", DELETING, None),
    ("delete", "destroy", "", "", None),
    ("delete", "shutdown", "", "", None),
    ("delete", "delete", "", RUNNING, None),
]


def hold(life, vm, first, held):
    """Begins the first request; returns the call, and what lets it go on."""
    if first == "start":
        life.set(vm, VM, "run-pre-boot", held.path)
    elif first == "delete":
        life.set(vm, VM, "run-pre-delete", held.path)
    else:
        life.start(vm)
    if first in ("start", "delete"):
        call = Caller(life, vm, first)
        oxt.wait_for(lambda: os.path.exists(held.begun), 20, "the hook of " + first)
        return call, held.release
    if first in ("shutdown", "reboot"):
        # A guest that is deaf: the job waits for it until its limit is over.
        call = Caller(life, vm, first)
        oxt.wait_for(lambda: "request" in operations(life, vm, first), 20, first)
        return call, lambda: None
    # The monitor is stopped for a moment; nothing of the destroy can happen meanwhile.
    monitor = life.pids("bin/xenvm", vm)[0]
    os.kill(monitor, signal.SIGSTOP)
    call = Caller(life, vm, first)
    oxt.wait_for(lambda: "request" in operations(life, vm, first), 20, first)
    return call, lambda: os.kill(monitor, signal.SIGCONT)


def operations(life, vm, first):
    """ "request" when the job of that name is the VM's running one."""
    text = str(life.call(vm, "org.oxt.Xenmgr1", "Operations"))
    return "request" if '"what":"%s","state":"running"' % first in text else text


@with_life
def conflicts(life):
    """For each pair of requests the one that comes second waits, joins, is refused or wins, as the rules say."""
    wrong = []
    for first, second, first_error, second_error, state in PAIRS:
        vm = life.guest()
        held = Held(life, "%s-%s" % (first, second))
        call, release = hold(life, vm, first, held)
        other = Caller(life, vm, second)
        release()
        seen = (call.wait(), other.wait())
        for error, wanted in zip(seen, (first_error, second_error)):
            if bool(error) != bool(wanted) or wanted not in error:
                wrong.append("%s, then %s: %r, wanted %r" % (first, second, seen, (first_error, second_error)))
        if state is None:
            if vm in [str(v) for v in life.call("/", XM, "list_vms")]:
                wrong.append("%s, then %s: the VM is still there" % (first, second))
            continue
        try:
            life.wait_state(vm, state)
        except AssertionError:
            wrong.append("%s, then %s: it is %s, not %s" % (first, second, life.state(vm), state))
        life.call(vm, VM, "destroy", timeout=60)
        life.wait_state(vm, "stopped")
    assert not wrong, "\n".join(wrong)


# The first is held; the others come in this order. Errors of all, and the state in the end.
THREE = [
    (("start", "shutdown", "start"), ("", "", ""), "running"),
    (("start", "shutdown", "destroy"), (DESTROYED, DESTROYED, ""), "stopped"),
    (("shutdown", "start", "shutdown"), ("", "", ""), "stopped"),
    (("shutdown", "start", "destroy"), (DESTROYED, DESTROYED, ""), "stopped"),
    (("destroy", "start", "destroy"), ("", DESTROYED, ""), "stopped"),
    (("destroy", "start", "pause"), ("", "", ""), "paused"),
]


@with_life
def in_order(life):
    """Of three requests the last one has the last word: others wait in the order in which they came, destroy ends them."""
    wrong = []
    for members, errors, state in THREE:
        vm = life.guest()
        first, release = hold(life, vm, members[0], Held(life, "-".join(members)))
        calls = [first]
        for member in members[1:]:
            calls.append(Caller(life, vm, member))
        release()
        seen = tuple(c.wait() for c in calls)
        for error, wanted in zip(seen, errors):
            if bool(error) != bool(wanted) or wanted not in error:
                wrong.append("%s: %s" % (members, seen))
        try:
            life.wait_state(vm, state)
        except AssertionError:
            wrong.append("%s: it is %s" % (members, life.state(vm)))
        life.call(vm, VM, "destroy", timeout=60)
        life.wait_state(vm, "stopped")
    assert not wrong, "\n".join(wrong)


@with_life
def at_once(life):
    """Five requests at the same moment: each is answered, and the VM comes to rest in a state that fits reality."""
    vm = life.guest()
    for _ in range(3):
        calls = [Caller(life, vm, m) for m in ("start", "destroy", "shutdown", "start", "destroy")]
        for c in calls:
            c.wait()
        oxt.wait_for(lambda: life.state(vm) in ("stopped", "running"), 20)
        assert (life.state(vm) == "running") == bool(life.pids("qemu-system", vm))
    calls = [Caller(life, vm, "destroy")] + [Caller(life, vm, "start") for _ in range(6)]
    assert all(c.wait() in ("", ) or DESTROYED in c.result for c in calls), [c.result for c in calls]
    life.call(vm, VM, "destroy")
    life.turn(0.3)
    life.signals.clear()
    calls = [Caller(life, vm, "start") for _ in range(6)]
    assert [c.wait() for c in calls] == [""] * 6
    assert life.words(vm).count("running") == 1, "six starts are one"


if __name__ == "__main__":
    oxt.main()
