# SPDX-License-Identifier: LGPL-2.1-or-later
"""HVM guests, whose boot is beyond the emulation, and the config that libxl is given."""
import json
import subprocess

from bed import CALL, LINE, ROOT, Vm, case, domains, xl


@case
def hvm_devices():
    """HVM: creation, device model, xenstore contents, pause and destroy (its boot is beyond the emulation)."""
    disk = ROOT + "/hvm.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    vm = Vm("hvm", extra="kernel=\ninitrd=\nhvm=true\nacpi=true\napic=true\npae=true\nserial=pty\n"
                         "disk=%s:file:hda:w:disk\ndisk=:file:hdc:r:cdrom\nboot=dc" % disk, memory=160)
    try:
        vm.command("start", LINE, paused="true")
        assert vm.state() == "created"
        domid = vm.domid()
        listing = json.loads(xl("list", "-l", vm.name).stdout)[0]
        assert listing["config"]["c_info"]["type"] == "hvm" and listing["config"]["c_info"]["uuid"] == vm.uuid
        assert listing["config"]["b_info"]["type.hvm"]["boot"] == "dc"
        assert len(listing["config"]["disks"]) == 2
        store = subprocess.run(["xenstore-ls", "/local/domain/%d" % domid], stdout=subprocess.PIPE, text=True).stdout
        assert "vbd" in store and "console" in store, store
        vm.command("destroy", LINE)
        assert vm.state() == "shutdown" and vm.name not in domains()
    finally:
        vm.end()


@case
def converted():
    """xl reads what oxt convert writes, and means the same: type, uuid, memory, disks, nics."""
    disk = ROOT + "/convert.raw"
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    for kind, extra in (("pv", ""), ("hvm", "hvm=true\nkernel=\ninitrd=\nboot=cd\nacpi=true")):
        vm = Vm(kind, extra="disk=%s:file:xvda:w:disk\nnic=bridge=xenbr0,mac=02:00:00:00:00:01\n%s" % (disk, extra))
        try:
            cfg = ROOT + "/converted.cfg"
            r = subprocess.run(["xenvm-convert", vm.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=CALL)
            assert r.returncode == 0, r.stderr
            with open(cfg, "w") as f:
                f.write(r.stdout)
            out = xl("create", "-n", cfg).stdout
            got = json.loads(out[out.index("{"):])
            assert got["c_info"]["type"] == kind and got["c_info"]["uuid"] == vm.uuid, got["c_info"]
            assert got["b_info"]["target_memkb"] == 128 * 1024, got["b_info"]
            assert len(got["disks"]) == 1 and got["disks"][0]["pdev_path"] == disk, got["disks"]
            assert got["nics"][0]["mac"] == "02:00:00:00:00:01", got["nics"]
        finally:
            vm.end()
