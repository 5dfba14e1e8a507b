#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real clients through rpc-proxy, which must not notice it; and its options and channels."""
import asyncio
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time
import tty

import oxt
import rawbus
from oxt import wait_for
from rawbus import CALL, ERROR, RETURN
from rpcproxy import UUID, GuestProxy, Proxy

OPEN = "allow all\nallow out-any\ndeny destination test.canary\n"
OK = dict(destination="test.allowed", path="/a", interface="test.i", member="M")


def announce(p, domid, cid=0, uuid=UUID, start="aa"):
    """Tells of a running VM as its monitor would."""
    path = os.path.join(p.stack.runtime, "channel", uuid + ".json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        json.dump({"version": 1, "uuid": uuid, "domid": domid, "cid": cid, "stubdom": False, "socket": "/nowhere", "start": start}, f)
    os.rename(path + ".new", path)


@oxt.case
def libdbus():
    """dbus-send and python3-dbus (libdbus): calls, errors, signals, names."""
    with Proxy(OPEN) as p:
        address = "unix:path=" + p.socket
        r = p.stack.run(["dbus-send", "--bus=" + address, "--print-reply", "--dest=test.allowed", "/a", "test.i.M",
                         "string:hello"])
        assert r.returncode == 0 and 'string "hello"' in r.stdout, r.stderr
        r = p.stack.run(["dbus-send", "--bus=" + address, "--print-reply", "--dest=test.canary", "/a", "test.i.M"])
        assert r.returncode != 0 and "AccessDenied" in r.stderr, r.stderr
        r = p.stack.run(["dbus-send", "--bus=" + address, "--type=signal", "/a", "test.i.Ping"])
        assert r.returncode == 0, r.stderr
        script = """
import sys, dbus, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
b = dbus.bus.BusConnection(sys.argv[1])
o = b.get_object("test.allowed", "/a", introspect=False)
assert o.M("x", dbus_interface="test.i") == "x"
b.add_signal_receiver(lambda t: (print(t), loop.quit()), "Told", "test.i", "test.allowed")
print("ready", flush=True)
loop = GLib.MainLoop(); GLib.timeout_add_seconds(60, loop.quit); loop.run()
"""
        c = subprocess.Popen(["/usr/bin/python3", "-c", script, address], stdout=subprocess.PIPE, text=True)
        try:
            assert c.stdout.readline() == "ready\n"
            p.allowed.client.send(rawbus.SIGNAL, "s", ("news",), path="/a", interface="test.i", member="Told")
            assert c.stdout.readline() == "news\n"
            assert c.wait(60) == 0
        finally:
            c.kill()


@oxt.case
def gdbus():
    """gdbus (GDBus): call, introspect, refused call."""
    with Proxy(OPEN) as p:
        tool = ["gdbus", "call", "--address", "unix:path=" + p.socket]
        r = p.stack.run(tool + ["--dest", "test.allowed", "--object-path", "/a", "--method", "test.i.M", "hello"])
        assert r.returncode == 0 and "hello" in r.stdout, r.stderr
        r = p.stack.run(tool + ["--dest", "test.canary", "--object-path", "/a", "--method", "test.i.M"])
        assert r.returncode != 0 and "AccessDenied" in r.stderr, r.stderr
        r = p.stack.run(["gdbus", "introspect", "--address", "unix:path=" + p.socket, "--dest", "org.freedesktop.DBus",
                         "--object-path", "/org/freedesktop/DBus"])
        assert "RequestName" in r.stdout, r.stderr


@oxt.case
def sd_bus():
    """busctl (sd-bus): call, introspect, list, with its pipelined authentication."""
    with Proxy(OPEN) as p:
        tool = ["busctl", "--address=unix:path=" + p.socket]
        r = p.stack.run(tool + ["call", "test.allowed", "/a", "test.i", "M", "s", "hello"])
        assert r.returncode == 0 and r.stdout == 's "hello"\n', r.stderr
        r = p.stack.run(tool + ["call", "test.canary", "/a", "test.i", "M"])
        assert r.returncode != 0 and "Access denied" in r.stderr, r.stderr
        r = p.stack.run(tool + ["introspect", "com.citrix.xenclient.rpc_proxy", "/"])
        assert "not" in r.stderr.lower() or "validate_call" in r.stdout
        r = p.stack.run(tool + ["list", "--no-pager"])
        assert "test.allowed" in r.stdout and "test.canary" not in r.stdout and "org.oxt.conn" not in r.stdout, r.stdout + r.stderr


@oxt.case
def dbus_next():
    """python3-dbus-next: calls and a large argument."""
    with Proxy(OPEN) as p:
        from dbus_next import Message
        from dbus_next.aio import MessageBus

        async def run():
            bus = await MessageBus(bus_address="unix:path=" + p.socket).connect()
            for text in ("x", "y" * 300000):
                r = await bus.call(Message(destination="test.allowed", path="/a", interface="test.i", member="M", signature="s",
                                           body=[text]))
                assert r.body == [text], r.body[:1]
            r = await bus.call(Message(destination="test.canary", path="/a", interface="test.i", member="M"))
            assert r.error_name.endswith("AccessDenied")
            bus.disconnect()
        asyncio.run(run())


@oxt.case
def big_endian_and_serials():
    """Both byte orders, any serials, bodies as they are."""
    with Proxy(OPEN) as p:
        for order in "<>":
            c = p.client(order=order)
            for serial in (1, 2, 3, 0x7fffffff, 0xffffffff, 17, 2):
                c.send(CALL, "s", ("é\t" * 50,), serial=serial, **OK)
                r = c.reply(serial)
                assert r.args == ["é\t" * 50]
            seen = p.allowed.calls[-1]
            assert seen.order == order and seen.serial == 2 and seen.sender == c.unique
            assert c.reply(c.send(CALL, **dict(OK, destination="test.canary"))).kind == ERROR
            assert order == "<" or c.call_bus("ListNames").args[0]


@oxt.case
def pipelined():
    """Everything said in one write, and byte by byte."""
    with Proxy(OPEN) as p:
        data = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n" + rawbus.encode(CALL, 1, **dict(rawbus.BUS, member="Hello")) \
               + rawbus.encode(CALL, 2, "s", ("x",), **OK)
        for pieces in ([data], [data[i:i + 1] for i in range(len(data))]):
            c = p.client(auth=False, hello=False)
            for piece in pieces:
                c.socket.sendall(piece)
            assert c.line() == b"DATA" and c.line().startswith(b"OK ") and c.line() == b"ERROR"
            assert c.reply(1).args[0].startswith(":") and c.reply(2).args == ["x"]


@oxt.case
def proxy_behind_a_proxy():
    """A proxy in front of a proxy: both judge, the inner one names the VM."""
    with Proxy(OPEN) as p:
        outer = os.path.join(p.folder, "outer.sock")
        rules = os.path.join(p.stack.root, "rules2")
        with open(rules, "w") as f:
            f.write("allow all\nallow out-any\ndeny member No\n")
        p.stack.start([oxt.program("rpc-proxy"), "-i", "unix:" + outer, "-o", "unix:" + p.socket, "-d", "9", "--no-marker",
                       "-r", rules], ready=lambda: oxt.listens(outer))
        c = rawbus.Client(outer)
        assert c.call("test.allowed", "/a", "test.i", "M", "s", ("x",)).args == ["x"]
        assert c.call("test.allowed", "/a", "test.i", "No").kind == ERROR
        assert c.call("test.canary", "/a", "test.i", "M").kind == ERROR
        assert "(9->0) DENY" in p.log() and "(5->0) DENY" in p.log()
        # Without that option it would have to name the VM itself, which the inner one does not allow.
        p.stack.start([oxt.program("rpc-proxy"), "-i", "unix:" + outer + "2", "-o", "unix:" + p.socket, "-d", "9", "-r", rules],
                      ready=lambda: oxt.listens(outer + "2"))
        c = rawbus.Client(outer + "2", auth=False, hello=False)
        c.socket.sendall(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")
        c.line()
        assert c.ended()


def tcp_listeners(port):
    with open("/proc/net/tcp") as f:
        return [l.split()[1] for l in f if l.split()[3] == "0A" and l.split()[1].endswith(":%04X" % port)]


@oxt.case
def tcp():
    """tcp: listens on loopback alone; without -d nothing is exempt; with -d 0 everything is."""
    port = oxt.free_port()
    with Proxy(OPEN, "-i", "tcp:%d" % port, domid=None) as p:
        def connect():
            try:
                return rawbus.Client(("127.0.0.1", port))
            except OSError:
                return None
        c = wait_for(connect, what="the proxy")
        assert c.call("test.allowed", "/a", "test.i", "M").kind == RETURN
        assert c.call("test.canary", "/a", "test.i", "M").kind == ERROR
        assert p.canary.calls == [] and "(-1->0) DENY" in p.log()
        listening = tcp_listeners(port)
        assert listening == ["0100007F:%04X" % port], listening
    with Proxy(OPEN, "-i", "tcp:%d" % port, "--allow-remote", domid=None):
        assert wait_for(lambda: tcp_listeners(port), what="the proxy") == ["00000000:%04X" % port]
    with Proxy(OPEN, domid=0) as p:
        c = p.client()
        assert c.call("test.canary", "/a", "test.i", "M").kind == RETURN
    with Proxy(OPEN, "-w", domid=5) as p:
        c = p.client()
        assert c.call("test.canary", "/a", "test.i", "M").kind == RETURN
        assert c.call_bus("RequestName", "su", ("org.oxt.conn.x", 0)).kind == ERROR


class KernelVsock:
    """AF_VSOCK as the kernel has it: every client comes through loopback, whose CID is 1."""
    env = None

    def __init__(self):
        with socket.socket(socket.AF_VSOCK) as s, socket.socket(socket.AF_VSOCK) as c:
            s.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            s.listen(1)
            c.settimeout(3)
            c.connect((1, s.getsockname()[1]))  # VMADDR_CID_LOCAL
            self.port = s.getsockname()[1]

    def connect(self):
        s = socket.socket(socket.AF_VSOCK)
        s.settimeout(60)
        s.connect((1, self.port))
        return s


class PretendedVsock:
    """AF_VSOCK in the proxy alone, over unix sockets: the kernel has no loopback for it."""
    port, count = 5555, 0

    def __init__(self):
        self.name = "oxt-test-%d" % os.getpid()
        self.env = dict(oxt.preloaded("libvsock-loopback.so", os.environ), OXT_VSOCK=self.name)

    def connect(self, cid=1):
        PretendedVsock.count += 1
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.bind("\0%s/cid/%d/%d" % (self.name, cid, self.count))
        s.connect("\0%s/%d" % (self.name, self.port))
        return s


def identities_by_cid(vsock):
    """A client is the VM announced with its CID, the domain of -d, or nobody; never the host."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow dom-id 5 destination test.allowed\n" \
            "allow dom-uuid %s destination test.canary\nallow out-any\n" % UUID

    def talk(**kwargs):
        def connect():
            try:
                return rawbus.Client(vsock.connect(**kwargs))
            except OSError:
                return None
        c = wait_for(connect, what="the proxy")
        r = [c.call(name, "/a", "test.i", "M").kind == RETURN for name in ("test.allowed", "test.canary")]
        c.close()
        return r

    with Proxy(rules, "-i", "vsock:%d" % vsock.port, domid=None, env=vsock.env) as p:
        assert talk() == [False, False] and "(-1->0) DENY" in p.log()
        p.start_dbd()
        announce(p, 5, cid=1)
        assert talk() == [True, True]
        announce(p, 6, cid=1)
        assert talk() == [False, True] and "(6->0) DENY" in p.log()
        announce(p, 5, cid=99)
        assert talk() == [False, False]
        if isinstance(vsock, PretendedVsock):
            assert talk(cid=99) == [True, True] and talk(cid=0) == [False, False] and talk(cid=2) == [False, False]
        announce(p, 5, cid=1)
        announce(p, 6, cid=1, uuid=UUID[:-1] + "c")
        assert talk() == [False, False] and "nobody's" in p.log()
    with Proxy(rules, "-i", "vsock:%d" % vsock.port, domid=5, env=vsock.env) as p:
        assert talk() == [True, False]


@oxt.case
def vsock():
    """vsock, through the kernel's loopback: a client is the VM announced with its CID, the domain of -d, or nobody."""
    try:
        kernel = KernelVsock()
    except OSError as e:
        raise oxt.Skip("this kernel has no vsock loopback: %s" % e)
    identities_by_cid(kernel)


@oxt.case
def vsock_identities():
    """vsock, with accept() pretended: a client is the VM announced with its CID, the domain of -d, or nobody."""
    identities_by_cid(PretendedVsock())


def line():
    """A serial line: its far end, and its near one with its name."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.chmod(name, 0o666)
    return master, slave, name


def has_open(process, name):
    """Whether the process waits for what comes over the line: by then it has set it up, and drained what came before."""
    folder = "/proc/%d/fd" % process.pid
    links = {n: os.readlink(os.path.join(folder, n)) for n in os.listdir(folder)}
    watched = set()
    for n in (n for n in links if "eventpoll" in links[n]):
        with open("/proc/%d/fdinfo/%s" % (process.pid, n)) as f:
            watched |= {line.split()[1] for line in f if line.startswith("tfd:")}
    return any(links[n] == name for n in watched & set(links))


def copy(a, b):
    """Bytes between two far ends, until one is closed."""
    try:
        while True:
            for end in select.select([a, b], [], [])[0]:
                data = os.read(end, 4096)
                while data:
                    data = data[os.write(b if end == a else a, data):]
    except OSError:
        pass


@oxt.case
def serial_out():
    """-o serial: what comes in goes on over a line, at whose other end another proxy serves it; both judge."""
    far, slave, name = line()
    far_too, slave_too, name_too = line()
    copier = threading.Thread(target=copy, args=(far, far_too), daemon=True)
    copier.start()
    with Proxy(OPEN) as p:
        inner = p.stack.start([oxt.program("rpc-proxy"), "-i", "serial:" + name_too, "-d", "6", "-r", p.rules])
        wait_for(lambda: has_open(inner, name_too), what="the line")
        outer, rules = os.path.join(p.folder, "outer.sock"), os.path.join(p.stack.root, "rules2")
        with open(rules, "w") as f:
            f.write("allow all\nallow out-any\ndeny member No\n")
        p.stack.start([oxt.program("rpc-proxy"), "-i", "unix:" + outer, "-o", "serial:" + name, "-d", "9", "--no-marker", "-r", rules],
                      ready=lambda: oxt.listens(outer))
        time.sleep(0.2)  # what came before the line was set up is drained
        c = rawbus.Client(outer)
        text = "over a line " * 5000
        assert c.call("test.allowed", "/a", "test.i", "M", "s", (text,)).args == [text]
        assert c.call("test.allowed", "/a", "test.i", "No").kind == ERROR
        assert c.call("test.canary", "/a", "test.i", "M").kind == ERROR
        assert "(9->0) DENY" in p.log() and "(6->0) DENY" in p.log() and p.canary.calls == []
        c.close()
    os.close(slave)
    os.close(slave_too)
    copier.join(60)  # their far ends say so; closed before, their numbers would be those of the next line
    os.close(far)
    os.close(far_too)


@oxt.case
def serial_line():
    """serial: one conversation over a line, then the process ends."""
    master, slave, name = line()
    with Proxy(OPEN) as p:
        process = p.stack.start([oxt.program("rpc-proxy"), "-i", "serial:" + name, "-d", "5", "-r", p.rules])
        wait_for(lambda: has_open(process, name), what="the line")
        time.sleep(0.2)  # what came before it was set up is drained

        def read():
            assert select.select([master], [], [], 60)[0], p.log()
            return os.read(master, 1000)
        os.write(master, b"\0AUTH EXTERNAL 30\r\n")
        got = b""
        while b"OK " not in got or not got.endswith(b"\r\n"):
            got += read()
        os.write(master, b"BEGIN\r\n" + rawbus.encode(CALL, 1, **dict(rawbus.BUS, member="Hello")) +
                 rawbus.encode(CALL, 2, "s", ("over a line",), **OK))
        got = b""
        while b"over a line" not in got:
            got += read()
        os.close(slave)
        os.close(master)
        wait_for(lambda: process.poll() is not None, what="the end of the process")
        assert process.returncode == 0, process.returncode


@oxt.case
def options_of_old():
    """-u, --owner-name, --translate-anonymous-dests, --verbose, -n; joined and long forms; mistakes are refused."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed\nallow out-any\n"
    with Proxy(rules, "-uv", "--owner", "--translate-anon", "-ncom.x.agent_$UUID") as p:
        announce(p, 5)
        p.start_dbd()
        c = p.client(auth=False, hello=False)
        c.socket.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert c.line() == b"DATA " + UUID.encode() and c.line().startswith(b"OK ")
        c.socket.sendall(b"BEGIN\r\n")
        c.unique = c.call_bus("Hello").args[0]
        assert c.call_bus("GetNameOwner", "s", ("test.allowed",)).args == ["test.allowed"]
        assert c.call(p.allowed.unique, "/a", "test.i", "M").kind == RETURN
        assert p.allowed.calls[-1].destination == "test.allowed"
        assert c.call_bus("RequestName", "su", ("any.name", 0)).args == [1]
        host = rawbus.Client(p.stack.socket)
        name = "com.x.agent_" + UUID.replace("-", "_")
        wait_for(lambda: host.call_bus("GetNameOwner", "s", (name,)).args == [c.unique], what="the name")
        assert "(5->0) ALLOW method-call" in p.log()
    with Proxy(rules, "--auto-auth") as p:
        c = p.client(auth=False, hello=False)
        assert c.call_bus("Hello").args[0].startswith(":")
        assert c.call("test.allowed", "/a", "test.i", "M").kind == RETURN and c.call("test.canary", "/a", "test.i", "M").kind == ERROR
    for words in (["--nonsense"], ["word"], ["-i", "nonsense:1"], ["-i", "tcp:99999"], ["-o", "tcp:1"], ["-d", "x"], ["-i", "argo:5555"],
                  ["-i"], ["--in", "unix:/x"], ["-sx"]):
        r = subprocess.run([oxt.program("rpc-proxy"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert r.returncode != 0 and r.stderr, words
    for words in (["-i", "argo:5555"], ["-i", "unix:/x", "-o", "argo-domid:5555:1"], ["-i", "unix:/x", "-o", "argo-uuid:5555:" + UUID], []):
        r = subprocess.run([oxt.program("rpc-proxy"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert r.returncode != 0 and "Argo" in r.stderr, (words, r.stderr)


@oxt.case
def ends_with_its_vm():
    """Connections to a socket with -d end when the VM of that domain does, and those of one start are not those of the next."""
    with Proxy(OPEN) as p:
        p.start_dbd()
        unknown = p.client()
        announce(p, 5)
        first = p.client()
        assert first.call("test.allowed", "/a", "test.i", "M").kind == RETURN
        announce(p, 5, start="bb")
        assert first.ended()
        second = p.client()
        announce(p, 6, uuid="11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b")
        assert second.call("test.allowed", "/a", "test.i", "M").kind == RETURN
        os.unlink(os.path.join(p.stack.runtime, "channel", UUID + ".json"))
        assert second.ended()
        assert unknown.call("test.allowed", "/a", "test.i", "M").kind == RETURN


@oxt.case
def service_5556():
    """Service 5556 of a guest channel is the instance for guests: one name whatever they ask for, unique names translated."""
    rules = "deny all\nallow destination org.freedesktop.DBus\nallow destination test.allowed\nallow out-any\n"
    with GuestProxy(rules) as p:
        offered = p.at(UUID, "5556")
        p.guest.terminate()
        p.guest.wait()
        p.stack.start([oxt.program("oxt-guest"), "-c", p.at(UUID, "port"), "-l", "unix:%s=5556" % offered, "--no-agent"],
                      ready=lambda: oxt.listens(offered))
        wait_for(lambda: p.status()["channels"] == 1, what="the channel")
        c = rawbus.Client(offered)
        assert c.call_bus("RequestName", "su", ("any.name", 0)).args == [1]
        host, name = rawbus.Client(p.stack.socket), "com.citrix.xenclient.guest.uuid_" + UUID.replace("-", "_")
        wait_for(lambda: host.call_bus("GetNameOwner", "s", (name,)).args == [c.unique], what="the name")
        assert c.call(p.allowed.unique, "/a", "test.i", "M").kind == RETURN and p.allowed.calls[-1].destination == "test.allowed"
        assert c.call(p.canary.unique, "/a", "test.i", "M").kind == ERROR and p.canary.calls == []


@oxt.case
def agent_name():
    """A VM's own agent may own its name and emit its signals without a rule; another VM's name it may not."""
    with Proxy("deny all\nallow out-any\n") as p:
        announce(p, 5)
        p.start_dbd()
        host = rawbus.Client(p.stack.socket)
        host.call_bus("AddMatch", "s", ("type='signal',interface='com.citrix.xenclient.guest'",))
        c = p.client()
        name = "com.citrix.xenclient.guest.uuid_" + UUID.replace("-", "_")
        c.send(rawbus.SIGNAL, path="/", interface="com.citrix.xenclient.guest", member="too_early")
        assert c.call_bus("RequestName", "su", (name[:-1] + "c", 0)).kind == ERROR
        assert c.call_bus("RequestName", "su", (name, 0)).args == [1]
        wait_for(lambda: host.call_bus("NameHasOwner", "s", (name,)).args == [1], what="the name")
        c.send(rawbus.SIGNAL, path="/", interface="com.citrix.xenclient.guest", member="agent_started")
        c.send(rawbus.SIGNAL, path="/", interface="test.i", member="other")
        m = host.until(lambda m: m.kind == rawbus.SIGNAL and m.sender == c.unique)
        assert m.member == "agent_started", m.member
        r = host.send(CALL, "s", ("now",), destination=name, path="/", interface="com.citrix.xenclient.guest", member="request_shutdown")
        m = c.until(lambda m: m.kind == CALL)
        assert m.member == "request_shutdown"
        c.send(RETURN, destination=m.sender, reply_serial=m.serial)
        assert host.reply(r).kind == RETURN


oxt.main()
