#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sums up meson's results for ./check: summary.py [NAME=LOG.JSON | FAILED STEP]...

Each case of a TAP program counts, and so does a program that prints no cases, or fails beside its cases: ended early, too late,
or with a status of its own. What passed and what was skipped comes first; then each failure with its reason, and `N passed, N
failed` last, since those who look at a run elsewhere see its end. The exit status is 0 when there is no failure."""
import json
import os
import re
import sys

REASON = 15  # lines


def reason(lines):
    """The part of a case's comments that says most: the innermost places of a traceback and the error behind them."""
    lines = [re.sub("^# ?", "", line)[:300] for line in lines if line.strip()]
    traces = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
    if not traces:
        return lines[-REASON:]
    error = next((i for i in range(traces[-1] + 1, len(lines)) if not lines[i].startswith(" ")), len(lines) - 1)
    return lines[max(0, error - 4):][:REASON]


def cases(test):
    """Yields (case, outcome, reason) for one line of meson's log; the case is empty for the program itself."""
    lines = (test.get("stdout") or "").splitlines()
    plan = next((re.match(r"1\.\.(\d+)", line) for line in lines if not line.startswith("#")), None)
    found = [(i, re.match(r"(not )?ok\b *\d* *-? *([^#]*)(# SKIP *(.*))?", line)) for i, line in enumerate(lines)] if plan else []
    found = [(i, m) for i, m in found if m]
    for n, (i, m) in enumerate(found):
        after = lines[i + 1:found[n + 1][0] if n + 1 < len(found) else None]
        yield m[2].strip(), "failed" if m[1] else "skipped" if m[3] else "passed", reason(after) if m[1] else [m[4]] if m[3] else []
    good = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    whole = plan and len(found) >= int(plan[1]) and any(m[1] for _, m in found) and test["result"] != "TIMEOUT"
    if not plan or not (good or whole):
        said = lines + (test.get("stderr") or "").splitlines()
        why = [] if good else reason(said) + ["%s, status %s, after %.0f s" % (test["result"], test["returncode"], test["duration"])]
        yield "", "skipped" if test["result"] == "SKIP" else "passed" if good else "failed", why


def main():
    count = {"passed": 0, "failed": 0, "skipped": 0}
    skipped, failures = [], []
    for argument in sys.argv[1:]:
        name, equals, path = argument.partition("=")
        if not equals or not os.path.exists(path):
            failures.append((argument if not equals else name + ": left no results", []))
            count["failed"] += 1
            continue
        print("%s:" % name)
        with open(path) as f:
            tests = [json.loads(line) for line in f]
        for test in tests:
            program = test["name"].split(" / ")[-1]
            for case, outcome, why in cases(test):
                count[outcome] += 1
                line = "%s: %s" % (program, case) if case else program
                if outcome == "passed":
                    print("  ok      " + line)
                else:
                    (skipped if outcome == "skipped" else failures).append(("%s: %s" % (name, line), why))
    for line, why in skipped:
        print("skipped %s%s" % (line, " (%s)" % why[0] if why else ""))
    for line, why in failures:
        print("\n".join(["FAILED " + line, *("    " + w for w in why)]))
    if len(failures) > 1:
        print("\n".join(["In short:", *("FAILED " + line for line, _ in failures)]))
    if skipped:
        print("%d skipped" % len(skipped))
    print("%d passed, %d failed" % (count["passed"], count["failed"]))
    sys.exit(1 if count["failed"] or not count["passed"] else 0)


main()
