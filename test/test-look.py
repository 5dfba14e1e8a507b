#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looking at VMs: xec-vm console, screen, log, timeline and start --dry-run."""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios

import oxt
from life import IDLE, VM, with_life
from xenmgr import uuid_of
from xenvm import ECHO


def look(life, vm, *words, status=0):
    r = life.stack.run([oxt.program("xec-vm"), "-u", uuid_of(vm), *words])
    assert r.returncode == status, (words, r.returncode, r.stdout, r.stderr)
    return r.stdout if status == 0 else r.stdout + r.stderr


class Terminal:
    """A program in a terminal of its own, as a person has it."""

    def __init__(self, life, *command):
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(command, env=life.stack.env, stdin=slave, stdout=slave, stderr=slave)
        self.slave = slave
        self.seen = b""

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 4096)
        return self.seen

    def wait_for(self, text, seconds=20):
        oxt.wait_for(lambda: text in self.read(), seconds, "%r in the terminal" % text)

    def resize(self, rows, columns, good):
        """Waits until the whole screen, drawn anew for that size, is good."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)
        oxt.wait_for(lambda: any(good(screen) for screen in self.read().split(b"\033[H")[1:] if screen.endswith(b"\033[J")),
                     20, "a screen of %d by %d" % (rows, columns))

    def type(self, text):
        os.write(self.master, text)

    def end(self):
        """The exit status; the terminal must be as it was."""
        status = self.process.wait(60)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal was left in another mode"
        return status


@with_life
def console(life):
    """The console shows what the guest says and sends what is typed; ^] leaves it; it is for one at a time."""
    vm = life.guest(ECHO)
    assert "does not run" in look(life, vm, "console", status=1) and "'start' starts it" in look(life, vm, "console", status=1)
    life.start(vm)
    t = Terminal(life, oxt.program("xec-vm"), "-u", uuid_of(vm), "console")
    t.wait_for(b"^]")
    for word in (b"hello", b"\x03", b"\x04end\r"):  # ^C and ^D are the guest's
        t.type(word)
        t.wait_for(word)
    assert "somebody else" in look(life, vm, "console", status=1)
    assert t.process.poll() is None
    t.type(b"\x1d")
    assert t.end() == 0
    # A pipe in place of a terminal; and it ends with the VM.
    p = subprocess.Popen([oxt.program("xec-vm"), "-u", uuid_of(vm), "console"], env=life.stack.env, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b"again")
    p.stdin.close()
    seen = b""
    while len(seen) < 5:
        seen += os.read(p.stdout.fileno(), 100)
    assert seen == b"again", seen
    life.call(vm, VM, "destroy")
    assert p.wait(60) == 0 and b"ended" in p.stderr.read()


@with_life
def console_of_others(life):
    """A user who may only talk to the bus has the console too: the descriptor comes with the answer."""
    oxt.needs_root()
    program = oxt.program("xec-vm")
    if life.stack.run(oxt.as_user("nobody", program, "--version")).returncode != 0:
        raise oxt.Skip("other users cannot read the programs under test")
    vm = life.guest(ECHO)
    life.start(vm)
    t = Terminal(life, *oxt.as_user("nobody", program, "-u", uuid_of(vm), "console"))
    t.wait_for(b"^]")
    t.type(b"let me in")
    t.wait_for(b"let me in")
    t.type(b"\x1d")
    assert t.end() == 0


@with_life
def consoles(life):
    """A console on a socket works as well; a serial port that goes elsewhere, or none, is told."""
    path = os.path.join(life.stack.root, "serial.sock")
    os.chmod(life.stack.root, 0o777)
    vm = life.guest(ECHO, config={"serial": "unix:%s,server=on,wait=off" % path})
    life.start(vm)
    t = Terminal(life, oxt.program("xec-vm"), "-u", uuid_of(vm), "console")
    t.wait_for(b"^]")
    t.type(b"socket")
    t.wait_for(b"socket")
    t.type(b"\x1d")
    assert t.end() == 0
    for value, text in (("none", "no serial port"), ("null", "goes to null")):
        vm = life.guest(IDLE, config={"serial": value})
        life.start(vm)
        assert text in look(life, vm, "console", status=1)


@with_life
def screen(life):
    """A picture of the screen is a PNG, and nothing of it stays in the VM's folder."""
    vm = life.guest(IDLE, config={"display": "vnc"})
    life.start(vm)
    path = os.path.join(life.stack.root, "picture.png")
    look(life, vm, "screen", path)
    with open(path, "rb") as f:
        head = f.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n", head
    width, height = struct.unpack(">II", head[16:24])
    assert width >= 640 and height >= 400, (width, height)
    piped = subprocess.run([oxt.program("xec-vm"), "-u", uuid_of(vm), "screen"], env=life.stack.env, stdout=subprocess.PIPE)
    assert piped.returncode == 0 and piped.stdout[:8] == head[:8]
    assert not os.path.exists(os.path.join(life.stack.runtime, "vm", uuid_of(vm), "screen.png"))
    plain = life.guest(IDLE)
    life.start(plain)
    assert "set display vnc" in look(life, plain, "screen", path, status=1)


@with_life
def log(life):
    """The log of a VM is its monitor's and QEMU's; -n bounds it, -f goes on."""
    vm = life.guest()
    assert "never started" in look(life, vm, "log", status=1)
    life.start(vm)
    whole = look(life, vm, "log")
    assert "Starting QEMU" in whole and "Command start" in whole, whole
    assert look(life, vm, "log", "-n", "2").splitlines() == whole.splitlines()[-2:]
    p = subprocess.Popen([oxt.program("xec-vm"), "-u", uuid_of(vm), "log", "-f", "-n", "0"], env=life.stack.env,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.set_blocking(p.stdout.fileno(), False)
    seen = b""

    def followed():
        nonlocal seen
        life.call(vm, VM, "pause")
        life.call(vm, VM, "unpause")
        seen += p.stdout.read() or b""
        return b"Command pause" in seen
    oxt.wait_for(followed, 20, "what is logged later")
    p.terminate()
    p.wait()
    assert b"Starting QEMU" not in seen


@with_life
def log_turns_over(life):
    """A log that has grown beyond log.size is turned over while the VM runs; it goes with the VM."""
    with open(os.path.join(life.stack.state, "oxt.conf"), "w") as f:
        f.write("log.size = 65536\n")
    vm = life.guest()
    life.start(vm)
    path = os.path.join(life.stack.state, "vm-log", uuid_of(vm) + ".log")
    name = "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")
    monitor = life.bus.get_object(name, "/org/xen/vm/" + name.split("uuid_")[1], introspect=False)

    def turned():
        for _ in range(200):
            monitor.get_dbus_method("get_status", name)({}, signature="a{ss}")
        return os.path.exists(path + ".1")
    oxt.wait_for(turned, 60, "a second file")
    assert os.path.getsize(path) < 65536 + 4096
    assert "Command" in look(life, vm, "log")
    life.call(vm, VM, "destroy")
    life.call(vm, VM, "delete")
    oxt.wait_for(lambda: not os.path.exists(path) and not os.path.exists(path + ".1"), 20, "the end of the logs")


@with_life
def timeline_and_dry_run(life):
    """The timeline names the phases of the last start; a dry run names all that would stop it, and starts nothing."""
    vm = life.guest()
    assert "not started" in look(life, vm, "timeline")
    assert "Nothing keeps" in look(life, vm, "start", "--dry-run")
    assert life.state(vm) == "stopped"
    life.start(vm)
    assert "The VM runs" in look(life, vm, "start", "--dry-run")
    lines = [line.split()[0] for line in look(life, vm, "timeline").splitlines()]
    assert lines[0] == "start" and lines[-1] == "started" and "checked" in lines and "built" in lines, lines
    assert json.loads(look(life, vm, "timeline", "--json"))["failed"] is None
    assert json.loads(look(life, vm, "--json", "timeline"))["failed"] is None
    life.call(vm, VM, "destroy")
    life.call(vm, VM, "set_db_key", "config.disk.0.path", "/storage/none")
    life.call(vm, VM, "set_db_key", "config.memory", "99999999")
    found = look(life, vm, "start", "--dry-run", status=1)
    assert [line.split(":")[0] for line in found.splitlines()] == ["disks", "memory"], found
    assert "(/storage/none): No such file or directory" in found, found
    life.call(vm, VM, "set_db_key", "config.disk.0.path", "/storage/disks/g1.img")
    life.call(vm, VM, "set_db_key", "config.memory", "32")
    life.call(vm, VM, "set_db_key", "config.vcpus", "many")
    # Another VM has the disk open, and writes to it.
    other = life.guest()
    life.call(other, VM, "set_db_key", "config.disk.0.path", "/storage/disks/g1.img")
    assert "Nothing keeps" in look(life, other, "start", "--dry-run")
    life.start(other)
    found = look(life, vm, "start", "--dry-run", status=1)
    assert [line.split(":")[0] for line in found.splitlines()] == ["disks", "configuration"], found
    assert "(error 107)" in found and "another program uses it" in found and "config/vcpus" in found, found
    life.call(other, VM, "destroy")
    life.call(vm, VM, "set_db_key", "config.vcpus", "1")
    assert "Nothing keeps" in look(life, vm, "start", "--dry-run")
    life.call(vm, VM, "set_db_key", "config.disk.0.path", "/storage/none")
    assert "Bad Physical Path" in look(life, vm, "start", status=1)
    assert "Bad Physical Path" in look(life, vm, "timeline")


def top(life, *words):
    r = life.stack.run([oxt.program("oxt"), "top", *words])
    assert r.returncode == 0, r.stderr
    return r.stdout


@with_life
def top_numbers(life):
    """oxt top shows rates that are true: a guest that computes has a processor, one that waits has none."""
    busy, idle, stopped = life.guest(bytes.fromhex("ebfe"), name="busy"), life.guest(name="idle"), life.guest(name="none")
    life.start(busy)
    life.start(idle)

    def sample(*words):
        return {v["name"]: v for v in json.loads(top(life, "--json", "-n", "1", "-d", "1", *words)) if v["name"] in ("busy", "idle", "none")}
    # What QEMU does to come up is over at some time.
    oxt.wait_for(lambda: (lambda s: s["busy"]["cpu_percent"] > 3 * s["idle"]["cpu_percent"] + 5)(sample()), 30, "rates of use")
    s = sample()
    assert s["busy"]["state"] == s["idle"]["state"] == "running" and s["none"]["state"] == "stopped"
    assert s["none"]["cpu_percent"] is None and s["busy"]["memory_kib"] > 1024 and s["busy"]["disk_read_rate"] == 0
    assert s["busy"]["net_in_rate"] == 0, "no card, no traffic"

    def rows():
        lines = [line.split() for line in top(life, "-b", "-n", "1", "-d", "1").splitlines()]
        return [words[1] for words in lines if words[1:2] and words[1] in ("busy", "idle", "none")]
    oxt.wait_for(lambda: rows()[0] == "busy" and set(rows()) == {"busy", "idle", "none"}, 20, "the busy one first: %s" % rows())
    by_name = top(life, "-b", "-n", "1", "-d", "1", "-s", "name")
    assert by_name.index("busy") < by_name.index("idle") < by_name.index("none"), by_name


@with_life
def top_screen(life):
    """oxt top in a terminal draws itself again, sorts by a key, and leaves with q."""
    life.start(life.guest(bytes.fromhex("ebfe"), name="alpha"))
    life.guest(name="beta")
    t = Terminal(life, oxt.program("oxt"), "top", "-d", "1")
    t.wait_for(b"alpha")
    t.wait_for(b"beta")
    t.seen = b""
    t.type(b"n")
    t.wait_for(b"beta")
    assert t.seen.index(b"alpha") < t.seen.index(b"beta")
    # Everything has its place in 80 columns; a smaller window cuts, and keeps the heading line and the names.
    t.resize(24, 80, lambda screen: b"beta" in screen and b"OUT/s" in screen)
    t.resize(10, 30, lambda screen: b"beta" in screen and b"NAME" in screen and b"OUT/s" not in screen)
    t.type(b"q")
    assert t.end() == 0


if __name__ == "__main__":
    oxt.main()
