# SPDX-License-Identifier: LGPL-2.1-or-later
"""A D-Bus client made of bytes, for tests that must say what no decent library would send."""
import os
import socket
import struct
import threading

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1
FIELDS = {"path": (1, "o"), "interface": (2, "s"), "member": (3, "s"), "error_name": (4, "s"),
          "reply_serial": (5, "u"), "destination": (6, "s"), "sender": (7, "s"), "signature": (8, "g"),
          "unix_fds": (9, "u")}
NAMES = {code: (name, t) for name, (code, t) in FIELDS.items()}
BUS = dict(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus")


def align(data, to):
    return data + b"\0" * (-len(data) % to)


def put(data, t, value, order):
    """Appends a value of a simple type, `as`, or `v` (a pair of type and value)."""
    if t == "y":
        return data + bytes([value])
    if t in "uib":
        return align(data, 4) + struct.pack(order + ("i" if t == "i" else "I"), int(value))
    if t in "so":
        value = value.encode() if isinstance(value, str) else value
        return align(data, 4) + struct.pack(order + "I", len(value)) + value + b"\0"
    if t == "g":
        return data + bytes([len(value)]) + value.encode() + b"\0"
    if t == "v":
        return put(put(data, "g", value[0], order), value[0], value[1], order)
    if t == "as":
        body = b""
        for s in value:
            body = put(body, "s", s, order)
        return align(data, 4) + struct.pack(order + "I", len(body)) + body
    raise ValueError(t)


def types(signature):
    out, i = [], 0
    while i < len(signature):
        n = 2 if signature[i] == "a" else 1
        out.append(signature[i:i + n])
        i += n
    return out


def encode(kind, serial, signature="", args=(), order="<", flags=0, extra=b"", body=None, version=1, **fields):
    """The bytes of a message; extra: header fields as bytes that are appended (8-aligned) as they are."""
    if body is None:
        body = b""
        for t, value in zip(types(signature), args):
            body = put(body, t, value, order)
    head = b""
    if signature:
        fields["signature"] = signature
    for name, value in fields.items():
        if value is None:
            continue
        code, t = FIELDS[name]
        head = put(align(head, 8) + bytes([code]) + b"\1" + t.encode() + b"\0", t, value, order)
    if extra:
        head = align(head, 8) + extra
    return align(struct.pack(order + "cBBBIII", b"l" if order == "<" else b"B", kind, flags, version, len(body), serial,
                             len(head)) + head, 8) + body


class Message:
    """A message that was received. args: its simple leading arguments."""

    def __init__(self, data):
        self.data = data
        o = self.order = "<" if data[:1] == b"l" else ">"
        self.kind, self.flags = data[1], data[2]
        body_size, self.serial, head_size = struct.unpack_from(o + "III", data, 4)
        for name in FIELDS:
            setattr(self, name, None)
        at = 16
        while at < 16 + head_size:
            at += -at % 8
            code, t = data[at], chr(data[at + 2])
            value, at = self.take(at + 4, t)
            setattr(self, NAMES[code][0], value)
        self.body_at = len(data) - body_size
        self.args = []
        at = self.body_at
        for t in types(self.signature or ""):
            try:
                value, at = self.take(at, t, self.body_at)
            except ValueError:
                break
            self.args.append(value)

    def take(self, at, t, base=0):
        o = self.order
        if t == "y":
            return self.data[at], at + 1
        if t in ("u", "i", "b"):
            at += -(at - base) % 4
            return struct.unpack_from(o + ("i" if t == "i" else "I"), self.data, at)[0], at + 4
        if t in ("s", "o"):
            at += -(at - base) % 4
            n = struct.unpack_from(o + "I", self.data, at)[0]
            return self.data[at + 4:at + 4 + n].decode(), at + 5 + n
        if t == "g":
            n = self.data[at]
            return self.data[at + 1:at + 1 + n].decode(), at + 2 + n
        if t == "v":
            inner, at = self.take(at, "g", base)
            return self.take(at, inner, base)
        if t == "as":
            at += -(at - base) % 4
            n = struct.unpack_from(o + "I", self.data, at)[0]
            at, out = at + 4, []
            end = at + n
            while at < end:
                s, at = self.take(at, "s", base)
                out.append(s)
            return out, at
        raise ValueError(t)


class Closed(Exception):
    pass


class Client:
    """One connection. order: ">" speaks big-endian."""

    def __init__(self, address, order="<", hello=True, auth=True, timeout=60):
        if isinstance(address, socket.socket):
            self.socket = address
        elif isinstance(address, tuple):
            self.socket = socket.create_connection(address)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        self.socket.settimeout(timeout)
        self.order, self.serial, self.buffer, self.unique, self.seen = order, 0, b"", None, []
        if auth:
            self.authenticate()
        if hello:
            self.unique = self.call_bus("Hello").args[0]

    def authenticate(self):
        self.socket.sendall(b"\0AUTH EXTERNAL %s\r\n" % str(os.getuid()).encode().hex().encode())
        line = self.line()
        assert line.startswith(b"OK "), line
        self.socket.sendall(b"BEGIN\r\n")

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed()
        self.buffer += data

    def send(self, kind, signature="", args=(), serial=None, **fields):
        if serial is None:
            self.serial += 1
            serial = self.serial
        self.socket.sendall(encode(kind, serial, signature, args, self.order, **fields))
        return serial

    def receive(self):
        while True:
            if len(self.buffer) >= 16:
                o = "<" if self.buffer[:1] == b"l" else ">"
                body, _, head = struct.unpack_from(o + "III", self.buffer, 4)
                size = 16 + head + -head % 8 + body
                if len(self.buffer) >= size:
                    m, self.buffer = Message(self.buffer[:size]), self.buffer[size:]
                    return m
            self.more()

    def reply(self, serial):
        """The reply to that serial; what comes before it is kept in `seen`."""
        for m in self.seen:
            if m.kind in (RETURN, ERROR) and m.reply_serial == serial:
                self.seen.remove(m)
                return m
        while True:
            m = self.receive()
            if m.kind in (RETURN, ERROR) and m.reply_serial == serial:
                return m
            self.seen.append(m)

    def call(self, destination, path, interface, member, signature="", args=(), **fields):
        return self.reply(self.send(CALL, signature, args, destination=destination, path=path, interface=interface,
                                    member=member, **fields))

    def call_bus(self, member, signature="", args=(), **fields):
        return self.reply(self.send(CALL, signature, args, member=member, **dict(BUS, **fields)))

    def until(self, condition):
        """The first message that fulfils condition."""
        for m in self.seen:
            if condition(m):
                self.seen.remove(m)
                return m
        while True:
            m = self.receive()
            if condition(m):
                return m
            self.seen.append(m)

    def ended(self):
        """Whether the other side has closed; reads what is left."""
        try:
            while True:
                self.seen.append(self.receive())
        except Closed:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.socket.close()


class Service(threading.Thread):
    """A service on the bus that answers every call with its first argument (or "") and remembers all it sees."""

    def __init__(self, address, *names):
        super().__init__(daemon=True)
        self.client = Client(address, timeout=None)
        self.unique = self.client.unique
        for name in names:
            assert self.client.call_bus("RequestName", "su", (name, 0)).args == [1], name
        self.calls, self.held, self.hold, self.lock = [], [], False, threading.Lock()
        self.start()

    def run(self):
        try:
            while True:
                m = self.client.receive()
                if m.kind != CALL and not (m.kind == SIGNAL and m.sender != "org.freedesktop.DBus"):
                    continue
                with self.lock:
                    self.calls.append(m)
                    if self.hold:
                        self.held.append(m)
                    elif m.kind == CALL and not m.flags & NO_REPLY:
                        self.answer(m)
        except (Closed, OSError):
            pass

    def answer(self, m):
        text = m.args[0] if m.args and isinstance(m.args[0], str) else ""
        self.client.send(RETURN, "s", (text,), destination=m.sender, reply_serial=m.serial)

    def release(self, count=None):
        with self.lock:
            now, self.held = self.held[:count], self.held[count:] if count is not None else []
            for m in now:
                self.answer(m)

    def members(self):
        with self.lock:
            return [m.member for m in self.calls]

    def stop(self):
        try:
            self.client.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
