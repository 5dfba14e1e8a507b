#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The numbered errors, from the contract's table (test/data/xenmgr/errors.tsv), the manager's own (src/xenmgr/errors.c) and
the one in src/xenmgr/README.md of those that never come: every number is provoked over D-Bus, by a case of this file or of another."""
import ast
import json
import os
import re
import subprocess

import oxt
from life import POWEROFF, VM, with_life
from peers import Peers
from xenmgr import XM, pci_devices, uuid_of

os.environ["XENVM_TIMEOUT_SCALE"] = "0.2"

# Where each number is provoked: the program of tests, and its case that asserts it.
PROVOKED = {
    101: "xenmgr-memory counted_once", 102: "xenmgr-errors real_monitors", 103: "xenmgr-errors real_monitors",
    104: "xenmgr-errors undestroyed", 105: "xenmgr-errors real_monitors", 106: "xenmgr-errors devices",
    107: "xenmgr-faults start_device_model", 199: "xenmgr-faults start_monitor", 202: "xenmgr-api policies",
    204: "xenmgr-life start_and_destroy", 205: "xenmgr-api creation", 206: "xenmgr-api records", 207: "xenmgr-api records",
    213: "xenmgr-sleep sleep_and_resume", 216: "xenmgr-api dispatch", 217: "xenmgr-life measured", 219: "xenmgr-acts amt",
    220: "xenmgr-api creation", 222: "xenmgr-api records", 223: "xenmgr-api creation", 227: "xenmgr-sleep sleep_in_vain",
    228: "xenmgr-sleep sleep_in_vain", 230: "xenmgr-errors devices", 231: "xenmgr-errors devices",
    232: "xenmgr-life dependencies", 233: "xenmgr-acts one_at_a_time", 234: "xenmgr-api dispatch", 236: "xenmgr-api dispatch",
    237: "xenmgr-api rules", 238: "xenmgr-api records", 239: "xenmgr-api records", 240: "xenmgr-peers network_daemon_not_ready",
    242: "xenmgr-errors file_missing",
}
TOLD = bytes.fromhex("bafd03 fbf4 ec a801 74f9")  # waits until a letter comes through the serial port
INTEL_GPU = {"class": "0x038000", "vendor": "0x8086", "device": "0x3e92", "boot_vga": "0"}
CARD = {"class": "0x020000", "vendor": "0x8086", "device": "0x10d3"}
NO_IOMMU = "if [ -d /sys/kernel/iommu_groups ]; then mount -t tmpfs none /sys/kernel/iommu_groups; fi"


def rows(text):
    """number: the other columns"""
    lines = [line.split("\t") for line in text.splitlines()]
    return [(int(line[0]), *line[1:]) for line in lines]


def own_table():
    return rows(subprocess.run([os.path.join(oxt.BUILD, "src/xenmgr/xenmgr-errors-tsv")], check=True, capture_output=True,
                               text=True).stdout)


def source(*path):
    with open(os.path.join(oxt.SOURCE, *path)) as f:
        return f.read()


@oxt.case
def tables():
    """Every number of the contract is the manager's too or documented as one that never comes; every one of the manager's has its test."""
    contract = {row[0] for row in rows(source("test/data/xenmgr/errors.tsv"))}
    own = {row[0] for row in own_table()}
    section = source("src/xenmgr/README.md").split("## Errors that never come\n")[1].split("\n## ")[0]
    never = {int(n) for line in section.splitlines() if line.startswith("| 2") for n in re.findall(r"\b\d{3}\b", line.split("|")[1])}
    assert own <= contract and not own & never and own | never == contract, (own - contract, own & never, contract - own - never)
    assert set(PROVOKED) == own, "without a test: %s; of no error: %s" % (own - set(PROVOKED), set(PROVOKED) - own)
    for number, place in PROVOKED.items():
        name, case = place.split()
        text = source("test/test-%s.py" % name)
        found = [ast.get_source_segment(text, f) for f in ast.parse(text).body if isinstance(f, ast.FunctionDef) and f.name == case]
        assert found and '"%d:' % number in found[0], "no %d in %s" % (number, place)


def stand_in(life, vm, status, **answers):
    """A monitor of the test's own, which says that its VM is in that state."""
    return Peers(life.stack, "org.xen.vm.uuid_" + uuid_of(vm).replace("-", "_"),
                 answers={"get_domid": ["s", "7"], "get_acpi_state": ["s", "0"], "get_status": ["s", status], **answers})


@with_life
def every_token(life):
    """What a monitor says of a failure becomes the number that its word stands for, and 199 where it has none."""
    vm = life.guest()
    tokens = [(number, token) for number, _, token in own_table() if token]
    assert {number for number, token in tokens} == {101, 102, 103, 104, 105, 106, 107}
    for number, token in tokens + [(199, "Vm_not_listening_shutdown_request"), (199, "whatever")]:
        peer = stand_in(life, vm, "shutdown", start=["!", "exception: %s: in detail" % token])
        try:
            text = life.fails(vm, VM, "start", timeout=60)[1]
        finally:
            peer.stop()
        assert text.startswith("%d:" % number) and text.endswith(": %s: in detail" % token), (number, text)


@with_life
def undestroyed(life):
    """A monitor that says that it ended the VM, and does not: destroy fails with 104."""
    vm = life.guest()
    peer = stand_in(life, vm, "running")
    try:
        life.wait_state(vm, "running")
        text = life.fails(vm, VM, "destroy", timeout=60)[1]
        assert text.startswith("104:"), text
    finally:
        peer.stop()


@with_life
def real_monitors(life):
    """Errors of the monitor itself: pausing what is paused (102), another end than what was asked (103), restoring what runs (105)."""
    vm = life.guest(TOLD + POWEROFF, **{"pv-addons-installed": "true"})
    life.start(vm)
    life.call(vm, VM, "pause")
    assert life.fails(vm, VM, "pause")[1].startswith("102:")
    life.call(vm, VM, "unpause")
    assert life.fails(vm, VM, "resume_from_file", "/nowhere/saved")[1].startswith("105:")
    answers = []
    life.call(vm, VM, "sleep", timeout=60, reply_handler=lambda: answers.append(""), error_handler=lambda e: answers.append(str(e)))
    progress = lambda: life.stack.run([oxt.program("xenvm-cmd"), uuid_of(vm), "progress"]).stdout
    oxt.wait_for(lambda: life.turn() or progress().startswith("s3"), 15, "the monitor's waiting for the sleep")
    console = life.call(vm, "org.oxt.Xenmgr1", "Console").take()
    try:
        os.write(console, b"x")
        oxt.wait_for(lambda: life.turn() or answers, 30, "the answer")
    finally:
        os.close(console)
    assert "103:" in answers[0], answers


@with_life
def devices(life):
    """Devices of the host: one that confines nothing (106), one that another VM has (230), a second graphics card (231)."""
    life.restart_within(pci_devices(life, {"0000:00:02.0": INTEL_GPU, "0000:00:03.0": CARD}) + " && " + NO_IOMMU)
    gpu, first, second = life.guest(), life.guest(), life.guest()
    life.call(gpu, VM + ".pci", "add_pt_rule_bdf", "0000:00:02.0")
    assert life.fails(gpu, VM, "start")[1].startswith("231:")
    life.call(first, VM + ".pci", "add_pt_rule_bdf", "0000:00:03.0")
    error = life.fails(first, VM, "start", timeout=60)[1]
    assert error.startswith("106:") and "directio" in error, error
    dry = json.loads(life.call(first, "org.oxt.Xenmgr1", "DryRun"))
    assert [f["error"][:4] for f in dry] == ["106:"], dry
    life.call(first, VM + ".pci", "delete_pt_rule_bdf", "0000:00:03.0")
    life.start(first)
    for vm in (first, second):
        life.call(vm, VM + ".pci", "add_pt_rule_bdf", "0000:00:03.0")
    assert life.fails(second, VM, "start")[1].startswith("230:")


@with_life
def file_missing(life):
    """A report to be sent that is not there is told before all else (242); one that is there cannot be sent from here (223)."""
    upload = lambda file: life.fails("/", XM + ".diag", "taas_upload", "user", "password", "1", file)[1]
    assert upload(life.stack.root + "/nowhere.tar").startswith("242:")
    report = str(life.call("/", XM + ".diag", "create_status_report", False, False, "", "", "", ""))
    try:
        assert upload(report).startswith("223:")
    finally:
        os.unlink(report)


if __name__ == "__main__":
    oxt.main()
