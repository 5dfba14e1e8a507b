# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands and what they must print, from a file (test/data/xec/contract tells its form). Each `##` is a case."""
import os
import re
import string

import oxt


class Row:
    def __init__(self, line, number):
        self.command, self.number, self.wanted = line, number, []

    def check(self, stack, env):
        fill = lambda text: string.Template(text).safe_substitute(env)
        r = stack.run(["bash", "-o", "pipefail", "-c", self.command], env={**stack.env, **env})
        kinds = "".join(kind for kind, _ in self.wanted)
        lines = r.stdout.splitlines()
        assert not kinds or set(kinds) <= set(">~") or len(set(kinds)) == 1, "row mixes kinds"
        said = "line %d: $ %s\nstatus %d\n%s%s" % (self.number, self.command, r.returncode, r.stdout, r.stderr)
        assert r.returncode == (1 if "!" in kinds else 0), said
        assert "!" not in kinds or not lines, said
        assert "!" in kinds or "?" in kinds or not r.stderr, said
        for kind, text in self.wanted:
            if kind in "!?":
                assert fill(text) in r.stderr, said
            elif kind == "*":
                assert fill(text) in lines, said
        if not kinds or kinds[0] in ">~":
            assert len(lines) == len(kinds), said
            for (kind, text), line in zip(self.wanted, lines):
                assert re.fullmatch(fill(text), line) if kind == "~" else fill(text) == line, said


def cases(path, stack, env):
    """Makes a case of each part of the file; env: what $NAME stands for, or a function that gives it."""
    parts = []
    with open(os.path.join(oxt.SOURCE, "test/data", path), encoding="utf-8") as f:
        for number, line in enumerate(f.read().split("\n"), 1):
            if line.startswith("## "):
                parts.append((line[3:], []))
            elif line.startswith("$ "):
                parts[-1][1].append(Row(line[2:], number))
            elif line[:1] in (">", "~", "*", "!", "?") and line:
                parts[-1][1][-1].wanted.append((line[0], line[2:]))
            else:
                assert not line or line.startswith("#"), "%s: line %d is of no form" % (path, number)
    programs = {"PATH": os.path.join(oxt.BUILD, "src", "bin") + ":" + os.environ["PATH"]}

    def make(title, rows):
        def run():
            values = {**programs, **(env() if callable(env) else env)}
            for row in rows:
                row.check(stack, values)
        run.__doc__ = title
        run.__name__ = re.sub(r"\W+", "-", title.lower())
        oxt.case(run)
    for title, rows in parts:
        make(title, rows)
