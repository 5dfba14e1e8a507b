#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rpc-proxy over real sockets: what passes, what is denied, and what is said of it."""
import json
import os
import signal
import socket
import time

import oxt
import rawbus
from oxt import wait_for
from rpcproxy import RULES, UUID, GuestProxy, Proxy


@oxt.case
def allowed_and_denied():
    """An allowed call is answered, a denied one gets AccessDenied and a record with its rule."""
    with Proxy() as p:
        c = p.client()
        assert c.unique.startswith(":"), c.unique
        r = c.call("test.allowed", "/a", "test.i", "M", "s", ("hello",))
        assert r.kind == rawbus.RETURN and r.args == ["hello"], r.args
        r = c.call("test.canary", "/a", "test.i", "M")
        assert r.kind == rawbus.ERROR and r.error_name == "org.freedesktop.DBus.Error.AccessDenied", r.error_name
        assert p.canary.members() == []
        line = wait_for(lambda: [l for l in p.log().splitlines() if "(5->0) DENY" in l], what="the record")[0]
        assert "%s:1: deny all" % p.rules in line and "nearest" in line, line


@oxt.case
def marker_before_the_first_call():
    """Each connection carries a marker name with the domain, before its first call arrives."""
    with Proxy() as p:
        watcher = rawbus.Client(p.stack.socket)
        watcher.call_bus("AddMatch", "s", ("type='signal',member='NameOwnerChanged',arg0namespace='org.oxt.conn'",))
        c = p.client()
        m = watcher.until(lambda m: m.kind == rawbus.SIGNAL and m.member == "NameOwnerChanged" and m.args[0][0] != ":")
        assert m.args[0].startswith("org.oxt.conn.d5.u") and m.args[2] == c.unique, m.args


@oxt.case
def guest_channel():
    """A program in a guest calls through the channel; a VM rule holds as soon as it is in the database."""
    with GuestProxy() as p:
        c = p.client()
        assert c.call("test.allowed", "/a", "test.i", "M", "s", ("x",)).args == ["x"]
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR
        p.write("/vm/%s/rpc-firewall-rules/0" % UUID, "allow destination test.canary interface test.i member M")
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.RETURN
        assert c.call("test.canary", "/a", "test.i", "N").kind == rawbus.ERROR
        p.write("/vm/%s/rpc-firewall-rules/1" % UUID, "deny destination test.allowed")
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.ERROR
        assert "(7->0) DENY" in p.log() and "/vm/%s/rpc-firewall-rules/1" % UUID in p.log()
        p.remove("/vm/%s/rpc-firewall-rules" % UUID)
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN
        p.write("/vm/%s/rpc-firewall-rules/0" % UUID, "alow all")
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.ERROR
        assert "rpc-firewall-rules/0" in p.status()["clients"][0]["error"]


@oxt.case
def end_of_a_vm():
    """With the end of a VM its connections end and its rules hold for nobody; rules for others were never its."""
    other = "11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b"
    with GuestProxy() as p:
        p.write("/vm/%s/rpc-firewall-rules/0" % UUID, "allow destination test.canary")
        c, d = p.client(), rawbus.Client(p.add_guest(other, 9))

        def validated(domid):
            host = rawbus.Client(p.stack.socket)
            proxy = ("com.citrix.xenclient.rpc_proxy", "/", "com.citrix.xenclient.rpc_proxy")
            return host.call(*proxy, "validate_call", "isss", (domid, "test.canary", "test.i", "M")).args[0]
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.RETURN and validated(7)
        assert d.call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR and not validated(9)
        os.unlink(os.path.join(p.stack.runtime, "channel", UUID + ".json"))
        wait_for(lambda: p.status()["connections"] == 1, what="the end of its connection")
        assert not validated(7)
        assert d.call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN


@oxt.case
def stub_domain():
    """A stub domain is announced as one: only rules with `stubdom true` match it, and its marker says so."""
    rules = RULES + "allow stubdom true destination org.freedesktop.DBus\nallow stubdom true destination test.canary member M\n" \
                    "allow out-any stubdom true\n"
    with GuestProxy(rules) as p:
        c = rawbus.Client(p.add_guest("11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b", 9, stubdom=True))
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.RETURN
        assert c.call("test.canary", "/a", "test.i", "N").kind == rawbus.ERROR
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.ERROR
        names = rawbus.Client(p.stack.socket).call_bus("ListNames").args[0]
        assert [n for n in names if n.startswith("org.oxt.conn.d9.") and ".s1." in n], names
        assert p.client().call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR


@oxt.case
def many_connections():
    """64 connections of one guest work at once, and a stuck one stops no other."""
    with GuestProxy() as p:
        stuck = p.client()
        message = rawbus.encode(rawbus.CALL, 9, "s", ("x" * 8000,), destination="test.allowed", path="/a",
                                interface="test.i", member="M")
        stuck.socket.settimeout(0.5)
        try:
            for _ in range(10000):  # replies that it never reads
                stuck.socket.sendall(message)
            raise AssertionError("80 MB were taken from one that reads nothing")
        except socket.timeout:
            pass
        clients = [p.client() for _ in range(64)]
        serials = [c.send(rawbus.CALL, "s", (str(i),), destination="test.allowed", path="/a", interface="test.i", member="M")
                   for i, c in enumerate(clients)]
        for i, c in enumerate(clients):
            assert c.reply(serials[i]).args == [str(i)]
        assert len({c.unique for c in clients}) == 64


@oxt.case
def proxy_restart():
    """After the proxy was killed, guest programs see the end and new connections work within 3 seconds."""
    with GuestProxy() as p:
        c = p.client()
        p.process.kill()
        p.process.wait()
        p.start_proxy()
        assert c.ended()

        def again():
            try:
                return p.client(timeout=5).call("test.allowed", "/a", "test.i", "M", "s", ("x",)).args == ["x"]
            except (OSError, rawbus.Closed):
                return False
        wait_for(again, 3, "a new connection")


@oxt.case
def new_start_of_a_vm():
    """When a VM is started anew its old connections end and the new domain number counts."""
    with GuestProxy() as p:
        c = p.client()
        p.announce(8, "bb")
        assert c.ended()

        def answered():
            try:
                return p.client(timeout=5).call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR
            except (OSError, rawbus.Closed):
                return False
        wait_for(answered, 5, "a new connection")
        assert "(8->0) DENY" in p.log()


@oxt.case
def new_folder_of_records():
    """Where the folder of announcements is removed and made anew, old connections end and VMs announced in the new one are served."""
    with GuestProxy() as p:
        p.client()
        folder = os.path.join(p.stack.runtime, "channel")
        mode = os.stat(folder).st_mode & 0o777
        os.rename(folder, folder + ".old")
        os.mkdir(folder)
        os.chmod(folder, mode)
        wait_for(lambda: not p.status()["channels"] and not p.status()["connections"], what="the end of the channel and its connections")
        d = rawbus.Client(p.add_guest("11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b", 9))
        assert d.call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN


@oxt.case
def used_domid():
    """A domain number that comes again, for another start or another VM, inherits neither connections nor rules."""
    other = "11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b"
    with GuestProxy() as p:
        p.write("/vm/%s/rpc-firewall-rules/0" % UUID, "allow destination test.canary")

        def canary(client):
            return client.call("test.canary", "/a", "test.i", "M").kind

        c = p.client()
        wait_for(lambda: canary(c) == rawbus.RETURN, 5, "the VM's rule")
        p.announce(7, "bb")
        assert c.ended()

        def again():
            try:
                return p.client(timeout=5)
            except (OSError, rawbus.Closed):
                return None

        c = wait_for(again, 5, "a new connection")
        assert canary(c) == rawbus.RETURN
        host = rawbus.Client(p.stack.socket)

        def markers():
            names = host.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ListNames").args[0]
            return [n for n in names if n.startswith("org.oxt.conn.d7.")]

        assert markers()
        os.unlink(os.path.join(p.stack.runtime, "channel", UUID + ".json"))
        wait_for(lambda: not markers(), 5, "the end of the connections")
        assert canary(rawbus.Client(p.add_guest(other, 7))) == rawbus.ERROR


@oxt.case
def flood():
    """Behind a guest that keeps 256 calls in flight another one's call is the next but eight; its own limits are its own."""
    with GuestProxy() as p:
        quiet = rawbus.Client(p.add_guest("11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b", 9))
        flood = p.client()
        p.allowed.hold = True
        fields = dict(destination="test.allowed", path="/a", interface="test.i")
        flood.socket.sendall(b"".join(rawbus.encode(rawbus.CALL, i, member="Flood", **fields) for i in range(10, 266)))
        wait_for(lambda: len(p.allowed.held) == 8, what="the window to be full")
        quiet.send(rawbus.CALL, member="Quiet", **fields)
        wait_for(lambda: len(p.allowed.held) == 9, what="the other guest's call")
        assert p.allowed.members() == ["Flood"] * 8 + ["Quiet"]
        in_flight = {c["domid"]: c["in_flight"] for c in p.status()["clients"]}
        assert in_flight == {7: 8, 9: 1}, in_flight
        p.allowed.hold = False
        p.allowed.release()
        for i in range(10, 266):
            flood.reply(i)
        assert p.allowed.members().count("Flood") == 256


@oxt.case
def places_come_back():
    """Once another guest calls no more, one that waits has all its places at once."""
    fields = dict(destination="test.allowed", path="/a", interface="test.i", member="M")
    with GuestProxy() as p:
        other = rawbus.Client(p.add_guest("11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b", 9))
        c, took = p.client(), []
        while len(took) < 3 and min(took, default=1) > 0.7:
            time.sleep(1.2)  # so that what is looked at once a second is so a second from now
            assert other.reply(other.send(rawbus.CALL, **fields)).kind == rawbus.RETURN
            p.allowed.hold = True
            start = time.monotonic()
            c.socket.sendall(b"".join(rawbus.encode(rawbus.CALL, i, **fields) for i in range(10, 20)))
            wait_for(lambda: len(p.allowed.held) == 8, what="eight calls at the bus")
            took.append(time.monotonic() - start)
            p.allowed.hold = False
            p.allowed.release()
            for i in range(10, 20):
                assert c.reply(i).kind == rawbus.RETURN
        assert min(took) <= 0.7, took


@oxt.case
def properties_of_a_vm():
    """Conditions on a VM's properties follow the database, and hold as they were while it is away."""
    rules = RULES.replace("allow out-any", "allow destination test.canary if-boolean domstore-read-access true\n"
                          "deny destination test.allowed dom-name blocked\nallow out-any")
    with GuestProxy(rules) as p:
        c = p.client()

        def canary():
            return c.call("test.canary", "/a", "test.i", "M").kind

        def allowed():
            return c.call("test.allowed", "/a", "test.i", "M").kind
        assert canary() == rawbus.ERROR
        p.write("/vm/%s/domstore-read-access" % UUID, "true")
        assert canary() == rawbus.RETURN
        p.write("/vm/%s/domstore-read-access" % UUID, "false")
        assert canary() == rawbus.ERROR
        p.write("/vm/%s/name" % UUID, "fine")
        assert allowed() == rawbus.RETURN
        p.write("/vm/%s/name" % UUID, "blocked")
        assert allowed() == rawbus.ERROR
        p.dbd.kill()
        p.dbd.wait()
        assert allowed() == rawbus.ERROR and canary() == rawbus.ERROR
        p.start_dbd()
        p.write("/vm/%s/name" % UUID, "fine")
        wait_for(lambda: allowed() == rawbus.RETURN, what="the changed name")
        # A proxy that starts without a database denies everything of a VM, and says so.
        p.dbd.kill()
        p.process.kill()
        p.dbd.wait()
        p.process.wait()
        p.start_proxy()
        wait_for(lambda: p.status()["channels"] == 1, what="the channel")
        c = p.client()
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.ERROR
        assert "database" in p.status()["clients"][0]["error"], p.status()
        p.start_dbd()
        wait_for(lambda: p.status()["database"], what="the database")
        assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN


@oxt.case
def records():
    """Each denial is a record in Denials() and in a signal; beyond proxy.denials a second they are counted."""
    with Proxy() as p:
        host = rawbus.Client(p.stack.socket)
        proxy = dict(destination="com.citrix.xenclient.rpc_proxy", path="/", interface="org.oxt.RpcProxy1")
        host.call_bus("AddMatch", "s", ("type='signal',interface='org.oxt.RpcProxy1'",))
        c = p.client()
        c.call("test.canary", "/some/path", "test.i", "M", "s", ("an\x07argument",))
        told = json.loads(host.until(lambda m: m.member == "Denied").args[0])
        kept = json.loads(host.reply(host.send(rawbus.CALL, "u", (10,), member="Denials", **proxy)).args[0])
        assert kept == [told], kept
        want = {"domid": 5, "direction": "inc", "type": "method-call", "destination": "test.canary", "path": "/some/path",
                "interface": "test.i", "member": "M", "arg0": "an\\x07argument", "verdict": "deny", "rule": "deny all",
                "file": p.rules, "line": 1}
        assert {k: told.get(k) for k in want} == want, told
        assert told["near"]["line"] == 3 and "destination" in told["near"]["differs"], told
        assert abs(told["time"] / 1e6 - time.time()) < 60, told
        time.sleep(1.1)
        for _ in range(300):
            c.call("test.canary", "/", "test.i", "M")
        time.sleep(1.1)
        c.call("test.canary", "/", "test.i", "Last")
        kept = json.loads(host.reply(host.send(rawbus.CALL, "u", (500,), member="Denials", **proxy)).args[0])
        assert len(kept) < 200 and kept[-1]["member"] == "Last" and any(r.get("omitted", 0) for r in kept), (len(kept), kept[-1])
        assert sum(r.get("omitted", 0) for r in kept) + len(kept) == 302
        assert p.status()["denied"] == 302


@oxt.case
def records_of_all():
    """With --verbose what was allowed has records and a signal as well, and takes no denial's place in a second's bound."""
    with Proxy(RULES, "--verbose") as p:
        host = rawbus.Client(p.stack.socket)
        host.call_bus("AddMatch", "s", ("type='signal',interface='org.oxt.RpcProxy1'",))
        c = p.client()
        for _ in range(200):
            assert c.call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN
        c.call("test.canary", "/a", "test.i", "Secret")
        denied = json.loads(host.until(lambda m: m.member == "Denied").args[0])
        allowed = [json.loads(m.args[0]) for m in host.seen if m.member == "Allowed"]
        assert (denied["member"], denied["verdict"]) == ("Secret", "deny") and "omitted" not in denied, denied
        assert allowed and {a["verdict"] for a in allowed} == {"allow"}, allowed
        kept = json.loads(host.call("com.citrix.xenclient.rpc_proxy", "/", "org.oxt.RpcProxy1", "Denials", "u", (512,)).args[0])
        assert denied in kept and allowed[0] in kept, kept


@oxt.case
def records_of_others():
    """A guest that is denied again and again pushes out no other one's records."""
    with GuestProxy(env={"OXT_PROXY_DENIALS": "1000"}) as p:
        other = rawbus.Client(p.add_guest("11111111-9b05-4d4e-9f0a-0c1d2e3f4a5b", 9))
        for i in range(3):
            other.call("test.canary", "/", "test.i", "Other%d" % i)
        c = p.client()
        for i in range(600):
            c.call("test.canary", "/", "test.i", "Flood%d" % i)
        host = rawbus.Client(p.stack.socket)
        r = host.call("com.citrix.xenclient.rpc_proxy", "/", "org.oxt.RpcProxy1", "Denials", "u", (1000,))
        kept = [(k["domid"], k["member"]) for k in json.loads(r.args[0])]
        assert kept == [(9, "Other%d" % i) for i in range(3)] + [(7, "Flood%d" % i) for i in range(91, 600)], kept


@oxt.case
def sighup():
    """SIGHUP reads the rules again, for open connections too; a file with an error changes nothing."""
    with Proxy() as p:
        # A change behind a link is one that the proxy does not see by itself.
        behind = os.path.join(p.folder, "rules")
        os.rename(p.rules, behind)
        os.symlink(behind, p.rules)
        c = p.client()

        def answer():
            return c.call("test.canary", "/a", "test.i", "M").kind

        def rewrite(text):
            with open(behind, "w") as f:
                f.write(text)
        rewrite(RULES + "allow destination test.canary\n")
        time.sleep(0.3)
        assert answer() == rawbus.ERROR
        p.process.send_signal(signal.SIGHUP)
        wait_for(lambda: answer() == rawbus.RETURN, what="the new rules")
        rewrite(RULES + "allow nonsense\n")
        p.process.send_signal(signal.SIGHUP)
        wait_for(lambda: p.status()["rules"]["error"], what="the error")
        assert answer() == rawbus.RETURN and "nonsense" in p.log()
        rewrite(RULES)
        p.process.send_signal(signal.SIGHUP)
        wait_for(lambda: answer() == rawbus.ERROR, what="the old rules")
        assert not p.status()["rules"]["error"] and p.process.poll() is None


@oxt.case
def rules_of_ones_own():
    """Without -r the shipped rules hold, the stack's own from the moment they are there, and the shipped ones again at SIGHUP without them."""
    with Proxy() as p:
        offered, own = os.path.join(p.folder, "second.sock"), os.path.join(p.stack.state, "rpc-proxy.rules")
        second = p.stack.start([oxt.program("rpc-proxy"), "-i", "unix:" + offered, "-d", "6"], ready=lambda: oxt.listens(offered))
        c = rawbus.Client(offered)

        def answer():
            return c.call("test.canary", "/a", "test.i", "M").kind
        assert answer() == rawbus.ERROR
        with open(own + ".new", "w") as f:
            f.write(RULES + "allow destination test.canary\n")
        os.chmod(own + ".new", 0o644)
        os.rename(own + ".new", own)
        wait_for(lambda: answer() == rawbus.RETURN, what="the stack's rules")
        os.unlink(own)
        second.send_signal(signal.SIGHUP)
        wait_for(lambda: answer() == rawbus.ERROR, what="the shipped rules")


@oxt.case
def journal():
    """In the journal a denial has its line, priority and fields, with the whole record in one of them."""
    oxt.needs_root()
    with Proxy() as p:
        journal, offered = os.path.join(p.folder, "journal"), os.path.join(p.folder, "second.sock")
        os.mkdir(journal)
        messages = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        messages.settimeout(60)
        messages.bind(os.path.join(journal, "socket"))
        os.chmod(os.path.join(journal, "socket"), 0o666)
        errors = os.path.join(p.folder, "errors")
        with open(errors, "w") as f:
            stream = os.fstat(f.fileno())
        # Its stderr is what the journal reads, as systemd tells, and /run/systemd/journal is the socket above.
        script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && ' \
                 'export JOURNAL_STREAM=%d:%d && exec "$@" 2>>%s' % (stream.st_dev, stream.st_ino, errors)
        r = p.stack.run(["unshare", "-m", "true"])
        if r.returncode != 0:
            raise oxt.Skip("no namespaces here: " + r.stderr)
        p.stack.start(["unshare", "-m", "sh", "-c", script, journal, oxt.program("rpc-proxy"), "-i", "unix:" + offered, "-d", "6",
                       "-r", p.rules], ready=lambda: oxt.listens(offered))
        c = rawbus.Client(offered)
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR
        while True:
            fields = dict(l.split("=", 1) for l in messages.recv(65536).decode().splitlines() if "=" in l)
            if "OXT_VERDICT" in fields:
                break
        assert fields["MESSAGE"].startswith("(6->0) DENY method-call {") and fields["PRIORITY"] == "4", fields
        assert fields["OXT_DOMID"] == "6" and fields["OXT_VERDICT"] == "deny" and fields["OXT_RULE"] == "deny all", fields
        assert fields["SYSLOG_IDENTIFIER"] == "rpc-proxy" and fields["OXT_VM_UUID"] == "", fields
        record = json.loads(fields["OXT_RECORD"])
        assert record["member"] == "M" and record["destination"] == "test.canary", record
        messages.close()


@oxt.case
def bus_restart():
    """When the bus is started anew, clients see the end and new connections work within 3 seconds."""
    with Proxy() as p:
        c = p.client()
        p.stack.bus.kill()
        p.stack.bus.wait()
        assert c.ended()
        p.stack.start_bus()
        again = rawbus.Service(p.stack.socket, "test.allowed")

        def answered():
            try:
                return p.client(timeout=5).call("test.allowed", "/a", "test.i", "M").kind == rawbus.RETURN
            except (OSError, rawbus.Closed):
                return False
        wait_for(answered, 3, "a new connection")
        again.stop()


@oxt.case
def validate():
    """validate_* asks the rules for a running VM; an unknown domain gets false; guests may not ask."""
    rules = RULES + "allow inc-signal interface test.sig member Send\nallow destination com.citrix.xenclient.rpc_proxy\n" \
        "deny out-signal interface test.hidden\n"
    with GuestProxy(rules) as p:
        host = rawbus.Client(p.stack.socket)
        proxy = dict(destination="com.citrix.xenclient.rpc_proxy", path="/", interface="com.citrix.xenclient.rpc_proxy")

        def ask(member, *values):
            r = host.reply(host.send(rawbus.CALL, "i" + "s" * (len(values) - 1), values, member=member, **proxy))
            assert r.kind == rawbus.RETURN, r.args
            return bool(r.args[0])
        assert ask("validate_call", 7, "test.allowed", "test.i", "M")
        assert not ask("validate_call", 7, "test.canary", "test.i", "M")
        assert not ask("validate_call", 8, "test.allowed", "test.i", "M")
        assert not ask("validate_call", 0, "test.allowed", "test.i", "M")
        assert ask("validate_send_signal", 7, "test.sig", "Send") and not ask("validate_send_signal", 7, "test.sig", "Other")
        assert ask("validate_recv_signal", 7, "test.any", "S") and not ask("validate_recv_signal", 7, "test.hidden", "S")
        c = p.client()
        r = c.reply(c.send(rawbus.CALL, "s", ("allow all",), member="add_rule", **proxy))
        assert r.kind == rawbus.ERROR and r.error_name.endswith("AccessDenied"), r.error_name
        assert c.call("test.canary", "/a", "test.i", "M").kind == rawbus.ERROR


oxt.main()
