#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The effect that the key tables name for each property of a VM and of the host is seen: made from the tables themselves."""
import os
import subprocess

import dbus

import oxt
from xenmgr import PROPERTIES, XM, Host, key_table, uuid_of, with_host

# Properties whose text has a form; all others get a word. Two values, so that a change is seen.
FORMS = {
    "boot": ("dc", "n"), "cpuid": ("0:eax=" + "0" * 32, "1:ecx=" + "x" * 32), "display": ("none", "vnc"), "virt-type": ("pvh", "hvm"),
    "extra-hvm": ("usb=1;vga=std", "cirrus="), "extra-xenvm": ("debug=true", "debug=false"), "sound": ("es1370", "sb16"),
    "memory": (256, 320), "memory-static-max": (512, 640), "vcpus": (2, 3), "cores-per-socket": (2, 3),
    "passthrough-io": ("0x3f8-0x3ff", "0x2f8-0x2ff"), "passthrough-mmio": ("0xa0000-0xa1000", "0xa0000-0xa2000"),
    "type": ("svm", "ndvm"), "serial": ("pty", "none"), "slot": (4, 5), "boot-sentinel": ("one", "two"),
    "image-path": ("a.png", "b.png"),
}
# What a VM has to be for a line to be written: an hvm one with a stub domain and a disk, or one with a kernel.
KINDS = (
    {"type": "ndvm", "name": "n", "stubdom": "true", "config": {
        "virt-type": "hvm", "memory": "128", "vcpus": "6",
        "disk": {"0": {"path": "/storage/disks/d.vhd", "type": "vhd", "mode": "w", "devtype": "disk", "device": "hda"}}}},
    {"type": "svm", "config": {"virt-type": "pvh", "memory": "128", "vcpus": "1", "kernel": "/storage/k",
                               "initrd": "/storage/i"}},
)


def values(row):
    """Two values of the row's type."""
    if row["property"] in FORMS:
        return FORMS[row["property"]]
    if row["signature"] == "b":
        return True, False
    if row["signature"] == "i":
        return 11, 12
    if row["choices"] not in ("", "list"):
        return tuple(row["choices"].split()[:2])
    return "/storage/%s-one" % row["property"], "/storage/%s-two" % row["property"]


def wrapped(row, value):
    return {"b": dbus.Boolean, "i": dbus.Int32, "s": dbus.String}[row["signature"]](value)


def stored_text(row, value):
    if row["signature"] == "b":
        return "true" if value != ("inverted" in row["flags"]) else "false"
    return str(value)


def interface_of(row):
    return XM + (".vm.unrestricted" if "unrestricted" in row["flags"] else ".vm")


def node(host, vm, row):
    path = "/vm/%s/%s" % (uuid_of(vm), row["path"])
    return str(host.db("read", path)) if host.db("exists", path) else None


@oxt.case
def stored():
    """Each property that has a node is found there as it was set, whatever else it does."""
    host = Host("--no-autostart")
    try:
        vm = host.create(tree={"type": "svm"})
        rows = [r for r in key_table() if r["path"] and "read-only" not in r["flags"]]
        assert len(rows) > 100
        for row in rows:
            if row["property"] == "policy-modify-vm-settings":
                continue  # it would refuse all that comes behind it; it has its own test
            if row["property"] == "gpu":  # what is no part of a GPU's address is not kept, as clients expect
                host.set(vm, XM + ".vm", "gpu", "nowhere")
                assert node(host, vm, row) is None
                FORMS["gpu"] = [str(g["addr"]) for g in host.call("/host", XM + ".host", "list_gpu_devices")]
            # What is read anyway is not stored by a first set.
            two = sorted(values(row), key=lambda v: host.get(vm, interface_of(row), row["property"]) == v)
            for value in two:
                host.set(vm, interface_of(row), row["property"], wrapped(row, value))
                path = "/vm/%s/%s" % (uuid_of(vm), row["path"])
                if row["choices"] == "list":
                    have = ";".join(str(host.db("read", "%s/%s" % (path, n))) for n in host.db("list", path))
                else:
                    have = str(host.db("read", path))
                assert have == stored_text(row, value), (row["property"], value, have)
    finally:
        host.stop()


def config(host, vm):
    return str(host.call(vm, "org.oxt.Xenmgr1", "Config")).splitlines()


def refusal(host, config_lines):
    """What xenvm says against the file; empty: it shows what it would run."""
    path = os.path.join(host.stack.root, "effect.conf")
    with open(path, "w") as f:
        f.write("\n".join(config_lines) + "\n")
    r = subprocess.run([os.path.join(oxt.BUILD, "src/bin/xenvm"), "--backend", "qemu", "--strict-config", "--state-dir",
                        host.stack.state, "--runtime-dir", host.stack.runtime, "--print-backend", path],
                       capture_output=True, text=True)
    assert r.returncode == 0 and "qemu" in r.stdout or r.stderr, r
    return r.stderr


def effect(host, vm, row):
    """Sets both values; None if each is seen and taken, else what was not."""
    before, found, key = node(host, vm, row), [], row["line"] + "=" if row["line"] else ""
    try:
        for value in values(row):
            host.set(vm, interface_of(row), row["property"], wrapped(row, value))
            everything = config(host, vm)
            found.append([line for line in everything if line.startswith(key)])
            items = str(value).split(";") if row["choices"] == "list" else [str(value)]
            by_name = row["signature"] != "b" and row["choices"] in ("", "list")
            if by_name and not all(any(i in line for line in found[-1]) for i in items):
                return "%s is not in %s" % (value, found[-1])
            why = refusal(host, everything)
            # Rows that only Xen can serve are understood, and refused by their name.
            if why and not why.startswith("xenvm: %s: QEMU cannot" % row["line"]):
                return why
    finally:
        if before is None:
            host.db("rm", "/vm/%s/%s" % (uuid_of(vm), row["path"]))
        else:
            host.db("write", "/vm/%s/%s" % (uuid_of(vm), row["path"]), before)
    return None if found[0] != found[1] else "both give %s" % found[0]


@oxt.case
def lines():
    """Each property that is a line of the monitor's configuration changes that line, and xenvm takes the file."""
    host = Host("--no-autostart")
    try:
        storage = os.path.join(host.stack.state, "storage")
        os.makedirs(storage + "/disks", exist_ok=True)
        for f in ("disks/d.vhd", "k", "i"):
            open(os.path.join(storage, f), "w").close()
        rows = [r for r in key_table() if r["effect"] == "config" and "read-only" not in r["flags"]]
        assert len(rows) > 35
        vms = [host.create(tree=k) for k in KINDS]
        for vm in vms:
            assert refusal(host, config(host, vm)) == ""
        assert refusal(host, config(host, vms[0]) + ["passthrough-io=anywhere"]), "a bad line is not taken"
        for row in rows:
            why = [effect(host, vm, row) for vm in vms]
            assert None in why, (row["property"], why)
    finally:
        host.stop()


@oxt.case
def start_writes_it():
    """What Config shows is what a start leaves for the monitor; a guest is not shown it."""
    host = Host("--no-autostart")
    try:
        vm = host.create(tree=dict(KINDS[1], name="v"))
        os.makedirs(os.path.join(host.stack.state, "storage"), exist_ok=True)
        for f in ("k", "i"):
            open(os.path.join(host.stack.state, "storage", f), "w").close()
        wanted = config(host, vm)
        try:
            host.call(vm, XM + ".vm", "start", timeout=60)
        except dbus.DBusException:
            pass  # an empty kernel does not boot; the file is written before
        with open(os.path.join(host.stack.runtime, "vm", uuid_of(vm), "xenvm.conf")) as f:
            assert f.read().splitlines() == wanted
        guest = dbus.bus.BusConnection(host.stack.address)
        guest.request_name("org.oxt.conn.d8.u%s.s0.r%s" % (uuid_of(vm).replace("-", "_"), "0123456789abcdef" * 2))
        for member in ("Config", "Console", "Log", "Screenshot", "Usage"):
            assert host.fails(vm, "org.oxt.Xenmgr1", member, bus=guest)[0] == "AccessDenied", member
        guest.close()
    finally:
        host.stop()


# Where the effect of each property is shown that is neither stored alone nor a line of the configuration:
# the case of test-NAME.py, which fails when the effect is missing. No row may be without.
SHOWN_BY = {
    "xenmgr-acts:amt": "amt-pt",
    "xenmgr-acts:asleep": "auto-s3-wake",
    "xenmgr-acts:cd_changed": "cd",
    "xenmgr-acts:computed": "uuid mac private-space portica-enabled memory-target stub_domid",
    "xenmgr-acts:conditions": "domstore-read-access domstore-write-access usb-control wireless-control",
    "xenmgr-acts:gpu": "gpu",
    "xenmgr-acts:hibernated": "hibernated acpi-state",
    "xenmgr-acts:hooks_of_existence": "run-post-create run-pre-delete",
    "xenmgr-acts:icon": "image-path image_path_vg",
    "xenmgr-acts:operating_system": "os",
    "xenmgr-acts:policies": "policy-audio-access policy-audio-recording policy-wired-networking policy-wireless-networking",
    "xenmgr-acts:suspend_image": "start-from-suspend-image",
    "xenmgr-acts:waiting_for_login": "crypto-user autostart-pending",
    "xenmgr-api:overrides": "native-experience slot state",
    "xenmgr-api:policies": "policy-modify-vm-settings",
    "xenmgr-api:records": "wired-network wireless-network",
    "xenmgr-api:signals": "name",
    "xenmgr-api:templates": "type",
    "xenmgr-guest:boot_sentinel": "boot-sentinel",
    "xenmgr-guest:power_link": "control-platform-power-state",
    "xenmgr-guest:tools": "pv-addons pv-addons-version",
    "xenmgr-life:autostart": "start-on-boot start-on-boot-priority ready",
    "xenmgr-life:dependencies": "dependencies track-dependencies provides-default-network-backend",
    "xenmgr-life:guest_ends": "preserve-on-reboot",
    "xenmgr-life:hooks": "run-pre-boot run-insteadof-start run-on-state-change run-on-acpi-state-change",
    "xenmgr-life:keep_alive": "keep-alive",
    "xenmgr-life:measured": "measured",
    "xenmgr-life:start_and_destroy": "domid",
    "xenmgr-memory:with_less": "memory-min",
    "xenmgr-peers:told": "provides-network-backend provides-graphics-fallback",
    "down:by_priority": "shutdown-priority",
    "extract:boots": "initrd-extract kernel-extract",
    "vm-run:ovf_environment": "ovf-transport-iso",
    # Golden files of the unit test xenmgr-config, and a unit test: no host of the suite has such a device.
    "unit:config": "policy-cd-access policy-cd-recording",
    "unit:places": "seamless-mouse-left seamless-mouse-right",
}


@oxt.case
def each_is_shown():
    """Every property of the key table has its effect shown: as a line, as stored alone, or by the case that is named."""
    rows = {r["property"]: r for r in key_table()}
    named = {p: where for where, properties in SHOWN_BY.items() for p in properties.split()}
    wanted = {p for p, r in rows.items() if r["effect"] not in ("config", "stored")}
    assert set(named) == wanted, (wanted - set(named), set(named) - wanted)
    for name, where in named.items():
        test, case = where.split(":")
        if test == "unit":
            continue
        with open(os.path.join(oxt.SOURCE, "test/test-%s.py" % test)) as f:
            text = f.read()
        assert "\ndef %s(" % case in text, where
        stored = (rows[name]["path"] or name).split("/")[-1]
        assert name in text or stored in text or name.replace("policy-", "block-") in text, (name, where)


# The same for the properties of the host.
SHOWN_OF_HOST = {
    "autostart": "xenmgr-life:autostart_settings", "svm-autostart-delay": "xenmgr-life:autostart_settings",
    "bypass-sha1sum-checks": "xenmgr-life:measured", "iso-path": "xenmgr-devices:isos", "language": "xenmgr-members:facts",
    "platform-crypto-key-dirs": "xenmgr-effects:platform_keys", "vm-creation-allowed": "xenmgr-api:creation",
    "vm-deletion-allowed": "xenmgr-api:creation", "xc-diag-timeout": "xenmgr-members:diagnostics",
}


@with_host
def of_host(host):
    """Each property of the host is stored where it belongs and tells of its change, if it does; what acts has a case that shows it."""
    rows = key_table("host")
    assert {r["property"] for r in rows if r["effect"] not in ("stored", "computed")} == set(SHOWN_OF_HOST)
    for name, where in SHOWN_OF_HOST.items():
        test, case = where.split(":")
        with open(os.path.join(oxt.SOURCE, "test/test-%s.py" % test)) as f:
            text = f.read()
        assert "\ndef %s(" % case in text and '"%s"' % name in text, where
    os.makedirs(os.path.join(host.stack.state, "config"), exist_ok=True)
    os.chmod(os.path.join(host.stack.state, "config"), 0o777)
    for row in rows:
        flags, name = row["flags"].split(), row["property"]
        interface = XM + (".config.ui" if "ui" in flags else ".config")
        if "read-only" in flags:
            assert host.fails("/", PROPERTIES, "Set", interface, name, host.get("/", interface, name))[0] == "Failed", name
            continue
        if not row["path"]:
            continue
        for value in ("sleep", "hibernate") if name == "measure-fail-action" else values(row):
            host.turn()
            host.signals.clear()
            host.set("/", interface, name, wrapped(row, value))
            assert host.get("/", interface, name) == value, name
            if "file" in flags:
                stored = os.path.exists(host.stack.state + row["path"])
                assert stored == (value is False), name
            elif name == "pointer-trail-timeout":
                assert host.db("read", row["path"]) == "%g" % (value / 1000)
            else:
                stored = str(host.db("read", row["path"])) if host.db("exists", row["path"]) else "false"
                assert stored == stored_text(row, value), name
            host.turn()
            assert (("config_changed",) in host.signals) == ("signal" in flags), name


@with_host
def platform_keys(host):
    """platform-crypto-key-dirs: the folders in which keys of disks are looked for, and the first of which new ones are put into."""
    os.makedirs(os.path.join(host.stack.state, "config/keys"))
    os.chmod(os.path.join(host.stack.state, "config"), 0o755)
    os.chmod(os.path.join(host.stack.state, "config/keys"), 0o777)
    host.set("/", XM + ".config", "platform-crypto-key-dirs", "/config/keys,/config/none")
    vm = host.create(tree=KINDS[0])
    image = str(host.call("/", XM, "create_vhd", 4))
    disk = vm + "/disk/0"
    host.set(disk, "com.citrix.xenclient.vmdisk", "phys-path", image)
    line, = [line for line in config(host, vm) if line.startswith("disk=")]
    assert line.endswith("key-dir=%s/config/keys" % host.stack.state), line
    host.call(disk, "com.citrix.xenclient.vmdisk", "generate_crypto_key", 256)
    assert os.listdir(os.path.join(host.stack.state, "config/keys")) == [os.path.basename(image)[:-4] + ",aes-xts-plain,256.key"]


@oxt.case
def stored_alone():
    """What is stored alone changes no line of the configuration: clients keep it there, and the table does not promise more."""
    host = Host("--no-autostart")
    try:
        vms = [host.create(tree=k) for k in KINDS]
        rows = [r for r in key_table() if r["effect"] == "stored" and "read-only" not in r["flags"]]
        assert len(rows) > 30
        for vm in vms:
            lasting = lambda: [line for line in config(host, vm) if not line.startswith("stubdom=")]  # new for each start
            before = lasting()
            assert before == lasting()
            for row in rows:
                for value in values(row):
                    host.set(vm, interface_of(row), row["property"], wrapped(row, value))
                    assert lasting() == before, row["property"]
    finally:
        host.stop()


if __name__ == "__main__":
    oxt.main()
