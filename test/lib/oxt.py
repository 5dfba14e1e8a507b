# SPDX-License-Identifier: LGPL-2.1-or-later
"""What system tests share: TAP output, a temporary stack, a private bus, daemons that are ended."""
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import rawbus

BUILD = os.environ.get("OXT_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
SOURCE = os.environ.get("OXT_SOURCE", os.path.join(os.path.dirname(__file__), "../.."))

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/><allow eavesdrop="false"/>
  </policy>
  <!-- dbus-broker multiplies this by 127 MiB in 32 bits: a power of two would leave nothing. -->
  <limit name="max_connections_per_user">4095</limit>
  <limit name="max_completed_connections">8192</limit>
  <limit name="max_replies_per_connection">8192</limit>
  <limit name="max_match_rules_per_connection">8192</limit>
  <limit name="max_names_per_connection">8192</limit>
</busconfig>
"""

_cases = []


def program(name):
    return os.path.join(BUILD, "src", "bin", name)


def case(function):
    """Marks a function as a test case; its docstring's first line (or its name) is the case's name."""
    _cases.append(function)
    return function


def case_with(make, show=None):
    """Marks functions as cases that are given what make() makes; it is stopped afterwards, and shown where the case fails."""
    def mark(function):
        def run():
            thing = make()
            try:
                function(thing)
            except Exception:
                if show:
                    show(thing)
                raise
            finally:
                thing.stop()
        run.__doc__, run.__name__ = function.__doc__, function.__name__
        return case(run)
    return mark


class Skip(Exception):
    """A case that cannot be run here; its text says why."""


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def as_user(user, *command):
    """The command as another user, with that user's groups; for root."""
    return ["setpriv", "--reuid", user, "--regid", user if user != "nobody" else "nogroup", "--init-groups", *command]


def preloaded(library, env):
    """What an environment gets besides so that a program loads test/LIBRARY of the build first."""
    # A build with AddressSanitizer wants to be the first library, but does not need to.
    return {"LD_PRELOAD": (env.get("LD_PRELOAD", "") + " " + os.path.join(BUILD, "test", library)).strip(),
            "ASAN_OPTIONS": ":".join(filter(None, [env.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))}


def sanitized(name):
    """Whether the program was built with AddressSanitizer, which needs rights that the product gives up."""
    with open(program(name), "rb") as f:
        return b"__asan_init" in f.read()


def wait_for(condition, seconds=10, what="condition"):
    """Polls until condition() is true and returns its value. `seconds` are those of an idle machine, which this one may not be."""
    seconds = max(seconds, min(6 * seconds, 60))
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.02)


def in_time(seconds, attempt, what, tries=4):
    """attempt() waits for something that shall take less than `seconds`. Others may use the machine: one try of some shows it."""
    took = []
    while len(took) < tries:
        began = time.monotonic()
        attempt()
        took.append(time.monotonic() - began)
        if took[-1] < seconds:
            return took[-1]
    raise AssertionError("%s took %s s, and never less than %g" % (what, ", ".join("%.2f" % t for t in took), seconds))


def free_port():
    """A TCP port of 127.0.0.1 that nobody has, and that no outgoing connection can get meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    while True:
        port = random.randrange(10000, max(first, 20000))
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def listens(path):
    """Whether a connection to that socket is taken; that it exists is not enough."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
            return True
        except OSError:
            return False


class Stack:
    """Temporary state and runtime directories, a private bus on request, and programs on top."""

    broker = "dbus-daemon"  # what a private bus is; a test may set dbus-broker for all its cases
    runtime_in = None  # where the runtime directory is made, if not beside the state

    def __init__(self, bus=True):
        if bus and self.broker == "dbus-broker":
            needs_root()
            if not shutil.which("dbus-broker-launch"):
                raise Skip("dbus-broker is not installed")
        self.root = tempfile.mkdtemp(prefix="oxt-test-")
        os.chmod(self.root, 0o755)
        self.state = os.path.join(self.root, "state")
        self.runtime = tempfile.mkdtemp(prefix="oxt-test-", dir=self.runtime_in) if self.runtime_in else os.path.join(self.root, "run")
        os.mkdir(self.state)
        os.makedirs(self.runtime, exist_ok=True)
        os.chmod(self.runtime, 0o755)
        self.socket = os.path.join(self.runtime, "bus.sock")
        self.address = "unix:path=" + self.socket
        self.processes = []
        self.env = dict(os.environ, OXT_STATE_DIR=self.state, OXT_RUNTIME_DIR=self.runtime,
                        DBUS_SYSTEM_BUS_ADDRESS=self.address)
        # Clients made in this process talk to the same bus.
        os.environ.update(OXT_STATE_DIR=self.state, OXT_RUNTIME_DIR=self.runtime,
                          DBUS_SYSTEM_BUS_ADDRESS=self.address)
        self.bus = None
        if bus:
            self.start_bus()

    def start_bus(self):
        if self.broker == "dbus-broker":
            # Its launcher has to find a bus where the service manager might be; it asks nothing there.
            manager = os.path.join(self.runtime, "manager.sock")
            self.start_dbus_daemon(manager)
            self.bus = self.start(
                ["unshare", "--mount", "--propagation", "private", sys.executable,
                 os.path.join(os.path.dirname(__file__), "dbus_broker.py"), self.socket, self.bus_config(self.socket),
                 "unix:path=" + manager], ready=lambda: listens(self.socket))
        else:
            self.bus = self.start_dbus_daemon(self.socket)

    def start_dbus_daemon(self, path):
        p = self.start(["dbus-daemon", "--nofork", "--nopidfile", "--config-file=" + self.bus_config(path)])
        wait_for(lambda: listens(path), what="the bus")
        os.chmod(path, 0o666)
        return p

    def bus_config(self, path):
        config = os.path.join(self.root, os.path.basename(path) + ".conf")
        with open(config, "w") as f:
            f.write(BUS_CONFIG.format(socket=path))
        if os.path.exists(path):
            os.unlink(path)
        return config

    def start(self, command, ready=None, seconds=20, **kwargs):
        """Starts a program (a list); waits until ready() is true. Its stderr goes to <root>/<name>.log."""
        name = os.path.basename(command[0])
        with open(os.path.join(self.root, name + ".log"), "ab") as log:
            p = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **kwargs)
        self.processes.append(p)

        def is_ready():
            if p.poll() is not None:
                raise AssertionError("%s ended with %d:\n%s" % (name, p.returncode, self.log(name)))
            return ready()

        if ready:
            wait_for(is_ready, seconds, name)
        return p

    def daemon(self, name, bus_name, *args):
        """Starts one of our daemons (a name, or a path) and waits until it owns its bus name."""
        # The bus may not have noticed yet that one before it has ended; and a name that is owned is not taken twice.
        wait_for(lambda: not self.owned(bus_name), what="the end of who owned %s before" % bus_name)
        return self.start([program(name), *args], ready=lambda: self.owned(bus_name))

    def owned(self, bus_name):
        """Whether somebody on the bus has that name; False where there is no bus, too."""
        try:
            client = rawbus.Client(self.socket)
        except (OSError, AssertionError, rawbus.Closed):
            return False
        try:
            return bool(client.call_bus("NameHasOwner", "s", (bus_name,)).args[0])
        except (OSError, rawbus.Closed):
            return False
        finally:
            client.close()

    def log(self, name):
        with open(os.path.join(self.root, name + ".log"), errors="replace") as f:
            return f.read()

    def run(self, command, seconds=60, **kwargs):
        kwargs.setdefault("env", self.env)
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=seconds, **kwargs)

    def call(self, destination, path, interface, member, *args):
        """busctl call; gives (exit status, output, error output)."""
        r = self.run(["busctl", "--address=" + self.address, "call", destination, path, interface, member, *args])
        return r.returncode, r.stdout.strip(), r.stderr.strip()

    def stop(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in reversed(self.processes):
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes = []
        shutil.rmtree(self.runtime, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)


def main():
    """Runs the cases, or those named on the command line, and prints TAP."""
    wanted = sys.argv[1:]
    cases = [c for c in _cases if not wanted or c.__name__ in wanted]
    failed = 0
    # A SIGTERM (the runner's time-out) must still end what a case has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("1..%d" % len(cases), flush=True)
    for number, c in enumerate(cases, 1):
        name = (c.__doc__ or c.__name__).strip().splitlines()[0].rstrip(".").replace("#", "")
        try:
            c()
            print("ok %d - %s" % (number, name), flush=True)
        except Skip as e:
            print("ok %d - %s # SKIP %s" % (number, name, e), flush=True)
        except Exception:  # a failed case must not hide the others
            failed += 1
            print("not ok %d - %s" % (number, name))
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            sys.stdout.flush()
    sys.exit(1 if failed else 0)
