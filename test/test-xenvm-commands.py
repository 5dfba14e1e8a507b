#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tables of xenvm's commands and keys against what it does: every command, and keys that no command line shows."""
import glob
import json
import os
import re
import shutil
import socket
import stat
import struct

import dbus

import oxt
from xenvm import Machine, Monitors, Watcher, done

stack = Monitors()
watcher = Watcher(stack)
machine = stack.machine


def table(m):
    """name -> [(argument, type, required)], as help has it."""
    rows = {}
    for line in m.cmd("help").splitlines():
        words = line.split(" (")[0].split()
        rows[words[0]] = [(w.strip("[]").split("=")[0], w.strip("[]").split("=")[1], not w.startswith("[")) for w in words[1:]]
    return rows


@oxt.case
def every_command():
    """Each command of the table is served on both transports, asks for what it needs, and is used in a case of these tests"""
    m = Machine(stack)
    m.monitor("--monitor-json", "true")
    rows = table(m)
    assert len(rows) > 40 and rows["start"] == [("paused", "true|false", False)], rows
    xml = str(dbus.Interface(watcher.bus.get_object(m.name, "/"), "org.freedesktop.DBus.Introspectable").Introspect())
    aliases = {"shutdown", "restart", "status", "domid", "vnc", "restore-no-del"}
    own = xml.split('<interface name="%s">' % m.name)[1].split("</interface>")[0]
    assert {n.replace("_", "-") for n in re.findall(r'<method name="(\w+)"', own)} == set(rows) | aliases, own
    for name, arguments in rows.items():
        needed = [a for a in arguments if a[2]]
        for options in ([], ["--use-socket"]):
            if needed:
                assert "not found: " + needed[0][0] in m.fails(name, options=options), name
        for wrong, kind, _ in arguments:
            given = ["%s=%s" % (a, "nonsense" if a == wrong else {"NUMBER": "0", "TEXT": "x"}.get(t, "true")) for a, t, _ in arguments]
            if kind != "TEXT":
                assert "invalid type: " + wrong in m.fails(name, *given), (name, given)
    text = ""
    for path in glob.glob(os.path.join(oxt.SOURCE, "test/test-xenvm*.py")):
        with open(path) as f:
            text += f.read()
    untried = [name for name in rows if '"%s"' % name not in text]
    assert not untried, "no case of test-xenvm*.py uses %s" % untried
    done(m)


@oxt.case
def devices_of_the_next_start():
    """pci-add adds to the config of the next start alone; the old words for taking away say that there is no such thing"""
    m = machine()
    assert len(m.cmd("pci-list").splitlines()) == 1
    m.cmd("pci-add", "id=0", "domain=0", "bus=255", "slot=31", "func=7", "bind=false")
    assert [c.strip() for c in m.cmd("pci-list").splitlines()[1].split("|")] == ["0", "255", "31", "7", "n", "-1", "-1", ""], m.cmd("pci-list")
    error = m.fails("start")
    assert "PCI device" in error, error
    assert "invalid type: slot" in m.fails("pci-add", "id=0", "domain=0", "bus=0", "slot=-1", "func=0")
    for command in ("disk-del", "nic-del", "pci-del"):
        assert "not implemented" in m.fails(command)
    done(m)


@oxt.case
def only_on_xen():
    """What Xen alone has: no stub domain, no driver domains, nobody to publish to, and each is said"""
    m = machine(nic=["bridge=user"])
    assert "Vm_bad_state" in m.fails("publish", "slot", "3")
    m.cmd("start")
    assert m.cmd("get-stubdomid") == "-1"
    m.cmd("publish", "slot", "3")
    m.cmd("set-nic-backend-dom", "id=0", "domid=0")
    assert "no driver domains" in m.fails("set-nic-backend-dom", "id=0", "domid=5")
    assert "no network card 9" in m.fails("set-nic-backend-dom", "id=9", "domid=0")
    done(m)


@oxt.case
def looks():
    """The console's terminal echoes what the guest echoes, the picture is a PNG of the screen, what was used only grows"""
    m = machine("echo", display="vnc", serial="pty")
    for command in (["console"], ["screenshot", "/nonexistent/x.png"], ["usage"]):
        assert "Vm_bad_state" in m.fails(*command)
    m.cmd("start")
    terminal = m.cmd("console")
    assert terminal.startswith("/dev/pts/") and stat.S_ISCHR(os.stat(terminal).st_mode), terminal
    picture = os.path.join(stack.root, "screen.png")
    m.cmd("screenshot", picture)
    with open(picture, "rb") as f:
        head = f.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", head[16:])) >= 200, head
    assert m.fails("screenshot", "/nonexistent/x.png")
    before = json.loads(m.cmd("usage"))
    after = oxt.wait_for(lambda: [u for u in [json.loads(m.cmd("usage"))] if u["cpu_usec"] > before["cpu_usec"] and u["disk_read"] >= 512], 20, "more CPU")[0]
    assert after["at_usec"] > before["at_usec"] and after["memory_kib"] > 0, (before, after)
    done(m)


@oxt.case
def real_drive():
    """A drive is connected to a device of the host, and QEMU has that very device open"""
    oxt.needs_root()
    image = os.path.join(stack.root, "real.iso")
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    r = stack.run(["losetup", "--find", "--show", "--read-only", image])
    if r.returncode != 0:
        raise oxt.Skip("no loop device can be had here")
    device = r.stdout.strip()
    try:
        m = machine()
        m.write(disk=[m.image + ":file:hda:w:disk", ":file:hdc:r:cdrom"])
        m.cmd("read-config")
        m.cmd("start")
        m.cmd("cd-insert-real", "hdc", device)
        folder = "/proc/%d/fd" % m.pid()
        assert device in [os.readlink(os.path.join(folder, n)) for n in os.listdir(folder)]
        assert device in m.cmd("disk-list")
        m.cmd("cd-eject", "hdc")
        assert "cannot be read" in m.fails("cd-insert-real", "hdc", "/dev/nonexistent")
        done(m)
    finally:
        stack.run(["losetup", "--detach", device])


def talk(connection):
    """The guest at the other end sends back what it gets. What is sent before it has booted may be lost."""
    connection.settimeout(1)

    def answered():
        connection.sendall(b"?")
        try:
            return connection.recv(100)
        except socket.timeout:
            return None

    oxt.wait_for(answered, 30, "the guest's first echo")
    connection.settimeout(30)
    connection.sendall(b"hello")
    got = b""
    while b"hello" not in got.replace(b"?", b""):
        piece = connection.recv(100)
        assert piece, got
        got += piece


@oxt.case
def serial_lines():
    """Bytes go both ways over TCP and a unix socket, whether QEMU calls or is called; nobody to call stops the start"""
    path = os.path.join(stack.root, "line.sock")
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, path)):
        with socket.socket(family) as server:
            server.bind(address)
            server.listen(1)
            server.settimeout(20)
            if family == socket.AF_UNIX:
                os.chmod(path, 0o666)  # QEMU is another user
            words = "unix:" + path if family == socket.AF_UNIX else "tcp:127.0.0.1:%d" % server.getsockname()[1]
            m = machine("echo", serial=words)
            m.cmd("start")
            connection, _ = server.accept()
            with connection:
                talk(connection)
            m.cmd("destroy")
        error = m.fails("start")
        assert "refused" in error, error
        done(m)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    m = machine("echo", serial="tcp:127.0.0.1:%d,server=on,wait=off" % port)
    m.cmd("start")
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        talk(connection)
    done(m)


def wrapper(name, text):
    """A device model of ours in front of QEMU: it runs as whoever QEMU would run as."""
    path = os.path.join(stack.root, name)
    with open(path, "w") as f:
        f.write("#!/bin/bash\n%s\n" % text)
    os.chmod(path, 0o755)
    return path


@oxt.case
def windows():
    """A window opens on the screen of the config or of the environment, for an ordinary user's QEMU; others are told why not"""
    seen = os.path.join(stack.root, "screen-of-qemu")
    # Without a screen here the window is left away, once its words were looked at.
    words = 'echo "$DISPLAY $DBUS_SESSION_BUS_ADDRESS $*" >%s; exec qemu-system-x86_64 "${@/#%s/none}"'
    if os.geteuid() == 0:
        for kind in ("sdl", "gtk"):
            m = machine(display=kind)
            assert "display = %s: QEMU runs as a user of its own" % kind in m.fails("start")
            done(m)
    stack.env.update(OXT_VM_USERS="none", DISPLAY=":7")
    try:
        for kind, screen in (("sdl", ":7"), ("gtk", ":7"), ("sdl::9", ":9"), ("gtk:host:1.0", "host:1.0")):
            word = kind.split(":")[0]
            m = machine(display=kind, **{"qemu-dm-path": wrapper("dm-" + word, words % (seen, word))})
            m.cmd("start")
            with open(seen) as f:
                line = f.read()
            assert line.startswith(screen + " disabled: ") and " -display %s " % word in line, line
            done(m)
        # The real one: SDL's own pretended screen, where QEMU has SDL; else QEMU's own words, with the package that has it.
        m = machine(display="sdl", **{"qemu-dm-path": wrapper("dm-real", 'SDL_VIDEODRIVER=dummy exec qemu-system-x86_64 "$@"')})
        if glob.glob("/usr/lib/*/qemu/ui-sdl.so"):
            m.cmd("start")
            picture = os.path.join(stack.root, "window.png")
            m.cmd("screenshot", picture)
            assert os.path.getsize(picture) > 100
        else:
            error = m.fails("start")
            assert "Display 'sdl' is not available" in error and "qemu-system-gui" in error, error
        done(m)
    finally:
        del stack.env["OXT_VM_USERS"], stack.env["DISPLAY"]


@oxt.case
def stored_keys():
    """Every key that get knows gives back what the file says, also those that have no effect on QEMU, and takes it from set"""
    with open(os.path.join(oxt.SOURCE, "test/data/qemu/all-scalars.conf")) as f:
        given = dict(re.findall(r"^([a-z_-]+) = (.*)$", f.read(), re.M))
    given = {key: value for key, value in given.items() if key not in ("uuid", "startup", "debug", "output", "notify")}
    m = machine()
    unknown, in_kib = [], ("memory", "memory-max", "stubdom-memory")
    for key, value in given.items():
        r = stack.run([oxt.program("xenvm-cmd"), m.uuid, "get", key])
        if r.returncode != 0:
            assert "Unknown_field" in r.stderr, (key, r.stderr)
            unknown.append(key)
            continue
        if key in in_kib:
            value = str(int(value) * 1024)
        m.cmd("set", "field=" + key, "value=" + value)
        shown = m.cmd("get", key)
        assert shown == value or key == "display" and shown.startswith("vnc:use-port-unused"), (key, value, shown)
    assert sorted(unknown) == sorted(["no_mem_check", "on_halt", "on_reboot", "on_crash", "cpuid", "cpus-affinity", "extra-hvm",
                                      "extra-local-watch", "extra-vm-watch", "platform", "bios-string", "backend", "virt-type", "accel",
                                      "machine", "firmware"]), unknown
    done(m)


@oxt.case
def debug_log():
    """debug writes each command to a file of its own, readable by nobody else, where output says"""
    path = os.path.join(stack.root, "debug.log")
    m = machine(debug="true", output=path)
    m.status()
    with open(path) as f:
        assert "Command get_status" in f.read()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    done(m)
    # Never through a link: there is no log then, and that is said.
    os.symlink(os.path.join(stack.root, "elsewhere"), path + ".link")
    m = Machine(stack, debug="true", output=path + ".link")
    assert "Cannot open the log" in m.monitor().stderr
    assert not os.path.exists(os.path.join(stack.root, "elsewhere"))
    done(m)


@oxt.case
def memory_check():
    """A VM with more memory than is free does not start, but with no_mem_check it does"""
    with open("/proc/meminfo") as f:
        mib = {k: int(v) // 1024 for k, v in re.findall(r"^(\w+): +(\d+) kB", f.read(), re.M)}
    much = mib["MemTotal"] - 100
    if much < mib["MemAvailable"] + 100:
        raise oxt.Skip("nearly all memory of this host is free")
    m = machine(memory=str(much))
    assert "Not_enough_free_memory" in m.fails("start")
    m.write(no_mem_check="true")
    m.cmd("read-config")
    m.cmd("start")
    assert m.status() == "running"
    done(m)


@oxt.case
def not_saved():
    """disable-migrate: neither suspend nor checkpoint, and the VM goes on"""
    m = machine(**{"disable-migrate": "true"})
    m.cmd("start")
    for command in ("suspend", "checkpoint"):
        assert "disable-migrate" in m.fails(command, os.path.join(stack.root, "never"))
    assert m.status() == "running" and not os.path.exists(os.path.join(stack.root, "never"))
    done(m)


@oxt.case
def other_backend():
    """backend = xen on a host without Xen is refused with the reason, before anything is started"""
    if os.path.exists("/proc/xen/privcmd") or os.path.exists("/dev/xen/privcmd"):
        raise oxt.Skip("this host has Xen")
    for name in ("xen", "libxl"):
        r = Machine(stack, backend=name).monitor(status=3)
        assert "does not run on Xen" in r.stderr or "xenvm-xen.so" in r.stderr, r.stderr


@oxt.case
def startup_paused():
    """startup = paused: complete and not running, until it is told to"""
    m = machine(startup="paused")
    m.wait_status("created")
    assert m.output() == "" and watcher.states(m) == ["creating-domain", "creating-devices", "created"], watcher.states(m)
    m.cmd("unpause")
    oxt.wait_for(lambda: m.output() == "A", 10, "the guest's letter")
    done(m)


@oxt.case
def strict_config():
    """--strict-config: what is a warning else is an error, and nothing is begun"""
    m = Machine(stack)
    with open(m.config, "a") as f:
        f.write("no-such-key = 1\n")
    r = m.monitor("--strict-config", status=3)
    assert "config error: no-such-key: unknown key" in r.stderr and not os.path.exists(m.dir), r.stderr
    r = m.monitor()
    assert "unknown key" in r.stderr
    done(m)


@oxt.case
def tcp_notifications():
    """Notifications to a TCP port: a connection and a line for each, in order"""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(60)
        m = machine(notify="tcp,127.0.0.1:%d" % server.getsockname()[1])
        m.cmd("start")
        m.cmd("destroy")
        lines = []
        while not lines or not lines[-1].endswith(":shutdown\n"):
            client, _ = server.accept()
            with client:
                lines.append(client.makefile().read())
    states = ["creating-domain", "creating-devices", "created", "running", "shutdown"]
    assert lines == [m.uuid + t + "\n" for t in (":0:ping", ":0:dbus-rpc-up", *(":61440:vm:state:" + s for s in states))], lines
    m.cmd("quit")
    m.wait_gone()


@oxt.case
def elsewhere():
    """The socket is where XENVM_SOCKET_DIR says, the name on the session's bus where that is asked for"""
    folder, own = os.path.join(stack.root, "sockets"), dict(stack.env)
    stack.env["XENVM_SOCKET_DIR"] = folder
    try:
        m = Machine(stack)
        m.monitor("--monitor-json", "true")
        path = os.path.join(folder, "vm-" + m.uuid)
        oxt.wait_for(lambda: oxt.listens(path), 5, "the socket")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660 and stat.S_IMODE(os.stat(folder).st_mode) == 0o750
        assert m.cmd("get-status", options=["--use-socket"]) == "shutdown"
        done(m)
        assert not os.path.exists(path)
        # The system's bus is none that could be reached.
        stack.env.update(DBUS_SESSION_BUS_ADDRESS=stack.address, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent", XENVMLIB_DBUS_SESSION="true")
        m = Machine(stack)
        m.monitor("--monitor-dbus-session", wait=False)
        oxt.wait_for(lambda: m.name in watcher.bus.list_names(), 10, "the name on the session's bus")
        assert m.status() == "shutdown"
        m.cmd("quit")
        oxt.wait_for(lambda: m.name not in watcher.bus.list_names(), 10, "the monitor's end")
    finally:
        stack.env.clear()
        stack.env.update(own)


@oxt.case
def bytes_of_paths():
    """A path that is not UTF-8 is told over D-Bus with its bytes written out, in an answer and in a notification"""
    m = Machine(stack)
    with open(m.config, "ab") as f:
        f.write(b"disk = /nowhere/\xfc.img:file:hdb:w:disk\n")
    m.monitor()
    assert "/nowhere/\\xfc.img cannot be read" in m.fails("start")
    done(m)
    watcher.clear()
    with open(m.config, "ab") as f:
        f.write(b"startup = start\n")
    m.monitor(wait=False)
    oxt.wait_for(lambda: "hup" in watcher.messages(m), 20, "what comes after it")
    assert any(t.startswith("error:") and "/nowhere/\\xfc.img" in t for t in watcher.messages(m)), watcher.messages(m)


@oxt.case
def waking():
    """s3resume is for HVM guests, which virt-type makes of one as well as hvm does"""
    m = machine(hvm="false", **{"virt-type": "hvm"})
    m.cmd("start")
    r = stack.run([oxt.program("xenvm-cmd"), m.uuid, "trigger", "s3resume"])
    assert "not HVM" not in r.stderr, r
    done(m)


@oxt.case
def share_of_the_cpu():
    """cpu-weight without a control group that could keep it is said in the VM's log"""
    stack.env["OXT_VM_USERS"] = "none"
    try:
        m = machine(**{"cpu-weight": "300"})
        m.cmd("start")
        assert "cpu-weight of %s has no effect: QEMU runs as its monitor's user" % m.uuid in m.log()
        done(m)
    finally:
        del stack.env["OXT_VM_USERS"]


try:
    oxt.main()
finally:
    stack.stop()
