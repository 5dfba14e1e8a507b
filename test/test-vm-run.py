#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt vm with a VM that runs: a boot sector that halts the CPU, on QEMU."""
import json
import os

import oxt

stack = oxt.Stack()
stack.daemon("dbd", "com.citrix.xenclient.db")
stack.daemon("xenmgr", "com.citrix.xenclient.xenmgr")


def vm(*words, status=0):
    r = stack.run([oxt.program("oxt"), "vm", *words])
    assert r.returncode == status, (words, r.returncode, r.stdout, r.stderr)
    return r.stdout if status == 0 else r.stderr


def properties():
    return json.loads(vm("show", "--json", "boot"))["properties"]


@oxt.case
def life():
    """Created from an image and started, paused, stopped and deleted."""
    image = os.path.join(stack.root, "boot.img")
    with open(image, "wb") as f:
        f.write(b"\xf4\xeb\xfd" + b"\0" * 507 + b"\x55\xaa")
    assert "copied to" in vm("create", "boot", "-i", image, "--memory", "32", "--network", "user", "--start")
    p = properties()
    assert p["state"] == "running" and p["domid"] > 0, p["state"]
    assert "running" in vm("list")
    assert vm("pause", "boot") == "boot: paused\n" and vm("unpause", "boot") == "boot: running\n"
    assert "boot runs; shut it down first" in vm("delete", "boot", status=1)
    assert vm("destroy", "boot") == "boot: stopped\n" and properties()["domid"] == -1
    assert vm("start", "boot") == "boot: running\n"
    assert "removed" in vm("delete", "--force", "boot")
    assert "boot" not in vm("list")


try:
    oxt.main()
finally:
    stack.stop()
