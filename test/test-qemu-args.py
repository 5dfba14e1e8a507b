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
with open(os.path.join(oxt.SOURCE, "docs/backends.md")) as doc:
    BACKENDS = doc.read().split("\n# Xen\n")[0]


def kernel_header():
    """The fields of a kernel's first sectors that QEMU looks at (Documentation/x86/boot.rst): protocol 2.12, loaded high."""
    header = bytearray(1024)
    for at, size, value in ((0x1f1, 1, 1), (0x1fe, 2, 0xaa55), (0x202, 4, 0x53726448), (0x206, 2, 0x20c), (0x211, 1, 1),
                            (0x22c, 4, 0x7fffffff), (0x238, 4, 2047)):
        header[at:at + size] = value.to_bytes(size, "little")
    return bytes(header)


KERNEL = kernel_header()


def make_files(lines, args, root):
    """The files that are handed over, empty but well-formed: number and open file of each."""
    made = []
    for number, owner, path in re.findall(r"^# descriptor (\d+): ([^,]*), (.*)$", "\n".join(lines), re.M):
        new = os.path.join(root, "f" + number)
        if owner == "TPM":
            if not shutil.which("swtpm"):
                raise oxt.Skip("swtpm is not installed")
            subprocess.run(["swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + root, "--ctrl", "type=unixio,path=" + new, "--terminate",
                            "--daemon"], check=True)
            s = socket.socket(socket.AF_UNIX)
            s.connect(new)
            made.append((number, s))
            continue
        if "socket,id=serial0" in " ".join(args) and owner == "serial":
            s = socket.socket(socket.AF_UNIX)
            s.bind(new)
            s.listen(1)
            made.append((number, s))
            continue
        use = next((a for a in args if re.search("/%s\\b" % number, a) and a.startswith("if=")), "")
        form = next((f for f in ("qcow2", "vpc", "qcow") if "format=%s," % f in use), "raw")
        subprocess.run(["qemu-img", "create", "-q", "-f", form, new, "1M"], check=True)
        if owner == "kernel":
            with open(new, "r+b") as f:
                f.write(KERNEL)
        # As the monitor opens them: QEMU takes only what has the very rights that it asks for.
        made.append((number, open(new, "wb" if owner == "serial" else "r+b" if "auto-read-only=off" in use else "rb")))
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
                c.settimeout(60)
                c.connect(os.path.join(root, "qmp.sock"))
                # The greeting alone comes before all devices are made.
                c.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-status"}')
                for line in c.makefile():
                    if '"prelaunch"' in line:
                        return None
        except OSError:
            pass
        finally:
            p.kill()
        return p.stderr.read()


def golden():
    for path in sorted(glob.glob(os.path.join(oxt.SOURCE, "test/data/qemu/*.args"))):
        with open(path) as f:
            yield os.path.basename(path)[:-len(".args")], [line.rstrip("\n") for line in f]


@oxt.case
def accepted():
    """Each golden command line is accepted by QEMU, or listed as one that it cannot be started with here"""
    rows = BACKENDS.split("## Not tried")[1].split("|---|---|")[1]
    not_here = set(re.findall(r"`([\w-]+)`", "".join(row.split("|")[1] for row in rows.splitlines() if row.startswith("|"))))
    assert not_here <= {name for name, _ in golden()}, not_here
    tried = 0
    for name, lines in golden():
        if name in not_here:
            continue
        root = tempfile.mkdtemp(prefix="oxt-args-")
        try:
            error = greeting(lines, root)
        finally:
            # swtpm, which nobody waits for, takes its socket away itself.
            oxt.wait_for(lambda: shutil.rmtree(root, ignore_errors=True) or not os.path.exists(root), what="the folder's end")
        assert error is None, (name, error)
        tried += 1
    assert tried >= 8, tried


@oxt.case
def shown():
    """--print-backend shows for each of these configs what would be run, as far as this host has what that takes, or why it would not be"""
    root = tempfile.mkdtemp(prefix="oxt-args-")
    configs = [f for d in ("qemu", "xenvm") for f in sorted(glob.glob(os.path.join(oxt.SOURCE, "test/data", d, "*.conf")))]
    try:
        for path in configs:
            name = os.path.basename(path)[:-len(".conf")]
            r = subprocess.run([oxt.program("xenvm"), "--state-dir", root, "--runtime-dir", root, "--backend", "qemu", "--print-backend", path],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            with open(path) as f:
                text = f.read()
            if name.startswith("refused-") or name == "xenmgr":
                assert r.returncode == 3 and r.stderr and not r.stdout, (name, r)
                continue
            if "firmware = uefi" in text and "no UEFI firmware is installed" in r.stderr:
                continue
            assert r.returncode == 0, (name, r)
            words = r.stdout.split()
            assert ("if=pflash,unit=0" in r.stdout) == ("firmware = uefi" in text), (name, r.stdout)
            for line in re.findall(r"^(?:nic|vif) *=(.*)$", text, re.M):
                if "bridge=user" in line:
                    kind = "stream," if shutil.which("passt") else "user,"
                elif "bridge=" in line and "backend-domid" not in line:
                    kind = "tap,"
                else:
                    continue
                assert any(w.startswith(kind) for w in words), (name, line, r.stdout)
            numbers = re.findall(r"^# descriptor (\d+):", r.stdout, re.M)
            assert sorted(map(int, numbers)) == list(range(5, 5 + len(numbers))), (name, r.stdout)
        assert os.listdir(root) == [], os.listdir(root)  # nothing was made, no variables of a firmware either
        assert len(configs) > 25
    finally:
        shutil.rmtree(root)


@oxt.case
def documented():
    """What a golden text warns of, and what a refused config is refused for, is named in docs/backends.md"""
    keys = set()
    for _, lines in golden():
        keys |= {m[1] for m in (re.match(r"# ([a-z0-9-]+)( = \S+)?: no effect", line) for line in lines) if m}
    for path in glob.glob(os.path.join(oxt.SOURCE, "test/data/qemu/refused-*.conf")):
        with open(path) as f:
            keys |= {m[1] for m in (re.match(r"# ([a-z]+-[a-z-]+)", line) for line in f) if m}
    assert len(keys) > 15, keys
    for key in keys:
        assert "`%s`" % key in BACKENDS, key


oxt.main()
