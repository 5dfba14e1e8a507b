#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every program has: help, version, a man page, completion."""
import glob
import json
import os
import re
import subprocess

import oxt
from xenmgr import key_table

# Those that are installed; tests have programs of their own.
PROGRAMS = sorted(os.path.basename(path) for path in json.loads(subprocess.run(
    ["meson", "introspect", oxt.BUILD, "--installed"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout)
    if os.path.dirname(path) == os.path.join(os.path.realpath(oxt.BUILD), "src", "bin") and not path.endswith(".so"))


def run(name, *args):
    return subprocess.run([oxt.program(name), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)


def for_each(check):
    assert "oxt" in PROGRAMS
    wrong = ["%s: %s" % (name, why) for name in PROGRAMS for why in [check(name)] if why]
    assert not wrong, "\n".join(wrong)


@oxt.case
def help_text():
    """Every program explains itself with --help."""
    def check(name):
        r = run(name, "--help")
        if r.returncode != 0 or not r.stdout.startswith("Usage: " + name) or not re.search(r"\S\n\Z", r.stdout):
            return "--help gives %d, %r and at its end %r" % (r.returncode, r.stdout[:60], r.stdout[-20:])
        return None
    for_each(check)


@oxt.case
def version():
    """Every program tells the same version."""
    number = run("oxt", "--version").stdout.split()[1]

    def check(name):
        r = run(name, "--version")
        return None if (r.returncode, r.stdout) == (0, "%s %s\n" % (name, number)) else r.stdout + r.stderr
    for_each(check)


@oxt.case
def unknown_option():
    """Every program refuses an option that it does not know, with a status other than 0."""
    def check(name):
        r = run(name, "--no-such-option")
        return None if r.returncode != 0 and r.stderr else "takes --no-such-option"
    for_each(check)


@oxt.case
def options_of_groups():
    """Options that all commands of oxt share are taken in front of the command of a group and behind it."""
    def commands(*group):
        lines = run("oxt", *group, "--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
        return [line.split()[0] for line in lines]
    groups = [("db",), ("policy",), ("config",), ("vm",), ("vm", "usb")]
    assert {g[0] for g in groups} == {c for c in commands() if "\nCommands:" in run("oxt", c, "--help").stdout}
    wrong = []
    for group in groups:
        for command in commands(*group):
            shared = ["--state-dir", "/nowhere", "--bus=private"]
            for words in ([*shared, command, "--help"], [command, *shared, "--help"]):
                r = run("oxt", *group, *words)
                if r.returncode != 0 or not r.stdout.startswith("Usage: oxt " + " ".join(group)):
                    wrong.append("oxt %s %s: %s" % (" ".join(group), " ".join(words), r.stderr))
    assert not wrong, "\n".join(wrong)
    before, behind = run("oxt", "db", "--state-dir", "/nowhere", "check"), run("oxt", "db", "check", "--state-dir", "/nowhere")
    assert before.returncode and before.stderr == behind.stderr and "/nowhere" in before.stderr, (before, behind)
    assert "--state-dir" in run("oxt", "--complete", "vm").stdout.split() and "list" in run("oxt", "--complete", "vm", "--bus", "private").stdout.split()


@oxt.case
def man_pages():
    """Every program has a man page that names all of its options."""
    def check(name):
        pages = glob.glob(os.path.join(oxt.BUILD, "man", name + ".[18]"))
        if not pages:
            return "has no man page"
        with open(pages[0]) as f:
            text = re.sub(r"\\", "", f.read())
        missing = [word for word in re.findall(r"^ +(?:-\w, +)?(--[\w-]+)", run(name, "--help").stdout, re.M) if word not in text]
        return "the man page leaves out %s" % missing if missing else None
    for_each(check)


@oxt.case
def properties():
    """The man page of properties is made from the key tables: every row is there."""
    with open(os.path.join(oxt.BUILD, "man", "oxt-properties.7")) as f:
        text = re.sub(r"\\\\", "", f.read())
    for row in key_table() + key_table("host"):
        assert "\n%s\n" % row["property"] in re.sub(r"\\f.", "", text), row["property"]


@oxt.case
def completion():
    """bash completes the options of every program."""
    script = os.path.join(oxt.BUILD, "data", "oxt")

    def complete(*words):
        command = 'PATH="$1:$PATH"; . "$2"; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _oxt_complete "$1"; echo "${COMPREPLY[@]}"'
        return subprocess.run(["bash", "-c", command, "bash", os.path.dirname(oxt.program("oxt")), script, *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout.split()

    with open(script) as f:
        known = re.search(r'_oxt_programs="([^"]*)"', f.read()).group(1).split()
    for_each(lambda name: None if name in known else "is not in the completion's list")
    for_each(lambda name: None if "--version" in complete(name, "--ver") else "does not complete --version")
    assert complete("oxt", "u") == ["up"], complete("oxt", "u")
    assert complete("oxt", "down", "--t") == ["--timeout"], complete("oxt", "down", "--t")
    assert complete("oxt", "vm", "create", "--te") == ["--template"], complete("oxt", "vm", "create", "--te")
    assert complete("oxt", "--bus", "pr") == ["private"], complete("oxt", "--bus", "pr")


oxt.main()
