#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs that serve other VMs' networks: what becomes of those when the server goes and comes back."""
import json
import os
import threading

import dbus

import oxt
import whole
from xenvm import sector

SCRIPT = """
ifconfig eth0 up
until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
while :; do
  n=$(cat /sys/class/net/eth0/carrier_down_count)
  [ "$n" = "$last" ] || echo "oxt: cable out $n times"
  last=$n
  sleep 0.1
done
"""


def call(stack, path, member, *args, interface=whole.VM, **kwargs):
    """On a connection of its own: the manager may have been another before."""
    bus = stack.connect()
    try:
        return bus.get_object(whole.XENMGR, path, introspect=False).get_dbus_method(member, interface)(*args, timeout=60, **kwargs)
    finally:
        bus.close()


class Server:
    """A VM that only runs; that it serves a network is what others know of it."""

    def __init__(self, stack):
        self.stack, disk = stack, os.path.join(stack.state, "storage/disks/server.img")
        with open(disk, "wb") as f:
            f.write(sector("loop"))
        os.chmod(disk, 0o666)
        tree = {"name": "server", "slot": "-1", "config": {
            "virt-type": "hvm", "memory": "32", "display": "none", "notify": "dbus",
            "disk": {"0": {"path": "/storage/disks/server.img", "type": "file", "mode": "w", "device": "hda", "devtype": "disk"}}}}
        manager = dbus.Interface(stack.connect().get_object(whole.XENMGR, "/"), whole.XENMGR)
        self.path = str(manager.create_vm_with_template_and_json("new-vm-empty", json.dumps(tree)))
        self.uuid = str(self.get("uuid"))

    def call(self, member, *args, **kwargs):
        return call(self.stack, self.path, member, *args, **kwargs)

    def get(self, name):
        return self.call("Get", whole.VM, name, interface=dbus.PROPERTIES_IFACE)

    def set(self, name, value):
        self.call("Set", whole.VM, name, value, interface=dbus.PROPERTIES_IFACE, signature="ssv")

    def restart(self):
        self.call("destroy")
        self.call("start")

    def start_is_lost(self):
        try:
            self.call("start")
        except dbus.DBusException as e:
            print("# %s" % e)


@oxt.case
def backend_restarts():
    """A running guest whose network's server restarts finds its cable out and in again, and asks the new one, whoever looks meanwhile."""
    stack = whole.WholeStack()
    try:
        server, guest = Server(stack), whole.LinuxVm(stack, "guest", SCRIPT)
        db = dbus.Interface(stack.connect().get_object("com.citrix.xenclient.db", "/"), "com.citrix.xenclient.db")
        db.write("/vm/00000000-0000-0000-0000-000000000002/provides-default-network-backend", "false")
        server.set("provides-default-network-backend", True)
        nic = str(dbus.Interface(guest.object, whole.VM).add_nic())
        server.call("start")
        guest.start()
        before = int(guest.wait_for("cable out", 60).split()[2])
        told = "nic 0 of %s is connected with its backend %s again" % (guest.uuid, server.uuid)

        def reconnected(times):
            guest.wait_for("cable out %d times" % (before + times), 30)
            oxt.wait_for(lambda: stack.log_of("xenmgr").count(told) == times, what=told)
        server.restart()
        reconnected(1)
        # A nic that names its server, of which nothing else says that it is one.
        server.set("provides-default-network-backend", False)
        call(stack, nic, "Set", "com.citrix.xenclient.vmnic", "backend-uuid", server.uuid, interface=dbus.PROPERTIES_IFACE, signature="ssv")
        server.restart()
        reconnected(2)
        # Nobody sees the end of the server's start.
        server.set("boot-sentinel", "never")
        server.call("destroy")
        start = threading.Thread(target=server.start_is_lost)
        start.start()
        oxt.wait_for(lambda: server.get("state") == "running", 30, "the server")
        manager = lambda: next(d["pid"] for d in stack.status()["supervisor"]["daemons"] if d["name"] == "xenmgr")
        killed = manager()
        whole.kill(killed)
        start.join()
        reconnected(3)
        # Another start of the guest has the server that runs: nothing is pulled.
        oxt.wait_for(lambda: manager() not in (0, killed) and stack.owned(whole.XENMGR), what="the next manager")
        server.set("boot-sentinel", "")
        for member in ("destroy", "start"):
            call(stack, guest.path, member)
        assert stack.log_of("xenmgr").count(told) == 3, stack.log_of("xenmgr")
    finally:
        stack.stop()


if __name__ == "__main__":
    oxt.main()
