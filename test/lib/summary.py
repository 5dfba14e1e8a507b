#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sums up meson's results for ./check: summary.py [NAME=JUNIT.XML | FAILED STEP]...

Each case of a TAP program counts; a program that prints no cases counts as one. Prints every case
briefly and ends with `N passed, N failed`; the exit status is 0 when there is no failure."""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree


def short(name):
    """meson writes 'project:suite / test', and the case's number before its name."""
    return re.sub(r"^\d+ - ", "", name.split(" / ")[-1])


def cases(path):
    """Yields (test, case, outcome); outcome is passed, failed or skipped."""
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        found = suite.findall("testcase")
        bad = [c for c in found if c.find("failure") is not None or c.find("error") is not None]
        for case in found:
            outcome = "failed" if case in bad else "skipped" if case.find("skipped") is not None else "passed"
            yield short(suite.get("name", "?")), short(case.get("name", "?")), outcome
        # A program can fail beside its cases: ended early, too late or with a status of its own.
        if not bad and (int(suite.get("errors") or 0) or int(suite.get("failures") or 0)):
            yield short(suite.get("name", "?")), "the program itself", "failed"


def main():
    count = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    for argument in sys.argv[1:]:
        name, equals, path = argument.partition("=")
        if equals and not os.path.exists(path):
            failures.append("%s: left no results" % name)
            count["failed"] += 1
            continue
        if not equals:
            failures.append(argument)
            count["failed"] += 1
            continue
        print("%s:" % name)
        for test, case, outcome in cases(path):
            count[outcome] += 1
            line = "%s: %s" % (test, case) if test != "oxt" else case # programs without cases are all in one suite
            print("  %-7s %s" % ({"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[outcome], line))
            if outcome == "failed":
                failures.append("%s: %s" % (name, line))
    for failure in failures:
        print("FAILED %s" % failure)
    if count["skipped"]:
        print("%d skipped" % count["skipped"])
    print("%d passed, %d failed" % (count["passed"], count["failed"]))
    sys.exit(1 if count["failed"] or not count["passed"] else 0)


main()
