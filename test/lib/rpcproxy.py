# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy between a private bus and clients made of bytes: for tests of rpc-proxy."""
import json
import os
import select
import socket
import threading

import oxt
import rawbus
from oxt import wait_for

RULES = """deny all
allow destination org.freedesktop.DBus interface org.freedesktop.DBus
allow destination test.allowed interface test.i
allow destination test.allowed interface org.freedesktop.DBus.Introspectable
allow out-any
"""


class Proxy:
    """A private bus with services test.allowed and test.canary, and a proxy before it."""

    def __init__(self, rules=RULES, *args, domid=5, server=True, env=None):
        self.stack = oxt.Stack()
        env_of_others = dict(self.stack.env)
        self.rules = os.path.join(self.stack.root, "rules")
        self.write_rules(rules)
        self.allowed = rawbus.Service(self.stack.socket, "test.allowed")
        self.canary = rawbus.Service(self.stack.socket, "test.canary")
        # The proxy gives up root, so its socket must be where its user may make one.
        self.folder = os.path.join(self.stack.root, "open")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o1777)
        self.socket = os.path.join(self.folder, "proxy.sock")
        command = [oxt.program("rpc-proxy"), "-i", "unix:" + self.socket, "-r", self.rules, *args]
        if domid is not None:
            command += ["-d", str(domid)]
        if server:
            command.append("-s")
        self.stack.env.update(env or {})
        self.process = self.stack.start(command)
        self.stack.env = env_of_others

        def is_ready():
            assert self.process.poll() is None, self.log()
            return self.stack.owned("com.citrix.xenclient.rpc_proxy") if server else oxt.listens(self.socket)
        wait_for(is_ready, what="the proxy")

    def write_rules(self, text):
        with open(self.rules + ".new", "w") as f:
            f.write(text)
        os.chmod(self.rules + ".new", 0o644)
        os.rename(self.rules + ".new", self.rules)

    def client(self, **kwargs):
        return rawbus.Client(self.socket, **kwargs)

    def log(self):
        return self.stack.log("rpc-proxy")

    def status(self):
        host = rawbus.Client(self.stack.socket)
        r = host.call("com.citrix.xenclient.rpc_proxy", "/", "org.oxt.RpcProxy1", "Status")
        host.close()
        return json.loads(r.args[0])

    def start_dbd(self):
        self.dbd = self.stack.daemon("dbd", "com.citrix.xenclient.db")
        # A proxy that runs learns of it a moment later.
        if self.process:
            wait_for(lambda: self.status()["database"], what="the proxy's copy of the database")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.allowed.stop()
        self.canary.stop()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        log = self.log()
        self.stack.stop()
        assert "Sanitizer" not in log and "runtime error" not in log, log


UUID = "0b5bc4a9-9b05-4d4e-9f0a-0c1d2e3f4a5b"


class Line(threading.Thread):
    """What QEMU is to the guest channel: two sockets that it serves, with all bytes copied between them."""

    def __init__(self, host, guest):
        super().__init__(daemon=True)
        self.sockets = [self.listen(host), self.listen(guest)]
        self.start()

    @staticmethod
    def listen(path):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        os.chmod(path, 0o666)
        s.listen(1)
        return s

    def run(self):
        ends = [None, None]
        while True:
            wait = [self.sockets[i] if ends[i] is None else ends[i] for i in (0, 1)]
            if (ends[0] is None) != (ends[1] is None):  # only listen for the other; QEMU holds bytes back as well
                wait = [self.sockets[0 if ends[0] is None else 1]]
            for s in select.select(wait, [], [])[0]:
                if s in self.sockets:
                    ends[self.sockets.index(s)] = s.accept()[0]
                    continue
                data = b""
                try:
                    data = s.recv(65536)
                    if data:
                        ends[1 - ends.index(s)].sendall(data)
                        continue
                except OSError:
                    pass
                ends[ends.index(s)] = None
                break


class GuestProxy(Proxy):
    """dbd, a proxy with -i guest:, and oxt-guest as the guest of VM UUID, domain 7."""

    def __init__(self, rules=RULES, agent=False, env=None):
        self.stack = stack = oxt.Stack()
        stack.env.update(env or {})
        self.rules = os.path.join(stack.root, "rules")
        self.write_rules(rules)
        self.allowed = rawbus.Service(stack.socket, "test.allowed")
        self.canary = rawbus.Service(stack.socket, "test.canary")
        self.process = None
        self.start_dbd()
        self.start_proxy()
        self.folder = stack.root
        self.socket = self.add_guest(UUID, 7, [] if agent else ["--no-agent"])
        self.guest = stack.processes[-1]

    def add_guest(self, uuid, domid, words=("--no-agent",), stubdom=False):
        """Starts another guest; its host bus."""
        Line(self.at(uuid, "rpc"), self.at(uuid, "port"))
        self.announce(domid, "aa", uuid, stubdom)
        offered = self.at(uuid, "bus")
        before = self.status()["channels"]
        self.stack.start([oxt.program("oxt-guest"), "-c", self.at(uuid, "port"), "-l", "unix:" + offered, *words],
                         ready=lambda: os.path.exists(offered))
        wait_for(lambda: self.status()["channels"] == before + 1, what="the channel")
        return offered

    def at(self, uuid, name):
        return os.path.join(self.folder, "%s-%s" % (uuid[:8], name))

    def start_proxy(self):
        self.process = self.stack.daemon("rpc-proxy", "com.citrix.xenclient.rpc_proxy", "-s", "-i", "guest:", "-r", self.rules)

    def announce(self, domid, start, uuid=UUID, stubdom=False):
        path = os.path.join(self.stack.runtime, "channel", uuid + ".json")
        with open(path + ".new", "w") as f:
            json.dump({"version": 1, "uuid": uuid, "domid": domid, "stubdom": stubdom, "start": start,
                       "socket": self.at(uuid, "rpc")}, f)
        os.rename(path + ".new", path)

    def write(self, path, value):
        code, _, err = self.stack.call("com.citrix.xenclient.db", "/", "com.citrix.xenclient.db", "write", "ss", path, value)
        assert code == 0, err

    def remove(self, path):
        code, _, err = self.stack.call("com.citrix.xenclient.db", "/", "com.citrix.xenclient.db", "rm", "s", path)
        assert code == 0, err
