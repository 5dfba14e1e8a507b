#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The private bus that the other tests stand on."""
import oxt


@oxt.case
def private_bus():
    """A private bus comes up and answers."""
    stack = oxt.Stack()
    try:
        status, out, _ = stack.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId")
        assert status == 0 and out.startswith("s "), out
    finally:
        stack.stop()


oxt.main()
