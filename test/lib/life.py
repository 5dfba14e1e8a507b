# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs on real QEMU whose guests are a boot sector, driven through xenmgr."""
import json
import os
import signal
import subprocess
import time

import dbus

import oxt
from xenmgr import Host, XM, uuid_of

VM = XM + ".vm"
IDLE = bytes.fromhex("fbf4ebfd")                    # sti; again: hlt; jmp again
POWEROFF = bytes.fromhex("ba0406b80020ef") + IDLE   # out 0x604, 0x2000
RESET = bytes.fromhex("b0fee664") + IDLE            # out 0x64, 0xfe
os.environ["XENVM_TIMEOUT_SCALE"] = "0.05"


class Life(Host):
    def disk(self, name, code):
        path = os.path.join(self.stack.state, "storage/disks", name)
        with open(path, "wb") as f:
            f.write(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
        os.chmod(path, 0o666)
        return "/storage/disks/" + name

    def guest(self, code=IDLE, **keys):
        self.guests = getattr(self, "guests", 0) + 1
        tree = {"slot": "-1", "config": {
            "virt-type": "hvm", "memory": "32", "display": "none", "notify": "dbus", "acpi": "true",
            "disk": {"0": {"path": self.disk("g%d.img" % self.guests, code), "type": "file", "mode": "w", "device": "hda",
                           "devtype": "disk"}}}}
        config = keys.pop("config", {})
        tree.update(keys)
        tree["config"].update(config)
        return self.create("", tree)

    def hook(self, command):
        """A program for hooks that runs a line of shell, which writes to $LOG; (its path, a function that gives the lines of the log)."""
        path, log = os.path.join(self.stack.root, "hook"), os.path.join(self.stack.root, "hook.log")
        with open(path, "w") as f:
            f.write("#!/bin/sh\nLOG=%s\n%s\n" % (log, command))
        os.chmod(path, 0o755)
        with open(log, "w"):
            os.chmod(log, 0o666)

        def lines():
            with open(log) as f:
                return f.read().splitlines()
        return path, lines

    def start(self, vm):
        self.call(vm, VM, "start", timeout=60)

    def state(self, vm):
        return str(self.get(vm, VM, "state"))

    def states(self, vm):
        self.turn()
        return [s[3] for s in self.signals if s[:2] == ("vm_state_changed", uuid_of(vm))]

    def words(self, vm):
        self.turn()
        return [s[2].split(":")[-1] for s in self.signals if s[:2] == ("notify", uuid_of(vm))]

    def record(self, vm):
        """What the VM's monitor has written down of it."""
        with open(os.path.join(self.stack.runtime, "vm", uuid_of(vm), "monitor.json")) as f:
            return json.load(f)

    def with_limits(self, scale):
        """A new manager, whose time limits are those of the product times scale."""
        self.stack.env["XENVM_TIMEOUT_SCALE"] = str(scale)
        self.restart_manager()

    def fails_quietly(self, vm, member):
        try:
            self.call(vm, VM, member, timeout=60)
            return None
        except dbus.DBusException as e:
            return e

    def wait_state(self, vm, state, seconds=20):
        oxt.wait_for(lambda: self.state(vm) == state, seconds, state)

    def pids(self, program, vm):
        out = subprocess.run(["pgrep", "-f", "%s.*%s" % (program, uuid_of(vm))], capture_output=True, text=True).stdout
        return [int(p) for p in out.split()]

    def kill(self, program, vm, sig=signal.SIGKILL):
        for pid in self.pids(program, vm):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass  # a child that was about to become another program

    def restart_manager(self):
        self.manager.send_signal(signal.SIGKILL)
        self.manager.wait()
        self.manager = self.stack.daemon("xenmgr", XM, "--no-autostart")

    def end_bus(self):
        """The bus dies, with all that stand on it for a client."""
        self.bus.set_exit_on_disconnect(False)
        self.stack.bus.kill()
        self.stack.bus.wait()

    def new_bus(self):
        self.stack.start_bus()
        oxt.wait_for(lambda: self.stack.owned(XM), 5, "xenmgr on the new bus")
        self.bus = dbus.bus.BusConnection(self.stack.address)
        self.bus.add_signal_receiver(self.on_signal, dbus_interface=XM, member_keyword="member")

    def stop(self):
        for vm in list(self.call("/", XM, "list_vms")) if self.manager.poll() is None else []:
            try:
                self.call(str(vm), VM, "set_db_key", "keep-alive", "false")
                self.call(str(vm), VM, "destroy", timeout=30)
            except dbus.DBusException as e:
                print("# %s" % e)
        end = time.monotonic() + 30
        while subprocess.run(["pgrep", "-f", "xenvm.*" + self.stack.root], capture_output=True).stdout and time.monotonic() < end:
            time.sleep(0.05)
        left = subprocess.run(["pgrep", "-af", "(xenvm|qemu-system).*" + self.stack.root], capture_output=True, text=True).stdout
        for line in left.splitlines():
            os.kill(int(line.split()[0]), signal.SIGKILL)
        super().stop()
        assert not left, "left behind: " + left


class Held:
    """A program that waits for a file, and then becomes another if it is told to."""

    def __init__(self, life, name, then=""):
        self.go, self.begun = (os.path.join(life.stack.root, name + end) for end in (".go", ".begun"))
        self.path = os.path.join(life.stack.root, name)
        os.chmod(life.stack.root, 0o777)
        with open(self.path, "w") as f:
            f.write("#!/bin/sh\n: > %s\nwhile [ ! -e %s ]; do sleep 0.02; done\n%s\n" % (self.begun, self.go, then))
        os.chmod(self.path, 0o755)

    def release(self):
        with open(self.go, "w"):
            pass


class Caller:
    """One call, which is with the manager by now. result: "" or the error's text."""

    def __init__(self, life, vm, member):
        self.life, self.member, self.result = life, member, None
        life.call(vm, VM, member, timeout=90, reply_handler=lambda *_: self.end(""),
                  error_handler=lambda e: self.end(e.get_dbus_message() or e.get_dbus_name()))
        life.call("/", XM, "list_vms")  # taken after what came before it from the same client

    def end(self, result):
        self.result = result

    def wait(self):
        oxt.wait_for(lambda: (self.life.turn(), self.result is not None)[1], 100, "the answer to " + self.member)
        return self.result


with_life = oxt.case_with(lambda: Life("--no-autostart"), Host.show_log)
