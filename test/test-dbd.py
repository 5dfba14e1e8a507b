#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dbd and its tools: the contract's interface, as a stock client sees it (python3-dbus)."""
import difflib
import json
import os
import random
import select
import sqlite3
import subprocess
import time
from unittest.mock import patch

import dbus

import oxt
from dbd import Db, FAILED, NAME, OTHER, UUID, error_of, marker

def plain(value):
    if isinstance(value, dbus.Boolean):
        return bool(value)
    if isinstance(value, dbus.Array):
        return [plain(v) for v in value]
    return None if value is None else str(value)


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
def proxy_without_marker():
    """A connection of the proxy's user that names no VM is refused; with a marker it is that VM's."""
    if os.getuid() != 0:
        print("# only root can be the proxy's user")
        return
    with Db() as d:
        d.db.write("/dom-store/%s/k" % UUID, "mine")
        call = ["busctl", "--address=" + d.stack.address, "call", NAME, "/", NAME, "read", "s", "/db-version"]
        assert d.stack.run(call, user="nobody").stdout == 's "42"\n'
        r = d.stack.run(call, user="oxt-proxy")
        assert r.returncode != 0 and "Access denied" in r.stderr, r
        r = d.stack.run([oxt.program("db-cmd"), "exists", "/"], user="oxt-proxy")
        assert r.returncode == 2 and "AccessDenied" in r.stderr, r
        r = d.stack.run(["/usr/bin/python3", "-c", "import dbus, sys\nb = dbus.bus.BusConnection(sys.argv[1])\n"
                         "b.request_name(sys.argv[2])\nprint(b.call_blocking(sys.argv[3], '/', sys.argv[3], 'read', 's', ('/k',)))",
                         d.stack.address, marker(UUID, 3), NAME], user="oxt-proxy")
        assert r.stdout == "mine\n", r


@oxt.case
def transactions():
    """A transaction is applied wholly or not at all, and its failure names the operation."""
    with Db() as d:
        d.db.inject("/", "{}")
        first = d.db1.Transact([("write", "/a", "1"), ("write", "/b/c", "2"), ("inject", "/d", '{"e":5}')])
        assert d.db.dump("/") == '{\n  "a": "1",\n  "b": {\n    "c": "2"\n  },\n  "d": {\n    "e": 5\n  }\n}\n'
        second = d.db1.Transact([("equals", "/a", "1"), ("exists", "/b", ""), ("absent", "/x", ""), ("rm", "/a", ""),
                                 ("absent", "/a", ""), ("equals", "/d/e", "5"), ("equals-json", "/d", '{\n  "e": 5\n}'),
                                 ("within", "/b", "2 3"), ("within", "/none", "0 0"), ("within", "/d", "")])
        assert second > first and not d.db.exists("/a")
        before = d.db.dump("/")
        for operations, where in [
                ([("write", "/n", "1"), ("equals", "/b/c", "3")], "1: "),
                ([("rm", "/b", ""), ("write", "/b", "new"), ("exists", "/gone", "")], "2: "),
                ([("absent", "/d", ""), ("write", "/n", "1")], "0: "),
                ([("write", "/n/m", "1"), ("inject", "/o", "{")], "1: "),
                ([("write", "/n", "1"), ("equals-json", "/d", "{ }")], "1: "),
                ([("within", "/d", "2 100"), ("write", "/d/f", "1"), ("within", "/d", "2 100")], "2: At most 2 nodes"),
                ([("write", "/d/e", "x" * 100), ("within", "/d", "2 100")], "1: At most 2 nodes with 100 bytes"),
                ([("within", "/d", "many")], "0: "),
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


@oxt.case
def upgrade():
    """upgrade-db accepts the current schema version alone, and no running dbd."""
    with Db() as d:
        r = d.tool("upgrade-db")
        assert r.returncode == 1 and "running" in r.stdout, r
        d.daemon.terminate()
        d.daemon.wait(60)
        r = d.tool("upgrade-db")
        assert r.returncode == 0 and "nothing to do" in r.stdout, r
        for value in ['"41"', '"43"', 'null', '42']:
            d.start()
            db, _ = d.interfaces(d.bus)
            db.inject("/db-version", value)
            d.daemon.terminate()
            d.daemon.wait(60)
            r = d.tool("upgrade-db")
            assert r.returncode == 1 and "only schema version 42" in r.stdout, r
        os.rename(d.stack.state + "/db", d.stack.state + "/away")
        r = d.tool("upgrade-db")
        assert r.returncode == 0 and "no database yet" in r.stdout, r


@oxt.case
def limits():
    """A guest that goes over a limit is told which, and nobody else notices."""
    values = dict(value="1000", path="100", depth="8", nodes="50", bytes="5000", operations="5", watches="3")
    with patch.dict(os.environ, {"OXT_DB_GUEST_" + name.upper(): value for name, value in values.items()}):
        d = Db()
    with d:
        guest, guest1 = d.guest()
        other, _ = d.guest(OTHER, 8)

        def refused(function, *args, limit):
            name, text = error_of(function, *args)
            assert name == "org.freedesktop.DBus.Error.LimitsExceeded" and "db.guest-" + limit in text, (name, text)
        guest.write("/v", "x" * 1000)
        refused(guest.write, "/v", "x" * 1001, limit="value")
        refused(guest1.Transact, [("write", "/v", "x" * 1001)], limit="value")
        refused(guest.write, "/" + "p" * 100, "1", limit="path")
        refused(guest.read, "/" + "p" * 100, limit="path")
        guest.write("/1/2/3/4/5/6/7/8", "1")
        refused(guest.write, "/1/2/3/4/5/6/7/8/9", "1", limit="depth")
        assert error_of(guest.inject, "/1/2/3/4/5", '{"6":{"7":{"8":{"9":1}}}}')[0] == FAILED
        for i in range(5):
            guest.write("/b%d" % i, "y" * 700)
        refused(guest.write, "/b5", "y" * 900, limit="bytes")
        assert not guest.exists("/b5")
        guest.rm("/b0")
        guest.write("/b5", "y" * 700)
        for i in range(33):
            guest.write("/n/%d" % i, "1")
        refused(guest.write, "/n/x/y/z", "1", limit="nodes")
        refused(guest.inject, "/n/x", '{"a":1,"b":2,"c":3}', limit="nodes")
        refused(guest1.Transact, [("write", "/n/a%d" % i, "1") for i in range(5)], limit="nodes")
        assert len(guest.list("/n")) == 33
        guest1.Transact([("rm", "/n", "")] + [("write", "/n/a%d" % i, "1") for i in range(4)])
        refused(guest1.Transact, [("exists", "/n", "")] * 6, limit="operations")
        for i in range(3):
            last = guest1.Watch("/", dbus.UInt64(0))[0]
        refused(guest1.Watch, "/", dbus.UInt64(0), limit="watches")
        guest1.Unwatch(last)
        guest1.Watch("/", dbus.UInt64(0))
        # Others have their own, and the host has none.
        other.write("/v", "x" * 1000)
        d.db.write("/dom-store/%s/big" % UUID, "z" * 10000)
        assert len(guest.read("/big")) == 10000
        refused(guest.write, "/v2", "1", limit="bytes")
        guest.rm("/big")
        guest.write("/v2", "1")
    with patch.dict(os.environ, OXT_DB_GUEST_RATE="20"):
        d = Db()
    with d:
        guest, _ = d.guest()
        for i in range(40):
            guest.exists("/")
        refused(lambda: [guest.exists("/") for i in range(10)], limit="rate")
        # Long answers count for more.
        other, _ = d.guest(OTHER, 8)
        d.db.write("/dom-store/%s/long" % OTHER, "x" * 40000)
        refused(lambda: [other.read("/long") for i in range(10)], limit="rate")
        for i in range(100):
            d.db.exists("/")


class Lines:
    """A program that runs beside the test, line by line."""

    def __init__(self, stack, *command):
        self.process = subprocess.Popen([oxt.program(command[0]), *command[1:]], env=stack.env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        stack.processes.append(self.process)
        self.buffer = ""

    def line(self, seconds=60):
        while "\n" not in self.buffer:
            assert select.select([self.process.stdout], [], [], seconds)[0], "there was no line"
            data = os.read(self.process.stdout.fileno(), 65536).decode()
            assert data, "the program ended"
            self.buffer += data
        line, self.buffer = self.buffer.split("\n", 1)
        return line

    def quiet(self, seconds=0.3):
        assert not self.buffer and not select.select([self.process.stdout], [], [], seconds)[0], self.line()

    def send(self, text):
        self.process.stdin.write(text + "\n")

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()


@oxt.case
def watches():
    """db-watch is told of each change below its path once, in order, and of nothing else."""
    with Db() as d:
        d.db.inject("/", '{"w":{"a":"1"},"o":"x"}')
        w = Lines(d.stack, "db-watch", "-r", "/w")
        assert "from revision" in w.process.stderr.readline()
        base = int(d.db1.Snapshot("/")[0])
        d.db.write("/w/a", "2")
        assert w.line() == '%d write /w/a = "2"' % (base + 1)
        d.db.write("/o", "y")
        d.db.write("/w/a", "2")  # the same value: no change
        d.db.write("/w", "nothing")  # an inner node: no change
        w.quiet()
        d.db1.Transact([("write", "/w/b/c", "x\ny"), ("rm", "/w/a", ""), ("inject", "/w/d", '{"e":[1],"f":{}}')])
        lines = [w.line() for _ in range(3)]
        assert lines == [
            '%d write /w/b/c = "x\\ny"' % (base + 3), "%d rm /w/a" % (base + 3),
            '%d inject /w/d = { "e": [ 1 ], "f": { } }' % (base + 3)], lines
        d.db.rm("/")
        assert w.line() == "%d rm /w" % (base + 4)
        d.db.inject("/", '{"w":{"n":1}}')
        assert w.line() == '%d inject /w = { "n": 1 }' % (base + 5)
        # A guest's watch has the guest's paths, and only the guest hears of it.
        guest, _ = d.guest()
        probe = Lines(d.stack, "oxt-mirror-probe", "/k", marker(UUID, 9))
        assert probe.line() == "loaded"
        guest.write("/k/v", "5")
        d.db.write("/dom-store/%s/k/v" % UUID, "6")
        d.db.write("/dom-store/%s/other" % UUID, "6")
        d.db.write("/dom-store/%s/k/v" % OTHER, "7")
        assert [probe.line(), probe.line()] == ["write /k/v", "write /k/v"]
        probe.quiet()
        probe.send("print")
        assert [probe.line() for _ in range(3)] == ["/k =", '/k/v = "6"', "."]
        d.db.rm("/dom-store")
        assert probe.line() == "rm /k"
        probe.stop()
        w.quiet()
        # Who comes back is told whether anything was missed.
        revision = d.db1.Snapshot("/")[0]
        assert not d.db1.Watch("/w", revision)[2]
        d.db.write("/o", "z")
        assert not d.db1.Watch("/w", revision)[2] and d.db1.Watch("/o", revision)[2]
        d.restart()
        assert w.process.stderr.readline().strip().endswith("from revision %d" % (revision + 1))
        w.quiet()
        assert not d.db1.Watch("/w", revision)[2] and d.db1.Watch("/o", revision)[2]
        w.stop()


@oxt.case
def mirrors():
    """A daemon's mirror of a subtree stays equal to it, over restarts of dbd too."""
    rng = random.Random(5)
    with Db() as d:
        d.db.inject("/", "{}")
        probe = Lines(d.stack, "oxt-mirror-probe", "/m")
        assert probe.line() == "loaded"

        def copy():
            probe.send("print")
            lines = []
            while True:
                line = probe.line()
                if line == ".":
                    return lines
                if line.startswith("/m ") or line.startswith("/m/"):
                    lines.append(line)

        def same():
            want = d.tool("db-ls", "-f", "/m").stdout.splitlines() if d.db.exists("/m") else []
            # What the probe is asked for may be there before what the bus brings it.
            oxt.wait_for(lambda: copy() == want, what=lambda: "\n".join(difflib.unified_diff(want, copy(), lineterm="")))

        def path():
            return "/" + "/".join(["m"] * (rng.random() < 0.97) + [rng.choice("abc") for _ in range(rng.randrange(4))])
        for i in range(300):
            operations = []
            for _ in range(rng.choice([1, 1, 1, 4])):
                kind = rng.choice(["write", "write", "write", "rm", "inject"])
                value = "" if kind == "rm" else "v%d" % i if kind == "write" else json.dumps(rng.choice(
                    [{}, None, "t", 5, 1.5, True, [1, 2], {"a": {"b": "x"}, "c": None}, {"b": {"a": {"c": 7}}}]))
                operations.append((kind, path(), value))
            if any(o[1] == "/" for o in operations):
                continue
            d.db1.Transact(operations)
            if i % 10 == 0:
                same()
        same()
        d.restart()
        while probe.line() != "lost":
            pass
        d.db.write("/m/after", "1")
        oxt.wait_for(lambda: '/m/after = "1"' in copy(), what="the mirror")
        same()
        probe.send("write /m/mine 5")
        lines = [probe.line(), probe.line()]
        assert lines == ["write /m/mine", "committed "], lines
        assert d.db.read("/m/mine") == "5"
        probe.stop()


def write_file(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())


def files_below(folder):
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb") as f:
                found[os.path.relpath(os.path.join(where, name), folder)] = f.read()
    return found


VM_FILE = '{\n  "uuid": "%s",\n  "name": "work \u00e4",\n  "config": {\n    "disk": { },\n    "n": 5,\n    "f": 1.500000,\n' \
          '    "list": [\n      1,\n      "a\\/b"\n    ],\n    "none": null\n  }\n}\n' % UUID


def make_files(folder):
    """OpenXT's files in the documented form, so that they must come back byte for byte."""
    write_file(folder + "/db", '{\n  "db-version": "42",\n  "xenmgr": {\n    "showMsgOnVmStart": true\n  }\n}\n')
    write_file(folder + "/vms/%s.db" % UUID, VM_FILE)
    write_file(folder + "/vms/%s.db" % OTHER, '"a leaf"\n')
    write_file(folder + "/dom-store/%s.db" % UUID, '{\n  "k": "v",\n  "logo.png": null,\n  "sub": {\n    "x.bin": null\n  }\n}\n')
    write_file(folder + "/dom-store/%s/logo.png" % UUID, bytes(range(256)))
    write_file(folder + "/dom-store/%s/sub/x.bin" % UUID, b"\0\1")


@oxt.case
def import_export():
    """OpenXT's files come in and go out again byte for byte; binary nodes keep working."""
    with Db() as d:
        folder, out = d.stack.root + "/config", d.stack.root + "/out"
        make_files(folder)
        before = files_below(folder)
        d.db.write("/gone", "1")
        revision = int(d.db1.Snapshot("/")[0])
        r = d.tool("oxt", "db", "import", folder)
        assert r.returncode == 0 and not r.stderr, r
        assert files_below(folder) == before
        assert not d.db.exists("/gone") and d.db.read("/vm/%s/name" % UUID) == "work ä"
        assert int(d.db1.Snapshot("/")[0]) == revision + 1
        logo = "/dom-store/%s/logo.png" % UUID
        assert bytes(d.db.read_binary(logo)) == bytes(range(256))
        assert d.db.read(logo) == "file:/config" + logo
        assert error_of(d.db.write, logo, "x") == (FAILED, "cannot overwrite binary file nodes")
        assert error_of(d.db.inject, logo + "/y", "1") == (FAILED, "cannot overwrite binary file nodes")
        assert error_of(d.db.rm, logo) == (FAILED, "cannot remove binary file nodes")
        guest, _ = d.guest()
        assert guest.read("/logo.png") == "file:/logo.png" and bytes(guest.read_binary("/sub/x.bin")) == b"\0\1"
        r = subprocess.run([oxt.program("db-cat"), logo], env=d.stack.env, stdout=subprocess.PIPE)
        assert r.returncode == 0 and r.stdout == bytes(range(256))
        r = d.tool("oxt", "db", "export", out)
        assert r.returncode == 0, r
        assert files_below(out) == before, files_below(out)
        assert d.tool("oxt", "db", "export", out).returncode == 1
        assert d.tool("db-diff", out).returncode == 0
        d.restart()
        assert bytes(d.db.read_binary(logo)) == bytes(range(256))
        # A VM's removal takes its binary nodes along, and cannot be taken back, as the history has none.
        d.db.rm("/dom-store/" + UUID)
        assert not d.db.exists(logo)
        r = d.tool("oxt", "db", "undo", str(d.db1.Snapshot("/")[0]))
        assert r.returncode == 1 and "binary" in r.stderr, r
        # db-diff: what is different from the export.
        r = d.tool("db-diff", out, "/dom-store")
        assert r.returncode == 1 and '- /dom-store/%s/k = "v"\n' % UUID in r.stdout, r
        assert [line for line in r.stdout.splitlines() if line[0] == "+"] == ["+ /dom-store = { }"], r
        assert d.tool("db-diff", out, "/vm").returncode == 0
        d.db.write("/vm/%s/name" % UUID, "play")
        r = d.tool("db-diff", out, "/vm")
        assert r.returncode == 1 and r.stdout == '- /vm/%s/name = "work ä"\n+ /vm/%s/name = "play"\n' % (UUID, UUID), r
        write_file(d.stack.root + "/dump", d.tool("db-read", "--json", "/vm").stdout)
        assert d.tool("db-diff", d.stack.root + "/dump", "/vm").returncode == 0


@oxt.case
def import_damaged():
    """Files left half written by the original are read as far as they are good; others are named."""
    with Db() as d:
        folder = d.stack.root + "/config"
        make_files(folder)
        os.rename(folder + "/db", folder + "/db.tmp")
        write_file(folder + "/vms/%s.db.tmp" % OTHER, '{"late": "1"} old bytes behind it')
        os.unlink(folder + "/vms/%s.db" % OTHER)
        write_file(folder + "/vms/bad.db", "{ half")
        write_file(folder + "/vms/half.db", "{ half")
        write_file(folder + "/vms/half.db.tmp", '{"whole":"1"}')
        write_file(folder + "/vms/empty.db", "")
        os.symlink("/nonexistent", folder + "/vms/dangling.db")
        r = d.tool("oxt", "db", "import", folder)
        assert r.returncode == 0, r
        assert "bad.db: left out: it is not JSON" in r.stderr and "dangling.db" in r.stderr, r
        assert d.db.read("/db-version") == "42" and d.db.read("/vm/%s/late" % OTHER) == "1"
        assert d.db.read("/vm/half/whole") == "1" and d.db.exists("/vm/empty") and not d.db.exists("/vm/bad")
        # Without a main file nothing is changed.
        os.unlink(folder + "/db.tmp")
        before = d.db.dump("/")
        assert d.tool("oxt", "db", "import", folder).returncode == 2 and d.db.dump("/") == before


@oxt.case
def backups():
    """A backup of a live database is whole; restore brings it back, with or without dbd; check and compact."""
    with Db() as d:
        d.db.write("/b/v", "1")
        assert "good" in d.tool("oxt", "db", "check").stdout
        backup = d.stack.root + "/backup.db"
        assert d.tool("oxt", "db", "backup", backup).returncode == 0
        assert d.tool("oxt", "db", "backup", backup).returncode == 1
        assert d.tool("oxt", "db", "backup", "--force", backup).returncode == 0
        assert os.stat(backup).st_mode & 0o777 == 0o600
        d.db.write("/b/v", "2")
        revision = int(d.db1.Snapshot("/")[0])
        w = Lines(d.stack, "db-watch", "/b")
        w.process.stderr.readline()
        r = d.tool("oxt", "db", "restore", backup)
        assert r.returncode == 0, r
        assert w.line() == 'inject /b = { "v": "1" }'
        w.stop()
        assert d.db.read("/b/v") == "1" and int(d.db1.Snapshot("/")[0]) == revision + 1
        write_file(d.stack.root + "/junk", b"SQLite format 3\0" + bytes(5000))
        r = d.tool("oxt", "db", "restore", d.stack.root + "/junk")
        assert r.returncode == 2 and r.stderr, r
        assert d.db.read("/b/v") == "1"
        for i in range(300):
            d.db.write("/big/%d" % i, "x" * 10000)
        d.db.rm("/big")
        r = d.tool("oxt", "db", "compact")
        assert r.returncode == 0 and "bytes before" in r.stdout, r
        d.db.write("/b/v", "3")
        d.daemon.terminate()
        d.daemon.wait(60)
        assert d.tool("oxt", "db", "restore", backup).returncode == 0
        assert d.tool("oxt", "db", "compact").returncode == 0
        assert d.tool("oxt", "db", "check").returncode == 0
        d.start()
        db, _ = d.interfaces(d.bus)
        assert db.read("/b/v") == "1"
        status = json.loads(d.bus.call_blocking(NAME, "/", "org.oxt.Db1.Host", "Status", "", ()))
        assert status["nodes"] > 5 and status["failed-commits"] == 0
        guest = d.connect()
        guest.request_name(marker(UUID, 7))
        for member, signature, args in [("Status", "", ()), ("Compact", "", ())]:
            name, _ = error_of(guest.call_blocking, NAME, "/", "org.oxt.Db1.Host", member, signature, args)
            assert name == "org.freedesktop.DBus.Error.AccessDenied"


@oxt.case
def log_length():
    """The log beside the database file stays short however much is written"""
    with Db() as d:
        for i in range(200):
            d.db.write("/long/%d" % (i % 10), ("%d " % i) * 10000)
        assert d.db.read("/long/9") == "199 " * 10000
        log = os.path.getsize(d.stack.state + "/db/oxt.db-wal")
        assert log < 8 << 20, log


@oxt.case
def history():
    """The history says who changed what; diff and undo go by it; secrets never appear in it."""
    with Db() as d:
        d.db.inject("/", '{"a":{"x":"1"}}')
        base = int(d.db1.Snapshot("/")[0])
        d.db.write("/a/x", "2")
        d.db.write("/n/e/w", "3")
        d.db.inject("/a/y", '{"z":[1],"q":null}')
        d.db.rm("/a/x")
        guest, _ = d.guest()
        guest.write("/mine", "4")
        d.db1.Transact([("write", "/t1", "a"), ("write", "/t2", "b"), ("rm", "/n", "")])
        d.tool("db-write", "/tool", "5")

        def log(*args):
            r = d.tool("oxt", "db", "log", "--json", *args)
            assert r.returncode == 0, r
            return [json.loads(line) for line in r.stdout.splitlines()]
        entries = log("--since", str(base))
        assert [(e["revision"] - base, e["path"], e["old"], e["new"]) for e in entries] == [
            (1, "/a/x", "1", "2"), (2, "/n", None, {"e": {"w": "3"}}), (3, "/a/y", None, {"z": [1], "q": None}),
            (4, "/a/x", "2", None), (5, "/dom-store", None, {UUID: {"mine": "4"}}),
            (6, "/t1", None, "a"), (6, "/t2", None, "b"), (6, "/n", {"e": {"w": "3"}}, None), (7, "/tool", None, "5")]
        assert entries[4]["who"] == "vm %s domid 7" % UUID
        assert entries[0]["who"] == "uid %d pid %d python3" % (os.getuid(), os.getpid()), entries[0]
        assert entries[-1]["who"].endswith(" db-write"), entries[-1]
        assert [e["revision"] - base for e in log("--since", str(base), "/n/e")] == [2, 6]
        assert [e["revision"] - base for e in log("--last", "1")] == [7]
        text = d.tool("oxt", "db", "log", "/a/x").stdout
        assert '    /a/x: "1" -> "2"\n' in text and '    /a/x: "2" -> nothing\n' in text, text
        r = d.tool("oxt", "db", "diff", "--since", str(base))
        assert r.returncode == 1 and r.stdout == (
            '- /a/x = "1"\n+ /a/y/z = [ 1 ]\n+ /a/y/q = null\n+ /dom-store/%s/mine = "4"\n+ /t1 = "a"\n+ /t2 = "b"\n'
            '+ /tool = "5"\n' % UUID), r.stdout
        # Undo: not what has changed since, else exactly.
        r = d.tool("oxt", "db", "undo", str(base + 1))
        assert r.returncode == 1 and "changed since" in r.stderr, r
        for revision in range(base + 7, base, -1):
            r = d.tool("oxt", "db", "undo", str(revision))
            assert r.returncode == 0, r
        assert d.tool("oxt", "db", "diff", "--since", str(base)).returncode == 0
        assert d.tool("oxt", "db", "undo", "99999").returncode == 1
        # Secrets.
        place = "/dom-store/%s/nm-connections/home" % UUID
        d.db.inject(place, '{"802-11-wireless":{"ssid":"net"},"802-11-wireless-security":{"psk":"correct horse"}}')
        d.db.write(place + "/802-11-wireless-security/psk", "battery staple")
        d.db.rm(place)
        last = int(d.db1.Snapshot("/")[0])
        assert "net" in d.tool("oxt", "db", "log", place).stdout
        r = d.tool("oxt", "db", "undo", str(last))
        assert r.returncode == 1 and "secret" in r.stderr, r
        d.daemon.terminate()
        d.daemon.wait(60)
        with sqlite3.connect(d.stack.state + "/db/oxt.db") as db:
            everything = repr(db.execute("SELECT * FROM history").fetchall())
        assert "net" in everything and "horse" not in everything and "staple" not in everything
    # Bounded in size.
    with patch.dict(os.environ, OXT_DB_HISTORY_SIZE="20000"):
        d = Db()
    with d:
        for i in range(200):
            d.db.write("/h", "%d" % i * 100)
        # A guest cannot push the others' changes out of it.
        d.db.write("/kept", "1")
        guest, _ = d.guest()
        for i in range(300):
            guest.write("/flood", "%d" % i * 100)
        assert d.tool("oxt", "db", "log", "--json", "/kept").stdout.count("\n") == 1
        lines = d.tool("oxt", "db", "log", "--json", "/h").stdout.splitlines()
        assert 10 < len(lines) < 150 and json.loads(lines[-1])["new"] == "199" * 100, len(lines)


@oxt.case
def damage():
    """A damaged database is set aside unchanged, and the service goes on with the daily copy or a new one."""
    with Db() as d:
        d.db.write("/old", "x" * 100000)
        d.restart()
        folder = d.stack.state + "/db"
        assert os.path.exists(folder + "/daily-copy.db")
        os.unlink(folder + "/daily-copy.db")
        d.restart()  # makes it anew, with /old
        d.db.write("/newer", "1")
        revision = int(d.db1.Snapshot("/")[0])

        def spoil():
            d.daemon.terminate()
            d.daemon.wait(60)
            with open(folder + "/oxt.db", "r+b") as f:
                f.seek(4096)
                f.write(os.urandom(8192))
            with open(folder + "/oxt.db", "rb") as f:
                bad = f.read()
            d.start()
            d.db, d.db1 = d.interfaces(d.bus)
            aside = [n for n in os.listdir(folder) if ".damaged-" in n and not n.endswith(("-wal", "-shm"))]
            with open(os.path.join(folder, sorted(aside)[-1]), "rb") as f:
                assert f.read() == bad
        spoil()
        assert d.db.read("/old") == "x" * 100000 and not d.db.exists("/newer")
        assert int(d.db1.Snapshot("/")[0]) > revision
        assert "set aside" in d.stack.log("dbd") and "oxt db restore" in d.stack.log("dbd")
        assert "damaged" in d.tool("oxt", "db", "check").stdout
        assert d.tool("oxt", "db", "check").returncode == 0
        d.db.write("/works", "1")
        time.sleep(1.1)  # for another name
        write_file(folder + "/daily-copy.db", "no database either")
        spoil()
        assert d.db.read("/db-version") == "42" and not d.db.exists("/old")
        d.db.write("/works", "1")
        d.restart()
        assert d.db.read("/works") == "1"


@oxt.case
def formats():
    """A database file of an older format is brought to the present one; a newer one is refused as it is."""
    with Db() as d:
        path = d.stack.state + "/db/oxt.db"

        def change(sql):
            d.daemon.terminate()
            d.daemon.wait(60)
            file = sqlite3.connect(path)
            file.executescript(sql)
            file.close()
        d.db.write("/v", "1")
        change("ALTER TABLE history DROP COLUMN size; PRAGMA user_version = 1;")
        d.start()
        db, _ = d.interfaces(d.bus)
        assert db.read("/v") == "1"
        db.write("/v", "2")
        assert d.tool("oxt", "db", "log", "/v").stdout.count("/v:") == 2
        change("PRAGMA user_version = 99;")
        with open(path, "rb") as f:
            before = f.read()
        r = d.tool("dbd")
        assert r.returncode == 1 and "format 99" in r.stderr, r
        with open(path, "rb") as f:
            assert f.read() == before
        assert os.path.exists(path)


oxt.main()
