#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An installation on the system bus, simulated: a stock configuration with our policy files, daemons as their users."""
import grp
import json
import os
import shutil
import subprocess
import sys

import oxt

# What Debian's system.conf says, without activation.
SYSTEM_CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <user>oxt-bus</user>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><deny own="*"/><deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <includedir>{folder}</includedir>
</busconfig>
"""

OWNERS = {"com.citrix.xenclient.db": "oxt-dbd", "com.citrix.xenclient.xenmgr": "oxt-mgr", "com.citrix.xenclient.rpc_proxy": "oxt-proxy",
          "org.xen.vm.uuid_00000000_0000_0000_0000_000000000001": "oxt-mgr", "org.oxt.conn.test": "oxt-proxy",
          "com.citrix.xenclient.guest.uuid_00000000_0000_0000_0000_000000000001": "oxt-proxy"}

# Owns a name (argv[1]), answers calls, emits a signal when it is told to, until its input ends.
SERVICE = r"""
import asyncio, os, sys
from dbus_next.aio import MessageBus
from dbus_next import Message, MessageType
async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    reply = await bus.call(Message(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                                   member="RequestName", signature="su", body=[sys.argv[1], 4]))
    print("owned" if reply.message_type == MessageType.METHOD_RETURN and reply.body == [1] else reply.error_name, flush=True)
    def handler(m):
        if m.message_type == MessageType.METHOD_CALL:
            return Message.new_method_return(m, "s", ["answer"])
    bus.add_message_handler(handler)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


class SystemBus(oxt.Stack):
    def __init__(self):
        oxt.needs_root()
        super().__init__(bus=False)
        folder = os.path.join(self.root, "system.d")
        os.mkdir(folder)
        for name in ("org.oxt.conf", "org.oxt.limits.conf"):
            shutil.copy(os.path.join(oxt.SOURCE, "data", "dbus-1", name), folder)
        self.start_configured(SYSTEM_CONF.format(socket=self.socket, folder=folder))
        self.services = []

    def start_configured(self, text):
        config = os.path.join(self.root, "system.conf")
        with open(config, "w") as f:
            f.write(text)
        self.bus = self.start(["dbus-daemon", "--nofork", "--nopidfile", "--config-file=" + config],
                              ready=lambda: oxt.listens(self.socket))
        os.chmod(self.socket, 0o666)
        self.env["OXT_BUS"] = "system"

    def service(self, user, name):
        """Lets a user own a name; gives "owned" or the error's name."""
        p = subprocess.Popen(oxt.as_user(user, sys.executable, "-c", SERVICE, name), env=self.env, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.services.append(p)
        return p.stdout.readline().strip() or p.communicate()[1]

    def call_as(self, user, destination, member="Ping", interface="org.freedesktop.DBus.Peer"):
        r = self.run(oxt.as_user(user, "busctl", "--address=" + self.address, "call", destination, "/", interface, member))
        return r.returncode, r.stdout + r.stderr

    def stop(self):
        for p in getattr(self, "services", []):
            p.kill()
            p.communicate()
        super().stop()


@oxt.case
def owners():
    """Each name of oxt can be owned by its one user alone, not even by root."""
    bus = SystemBus()
    try:
        for name, owner in OWNERS.items():
            for user in ("nobody", "root", "oxt-dbd", "oxt-mgr", "oxt-proxy"):
                got = bus.service(user, name)
                assert got == ("owned" if user == owner else "org.freedesktop.DBus.Error.AccessDenied"), (name, user, got)
                if user != owner:
                    continue
                bus.services.pop().communicate("")
    finally:
        bus.stop()


@oxt.case
def callers():
    """Root and the group oxt may call each name; nobody is refused, by name and by unique name."""
    bus = SystemBus()
    try:
        for name, owner in OWNERS.items():
            assert bus.service(owner, name) == "owned"
            unique = bus.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetNameOwner", "s", name)[1].split('"')[1]
            for user in ("root", "oxt-mgr", "oxt-dbd", "oxt-proxy"):
                assert bus.call_as(user, name)[0] == 0, (user, name)
            for destination in (name, unique):
                status, text = bus.call_as("nobody", destination)
                assert status != 0 and "ccess denied" in text, (destination, text)
    finally:
        bus.stop()


@oxt.case
def signals():
    """Signals of oxt's names reach root and the group oxt, not nobody."""
    bus = SystemBus()
    try:
        listener = r"""
import asyncio, os, sys
from dbus_next.aio import MessageBus
from dbus_next import Message
async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    await bus.call(Message(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                           member="AddMatch", signature="s", body=["type='signal'"]))
    bus.add_message_handler(lambda m: print(m.member, flush=True) if m.path == "/test" else None)
    print("listening", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
        emitter = r"""
import asyncio, os, sys
from dbus_next.aio import MessageBus
from dbus_next import Message
async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    await bus.send(Message.new_signal("/test", "com.example.Open", "before"))
    await bus.request_name("com.citrix.xenclient.xenmgr")
    await bus.send(Message.new_signal("/test", "com.citrix.xenclient.xenmgr", "secret"))
    await bus.send(Message.new_signal("/test", "xenvm.signal.notify", "notify"))
    await bus.call(Message(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                           member="ReleaseName", signature="s", body=["com.citrix.xenclient.xenmgr"]))
    await bus.send(Message.new_signal("/test", "com.example.Open", "after"))
    await bus.wait_for_disconnect()
asyncio.run(main())
"""
        heard = {}
        for user in ("nobody", "oxt-dbd"):
            p = subprocess.Popen(oxt.as_user(user, sys.executable, "-c", listener), env=bus.env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            bus.services.append(p)
            assert p.stdout.readline().strip() == "listening"
            heard[user] = p
        p = subprocess.Popen(oxt.as_user("oxt-mgr", sys.executable, "-c", emitter), env=bus.env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        bus.services.append(p)

        def until_after(listener_process):
            words = []
            while "after" not in words:
                words.append(listener_process.stdout.readline().strip())
            return words
        assert until_after(heard["oxt-dbd"]) == ["before", "secret", "notify", "after"]
        assert until_after(heard["nobody"]) == ["before", "after"]
    finally:
        bus.stop()


@oxt.case
def daemons():
    """On such a bus the daemons run as their users, and as nobody every name, socket and folder refuses."""
    bus = SystemBus()
    try:
        r = bus.run([oxt.program("oxt"), "--bus", "system", "up"])
        assert r.returncode == 0, r.stdout + r.stderr
        names = ("com.citrix.xenclient.db", "com.citrix.xenclient.xenmgr", "com.citrix.xenclient.rpc_proxy")
        for name in names:
            assert bus.call_as("oxt-mgr", name)[0] == 0, name
            status, text = bus.call_as("nobody", name)
            assert status != 0 and "ccess denied" in text, (name, text)
        for folder, _, files in os.walk(bus.runtime):
            for name in files:
                path = os.path.join(folder, name)
                if path != bus.socket and os.path.exists(path) and not os.path.isfile(path):
                    r = bus.run(oxt.as_user("nobody", sys.executable, "-c", "import socket, sys; [socket.socket(socket.AF_UNIX, kind).connect("
                                            "sys.argv[1]) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]", path))
                    assert "PermissionError" in r.stderr, (path, r.stderr)
        for name in ("db", "log"):
            r = bus.run(oxt.as_user("nobody", "ls", os.path.join(bus.state, name)))
            assert r.returncode != 0, (name, r.stdout)
        r = bus.run(oxt.as_user("nobody", oxt.program("oxt"), "down"))
        assert all(bus.owned(name) for name in names), r.stdout + r.stderr
    finally:
        bus.run([oxt.program("oxt"), "--bus", "system", "down", "--timeout", "0"])
        bus.stop()


# What systemd answers about units, of which each "runs" as one process.
SYSTEMD = r"""
import asyncio, os, subprocess, time
from dbus_next.aio import MessageBus
from dbus_next import Message, Variant
running = {}
def handler(m):
    if m.interface == "org.freedesktop.systemd1.Manager":
        if m.member == "LoadUnit":
            return Message.new_method_return(m, "o", ["/unit/" + m.body[0].replace("-", "_").replace(".", "_")])
        for name in ("dbd", "rpc_proxy", "xenmgr", "helper"):
            if m.member == "StartUnit" and m.body[0] == "oxt.target":
                running["/unit/oxt_%s_service" % name] = subprocess.Popen(["sleep", "1000"])
            elif m.member == "StopUnit" and m.body[0] == "oxt.target":
                p = running.pop("/unit/oxt_%s_service" % name)
                p.kill(); p.wait()
        return Message.new_method_return(m, "o", ["/job/1"])
    if m.interface == "org.freedesktop.DBus.Properties" and m.member == "Get":
        p = running.get(m.path)
        value = {"LoadState": Variant("s", "loaded"), "ActiveState": Variant("s", "active" if p else "inactive"),
                 "MainPID": Variant("u", p.pid if p else 0), "NRestarts": Variant("u", 4), "Result": Variant("s", "success"),
                 "ActiveEnterTimestamp": Variant("t", int(time.time() * 1000000))}[m.body[1]]
        return Message.new_method_return(m, "v", [value])
async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    bus.add_message_handler(handler)
    await bus.request_name("org.freedesktop.systemd1")
    print("owned", flush=True)
    await bus.wait_for_disconnect()
asyncio.run(main())
"""


@oxt.case
def units():
    """Where systemd runs the daemons, oxt up, status and down go by its units."""
    bus = SystemBus()
    try:
        with open(os.path.join(bus.root, "system.d", "systemd.conf"), "w") as f:
            f.write('<busconfig><policy user="root"><allow own="org.freedesktop.systemd1"/></policy><policy context="default">'
                    '<allow send_destination="org.freedesktop.systemd1"/></policy></busconfig>')
        bus.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ReloadConfig")
        p = subprocess.Popen([sys.executable, "-c", SYSTEMD], env=bus.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        bus.services.append(p)
        assert p.stdout.readline().strip() == "owned"
        for name in ("OXT_STATE_DIR", "OXT_RUNTIME_DIR"):
            bus.env.pop(name)

        # A place that looks as if systemd ran it, and in which no other process is seen.
        place = ("mount -t tmpfs t /run && mkdir -p /run/systemd/system /run/dbus && mount -t tmpfs t /etc/systemd && "
                 "mkdir /etc/systemd/system && touch /etc/systemd/system/oxt.target && mount -t tmpfs t /var/lib && exec \"$@\"")

        def run(*args):
            return bus.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", place, "sh", oxt.program("oxt"),
                            "--bus", "system", *args])
        r = run("up")
        assert r.returncode == 0 and r.stdout.count("ready (pid") == 4, r.stdout + r.stderr
        status = json.loads(run("status", "--json").stdout)["supervisor"]
        assert status["ready"] and [d["restarts"] for d in status["daemons"]] == [4] * 4, status
        r = run("down")
        assert r.returncode == 0, r.stdout + r.stderr
        status = json.loads(run("status", "--json").stdout)["supervisor"]
        assert not status["ready"] and all(d["state"] == "ended" and d["pid"] == 0 for d in status["daemons"]), status
    finally:
        bus.stop()


@oxt.case
def private_bus_of_root():
    """A private bus that root started refuses nobody the connection, and a member of the group may talk."""
    oxt.needs_root()
    stack = oxt.Stack(bus=False)
    try:
        assert stack.run([oxt.program("oxt"), "up"]).returncode == 0
        for path in ("bus.sock", "up.sock"):
            st = os.stat(os.path.join(stack.runtime, path))
            assert (st.st_mode & 0o777, grp.getgrgid(st.st_gid).gr_name) == (0o660, "oxt"), path
        call = ["busctl", "--address=" + stack.address, "call", "com.citrix.xenclient.db", "/", "com.citrix.xenclient.db", "list", "s", "/"]
        assert stack.run(oxt.as_user("oxt-mgr", *call)).returncode == 0
        r = stack.run(oxt.as_user("nobody", *call))
        assert r.returncode != 0 and "ermission denied" in r.stderr, r.stderr
        # Even where the socket's mode were not there, the bus itself takes no such connection.
        os.chmod(os.path.join(stack.runtime, "bus.sock"), 0o666)
        assert stack.run(oxt.as_user("oxt-mgr", *call)).returncode == 0
        assert stack.run(oxt.as_user("nobody", *call)).returncode != 0
    finally:
        stack.run([oxt.program("oxt"), "down", "--timeout", "0"])
        stack.stop()


oxt.main()
