# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libxl is given for each key of the config file (docs/backends.md has the table), and what is refused."""
import json
import os
import subprocess
import uuid as uuids

from bed import CALL, INITRD, KERNEL, ROOT, case, image

IDENTITY = "c0ffee00-0000-4000-8000-000000000001"
TAP = "/usr/sbin/tap-ctl"


def backend(lines):
    """libxl's config as JSON, or the error; and the warnings."""
    file = ROOT + "/printed.conf"
    with open(file, "w") as f:
        f.write("\n".join(lines) + "\n")
    r = subprocess.run(["xenvm", "--backend", "xen", "--print-backend", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=CALL)
    return (json.loads(r.stdout) if r.returncode == 0 else r.stderr), r.stderr


def find(value, path):
    for step in path.split("/"):
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError):
            return None
    return value


def check(lines, wanted):
    """wanted: path in the JSON -> value."""
    made, warnings = backend(lines)
    assert isinstance(made, dict), made
    wrong = ["%s is %r, not %r" % (path, find(made, path), value) for path, value in wanted.items() if find(made, path) != value]
    assert not wrong, "\n".join(wrong + [json.dumps(made)])
    return warnings


COMMON = ["uuid=" + IDENTITY, "name=keys", "memory=160", "memory-max=192", "vcpus=2", "no_mem_check=true", "on_halt=preserve",
          "on_reboot=restart", "on_crash=restart", "time-offset=3600", "disable-migrate=true", "cpus-affinity=1:1",
          "platform=device_id=0002", "passthrough-io=0x3f8-0x3ff", "passthrough-mmio=0xfed40000-0xfed44fff", "vtpm-backend=0",
          "vtpm-instance=3", "vkbd=true", "pci-msitranslate=0", "pci=0,bind,0000:03:00.1,power_mgmt=0,guest_slot=16",
          "disk=/dev/null:phy:xvdb:r:disk", "disk=%s/one.raw:file:xvda:w:disk", "disk=%s/two.qcow2:qcow2:xvdd:w:disk",
          "disk=/srv/x.img:phy:xvde:w:disk::backend-domid=3", "nic=id=1,bridge=xenbr0,mac=02:00:00:00:00:09,rate=1000000",
          "nic=id=2,bridge=other,mac=02:00:00:00:00:0a,backend-domid=4", "cpuid=1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0"]
COMMON_WANTED = {
    "c_info/uuid": IDENTITY, "c_info/name": "keys", "b_info/target_memkb": 160 << 10, "b_info/max_memkb": 192 << 10,
    "b_info/max_vcpus": 2, "b_info/avail_vcpus": [0, 1], "on_poweroff": "preserve", "on_reboot": "restart", "on_crash": "restart",
    "on_watchdog": "restart", "b_info/rtc_timeoffset": 3600, "b_info/disable_migrate": "True",
    "b_info/vcpu_hard_affinity/1": [1], "c_info/platformdata": {"device_id": "0002"},
    "b_info/ioports/0": {"first": 0x3f8, "number": 8}, "b_info/iomem/0": {"start": 0xfed40, "number": 5, "gfn": 0xfed40},
    "vtpms/0/devid": 3, "vkbs/0/backend_type": "qemu",
    "pcidevs/0/bus": 3, "pcidevs/0/func": 1, "pcidevs/0/vdevfn": 128, "pcidevs/0/seize": True,
    "disks/0/vdev": "xvdb", "disks/0/backend": "phy", "disks/0/format": "raw", "disks/0/readwrite": None,
    "disks/1/pdev_path": ROOT + "/one.raw", "disks/1/format": "raw", "disks/1/readwrite": 1,
    "disks/2/backend": "qdisk", "disks/2/format": "qcow2", "disks/3/backend_domid": 3,
    "nics/0/devid": 1, "nics/0/bridge": "xenbr0", "nics/0/mac": "02:00:00:00:00:09", "nics/0/rate_bytes_per_interval": 50000,
    "nics/1/backend_domid": 4, "c_info/passthrough": "enabled",
}


def common():
    image("one")
    image("two.qcow2")
    os.replace(ROOT + "/two.qcow2.raw", ROOT + "/two.qcow2")
    return [line % ROOT if "%s" in line else line for line in COMMON]


@case
def keys_paravirtual():
    """Each key of a PV and of a PVH guest is in what libxl is given, or named in a warning."""
    for kind in "pv", "pvh":
        warnings = check([*common(), "virt-type=" + kind, "kernel=" + KERNEL, "initrd=" + INITRD, "cmdline=quiet", "vfb=true", "hap=false",
                          "display=vnc:port=4,keymap=de", "timer-mode=1", "boot=c", "serial=pty", "vsnd=true", "v4v=true",
                          "cores-per-socket=2", "flask-label=a:b:c"],
                         dict(COMMON_WANTED, **{
                             "c_info/type": kind, "b_info/kernel": KERNEL, "b_info/ramdisk": INITRD, "b_info/cmdline": "quiet",
                             "vfbs/0/vnc/display": 4, "vfbs/0/vnc/enable": "True", "vfbs/0/keymap": "de",
                             "c_info/hap": "False" if kind == "pvh" else None, "c_info/ssid_label": None}))
        for key in "boot", "serial", "vsnd", "v4v", "cores-per-socket", "flask-label":
            assert key + " " in warnings, (key, warnings)
        assert ("timer-mode" in warnings) == (kind == "pv") and ("hap " in warnings) == (kind == "pv"), warnings


@case
def keys_hvm():
    """Each key of an HVM guest is in what libxl is given: platform, display, stub domain, device model, firmware."""
    hvm = [*common(), "hvm=true", "boot=dc", "pae=true", "acpi=true", "apic=true", "nx=true", "viridian=true", "nested=true", "hpet=0",
           "vpt-align=0", "timer-mode=2", "usb=false", "videoram=16", "serial=pty", "sound=ac97", "extra-hvm=one=two", "extra-hvm=three",
           "qemu-dm-path=/bin/true", "disk=:file:hdc:r:cdrom"]
    wanted = {"c_info/type": "hvm", "b_info/type.hvm/boot": "dc", "b_info/type.hvm/pae": "True", "b_info/acpi": "True", "b_info/apic": "True",
              "b_info/type.hvm/acpi_s3": "True", "b_info/type.hvm/acpi_s4": "True",
              "b_info/type.hvm/nx": "True", "b_info/type.hvm/viridian": "True", "b_info/nested_hvm": "True",
              "b_info/type.hvm/hpet": "False", "b_info/type.hvm/vpt_align": "False", "b_info/timer_mode": "no_missed_ticks_pending",
              "b_info/type.hvm/usb": "False", "b_info/video_memkb": 16 << 10, "b_info/type.hvm/serial": "pty",
              "b_info/type.hvm/soundhw": "ac97", "b_info/extra_hvm": ["-one", "two", "-three"], "b_info/device_model": "/bin/true",
              "disks/4/format": "empty", "disks/4/is_cdrom": 1}
    check([*hvm, "display=vnc:port=7,keymap=fr"],
          dict(COMMON_WANTED, **wanted, **{"b_info/type.hvm/vnc/display": 7, "b_info/type.hvm/vnc/findunused": "False",
                                           "b_info/type.hvm/keymap": "fr", "b_info/type.hvm/vga/kind": "std",
                                           "b_info/type.hvm/vkb_device": "False"}))
    check([*hvm, "display=none", "serial=none", "firmware=uefi", "stubdom=" + str(uuids.uuid4()), "stubdom-memory=96",
           "stubdom-kernel=/stub/kernel", "stubdom-initrd=/stub/initrd", "stubdom-cmdline=debug"],
          {"b_info/type.hvm/vga/kind": "none", "b_info/type.hvm/serial": None, "b_info/type.hvm/bios": "ovmf",
           "b_info/device_model_stubdomain": "True", "b_info/stubdomain_memkb": 96 << 10, "b_info/stubdomain_kernel": "/stub/kernel",
           "b_info/stubdomain_ramdisk": "/stub/initrd", "b_info/stubdomain_cmdline": "debug"})
    check([*hvm, "display=sdl"], {"b_info/type.hvm/sdl/enable": "True", "b_info/type.hvm/vnc/enable": "False"})
    check([*hvm, "display=sdl::1"], {"b_info/type.hvm/sdl/enable": "True", "b_info/type.hvm/sdl/display": ":1"})
    check([*hvm, "display=intel"], {"b_info/type.hvm/gfx_passthru": "True", "b_info/type.hvm/gfx_passthru_kind": "igd"})


@case
def refused_keys():
    """What cannot be mapped is refused with the key and the reason."""
    base = ["uuid=" + IDENTITY, "memory=64", "kernel=" + KERNEL]
    raw, vhd, keys = image("refused"), ROOT + "/refused.vhd", ROOT + "/keys"
    os.makedirs(keys, exist_ok=True)
    for file in vhd, keys + "/refused,aes-xts-plain,256.key":
        open(file, "w").close()
    child = ROOT + "/child.vhd"
    with open(child, "wb") as f:
        f.write(b"conectix".ljust(60, b"\0") + b"\0\0\0\4".ljust(452, b"\0"))  # its type: one that builds on another
    for lines, words in ((["disk=%s:vhd:xvda:w:disk" % child], ("xvda", child, "builds on another")),
                         (["disk=%s:file:xvda:w:disk:temporary" % raw], ("xvda", "snapshot mode 'temporary'")),
                         (["disk=%s:vhd:xvda:w:disk::key-file=/k" % vhd], ("xvda", "key-file")),
                         (["disk=%s:vhd:xvda:w:disk::key-dir=%s" % (vhd, keys)], ("xvda", "key-dir")),
                         (["disk=%s:vdi:xvda:w:disk" % raw], ("xvda", "vdi")),
                         (["disk=%s:file:xvda:w:disk::bps=100" % raw], ("xvda", "bps")),
                         (["disk=/nowhere:file:xvda:w:disk"], ("xvda", "/nowhere")),
                         (["nic=bridge=user,forward=tcp:8080:80"], ("nic 0", "forward")),
                         (["display=gtk"], ("display", "gtk")), (["kernel="], ("kernel",)), (["kernel=/nowhere"], ("kernel", "/nowhere")),
                         (["initrd=/nowhere"], ("initrd", "/nowhere"))):
        error, _ = backend(base + lines)
        assert isinstance(error, str) and all(w in error for w in words), (lines, error)


@case
def tap_layer():
    """VHD and aio disks go through OpenXT's tap layer where the host has it, else through QEMU and the kernel."""
    vhd, raw = ROOT + "/tapped.vhd", image("tapped")
    open(vhd, "w").close()
    lines = ["uuid=" + IDENTITY, "memory=64", "kernel=" + KERNEL, "disk=%s:vhd:xvda:w:disk" % vhd, "disk=%s:aio:xvdb:w:disk" % raw]
    check(lines, {"disks/0/format": "vhd", "disks/0/backend": "qdisk", "disks/1/pdev_path": raw, "disks/1/script": None})
    with open(TAP, "w") as f:
        os.chmod(f.fileno(), 0o755)
    try:
        check(lines, {"disks/0/format": "raw", "disks/0/backend": "phy", "disks/0/script": "block-tap", "disks/0/pdev_path": "vhd:" + vhd,
                      "disks/1/script": "block-tap", "disks/1/pdev_path": "aio:" + raw})
    finally:
        os.unlink(TAP)
