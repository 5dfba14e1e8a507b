# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stack with dbd and xenmgr, and a stock D-Bus client of it."""
import json
import os
import subprocess
import time

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

import oxt

XM = "com.citrix.xenclient.xenmgr"
DB = "com.citrix.xenclient.db"
PROPERTIES = "org.freedesktop.DBus.Properties"
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)


def key_table(*words):
    """The rows of src/schema/vm-keys.c, or with "host" those of host-keys.c, each a dictionary of texts."""
    text = subprocess.run([os.path.join(oxt.BUILD, "src/schema/vm-keys-tsv"), *words], check=True, capture_output=True,
                          text=True).stdout
    names = ("property", "path", "signature", "choices", "effect", "line", "flags")
    return [dict(zip(names, line.split("\t"))) for line in text.splitlines()]


class Host:
    """A stack with dbd and xenmgr, and a stock D-Bus client of it."""

    def __init__(self, *args):
        self.stack = oxt.Stack()
        self.stack.daemon("dbd", DB)
        self.manager = self.stack.daemon("xenmgr", XM, *args)
        self.bus = dbus.bus.BusConnection(self.stack.address)
        self.signals = []
        self.bus.add_signal_receiver(self.on_signal, dbus_interface=XM, member_keyword="member")

    def on_signal(self, *args, member):
        self.signals.append((member, *[str(a) for a in args]))

    def turn(self, seconds=0.0):
        """Takes in signals that have arrived, and those of the next `seconds`."""
        context = GLib.MainContext.default()
        end = time.monotonic() + seconds
        while context.pending() or time.monotonic() < end:
            context.iteration(False)
            time.sleep(0.001)

    def wait_signal(self, *wanted, seconds=5):
        def seen():
            self.turn()
            return [s for s in self.signals if s[:len(wanted)] == wanted]
        return oxt.wait_for(seen, seconds, "the signal %s" % (wanted,))

    def call(self, path, interface, member, *args, bus=None, **kwargs):
        if member == "Set":
            kwargs["signature"] = "ssv"
        return (bus or self.bus).get_object(XM, path, introspect=False).get_dbus_method(member, interface)(*args, **kwargs)

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, "Get", interface, name)

    def set(self, path, interface, name, value, bus=None):
        return self.call(path, PROPERTIES, "Set", interface, name, value, bus=bus)

    def fails(self, *args, **kwargs):
        """The call must fail; gives (short error name, text)."""
        try:
            value = self.call(*args, **kwargs)
        except dbus.DBusException as e:
            return e.get_dbus_name().split(".")[-1], e.get_dbus_message()
        raise AssertionError("%s succeeded: %s" % (args[:4], value))

    def db(self, member, *args):
        return self.bus.get_object(DB, "/", introspect=False).get_dbus_method(member, DB)(*args)

    def create(self, template="new-vm-empty", tree=None):
        return str(self.call("/", XM, "create_vm_with_template_and_json", template, json.dumps(tree) if tree else ""))

    def restart_within(self, script):
        """Starts the manager anew, behind a shell script that mounts what it alone sees."""
        oxt.needs_root()
        if subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True).returncode:
            raise oxt.Skip("nothing can be mounted here")
        self.manager.terminate()
        self.manager.wait()
        self.manager = self.stack.start(["unshare", "--mount", "sh", "-c", "%s && exec %s --no-autostart" % (script, oxt.program("xenmgr"))],
                                        ready=lambda: self.stack.owned(XM))

    def show_log(self):
        print("# " + self.stack.log("xenmgr").replace("\n", "\n# "))

    def stop(self):
        self.bus.close()
        self.manager.terminate()
        status = self.manager.wait(60)
        log = self.stack.log("xenmgr")
        self.stack.stop()
        assert status in (0, -9) and "Sanitizer" not in log and "runtime error" not in log, "%d\n%s" % (status, log)


def pci_devices(host, devices):
    """What a shell mounts so that these, address: {file: text}, are the host's PCI devices."""
    folder = os.path.join(host.stack.root, "pci")
    for address, files in devices.items():
        os.makedirs(os.path.join(folder, address))
        for name, text in files.items():
            with open(os.path.join(folder, address, name), "w") as f:
                f.write(text + "\n")
    return "mount --bind %s /sys/bus/pci/devices" % folder


with_host = oxt.case_with(lambda: Host("--no-autostart"), Host.show_log)


def uuid_of(path):
    return path.split("/")[2].replace("_", "-")
