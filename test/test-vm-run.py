#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt vm with a VM that runs: a boot sector that halts the CPU, on QEMU."""
import base64
import json
import os
import shutil

import oxt
import whole

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
    assert vm("set", "boot", "memory=33", "description=x") == "memory: from the next start on\n"
    assert vm("pause", "boot") == "boot: paused\n" and vm("unpause", "boot") == "boot: running\n"
    assert "boot runs; shut it down first" in vm("delete", "boot", status=1)
    assert vm("destroy", "boot") == "boot: stopped\n" and properties()["domid"] == -1
    vm("set", "boot", "memory=99999999")
    err = vm("start", "boot", status=1)
    assert "Not enough memory" in err and "(error 101)" in err and "xec-vm -n 'boot' start --dry-run" in err, err
    vm("set", "boot", "memory=32")
    assert vm("start", "boot") == "boot: running\n"
    assert "removed" in vm("delete", "--force", "boot")
    assert "boot" not in vm("list")


SEEN = """
mkdir /mnt
for i in $(seq 100); do ls /dev/sr0 /dev/vda 2>/dev/null && break; sleep 0.1; done
for d in /dev/sr0 /dev/vda; do
  [ -b $d ] || continue
  echo "oxt: volume=$(dd if=$d bs=8 skip=4101 count=4 2>/dev/null)"
  mount -t iso9660 -o ro $d /mnt && (cd /mnt && for f in *; do echo "oxt: $f=$(tr '\\n' '|' <$f)"; done)
done
echo "oxt: end"
"""


def create_reader(name, *words):
    """A VM that will tell what is on its CD, and the file that it tells it in."""
    folder = os.path.join(stack.state, "storage/guest")
    os.makedirs(folder, exist_ok=True)
    made = whole.image("guest-image-cd", [], "scsi_common scsi_mod virtio_scsi libata ata_piix cdrom sr_mod isofs")
    for file in ("vmlinux", "initrd"):
        shutil.copy(os.path.join(made, file), folder)
    console = os.path.join(stack.root, "console-" + name)
    open(console, "w").close()
    os.chmod(console, 0o666)
    vm("create", name, "-t", "oxt-demo", *words, "--set", "serial=file:" + console,
       "--set", "cmd-line=console=ttyS0 quiet oxt.run=" + base64.b64encode(SEEN.encode()).decode())
    return json.loads(vm("show", "--json", name))["properties"]["uuid"], console


def read_cd(name, console):
    """What the VM told once it ran: the volume, and the files with their contents."""
    vm("start", name)
    lines = []

    def ended():
        with open(console, errors="replace") as f:
            lines[:] = [line[5:].strip() for line in f.read().splitlines() if line.startswith("oxt: ")]
        return "end" in lines

    try:
        oxt.wait_for(ended, 120, "the guest's last line")
    finally:
        print("# " + "\n# ".join(lines))
    return dict(line.split("=", 1) for line in lines if "=" in line)


@oxt.case
def cloud_init():
    """A guest sees the seed that oxt vm create --cloud-init makes: a volume named cidata with the files of NoCloud."""
    files = {"user-data": "#cloud-config\nhostname: seeded\n", "network-config": "version: 2\n"}
    for name, text in files.items():
        with open(os.path.join(stack.root, name), "w") as f:
            f.write(text)
    uuid, console = create_reader("seeded", "--cloud-init", os.path.join(stack.root, "user-data"), "--network-config",
                                  os.path.join(stack.root, "network-config"))
    seen = read_cd("seeded", console)
    vm("destroy", "seeded")
    assert seen["volume"] == "cidata", "what cloud-init looks for"
    assert seen["user-data"] == "#cloud-config|hostname: seeded|" and seen["network-config"] == "version: 2|", seen
    assert uuid in seen["meta-data"] and "seeded" in seen["meta-data"], seen
    vm("delete", "seeded")
    left = [n for n in os.listdir(os.path.join(stack.state, "storage/disks")) if uuid in n]
    assert not left, "the seed goes with the VM: %s" % left


@oxt.case
def ovf_environment():
    """With ovf-transport-iso a guest sees its appliance's properties and files on a CD, which is gone once the VM is."""
    uuid, console = create_reader("appliance", "--set", "ovf-transport-iso=true")
    bus = whole.dbus.bus.BusConnection(stack.address)
    bus.get_object("com.citrix.xenclient.db", "/").inject("/vm/%s/productproperty" % uuid, json.dumps({
        "org.x.site.1": {"key": "site", "class": "org.x", "instance": "1", "type": "string", "value": "<a> & \"b\""}}),
        dbus_interface="com.citrix.xenclient.db")
    bus.close()
    folder = os.path.join(stack.state, "storage/ovffiles", uuid)
    os.makedirs(folder)
    many = {"part-%02d.with-a-long-name.txt" % i: "text %d|" % i for i in range(60)}
    for name, text in {**many, "setup.sh": "echo hello|", "a name": "no", "ovf-env.xml": "no"}.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(text.replace("|", "\n"))
    os.symlink("/etc/passwd", os.path.join(folder, "passwd"))
    storage = os.stat(os.path.join(stack.state, "storage"))
    for path in (os.path.dirname(folder), folder):
        os.chown(path, storage.st_uid, storage.st_gid)
    image = os.path.join(stack.runtime, "vm", uuid, "ovf-env.iso")
    for _ in range(2):
        seen = read_cd("appliance", console)
        assert os.stat(image).st_mode & 0o007 == 0, "for the host's eyes and the VM's alone"
        environment = seen.pop("ovf-env.xml")
        assert seen == {"volume": "OVF ENV", "setup.sh": "echo hello|", **many}, seen
        assert 'oe:id="%s"' % uuid in environment and "&lt;a" in environment and "&amp; &quot;b&quot;" in environment, environment
        vm("destroy", "appliance")
        oxt.wait_for(lambda: not os.path.exists(image), 20, "the CD's end")
        open(console, "w").close()
    log = stack.log("xenmgr")
    assert "ovffiles/%s/passwd is not on the CD" % uuid in log and "%s/a name is not on the CD" % uuid in log, log
    vm("delete", "appliance")
    assert not os.path.exists(folder), "its files go with the VM"


try:
    oxt.main()
finally:
    stack.stop()
