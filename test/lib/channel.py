# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's side of the guest channel (docs/guest-channel.md), joined to a real bus without any proxy."""
import os
import select
import socket
import struct
import threading

MAGIC = b"oxt-guest-chan1\n"
DATA_MAX = 16384
FRAME_MAX = DATA_MAX + 16
OPEN, DATA, CLOSE, CREDIT = 1, 2, 3, 4


class Host:
    """Serves one connection of the channel: each stream becomes a connection to the unix socket `bus`."""

    def __init__(self, connection, bus, window=65536):
        self.socket = connection
        self.bus = bus
        self.window = window
        self.epoch = os.urandom(15).replace(b"\0", b"x") + b"e"
        self.input = b""
        self.attached = threading.Event()
        self.services = []
        self.streams = {}  # number: socket to the bus
        self.credit = {}
        self.pending = {}  # number: bytes that the bus has not taken yet; they get no credit
        self.wake, self._woken = socket.socketpair()
        self.running = True
        self.socket.sendall(self.hello(self.epoch))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def hello(self, epoch):
        return (MAGIC + struct.pack("<IIII", 1, self.window, 100, 0) + epoch).ljust(FRAME_MAX, b"\0")

    def frame(self, kind, stream, payload):
        tag = self.epoch[:4]
        self.socket.sendall(struct.pack("<BBHI", kind, 0, stream, len(payload)) + tag + payload + tag)

    def stop(self):
        """Drops the connection as a killed rpc-proxy would."""
        self.running = False
        self.wake.send(b"x")
        self.thread.join()
        for s in self.streams.values():
            s.close()
        self.socket.close()

    def _run(self):
        while self.running:
            readable = [self._woken, self.socket] + [s for n, s in self.streams.items() if self.credit[n] > 0]
            writable = [s for n, s in self.streams.items() if self.pending[n]]
            readable, writable, _ = select.select(readable, writable, [])
            for ready in writable:
                self._to_bus(ready)
            for ready in readable:
                if ready is self.socket:
                    data = ready.recv(65536)
                    if not data:
                        return
                    self.input += data
                    self._take()
                elif ready is not self._woken:
                    self._from_bus(ready)

    def _take(self):
        while self.input:
            if not self.attached.is_set():
                at = self.input.find(MAGIC)
                if at < 0 or len(self.input) - at < 48:
                    return
                if self.input[at + 32:at + 48] == self.epoch:
                    self.attached.set()
                elif not any(self.input[at + 32:at + 48]):
                    self.socket.sendall(self.hello(self.epoch))
                self.input = self.input[at + 48:]
            elif self.input[0] == 0:
                self.input = self.input.lstrip(b"\0")
            else:
                if len(self.input) < 8:
                    return
                kind, _, stream, size = struct.unpack("<BBHI", self.input[:8])
                assert kind <= CREDIT and size <= DATA_MAX, self.input[:48]
                if len(self.input) < size + 16:
                    return
                assert self.input[8:12] == self.epoch[:4] == self.input[12 + size:16 + size]
                payload = self.input[12:12 + size]
                self.input = self.input[16 + size:]
                self._frame(kind, stream, payload)

    def _frame(self, kind, stream, payload):
        if kind == OPEN:
            self.services.append(struct.unpack("<I", payload)[0])
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.bus)
            self.streams[stream] = s
            self.credit[stream] = 65536
            self.pending[stream] = b""
        elif kind == DATA and stream in self.streams:
            self.pending[stream] += payload
            assert len(self.pending[stream]) <= self.window
        elif kind == CREDIT and stream in self.credit:
            self.credit[stream] += struct.unpack("<I", payload)[0]
        elif kind == CLOSE and stream in self.streams:
            self.streams.pop(stream).close()
            self.frame(CLOSE, stream, bytes(4))

    def _number(self, s):
        return next((n for n, k in self.streams.items() if k is s), None)

    def _to_bus(self, s):
        stream = self._number(s)
        n = s.send(self.pending[stream], socket.MSG_DONTWAIT)
        self.pending[stream] = self.pending[stream][n:]
        self.frame(CREDIT, stream, struct.pack("<I", n))

    def _from_bus(self, s):
        stream = self._number(s)
        if stream is None:
            return  # closed a moment ago
        data = s.recv(min(DATA_MAX, self.credit[stream]))
        if data:
            self.credit[stream] -= len(data)
            self.frame(DATA, stream, data)
        else:
            s.close()
            del self.streams[stream]
            self.frame(CLOSE, stream, bytes(4))
