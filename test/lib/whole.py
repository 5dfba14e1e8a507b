# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole stack as `oxt up` makes it, with VMs of Linux (data/guest-image) that run a script of the test's."""
import base64
import json
import os
import shutil
import signal
import subprocess

import dbus

import oxt

XENMGR = "com.citrix.xenclient.xenmgr"
VM = "com.citrix.xenclient.xenmgr.vm"


def image(name="guest-image", programs=(), modules=""):
    """The folder with vmlinux and initrd; made when the programs in it have changed."""
    folder = os.path.join(oxt.BUILD, name)
    r = subprocess.run(["sh", os.path.join(oxt.SOURCE, "data/guest-image/build"), folder,
                        oxt.program("oxt-guest"), oxt.program("xec"), *map(oxt.program, programs)],
                       env=dict(os.environ, OXT_GUEST_MODULES=modules), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    assert r.returncode == 0, r.stdout
    return folder


class WholeStack(oxt.Stack):
    def __init__(self):
        super().__init__(bus=False)
        folder = os.path.join(self.state, "storage/guest")
        os.makedirs(folder)
        for name in ("vmlinux", "initrd"):
            shutil.copy(os.path.join(image(), name), folder)
        self.up()

    def up(self):
        r = self.run([oxt.program("oxt"), "up"])
        assert r.returncode == 0, r.stdout + r.stderr

    def status(self):
        return json.loads(self.run([oxt.program("oxt"), "status", "--json"], 20).stdout)

    def connect(self):
        return dbus.bus.BusConnection(self.address)

    def log_of(self, daemon):
        with open(os.path.join(self.state, "log", daemon + ".log"), errors="replace") as f:
            return f.read()

    def stop(self):
        r = self.run([oxt.program("oxt"), "down", "--timeout", "5"])
        super().stop()
        assert r.returncode == 0, r.stdout + r.stderr


class LinuxVm:
    """A VM from the template oxt-demo, made by a D-Bus client that knows nothing of oxt."""

    def __init__(self, stack, name, script, agent=""):
        """agent: options for oxt-guest, with commas for blanks."""
        self.stack = stack
        self.name = name
        bus = stack.connect()
        manager = dbus.Interface(bus.get_object(XENMGR, "/"), XENMGR)
        self.path = str(manager.create_vm_with_template("oxt-demo"))
        self.object = bus.get_object(XENMGR, self.path)
        self.uuid = str(self.get("uuid"))
        self.folder = os.path.join(stack.runtime, "vm", self.uuid)
        encoded = base64.b64encode(script.encode()).decode()
        line = "console=ttyS0 quiet oxt.agent=%s oxt.run=%s" % (agent, encoded)
        assert len(line) < 2048, "the kernel takes no more"
        for key, value in (("name", name), ("serial", "file:%s/console.log" % self.folder),
                           ("cmd-line", line)):
            self.object.Set(VM, key, value, dbus_interface=dbus.PROPERTIES_IFACE)

    def get(self, name):
        return self.object.Get(VM, name, dbus_interface=dbus.PROPERTIES_IFACE)

    def start(self):
        dbus.Interface(self.object, VM).start(timeout=60)

    def console(self):
        """The marked lines of the guest's console so far."""
        try:
            with open(os.path.join(self.folder, "console.log"), errors="replace") as f:
                lines = f.read().replace("\r", "").split("\n")[:-1]  # the last may still be written
        except FileNotFoundError:
            return []
        return [line[5:] for line in lines if line.startswith("oxt: ")]

    def wait_for(self, text, seconds):
        """Waits for a line that begins with text and returns it."""
        try:
            return oxt.wait_for(lambda: next((line for line in self.console() if line.startswith(text)), None),
                                seconds, "'%s' on the guest's console" % text)
        except AssertionError as e:
            raise AssertionError("%s\nconsole: %s\nrpc-proxy: %s" % (
                e, "\n".join(self.console()[-20:]), self.stack.log_of("rpc-proxy")[-2000:])) from e

    def monitor(self):
        with open(os.path.join(self.folder, "monitor.json")) as f:
            return json.load(f)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
