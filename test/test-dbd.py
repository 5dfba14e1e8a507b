#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dbd and its tools: the contract's interface, as a stock client sees it (python3-dbus)."""
import json
import os
import secrets

import dbus

import oxt

NAME = "com.citrix.xenclient.db"
FAILED = "org.freedesktop.DBus.Error.Failed"
UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "11111111-2222-3333-4444-666666666666"


class Db:
    """A stack with dbd, and a connection of its own to it."""

    def __init__(self, *args):
        self.stack = oxt.Stack()
        self.args = args
        self.start()
        self.bus = self.connect()
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
        bus.request_name("org.oxt.conn.d%d.u%s.s0.r%s" % (domid, uuid.replace("-", "_"), secrets.token_hex(16)))
        return self.interfaces(bus)

    def restart(self):
        self.daemon.terminate()
        assert self.daemon.wait(10) == 0
        self.start()
        self.db, self.db1 = self.interfaces(self.bus)

    def tool(self, *command):
        return self.stack.run([oxt.program(command[0]), *command[1:]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bus.close()
        self.stack.stop()


def plain(value):
    if isinstance(value, dbus.Boolean):
        return bool(value)
    if isinstance(value, dbus.Array):
        return [plain(v) for v in value]
    return None if value is None else str(value)


def error_of(function, *args):
    try:
        function(*args)
    except dbus.DBusException as e:
        return e.get_dbus_name(), e.get_dbus_message()
    raise AssertionError("there was no error")


@oxt.case
def vectors():
    """The contract's test vectors, before and after a restart."""
    with open(os.path.join(oxt.SOURCE, "test/data/dbd/vectors.json")) as f:
        cases = json.load(f)
    with Db() as d:
        for c in cases:
            d.db.inject("/", "{}")
            for method, *args, wanted in c["steps"]:
                where = "%s: %s %s" % (c["name"], method, args)
                if isinstance(wanted, dict):
                    assert error_of(getattr(d.db, method), *args) == (wanted["error"], wanted["text"]), where
                else:
                    got = plain(getattr(d.db, method)(*args))
                    assert got == wanted, "%s: %r" % (where, got)
            before = d.db.dump("/")
            d.restart()
            assert d.db.dump("/") == before, c["name"]


@oxt.case
def errors():
    """Wrong arguments, members, interfaces and paths have the contract's errors."""
    with Db() as d:
        def call(path, interface, member, signature="", *args):
            return d.bus.call_blocking(NAME, path, interface, member, signature, args)
        bad = ("org.freedesktop.DBus.Error.InvalidSignature", "invalid arguments")
        unknown = ("org.freedesktop.DBus.Error.UnknownMethod", "no such method")
        assert error_of(call, "/", NAME, "read") == bad
        assert error_of(call, "/", NAME, "read", "u", 5) == bad
        assert error_of(call, "/", NAME, "write", "s", "/a") == bad
        assert error_of(call, "/", NAME, "nothing") == unknown
        assert error_of(call, "/", "com.example.X", "read", "s", "/a") == unknown
        assert error_of(call, "/", None, "read", "s", "/a") == unknown
        assert error_of(call, "/other", NAME, "read", "s", "/a")[0] == "org.freedesktop.DBus.Error.UnknownObject"
        xml = call("/", "org.freedesktop.DBus.Introspectable", "Introspect")
        for member in "read read_binary write dump inject list rm exists".split():
            assert '<method name="%s">' % member in xml, member
        call("/", "org.freedesktop.DBus.Peer", "Ping")


@oxt.case
def default_database():
    """A new database has the default keys, version 42 among them."""
    with Db() as d:
        assert d.db.read("/db-version") == "42"
        assert d.db.read("/xenmgr/showMsgOnVmStart") == "true"
        assert d.db.read("/usb-rules/9901/device/mouse") == "1"


@oxt.case
def guest_view():
    """A guest sees and changes its own dom-store alone."""
    with Db() as d:
        guest, guest1 = d.guest()
        other, _ = d.guest(OTHER, 8)
        d.db.write("/vm/%s/name" % UUID, "secret")
        guest.write("/a/b", "mine")
        assert d.db.read("/dom-store/%s/a/b" % UUID) == "mine"
        assert guest.read("a/b") == "mine" and list(guest.list("/")) == ["a"]
        assert other.read("/a/b") == "" and not other.exists("/a")
        for path in ["/vm/%s/name" % UUID, "../../vm/%s/name" % UUID, "/../%s/a/b" % UUID, "//../../db-version",
                     "/dom-store/%s/a/b" % OTHER, OTHER + "/a"]:
            assert guest.read(path) == "" and not guest.exists(path), path
            other.write(path, "x")
            assert d.db.read("/vm/%s/name" % UUID) == "secret" and guest.read("/a/b") == "mine", path
        other.rm("/")
        assert not d.db.exists("/dom-store/" + OTHER) and guest.read("/a/b") == "mine"
        assert guest.dump("/") == '{\n  "a": {\n    "b": "mine"\n  }\n}\n'
        revision, text = guest1.Snapshot("/")
        assert json.loads(text) == {"a": {"b": "mine"}}
        guest.inject("/", '{"n":1}')
        assert d.db.dump("/dom-store/" + UUID) == '{\n  "n": 1\n}\n'


@oxt.case
def transactions():
    """A transaction is applied wholly or not at all, and its failure names the operation."""
    with Db() as d:
        d.db.inject("/", "{}")
        first = d.db1.Transact([("write", "/a", "1"), ("write", "/b/c", "2"), ("inject", "/d", '{"e":5}')])
        assert d.db.dump("/") == '{\n  "a": "1",\n  "b": {\n    "c": "2"\n  },\n  "d": {\n    "e": 5\n  }\n}\n'
        second = d.db1.Transact([("equals", "/a", "1"), ("exists", "/b", ""), ("absent", "/x", ""), ("rm", "/a", ""),
                                 ("absent", "/a", ""), ("equals", "/d/e", "5"), ("equals-json", "/d", '{\n  "e": 5\n}')])
        assert second > first and not d.db.exists("/a")
        before = d.db.dump("/")
        for operations, where in [
                ([("write", "/n", "1"), ("equals", "/b/c", "3")], "1: "),
                ([("rm", "/b", ""), ("write", "/b", "new"), ("exists", "/gone", "")], "2: "),
                ([("absent", "/d", ""), ("write", "/n", "1")], "0: "),
                ([("write", "/n/m", "1"), ("inject", "/o", "{")], "1: "),
                ([("write", "/n", "1"), ("equals-json", "/d", "{ }")], "1: "),
                ([("jump", "/n", "1")], "0: ")]:
            name, text = error_of(d.db1.Transact, operations)
            assert name == "org.oxt.Db1.Error.Failed" and text.startswith(where), (operations, text)
            assert d.db.dump("/") == before
        assert d.db1.Transact([("write", "/b/c", "3"), ("write", "/b/c", "4")]) == second + 1
        assert d.db.read("/b/c") == "4"


@oxt.case
def tools():
    """The command line tools print and exit as the contract has it."""
    with Db() as d:
        d.db.inject("/", '{"a":{"b":"1","c":{"d":"x \\"y\\" z"}},"e":"","n":5,"z":null}')

        def check(command, out, status=0, err=None):
            r = d.tool(*command)
            assert r.returncode == status and r.stdout == out, (command, r)
            assert err is None or err in r.stderr, (command, r)
        for pair in [("db-read",), ("db-cmd", "read")]:
            check([*pair, "/a/b"], "1\n")
            check([*pair, "/nothing"], "\n")
        check(["db-cmd", "write", "/w/v", "two words"], "")
        check(["db-read", "/w/v"], "two words\n")
        check(["db-write", "/w/v", "-5"], "")
        check(["db-read", "/w/v"], "-5\n")
        for path in ["/", "", "//", "/vm", "vm/"]:
            check(["db-write", path, "x"], "", 1, "Nope, not doing that.\n")
        check(["db-exists", "/a"], "true\n")
        check(["db-exists", "/b"], "false\n")
        check(["db-rm", "/w"], "")
        check(["db-exists", "/w"], "false\n")
        check(["db-cmd", "rm", "/"], "bad path\n")
        check(["db-nodes", "/a"], "b c\n")
        check(["db-nodes", "/e"], "\n")
        check(["db-ls", "/a"], 'a =\n b = "1"\n c =\n  d = "x "y" z"\n')
        check(["db-ls", "-f", "/a"], '/a =\n/a/b = "1"\n/a/c =\n/a/c/d = "x "y" z"\n')
        check(["db-cmd", "ls", "-f", "/a/c"], '/a/c =\n/a/c/d = "x "y" z"\n')
        check(["db-ls", "/e"], 'e = ""\n')
        check(["db-ls", "/missing"], 'missing = ""\n')
        check(["db-ls"], ' =\n a =\n  b = "1"\n  c =\n   d = "x "y" z"\n e = ""\n n = "5"\n z = ""\n')
        check(["db-ls", "-r", "/"], '/ =\n/a =\n/a/b = "1"\n/a/c =\n/a/c/d = "x \\"y\\" z"\n/e = ""\n/n = 5\n/z = null\n')
        check(["db-ls", "-r", "/missing"], "", 1)
        check(["db-read", "--json", "/a"], '{\n  "b": "1",\n  "c": {\n    "d": "x \\"y\\" z"\n  }\n}\n')
        check(["db-read", "--json", "/n"], "5\n")
        check(["db-read", "--json", "/missing"], "", 1)
        check(["db-cmd", "cat", "/a"], "", 2, "not a binary node")
        check(["db-cmd"], "Usage: db-cmd <cmd> <parameters>\n", 1)
        check(["db-cmd", "frob", "/a"], "Usage: db-cmd <cmd> <parameters>\n", 1)
        check(["db-cmd", "read"], "Usage: db-cmd <cmd> <parameters>\n", 1)
        check(["db-read"], "\n")
        d.stack.env["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
        for command in ["read", "/a"], ["frob"], []:
            r = d.tool("db-cmd", *command)
            assert r.returncode == 2 and r.stdout == "" and r.stderr, r


oxt.main()
