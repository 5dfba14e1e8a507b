#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rpc-proxy's JSON clients: over WebSockets and with NUL bytes, against a service of dbus-next."""
import asyncio
import json
import logging
import os
import signal as signals
import socket
import struct
import threading

import websockets
from dbus_next import Variant
from dbus_next.aio import MessageBus
from dbus_next.errors import DBusError
from dbus_next.service import ServiceInterface, method, signal

import oxt
import rawbus
from rpcproxy import UUID, GuestProxy, Proxy

logging.disable(logging.CRITICAL)  # dbus-next tells of the error that is raised on purpose

RULES = """deny all
allow destination org.freedesktop.DBus interface org.freedesktop.DBus
allow destination test.json interface test.json
allow out-any
"""
WS = ["--json-in", "--websockets-in", "--auto-auth"]
HELLO = dict(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus")


class Thing(ServiceInterface):
    def __init__(self):
        super().__init__("test.json")
        self.seen = []

    @method()
    def Types(self, b: "b", y: "y", n: "n", i: "i", u: "u", x: "x", d: "d", s: "s", o: "o") -> "bynixdso":
        return [b, y, n, i, x, d, s, o]

    @method()
    def Lists(self, a: "as", b: "ai", c: "a{ss}", d: "a{is}", e: "(is)", f: "ay") -> "asaia{ss}a{is}(is)ay":
        return [a, b, c, d, e, f]

    @method()
    def Any(self, v: "v") -> "sv":
        self.seen.append(v)
        return [v.signature, v]

    @method()
    def Odd(self) -> "dva{ox}":
        return [float("inf"), Variant("v", Variant("a{sv}", {"k": Variant("t", 2**64 - 1)})), {"/a": -(2**63)}]

    @method()
    def Raise(self) -> "s":
        raise DBusError("test.Error", "204:text")

    @method()
    def Emit(self):
        self.Happened("x", 5)

    @signal()
    def Happened(self, a, b) -> "si":
        return [a, b]


class ThingService(threading.Thread):
    """test.json on the bus; counts how often it is introspected."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.ready, self.introspected = address, threading.Event(), []
        self.start()
        assert self.ready.wait(60)

    def run(self):
        async def serve():
            bus = await MessageBus(bus_address=self.address).connect()
            bus.add_message_handler(self.look)
            bus.export("/thing", Thing())
            await bus.request_name("test.json")
            self.ready.set()
            await bus.wait_for_disconnect()
        try:
            asyncio.run(serve())
        except (EOFError, OSError):
            pass

    def look(self, m):
        if m.member == "Introspect":
            self.introspected.append(m.path)
        return None


class JsonProxy(Proxy):
    def __init__(self, *args, rules=RULES, **kwargs):
        super().__init__(rules, *args, **kwargs)
        self.thing = ThingService(self.stack.address)


class JsonClient:
    """Objects with a NUL byte behind each."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.data, self.id, self.signals = b"", 0, []

    def send(self, **m):
        self.id += 1
        m.setdefault("id", self.id)
        self.send_text(json.dumps(m))
        return m["id"]

    def send_text(self, text):
        self.socket.sendall(text.encode() + b"\0")

    def receive_text(self):
        while b"\0" not in self.data:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.data += more
        text, self.data = self.data.split(b"\0", 1)
        return text.decode()

    def receive(self):
        return json.loads(self.receive_text())

    def answer(self, id):
        while True:
            m = self.receive()
            if m["type"] in ("response", "error") and m["response-to"] == str(id):
                return m
            assert m["type"] in ("signal", "request"), m
            self.signals.append(m)

    def call(self, method, *args, **kwargs):
        m = dict(destination="test.json", path="/thing", interface="test.json")
        m.update(kwargs)
        return self.answer(self.send(method=method, args=list(args), **m))

    def hello(self):
        r = self.call("Hello", **HELLO)
        assert r["type"] == "response" and r["args"][0].startswith(":"), r
        return r["args"][0]


class WsClient(JsonClient):
    """The same in WebSocket frames, written by hand."""

    def __init__(self, path, extra=b"", request=None):
        super().__init__(path)
        self.socket.sendall((request or (
            b"GET / HTTP/1.1\r\nHost: 1.0.0.0:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")) + extra)
        while b"\r\n\r\n" not in self.data:
            more = self.socket.recv(65536)
            if not more:
                break
            self.data += more
        self.head, _, self.data = self.data.partition(b"\r\n\r\n")

    @staticmethod
    def frame(opcode, payload, final=True, mask=b"abcd"):
        n = len(payload)
        length = bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536 else b"\x7f" + struct.pack(">Q", n)
        if mask:
            payload = bytes(c ^ mask[i % 4] for i, c in enumerate(payload))
            length = bytes([length[0] | 0x80]) + length[1:]
        return bytes([opcode | (0x80 if final else 0)]) + length + (mask or b"") + payload

    def send_text(self, text):
        self.socket.sendall(self.frame(1, text.encode()))

    def need(self, n):
        while len(self.data) < n:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.data += more

    def receive_frame(self):
        self.need(2)
        n, at = self.data[1], 2
        if n == 126:
            self.need(4)
            n, at = struct.unpack(">H", self.data[2:4])[0], 4
        elif n == 127:
            self.need(10)
            n, at = struct.unpack(">Q", self.data[2:10])[0], 10
        self.need(at + n)
        opcode, payload, self.data = self.data[0], self.data[at:at + n], self.data[at + n:]
        return opcode, payload

    def receive_text(self):
        opcode, payload = self.receive_frame()
        assert opcode == 0x81, (opcode, payload)
        return payload.decode()


def check_types(c):
    r = c.call("Types", True, 255, -5, 7.9, 4000000000, 2**53, 0.1, "\u2028 \U0001f600", "/a/b")
    assert r["args"] == [True, 255, -5, 7, 2**53, 0.1, "\u2028 \U0001f600", "/a/b"], r
    r = c.call("Lists", [], [1, -2], {"b": "2", "a": "1"}, {"-3": "x"}, [1, "y"], [1, 2, 255])
    assert r["args"] == [[], [1, -2], {"b": "2", "a": "1"}, {"-3": "x"}, [1, "y"], [1, 2, 255]], r
    for value, kind in [("t", "s"), (True, "b"), (5, "i"), (5.5, "i"), (2**40, "x"), (["a"], "as"), ([1, "a"], "av"),
                        ({"k": [1]}, "a{sv}")]:
        r = c.call("Any", value)
        assert r["args"] == [kind, 5 if value == 5.5 else value], r
    assert c.call("Odd")["args"] == [None, {"k": 2**64 - 1}, {"/a": -(2**63)}]
    r = c.call("Raise")
    assert (r["type"], r["name"], r["args"]) == ("error", "test.Error", ["204:text"]), r


@oxt.case
def nul_bytes():
    """All types go both ways over the NUL-separated form, and each object is introspected once."""
    with JsonProxy("--json-in", "--auto-auth") as p:
        c = JsonClient(p.socket)
        c.hello()
        check_types(c)
        assert p.thing.introspected == ["/thing"], p.thing.introspected
        c.call("AddMatch", "type='signal',interface='test.json'", **HELLO)
        c.call("Emit")
        s = [m for m in c.signals if m.get("member") == "Happened"][0]
        assert list(s) == ["id", "type", "interface", "member", "path", "args"] and s["args"] == ["x", 5], s


@oxt.case
def one_answer_for_each():
    """Requests that are denied, malformed or cannot be converted get exactly one answer, in a flood of 200 too."""
    with JsonProxy("--json-in", "--auto-auth") as p:
        c = JsonClient(p.socket)
        c.hello()
        bad = [dict(method="M", args=[], destination="test.canary", path="/", interface="a.b"),
               dict(method="Types", args=[1], destination="test.json", path="/thing", interface="test.json"),
               dict(method="Any", args=[None], destination="test.json", path="/thing", interface="test.json"),
               dict(method="No-Name", args=[], destination="test.json", path="/thing", interface="test.json"),
               dict(method="M", args=[], destination="test.json", path="thing", interface="test.json"),
               dict(method="M", destination="test.json", path="/thing", interface="test.json"),
               dict(method="Nothing", args=["x"], destination="test.json", path="/none", interface="test.json"),
               dict(method="RemoveMatch", args=["interface='0'"], **HELLO),
               dict(method="Any", args=["x"], destination="test.json", path="/thing", interface="test.json")]
        ids = [c.send(**bad[i % len(bad)]) for i in range(200)]
        answers = []
        while len(answers) < 200:
            m = c.receive()
            if m["type"] != "signal":
                answers.append(m)
        assert sorted(int(m["response-to"]) for m in answers) == ids
        for m in answers:
            if m["type"] == "error":
                assert isinstance(m["args"][0], str) and m["args"][0], m
        assert {m["type"] for m in answers} == {"response", "error"}
        # What is no JSON costs an answer too, and the conversation goes on.
        for text in ["nonsense", "[1]", " {}", '{"id":"x"}']:
            c.send_text(text)
            assert c.receive()["type"] == "error"
        c.send_text('{"id":77,"type":"what"}')
        assert c.call("Any", "x")["args"] == ["s", "x"]
        assert p.canary.members() == []


class MuchService(rawbus.Service):
    """Answers with as many control characters as it is asked for: six bytes each in JSON."""

    def answer(self, m):
        self.client.send(rawbus.RETURN, "s", ("\x01" * m.args[0],), destination=m.sender, reply_serial=m.serial)


@oxt.case
def kept_bytes():
    """What is kept of JSON counts for its VM: a longer answer is an error, and one that reads nothing keeps no more than that."""
    much = {"method": "Much", "destination": "test.much", "path": "/", "interface": "test.much", "dbus-signature": "u"}
    with JsonProxy("--json-in", "--auto-auth", rules=RULES + "allow destination test.much\n",
                   env={"OXT_PROXY_QUEUED": str(1 << 20)}) as p:
        service = MuchService(p.stack.socket, "test.much")
        slow, c = JsonClient(p.socket), JsonClient(p.socket)
        slow.hello()
        c.hello()

        def ask(n):
            return c.answer(c.send(args=[n], **much))

        def queued():
            return [i["queued_bytes"] for i in p.status()["clients"]][0]
        r = ask(200000)
        assert r["type"] == "error" and "proxy.queued" in r["args"][0], str(r)[:300]
        assert ask(20000)["args"] == ["\x01" * 20000]
        oxt.wait_for(lambda: queued() == 0, what="nothing to be kept")
        for _ in range(6):
            slow.send(args=[70000], **much)
        oxt.wait_for(lambda: queued() > 400000, what="the answers that it does not read")
        assert queued() <= 1 << 20, queued()
        assert ask(80000)["type"] == "error"
        slow.socket.close()
        oxt.wait_for(lambda: queued() == 0, what="nothing to be kept")
        assert ask(80000)["args"] == ["\x01" * 80000]
        # One text without end.
        try:
            c.socket.sendall(b'{"id":9,"x":"' + b"a" * (4 << 20))
            while c.socket.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert "more bytes would be kept for it than proxy.queued allows" in p.log()
        service.stop()


@oxt.case
def too_large_text():
    """A text that is larger than proxy.message-size ends its connection with a reason in the log."""
    with JsonProxy("--json-in", "--auto-auth", env={"OXT_PROXY_MESSAGE_SIZE": "65536"}) as p:
        c = JsonClient(p.socket)
        c.hello()
        try:
            c.socket.sendall(b'{"id":9,"x":"' + b"a" * 100000)
            while c.socket.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        oxt.wait_for(lambda: "a text is larger than proxy.message-size allows" in p.log(), what="the reason")


@oxt.case
def introspection_is_behind_the_rules():
    """A service that the rules do not let a client call is not introspected for it."""
    with JsonProxy("--json-in", "--auto-auth", rules="allow out-any\nallow destination org.freedesktop.DBus\n") as p:
        c = JsonClient(p.socket)
        c.hello()
        r = c.call("Any", "x")
        assert r["name"] == "org.freedesktop.DBus.Error.AccessDenied" and ":" not in r["args"][0], r
        assert p.thing.introspected == []


@oxt.case
def calls_to_json_clients():
    """A JSON client can serve: its answer to a call from the bus reaches the caller."""
    with JsonProxy("--json-in", "--auto-auth") as p:
        c = JsonClient(p.socket)
        unique = c.hello()
        host = rawbus.Client(p.stack.socket)
        serial = host.send(rawbus.CALL, "s", ("question",), destination=unique, path="/", interface="i.j", member="Ask")
        m = c.receive()
        while m["type"] != "request":
            m = c.receive()
        assert (m["method"], m["interface"], m["args"]) == ("Ask", "i.j", ["question"]), m
        c.send(**{"type": "response", "response-to": m["id"], "args": ["reply"]})
        r = host.until(lambda r: r.kind == rawbus.RETURN)
        assert r.args == ["reply"] and r.reply_serial == serial
        # Two callers with the same serial get each its own answer.
        hosts = [rawbus.Client(p.stack.socket) for _ in range(2)]
        asked = {}
        for i, h in enumerate(hosts):
            h.send(rawbus.CALL, "s", (str(i),), serial=1000, destination=unique, path="/", interface="i.j", member="Ask")
        while len(asked) < 2:
            m = c.receive()
            if m["type"] == "request":
                asked[m["args"][0]] = m["id"]
        assert asked["0"] != asked["1"], asked
        for i in ("1", "0"):
            c.send(**{"type": "response", "response-to": asked[i], "args": ["for " + i]})
        for i, h in enumerate(hosts):
            assert h.reply(1000).args == ["for %d" % i]


@oxt.case
def authentication_before_json():
    """Without --auto-auth the D-Bus authentication comes before the JSON."""
    with JsonProxy("--json-in") as p:
        c = JsonClient(p.socket)
        c.socket.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert c.socket.recv(100).startswith(b"OK ")
        c.socket.sendall(b"BEGIN\r\n")
        c.hello()
        assert c.call("Any", "x")["args"] == ["s", "x"]


@oxt.case
def json_out():
    """A proxy that speaks JSON outwards reaches the bus through one that speaks JSON inwards."""
    with JsonProxy("--json-in", "--auto-auth") as p:
        socket2 = os.path.join(p.folder, "second.sock")
        p.stack.start([oxt.program("rpc-proxy"), "-i", "unix:" + socket2, "-o", "unix:" + p.socket, "--json-out",
                       "--no-marker", "-d", "6", "-r", p.rules], ready=lambda: oxt.listens(socket2))
        c = rawbus.Client(socket2)
        r = c.call("test.json", "/thing", "test.json", "Any", "v", (("s", "x"),))
        assert r.kind == rawbus.RETURN and r.args[0] == "s", r


@oxt.case
def websocket_handshake():
    """The handshake answers as browsers want it, with no extension or subprotocol, and plain HTTP gets files."""
    with JsonProxy(*WS) as p:
        c = WsClient(p.socket)
        lines = c.head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 101 Switching Protocols", lines
        headers = {l.split(": ")[0].lower(): l.split(": ")[1] for l in lines[1:]}
        assert headers == {"upgrade": "websocket", "connection": "Upgrade",
                           "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, headers
        c.hello()
        bad = WsClient(p.socket, request=b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
        assert b" 400 " in bad.head.split(b"\r\n")[0], bad.head
        none = WsClient(p.socket, request=b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in none.head.split(b"\r\n")[0], none.head
        # The first frame may come with the handshake.
        text = json.dumps(dict(id=9, method="Hello", args=[], **HELLO)).encode()
        early = WsClient(p.socket, extra=WsClient.frame(1, text))
        assert early.answer(9)["type"] == "response"


@oxt.case
def websocket_messages():
    """All types go both ways over WebSocket frames; fragments are joined, pings answered, in between too."""
    with JsonProxy(*WS) as p:
        c = WsClient(p.socket)
        c.hello()
        check_types(c)
        text = json.dumps(dict(id=500, method="Any", args=["x" * 70000], destination="test.json", path="/thing",
                               interface="test.json")).encode()
        c.socket.sendall(c.frame(1, text[:10], final=False) + c.frame(9, b"ping") + c.frame(0, text[10:30000], final=False) +
                         c.frame(0, text[30000:]))
        assert c.receive_frame() == (0x8a, b"ping")
        assert c.answer(500)["args"][1] == "x" * 70000
        # Byte by byte.
        for b in c.frame(2, text.replace(b"500", b"501").replace(b"x" * 70000, b"y")):
            c.socket.sendall(bytes([b]))
        assert c.answer(501)["args"][1] == "y"


@oxt.case
def websocket_endings():
    """Close is answered; unmasked frames, unknown opcodes and too large messages end it with their status."""
    with JsonProxy(*WS) as p:
        for frame, status in [(WsClient.frame(8, struct.pack(">H", 1000)), 1000),
                              (WsClient.frame(1, b"{}", mask=None), 1002),
                              (WsClient.frame(3, b"x"), 1002),
                              (WsClient.frame(9, b"x" * 126), 1002),
                              (WsClient.frame(1, b"\xff"), 1007),
                              (WsClient.frame(1, b"x" * (2**20 + 1)), 1009)]:
            c = WsClient(p.socket)
            c.hello()
            try:
                c.socket.sendall(frame)
            except BrokenPipeError:
                pass
            opcode = 0
            while opcode != 0x88:
                try:
                    opcode, payload = c.receive_frame()
                except EOFError:
                    raise AssertionError("no close frame with status %d" % status)
            assert struct.unpack(">H", payload[:2])[0] == status, (payload, status)
            try:
                assert c.socket.recv(10) == b""
            except ConnectionResetError:
                pass  # it still had bytes of ours
        oxt.wait_for(lambda: p.log().count("A WebSocket of domain 5 ends: it broke the protocol") == 5, what="the reasons of all but one")
        c = WsClient(p.socket)
        c.hello()
        p.stack.bus.kill()
        opcode, payload = c.receive_frame()
        while opcode != 0x88:
            opcode, payload = c.receive_frame()
        assert struct.unpack(">H", payload)[0] == 1001


@oxt.case
def websocket_pings():
    """A client that pings and reads nothing is held back, and gets every pong when it reads."""
    with JsonProxy(*WS) as p:
        c = WsClient(p.socket)
        c.hello()
        some = WsClient.frame(9, b"x" * 125) * 1000
        sent, at = 0, 0
        c.socket.settimeout(2)
        try:
            while sent < 16 << 20:
                at += c.socket.send(some[at:])
                if at == len(some):
                    sent, at = sent + at, 0
        except socket.timeout:
            pass
        assert sent < 16 << 20, "more pings were taken than the sockets on the way hold"
        c.socket.settimeout(60)
        rest = threading.Thread(target=c.socket.sendall, args=(some[at:] if at else b"",), daemon=True)
        rest.start()
        for i in range(1000 * (sent // len(some) + (at > 0))):
            frame = c.receive_frame()
            while frame[0] == 0x81:  # a signal of the bus
                frame = c.receive_frame()
            assert frame == (0x8a, b"x" * 125), (i, frame)
        rest.join(60)
        assert c.call("Any", "x")["args"] == ["s", "x"]


@oxt.case
def websockets_library():
    """python3-websockets talks to it, with 30 requests under way at once as the UI has."""
    with JsonProxy(*WS) as p:
        async def talk():
            async with websockets.unix_connect(p.socket, "ws://1.0.0.0:8080/") as ws:
                await ws.send(json.dumps(dict(id=1, method="Hello", args=[], **HELLO)))
                while json.loads(await ws.recv()).get("response-to") != "1":
                    pass
                for i in range(2, 32):
                    await ws.send(json.dumps(dict(id=i, method="Any", args=[i], destination="test.json", path="/thing",
                                                  interface="test.json")))
                got = {}
                while len(got) < 30:
                    m = json.loads(await asyncio.wait_for(ws.recv(), 60))
                    if m["type"] == "response":
                        got[int(m["response-to"])] = m["args"]
                assert got == {i: ["i", i] for i in range(2, 32)}, got
        asyncio.run(talk())


@oxt.case
def guest_channel_8080():
    """A guest reaches the WebSockets through service 8080 of its channel, named by its marker."""
    with GuestProxy(RULES) as p:
        thing = ThingService(p.stack.address)
        offered = os.path.join(p.folder, "ws.sock")
        p.stack.processes[-1].terminate()
        p.stack.start([oxt.program("oxt-guest"), "-c", p.at(UUID, "port"), "-l", "unix:%s=8080" % offered, "--no-agent"],
                      ready=lambda: oxt.listens(offered))
        c = WsClient(offered)
        unique = c.hello()
        assert c.call("Any", "x")["args"] == ["s", "x"] and thing.introspected == ["/thing"]
        owned = rawbus.Client(p.stack.socket).call_bus("ListNames", "", ()).args[0]
        assert [n for n in owned if n.startswith("org.oxt.conn.d7.u" + UUID.replace("-", "_"))], (unique, owned)
        r = c.call("Any", "x", destination="test.canary")
        assert r["name"] == "org.freedesktop.DBus.Error.AccessDenied", r
        # The VM ends while a WebSocket and a request for it are open.
        half = socket.socket(socket.AF_UNIX)
        half.connect(offered)
        half.sendall(b"GET / HTTP/1.1\r\n")
        descriptors = "/proc/%d/fd" % p.process.pid
        oxt.wait_for(lambda: WsClient(offered, request=b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), what="an answer")
        most = len(os.listdir(descriptors))
        os.unlink(os.path.join(p.stack.runtime, "channel", UUID + ".json"))
        oxt.wait_for(lambda: p.status()["channels"] == 0 and not p.status()["connections"], what="the end of the channel")
        # Two for each of the two, the WebSocket's bus connection, the channel itself.
        oxt.wait_for(lambda: len(os.listdir(descriptors)) <= most - 6, what="the end of HTTP")
        assert p.process.poll() is None


def web_process(p):
    """The pid of the process that speaks HTTP for the proxy; None: there is none."""
    with open("/proc/%d/task/%d/children" % (p.process.pid, p.process.pid)) as f:
        children = f.read().split()
    assert len(children) <= 1, children
    return int(children[0]) if children else None


@oxt.case
def process_of_its_own():
    """HTTP and WebSockets are in a process of their own, without a bus; when it dies its clients end and the next are served."""
    with JsonProxy(*WS) as p:
        assert web_process(p) is None
        c = WsClient(p.socket)
        c.hello()
        pid = web_process(p)
        with open("/proc/%d/maps" % p.process.pid) as f:
            maps = f.read()
        assert "microhttpd" not in maps and "wslay" not in maps
        with open("/proc/%d/status" % pid) as f:
            status = dict(l.split(":", 1) for l in f)
        assert os.geteuid() != 0 or status["Uid"].split()[0] != "0", status
        # It can start nothing, and gain nothing.
        assert status["NoNewPrivs"].strip() == "1", status
        with open("/proc/%d/limits" % pid) as f:
            allowed = [l.split()[2:4] for l in f if l.startswith("Max processes")]
        assert allowed == [["0", "0"]] or oxt.sanitized("rpc-proxy-web"), allowed
        os.kill(pid, signals.SIGKILL)
        c.socket.settimeout(60)
        try:
            while c.socket.recv(1000):
                pass
        except ConnectionResetError:
            pass

        def again():
            try:
                return WsClient(p.socket).hello()
            except (EOFError, OSError):
                return None
        oxt.wait_for(again, 5, "a new client")
        oxt.wait_for(lambda: web_process(p) not in (None, pid) and "rpc-proxy-web ended" in p.log(), what="the new process")
        last = web_process(p)
        p.process.kill()
        p.process.wait()
        oxt.wait_for(lambda: not os.path.exists("/proc/%d" % last) or
                     " Z " in open("/proc/%d/stat" % last).read(), what="its end with the proxy")


oxt.main()
