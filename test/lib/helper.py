# SPDX-License-Identifier: LGPL-2.1-or-later
"""An oxt-helper in a network of its own, with two bridges of which it may use one."""
import os
import subprocess
import sys

import oxt

# Prints the names of nftables' chains for network devices.
CHAINS = r"""
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 4, 0x301, 1, 0, 5, 0, 0))
while True:
    data = s.recv(65536)
    while data:
        size, kind = struct.unpack_from("=IH", data)
        if kind in (2, 3):
            raise SystemExit
        at = 20
        while at < size:
            n, attribute = struct.unpack_from("=HH", data, at)
            if attribute & 0x3fff == 3:
                print(data[at + 4:at + n].rstrip(b"\0").decode())
            at += (n + 3) & ~3
        data = data[(size + 3) & ~3:]
"""


class HelperProcess:
    def __init__(self, stack, setup=""):
        self.socket = os.path.join(stack.runtime, "helper.sock")
        stack.env["OXT_HELPER_BRIDGES"] = "other br-test"
        self.process = stack.start(
            ["unshare", "--net", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && ip link add br-test type bridge && ip link set br-test up && ip link add br-no type bridge && %s exec "$0"' % setup,
             oxt.program("oxt-helper")], ready=lambda: os.path.exists(self.socket) and os.stat(self.socket).st_mode & 0o777 == 0o660)

    def within(self, *command):
        """What the command prints in that network."""
        return subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", *command], text=True, stdout=subprocess.PIPE, check=True).stdout

    def links(self):
        return self.within("ip", "-o", "link")

    def chains(self):
        return self.within(sys.executable, "-c", CHAINS).split()
