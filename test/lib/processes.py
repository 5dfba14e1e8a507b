# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes, for tests on this machine and for those in dom0."""


def alive(pid):
    """Whether there is such a process; one that has ended and waits for its parent is none."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
