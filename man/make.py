#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints a man page: make.py SCDOC PAGE.scd [PROGRAM]. See meson.build."""
import os
import re
import subprocess
import sys


def main():
    scdoc, page, *program = sys.argv[1:]
    with open(page) as f:
        text = f.read()
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")

    def ask(*words):
        command = [os.path.abspath(program[0]), *words, "--help-scd"]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def options(match):
        verb = match.group(1).split()
        if not verb:
            return ask()
        # A command's options come without a heading, and without those that were shown for all commands.
        common = ask().split("\n\n")
        own = [o for o in ask(*verb).split("\n\n") if o not in common and not o.startswith("# OPTIONS")]
        return "\n\n".join(o.replace("# COMMANDS", "## COMMANDS") for o in own)

    text = re.sub(r"(?m)^@OPTIONS(.*)@$", options, text)
    text = re.sub(r"(?m)^; SPDX.*\n", "", text)
    subprocess.run([scdoc], input=text, text=True, check=True)


main()
