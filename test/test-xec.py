#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xec and xec-vm against a live service: each row of test/data/xec/contract, and what no row can say."""
import os
import socket
import subprocess
import threading

import oxt
import shellrows

U = ["00000000-0000-0000-0000-00000000000%d" % i for i in (1, 2, 3, 4)]
PATHS = ["/vm/" + u.replace("-", "_") for u in U]
VMS = ["work|%s|-1|stopped" % U[0], "Network|%s|2|running" % U[1], "twin|%s|1|running" % U[2], "twin|%s|-1|stopped" % U[3]]

stack = oxt.Stack()
stack.start([os.path.join(oxt.SOURCE, "test/lib/xec_service.py"), *VMS], ready=lambda: stack.owned("com.citrix.xenclient.input"))


def good(*words, program="xec"):
    r = stack.run([oxt.program(program), *words])
    assert r.returncode == 0 and r.stderr == "", (words, r.returncode, r.stdout, r.stderr)
    return r.stdout


@oxt.case
def completion():
    """What may follow is asked of the service, and no word that is completed is ever called."""
    def words(program, *typed):
        return good("--complete", *typed, program=program).splitlines()
    assert {"list-vms", "get", "getall", "--object"} <= set(words("xec"))
    assert "language" in words("xec", "get") and "language" in words("xec", "-g") and "number" in words("xec", "set")
    assert "com.citrix.xenclient.first" in words("xec", "-i") and "com.citrix.xenclient.input" in words("xec", "-s")
    assert words("xec", "-i", "com.citrix.xenclient.first")[-1] == "same"
    assert "flask-label" in words("xec", "-o", PATHS[0], "get")
    assert set(words("xec-vm", "-n")) == {"work", "Network", "twin"} and U[1] in words("xec-vm", "-u")
    assert words("xec-vm", "-d") == ["2", "1"]
    assert words("xec-vm", "-n", "work", "-k") == words("xec-vm", "-u", U[0], "-c") == ["0", "1"]
    assert words("xec", "set", "autolock-cd-drives")[-2:] == ["true", "false"] and "true" not in words("xec", "set", "number")
    assert "add-pt-rule-bdf" in words("xec-vm", "-n", "work") and "flask-label" in words("xec-vm", "-n", "work", "get")
    before = good("-i", "com.citrix.xenclient.xenmgr", "--signature", "", "calls")
    for typed in (["nothing"], ["many-args", "a"], ["-i", "com.citrix.xenclient.xenmgr", "nothing"], ["set", "number", "1"]):
        words("xec", *typed)
    words("xec-vm", "-n", "work", "start")
    assert good("-i", "com.citrix.xenclient.xenmgr", "--signature", "", "calls") == before
    assert good("get", "number") != "1\n"


@oxt.case
def bus_that_fails():
    """A bus that closes in the middle of the authentication, or refuses it, ends the call: nothing is tried for ever."""
    path = os.path.join(stack.root, "odd.sock")
    env = dict(stack.env, DBUS_SYSTEM_BUS_ADDRESS="unix:path=" + path)
    for answer in (b"", b"REJECTED EXTERNAL\r\n", b"OK 00000000000000000000000000000000\r\n", b"nonsense\r\n"):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(8)

            def serve():
                c, _ = s.accept()
                with c:
                    c.recv(100)
                    c.sendall(answer)
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            r = stack.run([oxt.program("xec"), "list-vms"], env=env)
            thread.join()
        os.unlink(path)
        assert r.returncode == 1 and r.stdout == "" and "cannot connect" in r.stderr, (answer, r)


@oxt.case
def log():
    """Each call is in the system's log, without the values of its arguments; -q leaves it out."""
    oxt.needs_root()
    path = os.path.join(stack.root, "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        os.chmod(path, 0o666)
        s.setblocking(False)

        def logged(*words):
            # A /dev of its own, where the log is ours.
            r = stack.run(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                           'mount -t tmpfs none /dev && ln -s "$0" /dev/log && exec "$@"', path, oxt.program("xec"), *words])
            assert r.returncode == 0, r.stderr
            try:
                return s.recv(1000).decode()
            except BlockingIOError:
                return ""
        text = logged("set", "language", "the secret")
        assert text.startswith("<14>") and "xec: invoked with:" in text and "set language" in text, text
        assert "secret" not in text
        assert "echo-s" in logged("echo-s", "secret") and "secret" not in logged("-x", "language", "secret")
        assert logged("-q", "set", "language", "en-us") == ""


shellrows.cases("xec/contract", stack, {**{"U%d" % i: u for i, u in enumerate(U, 1)}, **{"P%d" % i: p for i, p in enumerate(PATHS, 1)}})

try:
    oxt.main()
finally:
    stack.stop()
