#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dbus_broker.py SOCKET CONFIG MANAGER: becomes dbus-broker's launcher, in a mount namespace of its own.

The launcher takes its listening socket as systemd hands one over, ends if there is no journal to log to, and wants a
bus for its service manager. A namespace whose /run has just a journal of ours gives it that on any machine; what it
logs goes to standard error."""
import ctypes
import os
import signal
import socket
import subprocess
import sys

JOURNAL = "/run/systemd/journal/socket"
PR_SET_PDEATHSIG = 1

path, config, manager = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
os.chmod(path, 0o666)
listening.listen(128)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs(os.path.dirname(JOURNAL))
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(JOURNAL)
os.chmod(JOURNAL, 0o666)
launcher = os.getpid()
if os.fork() == 0:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    listening.close()
    while os.getppid() == launcher:
        os.write(2, journal.recv(65536) + b"\n")
    sys.exit(0)
if listening.fileno() != 3:
    os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(launcher), DBUS_SESSION_BUS_ADDRESS=manager)
os.execvp("dbus-broker-launch", ["dbus-broker-launch", "--scope", "user", "--config-file", config])
