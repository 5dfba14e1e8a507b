# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looking at a guest: its console, and what it uses."""
import json
import os
import time

from bed import CALL, LINE, ROOT, Vm, bridge, case, picture, wait_for


@case
def console_and_usage():
    """The console is where the guest prints and reads; its counters grow; its screen is in a picture, of which nothing else is left."""
    vm = Vm("pv", extra="vfb=true\nnic=bridge=" + bridge("oxtbr0"))
    try:
        vm.command("start", LINE, paused="true")
        # What the screen shows is known from the moment its driver says.
        assert "no console" in vm.fails("screenshot", LINE, file="/nonexistent/screen.png")
        vm.command("unpause")
        vm.up()
        place = vm.command("console")
        assert place.startswith("/dev/pts/"), place
        fd = os.open(place, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        seen = b""

        def printed():
            nonlocal seen
            try:
                seen += os.read(fd, 4096)
            except BlockingIOError:
                pass
            return b"guest: count" in seen
        wait_for(printed, CALL, "the guest's lines on its console")
        os.close(fd)
        before = json.loads(vm.command("usage"))
        assert before["cpu_usec"] > 0 and before["memory_kib"] > 64 * 1024, before
        assert before["net_in"] >= 0 and before["net_out"] >= 0, before
        time.sleep(2)
        after = json.loads(vm.command("usage"))
        assert after["cpu_usec"] > before["cpu_usec"] and after["at_usec"] > before["at_usec"], (before, after)
        path = ROOT + "/screen.png"
        vm.command("screenshot", LINE, file=path)
        width, height, _ = picture(path)
        assert width >= 320 and height >= 200 and os.stat(path).st_mode & 0o777 == 0o600, (width, height)
        assert not [n for n in os.listdir("/run") if n.startswith("oxt-screen")]
        assert "No such file" in vm.fails("screenshot", LINE, file="/nonexistent/screen.png")
    finally:
        vm.end()
