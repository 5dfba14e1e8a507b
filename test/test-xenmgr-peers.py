#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenmgr and the daemons of a platform (network, input, USB): asked and told while their names are there, never waited for."""
import json
import os
import time

import dbus

import oxt
from peers import Peers
from xenmgr import PROPERTIES, XM, Host, uuid_of
from xenvm import sector

NETWORK, INPUT, USB = ("com.citrix.xenclient." + n for n in ("networkdaemon", "input", "usbdaemon"))
NDVM = "00000000-0000-0000-0000-000000000002"
CONFIG = "com.citrix.xenclient.network.config"


def networks(**types):
    """Answers of a network daemon that has networks of these types; a dict gives the rest of one."""
    answers = {"is_initialized": ["b", True], "get_network_backend": ["s", ""],
               "list": ["aa{ss}", [{"object": "/" + n.replace("_", "/")} for n in types]]}
    for name, more in types.items():
        path = "/" + name.replace("_", "/")
        more = more if isinstance(more, dict) else {"type": more}
        answers[path + " GetAll"] = ["a{sv}", {"type": more["type"], "bridge": more.get("bridge", ""), "name": name}]
        if "backend" in more:
            answers["get_network_backend " + path] = ["s", more["backend"]]
    return answers


def config(host, vm):
    return str(host.call(vm, "org.oxt.Xenmgr1", "Config")).splitlines()


def vifs(host, vm):
    return [line[4:] for line in config(host, vm) if line.startswith("vif=")]


def machine_tree(host, name, code=sector("loop"), **tree):
    """Of a VM that runs: a boot sector that writes one letter and waits, unless it is another."""
    disks = os.path.join(host.stack.state, "storage/disks")
    os.makedirs(disks, exist_ok=True)
    with open(os.path.join(disks, name), "wb") as f:
        f.write(code)
    os.chmod(os.path.join(disks, name), 0o666)
    return {"name": name, "type": "svm", **tree, "config": {
        "virt-type": "hvm", "memory": "32", "acpi": "true", "display": "none", "notify": "dbus",
        "disk": {"0": {"path": "/storage/disks/" + name, "type": "file", "mode": "w", "device": "hda", "devtype": "disk"}},
        **tree.get("config", {})}}


def machine(host, name, **tree):
    return host.create(tree=machine_tree(host, name, **tree))


@oxt.case
def network_daemon():
    """Kind, bridge and backend of a nic are the daemon's word; its news count at once; without it the path tells."""
    host = Host("--no-autostart")
    peer = None
    try:
        vm = host.create(tree={"config": {"memory": "32", "nic": {"0": {"network": "/lan/1"}, "1": {"network": "/wifi/0"}}}})
        served = lambda: [str(p) for p in host.get(vm, XM + ".vm", "dependencies")]
        default = ["/vm/" + NDVM.replace("-", "_")]
        assert len(vifs(host, vm)) == 2 and served() == default
        host.set(vm, XM + ".vm", "policy-wireless-networking", False)
        assert [v.split(",")[1] for v in vifs(host, vm)] == ["network=/lan/1"], "by its path"

        other = host.create(tree={"type": "ndvm"})
        peer = Peers(host.stack, NETWORK)
        peer.answer(networks(lan_1={"type": "modem", "bridge": "br7", "backend": uuid_of(other)}, wifi_0="wired"))
        oxt.wait_for(lambda: [v.split(",")[1] for v in vifs(host, vm)] == ["network=/wifi/0"], 15, "the daemon's word")
        oxt.wait_for(lambda: other in served(), 15, "the backend")
        host.set(vm, XM + ".vm", "policy-wireless-networking", True)
        assert vifs(host, vm)[0].startswith("id=0,network=/lan/1,bridge=br7,"), vifs(host, vm)
        assert "bridge" not in vifs(host, vm)[1]
        # A bridge that would be more than a bridge is none.
        peer.answers.clear()
        peer.answer(networks(lan_1={"type": "wired", "bridge": "br7,backend-domid=0"}, wifi_0="wifi"))
        peer.signal(NETWORK + ".notify", "network_state_changed", "sss", "/lan/1", "100", "/ndvm/x")
        oxt.wait_for(lambda: "bridge" not in vifs(host, vm)[0], 15, "the news")
        assert served() == default
        # Backends that the nic names itself go before the daemon's.
        host.set(vm + "/nic/0", "com.citrix.xenclient.vmnic", "backend-uuid", uuid_of(other))
        host.set(vm + "/nic/1", "com.citrix.xenclient.vmnic", "backend-uuid", uuid_of(other))
        assert served() == [other]
        peer.stop()
        peer = None
        host.set(vm, XM + ".vm", "policy-wireless-networking", False)
        oxt.wait_for(lambda: [v.split(",")[1] for v in vifs(host, vm)] == ["network=/lan/1"], 15, "again by its path")
    finally:
        if peer:
            peer.stop()
        host.stop()


@oxt.case
def network_daemon_not_ready():
    """A start waits for a network daemon that is not ready, nobody else does; one that never is ends it with 240."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, NETWORK)
    try:
        peer.answer({"is_initialized": ["b", False]})
        vm, other = machine(host, "waits", config={"nic": {"0": {"network": "/lan/1"}}}), machine(host, "alone")
        answers = []
        failed = lambda e: answers.append(e.get_dbus_message())
        start = lambda: host.call(vm, XM + ".vm", "start", reply_handler=lambda: answers.append("started"), error_handler=failed,
                                  timeout=120)
        start()
        host.call(other, XM + ".vm", "start", timeout=60)
        assert host.get(other, XM + ".vm", "state") == "running" and host.get(vm, XM + ".vm", "state") == "stopped"
        assert not answers and vifs(host, vm), "what it would write is told meanwhile"
        peer.answer(networks(lan_1="wired"))
        oxt.wait_for(lambda: host.turn() or answers, 60, "the start")
        assert answers == ["started"], answers
        host.call(vm, XM + ".vm", "destroy", timeout=60)
        peer.stop()
        peer = Peers(host.stack, NETWORK)
        peer.answer({"is_initialized": None})
        answers.clear()
        start()
        oxt.wait_for(lambda: host.turn() or answers, 90, "the end")
        assert answers[0].startswith("240:"), answers
        assert host.get(vm, XM + ".vm", "state") == "stopped"
    finally:
        for path in (vm, other):
            host.call(path, XM + ".vm", "destroy", timeout=60)
        peer.stop()
        host.stop()


@oxt.case
def told():
    """Each daemon is told of what concerns it, with the arguments of its interface."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, INPUT, USB, NETWORK)
    try:
        peer.answer({**networks(lan_1="wired"), "get_focus_domid": ["i", -1]})
        vm = machine(host, "told", slot="4", **{"provides-network-backend": "true", "provides-graphics-fallback": "true"})
        with_nic = str(host.call(vm, XM + ".vm", "add_nic"))
        silent = machine(host, "silent", slot="5", **{"usb-enabled": "false"})
        for path in (vm, silent):
            host.call(path, XM + ".vm", "start", timeout=60)
        domid, second = (int(host.get(p, XM + ".vm", "domid")) for p in (vm, silent))
        seen = lambda *call: oxt.wait_for(lambda: call in peer.calls(call[2]), 20, call)
        seen("usbdaemon", "/", "new_vm", domid)
        seen("networkdaemon", "/", "ndvm_status", uuid_of(vm), domid, 1)
        host.set(vm, XM + ".vm", "slot", 5)
        seen("input", "/", "set_slot", domid, 5)
        seen("input", "/", "set_slot", second, 4)
        host.db("write", "/vm/%s/slot" % uuid_of(vm), "7")
        seen("input", "/", "set_slot", domid, 7)
        host.call(vm, XM + ".vm", "switch")
        seen("input", "/", "switch_focus", domid, False)
        host.set(with_nic, "com.citrix.xenclient.vmnic", "network", "/lan/1")
        seen("networkdaemon", "/", "move_to_network", "vif%d.0" % domid, "/lan/1")
        host.set("/host", XM + ".host", "ui-ready", False)
        assert not host.get("/host", XM + ".host", "ui-ready")
        host.set("/host", XM + ".host", "ui-ready", True)
        oxt.wait_for(lambda: len(peer.calls("switch_focus")) == 2, 20, "the UI is shown, since nothing is")
        host.set("/host", XM + ".host", "ui-ready", True)
        assert host.get("/host", XM + ".host", "ui-ready")
        host.set(vm, XM + ".vm", "crypto-user", "somebody")
        host.call(vm, XM + ".vm.auth", "auth")
        seen("input", "/", "auth_set_context_flags", "somebody", "", (1 << 19) | (1 << 23))
        gpus = [str(g["addr"]) for g in host.call("/host", XM + ".host", "list_gpu_devices")]
        for gpu in gpus[:1]:
            host.call("/host", XM + ".host", "configure_gpu_placement", gpu, 0)
            seen("input", "/", "update_seamless_mouse_settings", uuid_of(vm))
        for path in (vm, silent):
            host.call(path, XM + ".vm", "destroy", timeout=60)
        seen("usbdaemon", "/", "vm_stopped", domid)
        seen("usbdaemon", "/", "vm_stopped", second)
        seen("networkdaemon", "/", "ndvm_status", uuid_of(vm), -1, 0)
        assert [c[3] for c in peer.calls("new_vm")] == [domid], "not of a VM without USB"
        assert len(peer.calls("switch_focus")) == 2
    finally:
        peer.stop()
        host.stop()


@oxt.case
def moved_card():
    """A card of a VM that runs goes to the bridge of its new network."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, NETWORK)
    try:
        peer.answer(networks(lan_1={"type": "wired", "bridge": "user"}, lan_2={"type": "wired", "bridge": "user"}))
        vm = machine(host, "moved", config={"nic": {"0": {"network": "/lan/1"}}})
        oxt.wait_for(lambda: "bridge=user" in vifs(host, vm)[0], 20, "the daemon's word")
        host.call(vm, XM + ".vm", "start", timeout=60)
        name = "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_")
        monitor = host.bus.get_object(name, "/org/xen/vm/" + name.split("uuid_")[1], introspect=False)
        table = lambda: str(monitor.get_dbus_method("nic_list", name)({}, signature="a{ss}"))
        assert "/lan/1 |" in table(), table()
        host.set(vm + "/nic/0", "com.citrix.xenclient.vmnic", "network", "/lan/2")
        oxt.wait_for(lambda: " user |" in table(), 20, "the card to move")
    finally:
        host.call(vm, XM + ".vm", "destroy", timeout=60)
        peer.stop()
        host.stop()


@oxt.case
def shown():
    """The first guest that starts with the host is shown, or the one that is named for it; the user interface when one falls asleep."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, INPUT)
    uivm, vms = "/vm/00000000-0000-0000-0000-000000000001", []
    try:
        for name in ("uivm", "ndvm"):
            host.db("write", "/xenmgr/overwrite-%s-settings" % name, "false")
        host.db("write", "/vm/%s/start_on_boot" % NDVM, "false")
        boots = {"start_on_boot": "true"}
        host.db("inject", uivm, json.dumps(machine_tree(host, "ui", type="uivm", start_on_boot_priority="10", **boots)))
        vms = [uivm.replace("-", "_"), machine(host, "first", slot="1", **boots),
               machine(host, "second", slot="2", code=sector("s3", 18), **boots)]
        domids = lambda: [int(host.get(vm, XM + ".vm", "domid")) for vm in vms]

        def boot():
            host.manager.terminate()
            host.manager.wait()
            if os.path.exists(host.stack.runtime + "/vm/.booted"):
                os.unlink(host.stack.runtime + "/vm/.booted")
            host.manager = host.stack.daemon("xenmgr", XM)
            oxt.wait_for(lambda: -1 not in domids(), 60, "all VMs")
        boot()
        ui, first, second = domids()
        told = lambda: [c[3:] for c in peer.calls("switch_focus")]
        oxt.wait_for(lambda: len(told()) >= 2, 30, "the guest's sleep")
        assert told() == [(first, False), (ui, False)], told()
        for vm in vms:
            host.call(vm, XM + ".vm", "destroy", timeout=60)
        host.db("write", "/xenmgr/pm-visible-vm", uuid_of(vms[2]))
        boot()
        ui, first, second = domids()
        oxt.wait_for(lambda: len(told()) >= 4, 30, "the guest's sleep")
        assert told()[2:] == [(second, False), (ui, False)], told()
    finally:
        for vm in vms:
            host.call(vm, XM + ".vm", "destroy", timeout=60)
        peer.stop()
        host.stop()


@oxt.case
def hook_limits():
    """Each item of a hook has a time limit of its own, a call behind a program too."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, USB, answers={"late": None})
    try:
        host.manager.terminate()
        host.manager.wait()
        host.stack.env["XENVM_TIMEOUT_SCALE"] = "0.05"  # 5 s
        host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
        script = os.path.join(host.stack.root, "hook")
        with open(script, "w") as f:
            f.write("#!/bin/sh\nexec sleep 1\n")
        os.chmod(script, 0o755)
        vm = machine(host, "hooked", **{"run-pre-boot": "%s;rpc:destination=%s,interface=x.y,member=late" % (script, USB)})
        began = time.monotonic()
        error = host.fails(vm, XM + ".vm", "start", timeout=60)[1]
        assert error.startswith("223:") and "did not end" not in error and time.monotonic() - began > 5.5, error
    finally:
        peer.stop()
        host.stop()


@oxt.case
def login_at_boot():
    """Where the input daemon wants a login at boot, it is asked for one; where it does not answer, nothing waits."""
    host = Host("--no-autostart")
    peer = Peers(host.stack, INPUT)
    try:
        for answer, begins in ((["b", True], 1), (["b", False], 1), (None, 1)):
            peer.answer({"get_auth_on_boot": answer})
            asked = len(peer.calls("get_auth_on_boot"))
            host.manager.kill()
            host.manager.wait()
            host.manager = host.stack.daemon("xenmgr", XM, "--no-autostart")
            oxt.wait_for(lambda: len(peer.calls("get_auth_on_boot")) > asked, 20, "the question")
            oxt.wait_for(lambda: len(peer.calls("auth_begin")) == begins, 20, "auth_begin")
            assert host.call("/", XM, "list_vms")
    finally:
        peer.stop()
        host.stop()


if __name__ == "__main__":
    oxt.main()
