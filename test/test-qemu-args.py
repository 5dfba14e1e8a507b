#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden command line (test/data/qemu) is taken by the real QEMU, up to its greeting."""
import glob
import os
import re
import shutil
import socket
import subprocess
import tempfile

import oxt

QEMU = "/usr/bin/qemu-system-x86_64"
# What this machine does not have: no IOMMU, and a KVM that is not to be relied on (docs/backends.md).
NOT_HERE = {"pci-slots": "vfio", "encrypted-vhd": "vfio", "desktop": "vfio", "q35": "kvm"}


def replace_paths(args, root):
    """Files that the config names are made, empty but well-formed, and named instead."""
    made = {}
    result = []
    for a in args:
        for path in re.findall(r"(?:file=|filename=|^)(/(?:srv|dev/vg|var/opt|boot)[^,]*(?:,,[^,]*)*)", a):
            if path not in made:
                new = os.path.join(root, "f%d" % len(made))
                form = next((f for f in ("qcow2", "vpc") if "format=" + f in a), "raw")
                subprocess.run(["qemu-img", "create", "-q", "-f", form, new, "1M"], check=True)
                made[path] = new
            a = a.replace(path, made[path])
        result.append(a.replace("/run/oxt/vm/x", root))
    return result


def greeting(args, root):
    args = replace_paths(args, root)
    for suffix in ("in", "out"):
        os.mkfifo(os.path.join(root, "events." + suffix))
    servers = []
    for name in ("qmp.sock", "rpc.sock"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(root, name))
        s.listen(1)
        servers.append(s)
    # The child finds them as 3 and 4.
    shell = ["/bin/sh", "-c", 'exec 3<&%d 4<&%d; exec "$0" "$@"' % tuple(s.fileno() for s in servers), QEMU]
    with subprocess.Popen(shell + args, pass_fds=[s.fileno() for s in servers], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        for s in servers:
            s.close()
        try:
            with socket.socket(socket.AF_UNIX) as c:
                c.settimeout(20)
                c.connect(os.path.join(root, "qmp.sock"))
                answer = c.recv(4096)
            if b'"QMP"' in answer:
                return None
        except OSError:
            pass
        finally:
            p.kill()
        return p.stderr.read()


@oxt.case
def accepted():
    """Each golden command line is accepted by QEMU"""
    names = sorted(glob.glob(os.path.join(oxt.SOURCE, "test/data/qemu/*.args")))
    assert len(names) >= 8
    tried = 0
    for path in names:
        name = os.path.basename(path)[:-len(".args")]
        if name in NOT_HERE:
            continue
        with open(path) as f:
            args = [line.rstrip("\n") for line in f if not line.startswith("#")]
        root = tempfile.mkdtemp(prefix="oxt-args-")
        try:
            error = greeting(args, root)
        finally:
            shutil.rmtree(root)
        assert error is None, (name, error)
        tried += 1
    assert tried >= 4


oxt.main()
