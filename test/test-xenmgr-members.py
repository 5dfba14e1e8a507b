#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Members of the API table that no other test is about: what each does, and that every method, signal and property has a test."""
import glob
import os
import re
import subprocess
import time

import dbus

import oxt
from life import VM, with_life
from xenmgr import XM, pci_devices, uuid_of, with_host

os.environ["XENVM_TIMEOUT_SCALE"] = "0.02"
HOST, DIAG, INSTALLER = XM + ".host", XM + ".diag", XM + ".installer"
# Signals that nothing sends: the contract declares the one and never emits it; the other is about the power of the host.
NEVER_SENT = {"network_state_changed", "state_changed"}


def source(*path):
    with open(os.path.join(oxt.SOURCE, *path)) as f:
        return f.read()


def told(host, interface, member):
    """The list of those signals from now on."""
    seen = []
    host.bus.add_signal_receiver(lambda *args: seen.append(args), dbus_interface=interface, signal_name=member)
    return seen


def wait_told(host, seen, seconds=5):
    return oxt.wait_for(lambda: host.turn() or seen, seconds, "the signal")


@oxt.case
def each_has_a_test():
    """Every method, signal and property of xenmgr in the API table is named by a test, or by the key tables that tests go through."""
    tests = "".join(source(path) for path in glob.glob(os.path.join(oxt.SOURCE, "test", "test-*.py")))
    refused = {name for name, _ in refusals()}
    without = set()
    for line in source("test/data/xenmgr/dbus-api.tsv").splitlines():
        interface, kind, name = line.split("\t")[:3]
        by_table = interface in (VM, VM + ".unrestricted", XM + ".config", XM + ".config.ui") and kind == "property"
        if re.match(r"com\.citrix\.xenclient\.(xenmgr|vmdisk|vmnic|policy)", interface) and not by_table and \
           name not in refused and name not in NEVER_SENT and '"%s"' % name not in tests:
            without.add((interface, kind, name))
    assert not without, sorted(without)


def refusals():
    """The rows of the table in src/xenmgr/README.md: (method, where)."""
    table = source("src/xenmgr/README.md").split("answer 223:\n\n")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        where, names = row.split("|")[1].split(":")
        for name in re.findall(r"`([^`]+)`", names):
            yield name, where.strip(" `")


@with_host
def refused(host):
    """What this host can never do is answered with 223 and the reason: each row of the documented table."""
    vm = host.create()
    disk = str(host.call(vm, VM, "add_disk"))
    arguments = {"mount": ("/mnt", True), "status_report_screen": (True,), "taas_agree_terms": ("u", "p", "1"),
                 "taas_authenticate_credentials": ("u", "p"), "taas_upload": ("u", "p", "1", "/etc/passwd")}
    places = {"/": ("/", DIAG), "/host": ("/host", HOST), "disk": (disk, "com.citrix.xenclient.vmdisk")}
    rows = list(refusals())
    assert {("shutdown", "/host"), ("mount", "disk"), ("taas_upload", "/")} <= set(rows) and len(rows) == 11, rows
    for name, where in rows:
        error, text = host.fails(*places[where], name, *arguments.get(name, ()))
        assert error == "Failed" and text.startswith("223:") and len(text) > 20, (name, text)


@with_host
def gpus(host):
    """Graphics cards: where they stand, which the display handler has, which a VM; AMT and a VM's devices."""
    card = {"class": "0x030000", "vendor": "0x8086", "device": "0x3e92", "boot_vga": "1"}
    second = dict(card, vendor="0x10de", boot_vga="0")
    host.restart_within(pci_devices(host, {"0000:00:02.0": card, "0000:01:00.0": second,
                                           "0000:00:16.0": {"class": "0x078000", "vendor": "0x8086", "device": "0x1c3a"}}))
    vm, addresses = host.create(), lambda member: [str(d["addr"]) for d in host.call("/host", HOST, member)]
    assert host.get("/host", HOST, "amt-capable") and host.get("/host", HOST, "physical-gpu-model")
    assert addresses("list_gpu_devices") == addresses("list_gpus_for_displayhandler") == ["0000:00:02.0", "0000:01:00.0"]
    place = lambda: [int(host.call("/host", HOST, "get_gpu_placement", a)) for a in ("0000:00:02.0", "0000:01:00.0")]
    assert place() == [0, 1]
    host.call("/host", HOST, "configure_gpu_placement", "0000:01:00.0", 5)
    assert place() == [0, 5] and [str(g["placement"]) for g in host.call("/host", HOST, "list_gpu_devices")] == ["0", "5"]
    assert host.call("/host", HOST, "get_displayhandler_gpu") == "-1", "these have no driver"
    changed = told(host, HOST, "displayhandler_gpu_changed")
    host.call("/host", HOST, "set_displayhandler_gpu", "0000:00:02.0")
    wait_told(host, changed)
    assert addresses("list_gpu_devices") == ["0000:01:00.0"], "the other is given away"
    for bad in ("0000:00:02", "0000:00:02.0,x", "nothing"):
        assert host.fails("/host", HOST, "set_displayhandler_gpu", bad)[0] == "Failed", bad
    host.set(vm, VM, "gpu", "0000:01:00.0")
    assert host.fails("/host", HOST, "set_displayhandler_gpu", "0000:01:00.0")[0] == "Failed", "a VM has it"
    assert addresses("list_gpus_for_displayhandler") == ["0000:00:02.0"]
    host.call("/host", HOST, "set_displayhandler_gpu", "")
    oxt.wait_for(lambda: addresses("list_gpu_devices") == ["0000:00:02.0", "0000:01:00.0"])
    host.call(vm, VM + ".pci", "add_pt_rule_bdf", "0000:00:16.0")
    given = {str(d["addr"]): str(d["class"]) for d in host.call(vm, VM + ".pci", "list_pt_pci_devices")}
    assert given == {"0000:00:16.0": "0x780", "0000:01:00.0": "0x300"}, given
    host.set(vm, VM, "gpu", "")
    config = lambda: [l for l in str(host.call(vm, "org.oxt.Xenmgr1", "Config")).splitlines() if l.startswith("pci=")]
    assert config() == ["pci=0,bind,0000:00:16.0"]
    host.call(vm, VM + ".pci", "delete_pt_rule_bdf", "0000:00:16.0")
    host.call(vm, VM + ".pci", "add_pt_rule_bdf", "0000:00:16.0@1f")
    host.call(vm, VM + ".pci", "add_pt_rule", "any", "0x8086", "0x3e92")
    rule = [r["id"] for r in host.call(vm, VM + ".pci", "list_pt_rules") if "3E92" in r["rule"]][0]
    host.call(vm, VM, "set_db_key", "config.pci.%s.force-slot" % rule, "true")
    assert config() == ["pci=0,bind,0000:00:02.0,guest_slot=2", "pci=0,bind,0000:00:16.0,guest_slot=31"], config()


@with_host
def flavour(host):
    """What the installation's flavour can do: which graphics cards may be passed on, and what seamless-traffic is where it was never set."""
    card = {"class": "0x030000", "vendor": "0x8086", "device": "0x3e92", "boot_vga": "1"}
    devices = pci_devices(host, {"0000:00:02.0": card, "0000:01:00.0": dict(card, boot_vga="0")})
    etc = os.path.join(host.stack.root, "etc")
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    with open(etc + "/caps.default", "w") as f:
        f.write("secondary-gpu-pt = false\nSeamless-Traffic-Default = True\nsupported-languages = en-us de-de\n")
    vm, service = host.create(), host.create(tree={"type": "ndvm"})
    assert not host.get(vm, VM, "seamless-traffic")
    host.restart_within("%s && mount --bind %s /etc" % (devices, etc))
    addresses = lambda member: [str(d["addr"]) for d in host.call("/host", HOST, member)]
    assert addresses("list_gpu_devices") == ["0000:00:02.0"]
    assert addresses("list_gpus_for_displayhandler") == ["0000:00:02.0", "0000:01:00.0"]
    assert host.fails("/host", HOST, "get_gpu_placement", "0000:01:00.0")[1].startswith("234:")
    assert not host.get("/", XM + ".config", "secondary-gpu-pt")
    assert [str(l) for l in host.get("/", XM + ".config.ui", "supported-languages")] == ["en-us", "de-de"]
    assert host.get(vm, VM, "seamless-traffic") and not host.get(service, VM, "seamless-traffic")
    for value in (False, True, False):
        host.set(vm, VM, "seamless-traffic", value)
        assert host.get(vm, VM, "seamless-traffic") == value


@with_host
def domstore(host):
    """A VM's own part of the database: dots are slashes, and what is missing reads as nothing."""
    vm = host.create()
    assert host.call(vm, VM, "get_domstore_key", "a.b") == ""
    host.call(vm, VM, "set_domstore_key", "a.b", "1")
    assert host.db("read", "/dom-store/%s/a/b" % uuid_of(vm)) == "1" == host.call(vm, VM, "get_domstore_key", "a/b")


@with_host
def plugins(host):
    """What is in a folder of the UI's plug-ins; nothing if it is missing, and never another folder."""
    folder = os.path.join(host.stack.state, "xui/plugins/tabs")
    os.makedirs(os.path.join(folder, "one"))
    open(os.path.join(folder, "two"), "w").close()
    listed = lambda sub: sorted(str(n) for n in host.call("/host", HOST, "list_ui_plugins", sub))
    assert listed("tabs") == ["one", "two"] and listed("none") == []
    for outside in ("/etc", "../..", "tabs/../../.."):
        assert host.fails("/host", HOST, "list_ui_plugins", outside)[0] == "Failed", outside


@with_host
def slow_files(host):
    """A folder of ISOs whose server does not answer, a key that is to last, an image whose room is given back slowly: only who asked waits."""
    faults = os.path.join(host.stack.root, "faults")

    def fault(text):
        with open(faults + ".new", "w") as f:
            f.write(text)
        os.rename(faults + ".new", faults)
    fault("isos there")
    host.stack.env.update(oxt.preloaded("libdisk-faults.so", host.stack.env), OXT_DISK_FAULTS=faults)
    host.manager.terminate()
    host.manager.wait()
    host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
    isos = lambda **kwargs: host.call("/host", HOST, "list_isos", **kwargs)
    folder, answers = os.path.join(host.stack.state, "storage/isos"), []
    os.makedirs(folder, exist_ok=True)
    for name in ("a.iso", "b.iso"):
        open(os.path.join(folder, name), "w").close()
        assert [str(n) for n in isos()][-1] == name, "what is there is read at each question"
    fault("isos hang")
    later = {"timeout": 60, "reply_handler": lambda *l: answers.append([str(n) for n in l[0]] if l else "made"),
             "error_handler": lambda e: answers.append(e.get_dbus_message()[:4])}
    isos(**later)
    vm = host.create()
    assert host.call("/", XM, "list_vms") and not answers
    fault("isos there")
    oxt.wait_for(lambda: (host.turn(), answers == [["a.iso", "b.iso"]])[1], 20, "the list")
    disk, image = str(host.call(vm, VM, "add_disk")), str(host.call("/", XM, "create_vhd", 1))
    host.call(disk, "com.citrix.xenclient.vmdisk", "attach_vhd", image)
    keys = os.path.join(host.stack.root, "keys")
    os.mkdir(keys)
    os.chmod(keys, 0o777)
    del answers[:]
    fault("sync hang")
    for bits in (256, 512):
        host.call(disk, "com.citrix.xenclient.vmdisk", "generate_crypto_key_in", bits, keys, **later)
    assert host.call("/", XM, "list_vms") and not answers
    fault("")
    oxt.wait_for(lambda: (host.turn(), sorted(answers) == ["239:", "made"])[1], 20, "the key")
    fault("release hang")
    host.call(vm, VM, "delete")
    assert not glob.glob(host.stack.state + image + "*"), "the image and the mark of its key"
    host.create()
    fault("")


@with_host
def license(host):
    """A licence is believed until its date; that it begins or ends is told."""
    changed = told(host, HOST, "license_changed")
    assert host.get("/host", HOST, "is-licensed")
    for bad in (("2030-01-01 00:00:00 UTC", "u", "local"), ("tomorrow", "u", "h"), ("2030-01-01", "u", "h")):
        assert host.fails("/host", HOST, "set_license", *bad)[0] == "Failed", bad
    host.call("/host", HOST, "set_license", "2001-01-01 00:00:00 UTC", "u", "h")
    oxt.wait_for(lambda: not host.get("/host", HOST, "is-licensed"))
    wait_told(host, changed)
    host.call("/host", HOST, "set_license", "2201-01-01 00:00:00 UTC", "u", "h")
    oxt.wait_for(lambda: host.get("/host", HOST, "is-licensed") and host.turn() is None and len(changed) == 2)


@with_host
def installer(host):
    """Steps that the installer put off are files of the configuration, until they are done."""
    state = lambda: {str(k): str(v) for k, v in host.call("/host", INSTALLER, "get_installstate").items()}
    folder = os.path.join(host.stack.state, "config")
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o777)
    open(os.path.join(folder, "deferred_eula"), "w").close()
    open(os.path.join(folder, "deferred_language"), "w").close()
    assert [k for k, v in sorted(state().items()) if v == "True"] == ["deferred-accept-eula", "deferred-language"]
    host.call("/host", INSTALLER, "progress_installstate", "eula-accepted")
    assert [k for k, v in state().items() if v == "True"] == ["deferred-language"]
    assert host.fails("/host", INSTALLER, "progress_installstate", "../x")[0] == "Failed"
    if not glob.glob("/usr/share/xenclient/EULA*"):
        assert host.fails("/host", INSTALLER, "get_eula")[1].startswith("223:")


@with_host
def eula(host):
    """The licence text is the one in the UI's language, else the English one."""
    folder = os.path.join(host.stack.root, "share")
    os.makedirs(folder + "/xenclient")
    for name in ("EULA", "EULA-en-us", "EULA-xx-yy"):
        with open(os.path.join(folder, "xenclient", name), "w") as f:
            f.write(name)
    host.restart_within("mount --bind %s /usr/share" % folder)
    read = lambda: str(host.call("/host", INSTALLER, "get_eula"))
    assert read() == "EULA-en-us"
    os.makedirs(os.path.join(host.stack.state, "config"), exist_ok=True)
    os.chmod(os.path.join(host.stack.state, "config"), 0o755)
    with open(os.path.join(host.stack.state, "config/language.conf"), "w") as f:
        f.write("LANGUAGE='xx-yy'\n")
    assert host.get("/", XM + ".config.ui", "language") == "xx-yy" and read() == "EULA-xx-yy"
    os.unlink(os.path.join(folder, "xenclient/EULA-xx-yy"))
    os.unlink(os.path.join(folder, "xenclient/EULA-en-us"))
    assert read() == "EULA"


@with_host
def facts(host):
    """The clock, the build, measured boot, sound devices that are stored, and sound cards that are not there."""
    assert abs(int(host.call("/host", HOST, "get_seconds_from_epoch")) - time.time()) < 60
    build = host.get("/host", HOST, "build-info")
    assert set(build) == {"version", "build", "branch", "build_date_time", "tools", "release", "edition"}
    for name in ("playback-pcm", "capture-pcm"):
        assert host.get("/host", HOST, name) == "00-00"
        host.set("/host", HOST, name, "01-02")
        oxt.wait_for(lambda: host.get("/host", HOST, name) == "01-02" == host.db("read", "/audio/" + name))
    assert host.get("/host", HOST, "measured-boot-enabled") == os.path.exists("/boot/system/tpm/enabled")
    assert not host.get("/host", HOST, "measured-boot-successful")
    os.makedirs(os.path.join(host.stack.state, "config/tpm"))
    os.chmod(os.path.join(host.stack.state, "config"), 0o755)
    open(os.path.join(host.stack.state, "config/tpm/measured-boot"), "w").close()
    assert host.get("/host", HOST, "measured-boot-successful")
    for member, args in (("list_sound_card_controls", ()), ("get_sound_card_control", ("Master",)), ("set_sound_card_control", ("Master", "50%"))):
        assert host.fails("/host", HOST, member, "29", *args)[0] == "Failed", member
    changed = told(host, XM, "language_changed")
    os.chmod(os.path.join(host.stack.state, "config"), 0o777)
    host.set("/", XM + ".config.ui", "language", "en-us")
    wait_told(host, changed)
    with open(os.path.join(host.stack.state, "config/language.conf")) as f:
        assert f.read() == "LANGUAGE='en-us'\n"


@with_host
def unrestricted(host):
    """Creation that the host's policy forbids goes on for who asks the unrestricted interface, from a template with JSON too."""
    host.set("/", XM + ".config", "vm-creation-allowed", False)
    vm = str(host.call("/", XM + ".unrestricted", "unrestricted_create_vm_with_template_and_json", "new-vm-empty", '{"name": "made"}'))
    assert host.get(vm, VM, "name") == "made"


@with_host
def storage_low(host):
    """A folder of disks with 5 % or less left is told again and again, and one with more is not."""
    folder = os.path.join(host.stack.state, "storage")
    low = told(host, HOST, "storage_space_low")
    host.restart_within("mount -t tmpfs -o size=1m none %s && head -c 1010000 /dev/zero > %s/much" % (folder, folder))
    oxt.wait_for(lambda: host.turn() or len(low) > 1, 30, "the signal")
    assert {int(percent) for percent, in low} <= set(range(6)), low
    host.restart_within("mount -t tmpfs -o size=1m none %s" % folder)
    host.get("/host", HOST, "state")  # behind its answer nothing of the manager before can come
    host.turn()
    low.clear()
    host.turn(3)
    assert not low


@with_life
def diagnostics(life):
    """save asks the guests that run for diagnostics, and ends when all have sent theirs, or when their time is over."""
    empty = str(life.call("/", DIAG, "save", "quick"))
    assert os.listdir(empty) == []
    os.rmdir(empty)
    vm = life.guest(**{"pv-addons-installed": "true"})
    life.start(vm)
    asked, answers = told(life, DIAG, "gather_request"), []
    life.call("/", DIAG, "save", "full", timeout=60, reply_handler=lambda d: answers.append(str(d)), error_handler=answers.append)
    wait_told(life, asked)
    assert asked[0] == ("full",) and not answers
    for bad in (("../x", "00"), ("x", "0"), ("x", "zz")):
        assert life.fails("/", DIAG, "gather", *bad)[0] == "Failed", bad
    life.call("/", DIAG, "gather", "guest.log", "4f4b")
    oxt.wait_for(lambda: life.turn() or answers, 10, "the folder")
    with open(os.path.join(answers[0], "guest.log")) as f:
        assert f.read() == "OK"
    os.unlink(os.path.join(answers[0], "guest.log"))
    os.rmdir(answers[0])
    life.set("/", XM + ".config", "xc-diag-timeout", 1)
    late = str(life.call("/", DIAG, "save", "full", timeout=60))
    assert os.listdir(late) == [] and life.fails("/", DIAG, "gather", "a", "00")[1].startswith("216:")
    os.rmdir(late)


if __name__ == "__main__":
    oxt.main()
