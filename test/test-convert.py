#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt convert and xenvm-convert: exit status, files, warnings."""
import os
import subprocess
import tempfile

import oxt

directory = tempfile.TemporaryDirectory(prefix="oxt-test-")
CONF = "uuid = 00000000-0000-0000-0000-000000000002\nhvm = true\nmemory = 256\ndisk = /dev/vg/a:phy:hda:w:disk\n"


def path(name, content=None):
    p = os.path.join(directory.name, name)
    if content is not None:
        with open(p, "w") as f:
            f.write(content)
    return p


def read(p):
    with open(p) as f:
        return f.read()


def convert(*words, program=("xenvm-convert",), text=""):
    return subprocess.run([oxt.program(program[0]), *program[1:], *words], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)


@oxt.case
def both_ways():
    """A config goes to xl and back, by file and by standard output, under both names."""
    conf, cfg = path("a.conf", CONF), path("a.cfg")
    r = convert(conf, cfg)
    assert (r.returncode, r.stdout, r.stderr) == (0, "", "") and "type = 'hvm'\n" in read(cfg)
    r = convert(cfg, program=("oxt", "convert"))
    assert r.returncode == 0 and "disk = /dev/vg/a:phy:hda:w:disk\n" in r.stdout and r.stderr == "", r
    assert convert("-", text=CONF).stdout == read(cfg)


@oxt.case
def warnings():
    """What is lost is told and kept; with --strict nothing is written."""
    conf, cfg = path("b.conf", CONF + "notify = dbus\n"), path("b.cfg")
    r = convert(conf, cfg)
    assert r.returncode == 0 and "b.conf: warning: notify = dbus" in r.stderr and "# xenvm: notify = dbus\n" in read(cfg)
    os.unlink(cfg)
    r = convert("--strict", conf, cfg)
    assert r.returncode == 1 and "error: notify" in r.stderr and not os.path.exists(cfg)


@oxt.case
def failures():
    """Each kind of failure has its exit status, and leaves the old output alone."""
    cfg = path("c.cfg", "old\n")
    for status, text, words in [(1, 'type = "pvh"\n', ["--to", "xenvm"]), (3, "memory = 1024 2048\n", ["--to", "xenvm"]),
                                (3, "memory = 64M\n", ["--to", "xl"]), (1, "memory = 64\n", ["--to", "xl"]), (2, CONF, ["--to", "vmx"])]:
        r = convert(*words, path("c", text), cfg)
        assert r.returncode == status and r.stderr and read(cfg) == "old\n", (status, r)
    assert "line 1" in convert("--to", "xenvm", "-", text="memory = 1024 2048\n").stderr
    assert convert().returncode == 2 and convert("/nonexistent").returncode == 3
    assert not [f for f in os.listdir(directory.name) if "tmp" in f], os.listdir(directory.name)


oxt.main()
