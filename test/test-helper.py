#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt-helper: what it does for the VMs' user, and for nobody else."""
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import uuid
from unittest.mock import patch

import oxt
from helper import HelperProcess

UUID = str(uuid.uuid4())  # control groups of this host go by it
# A client that prints the answers, and what it got a descriptor of.
CLIENT = r"""
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
held = []
for request in sys.argv[2:]:
    s.sendall(request.encode() + b"\n")
    text, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(16))
    fds = array.array("i")
    for level, kind, data in ancillary:
        fds.frombytes(data)
    held += fds
    print(text.decode().strip(), [os.readlink("/proc/self/fd/%d" % fd) for fd in fds], flush=True)
sys.stdin.read()
"""


# What systemd would be asked, for a helper in a mount namespace of its own: writes each call into a file.
SYSTEMD = r"""
import asyncio, json, sys
from dbus_next import BusType, Message, MessageType
from dbus_next.aio import MessageBus
async def main():
    bus = await MessageBus(bus_address="unix:path=/run/dbus/system_bus_socket").connect()
    def handler(m):
        if m.message_type == MessageType.METHOD_CALL and m.member == "StartTransientUnit":
            with open(sys.argv[1], "a") as f:
                f.write(json.dumps([m.body[0], m.body[1], {name: v.value for name, v in m.body[2]}]) + "\n")
            return Message.new_method_return(m, "o", ["/org/freedesktop/systemd1/job/1"])
    bus.add_message_handler(handler)
    await bus.request_name("org.freedesktop.systemd1")
    await bus.wait_for_disconnect()
asyncio.run(main())
"""


class Helper:
    """A helper in a network of its own, with two bridges of which it may use one."""

    def __init__(self, setup="", systemd=False):
        oxt.needs_root()
        self.stack = oxt.Stack(bus=False)
        if systemd:
            setup += " mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/dbus &&"
        self.helper = HelperProcess(self.stack, setup)
        self.socket, self.process, self.links = self.helper.socket, self.helper.process, self.helper.links

    def start_systemd(self):
        """What looks like systemd to the helper, which is in a mount namespace of its own."""
        self.calls = os.path.join(self.stack.root, "calls")
        config = self.stack.bus_config(os.path.join(self.stack.root, "bus"))
        with open(config) as f:
            text = re.sub("<listen>.*</listen>", "<listen>unix:path=/run/dbus/system_bus_socket</listen>", f.read())
        with open(config, "w") as f:
            f.write(text)
        inside = ["nsenter", "-t", str(self.process.pid), "-m"]
        bus = "unix:path=/run/dbus/system_bus_socket"

        def answers(*command):
            return self.stack.run([*inside, "busctl", "--address=" + bus, *command]).returncode == 0
        self.stack.start([*inside, "dbus-daemon", "--nofork", "--nopidfile", "--config-file=" + config], ready=lambda: answers("list"))
        self.stack.start([*inside, sys.executable, "-c", SYSTEMD, self.calls], ready=lambda: answers("call", "org.freedesktop.systemd1", "/", "org.freedesktop.DBus.Peer", "Ping"))

    def ask(self, *requests, user="oxt-mgr"):
        """The lines that a client gets; it keeps what it was given until close()."""
        self.client = subprocess.Popen(oxt.as_user(user, sys.executable, "-c", CLIENT, self.socket,
                                                   *[r if isinstance(r, str) else json.dumps(r) for r in requests]),
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return [self.client.stdout.readline().strip() for _ in requests]

    def close(self):
        self.client.communicate("")


@oxt.case
def tap():
    """A tap device comes up on an allowed bridge and goes with the descriptor that was handed over."""
    h = Helper()
    try:
        answer, other = h.ask({"request": "tap-create", "bridge": "br-test"}, {"request": "tap-create", "bridge": "br-no"})
        assert answer == '{"ok":true,"name":"oxt0"} [\'/dev/net/tun\']', answer
        assert "helper.bridges" in other and "[]" in other, other
        line = [x for x in h.links().splitlines() if "oxt0" in x]
        assert line and "master br-test" in line[0] and "UP" in line[0], h.links()
        h.close()
        oxt.wait_for(lambda: "oxt0" not in h.links(), what="the end of the device")
    finally:
        h.stack.stop()


# Gets two tap devices on the bridge, limits one of them, and sends from each to the other for a second and a half as fast as it
# can; prints how many bytes came through in each direction, and the seconds that it took.
FLOOD = r"""
import array, json, os, socket, sys, threading, time
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
def ask(**request):
    s.sendall(json.dumps(request).encode() + b"\n")
    text, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(16))
    answer = json.loads(text)
    assert "ok" in answer, answer
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data)
    return answer.get("name"), list(fds)
limited, free = [ask(request="tap-create", bridge="br-test") for _ in range(2)]
ask(request="tap-limit", tap=limited[0], rate=sys.argv[2])
def flood(sender, receiver):
    frame = bytes(10) + b"\xff" * 6 + bytes([2, 0, 0, 0, 0, sender]) + b"\x88\xb5" + bytes(1400)
    os.set_blocking(sender, False)
    os.set_blocking(receiver, False)
    passed, begin = 0, time.monotonic()
    while time.monotonic() < begin + 1.5:
        try:
            os.write(sender, frame)
        except BlockingIOError:
            pass
        try:
            while True:
                got = os.read(receiver, 4096)
                passed += len(got) - 10 if got[22:24] == b"\x88\xb5" else 0
        except BlockingIOError:
            pass
    return passed, time.monotonic() - begin
print(json.dumps([flood(limited[1][0], free[1][0]), flood(free[1][0], limited[1][0])]))
"""


@oxt.case
def tap_limits():
    """A limited tap device lets no more through than it may, in both directions, and leaves nothing when it ends"""
    h = Helper()
    try:
        rate = 500000
        r = subprocess.run(oxt.as_user("oxt-mgr", sys.executable, "-c", FLOOD, h.socket, str(rate)), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if "this kernel cannot limit" in r.stderr:
            raise oxt.Skip("this kernel has no nftables for network devices, or no tbf")
        assert r.returncode == 0, r.stderr + h.stack.log("unshare")
        for passed, seconds in json.loads(r.stdout):
            assert 10000 < passed < (rate + rate * seconds) * 1.1, r.stdout  # a second's worth may come at once
        oxt.wait_for(lambda: "oxt" not in h.links() and not h.helper.chains(), what="the end of the devices, and of what drops their packets")
        answer, = h.ask({"request": "tap-create", "bridge": "br-test"})
        assert '"ok":true' in answer and json.loads(answer.split(" [")[0])["name"] not in h.helper.chains(), "the next one is limited too"
        h.close()
        answers = h.ask({"request": "tap-limit", "tap": "oxt0", "rate": "1000000"}, {"request": "tap-limit", "tap": "oxt0", "rate": "10"},
                        {"request": "tap-limit", "tap": "lo", "rate": "1000000"})
        assert "no such tap" in answers[0] and "1500" in answers[1] and "tap-create" in answers[2], answers
        h.close()
    finally:
        h.stack.stop()


@oxt.case
def usb_devices():
    """A USB device is opened if helper.usb names it and it is none of the host's hubs"""
    setup = "mount -t tmpfs none /sys/bus &&"
    for place, vendor, product, kind in (("1-1", "046d", "c52b", "00"), ("1-2.3", "0781", "5581", "00"), ("1-9", "046d", "c52b", "09")):
        folder = "/sys/bus/usb/devices/" + place
        setup += " mkdir -p %s && (cd %s && echo 999 >busnum && echo 9 >devnum && echo %s >idVendor && echo %s >idProduct && echo %s >bDeviceClass) &&" % (
            folder, folder, vendor, product, kind)
    with patch.dict(os.environ, OXT_HELPER_USB="1234:5678 046d:c52b"):
        h = Helper(setup)
    try:
        answers = h.ask(*({"request": "usb-open", "device": d} for d in ("1-1", "1-2.3", "1-9", "1-7", "../1-1")))
        h.close()
        for answer, words in zip(answers, ("does not open", "helper.usb", "no such USB device", "no such USB device", "not the place")):
            assert words in answer and answer.endswith("[]"), answers
    finally:
        h.stack.stop()


@oxt.case
def pci_devices():
    """A PCI device goes to vfio-pci only if helper.pci names it, and only where there is an IOMMU"""
    with patch.dict(os.environ, OXT_HELPER_PCI="0000:00:1b.0"):
        h = Helper("mount -t tmpfs none /sys/bus && mkdir -p /sys/bus/pci/devices/0000:00:1b.0 &&")
    try:
        answers = h.ask({"request": "pci-bind", "device": "0000:00:1c.0"}, {"request": "pci-bind", "device": "0000:00:1b.0"},
                        {"request": "pci-bind", "device": "../../x"},
                        {"request": "vm-start", "uuid": UUID, "weight": "0", "accel": "tcg", "pci": "0000:00:1c.0"})
        h.close()
        for answer, words in zip(answers, ("helper.pci", "no IOMMU", "not a PCI device", "helper.pci")):
            assert words in answer and answer.endswith("[]"), answers
    finally:
        h.stack.stop()


# Starts a program as QEMU would be started, with a folder and two FIFOs, of which one or all may be another user's; prints the answer.
START = r"""
import array, json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
weight, folder, events = sys.argv[2], sys.argv[3], sys.argv[4:]
memory = os.memfd_create("arguments")
os.write(memory, b"-version\0")
fds = [memory, 1, os.open(folder, os.O_RDONLY)] + [os.open(e, os.O_RDWR if e.startswith("/tmp") else os.O_RDONLY) for e in events]
request = {"request": "vm-start", "uuid": "%s", "weight": weight, "accel": "tcg", "pci": ""}
s.sendmsg([json.dumps(request).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
print(s.recv(4096).decode().strip(), flush=True)
""" % UUID


def own_folder(h):
    """A folder of oxt-mgr's with the two FIFOs of a QEMU."""
    mine = os.path.join(h.stack.root, "mine")
    os.mkdir(mine)
    for name in ("", "events.in", "events.out"):
        if name:
            os.mkfifo(os.path.join(mine, name))
        shutil.chown(os.path.join(mine, name), "oxt-mgr", "oxt-mgr")
    return mine


def start_qemu(h, folder, *events, weight="0"):
    events = events or [os.path.join(folder, n) for n in ("events.in", "events.out")]
    r = subprocess.run(oxt.as_user("oxt-mgr", sys.executable, "-c", START, h.socket, weight, folder, *events), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # What it says itself goes the same way.
    return next((line for line in r.stdout.splitlines() if line.startswith("{")), r.stdout)


@oxt.case
def given_away():
    """Only a folder and FIFOs of the caller's own are given to QEMU's user, nothing that the caller can merely open"""
    h = Helper()
    try:
        mine = own_folder(h)
        fifos = [os.path.join(mine, "events." + n) for n in ("in", "out")]
        for words in (("/etc", *fifos), (mine, "/etc/passwd", fifos[1]), (mine, fifos[0], "/etc"), (mine, fifos[0])):
            assert "error" in start_qemu(h, *words), words
            assert [os.stat(w).st_uid for w in ("/etc", "/etc/passwd")] == [0, 0]
            shutil.chown(mine, "oxt-mgr", "oxt-mgr")
            shutil.chown(fifos[0], "oxt-mgr", "oxt-mgr")
        answer = start_qemu(h, mine)
        assert '"ok":true' in answer and '"name":"' in answer, answer
        uids = {os.stat(f).st_uid for f in [mine, *fifos]}
        assert len(uids) == 1 and 1879048192 <= uids.pop() <= 2147352575
        assert oct(os.stat(mine).st_mode) == "0o42770" and sorted(os.listdir(mine)) == ["events.in", "events.out", "qemu.pid"]
    finally:
        h.stack.stop()


@oxt.case
def scopes():
    """Where systemd runs the host, monitors and QEMU get scopes of their own, QEMU's with its share of the CPU"""
    h = Helper(systemd=True)
    try:
        h.start_systemd()
        folder = own_folder(h)
        answer = start_qemu(h, folder, weight="300")
        assert '"ok":true' in answer, answer
        pid = json.loads(answer)["name"]
        own = subprocess.Popen(oxt.as_user("oxt-mgr", "sleep", "60"))
        try:
            oxt.wait_for(lambda: os.stat("/proc/%d" % own.pid).st_uid != 0, 5, "the other user")
            answers = h.ask({"request": "vm-scope", "uuid": UUID, "pid": str(own.pid)}, {"request": "vm-scope", "uuid": UUID, "pid": str(os.getpid())})
            h.close()
        finally:
            own.kill()
            own.wait()
        assert '"ok":true' in answers[0] and "no such process" in answers[1], answers
        with open(h.calls) as f:
            calls = [json.loads(line) for line in f]
        assert calls == [["oxt-vm-%s-%s.scope" % (UUID, pid), "fail", {"PIDs": [int(pid)], "Slice": "oxt.slice", "CollectMode": "inactive-or-failed", "CPUWeight": 300}],
                         ["oxt-vm-%s-%d.scope" % (UUID, own.pid), "fail", {"PIDs": [own.pid], "Slice": "oxt.slice", "CollectMode": "inactive-or-failed",
                                                                           "CPUWeight": 2 ** 64 - 1}]], calls
    finally:
        h.stack.stop()


@oxt.case
def refused_requests():
    """Requests that are not of the list are refused, and the connection goes on."""
    h = Helper()
    try:
        answers = h.ask("{}", {"request": "run", "path": "/bin/sh"}, {"request": "device-open", "device": "/dev/mem"},
                        {"request": "tap-create", "bridge": "lo"}, {"request": "tap-create", "bridge": "other"},
                        {"request": "tap-move", "tap": "oxt0", "bridge": "br-test"},
                        {"request": "vm-scope", "uuid": UUID, "pid": str(os.getpid())})
        h.close()
        if not os.path.exists("/dev/xen/privcmd"):
            for request in {"request": "monitor-start", "uuid": UUID}, {"request": "host-info"}:
                answers += h.ask(request)
                h.close()
                assert "no Xen host" in answers[-1] and answers.pop(), answers
        for answer in answers:
            assert '"error"' in answer and answer.endswith("[]"), answers
        assert "no such process of this user" in answers[-1], answers
    finally:
        h.stack.stop()


@oxt.case
def other_users():
    """Nobody but root and the VMs' user is heard, not even another user of oxt."""
    h = Helper()
    try:
        # oxt-proxy and nobody are kept out by the socket's mode, oxt-dbd with the group added by its uid.
        for user in ("nobody", "oxt-proxy"):
            h.ask("{}", user=user)
            text = h.client.stdout.read()
            h.close()
            assert "PermissionError" in text or "Permission denied" in text, text
        group = subprocess.run(["setpriv", "--reuid", "oxt-dbd", "--regid", "oxt-mgr", "--clear-groups", sys.executable, "-c", CLIENT,
                                h.socket, "{}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert group.stdout.strip() in ("[]", "") or "Traceback" in group.stdout, group.stdout
        oxt.wait_for(lambda: "was refused" in h.stack.log("unshare"), what="the refusal in the log")
    finally:
        h.stack.stop()


@oxt.case
def monitor_for_a_user():
    """xenvm --user, as the helper starts it: without Xen it is that user for good; nobody but root can ask for it."""
    oxt.needs_root()
    stack = oxt.Stack(bus=False)
    config = os.path.join(stack.root, "vm.conf")
    with open(config, "w") as f:
        f.write("uuid=%s\nmemory=16\nstartup=shutdown\n" % UUID)
    for folder in (stack.state, stack.runtime):
        shutil.chown(folder, "oxt-mgr")
    words = ["--backend", "qemu", "--no-daemonize", "--monitor-dbus", "false", "--monitor-json", "true", config]
    try:
        process = stack.start([oxt.program("xenvm"), "--user", "oxt-mgr", *words],
                              ready=lambda: oxt.listens("%s/xenvm/vm-%s" % (stack.runtime, UUID)))
        number = str(pwd.getpwnam("oxt-mgr").pw_uid)
        with open("/proc/%d/status" % process.pid) as f:
            assert re.search(r"^Uid:\t%s\t%s\t%s\t%s$" % ((number,) * 4), f.read(), re.M)
        assert os.stat("%s/vm/%s/monitor.json" % (stack.runtime, UUID)).st_uid == int(number)
        for user, caller in (("oxt-dbd", "oxt-mgr"), ("root", "root"), ("no-such-user", "root")):
            r = subprocess.run(oxt.as_user(caller, oxt.program("xenvm"), "--user", user, *words), env=stack.env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            assert r.returncode == 3 and "--user " + user in r.stdout, (user, r.stdout)
    finally:
        stack.stop()


# Holds more connections than there is room for, then lets go of them.
CROWD = r"""
import socket, sys
held = []
for _ in range(600):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    held.append(s)
print(len(held), flush=True)
sys.stdin.read()
"""


@oxt.case
def crowd():
    """Hundreds of connections at once: more wait for their turn, and are answered once others have gone"""
    h = Helper()
    try:
        crowd = subprocess.Popen(oxt.as_user("oxt-mgr", sys.executable, "-c", CROWD, h.socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert int(crowd.stdout.readline()) == 600
        late = subprocess.Popen(oxt.as_user("oxt-mgr", sys.executable, "-c", CLIENT, h.socket, "{}"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        crowd.communicate("")
        assert "error" in late.stdout.readline()
        late.communicate("")
        assert h.process.poll() is None
    finally:
        h.stack.stop()


@oxt.case
def long_line():
    """A line without an end costs the client its connection, and the helper nothing."""
    h = Helper()
    try:
        answer = h.ask("x" * 5000)[0]
        assert answer in ("[]", "") or "Traceback" in answer, answer
        h.client.communicate("")
        assert h.process.poll() is None
        assert "error" in h.ask("{}")[0]
        h.close()
    finally:
        h.stack.stop()


oxt.main()
