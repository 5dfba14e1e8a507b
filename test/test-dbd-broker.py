#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The cases of test-dbd.py with dbus-broker for the bus; skipped where it is not installed."""
import os
import runpy

import oxt

oxt.Stack.broker = "dbus-broker"
runpy.run_path(os.path.join(os.path.dirname(__file__), "test-dbd.py"))
