#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenvm on real QEMU, with guests of one boot sector."""
import json
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

import oxt
from processes import alive
from xenvm import Machine, Monitors, Watcher, done, sector

STARTED = ["creating-domain", "creating-devices", "created", "running"]
stack = Monitors()
watcher = Watcher(stack)
machine = stack.machine


@oxt.case
def start_to_destroy():
    """Start, pause, unpause, destroy; states and notifications as in the contract; nothing is left"""
    m = machine()
    assert m.status() == "shutdown" and m.cmd("get-domid") == "-1" and m.cmd("get-acpi-state") == "5"
    m.cmd("start")
    domid = int(m.cmd("domid"))
    assert m.status() == "running" and domid >= 1 and m.cmd("get-acpi-state") == "0"
    assert "Vm_is_already_created" in m.fails("start")
    m.cmd("pause")
    assert m.status() == "paused"
    assert "Vm_bad_state" in m.fails("pause")
    m.cmd("unpause")
    m.cmd("unpause")
    oxt.wait_for(lambda: m.output() == "A", 10, "the guest's letter")
    with open(os.path.join(stack.runtime, "channel", m.uuid + ".json")) as f:
        c = json.load(f)
    assert c["domid"] == domid and stat.S_ISSOCK(os.stat(c["socket"]).st_mode) and c["start"]
    qemu = m.pid()
    assert alive(qemu)
    m.cmd("destroy")
    assert not alive(qemu) and m.cmd("get-domid") == "-1"
    assert watcher.states(m) == STARTED + ["paused", "running", "shutdown"], watcher.states(m)
    assert not os.path.exists(os.path.join(stack.runtime, "channel", m.uuid + ".json"))
    assert sorted(os.listdir(m.dir)) == ["lock", "monitor.json"], os.listdir(m.dir)
    m.cmd("start", "paused=true")
    assert m.status() == "created" and int(m.cmd("get-domid")) > domid
    m.cmd("unpause")
    assert m.status() == "running"
    done(m)
    assert os.listdir(m.dir) == ["lock"]
    watcher.wait(m, "hup")


@oxt.case
def ends_of_guests():
    """Every on_* action for halt, reboot and crash"""
    table = [
        ("poweroff", "on_halt", "destroy", ["shutdown"]),
        ("poweroff", "on_halt", "preserve", []),
        ("reset", "on_reboot", "destroy", ["rebooted", "shutdown"]),
        ("reset", "on_reboot", "preserve", ["rebooted"]),
        ("panic", "on_crash", "destroy", ["shutdown"]),
        ("panic", "on_crash", "preserve", []),
    ]
    for kind, key, action, expected in table:
        m = machine(kind, **{key: action})
        m.cmd("start")
        if kind == "panic":
            watcher.wait(m, "error:crashed")
        if expected:
            m.wait_status(expected[-1])
        else:
            oxt.wait_for(lambda: "preserved" in m.log(), 10, "the guest's end")
            assert m.status() == "running" and int(m.cmd("get-domid")) > 0
        states = watcher.states(m)
        assert states == STARTED + expected, (kind, action, states)
        done(m)


@oxt.case
def restarts():
    """A guest that ends is started again, after its config was read again"""
    for kind, key, between in (("poweroff", "on_halt", []), ("reset", "on_reboot", ["rebooted"]), ("panic", "on_crash", [])):
        m = machine(kind, **{key: "restart"})
        m.write(**{key: "destroy", "on_reboot": "destroy" if kind == "reset" else "restart"})  # which the monitor has not read yet
        m.cmd("start")
        watcher.wait(m, "vm:state:shutdown")
        states = watcher.states(m)
        assert states[:4 + len(between) + 4] == STARTED + between + STARTED, states
        assert states.count("running") == 2, states
        done(m)


@oxt.case
def restart_loop():
    """A guest that reboots again and again is not started a sixth time"""
    m = machine("reset", on_reboot="restart")
    m.cmd("start")
    watcher.wait(m, "error:restart-loop", 60)
    m.wait_status("shutdown")
    assert watcher.states(m).count("running") == 6
    done(m)


@oxt.case
def halts():
    """Clean and forced halt and reboot"""
    m = machine()
    m.cmd("halt")  # there is nothing to halt
    m.cmd("start")
    watcher.clear()
    m.cmd("halt", "force")
    assert watcher.states(m) == ["shutdowning", "shutdown"]
    m.cmd("start")
    watcher.clear()
    m.cmd("reboot", "forced=true")
    assert watcher.states(m) == ["shutdowning", "rebooting", "rebooted"]
    m.cmd("start")
    watcher.clear()
    m.cmd("restart", "force")
    assert watcher.states(m) == ["shutdowning", "rebooting"] + STARTED
    # This guest does not listen; destroy interrupts the waiting halt, which fails.
    halt = m.begin("halt")
    oxt.wait_for(lambda: m.cmd("progress").startswith("halt"), 5, "the halt")
    assert "Vm_bad_state" in m.fails("suspend", "/tmp/never")
    m.cmd("destroy")
    assert halt.wait(60) == 1 and "Vm_bad_state" in halt.stderr.read()
    done(m)
    # One that has switched its power button on has acknowledged.
    m = machine("listens")
    m.cmd("start")
    oxt.wait_for(lambda: m.output() == "A", 10, "the guest's letter")
    watcher.clear()
    halt = subprocess.Popen([oxt.program("xenvm-cmd"), m.uuid, "halt"], env=stack.env, stderr=subprocess.DEVNULL)
    watcher.wait(m, "vm:state:shutdowning")
    m.cmd("halt", "forced=true")
    assert halt.wait(60) == 1 and watcher.states(m) == ["shutdowning", "shutdowning", "shutdown"]
    done(m)
    # One that powers off by itself while it is asked.
    m = machine("poweroff", after=72, on_halt="restart")
    m.cmd("start")
    watcher.clear()
    m.cmd("shutdown")
    assert watcher.states(m) == ["shutdowning", "shutdown"], watcher.states(m)
    done(m)


@oxt.case
def not_listening():
    """A guest that does not listen: the halt fails in time and the VM goes on"""
    stack.env["XENVM_TIMEOUT_SCALE"] = "0.05"
    m = machine()
    del stack.env["XENVM_TIMEOUT_SCALE"]
    m.cmd("start")
    assert "Vm_not_listening_shutdown_request" in m.fails("halt")
    assert m.status() == "running"
    done(m)


@oxt.case
def power_states():
    """S3, waking, S4 and the clock are noticed"""
    m = machine("s3", after=36)
    m.cmd("start")
    m.cmd("s3suspend", "timeout=30")
    assert m.cmd("get-acpi-state") == "3"
    watcher.wait(m, "power-state:3")
    m.cmd("trigger", "s3resume")
    watcher.wait(m, "power-state:0")
    assert "unknown trigger: x" in m.fails("trigger", "x")
    done(m)
    m = machine("s4", after=54)
    m.cmd("start")
    m.cmd("s4suspend", "timeout=30")
    assert m.status() == "shutdown"
    watcher.wait(m, "power-state:4")
    done(m)
    m = machine()
    m.cmd("start")
    assert "failed to put domain into s3" in m.fails("s3suspend", "timeout=1")
    # QEMU's own end is neither.
    for word in ("s3", "s4"):
        if m.status() == "shutdown":
            m.cmd("start")
        sleep = m.begin(word + "suspend", "timeout=60")
        oxt.wait_for(lambda: m.cmd("progress").startswith(word), 10, "the sleep")
        os.kill(m.pid(), signal.SIGKILL)
        assert sleep.wait(60) == 1 and "failed to put domain into " + word in sleep.stderr.read()
        m.wait_status("shutdown")
    done(m)
    for kind, words in (("poweroff", ("s3suspend", "timeout=60")), ("panic", ("s4suspend", "timeout=60"))):
        m = machine(kind, after=54)
        m.cmd("start")
        assert "failed to put domain into " + words[0][:2] in m.fails(*words)
        m.wait_status("shutdown")
        done(m)
    m = machine("clock", **{"time-offset": "3600"})
    m.cmd("start")
    oxt.wait_for(lambda: [x for x in watcher.messages(m) if x.startswith("rtc:")], 10, "the clock's change")
    done(m)


@oxt.case
def crash_of_qemu():
    """QEMU's death is a crash"""
    m = machine()
    m.cmd("start")
    os.kill(m.pid(), signal.SIGKILL)
    watcher.wait(m, "error:crashed")
    m.wait_status("shutdown")
    m.write(on_crash="restart")
    m.cmd("read-config")
    m.cmd("start")
    watcher.clear()
    os.kill(m.pid(), signal.SIGKILL)
    watcher.wait(m, "vm:state:running")
    assert watcher.states(m) == STARTED
    done(m)


@oxt.case
def monitor_killed():
    """A monitor that was killed finds its VM; what happened meanwhile leads to the right action"""
    for kind, key, action, expected in (("poweroff", "on_halt", "destroy", "shutdown"), ("reset", "on_reboot", "preserve", "rebooted"),
                                        ("panic", "on_crash", "restart", "running")):
        m = machine(kind, after=36, **{key: action})
        m.cmd("start")
        first = int(m.cmd("get-domid"))
        m.kill_monitor()
        time.sleep(4)
        watcher.clear()
        m.monitor()
        if expected == "running":
            watcher.wait(m, "error:crashed")
            oxt.wait_for(lambda: m.cmd("get-domid") not in ("-1", str(first)), 10, "the new start")
        else:
            m.wait_status(expected)
        done(m)
    m = machine()
    m.cmd("start")
    qemu, domid = m.pid(), m.cmd("get-domid")
    m.kill_monitor()
    m.monitor()
    assert m.pid() == qemu and m.cmd("get-domid") == domid and m.status() == "running"
    m.kill_monitor()
    os.kill(qemu, signal.SIGKILL)
    watcher.clear()
    m.monitor()
    watcher.wait(m, "error:crashed")
    m.wait_status("shutdown")
    m.cmd("start")
    m.cmd("quit")
    m.wait_gone()
    assert alive(m.pid())
    m.monitor()
    os.kill(m.pid("monitor"), signal.SIGTERM)
    m.wait_gone()
    assert alive(m.pid())
    m.monitor()
    done(m)


@oxt.case
def random_kills():
    """The monitor killed at random 50 times: the guest goes on counting, the VM is always found"""
    m = machine("count")
    m.cmd("start")
    qemu, domid = m.pid(), m.cmd("get-domid")
    rng, commands = random.Random(7), []
    for _ in range(50):
        if rng.random() < 0.5:
            commands.append(stack.start([oxt.program("xenvm-cmd"), m.uuid, rng.choice(["pause", "unpause", "get-vnc", "set-mem-target 24"])]))
        time.sleep(rng.random() * 0.03)
        m.kill_monitor()
        m.monitor(wait=rng.random() < 0.5)
        oxt.wait_for(lambda: m.pid("monitor") and alive(m.pid("monitor")), 5, "the new monitor")
    oxt.wait_for(lambda: stack.owned(m.name) and all(c.poll() is not None for c in commands), what="the end of all commands")
    assert m.pid() == qemu and m.cmd("get-domid") == domid and m.status() in ("running", "paused")
    if m.status() == "paused":
        m.cmd("unpause")
    at = len(m.output())
    oxt.wait_for(lambda: len(m.output()) > at + 3, 10, "the count")
    text = m.output()
    assert all((ord(b) - ord(a)) % 26 == 1 for a, b in zip(text, text[1:])), text
    done(m)


@oxt.case
def second_monitor():
    """A second monitor for one uuid refuses with the pid of the first"""
    m = machine()
    r = m.monitor(status=1)
    assert str(m.pid("monitor")) in r.stderr
    ps = [subprocess.Popen([oxt.program("xenvm"), "--config", Machine(stack).config], env=stack.env) for _ in range(1)]
    assert [p.wait(60) for p in ps] == [0]
    n = Machine(stack)
    ps = [subprocess.Popen([oxt.program("xenvm"), "--config", n.config], env=stack.env, stderr=subprocess.DEVNULL) for _ in range(5)]
    assert sorted(p.wait(60) for p in ps) == [0, 1, 1, 1, 1]
    oxt.wait_for(lambda: stack.owned(n.name))
    done(n)
    done(m)


@oxt.case
def foreign_vm():
    """A VM that no monitor of ours has made is refused, and taken on with --attach"""
    m = machine()
    m.cmd("start")
    domid = m.pid()
    m.kill_monitor()
    os.unlink(os.path.join(m.dir, "monitor.json"))
    r = m.monitor(status=2)
    assert "--attach" in r.stderr
    m.monitor("--attach")
    assert m.pid() == domid and m.status() == "running"
    done(m)


@oxt.case
def failed_starts():
    """A start that fails says in words why, and leaves nothing behind"""
    m = machine(disk=["/nonexistent/x.img:file:hda:w:disk"])
    text = m.fails("start")
    assert "Device.Tap2.Mount_failure" in text and "/nonexistent/x.img" in text
    m.write(disk=[m.image + ":file:hda:w:disk", m.image + ":file:hdb:w:disk"])
    m.cmd("read-config")
    text = m.fails("start")
    assert "lock" in text, text
    # The watcher hears of it by another way than the command's answer. QEMU may have greeted before it looks at its disks.
    oxt.wait_for(lambda: watcher.states(m)[-1:] == ["shutdown"], 5, "the notification")
    assert watcher.states(m)[-2] in ("creating-domain", "creating-devices"), watcher.states(m)
    assert "failed before: " in m.cmd("timeline") and "lock" in m.cmd("timeline")
    m.write(disk=[m.image + ":qcow2:hda:w:disk"])
    m.cmd("read-config")
    assert "qcow2" in m.fails("start")
    m.write(disk=[m.image + ":file:hde:w:disk"])
    m.cmd("read-config")
    assert "four IDE places" in m.fails("start")
    m.write(disk=[m.image + ":file:hda:w:disk"], memory="99999999")
    m.cmd("read-config")
    assert "Not_enough_free_memory" in m.fails("start")
    m.write(memory="32", **{"passthrough-io": "0x3f8-0x3ff"})
    m.cmd("read-config")
    assert "passthrough-io" in m.fails("start")
    if not os.path.isdir("/sys/kernel/iommu_groups") or not os.listdir("/sys/kernel/iommu_groups"):
        del m.keys["passthrough-io"]
        m.write(pci="0,bind,0000:00:1b.0")
        m.cmd("read-config")
        assert 'RequiresMoreCapabilities("config requires directio")' in m.fails("start")
        m.write(**{"pci": [], "passthrough-io": []})
    assert sorted(os.listdir(m.dir)) == ["lock", "monitor.json"], os.listdir(m.dir)
    # An image that another VM writes to.
    del m.keys["passthrough-io"]
    m.write()
    m.cmd("read-config")
    m.cmd("start")
    n = machine(disk=[m.image + ":file:hda:w:disk"])
    text = n.fails("start")
    assert "lock" in text and m.image in text, text
    done(n)
    done(m)
    n = Machine(stack, startup="start", disk=["/nonexistent/x.img:file:hda:w:disk"])
    n.monitor(wait=False)
    oxt.wait_for(lambda: "error:" in n.log(), 5, "the failure")
    oxt.wait_for(lambda: not stack.owned(n.name), 5, "the monitor's end")


@oxt.case
def timeline():
    """What a start reached and when, also inside the guest; a new monitor knows it, a new start begins anew"""
    m = machine()
    assert m.cmd("timeline") == "not started yet"
    assert "Vm_bad_state" in m.fails("boot-sentinel")

    def phases():
        return [line.rsplit(None, 2)[0] for line in m.cmd("timeline").splitlines()]

    host = ["checked", "spawned", "qmp ready", "devices", "running"]
    m.cmd("start")
    assert phases() == host, m.cmd("timeline")
    times = [float(line.split()[-2]) for line in m.cmd("timeline").splitlines()]
    assert times == sorted(times) and 0 < times[-1] < 60000, times
    agent = "com.citrix.xenclient.guest.uuid_" + m.element
    watcher.bus.request_name(agent)
    oxt.wait_for(lambda: phases() == host + ["guest agent"], 5, "the agent")
    m.cmd("boot-sentinel")
    first = m.cmd("timeline")
    assert phases() == host + ["guest agent", "boot sentinel"] and "boot sentinel" in m.log()
    m.cmd("boot-sentinel")
    assert m.cmd("timeline") == first
    m.kill_monitor()
    m.monitor()
    assert m.cmd("timeline") == first
    watcher.bus.release_name(agent)
    m.cmd("destroy")
    assert m.cmd("timeline") == first  # of the last start
    m.cmd("start", "paused=true")
    assert phases() == host[:-1]
    # An agent that came while no monitor was there is found.
    m.kill_monitor()
    watcher.bus.request_name(agent)
    m.monitor()
    oxt.wait_for(lambda: "guest agent" in phases(), 5, "the agent")
    watcher.bus.release_name(agent)
    done(m)


@oxt.case
def configuration():
    """get, set, read-config and the lists"""
    m = machine()
    assert m.cmd("get", "memory") == "32768" and m.cmd("get", "hvm") == "true"
    m.cmd("set", "field=vcpus", "value=2")
    assert m.cmd("get", "vcpus") == "2" and m.cmd("get", "required-to-boot-kib") == str((32 + 3 + 2) * 1024)
    assert "Unknown_field" in m.fails("set", "disk", "x") and "Unknown_field" in m.fails("get", "bogus")
    assert m.fails("set", "vcpus", "many") and m.cmd("get", "vcpus") == "2"
    m.cmd("nic-add", "bridge=br0", "mac=02:00:00:00:00:01")
    m.cmd("disk-add", "path=" + m.image, "device=hdb", "type=file", "mode=r", "devtype=disk")
    assert "virtpath: hdb, mode: r" in m.cmd("disk-list")
    rows = [[c.strip() for c in line.split("|")] for line in m.cmd("nic-list").splitlines()]
    assert rows[1] == ["0", "br0", "02:00:00:00:00:01", ""], rows
    m.cmd("read-config")
    assert m.cmd("get", "vcpus") == "1" and len(m.cmd("nic-list").splitlines()) == 1
    assert "config" in m.fails("read-config", "/nonexistent") or True
    m.write(memory="64")
    os.kill(m.pid("monitor"), signal.SIGHUP)
    oxt.wait_for(lambda: m.cmd("get", "memory") == "65536", 5, "the new config")
    assert m.fails("bogus") == "error: unknown RPC"
    assert "not found: field" in m.fails("get") and "invalid type: paused" in m.fails("start", "paused=perhaps")
    help_text = m.cmd("help")
    assert all(any(line.startswith(w) for line in help_text.splitlines()) for w in ("start", "suspend", "cd-eject", "quit"))
    assert "not implemented" in m.fails("disk-del")
    done(m)


@oxt.case
def running_changes():
    """Hot-plugged disk and card, CD, balloon, progress of devices across a killed monitor"""
    m = machine(nic=["bridge=user"])
    m.write(disk=[m.image + ":file:hda:w:disk", ":file:hdc:r:cdrom"], **{"memory-max": "64"})
    m.cmd("read-config")
    assert "Vm_bad_state" in m.fails("device", "disk", "add", "/x:file:xvdb:w:disk")
    m.cmd("start")
    extra, iso = (os.path.join(stack.root, n) for n in ("extra.img", "cd.iso"))
    for path in (extra, iso):
        with open(path, "wb") as f:
            f.truncate(1 << 20)
    m.cmd("device", "disk", "add", extra + ":file:xvdb:w:disk")
    m.cmd("device", "nic", "add", "bridge=user,model=e1000")
    assert "xvd" in m.fails("device", "disk", "add", extra + ":file:hdb:w:disk")
    assert "No such file" in m.fails("device", "disk", "add", "/nonexistent:file:xvdc:w:disk")
    assert "device type unknown: x" in m.fails("device", "x", "list")
    assert "device subcommand unknown: x" in m.fails("device", "disk", "x")
    m.cmd("cd-insert-file", "hdc", iso)
    assert "cannot be read" in m.fails("cd-insert-file", "hdc", "/nonexistent")
    m.cmd("cd-eject", "hdc")
    assert "no CD drive" in m.fails("cd-eject", "hda")
    m.cmd("set-mem-target", "48")
    m.kill_monitor()
    m.monitor()
    assert "xvdb" in m.cmd("device", "disk", "list") and "id: 1" in m.cmd("device", "nic", "list")
    m.cmd("destroy")
    assert "xvdb" not in m.cmd("device", "disk", "list") and "id: 1" not in m.cmd("device", "nic", "list")
    assert m.fails("set-mem-target", "48") == "error: exception: no domain id"
    done(m)


def listens(port):
    """The addresses at which somebody listens on this TCP port, as the kernel writes them."""
    rows = []
    for name in ("tcp", "tcp6"):
        with open("/proc/net/" + name) as f:
            rows += [row.split()[1] for row in list(f)[1:] if row.split()[3] == "0A"]
    return [r.split(":")[0] for r in rows if int(r.split(":")[1], 16) == port]


@oxt.case
def usb():
    """USB devices of the host: names that are none, and one that QEMU cannot open: the VM goes on without it"""
    oxt.needs_root()
    m = Machine(stack)
    # The monitor sees a host with one device, whose node is missing.
    fake = os.path.join(stack.root, "usb/devices/1-2.3")
    os.makedirs(fake)
    for name, text in (("busnum", "999"), ("devnum", "99"), ("idVendor", "046d"), ("idProduct", "c52b")):
        with open(os.path.join(fake, name), "w") as f:
            f.write(text + "\n")
    r = stack.run(["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /sys/bus && ln -s %s/usb /sys/bus/usb && exec %s --config %s" % (
        stack.root, os.path.abspath(oxt.program("xenvm")), m.config)])
    if "mount" in r.stderr or "unshare" in r.stderr:
        raise oxt.Skip("no mount namespaces here")
    assert r.returncode == 0, r.stderr
    oxt.wait_for(lambda: stack.owned(m.name), 10, "the monitor")
    assert "Vm_bad_state" in m.fails("device", "usb", "add", "1-2.3")
    m.cmd("start")
    assert "BUS-PORT" in m.fails("device", "usb", "add", "../1-2") and "no USB device '1-7'" in m.fails("device", "usb", "add", "1-7")
    assert "no such USB device" in m.fails("device", "usb", "del", "1-2.3")
    error = m.fails("device", "usb", "add", "1-2.3")
    assert "/dev/bus/usb/999/099" in error, error
    assert m.cmd("device", "usb", "list") == "" and m.status() == "running"
    done(m)


@oxt.case
def port_forwards():
    """A forwarded port is open on the loopback address alone while the VM runs; a port that is taken stops the start"""
    port, plugged = oxt.free_port(), oxt.free_port()
    m = machine(nic=["bridge=user,forward=tcp:%d:22" % port])
    m.cmd("start")
    oxt.wait_for(lambda: listens(port), 5, "the port")
    assert listens(port) == ["0100007F"], listens(port)
    m.cmd("device", "nic", "add", "bridge=user,model=e1000,forward=tcp:%d:80" % plugged)
    assert listens(plugged) == ["0100007F"], listens(plugged)
    other = machine(nic=["bridge=user,forward=tcp:%d:22" % port])
    assert "port %d of this host cannot be used" % port in other.fails("start")
    done(other)
    m.cmd("destroy")
    oxt.wait_for(lambda: not listens(port) and not listens(plugged), 5, "the end of the forwards")
    done(m)


@oxt.case
def limits():
    """Limits of a disk, also of one that is plugged in, are those that QEMU says it keeps"""
    extra = os.path.join(stack.root, "limited.img")
    with open(extra, "wb") as f:
        f.truncate(1 << 20)
    m = machine()
    m.write(disk=[m.image + ":file:hda:w:disk:iops=50:bps=2000000"])
    m.cmd("read-config")
    m.cmd("start")
    m.cmd("device", "disk", "add", extra + ":file:xvdb:w:disk:bps=1000000")
    drives = {d["qdev"].split("/")[-1] if d["qdev"] != "xvdb" else "xvdb": d["inserted"] for d in m.ask_qemu("query-block")[0]}
    assert (drives["hda"]["iops"], drives["hda"]["bps"]) == (50, 2000000), drives
    xvdb = [d for d in drives.values() if d["node-name"] == "node-xvdb"]
    assert xvdb and (xvdb[0]["iops"], xvdb[0]["bps"]) == (0, 1000000), drives
    m.cmd("destroy")
    done(m)


@oxt.case
def image_chains():
    """Images below an image are found and read only; one outside of the allowed folders, or without a format, is refused"""
    folder, elsewhere = (os.path.join(stack.root, n) for n in ("chain", "elsewhere"))
    os.mkdir(folder)
    os.mkdir(elsewhere)

    def image(path, backing=None, extra=()):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *extra, *(("-u", "-b", backing, "-F", "raw" if backing.endswith(".img") else "qcow2")
                                                                if backing else ()), path, "1M"], check=True)
        return path

    boot = os.path.join(folder, "boot.img")
    with open(boot, "wb") as f:
        f.write(sector("loop").ljust(1 << 20, b"\0"))
    os.chmod(boot, 0o400)
    middle, top = image(os.path.join(folder, "middle.qcow2"), boot), os.path.join(folder, "top.qcow2")
    image(top, "middle.qcow2")  # a name counts from the image's own folder
    m = machine(disk=[top + ":qcow2:hda:w:disk"])
    m.cmd("start")
    oxt.wait_for(lambda: m.output() == "A", 20, "the guest, whose code lies two images below")
    other = machine(disk=[top + ":qcow2:hda:w:disk"])
    assert "lock" in other.fails("start") and top in other.fails("start")
    other.write(disk=[middle + ":qcow2:hda:w:disk"])
    other.cmd("read-config")
    assert "lock" in other.fails("start")
    # One disk below two VMs is fine as long as both only read it.
    other.write(disk=[image(os.path.join(folder, "second.qcow2"), middle) + ":qcow2:hda:w:disk"])
    other.cmd("read-config")
    other.cmd("start")
    other.cmd("destroy")
    m.cmd("destroy")
    for backing, words in ((elsewhere + "/x.qcow2", "storage.backing"), ("../elsewhere/x.qcow2", "storage.backing"),
                           ("/etc/passwd", "storage.backing"), ("nbd://127.0.0.1/x", "No such file"), ("gone.qcow2", "gone.qcow2: No such file"),
                           ("loop.qcow2", "too many images")):
        image(elsewhere + "/x.qcow2")
        image(folder + "/loop.qcow2", top)
        image(top, backing)
        text = m.fails("start")
        assert "Device.Tap2.Mount_failure" in text and words in text, (backing, text)
    image(top, extra=("-o", "data_file=%s/data" % folder))
    assert "data_file" in m.fails("start")
    with open(top, "r+b") as f:
        f.write(b"QFI\xfb\0\0\0\3" + b"\xff" * 200)
    assert "header is damaged" in m.fails("start") or "data_file" in m.fails("start")
    done(other)
    done(m)


@oxt.case
def handed_files():
    """QEMU has no file open by name: what it holds are the descriptors that it was given; an ejected CD is let go"""
    iso, second = (os.path.join(stack.root, n) for n in ("held.iso", "second.iso"))
    for path in (iso, second):
        with open(path, "wb") as f:
            f.truncate(1 << 20)
    m = machine()
    m.write(disk=[m.image + ":file:hda:w:disk", iso + ":file:hdc:r:cdrom"])
    m.cmd("read-config")
    m.cmd("start")

    def held(path):
        folder = "/proc/%d/fd" % m.pid()
        return [n for n in os.listdir(folder) if os.path.exists(os.path.join(folder, n)) and os.readlink(os.path.join(folder, n)) == path]

    with open("/proc/%d/cmdline" % m.pid()) as f:
        line = f.read()
    assert m.image not in line and iso not in line and m.serial not in line, line
    assert held(iso) and held(m.image)
    m.cmd("cd-eject", "hdc")
    oxt.wait_for(lambda: not held(iso), 5, "QEMU to let go of the CD")
    m.cmd("cd-insert-file", "hdc", iso)
    assert held(iso)
    m.kill_monitor()
    m.monitor()
    m.cmd("cd-insert-file", "hdc", second)
    oxt.wait_for(lambda: not held(iso), 5, "QEMU to let go of the first CD, that another monitor put in")
    done(m)


@oxt.case
def affinity():
    """The thread of a virtual CPU runs only where cpus-affinity lets it; a CPU that is missing is a warning"""
    host = sorted(os.sched_getaffinity(0))
    if len(host) < 2 or host[1] > 63:
        raise oxt.Skip("this host has one CPU")
    m = machine(vcpus="2", **{"cpus-affinity": ["0:%d" % host[1], "1:%d" % host[0], "5:0"]})
    m.cmd("start")
    allowed = []
    for task in os.listdir("/proc/%d/task" % m.pid()):
        try:
            allowed.append(os.sched_getaffinity(int(task)))
        except ProcessLookupError:
            pass  # one that QEMU needed for a moment
    assert allowed.count({host[0]}) == 1 and allowed.count({host[1]}) == 1, allowed
    assert "the VM has no CPU 5" in m.log()
    done(m)


@oxt.case
def network_switch():
    """A running card moves to another bridge and back, also by a new monitor; a forbidden bridge leaves it where it is"""
    oxt.needs_root()
    if subprocess.run(["unshare", "--net", "ip", "link", "add", "br-try", "type", "bridge"], stderr=subprocess.DEVNULL).returncode:
        raise oxt.Skip("no bridge can be made here")
    path = os.path.join(stack.runtime, "helper.sock")
    stack.env["OXT_HELPER_BRIDGES"] = "br-one br-two"
    helper = stack.start(["unshare", "--net", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && for b in one two no; do "
                          'ip link add br-$b type bridge || exit; done; exec "$0"', oxt.program("oxt-helper")],
                         ready=lambda: os.path.exists(path) and os.stat(path).st_mode & 0o777 == 0o660)

    def master():
        text = subprocess.run(["nsenter", "-t", str(helper.pid), "-n", "ip", "-o", "link"], text=True, stdout=subprocess.PIPE,
                              check=True).stdout
        return [line.split(" master ")[1].split()[0] for line in text.splitlines() if ": oxt" in line]

    m = machine(nic=["bridge=br-one,rate=1000000"])
    m.cmd("start")
    assert master() == ["br-one"], master()
    if shutil.which("tc"):
        limit = subprocess.run(["nsenter", "-t", str(helper.pid), "-n", "tc", "qdisc", "show"], text=True, stdout=subprocess.PIPE).stdout
        assert "tbf" in limit and "rate 8Mbit" in limit, limit
    m.cmd("nic-network-switch", "id=0", "network=br-two")
    assert master() == ["br-two"], master()
    assert "helper.bridges" in m.fails("nic-network-switch", "id=0", "network=br-no") and master() == ["br-two"], master()
    # A card that is plugged in comes with a tap device of its own, also after a restore.
    assert "helper.bridges" in m.fails("device", "nic", "add", "bridge=br-no")
    m.cmd("device", "nic", "add", "bridge=br-one,model=e1000")
    assert sorted(master()) == ["br-one", "br-two"], master()
    save = os.path.join(stack.root, "saved with a tap")
    m.cmd("suspend", save)
    m.cmd("restore", save)
    assert sorted(master()) == ["br-one", "br-two"], master()
    m.kill_monitor()
    m.monitor()
    m.cmd("nic-network-switch", "id=1", "network=br-two")
    assert master() == ["br-two", "br-two"], master()
    m.cmd("destroy")
    oxt.wait_for(lambda: not master(), 5, "the end of both tap devices")
    m.cmd("start")
    m.cmd("nic-network-switch", "id=0", "network=br-two")
    second = machine(nic=["bridge=br-one"])
    second.cmd("start")
    assert sorted(master()) == ["br-one", "br-two"], master()
    done(second)
    oxt.wait_for(lambda: master() == ["br-two"], 5, "the end of the other VM's tap device")
    m.kill_monitor()
    m.monitor()
    m.cmd("nic-network-switch", "id=0", "network=br-one")
    assert master() == ["br-one"], master()
    helper.terminate()
    helper.wait(60)
    assert "oxt-helper" in m.fails("nic-network-switch", "id=0", "network=br-two")
    assert "oxt-helper" in m.fails("device", "nic", "add", "bridge=br-two")
    assert m.status() == "running"
    done(m)
    user = machine(nic=["bridge=user"])
    user.cmd("start")
    user.cmd("nic-network-switch", "id=0", "network=user")
    user.fails("nic-network-switch", "id=0", "network=br-two")
    done(user)


@oxt.case
def displays():
    """VNC on a unix socket always, on TCP only where asked for"""
    m = machine(display="vnc:use-port-unused,keymap=en-us")
    m.cmd("start")
    port = int(m.cmd("get-vnc"))
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        assert s.recv(4) == b"RFB "
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(m.dir, "vnc.sock"))
        assert s.recv(4) == b"RFB "
    m.cmd("destroy")
    m.write(display="vnc")
    m.cmd("read-config")
    m.cmd("start")
    assert m.cmd("get-vnc") == ""
    done(m)


def exchange(path, data):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(path)
        s.sendall(data)
        answer = b""
        while True:
            piece = s.recv(4096)
            if not piece:
                return json.loads(answer) if answer else None
            answer += piece


@oxt.case
def socket_protocol():
    """The unix socket: framing, errors, and clients that send nothing"""
    m = Machine(stack)
    m.monitor("--monitor-json", "true")
    path = os.path.join(stack.runtime, "xenvm", "vm-" + m.uuid)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o750

    def call(text):
        return exchange(path, struct.pack(">I", len(text)) + text.encode())

    mute = socket.socket(socket.AF_UNIX)
    mute.connect(path)
    mute.send(b"\0\0")
    assert call('{"jsonrpc":"2.0","method":"get-status","params":{},"id":1}') == {"jsonrpc": "2.0", "id": 1, "result": "shutdown"}
    assert call('{"method":"get-domid","id":"x"}')["result"] == "-1"
    assert call('{"method":"start","params":{"paused":true},"id":null}')["result"] is None
    assert call('{"method":"status"}')["result"] == "created"
    for text, code in (("{", -32700), ("[]", -32600), ('{"id":3}', -32600), ('{"method":"bogus","id":4}', -32601),
                       ('{"method":"get","id":5}', -32602), ('{"method":"pause","id":6}', -32603)):
        answer = call(text)
        assert answer["error"]["code"] == code, (text, answer)
    assert exchange(path, struct.pack(">I", 0)) is None and exchange(path, struct.pack(">I", 1 << 24)) is None
    assert m.cmd("get-status", options=["--use-socket"]) == "created"
    mute.close()
    done(m)
    oxt.wait_for(lambda: not os.path.exists(path), 5, "the socket's removal")


@oxt.case
def without_bus():
    """A bus that dies and comes back does not touch the VM; without one, the socket serves"""
    m = machine()
    m.cmd("start")
    stack.bus.kill()
    stack.bus.wait()
    qemu = m.pid()
    time.sleep(0.2)
    stack.start_bus()
    oxt.wait_for(lambda: stack.owned(m.name), 5, "the monitor on the new bus")
    assert m.status() == "running" and m.pid() == qemu
    global watcher
    watcher = Watcher(stack)
    done(m)
    n = Machine(stack)
    n.monitor("--monitor-dbus", "false", wait=False)
    oxt.wait_for(lambda: oxt.listens(os.path.join(stack.runtime, "xenvm", "vm-" + n.uuid)))
    assert n.cmd("get-status", options=["--use-socket"]) == "shutdown"
    n.cmd("quit", options=["--use-socket"])


@oxt.case
def text_notifications():
    """Notifications to a unix socket: one line for each, in order"""
    path = os.path.join(stack.root, "notify.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        server.settimeout(60)
        m = Machine(stack, notify="unix," + path)
        m.monitor()
        m.cmd("start")
        m.cmd("destroy")
        m.cmd("quit")
        lines = []
        while not lines or not lines[-1].endswith(":1:hup\n"):
            c, _ = server.accept()
            with c:
                lines.append(c.makefile().read())
    assert lines == [m.uuid + t + "\n" for t in
                     (":0:ping", ":0:dbus-rpc-up", *(":61440:vm:state:" + s for s in STARTED), ":61440:vm:state:shutdown", ":1:hup")], lines


@oxt.case
def usage():
    """Exit status and messages of the command line"""
    assert stack.run([oxt.program("xenvm")]).returncode == 3
    m = Machine(stack)
    m.write(memory="lots")
    r = stack.run([oxt.program("xenvm"), "--check", m.config])
    assert r.returncode == 3 and "config error: memory: expect int arg" in r.stderr
    m.write(memory="32")
    assert stack.run([oxt.program("xenvm"), "--check", m.config]).returncode == 0
    own = m.image + ":file:hda:w:disk"
    for keys, said, key in (({"disk": [own, "/nowhere/x.img:file:hdb:w:disk"]}, "disk hdb: /nowhere/x.img cannot be read: No such file", "disk"),
                            ({"disk": [own, m.image + ":file:hde:w:disk"]}, "disk hde: the machine has four IDE places", "disk"),
                            ({"kernel": "/nowhere/vmlinux"}, "kernel /nowhere/vmlinux cannot be read", "kernel"),
                            ({"memory-max": "16"}, "memory-max (16384 KiB) is less than memory", "memory-max"),
                            ({"passthrough-io": "0x2f8-0x2ff"}, "passthrough-io: QEMU cannot", "passthrough-io"),
                            ({"nic": ["bridge=user", "bridge=user,model=other"]}, "nic 1: model other is not one of rtl8139", "nic"),
                            ({"sound": "gus"}, "sound = gus: ac97, es1370, hda and sb16 are accepted", "sound")):
        other = Machine(stack)
        other.write(**{"disk": [own], **keys})
        with open(other.config) as f:
            line = max(i for i, text in enumerate(f, 1) if text.startswith(key + " ="))
        r = stack.run([oxt.program("xenvm"), "--check", other.config])
        assert r.returncode == 3 and said in r.stderr and "(line %d of %s)" % (line, other.config) in r.stderr and not r.stdout, (keys, r)
        other.monitor()
        text = other.fails("start")
        assert said in text and "(line %d of %s)" % (line, other.config) in text, (keys, text)
        other.cmd("quit")
    del m.keys["memory"]
    m.write()
    r = stack.run([oxt.program("xenvm"), "--check", m.config])
    assert r.returncode == 3 and "memory is not given" in r.stderr and "(%s)" % m.config in r.stderr, r
    m.write(memory="32")
    r = stack.run([oxt.program("xenvm"), "--print-backend", m.config])
    assert r.returncode == 0 and "-uuid " + m.uuid in r.stdout and "-sandbox on" in r.stdout
    assert m.fails("status") == "error: there is no monitor for this VM"
    assert stack.run([oxt.program("xenvm-cmd"), m.uuid]).returncode == 1


try:
    oxt.main()
finally:
    stack.stop()
