#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The config files of test/data/both on QEMU; test/xen/cases/both.py runs the same ones on Xen, with the same outcome."""
import os
import tempfile

import files_for_both
import oxt
import whole

DATA = os.path.join(oxt.SOURCE, "test/data/both")


def declare(name):
    def run():
        image = whole.image()
        stack = oxt.Stack(bus=False)
        try:
            with tempfile.TemporaryDirectory() as work:
                for file in "vmlinux", "initrd":
                    os.symlink(os.path.join(image, file), os.path.join(work, file))
                files_for_both.check(DATA, name, work, stack.runtime, [oxt.program("xenvm"), "--backend", "qemu"], 120)
        finally:
            stack.stop()

    with open("%s/%s.conf" % (DATA, name)) as f:
        run.__doc__ = "%s (%s)" % (f.read().splitlines()[1][2:].rstrip("."), name)
    run.__name__ = name
    oxt.case(run)


for n in files_for_both.names(DATA):
    declare(n)
oxt.main()
