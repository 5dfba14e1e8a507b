# SPDX-License-Identifier: LGPL-2.1-or-later
"""HVM guests, whose boot is beyond the emulation, and the config that libxl is given."""
import ctypes
import glob
import json
import os
import signal
import socket
import subprocess

from bed import CALL, LINE, ROOT, RUNTIME, Vm, bridge, case, domains, image, listing, picture, store, wait_for, xl


def arguments_of(path):
    """Of a process that may end at any time."""
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


@case
def hvm_devices():
    """HVM: creation, device model, devices, xenstore contents, pause and destroy (its boot is beyond the emulation)."""
    disk = image("hvm")
    vm = Vm("hvm", extra="kernel=\ninitrd=\nhvm=true\nacpi=true\napic=true\npae=true\nserial=pty\n"
                         "disk=%s:file:hda:w:disk\ndisk=:file:hdc:r:cdrom\nboot=dc\nnic=bridge=%s,mac=02:00:00:00:00:05\n"
                         "power-management=2\nsmbios-pt=true\nbios-string=xenvendor-manufacturer=Acme\n"
                         "display=vnc:use-port-unused,port=0,keymap=en-us" % (disk, bridge("oxtbr0")), memory=160)
    try:
        vm.command("start", LINE, paused="true")
        assert vm.state() == "created"
        domid = vm.domid()
        c = listing(vm.name)
        assert c["c_info"]["type"] == "hvm" and c["c_info"]["uuid"] == vm.uuid
        assert c["b_info"]["type.hvm"]["boot"] == "dc" and len(c["disks"]) == 2 and c["nics"][0]["nictype"] == "vif_ioemu"
        if os.path.exists("/sys/firmware/dmi/tables/DMI"):
            assert "smbios_firmware" in c["b_info"]["type.hvm"], c["b_info"]
        # The device model runs, is reached by libxl, and has its devices.
        model = [p for p in glob.glob("/proc/[0-9]*/cmdline") if ("-xen-domid\0%d\0" % domid) in arguments_of(p)]
        assert len(model) == 1, model
        arguments = arguments_of(model[0]).split("\0")
        assert any(disk in a for a in arguments) and any("02:00:00:00:00:05" in a for a in arguments), arguments
        own = store("/local/domain/%d" % domid)
        node = lambda name: own.get("/local/domain/%d/%s" % (domid, name))
        assert node("device/vbd/768/backend-id") == "0" and node("device/vbd/5632/device-type") == "cdrom", own
        assert node("device/vif/0/mac") == "02:00:00:00:00:05" and node("console/tty"), own
        assert node("bios-strings/system-manufacturer") == "Acme", own
        assert int(node("console/vnc-port")) == int(vm.command("get-vnc")), own
        models = store("/local/domain/0/device-model/%d" % domid)
        assert models["/local/domain/0/device-model/%d/state" % domid] == "running", models
        assert models["/local/domain/0/device-model/%d/xen_extended_power_mgmt" % domid] == "2", models
        assert vm.command("get-stubdomid") == "-1" and vm.command("get-acpi-state") == "0"
        vm.command("screenshot", LINE, file=ROOT + "/hvm.png")
        assert picture(ROOT + "/hvm.png")[0] >= 640
        # The empty drive gets a medium, and loses it.
        vm.command("cd-insert-file", LINE, virtpath="hdc", physpath=image("cd"))
        assert "cd.raw" in listing(vm.name)["disks"][1]["pdev_path"]
        vm.command("cd-eject", LINE, virtpath="hdc")
        assert not listing(vm.name)["disks"][1].get("pdev_path")
        vm.command("unpause")
        vm.command("pause")
        assert vm.state() == "paused"
        vm.command("destroy", LINE)
        assert vm.state() == "shutdown" and vm.name not in domains()
        assert not store("/local/domain/0/device-model/%d" % domid)
        # Its parent reaps nothing: what is left of it has no memory, and so no arguments.
        wait_for(lambda: not arguments_of(model[0]), CALL, "the device model to end")
    finally:
        vm.end()


PLAIN = "kernel=\ninitrd=\nhvm=true\nacpi=true\napic=true\npae=true\ndisplay=vnc\non_crash=destroy\n"


def set_sleep(domid, state):
    """What a guest without drivers does that goes to sleep (3), and the hypervisor when it wakes (0)."""
    xenctrl = ctypes.CDLL("libxenctrl.so.4.17")
    xenctrl.xc_interface_open.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(xenctrl.xc_interface_open(None, None, 0))
    assert xenctrl.xc_hvm_param_set(handle, domid, 14, ctypes.c_uint64(state)) == 0 # HVM_PARAM_ACPI_S_STATE
    xenctrl.xc_interface_close(handle)


def screen(vm):
    """The first words of the VNC server at its socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(CALL)
        s.connect("%s/vm/%s/vnc.sock" % (RUNTIME, vm.uuid))
        return s.recv(12)


@case
def hvm_beside():
    """HVM: two side by side, their screens on sockets; sleep is seen, a deaf one halted at once, a killed device model is a crash."""
    one, other = Vm("hvm", extra=PLAIN, memory=96), Vm("hvm", extra=PLAIN, memory=96)
    try:
        for vm in one, other:
            vm.command("start", LINE, paused="true")
        for vm in one, other:
            assert screen(vm).startswith(b"RFB ") and vm.command("get-vnc") == ""
        set_sleep(one.domid(), 3)
        wait_for(lambda: "power-state:3" in one.told() and one.command("get-acpi-state") == "3", CALL, "the sleep to be told")
        set_sleep(one.domid(), 0)
        wait_for(lambda: "power-state:0" in one.told() and one.command("get-acpi-state") == "0", CALL, "the waking to be told")
        one.command("unpause")
        one.command("halt", LINE) # it has not come to switch its power button on
        assert one.state() == "shutdown" and one.name not in domains() and "error:crashed" not in one.told(), one.told()
        other.command("unpause")
        domain = "/local/domain/%d" % other.domid()
        other.monitor.kill() # the next monitor watches it, too
        other.monitor.wait()
        other.spawn()
        assert other.state() == "running"
        os.kill(int(store(domain)[domain + "/image/device-model-pid"]), signal.SIGKILL)
        wait_for(lambda: "error:crashed" in other.told(), CALL, "the crash to be told")
        other.wait_state("shutdown")
        assert other.name not in domains()
    finally:
        one.end()
        other.end()


def flat(value, path=""):
    """A tree as path -> leaf."""
    if isinstance(value, dict):
        return {k: v for name in value for k, v in flat(value[name], path + "/" + name).items()}
    if isinstance(value, list):
        return {k: v for n, element in enumerate(value) for k, v in flat(element, path + "/%d" % n).items()}
    return {path: value}


# Where xl's reading of the converted file and what xenvm gives libxl differ, and why that is right.
DIFFERENCES = {
    "/b_info/claim_mode": "xl's setting for the host",
    "/c_info/run_hotplug_scripts": "xl's setting for the host, which is libxl's default",
    "/on_soft_reset": "a reboot for the monitor",
    "/b_info/type.hvm/nographic": "no card is enough; it would put a serial port into the device model's log",
    "/b_info/type.hvm/timeoffset": "what rtc_timeoffset says, for the device model",
}


@case
def converted():
    """xl makes of what oxt convert writes what xenvm gives libxl, field by field; the differences are known."""
    disk, other = image("convert"), image("convert2")
    both = ("disk=%s:file:xvda:w:disk\ndisk=%s:file:xvdb:r:disk\nnic=bridge=oxtbr0,mac=02:00:00:00:00:01\nvcpus=2\n"
            "memory-max=192\non_halt=preserve\non_crash=restart\n" % (disk, other))
    hvm = ("hvm=true\nkernel=\ninitrd=\ncmdline=\nboot=cd\nacpi=true\napic=true\npae=true\nnx=true\nviridian=true\nhpet=1\n"
           "time-offset=3600\ntimer-mode=1\nvideoram=16\nserial=pty\nusb=true\nsound=ac97\ndisk=:file:hdc:r:cdrom\n"
           "passthrough-io=0x3f8-0x3ff\ndisplay=")
    for kind, extra in (("pv", ""), ("pvh", ""), ("hvm", hvm + "vnc:port=3,keymap=de"), ("hvm", hvm + "none")):
        vm = Vm(kind, extra=both + extra)
        try:
            cfg = ROOT + "/converted.cfg"
            r = subprocess.run(["xenvm-convert", vm.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=CALL)
            assert r.returncode == 0, r.stderr
            with open(cfg, "w") as f:
                f.write(r.stdout)
            out = xl("create", "-n", cfg).stdout
            theirs = flat(json.loads(out[out.index("{"):out.rindex("}") + 1]))
            ours = flat(json.loads(subprocess.run(["xenvm", "--print-backend", vm.file], stdout=subprocess.PIPE, text=True, check=True).stdout))
            different = {p: (ours.get(p), theirs.get(p)) for p in ours.keys() | theirs.keys() if ours.get(p) != theirs.get(p)}
            unknown = {p: d for p, d in sorted(different.items()) if p not in DIFFERENCES}
            assert not unknown, "%s: ours, xl's: %s" % (kind, json.dumps(unknown, indent=1))
        finally:
            vm.end()
