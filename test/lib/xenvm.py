# SPDX-License-Identifier: LGPL-2.1-or-later
"""Monitors of small VMs: guests are boot sectors that need no operating system (contract, test guests)."""
import json
import os
import signal
import socket
import subprocess
import time
import uuid

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

import oxt
from processes import alive

OUT = {"poweroff": (0x604, 0x2000, 2), "s3": (0x604, 0x2400, 2), "s4": (0x604, 0x2800, 2),
       "reset": (0x64, 0xfe, 1), "panic": (0x505, 1, 1)}
# Programs of 16-bit code. `loop` writes an A to the serial port and then only waits.
SERIAL_A = bytes([0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee])
WAIT = bytes([0xfb, 0xf4, 0xeb, 0xfc])
# again: waits for a byte on the serial port and sends it back
ECHO = bytes.fromhex("bafd03eca80174f8baf803eceeebf1")
# Lets go of the PCI device in the slot whose number comes on the serial port (by the registers of ACPI hot-plug), again and again.
EJECT = bytes.fromhex("bafd03eca80174f8baf803ec" "88c1" "6631c0ba10ae66ef" "66b80100000066d3e0" "ba08ae66ef" "ebda")
# Letters A to Z in turn, one with each tick of the timer (18 a second).
COUNT = bytes([0xb0, 0x41, 0xba, 0xf8, 0x03, 0xee, 0xfb, 0xf4, 0xfe, 0xc0, 0x3c, 0x5b, 0x75, 0xf4, 0xb0, 0x41, 0xeb, 0xf0])


def out(port, value, size):
    code = bytes([0xba]) + port.to_bytes(2, "little")
    return code + (bytes([0xb8]) + value.to_bytes(2, "little") + b"\xef" if size == 2 else bytes([0xb0, value]) + b"\xee")


def ticks(n):
    """Waits for n ticks of the timer."""
    return bytes([0xb9]) + n.to_bytes(2, "little") + bytes([0xfb, 0xf4, 0xe2, 0xfd])


def sector(kind, after=0):
    if kind == "loop":
        code = SERIAL_A + WAIT
    elif kind in ("count", "echo", "eject"):
        code = {"count": COUNT, "echo": ECHO, "eject": EJECT}[kind]
    elif kind == "listens":  # switches the ACPI power button on (PM1_EN)
        code = out(0x602, 0x120, 2) + SERIAL_A + WAIT
    elif kind == "clock":  # sets the hour of the CMOS clock to 1
        code = bytes([0xb0, 0x04, 0xe6, 0x70, 0xb0, 0x01, 0xe6, 0x71]) + WAIT
    else:
        code = SERIAL_A + (ticks(after) if after else b"") + out(*OUT[kind]) + WAIT
    return code.ljust(510, b"\0") + b"\x55\xaa"


def places(m):
    """Where each device is on the bus that the guest sees."""
    buses, = m.ask_qemu("query-pci")
    return {d["qdev_id"]: d["slot"] for d in buses[0]["devices"] if d["qdev_id"]}


class Machine:
    """One VM of a stack, with its config, its monitor, and what the monitor has said."""
    number = 0

    def __init__(self, stack, kind="loop", after=0, **keys):
        Machine.number += 1
        self.stack = stack
        self.uuid = str(uuid.uuid4())  # other tests may run on this host: control groups go by it
        self.element = self.uuid.replace("-", "_")
        self.name = "org.xen.vm.uuid_" + self.element
        self.image = os.path.join(stack.root, "disk-%d.img" % Machine.number)
        self.serial = os.path.join(stack.root, "serial-%d" % Machine.number)
        with open(self.image, "wb") as f:
            f.write(sector(kind, after))
        self.config = os.path.join(stack.root, "vm-%d.conf" % Machine.number)
        self.keys = dict(uuid=self.uuid, name="test%d" % Machine.number, hvm="true", memory="32", acpi="true",
                         apic="true", pae="true", nx="true", disk=[self.image + ":file:hda:w:disk"], display="none",
                         serial="file:" + self.serial, notify="dbus", startup="shutdown", accel="tcg")
        self.write(**keys)
        self.dir = os.path.join(stack.runtime, "vm", self.uuid)
        self.served_by = 0

    def write(self, **keys):
        self.keys.update(keys)
        with open(self.config, "w") as f:
            for key, value in self.keys.items():
                for v in value if isinstance(value, list) else [value]:
                    f.write("%s = %s\n" % (key, v))

    def monitor(self, *args, status=0, wait=True):
        """Starts a monitor, which goes into the background."""
        r = self.stack.run([oxt.program("xenvm"), "--config", self.config, *args])
        assert r.returncode == status, (r.returncode, r.stderr)
        if status == 0 and wait:
            oxt.wait_for(lambda: self.stack.owned(self.name), 10, "the monitor")
            self.served_by = self.pid("monitor")
        return r

    def wait_gone(self):
        """Until the monitor has ended: it has its lock a moment longer than its name."""
        oxt.wait_for(lambda: not self.stack.owned(self.name) and not alive(self.served_by), what="the monitor's end")

    def cmd(self, *words, status=0, options=(), seconds=60):
        r = self.stack.run([oxt.program("xenvm-cmd"), *options, self.uuid, *words], seconds)
        assert r.returncode == status, (words, r.returncode, r.stdout, r.stderr)
        return r.stdout.rstrip("\n") if status == 0 else r.stderr.strip()

    def fails(self, *words, **kwargs):
        return self.cmd(*words, status=1, **kwargs)

    def begin(self, *words):
        """A command that is not waited for."""
        return subprocess.Popen([oxt.program("xenvm-cmd"), self.uuid, *words], env=self.stack.env, stderr=subprocess.PIPE, text=True)

    def status(self):
        return self.cmd("get-status")

    def wait_status(self, wanted, seconds=15):
        oxt.wait_for(lambda: self.status() == wanted, seconds, "state %s (it is %s)" % (wanted, self.status()))

    def record(self):
        try:
            with open(os.path.join(self.dir, "monitor.json")) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def pid(self, who="vm"):
        return self.record().get(who, {}).get("pid", 0)

    def kill_monitor(self):
        pid = self.pid("monitor")
        os.kill(pid, signal.SIGKILL)
        oxt.wait_for(lambda: not alive(pid), 5, "the monitor's end")

    def ask_qemu(self, *commands):
        """What QEMU itself answers. Its one connection for commands is the monitor's, which is ended for it and then starts anew."""
        self.kill_monitor()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(os.path.join(self.dir, "qmp.sock"))
            answers = []
            with s.makefile("rw") as f:
                f.readline()
                for command in ("qmp_capabilities", *commands):
                    f.write(json.dumps({"execute": command} if isinstance(command, str) else command) + "\n")
                    f.flush()
                    answer = {}
                    while "return" not in answer:
                        answer = json.loads(f.readline())
                        assert "error" not in answer, answer
                    answers.append(answer["return"])
        self.monitor()
        return answers[1:]

    def output(self):
        try:
            with open(self.serial) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log(self):
        with open(os.path.join(self.stack.state, "vm-log", self.uuid + ".log")) as f:
            return f.read()


def done(m):
    """Ends the VM and its monitor."""
    m.cmd("destroy")
    m.cmd("quit")
    m.wait_gone()


class Watcher:
    """Collects the notifications of all monitors, as text lines `uuid code message`."""

    def __init__(self, stack):
        self.stack = stack
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        self.bus = dbus.bus.BusConnection(stack.address)
        self.seen = []
        self.bus.add_signal_receiver(lambda *a: self.seen.append((str(a[0]), int(a[1]), str(a[2]))), "notify",
                                     "xenvm.signal.notify")
        self.context = GLib.MainLoop().get_context()

    def pump(self):
        # A state is told before the command that led to it is answered: what was sent is at the bus by now,
        # and here before the bus answers this.
        self.bus.get_name_owner("org.freedesktop.DBus")
        while self.context.iteration(False):
            pass

    def messages(self, machine):
        self.pump()
        return [m for u, c, m in self.seen if u == machine.uuid]

    def states(self, machine):
        return [m[len("vm:state:"):] for m in self.messages(machine) if m.startswith("vm:state:")]

    def wait(self, machine, message, seconds=15):
        try:
            oxt.wait_for(lambda: message in self.messages(machine), seconds, "the notification %s" % message)
        except AssertionError as e:
            raise AssertionError("%s; seen: %s; log:\n%s" % (e, self.messages(machine), machine.log()[-4000:])) from None

    def clear(self):
        self.pump()
        self.seen = []


class Monitors(oxt.Stack):
    """A stack whose monitors and VMs are all ended at the end."""

    def machine(self, *args, **keys):
        """A Machine whose monitor runs."""
        m = Machine(self, *args, **keys)
        m.monitor()
        return m

    def stop(self):
        base = os.path.join(self.runtime, "vm")
        for uuid in os.listdir(base) if os.path.isdir(base) else []:
            try:
                with open(os.path.join(base, uuid, "monitor.json")) as f:
                    record = json.load(f)
            except (FileNotFoundError, ValueError):
                continue
            for who in ("monitor", "vm"):
                if record.get(who, {}).get("pid"):
                    try:
                        os.kill(record[who]["pid"], signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            for helper in record.get("details", {}).get("helpers", []):
                try:
                    os.kill(helper["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.05)
        super().stop()
