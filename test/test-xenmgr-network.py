#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs that serve other VMs' networks: what becomes of those when the server goes and comes back."""
import dbus

import oxt
import whole

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


@oxt.case
def backend_restarts():
    """A running guest whose network's server restarts finds its cable out and in again, and asks the new one."""
    stack = whole.WholeStack()
    try:
        server, guest = whole.LinuxVm(stack, "server", ""), whole.LinuxVm(stack, "guest", SCRIPT)
        db = dbus.Interface(stack.connect().get_object("com.citrix.xenclient.db", "/"), "com.citrix.xenclient.db")
        db.write("/vm/00000000-0000-0000-0000-000000000002/provides-default-network-backend", "false")
        for name in ("provides-network-backend", "provides-default-network-backend"):
            server.object.Set(whole.VM, name, True, dbus_interface=dbus.PROPERTIES_IFACE)
        dbus.Interface(guest.object, whole.VM).add_nic()
        server.start()
        guest.start()
        before = int(guest.wait_for("cable out", 60).split()[2])
        dbus.Interface(server.object, whole.VM).destroy(timeout=60)
        server.start()
        guest.wait_for("cable out %d times" % (before + 1), 30)
        told = "nic 0 of %s is connected with its backend %s again" % (guest.uuid, server.uuid)
        oxt.wait_for(lambda: told in stack.log_of("xenmgr"))
        # Another start of the guest has the server that runs: nothing is pulled.
        dbus.Interface(guest.object, whole.VM).destroy(timeout=60)
        guest.start()
        oxt.wait_for(lambda: guest.get("state") == "running")
        assert stack.log_of("xenmgr").count(told) == 1, stack.log_of("xenmgr")
    finally:
        stack.stop()


if __name__ == "__main__":
    oxt.main()
