#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rpc-proxy over real sockets: what passes, what is denied, and what is said of it."""
import json
import os

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

    def __init__(self, rules=RULES, *args, domid=5, server=True):
        self.stack = oxt.Stack()
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
        self.process = self.stack.start(command, ready=lambda: os.path.exists(self.socket))
        if server:
            wait_for(lambda: self.stack.owned("com.citrix.xenclient.rpc_proxy"), what="the proxy's name")

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
        code, out, err = self.stack.call("com.citrix.xenclient.rpc_proxy", "/", "org.oxt.RpcProxy1", "Status")
        assert code == 0, err
        return json.loads(json.loads(out[2:]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.allowed.stop()
        self.canary.stop()
        self.stack.stop()


@oxt.case
def allowed_and_denied():
    """An allowed call is answered, a denied one gets AccessDenied and a record with its rule."""
    with Proxy() as p:
        c = p.client()
        assert c.unique.startswith(":"), c.unique
        r = c.call("test.allowed", "/a", "test.i", "M", "s", ("hello",))
        assert r.kind == rawbus.RETURN and r.args == ["hello"], r.args
        r = c.call("test.canary", "/a", "test.i", "M")
        assert r.kind == rawbus.ERROR and r.error_name == "org.freedesktop.DBus.Error.AccessDenied", r.error_name
        assert p.canary.members() == []
        line = wait_for(lambda: [l for l in p.log().splitlines() if "(5->0) DENY" in l], what="the record")[0]
        assert "%s:1: deny all" % p.rules in line and "nearest" in line, line


@oxt.case
def marker_before_the_first_call():
    """Each connection carries a marker name with the domain, before its first call arrives."""
    with Proxy() as p:
        watcher = rawbus.Client(p.stack.socket)
        watcher.call_bus("AddMatch", "s", ("type='signal',member='NameOwnerChanged',arg0namespace='org.oxt.conn'",))
        c = p.client()
        m = watcher.until(lambda m: m.kind == rawbus.SIGNAL and m.member == "NameOwnerChanged" and m.args[0][0] != ":")
        assert m.args[0].startswith("org.oxt.conn.d5.u") and m.args[2] == c.unique, m.args


oxt.main()
