#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oxt policy: what it says of rules, of the running proxy and of what was denied."""
import json
import os
import subprocess
import tempfile

import oxt
import rawbus
from oxt import wait_for
from rpcproxy import UUID, GuestProxy

OXT = oxt.program("oxt")
SHIPPED = os.path.join(oxt.SOURCE, "data/rpc-proxy.rules")
OPENXT = os.path.join(oxt.SOURCE, "test/data/rules/openxt.rules")
GUIDE = os.path.join(oxt.SOURCE, "test/data/rules/guide.rules")


def policy(*args, env=None):
    r = subprocess.run([OXT, "policy", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=60, env=env)
    assert r.returncode >= 0, (args, r.returncode)
    return r.returncode, r.stdout, r.stderr


class Rules:
    """A rules file; `;` ends a rule."""

    def __init__(self, text):
        self.text = text.replace(";", "\n") + "\n"

    def __enter__(self):
        fd, self.path = tempfile.mkstemp(suffix=".rules")
        os.write(fd, self.text.encode())
        os.close(fd)
        return self.path

    def __exit__(self, *_):
        os.unlink(self.path)


def test(rules, *args):
    with Rules(rules) as path:
        status, out, err = policy("test", path, "--json", *args)
        assert status in (0, 1), err
        return json.loads(out)


CALL = ["--destination", "a.b", "--path", "/", "--interface", "i.j", "--member", "M", "--domid", "5", "--vm-uuid", UUID,
        "--vm-type", "svm", "--boolean", "p=true"]
GET = CALL + ["--interface", "org.freedesktop.DBus.Properties", "--member", "Get"]


@oxt.case
def verdicts():
    """test gives the intended verdicts of the contract's table, with exit status 0 for allow and 1 for deny."""
    for rules, message, verdict in [
            ("", CALL, "deny"), ("deny all ; allow destination a.b", CALL, "allow"),
            ("allow destination a.b ; deny member M", CALL, "deny"),
            ("allow destination a.b interface i.k", CALL, "deny"),
            ("allow destination a.b interface i.j", GET + ["--arg0", "i.j"], "allow"),
            ("allow destination a.b interface i.j", GET + ["--arg0", "i.k"], "deny"),
            ("allow property i.j.x", ["--property", "i.j.x"], "allow"),
            ("allow property i.j.x", ["--property", "i.j.y", "--member", "Set"], "deny"),
            ("allow inc-signal", CALL, "deny"), ("allow inc-signal", CALL + ["--subject", "inc-signal"], "allow"),
            ("allow out-any", CALL, "deny"), ("allow out-any", CALL + ["--subject", "out-error"], "allow"),
            ("allow if-boolean p true", CALL, "allow"), ("allow if-boolean p false", CALL, "deny"),
            ("allow dom-type svm dom-type ndvm", CALL, "deny"), ("allow member A member M", CALL, "allow"),
            ("allow stubdom true", CALL, "deny"), ("allow all", CALL + ["--stubdom", "true"], "deny"),
            ("allow stubdom true", CALL + ["--stubdom", "true"], "allow"),
            ("allow destination a.b", ["--subject", "inc-signal", "--interface", "i.j"], "deny"),
            ("deny all", CALL + ["--domid", "0"], "allow"), ("allow sender s", CALL + ["--sender", "s"], "allow"),
            ("allow dom-id 5 dom-uuid " + UUID, CALL, "allow"), ("allow dom-name n", CALL + ["--vm-name", "n"], "allow"),
            ("allow path /", CALL, "allow"), ("allow path /a", CALL, "deny"), ("allow path /", [], "deny"),
            ("deny all ; allow arg0 \"a b\"", CALL + ["--arg0", "a b"], "allow"), ("allow arg0 x", CALL, "deny"),
            ("allow ; deny arg0 x", CALL, "deny"), ("allow ; deny arg0 x", CALL + ["--arg0", "y"], "allow"),
            ("allow dom-id 5", CALL + ["--domid", "6"], "deny"), ("allow ; deny if-boolean q true", CALL, "deny"),
            ("allow dom-name n", CALL, "deny"), ("deny inc-method-return", ["--subject", "inc-method-return", "--solicited"], "deny"),
            ("deny all", ["--subject", "inc-method-return", "--solicited"], "allow")]:
        answer = test(rules, *message)
        assert answer["verdict"] == verdict, (rules, message, answer)
        with Rules(rules) as path:
            assert policy("test", path, *message)[0] == (0 if verdict == "allow" else 1)


@oxt.case
def explanations():
    """test names the deciding rule with file and line, and the rule that came closest with what differed."""
    with Rules("# c;deny all;allow destination a.b interface i.j member N") as path:
        status, out, _ = policy("test", *CALL, path)
        assert status == 1
        assert out == ("deny\nrule %s:2: deny all\nnear miss %s:3: allow destination a.b interface i.j member N\n"
                       "differs: member is \"M\", not \"N\"\n" % (path, path)), out
        with Rules("allow member M") as second:
            status, out, _ = policy("test", path, second, *CALL)
            assert status == 0 and "rule %s:1: allow member M" % second in out, out
    for args in [["/nonexistent"], ["--subject", "inc-any", GUIDE], [], [GUIDE, "--running"], [GUIDE, "--boolean", "p"]]:
        status, out, err = policy("test", *args)
        assert status == 2 and err and not out, (args, status, err)


@oxt.case
def lint_findings():
    """lint finds syntax errors with their column, dead rules with what shadows them, wide and unknown ones."""
    with Rules("allow destination;permit") as path:
        status, out, _ = policy("lint", path)
        assert status == 2
        assert "%s:1:18: error: expected a bus name behind 'destination', found the end of the line [syntax]" % path in out, out
        assert "%s:2:1: error: unknown word 'permit'; expected allow or deny" % path in out, out
    xenmgr = "com.citrix.xenclient.xenmgr"
    for rules, found in [
            ("allow destination x.y member Get;deny all", [(1, "shadowed", 2)]),
            ("allow destination x.y;allow destination x.y", [(1, "duplicate", 2)]),
            ("allow destination a.b dom-type x dom-type y", [(1, "never-matches", None)]),
            ("allow inc-signal property i.j.x", [(1, "never-matches", None), (1, "unknown-interface", None)]),
            ("allow destination x.y;deny inc-method-call;deny inc-method-return;deny inc-error;deny inc-signal", [(1, "shadowed", 2)]),
            ("allow all", [(1, "wide", None)]), ("allow member Get", [(1, "wide", None)]), ("allow out-any", [(1, "wide", None)]),
            ("allow destination x.y interface com.example.none", [(1, "unknown-interface", None)]),
            ("allow destination x.y interface %s member no_such" % xenmgr, [(1, "unknown-member", None)]),
            ("allow inc-signal interface %s member list_vms" % xenmgr, [(1, "unknown-member", None)]),
            ("allow destination x.y interface %s member list_vms" % xenmgr, []),
            ("allow destination x.y interface %s.vm member Set" % xenmgr, []),
            ("allow destination x.y property %s.vm.name" % xenmgr, []),
            ("allow destination x.y property %s.vm.no-such" % xenmgr, [(1, "unknown-member", None)]),
            ("allow destination x.y path /a//b", [(1, "bad-path", None)]),
            ("deny all;allow destination x.y", [])]:
        with Rules(rules) as path:
            status, out, err = policy("lint", "--json", path)
            got = [(f["line"], f["kind"], f["other"]["line"] if "other" in f else None) for f in json.loads(out)]
            assert status == 0 and got == found, (rules, out)
            assert policy("lint", "--strict", path)[0] == (1 if json.loads(out) else 0), rules
    for path in SHIPPED, OPENXT, GUIDE:
        status, out, _ = policy("lint", path)
        assert status == 0 and "shadowed" not in out and "duplicate" not in out and "never" not in out, out


@oxt.case
def differences():
    """diff prints nothing for equivalent files and exactly what changed for others."""
    with Rules("allow destination a.b;deny destination c.d") as old, Rules("deny all;allow destination a.b") as new:
        assert policy("diff", old, new) == (0, "", "")
    with Rules("deny all;allow destination a.b") as old, Rules("deny all;allow destination a.b;deny destination a.b interface i.j member Set") as new:
        status, out, _ = policy("diff", old, new)
        lines = [l for l in out.splitlines() if "->" in l]
        assert status == 1 and all(l.startswith("allow -> deny:") and "destination=a.b" in l for l in lines), out
        # A call without interface may be any, so Set is denied there too; and so is Set through Properties.
        assert any("(missing)" in l for l in lines) and any("arg0=" in l and "Properties" in l for l in lines), out
        listed = json.loads(policy("diff", "--json", old, new)[1])
        assert listed[0]["old"] == "allow" and listed[0]["new_rule"]["line"] == 3, listed
    with Rules("") as old, Rules("deny inc-error") as new:
        assert policy("diff", old, new)[0] == 0 and policy("diff", "--solicited", old, new)[0] == 1
    with Rules("allow") as old, Rules("allo") as new:
        assert policy("diff", old, new)[0] == 2


@oxt.case
def running_proxy():
    """test --running, log and learn speak of the running proxy; what learn writes lifts the denials."""
    with GuestProxy() as p:
        env = dict(p.stack.env, OXT_BUS="private")
        c = p.client()
        for member in "M", "M", "N":
            assert c.call("test.canary", "/a", "test.i", member).kind == rawbus.ERROR
        assert c.call("test.canary", "/a", "org.freedesktop.DBus.Properties", "Get", "ss", ("test.i", "prop")).kind == rawbus.ERROR

        def run(*args):
            r = policy(*args, env=env)
            assert r[0] in (0, 1), r
            return r

        status, out, _ = run("test", "--running", "--vm-uuid", UUID, "--destination", "test.canary", "--interface", "test.i",
                             "--member", "M")
        assert status == 1 and "rule %s:1: deny all" % p.rules in out, out
        assert run("test", "--running", "--domid", "7", "--destination", "test.allowed", "--interface", "test.i")[0] == 0
        _, out, _ = run("log", "--vm", UUID)
        assert out.count("deny inc-method-call") == 4 and "member=N" in out and "near miss" in out, out
        assert run("log", "--vm", "8")[1] == "" and len(run("log", "-n", "1", "--json")[1].splitlines()) == 1
        _, out, _ = run("learn", "--vm", UUID)
        rules = out.splitlines()
        assert sorted(rules) == ["allow inc-method-call destination test.canary interface test.i member M",
                                 "allow inc-method-call destination test.canary interface test.i member N",
                                 "allow inc-method-call destination test.canary property test.i.prop member Get"], rules
        for i, rule in enumerate(rules):
            p.write("/vm/%s/rpc-firewall-rules/%d" % (UUID, i), rule)
        for member in "M", "N":
            assert c.call("test.canary", "/a", "test.i", member).kind == rawbus.RETURN
        assert c.call("test.canary", "/a", "test.i", "O").kind == rawbus.ERROR
        status, out, _ = run("test", "--running", "--vm-uuid", UUID, "--destination", "test.canary", "--interface", "test.i",
                             "--member", "M")
        assert status == 0 and "/vm/%s/rpc-firewall-rules/" % UUID in out, out
        p.write("/vm/%s/name" % UUID, "a name")
        for who, verdict in ("a name", 0), ("another", 1):
            assert run("test", "--running", "--vm-name", who, "--destination", "test.canary", "--interface", "test.i",
                       "--member", "M")[0] == verdict, who
        p.write("/vm/%s/uuid" % UUID, UUID)
        p.stack.daemon("xenmgr", "com.citrix.xenclient.xenmgr")
        assert run("log", "--vm", "a name")[1] == run("log", "--vm", UUID)[1] != ""
        status, _, err = policy("log", "--vm", "a nam", env=env)
        assert status == 2 and "did you mean 'a name'?" in err, err
        follower = subprocess.Popen([OXT, "policy", "log", "-f", "--vm", UUID, "-n", "0"], env=env, stdout=subprocess.PIPE)
        p.stack.processes.append(follower)
        got = []

        def denied_is_told():
            c.call("test.canary", "/a", "test.i", "Late")
            os.set_blocking(follower.stdout.fileno(), False)
            got.append(follower.stdout.read() or b"")
            return b"member=Late" in b"".join(got)
        wait_for(denied_is_told, what="the followed record")


oxt.main()
