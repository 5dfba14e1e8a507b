#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the cases (all, or those that are named) inside dom0, on a real Xen: one file of cases/ for each topic. Prints TAP."""
import glob
import importlib
import os
import signal
import sys
import time
import traceback

import bed

HERE = os.path.dirname(os.path.abspath(__file__))


class Hangs(BaseException):
    pass


def on_alarm(*_):
    raise Hangs("it hangs: ended after its time")


def show_device_models(since):
    """The ends of what QEMUs wrote in the meantime: where a domain with a device model fails, the reason is there."""
    for path in sorted(glob.glob("/var/log/xen/qemu-dm-*.log")):
        if os.path.getmtime(path) >= since:
            print("# %s:" % os.path.basename(path))
            with open(path, errors="replace") as f:
                for line in f.read().splitlines()[-10:]:
                    print("#   " + line)


def faults():
    """How many guests the emulated processor has made fault three times over: now and then it does that to PVH guests."""
    return bed.xl("dmesg").stdout.count("Triple fault")


def attempt(number, case, name):
    """None, or what went wrong. A case that hangs is ended; run (outside) ends the whole if even that does not help."""
    # For the script outside, should dom0 itself hang: what runs, and for how long it may.
    with open(HERE + "/now.new", "w") as f:
        f.write("%d %d %s\n" % (number, case.seconds + 150, name))
    os.rename(HERE + "/now.new", HERE + "/now")
    signal.alarm(case.seconds)
    try:
        case()
        signal.alarm(0)
        return None
    except BaseException as e:
        signal.alarm(0)
        for domain in bed.domains(): # so that the next case finds an empty host
            bed.xl("destroy", domain)
        return e


def tell(error):
    for line in "".join(traceback.format_exception(error)).splitlines():
        print("# " + line)


def run(number, case):
    """True if it passed."""
    began, wall, before = time.monotonic(), time.time(), faults()
    name = case.__doc__.strip().splitlines()[0].rstrip(".")
    error = attempt(number, case, name)
    if error and (faults() > before or isinstance(error, bed.Silent)):
        tell(error)
        print("# The emulation spoiled a guest (it %s): once more" %
              ("said nothing" if isinstance(error, bed.Silent) else "faulted three times over"), flush=True)
        error = attempt(number, case, name)
    print("%s %d - %s (%.0f s)" % ("not ok" if error else "ok", number, name, time.monotonic() - began))
    if error:
        tell(error)
        show_device_models(wall)
    sys.stdout.flush()
    return not error


def main():
    wanted = sys.argv[1:]
    signal.signal(signal.SIGALRM, on_alarm)
    sys.path.append(HERE + "/cases")
    for name in sorted(os.listdir(HERE + "/cases")):
        if name.endswith(".py"):
            importlib.import_module(name[:-3])
    unknown = set(wanted) - {c.__name__ for c in bed.cases}
    if unknown:
        print("Bail out! no case is called %s" % ", ".join(sorted(unknown)))
        sys.exit(1)
    chosen = [c for c in bed.cases if not wanted or c.__name__ in wanted]
    print("1..%d" % len(chosen), flush=True)
    sys.exit(0 if all([run(number, c) for number, c in enumerate(chosen, 1)]) else 1)


main()
