#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hostile client tries to get past rpc-proxy. test.canary must never see any of it."""
import array
import os
import random
import socket
import struct
import time

import oxt
import rawbus
from oxt import wait_for
from rawbus import CALL, ERROR, RETURN, SIGNAL, encode
from rpcproxy import Proxy

DENIED = "org.freedesktop.DBus.Error.AccessDenied"
OK = dict(destination="test.allowed", path="/a", interface="test.i", member="M")
CANARY = dict(destination="test.canary", path="/a", interface="test.i", member="M")
BUS = rawbus.BUS
PROPERTIES = "org.freedesktop.DBus.Properties"


def denied(m):
    return m.kind == ERROR and m.error_name == DENIED


def alive(c):
    """The connection still works."""
    return c.reply(c.send(CALL, "s", ("still",), **OK)).args == ["still"]


@oxt.case
def missing_and_forged_fields():
    """Missing interfaces, forged senders and other destinations get nobody past a rule."""
    with Proxy() as p:
        c = p.client()
        assert alive(c)
        for fields in (dict(CANARY), dict(CANARY, sender="test.allowed"), dict(CANARY, sender=p.allowed.unique),
                       dict(OK, interface=None), dict(OK, interface="test.other"), dict(OK, sender="org.freedesktop.DBus"),
                       dict(OK, destination=None), dict(CANARY, destination=p.canary.unique),
                       dict(OK, interface=PROPERTIES, member="Get"), dict(OK, destination="test.allowed2")):
            assert denied(c.reply(c.send(CALL, **fields))), fields
        seen = len(p.allowed.calls)
        # A property of an interface that is not allowed, and one that is.
        get = dict(OK, interface=PROPERTIES, member="Get")
        assert denied(c.reply(c.send(CALL, "ss", ("test.other", "x"), **get)))
        assert denied(c.reply(c.send(CALL, "us", (1, "x"), **get)))
        assert c.reply(c.send(CALL, "ss", ("test.i", "x"), **get)).kind == RETURN
        assert len(p.allowed.calls) == seen + 1
        # Nor without asking for a reply, nor as a signal, nor as a reply.
        c.send(CALL, flags=rawbus.NO_REPLY, **CANARY)
        c.send(SIGNAL, **dict(CANARY, destination=None))
        c.send(SIGNAL, **CANARY)
        c.send(RETURN, destination="test.canary", reply_serial=1)
        assert alive(c)
        assert p.canary.calls == []


@oxt.case
def unique_names():
    """A unique name is judged as each name that it owns; one that owns none is denied."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed\nallow destination test.second\n" \
            "allow out-any\n"
    with Proxy(rules) as p:
        c = p.client()
        assert c.reply(c.send(CALL, **dict(OK, destination=p.allowed.unique))).kind == RETURN
        assert denied(c.reply(c.send(CALL, **dict(OK, destination=p.canary.unique))))
        both = rawbus.Service(p.stack.socket, "test.second", "test.secret")
        nobody = rawbus.Service(p.stack.socket)
        time.sleep(0.1)
        assert denied(c.reply(c.send(CALL, **dict(OK, destination=both.unique))))
        assert denied(c.reply(c.send(CALL, **dict(OK, destination=nobody.unique))))
        assert denied(c.reply(c.send(CALL, **dict(OK, destination=":1.99999"))))
        # A name that moves is followed.
        both.client.call_bus
        other = rawbus.Client(p.stack.socket)
        assert other.call_bus("RequestName", "su", ("test.allowed", 0)).args == [2]
        assert denied(c.reply(c.send(CALL, **dict(OK, destination=other.unique))))
        assert both.calls == [] and nobody.calls == [] and p.canary.calls == []


@oxt.case
def bus_driver():
    """No monitoring, eavesdropping, names of others, markers or secrets of the driver, whatever the rules allow."""
    with Proxy("allow all\nallow out-any\ndeny destination test.canary\n") as p:
        c = p.client()
        assert alive(c)
        tries = [("BecomeMonitor", "asu", ([], 0), dict(interface="org.freedesktop.DBus.Monitoring")),
                 ("BecomeMonitor", "asu", ([], 0), dict(interface=None)),
                 ("AddMatch", "s", ("eavesdrop='true'",), {}), ("AddMatch", "s", ("eavesdrop=true,type='method_call'",), {}),
                 ("AddMatch", "s", ("type='signal',eavesdrop='tr\\'ue'",), {}), ("AddMatch", "s", ("nonsense",), {}),
                 ("AddMatch", "s", ("eavesdrop='false',eavesdrop='true'",), {}), ("AddMatch", "u", (1,), {}),
                 ("RequestName", "su", ("test.mine", 0), {}), ("RequestName", "su", ("test.allowed", 3), {}),
                 ("RequestName", "su", ("org.oxt.conn.d0.u00000000_0000_0000_0000_000000000000.s0.r" + "0" * 32, 0), {}),
                 ("ReleaseName", "s", ("org.oxt.conn.x",), {}), ("ReloadConfig", "", (), {}),
                 ("UpdateActivationEnvironment", "", (), {}), ("GetConnectionSELinuxSecurityContext", "s", ("test.allowed",), {}),
                 ("Set", "ssv", ("org.freedesktop.DBus", "x", ("s", "y")), dict(interface=PROPERTIES))]
        for member, signature, values, fields in tries:
            assert denied(c.call_bus(member, signature, values, **fields)), (member, values)
        # The marker of this very connection cannot be learned, given back or asked about.
        host = rawbus.Client(p.stack.socket)
        markers = [n for n in host.call_bus("ListNames").args[0] if n.startswith("org.oxt.conn.d5")]
        assert len(markers) == 1, markers
        assert denied(c.call_bus("ReleaseName", "s", (markers[0],)))
        assert c.call_bus("GetNameOwner", "s", (markers[0],)).kind == ERROR
        names = c.call_bus("ListNames").args[0]
        assert not [n for n in names if n.startswith("org.oxt.conn")] and "test.allowed" in names, names
        assert alive(c)


@oxt.case
def names_are_hidden():
    """Names that the rules do not let a guest reach are not listed, resolved or told of."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed interface test.i\n" \
            "allow destination test.later\nallow out-any\n"
    with Proxy(rules) as p:
        c = p.client()
        names = c.call_bus("ListNames").args[0]
        assert "test.allowed" in names and c.unique in names and p.allowed.unique in names, names
        assert "test.canary" not in names and p.canary.unique not in names, names
        for member in ("GetNameOwner", "NameHasOwner", "GetConnectionUnixProcessID", "GetConnectionCredentials",
                       "StartServiceByName", "ListQueuedOwners"):
            for name in ("test.canary", p.canary.unique):
                r = c.call_bus(member, "su" if member == "StartServiceByName" else "s", (name, 0))
                assert r.kind == ERROR and r.error_name == "org.freedesktop.DBus.Error.NameHasNoOwner", (member, r.error_name)
        assert c.call_bus("GetNameOwner", "s", ("test.allowed",)).args == [p.allowed.unique]
        assert c.call_bus("AddMatch", "s", ("type='signal',sender='org.freedesktop.DBus'",)).kind == RETURN
        hidden = rawbus.Service(p.stack.socket, "test.hidden")
        later = rawbus.Service(p.stack.socket, "test.later")
        changed = lambda: c.until(lambda m: m.kind == SIGNAL and m.member == "NameOwnerChanged").args
        told = changed()
        if told[0] == later.unique:  # of which the proxy knew already what name it was about to get
            told = changed()
        assert told == ["test.later", "", later.unique], (told, hidden.unique)
        hidden.stop()
        later.stop()
        gone = [changed()[0] for _ in range(2)]
        assert gone == ["test.later", later.unique], gone


@oxt.case
def serials_used_twice():
    """A call with the serial of one that has no answer yet is refused: no answer passes as that of another call."""
    with Proxy() as p:
        c = p.client()
        p.allowed.hold = True
        serial = c.send(CALL, **OK)
        wait_for(lambda: p.allowed.held, what="the call")
        for member, signature, args in (("ListNames", "", ()), ("AddMatch", "s", ("type='signal'",))):
            c.send(CALL, signature, args, serial=serial, member=member, **BUS)
            r = c.reply(serial)
            assert r.kind == ERROR and r.error_name.endswith(".InvalidArgs"), (member, r.args)
        assert "a call with this serial has no answer yet" in p.log()
        assert [i["match_rules"] for i in p.status()["clients"]] == [0], p.status()
        p.allowed.hold = False
        p.allowed.release()
        assert c.reply(serial).kind == RETURN
        c.send(CALL, serial=serial, member="ListNames", **BUS)
        assert "test.canary" not in c.reply(serial).args[0]
        # Nor is there an answer to a call that wants none, which the bus gives all the same.
        c.socket.sendall(encode(CALL, 500, flags=rawbus.NO_REPLY, member="ListNames", **BUS) + encode(CALL, 500, "s", ("x",), **OK))
        assert c.reply(500).error_name.endswith(".InvalidArgs")


@oxt.case
def match_rules_are_judged():
    """A match rule is refused where the out- rules would let none of it through; signals are judged one by one."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed interface test.i\n" \
            "allow out-method-return\nallow out-error\nallow out-signal sender test.allowed interface test.i\n" \
            "deny out-signal member Secret\n"
    with Proxy(rules) as p:
        c = p.client()
        for rule in ("type='signal',interface='test.other'", "type='signal',sender='test.canary'",
                     "type='signal',sender='%s'" % p.canary.unique, "type='signal',interface='test.i',member='Secret'"):
            assert denied(c.call_bus("AddMatch", "s", (rule,))), rule
        for rule in ("type='signal',interface='test.i'", "type='signal'", "type='signal',sender='%s'" % p.allowed.unique):
            assert c.call_bus("AddMatch", "s", (rule,)).kind == RETURN, rule
        p.canary.client.send(SIGNAL, path="/a", interface="test.i", member="FromCanary")
        p.allowed.client.send(SIGNAL, path="/a", interface="test.other", member="Other")
        p.allowed.client.send(SIGNAL, path="/a", interface="test.i", member="Secret")
        p.allowed.client.send(SIGNAL, path="/a", interface="test.i", member="Fine")
        p.allowed.client.send(SIGNAL, path="/a", interface="test.i", member="Last")
        got = []
        while "Last" not in got:
            m = c.until(lambda m: m.kind == SIGNAL and m.sender != "org.freedesktop.DBus")
            got.append(m.member)
        assert set(got) == {"Fine", "Last"}, got


@oxt.case
def unasked_replies():
    """A reply that nobody asked this guest for never arrives."""
    with Proxy() as p:
        c = p.client()
        p.allowed.hold = True
        # The canary waits for test.allowed's answer; the guest knows the serial and gives its own.
        serial = p.canary.client.serial + 1
        p.canary.client.send(CALL, **OK)
        wait_for(lambda: p.allowed.held, what="the call")
        for destination in (p.canary.unique, "test.canary", None):
            c.send(RETURN, "s", ("forged",), destination=destination, reply_serial=serial)
            c.send(ERROR, "s", ("forged",), destination=destination, reply_serial=serial, error_name="a.b")
        p.allowed.hold = False
        assert alive(c)
        assert p.canary.calls == []
        assert "nobody asked for this reply" in p.log()


@oxt.case
def host_calls_guest():
    """A host's call reaches the guest, its one answer passes, a second one does not."""
    with Proxy() as p:
        c = p.client()
        host = rawbus.Client(p.stack.socket)
        serial = host.send(CALL, "s", ("q",), destination=c.unique, path="/a", interface="guest.i", member="Ask")
        m = c.until(lambda m: m.kind == CALL)
        assert m.member == "Ask" and m.sender == host.unique
        c.send(RETURN, "s", ("one",), destination=m.sender, reply_serial=m.serial)
        c.send(RETURN, "s", ("two",), destination=m.sender, reply_serial=m.serial)
        assert host.reply(serial).args == ["one"]
        assert alive(c)
        assert host.call_bus("GetId").kind == RETURN
        assert not [m for m in host.seen if m.kind == RETURN], "a second answer arrived"


@oxt.case
def unanswered_host_calls():
    """A guest that leaves calls of the host unanswered still gets others, and answers them; the callers of the oldest are told."""
    with Proxy() as p:
        c = p.client()
        host = rawbus.Client(p.stack.socket)
        sent = [host.send(CALL, destination=c.unique, path="/a", interface="guest.i", member="Ask%d" % i) for i in range(130)]
        for serial in sent[:2]:
            assert host.reply(serial).error_name == "org.freedesktop.DBus.Error.LimitsExceeded"
        calls = [c.until(lambda m: m.kind == CALL) for _ in sent]
        assert [m.member for m in calls] == ["Ask%d" % i for i in range(130)]
        for i in (129, 2):
            c.send(RETURN, "s", (str(i),), destination=host.unique, reply_serial=calls[i].serial)
            assert host.reply(sent[i]).args == [str(i)]


@oxt.case
def answers_overtake():
    """A guest whose calls wait for a place can still answer the host, whose answer they may wait for."""
    with Proxy() as p:
        p.allowed.hold = True
        c = p.client()
        sent = [c.send(CALL, **OK) for _ in range(20)]
        host = rawbus.Client(p.stack.socket)
        serial = host.send(CALL, destination=c.unique, path="/a", interface="guest.i", member="Ask")
        m = c.until(lambda m: m.kind == CALL)
        c.send(RETURN, "s", ("answer",), destination=m.sender, reply_serial=m.serial)
        assert host.reply(serial).args == ["answer"]
        wait_for(lambda: len(p.allowed.held) >= 8, what="the window to be full")
        assert len(p.allowed.held) == 8
        p.allowed.hold = False
        p.allowed.release()
        for s in sent:
            assert c.reply(s).kind == RETURN
        # What was sent before the end of a connection arrives, though it had to wait.
        before = len(p.allowed.calls)
        d = p.client()
        d.socket.sendall(b"".join(encode(CALL, i, flags=rawbus.NO_REPLY, **OK) for i in range(10, 60)))
        d.close()
        wait_for(lambda: len(p.allowed.calls) == before + 50, what="50 calls")


@oxt.case
def denials_overtake():
    """While all places are taken a denied call is answered at once, also behind calls that wait; those keep their order."""
    with Proxy(env={"OXT_PROXY_DENIALS": "1000"}) as p:
        p.allowed.hold = True
        c = p.client()
        for _ in range(8):
            c.send(CALL, **OK)
        wait_for(lambda: len(p.allowed.held) == 8, what="the window to be full")
        assert denied(c.reply(c.send(CALL, **CANARY))) and denied(c.call_bus("ListNames", interface="test.other"))
        sent = [c.send(CALL, "s", (str(i),), **OK) for i in range(100)]
        assert denied(c.reply(c.send(CALL, **CANARY))) and denied(c.reply(c.send(CALL, **dict(OK, destination=p.canary.unique))))
        # In one write, with what is not answered, and what is allowed, in between.
        c.socket.sendall(b"".join(encode(CALL, 1000 + i, flags=rawbus.NO_REPLY if i % 3 == 2 else 0, **(CANARY if i % 3 else OK))
                                  for i in range(150)))
        for i in range(1, 150, 3):
            assert denied(c.reply(1000 + i))
        assert len(p.allowed.held) == 8
        p.allowed.hold = False
        p.allowed.release()
        for s in sent + list(range(1000, 1150, 3)):
            assert c.reply(s).kind == RETURN
        assert [m.args[0] for m in p.allowed.calls[8:108]] == [str(i) for i in range(100)]
        wait_for(lambda: p.status()["denied"] == 104, what="the denials of those that want no answer")
        assert p.canary.calls == []


def handshake(p):
    c = p.client(auth=False, hello=False)
    return c


@oxt.case
def before_authentication():
    """Nothing is taken before authentication ends, nor before Hello; other mechanisms are rejected."""
    with Proxy() as p:
        hello = encode(CALL, 1, **dict(BUS, member="Hello"))
        bad = encode(CALL, 2, **CANARY)
        for data in (bad, hello + bad, b"\0" + hello + bad, b"\0AUTH EXTERNAL 30\r\n" + hello + bad,
                     b"\1AUTH EXTERNAL 30\r\n", b"\0" + b"A" * 600 + b"\r\n", b"\0AUTH \xff\r\n",
                     b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + bad, b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + encode(CALL, 2, **OK),
                     b"\0" + b"AUTH\r\n" * 100):
            c = handshake(p)
            c.socket.sendall(data)
            assert c.ended(), data
        c = handshake(p)
        c.socket.sendall(b"\0")
        for line in (b"AUTH", b"DATA 00", b"BEGIN", b"AUTH DBUS_COOKIE_SHA1 30", b"AUTH DOMID 30", b"NEGOTIATE_UNIX_FD",
                     b"CANCEL"):
            c.socket.sendall(line + b"\r\n")
            assert c.line() == b"REJECTED ANONYMOUS", line
        c.socket.sendall(b"AUTH EXTERNAL\r\n")
        assert c.line() == b"DATA"
        c.socket.sendall(b"DATA\r\n")
        assert c.line().startswith(b"OK ")
        c.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        assert c.line() == b"ERROR"
        c.socket.sendall(b"BEGIN\r\n")
        c.unique = c.call_bus("Hello").args[0]
        assert alive(c)
        assert c.call_bus("Hello").kind == ERROR
        assert p.canary.calls == []


def field(code, t, value, order="<"):
    return rawbus.put(bytes([code, 1]) + t.encode() + b"\0", t, value, order)


@oxt.case
def malformed_messages():
    """Each malformed message ends its connection with a reason in the log, and reaches nobody."""
    with Proxy(env={"OXT_PROXY_DENIALS": "1000"}) as p:
        fixed = bytearray(encode(CALL, 7, **CANARY))

        def patched(at, data):
            b = bytearray(fixed)
            b[at:at + len(data)] = data
            return bytes(b)

        tries = {
            "byte order mark": patched(0, b"x"),
            "protocol version": patched(3, b"\2"),
            "message type is 0": patched(1, b"\0"),
            "serial is 0": patched(8, b"\0\0\0\0"),
            "header fields are too large": patched(12, struct.pack("<I", 1 << 20)),
            "larger than D-Bus allows": patched(4, struct.pack("<I", (128 << 20))),
            "larger than proxy.message-size": patched(4, struct.pack("<I", (9 << 20))),
            "not padded with zeros": encode(CALL, 7, **CANARY)[:-1] + b"\1" if fixed[-1:] == b"\0" else b"x",
            "is there twice": encode(CALL, 7, extra=field(6, "s", "test.allowed"), **CANARY),
            "has the wrong type": encode(CALL, 7, extra=field(3, "o", "/x"), **dict(CANARY, member=None)),
            "no single value": encode(CALL, 7, extra=b"\x63\2ss\0\0\0\0", **CANARY),
            "cut off or malformed": encode(CALL, 7, extra=field(6, "s", b"test\0canary"), **dict(CANARY, destination=None)),
            "lacks its path or member": encode(CALL, 7, **dict(CANARY, path=None)),
            "object path is invalid": encode(CALL, 7, **dict(CANARY, path="/a//b")),
            "interface name is invalid": encode(CALL, 7, **dict(CANARY, interface="one")),
            "member name is invalid": encode(CALL, 7, **dict(CANARY, member="a.b")),
            "destination is invalid": encode(CALL, 7, **dict(CANARY, destination="test..canary")),
            "sender is invalid": encode(CALL, 7, **dict(CANARY, sender="x")),
            "reserved one": encode(SIGNAL, 7, path="/org/freedesktop/DBus/Local", interface="test.i", member="M"),
            "interface is a reserved one": encode(SIGNAL, 7, path="/a", interface="org.freedesktop.DBus.Local", member="M"),
            "signal lacks": encode(SIGNAL, 7, path="/a", member="M"),
            "error lacks its name": encode(ERROR, 7, reply_serial=3, destination="test.canary"),
            "reply lacks its reply serial": encode(RETURN, 7, destination="test.canary"),
            "reply serial is zero": encode(RETURN, 7, reply_serial=0, destination="test.canary"),
            "body without a signature": encode(CALL, 7, body=b"abcd", **CANARY),
            "signature is invalid": encode(CALL, 7, body=b"abcd", extra=b"\x08\1g\0\1a\0", **CANARY),
            "first argument is cut off": encode(CALL, 7, "s", body=b"\xff\0\0\0abc\0", **OK),
            "descriptors": encode(CALL, 7, unix_fds=1, **OK),
            "it may have sent a malformed body": encode(CALL, 7, "b", (2,), **OK),  # which the bus alone looks at
            "too many header fields": encode(CALL, 7, extra=b"".join(field(100 + i, "u", 1) for i in range(40)), **CANARY),
        }
        for why, data in tries.items():
            if why == "not padded with zeros":
                data = encode(CALL, 7, extra=b"", **CANARY)
                at = data.index(b"test.canary\0") + 12
                assert data[at] == 0
                data = data[:at] + b"\1" + data[at + 1:]
            c = p.client()
            before = p.log().count(why)
            c.socket.sendall(data)
            assert c.ended(), why
            wait_for(lambda: p.log().count(why) > before, what="'%s' in the log:\n%s" % (why, p.log()[-600:]))
        assert p.canary.calls == []
        c = p.client()
        # What the specification says to ignore ends nothing: unknown types, flags and header fields.
        c.socket.sendall(encode(9, 1, **CANARY))
        assert c.call("test.allowed", "/a", "test.i", "M", flags=0x80).kind == RETURN
        assert c.call("test.allowed", "/a", "test.i", "M", extra=field(200, "u", 5) + b"").kind == RETURN
        assert b"\xc8\1u" not in p.allowed.calls[-1].data, "an unknown header field reached the bus"
        assert alive(c)


@oxt.case
def bounded_log():
    """A guest that does wrong again and again writes proxy.denials lines in a second; what was left out is counted."""
    with Proxy(env={"OXT_PROXY_DENIALS": "5"}) as p:
        start = time.monotonic()
        for _ in range(300):
            c = p.client(auth=False, hello=False)
            c.socket.sendall(b"x")
            assert c.ended()
        seconds = time.monotonic() - start
        wait_for(lambda: p.status()["connections"] == 0, what="their ends")
        assert p.log().count("the first byte is not NUL") <= 5 * (seconds + 2), (seconds, p.log()[-1000:])

        def told():
            p.client(auth=False, hello=False).socket.sendall(b"x")
            return "such lines of domain 5 before this one were left out" in p.log()
        wait_for(told, what="the count")


@oxt.case
def descriptors_run_out():
    """Without descriptors new connections wait, without a busy loop; when there are some again they are served."""
    with Proxy() as p:
        with open("/proc/%d/limits" % p.process.pid) as f:
            soft, hard = [int(n) for l in f if l.startswith("Max open files") for n in l.split()[3:5]]
        assert soft >= min(hard, 65536), (soft, hard)

        def limit(n):
            command = ["prlimit", "--pid", str(p.process.pid), "--nofile=%d:%d" % (n, hard)]
            r = p.stack.run(oxt.as_user("oxt-proxy", *command) if os.geteuid() == 0 else command)
            assert r.returncode == 0, r.stderr
        c = p.client()
        limit(len(os.listdir("/proc/%d/fd" % p.process.pid)))
        waiting = p.client(auth=False, hello=False)
        wait_for(lambda: "Cannot accept connections" in p.log(), what="the log")
        assert alive(c)

        def cpu():
            with open("/proc/%d/stat" % p.process.pid) as f:
                return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")
        before = cpu()
        time.sleep(1)
        assert cpu() - before < 0.5 and p.log().count("Cannot accept connections") == 1
        limit(soft)
        waiting.socket.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert waiting.line().startswith(b"OK ")


@oxt.case
def oversized():
    """The caller of a message that is too large gets LimitsExceeded before its connection ends; others of it go on."""
    with Proxy() as p:
        for order in "<>":
            c, other = p.client(order=order), p.client()
            large = bytearray(encode(CALL, 77, order=order, **OK))
            large[4:8] = struct.pack(order + "I", 9 << 20)
            c.socket.sendall(bytes(large))
            r = c.reply(77)
            assert r.error_name == "org.freedesktop.DBus.Error.LimitsExceeded" and "proxy.message-size" in r.args[0], r.args
            assert c.ended() and alive(other)
        # Nobody waits for an answer to these.
        for kind, flags in ((CALL, rawbus.NO_REPLY), (SIGNAL, 0)):
            c = p.client()
            large[1:3] = bytes([kind, flags])
            c.socket.sendall(bytes(large))
            assert c.ended() and not [m for m in c.seen if m.kind == ERROR]


@oxt.case
def descriptors():
    """A descriptor that is sent along goes nowhere."""
    with Proxy() as p:
        c = p.client()
        fds = array.array("i", [os.open("/dev/null", os.O_RDONLY)])
        c.serial += 1
        c.socket.sendmsg([encode(CALL, c.serial, "s", ("x",), **OK)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        assert c.reply(c.serial).args == ["x"]
        before = len(os.listdir("/proc/%d/fd" % p.process.pid))
        for _ in range(20):
            c.serial += 1
            c.socket.sendmsg([encode(CALL, c.serial, "s", ("x",), **OK)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            c.reply(c.serial)
        assert len(os.listdir("/proc/%d/fd" % p.process.pid)) == before


@oxt.case
def limits():
    """Connections, match rules, unanswered calls and kept bytes of one guest are bounded."""
    with Proxy() as p:
        p.allowed.hold = True
        c = p.client()
        sent = [c.send(CALL, **OK) for _ in range(100)]
        wait_for(lambda: len(p.allowed.held) >= 8, what="the window to be full")
        time.sleep(0.5)
        assert len(p.allowed.held) == 8, len(p.allowed.held)  # the others wait
        d = p.client()  # shares it
        late = d.send(CALL, **OK)
        time.sleep(0.2)
        assert len(p.allowed.held) == 8
        p.allowed.hold = False
        p.allowed.release()
        for s in sent:
            assert c.reply(s).kind == RETURN
        assert d.reply(late).kind == RETURN
        for i in range(512):
            assert c.call_bus("AddMatch", "s", ("type='signal',arg0='%d'" % i,)).kind == RETURN
        r = d.call_bus("AddMatch", "s", ("type='signal',arg0='x'",))
        assert r.error_name == "org.freedesktop.DBus.Error.LimitsExceeded", r.error_name
        assert d.call_bus("RemoveMatch", "s", ("type='signal',arg0='no such'",)).kind == ERROR
        assert d.call_bus("AddMatch", "s", ("type='signal',arg0='x'",)).kind == ERROR
        assert c.call_bus("RemoveMatch", "s", ("type='signal',arg0='5'",)).kind == RETURN
        assert d.call_bus("AddMatch", "s", ("type='signal',arg0='x'",)).kind == RETURN
        # Those of one that wants no reply are counted as well, up to their removal, and it gets none.
        match_rules = lambda: [i["match_rules"] for i in p.status()["clients"]]
        assert match_rules() == [512]
        for i in range(12):
            c.send(CALL, "s", ("type='signal',arg0='%d'" % i,), flags=rawbus.NO_REPLY, member="RemoveMatch", **BUS)
        assert c.call_bus("GetId").kind == RETURN and match_rules() == [501]
        c.send(CALL, "s", ("type='signal',arg0='new'",), flags=rawbus.NO_REPLY, member="AddMatch", **BUS)
        assert c.call_bus("GetId").kind == RETURN and match_rules() == [502]
        assert not [m for m in c.seen if m.kind in (RETURN, ERROR)], "a reply that nobody wanted"
        c.close()
        more = []
        try:
            for _ in range(140):
                more.append(p.client())
        except (rawbus.Closed, ConnectionError):
            pass
        assert len(more) == 127, len(more)
        assert alive(d)


@oxt.case
def time_limits():
    """One that never says Hello is cut off; calls that nobody answers hold up their guest for proxy.patience alone."""
    with Proxy(env={"OXT_PROXY_AUTH_TIMEOUT": "1", "OXT_PROXY_PATIENCE": "1", "OXT_PROXY_PENDING": "20"}) as p:
        silent, half = handshake(p), p.client(hello=False)
        assert silent.ended() and half.ended()
        assert p.log().count("did not authenticate and say Hello in time") == 2
        p.allowed.hold = True
        c = p.client()
        sent = [c.send(CALL, **OK) for _ in range(10)]
        wait_for(lambda: len(p.allowed.held) == 10, what="all ten calls")
        # So many calls may be without an answer, of all connections together, and no more.
        d = p.client()
        sent_too = [d.send(CALL, **OK) for _ in range(15)]
        for s in sent_too[10:]:
            r = d.reply(s)
            assert r.kind == ERROR and r.error_name == "org.freedesktop.DBus.Error.LimitsExceeded", r.error_name
        wait_for(lambda: len(p.allowed.held) == 20, what="twenty calls")
        p.allowed.hold = False
        p.allowed.release()
        for s in sent:
            assert c.reply(s).kind == RETURN  # late answers are still answers
        for s in sent_too[:10]:
            assert d.reply(s).kind == RETURN
        assert alive(c) and alive(d)


@oxt.case
def slow_reader():
    """One that does not read is held back, not buffered for, and ends nothing of others."""
    with Proxy() as p:
        c, d = p.client(), p.client()
        c.socket.settimeout(0.5)
        taken = 0
        message = encode(CALL, 5, "s", ("x" * 60000,), **OK)
        try:
            while taken < 400:
                c.socket.sendall(message)
                taken += 1
        except socket.timeout:
            pass
        # How many the sockets on the way hold depends on who is quicker; what the proxy itself keeps does not.
        status = [i for i in p.status()["clients"] if i["domid"] == 5][0]
        assert taken < 400 and status["queued_bytes"] < 2 << 20, (taken, status)
        assert alive(d)


@oxt.case
def half_messages():
    """Bytes of large messages that never end are bounded for all connections of a guest together."""
    with Proxy() as p:
        d = p.client()
        head = encode(CALL, 5, "s", ("x",), **OK)
        head = head[:4] + struct.pack("<I", 7 << 20) + head[8:]
        clients = []
        for _ in range(12):
            c = p.client()
            clients.append(c)
            try:
                c.socket.sendall(head + b"\0" * (6 << 20))
            except OSError:
                pass
        status = [i for i in p.status()["clients"] if i["domid"] == 5][0]
        assert status["queued_bytes"] <= 32 << 20, status
        assert "proxy.queued" in p.log()
        assert alive(d)


@oxt.case
def one_way_flood():
    """Signals and calls without a reply fill the window as well, and all arrive."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed\nallow inc-signal interface test.i\n" \
            "allow out-any\n"
    with Proxy(rules) as p:
        c = p.client()
        for i in range(300):
            c.send(CALL, "s", (str(i),), flags=rawbus.NO_REPLY, **OK)
        assert alive(c)
        assert [m.args[0] for m in p.allowed.calls[:300]] == [str(i) for i in range(300)]
        # A call with the serial of the proxy's own Ping gets its own answer.
        for serial in (0xffffffff, 0xfffffffe, 0xffffffff):
            c.send(CALL, "s", ("one-way",), flags=rawbus.NO_REPLY, **OK)
            c.send(CALL, "s", ("own",), serial=serial, **OK)
            assert c.reply(serial).args == ["own"]


@oxt.case
def noise():
    """Two thousand mutated messages: the proxy lives, and the canary sees none."""
    rng = random.Random(4)
    with Proxy() as p:
        seeds = [encode(CALL, 7, "ss", ("test.i", "x"), order=o, **dict(CANARY, sender=None)) for o in "<>"]
        seeds += [encode(SIGNAL, 8, "s", ("x",), order=o, path="/a", interface="test.i", member="M") for o in "<>"]
        c = None
        for _ in range(2000):
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.choice((0, 1, 0xff, rng.randrange(256)))
            try:
                c = c or p.client(timeout=20)
                c.socket.sendall(bytes(data) + (b"" if rng.random() < 0.7 else os.urandom(30)))
            except (OSError, rawbus.Closed):
                c = None
            if rng.random() < 0.3:
                c = None
        assert p.process.poll() is None, p.log()
        assert alive(p.client())
        assert p.canary.calls == []


@oxt.case
def reload_of_rules():
    """Changed rules hold for open connections at once; a file with an error changes nothing and is told."""
    with Proxy() as p:
        def shown():
            return p.stack.run([oxt.program("oxt"), "status"], env=dict(p.stack.env, OXT_BUS="private")).stdout

        c = p.client()
        assert c.call_bus("AddMatch", "s", ("type='signal',interface='test.i'",)).kind == RETURN
        assert alive(c) and denied(c.reply(c.send(CALL, **CANARY)))
        p.write_rules("deny all\nallow destination test.canary\nallow out-any\ndeny out-signal member Tell\n")
        wait_for(lambda: p.status()["rules"]["count"] == 4, what="the new rules")
        # The match rule stands as it was made, and what it brings is judged by the rules of now.
        for member in ("Tell", "Other"):
            p.allowed.client.send(SIGNAL, path="/a", interface="test.i", member=member)
        assert c.until(lambda m: m.kind == SIGNAL and m.interface == "test.i").member == "Other"
        assert "Rules: 4 of %s\n" % p.rules in shown(), shown()
        assert denied(c.reply(c.send(CALL, **OK)))
        assert c.reply(c.send(CALL, **CANARY)).kind == RETURN
        p.write_rules("allow all\nalow destination test.canary\n")
        wait_for(lambda: p.status()["rules"]["error"], what="the error")
        assert ":2:" in p.status()["rules"]["error"], p.status()
        assert "Rules: 4 of %s; %s:2:1: unknown word 'alow'" % (p.rules, p.rules) in shown(), shown()
        assert denied(c.reply(c.send(CALL, **OK)))
        host = rawbus.Client(p.stack.socket)
        proxy = dict(destination="com.citrix.xenclient.rpc_proxy", path="/", interface="com.citrix.xenclient.rpc_proxy")
        rule = "allow destination test.allowed interface test.i"
        assert host.reply(host.send(CALL, "s", (rule,), member="add_rule", **proxy)).kind == RETURN
        assert host.reply(host.send(CALL, member="list_rules", **proxy)).args[0][-1] == rule
        assert alive(c)
        assert host.reply(host.send(CALL, "s", ("alow all",), member="add_rule", **proxy)).error_name.endswith("InvalidArgs")
        assert host.reply(host.send(CALL, "s", (rule,), member="delete_rule", **proxy)).kind == RETURN
        assert denied(c.reply(c.send(CALL, **OK)))
        assert host.reply(host.send(CALL, "s", (rule,), member="delete_rule", **proxy)).kind == ERROR
        # However often the file is replaced, a call that old and new rules allow always passes.
        for i in range(60):
            p.write_rules("deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed\nallow out-any\n" +
                          "deny member Other%d\n" % i * i)
            assert alive(c) and alive(c)
        wait_for(lambda: p.status()["rules"]["count"] == 4 + 59, what="the last rules")
        assert "A rule was added" in p.log() and "A rule was deleted" in p.log()


oxt.main()
