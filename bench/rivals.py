# SPDX-License-Identifier: LGPL-2.1-or-later
"""What our starts are measured beside: plain QEMU with the same command line, and libvirt with the same devices."""
import os
import re
import shutil
import socket
import subprocess
import time

import oxt

# In memory, as /run is on a host: on a disk that others write to, each file of a start may wait for milliseconds.
if os.access("/dev/shm", os.W_OK):
    oxt.Stack.runtime_in = "/dev/shm"


def command_of(text, folder, other):
    """The lines of `xenvm --print-backend`: the words of QEMU's command line, with `other` for the VM's folder, and its files."""
    files = re.findall(r"^# descriptor (\d+): ([^,]*), (.*)$", text, re.M)
    return [a.replace(folder, other) for line in text.splitlines() if not line.startswith("#")
            for a in line.rstrip("\\ ").split()], files


def have_libvirt():
    return shutil.which("virsh") and shutil.which("libvirtd")


def first_byte(path, begin):
    """Waits until the guest has written to its serial line; returns the seconds since begin."""
    while not (os.path.exists(path) and os.path.getsize(path)):
        assert time.monotonic() < begin + 30, "the guest writes nothing"
        time.sleep(0.001)
    seconds = time.monotonic() - begin
    os.unlink(path)
    return seconds


def plain(stack, args, files, serial):
    """Spawns QEMU, negotiates, lets it run; returns the seconds to the RESUME event and to the first byte (serial None: not waited for)."""
    root = os.path.join(stack.runtime, "plain")
    os.mkdir(root)
    for suffix in ("in", "out"):
        os.mkfifo(os.path.join(root, "events." + suffix))
    servers = []
    for name in ("qmp.sock", "rpc.sock"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(root, name))
        s.listen(1)
        os.set_inheritable(s.fileno(), True)
        servers.append(s)
    begin = time.monotonic()
    opened = [os.open(path, os.O_WRONLY | os.O_CREAT if owner == "serial" else os.O_RDWR) for _, owner, path in files]
    numbers = {"3": servers[0].fileno(), "4": servers[1].fileno(), **{n: fd for (n, _, _), fd in zip(files, opened)}}
    args = [re.sub(r"\bfd=(\d+)", lambda found: "fd=%d" % numbers[found.group(1)], a) for a in args]
    p = subprocess.Popen(args, pass_fds=list(numbers.values()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(os.path.join(root, "qmp.sock"))
        f = c.makefile("rw")
        f.readline()
        f.write('{"execute":"qmp_capabilities"}{"execute":"cont"}\n')
        f.flush()
        for line in f:
            if '"RESUME"' in line:
                break
        seconds = time.monotonic() - begin
    byte = first_byte(serial, begin) if serial else None
    p.kill()
    p.wait()
    for s in servers:
        s.close()
    for fd in opened:
        os.close(fd)
    shutil.rmtree(root)
    return seconds, byte


DOMAIN = """<domain type='qemu'><name>bench</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/><pae/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{0}/disk'/><target dev='hda' bus='ide'/></disk>
<serial type='file'><source path='{0}/serial'/></serial><controller type='usb' model='none'/>
<channel type='unix'><target type='virtio' name='org.oxt.rpc.0'/></channel><memballoon model='virtio'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><panic model='isa'/></devices></domain>"""


class Libvirt:
    """A libvirtd of our own, of a user without privileges, with one domain like the VM."""

    def __init__(self, stack, image):
        self.root = os.path.join(stack.runtime, "libvirt")
        self.serial = os.path.join(self.root, "serial")
        self.user = oxt.as_user("nobody") if os.geteuid() == 0 else []
        os.mkdir(self.root)
        shutil.copy(image, os.path.join(self.root, "disk"))
        with open(os.path.join(self.root, "domain.xml"), "w") as f:
            f.write(DOMAIN.format(self.root))
        if self.user:
            for path in (self.root, os.path.join(self.root, "disk")):
                shutil.chown(path, "nobody")
        self.env = dict(os.environ, HOME=self.root, XDG_RUNTIME_DIR=self.root)
        for name in ("virtlogd", "libvirtd"):
            p = subprocess.Popen(self.user + [name], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            stack.processes.append(p)
            oxt.wait_for(lambda: oxt.listens(os.path.join(self.root, "libvirt", name.replace("libvirtd", "libvirt") + "-sock")),
                         20, name)
        self.virsh("define", os.path.join(self.root, "domain.xml"))

    def virsh(self, *words):
        """Returns the seconds that it took."""
        begin = time.monotonic()
        r = subprocess.run(self.user + ["virsh", "-q", "-c", "qemu:///session", *words], env=self.env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert r.returncode == 0, r.stderr
        return time.monotonic() - begin
