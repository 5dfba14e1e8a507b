#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests tell of themselves (boot sentinel, tools, power state, CD drives), and what xenmgr makes of it."""
import json
import os
import signal
import threading
import time

import dbus
import dbus.service

import oxt
from life import IDLE, VM, with_life
from xenmgr import XM, uuid_of

AGENT = "com.citrix.xenclient.guest"


class Agent(dbus.service.Object):
    """The agent of a guest as it appears on the host's bus: a connection with the proxy's marker."""

    def __init__(self, life, vm, domid=None):
        domid = int(life.get(vm, VM, "domid")) if domid is None else domid
        self.bus = dbus.bus.BusConnection(life.stack.address)
        self.bus.request_name("org.oxt.conn.d%d.u%s.s0.r%s" % (domid, uuid_of(vm).replace("-", "_"), os.urandom(16).hex()))
        super().__init__(self.bus, "/")

    @dbus.service.signal(AGENT, signature="ss")
    def node_written(self, node, value):
        pass

    @dbus.service.signal(AGENT)
    def agent_started(self):
        pass

    @dbus.service.signal(AGENT)
    def agent_uninstalled(self):
        pass

    def stop(self):
        self.remove_from_connection()
        self.bus.close()


def phases(life, vm):
    return [p["phase"] for p in json.loads(life.call(vm, "org.oxt.Xenmgr1", "Timeline"))["phases"]]


class Starting:
    """A start in another thread."""

    def __init__(self, life, vm):
        self.status = None
        self.thread = threading.Thread(target=self.run, args=(life, vm))
        self.thread.start()

    def run(self, life, vm):
        self.status = life.stack.run(["busctl", "--address=" + life.stack.address, "--timeout=100", "call", XM, vm, VM, "start"],
                                     seconds=120)

    def over(self):
        return not self.thread.is_alive()

    def end(self):
        self.thread.join()
        assert self.status.returncode == 0, self.status


@with_life
def boot_sentinel(life):
    """A start waits until the guest says that its services are up, and for no other word of it or of others."""
    life.with_limits(0.3)
    vm, other = life.guest(**{"boot-sentinel": "booted"}), life.guest()
    life.start(other)
    start = Starting(life, vm)
    life.wait_state(vm, "running")
    stranger, earlier, agent = Agent(life, other), Agent(life, vm, 999), Agent(life, vm)
    stranger.node_written("booted", "1")
    earlier.node_written("booted", "1")
    agent.node_written("something", "1")
    agent.node_written("booted", "x" * 65)
    agent.node_written("booted", "\n")
    agent.node_written("power-state", "3")
    oxt.wait_for(lambda: life.get(vm, VM, "acpi-state") == 3)
    assert not start.over() and "sentinel" not in phases(life, vm)
    agent.node_written("booted", "1")
    start.end()
    assert phases(life, vm)[-2:] == ["sentinel", "started"]
    monitor = "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")
    oxt.wait_for(lambda: "sentinel" in str(life.bus.get_object(monitor, "/" + monitor.replace(".", "/").replace("/uuid_", "/"),
                 introspect=False).get_dbus_method("timeline", monitor)(dbus.Dictionary(signature="ss"))))

    # A new xenmgr knows what was told before; a new start of the VM begins anew.
    record = os.path.join(life.stack.runtime, "vm", uuid_of(vm), "guest.json")
    oxt.wait_for(lambda: json.load(open(record))["nodes"].get("booted") == "1", what="the record")
    life.restart_manager()
    life.call(vm, VM, "destroy")
    assert not os.path.exists(record)
    start = Starting(life, vm)
    life.wait_state(vm, "running")
    agent.node_written("booted", "1")  # of the start before
    assert not start.over()
    life.call(vm, VM, "shutdown")  # does not wait for the sentinel
    start.end()
    for a in (stranger, earlier, agent):
        a.stop()


@with_life
def sentinel_never(life):
    """A guest that never tells delays its start's answer for a bounded time, and that is no error."""
    vm = life.guest(**{"boot-sentinel": "booted"})
    life.start(vm)
    assert life.state(vm) == "running" and phases(life, vm)[-1] == "started"


@with_life
def timeline(life):
    """A start's timeline begins with the request, though it waits for its turn, and ends with the agent, in the log too."""
    life.with_limits(1)
    vm, go = life.guest(), os.path.join(life.stack.root, "go")
    script, _ = life.hook("while [ ! -e %s ]; do sleep 0.02; done" % go)
    life.set(vm, VM, "run-insteadof-start", script)
    operations = lambda: [(o["what"], o["state"]) for o in json.loads(life.call(vm, "org.oxt.Xenmgr1", "Operations"))]
    first, second = Starting(life, vm), None
    oxt.wait_for(lambda: operations() == [("start", "running")], what="the hook")
    life.set(vm, VM, "run-insteadof-start", "")
    life.call(vm, VM, "pause", reply_handler=lambda: None, error_handler=lambda e: None)
    began = time.time()
    second = Starting(life, vm)
    oxt.wait_for(lambda: len(operations()) == 3, what="a start that waits")
    time.sleep(0.3)
    with open(go, "w"):
        pass
    first.end()
    second.end()
    told = json.loads(life.call(vm, "org.oxt.Xenmgr1", "Timeline"))
    begun = told["phases"][0]
    assert begun["phase"] == "begun" and 300 <= begun["ms"] < (time.time() - began) * 1000 and -1.5 < told["began"] - began < 60, told
    life.wait_state(vm, "running")
    agent = dbus.bus.BusConnection(life.stack.address)
    agent.request_name("com.citrix.xenclient.guest.uuid_" + uuid_of(vm).replace("-", "_"))
    oxt.wait_for(lambda: phases(life, vm)[-1] == "agent")
    logged = [line for line in life.stack.log("xenmgr").splitlines() if ": start, in ms:" in line]
    assert ", agent " in logged[-1] and ", agent " not in logged[0] and len(logged) == 2, logged
    agent.close()


@with_life
def tools(life):
    """The version of a guest's tools is stored when all its parts are there; tools that are removed are gone."""
    vm = life.guest()
    life.start(vm)
    agent = Agent(life, vm)
    for i, part in enumerate(("Major", "Minor", "Micro", "Build")):
        agent.node_written("attr/PVAddons/%sVersion" % part, str(i + 6))
    agent.node_written("attr/PVAddons/BuildVersion", "9; rm")
    agent.node_written("attr/PVAddons/Installed", "1")
    oxt.wait_for(lambda: life.get(vm, VM, "pv-addons"))
    assert life.get(vm, VM, "pv-addons-version") == "6.7.8.9"
    agent.node_written("attr/PVAddonsUninstalled", "1")
    oxt.wait_for(lambda: not life.get(vm, VM, "pv-addons"))
    assert life.get(vm, VM, "pv-addons-version") == ""
    agent.agent_started()
    oxt.wait_for(lambda: life.get(vm, VM, "pv-addons"))
    agent.agent_uninstalled()
    oxt.wait_for(lambda: not life.get(vm, VM, "pv-addons"))
    agent.stop()


@with_life
def many_nodes(life):
    """A guest that writes without end costs a bounded file and nobody else anything."""
    vm = life.guest()
    life.start(vm)
    agent = Agent(life, vm)
    for i in range(500):
        agent.node_written("bsgdev/%d_0_0_0/lock" % i, "1")
        agent.node_written("noise%d" % i, "1")
    record = os.path.join(life.stack.runtime, "vm", uuid_of(vm), "guest.json")
    oxt.wait_for(lambda: "is not kept" in life.stack.log("xenmgr"))
    oxt.wait_for(lambda: len(json.load(open(record))["nodes"]) == 32, what="all that is kept")
    agent.stop()


@with_life
def cd_locks(life):
    """A drive is held by the VM whose guest locked it, until it gives it back or ends; sticky is another matter."""
    vm, other = life.guest(), life.guest()
    host = lambda *args: life.call("/host", XM + ".host", *args)
    told = lambda: (life.turn(), [s[2] for s in life.signals if s[:2] == ("cd_assignment_changed", "1:0:0:0")])[1]
    life.start(vm)
    agent = Agent(life, vm)
    agent.node_written("bsgdev/1_0_0_0/lock", "1")
    oxt.wait_for(lambda: told() == [uuid_of(vm)])
    assert tuple(host("get_cd_device_assignment", "1:0:0:0")) == (False, uuid_of(vm))
    agent.node_written("bsgdev/1_0_0_0/lock", "0")
    oxt.wait_for(lambda: told() == [uuid_of(vm), ""])
    host("assign_cd_device", "1:0:0:0", True, uuid_of(other))
    assert tuple(host("get_cd_device_assignment", "1:0:0:0")) == (True, uuid_of(other))
    agent.node_written("bsgdev/1_0_0_0/lock", "1")
    oxt.wait_for(lambda: told()[-1] == uuid_of(vm))
    assert tuple(host("get_cd_device_assignment", "1:0:0:0")) == (True, uuid_of(vm)), "who has it counts first"
    life.call(vm, VM, "destroy")
    assert tuple(host("get_cd_device_assignment", "1:0:0:0")) == (True, uuid_of(other))
    life.call(other, VM, "delete")
    oxt.wait_for(lambda: tuple(host("get_cd_device_assignment", "1:0:0:0")) == (False, ""), what="the end of the assignment with its VM")
    assert life.fails("/host", XM + ".host", "assign_cd_device", "1:0:0:0", False, "no-vm")[0] == "Failed"
    assert life.fails("/host", XM + ".host", "get_cd_device_assignment", "sr0")[0] == "Failed"
    agent.stop()


@with_life
def cd_note(life):
    """A guest cannot write the host's own note that a drive was put into its VM, whatever name its sentinel has"""
    vm = life.guest(**{"boot-sentinel": "host/cd/1:0:0:0"})
    life.start(vm)
    agent = Agent(life, vm)
    agent.node_written("host/cd/1:0:0:0", "1")
    agent.node_written("bsgdev/2_0_0_0/lock", "1")  # behind it on the same connection
    life.wait_signal("cd_assignment_changed", "2:0:0:0", uuid_of(vm))
    assert tuple(life.call("/host", XM + ".host", "get_cd_device_assignment", "1:0:0:0")) == (False, "")
    agent.stop()


@with_life
def cd_often(life):
    """A guest that takes a drive and gives it back without end is told of once in a second, and its last word counts."""
    vm = life.guest()
    told = lambda: (life.turn(), [s[2] for s in life.signals if s[:2] == ("cd_assignment_changed", "1:0:0:0")])[1]
    life.start(vm)
    agent = Agent(life, vm)
    began = time.monotonic()
    for i in range(41):
        agent.node_written("bsgdev/1_0_0_0/lock", "10"[i % 2])
    # Behind them on the same connection: once its change is told, so are theirs that will be.
    agent.node_written("bsgdev/2_0_0_0/lock", "1")
    life.wait_signal("cd_assignment_changed", "2:0:0:0", uuid_of(vm))
    oxt.wait_for(lambda: len(told()) > 1 and told()[-1] == uuid_of(vm))
    assert len(told()) <= 2 + time.monotonic() - began, told()
    assert tuple(life.call("/host", XM + ".host", "get_cd_device_assignment", "1:0:0:0")) == (False, uuid_of(vm))
    agent.stop()


@with_life
def power_link(life):
    """What a VM with the power link does is told for the host; a reboot of it, or another VM, is not."""
    linked, other = life.guest(**{"control-platform-power-state": "true"}), life.guest()
    told = []
    life.bus.add_signal_receiver(lambda action, path: told.append((str(path), str(action))), signal_name="PowerLink",
                                 dbus_interface="org.oxt.Xenmgr1", path_keyword="path")
    for vm in (linked, other):
        life.start(vm)
    agents = [Agent(life, linked), Agent(life, other)]
    for a in agents:
        a.node_written("power-state", "3")
    oxt.wait_for(lambda: (life.turn(), told)[1] == [(linked, "sleep")], what="the host's sleep")
    life.call(linked, VM, "reboot", timeout=60)
    oxt.wait_for(lambda: life.words(linked).count("running") == 2)
    for vm in (other, linked):
        life.call(vm, VM, "destroy")
    oxt.wait_for(lambda: (life.turn(), told)[1] == [(linked, "sleep"), (linked, "shutdown")], what="the host's end")
    for a in agents:
        a.stop()


class Service(dbus.service.Object):
    """A service of a guest."""

    def __init__(self, bus):
        super().__init__(bus, "/")
        self.calls = []

    @dbus.service.method("org.example.Guest", in_signature="ss")
    def told(self, uuid, word):
        self.calls.append([str(uuid), str(word)])


@with_life
def hooks_to_guests(life):
    """An rpc: hook with vm= reaches a service of that VM, and nobody else who has taken its name."""
    vm, server = life.guest(), life.guest()
    hook = "rpc:destination=org.example.Guest,interface=org.example.Guest,member=told,vm=" + uuid_of(server)
    life.set(vm, VM, "run-on-state-change", hook)
    life.set(vm, VM, "run-pre-boot", "rpc:destination=org.example.Guest,interface=org.example.Guest,member=told,vm=" + uuid_of(server))
    error = life.fails(vm, VM, "start")[1]
    assert error.startswith("223:") and "does not run" in error, error
    life.start(server)
    impostor = dbus.bus.BusConnection(life.stack.address)
    wrong = Service(impostor)
    impostor.request_name("org.example.Guest")
    error = life.fails(vm, VM, "start")[1]
    assert error.startswith("223:") and "no such service" in error and not wrong.calls, error
    impostor.close()
    agent = Agent(life, server)
    agent.remove_from_connection()
    right = Service(agent.bus)
    agent.bus.request_name("org.example.Guest")
    life.set(vm, VM, "run-pre-boot", "")
    start = Starting(life, vm)
    oxt.wait_for(lambda: (life.turn(), [uuid_of(vm), "running"] in right.calls)[1], what="the call: %s" % right.calls)
    start.end()
    agent.bus.close()


@with_life
def all_down(life):
    """SIGUSR2 shuts all VMs down, highest priority first, restarts none, and ends xenmgr."""
    first = [life.guest(**{"shutdown-priority": "5"}) for _ in range(2)]
    last = [life.guest(**{"keep-alive": "true"})]
    for vm in last + first:
        life.start(vm)
    life.signals.clear()
    life.manager.send_signal(signal.SIGUSR2)
    assert life.manager.wait(60) == 0
    ended = []

    def all_told():
        life.turn()
        ended[:] = [s[1] for s in life.signals if s[0] == "vm_state_changed" and s[3] == "stopped"]
        return len(ended) >= 3
    oxt.wait_for(all_told, what="the last signal")
    assert sorted(ended[:2]) == sorted(uuid_of(v) for v in first) and ended[2:] == [uuid_of(v) for v in last], ended
    assert not any(life.pids("qemu-system", vm) for vm in first + last)
    life.manager = life.stack.daemon("xenmgr", XM, "--no-autostart")
    assert {life.state(vm) for vm in first + last} == {"stopped"}


if __name__ == "__main__":
    oxt.main()
