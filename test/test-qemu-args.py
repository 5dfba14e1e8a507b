#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden command line (test/data/qemu) is taken by the real QEMU, up to its greeting."""
import fcntl
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


def make_files(lines, args, root):
    """The files that are handed over, empty but well-formed: number and open file of each."""
    made = []
    for number, owner, path in re.findall(r"^# descriptor (\d+): ([^,]*), (.*)$", "\n".join(lines), re.M):
        new = os.path.join(root, "f" + number)
        if "socket,id=serial0" in " ".join(args) and owner == "serial":
            s = socket.socket(socket.AF_UNIX)
            s.bind(new)
            s.listen(1)
            made.append((number, s))
            continue
        use = next((a for a in args if re.search("/%s\\b" % number, a) and a.startswith("if=")), "")
        form = next((f for f in ("qcow2", "vpc") if "format=" + f in use), "raw")
        subprocess.run(["qemu-img", "create", "-q", "-f", form, new, "1M"], check=True)
        made.append((number, open(new, "r+b" if "auto-read-only=off" in use or owner == "serial" else "rb")))
    return made


def greeting(lines, root):
    args = [a.replace("/run/oxt/vm/x", root).replace("host_device", "file") for a in lines if not a.startswith("#")]
    files = make_files(lines, args, root)
    for suffix in ("in", "out"):
        os.mkfifo(os.path.join(root, "events." + suffix))
    servers = []
    for name in ("qmp.sock", "rpc.sock"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(root, name))
        s.listen(1)
        servers.append(s)
    # The child finds them as 3 and 4, and the files behind; first all go out of the way.
    handed = [("3", servers[0]), ("4", servers[1])] + files
    high = [(n, fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100)) for n, s in handed]
    shell = ["/bin/bash", "-c", "exec %s; exec \"$0\" \"$@\"" % " ".join("%s<&%d" % x for x in high), QEMU]
    with subprocess.Popen(shell + args, pass_fds=[fd for _, fd in high], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        for _, s in handed:
            s.close()
        for _, fd in high:
            os.close(fd)
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
            lines = [line.rstrip("\n") for line in f]
        root = tempfile.mkdtemp(prefix="oxt-args-")
        try:
            error = greeting(lines, root)
        finally:
            shutil.rmtree(root)
        assert error is None, (name, error)
        tried += 1
    assert tried >= 4


oxt.main()
