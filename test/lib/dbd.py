# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of dbd share."""
import secrets

import dbus

import oxt

NAME = "com.citrix.xenclient.db"
FAILED = "org.freedesktop.DBus.Error.Failed"
UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "11111111-2222-3333-4444-666666666666"


def marker(uuid, domid):
    """A marker name, as rpc-proxy gives them to the connections of guests."""
    return "org.oxt.conn.d%d.u%s.s0.r%s" % (domid, uuid.replace("-", "_"), secrets.token_hex(16))


class Db:
    """A stack with dbd, and a connection of its own to it."""

    def __init__(self, *args, start=True):
        self.stack = oxt.Stack()
        self.args = args
        self.bus = self.connect()
        if start:
            self.start()
            self.db, self.db1 = self.interfaces(self.bus)

    def start(self):
        self.daemon = self.stack.daemon("dbd", NAME, *self.args)

    def connect(self):
        bus = dbus.bus.BusConnection(self.stack.address)
        return bus

    @staticmethod
    def interfaces(bus):
        o = bus.get_object(NAME, "/", introspect=False)
        return dbus.Interface(o, NAME), dbus.Interface(o, "org.oxt.Db1")

    def guest(self, uuid=UUID, domid=7):
        """A connection that owns a marker name, as those that rpc-proxy makes for guests."""
        bus = self.connect()
        bus.request_name(marker(uuid, domid))
        return self.interfaces(bus)

    def restart(self):
        self.daemon.terminate()
        assert self.daemon.wait(60) == 0
        self.start()
        self.db, self.db1 = self.interfaces(self.bus)

    def tool(self, *command):
        return self.stack.run([oxt.program(command[0]), *command[1:]])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("# " + self.stack.log("dbd").replace("\n", "\n# "))
        self.bus.close()
        self.stack.stop()


def error_of(function, *args):
    try:
        function(*args)
    except dbus.DBusException as e:
        return e.get_dbus_name(), e.get_dbus_message()
    raise AssertionError("there was no error")
