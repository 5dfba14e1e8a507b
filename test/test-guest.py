#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt-guest against a host side that is written a second time here (channel.py), on a real bus."""
import os
import socket
import subprocess
import threading
import time

import dbus

import channel
import oxt


class Guest:
    """oxt-guest on a unix socket in place of the virtio port; attach() is a host side that connects."""

    def __init__(self, *args):
        self.stack = oxt.Stack()
        self.port = self.stack.root + "/port"
        self.programs = self.stack.root + "/host-bus"
        self.control = self.stack.root + "/agent"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.port)
        self.listener.listen()
        self.host = None
        self.process = self.stack.start(
            [oxt.program("oxt-guest"), "--channel", self.port, "--listen", "unix:" + self.programs,
             "--control", self.control, *args], ready=lambda: os.path.exists(self.programs))

    def attach(self):
        self.listener.settimeout(60)
        self.host = channel.Host(self.listener.accept()[0], self.stack.socket)
        assert self.host.attached.wait(60), "no hello from the guest"

    def connect(self):
        """A guest program's connection to the host's bus."""
        return dbus.bus.BusConnection("unix:path=" + self.programs)

    def call(self, *args):
        return self.stack.run(["busctl", "--address=unix:path=" + self.programs, "call", "org.freedesktop.DBus", "/",
                               "org.freedesktop.DBus", *args])

    def stop(self):
        if self.host:
            self.host.stop()
        self.listener.close()
        self.stack.stop()


def names(bus):
    return [str(n) for n in bus.list_names()]


@oxt.case
def many_connections():
    """64 programs of the guest are on the host's bus at once, each with a name of its own."""
    g = Guest("--no-agent")
    try:
        g.attach()
        programs = [g.connect() for _ in range(64)]
        assert len({p.get_unique_name() for p in programs}) == 64
        assert len(g.host.streams) == 64 and set(g.host.services) == {5555}
        assert len([n for n in names(programs[0]) if n.startswith(":")]) == 64
        for p in programs:
            p.close()
        oxt.wait_for(lambda: not g.host.streams, what="the ends of all streams")
    finally:
        g.stop()


class Echo:
    """In place of the bus: gives back what it gets."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def serve(s):
        try:
            while True:
                data = s.recv(65536)
                if not data:
                    return
                s.sendall(data)
        except OSError:
            pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    return s


@oxt.case
def large_transfers():
    """Megabytes arrive whole both ways, while another connection takes nothing at all."""
    g = Guest("--no-agent")
    echo = Echo(g.stack.root + "/echo")
    try:
        g.stack.socket = g.stack.root + "/echo"
        g.attach()
        stuck = connect(g.programs)
        stuck.setblocking(False)
        try:
            while True:
                stuck.send(b"s" * 65536)  # until everything on the way is full: nobody reads the echo
                time.sleep(0.01)
        except BlockingIOError:
            pass
        block = os.urandom(4 << 20)
        s = connect(g.programs)
        threading.Thread(target=s.sendall, args=(block,), daemon=True).start()
        got = b""
        while len(got) < len(block):
            data = s.recv(1 << 20)
            assert data, "ended after %d bytes" % len(got)
            got += data
        assert got == block
        assert len(g.host.streams) == 2
    finally:
        echo.stop()
        g.stop()


@oxt.case
def host_restarts():
    """When the host's side is killed old connections end, programs wait, and all goes on within 3 seconds."""
    g = Guest("--no-agent")
    try:
        g.attach()

        def killed():
            old = connect(g.programs)
            old.sendall(b"\0AUTH EXTERNAL 30\r\n")
            assert old.recv(100).startswith(b"OK")
            g.host.stop()
            assert old.recv(100) == b"", "the old connection has no end"
            waiting = subprocess.Popen(["busctl", "--address=unix:path=" + g.programs, "call", "org.freedesktop.DBus", "/",
                                        "org.freedesktop.DBus", "GetId"], stdout=subprocess.PIPE, text=True)
            g.attach()
            out, _ = waiting.communicate(timeout=60)
            assert waiting.returncode == 0 and out.startswith("s "), out
        oxt.in_time(3, killed, "the way back")
    finally:
        g.stop()


@oxt.case
def guest_restarts():
    """A new oxt-guest gets into step with a host side that has been there before."""
    g = Guest("--no-agent")
    try:
        g.attach()
        assert g.call("GetId").returncode == 0
        g.process.kill()
        g.process.wait()
        g.host.stop()
        g.process = g.stack.start([oxt.program("oxt-guest"), "--channel", g.port, "--listen", "unix:" + g.programs,
                                   "--no-agent"])
        g.attach()
        assert g.call("GetId").returncode == 0
    finally:
        g.stop()


class Agent:
    """What the host sees of the agent. There is no proxy here that would put the uuid into the name."""
    name = "com.citrix.xenclient.guest.uuid_own"
    interface = "com.citrix.xenclient.guest"


@oxt.case
def agent():
    """The agent owns its name, says that it has started, answers, and refuses what it does not know."""
    g = Guest()
    try:
        monitor = g.stack.start(["dbus-monitor", "--address", g.stack.address,
                                 "interface='com.citrix.xenclient.guest'"])
        oxt.wait_for(lambda: "NameAcquired" in g.stack.log("dbus-monitor"), what="the monitor")
        g.attach()
        oxt.wait_for(lambda: g.stack.owned(Agent.name), what="the agent's name")
        assert 5556 in g.host.services
        oxt.wait_for(lambda: "member=agent_started" in g.stack.log("dbus-monitor"), what="agent_started")

        status, out, _ = g.stack.call(Agent.name, "/", "org.freedesktop.DBus.Introspectable", "Introspect")
        for member in ("request_shutdown", "request_reboot", "request_sleep", "request_hibernate",
                       "agent_started", "agent_uninstalled", "xorg_running"):
            assert status == 0 and '"%s' % member in out.replace("\\", ""), (member, out)
        assert g.stack.call(Agent.name, "/", "org.freedesktop.DBus.Peer", "Ping")[0] == 0
        status, _, error = g.stack.call(Agent.name, "/", Agent.interface, "format_disk")
        assert status != 0 and "format_disk" in error, error

        emit = [oxt.program("oxt-guest"), "--control", g.control, "--emit"]
        assert g.stack.run(emit + ["xorg_running"]).returncode == 0
        oxt.wait_for(lambda: "member=xorg_running" in g.stack.log("dbus-monitor"), what="xorg_running")
        assert g.stack.run(emit + ["shutdown"]).returncode == 2
        write = emit[:-1] + ["--write"]
        assert g.stack.run(write + ["booted=1"]).returncode == 0
        oxt.wait_for(lambda: 'string "booted"' in g.stack.log("dbus-monitor"), what="node_written")
        assert g.stack.run(write + ["booted"]).returncode == 2
        assert g.stack.run(write + ["booted=" + "1" * 200]).returncode == 2

        # The host side goes and comes back: so does the agent.
        g.host.stop()
        oxt.wait_for(lambda: not g.stack.owned(Agent.name), what="the end of the agent's connection")
        g.attach()
        oxt.wait_for(lambda: g.stack.owned(Agent.name), 3, "the agent's name")
        oxt.wait_for(lambda: g.stack.log("dbus-monitor").count('string "booted"') == 2, what="the node, told again")
        monitor.terminate()
    finally:
        g.stop()


oxt.main()
