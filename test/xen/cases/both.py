# SPDX-License-Identifier: LGPL-2.1-or-later
"""The config files that QEMU runs in test-both.py, with the same outcome here."""
import os
import tempfile

import files_for_both
from bed import INITRD, KERNEL, LINE, RUNTIME, bridge, case

DATA = "/share/test-data/both"


def declare(name):
    def run():
        bridge("oxtbr0")
        with tempfile.TemporaryDirectory() as work:
            os.symlink(KERNEL, work + "/vmlinux")
            os.symlink(INITRD, work + "/initrd")
            files_for_both.check(DATA, name, work, RUNTIME, ["xenvm", "--backend", "xen"], LINE)

    with open("%s/%s.conf" % (DATA, name)) as f:
        run.__doc__ = "as on QEMU: %s (%s)" % (f.read().splitlines()[1][2:].rstrip("."), name)
    run.__name__ = "both-" + name
    case(run)


for n in files_for_both.names(DATA):
    declare(n)
