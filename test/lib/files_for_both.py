# SPDX-License-Identifier: LGPL-2.1-or-later
"""The config files of test/data/both on one back end: their steps, and what a user of the monitor gets to see.

The transcript of a file is the answers to its steps, then all notifications, in their order. What is wanted is
in NAME.txt beside NAME.conf, the same for every back end."""
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time


def ask(path, method, seconds, params):
    """A command through a monitor's socket: (True, result) or (False, error's text)."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(seconds)
        s.connect(path)
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {k: str(v) for k, v in params.items()}}).encode()
        s.sendall(struct.pack(">I", len(request)) + request)
        reply = b""
        while True:
            chunk = s.recv(65536)
            if not chunk:
                break
            reply += chunk
    answer = json.loads(reply)
    return (False, answer["error"]["message"]) if "error" in answer else (True, answer["result"])


class Notifications:
    """The listener of a VM's notifications: `notify = unix,PATH`, a connection and a line for each."""

    def __init__(self, path):
        self.heard = [] # the messages
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(64)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer, peer.makefile(errors="replace") as lines:
                for line in lines:
                    self.heard.append(line.rstrip("\n").split(":", 2)[2])

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def names(folder):
    """Of all files, in their order."""
    return sorted(n[:-len(".conf")] for n in os.listdir(folder) if n.endswith(".conf"))


class Run:
    def __init__(self, folder, name, work, runtime, xenvm, seconds):
        """work: a folder with vmlinux and initrd; xenvm: the program and its options; seconds: what a step may take."""
        self.work, self.seconds, self.heard = work, seconds, 0
        with open("%s/%s.conf" % (folder, name)) as f:
            text = f.read().replace("@DIR@", work)
        self.file = "%s/%s.conf" % (work, name)
        with open(self.file, "w") as f:
            f.write(text)
        for disk in "up", "one", "two", "three":
            with open("%s/%s.raw" % (work, disk), "wb") as f:
                f.truncate(1 << 20)
        uuid = re.search(r"^uuid = (\S+)", text, re.M)[1]
        self.steps = re.findall(r"^# step: (.*)", text, re.M)
        self.socket = "%s/xenvm/vm-%s" % (runtime, uuid)
        self.notifications = Notifications(work + "/notify")
        self.monitor = subprocess.Popen([*xenvm, "--no-daemonize", "--monitor-dbus", "false", "--monitor-json", "true",
                                         "--config", self.file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.file + ".log", "a"))

    def log(self):
        with open(self.file + ".log", errors="replace") as f:
            return f.read()[-3000:]

    def wait(self, condition, what):
        end = time.monotonic() + self.seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain for %s; log:\n%s" % (what, self.log())
            assert self.monitor.poll() is None, "the monitor ended; log:\n%s" % self.log()
            time.sleep(0.05)

    def up(self):
        try:
            ask(self.socket, "get-status", self.seconds, {})
            return True
        except OSError:
            return False

    def guest(self):
        """The guest's script writes to its disk when it is up."""
        path = self.work + "/up.raw"

        def written():
            with open(path, "rb") as f:
                return f.read(2) == b"up"

        self.wait(written, "the guest")
        with open(path, "r+b") as f:
            f.write(bytes(2))
        return "up"

    def hear(self, message):
        """The next such notification."""
        self.wait(lambda: message in self.notifications.heard[self.heard:], "the notification " + message)
        self.heard = self.notifications.heard.index(message, self.heard) + 1
        return "heard"

    def step(self, step):
        command, *rest = step.split(" ")
        if command == "guest":
            return self.guest()
        if command == "hear":
            return self.hear(" ".join(rest))
        good, text = ask(self.socket, command, self.seconds, dict(r.split("=", 1) for r in rest))
        # Of an error only that which programs may look at: its first word.
        text = (text or "done") if good else "error " + re.split(r"[:\s(]", text, maxsplit=1)[0]
        return re.sub(r" +$", "", text.replace(self.work, "@DIR@"), flags=re.M).replace("\n", "\n    ")

    def transcript(self, wanted):
        """What happened. wanted: what should; for its notifications there is some time to come."""
        try:
            self.wait(self.up, "the monitor")
            answers = ["%s\n    %s" % (s.replace(self.work, "@DIR@"), self.step(s.replace("@DIR@", self.work))) for s in self.steps]
            there = wanted.count("\n") - len("\n".join(answers).splitlines()) - 1
            try:
                self.wait(lambda: len(self.notifications.heard) >= there, "%d notifications" % there)
            except AssertionError:
                pass # the comparison shows better what is missing
            return "\n".join([*answers, "--", *self.notifications.heard]) + "\n"
        finally:
            self.end()

    def end(self):
        try:
            if self.monitor.poll() is None:
                ask(self.socket, "destroy", self.seconds, {})
                ask(self.socket, "quit", self.seconds, {})
                self.monitor.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self.monitor.kill()
            self.monitor.wait()
            self.notifications.close()


def check(folder, name, *args):
    """Runs a file and compares."""
    path = "%s/%s.txt" % (folder, name)
    wanted = open(path).read() if os.path.exists(path) else ""
    run = Run(folder, name, *args)
    got = run.transcript(wanted)
    assert got == wanted, "%s is not what was seen:\n%s\nlog:\n%s" % (path, got, run.log())
