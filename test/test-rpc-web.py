#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rpc-proxy as a web server: files of the user interface, and a real browser that speaks to the bus from one of them."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess

import oxt
import rawbus
from rpcproxy import Proxy

RULES = """deny all
allow destination org.freedesktop.DBus interface org.freedesktop.DBus
allow destination test.allowed interface test.i
allow out-any
"""

PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>test</title></head>
<body><script src="script.js"></script></body></html>
"""

# What the user interface does: Hello, then requests; the types are learned by introspection, or guessed.
SCRIPT = """
"use strict";
const socket = new WebSocket("ws://" + location.host + "/"), waiting = new Map(), log = [];
let id = 0;

function call(destination, member, args, path = "/", iface = destination) {
        const mine = ++id;
        socket.send(JSON.stringify({id: mine, destination, method: member, path, interface: iface, args}));
        return new Promise(done => waiting.set(String(mine), done));
}

socket.onmessage = event => {
        const m = JSON.parse(event.data);
        if (m.type === "signal") {
                log.push(["signal", m.member]);
                return;
        }
        waiting.get(m["response-to"])(m);
        waiting.delete(m["response-to"]);
};
socket.onclose = event => log.push(["closed", event.code]);

socket.onopen = async () => {
        const bus = "org.freedesktop.DBus";
        await call(bus, "Hello", []);
        log.push(["protocol", socket.protocol, socket.extensions]);
        let m = await call("test.allowed", "M", ["\\u00e4\\u2028\\ud83d\\ude00"], "/a", "test.i");
        log.push([m.type, ...m.args]);
        m = await call("test.canary", "M", ["x"], "/a", "test.i");
        log.push([m.type, m.name]);
        const many = await Promise.all([...Array(30).keys()].map(i => call("test.allowed", "M", [String(i)], "/a", "test.i")));
        log.push(["many", many.every((m, i) => m.args[0] === String(i))]);
        m = await call("test.allowed", "M", ["y".repeat(200000)], "/a", "test.i");
        log.push(["long", m.args[0].length]);
        await call("test.allowed", "Report", [JSON.stringify(log)], "/a", "test.i");
        socket.close(1000);
};
"""


class WebProxy(Proxy):
    """A proxy whose clients are browsers, with a folder of files."""

    def __init__(self):
        self.port = oxt.free_port()
        super().__init__(RULES, "-i", "tcp:%d" % self.port, "--json-in", "--websockets-in", "--auto-auth")
        self.files = os.path.join(self.stack.state, "xui")
        os.makedirs(os.path.join(self.files, "sub"))
        self.write("index.html", PAGE)
        self.write("script.js", SCRIPT)

    def write(self, name, text):
        with open(os.path.join(self.files, name), "w") as f:
            f.write(text)

    def get(self, path, method="GET", connection=None, **kwargs):
        c = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.putrequest(method, path, skip_accept_encoding=True)
        for name, value in kwargs.get("headers", {}).items():
            c.putheader(name, value)
        c.endheaders(kwargs.get("body"))
        r = c.getresponse()
        r.body = r.read()
        if not connection:
            c.close()
        return r


@oxt.case
def files():
    """Files come with their type and size, whole, and HEAD without a body; many on one connection."""
    with WebProxy() as p:
        large = os.urandom(3 << 20)
        with open(os.path.join(p.files, "sub", "large.png"), "wb") as f:
            f.write(large)
        p.write("empty.css", "")
        p.write("no-suffix", "x")
        p.write("sub/index.html", "inner")
        os.symlink("index.html", os.path.join(p.files, "link.html"))
        for path, kind, body in [("/", "text/html; charset=utf-8", PAGE), ("/index.html", "text/html; charset=utf-8", PAGE),
                                 ("/script.js", "text/javascript; charset=utf-8", SCRIPT), ("/empty.css", "text/css; charset=utf-8", ""),
                                 ("/sub/large.png", "image/png", large), ("/no-suffix", "application/octet-stream", "x"),
                                 ("/sub/", "text/html; charset=utf-8", "inner"), ("/link.html", "text/html; charset=utf-8", PAGE),
                                 ("/index.html?a=b", "text/html; charset=utf-8", PAGE), ("/%69ndex.html", "text/html; charset=utf-8", PAGE),
                                 ("/sub/../index.html", "text/html; charset=utf-8", PAGE)]:
            body = body if isinstance(body, bytes) else body.encode()
            r = p.get(path)
            assert (r.status, r.getheader("Content-Type")) == (200, kind), (path, r.status, r.getheaders())
            assert r.body == body and r.getheader("X-Content-Type-Options") == "nosniff", path
            r = p.get(path, "HEAD")
            assert (r.status, r.getheader("Content-Type"), r.getheader("Content-Length")) == (200, kind, str(len(body))), path
            assert r.body == b""
        # A part that is asked for is answered with the whole, as a server may.
        r = p.get("/sub/large.png", headers={"Range": "bytes=10-19"})
        assert r.status == 200 and r.body == large
        c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=60)
        for path, status in [("/", 200), ("/none", 404), ("/script.js", 200)]:
            assert p.get(path, connection=c).status == status
        c.close()


@oxt.case
def nothing_else():
    """What is not a file below the folder is not there: ways out of it, links, folders, pipes; other requests are refused."""
    with WebProxy() as p:
        secret = os.path.join(p.stack.root, "secret.html")
        with open(secret, "w") as f:
            f.write("secret")
        os.chmod(secret, 0o644)
        os.symlink(secret, os.path.join(p.files, "absolute.html"))
        os.symlink("../../secret.html", os.path.join(p.files, "relative.html"))
        os.symlink(p.stack.root, os.path.join(p.files, "folder"))
        os.mkfifo(os.path.join(p.files, "pipe.html"))
        p.write("closed.html", "closed")
        os.chmod(os.path.join(p.files, "closed.html"), 0)
        for path in ["/none", "/sub", "/sub/none/", "/absolute.html", "/relative.html", "/folder/secret.html", "/pipe.html",
                     "/../secret.html", "/../../secret.html", "/sub/../../secret.html", "/%2e%2e/%2e%2e/secret.html",
                     "/..%2f..%2fsecret.html", "//" + secret, "/" + secret, "/%2f" + secret, "/sub/../..", "/\\..\\secret.html",
                     "/index.html/", "/index.html/x", "/proc/self/environ"] + (["/closed.html"] if os.geteuid() == 0 else []):
            r = p.get(path)
            assert r.status == 404 and b"secret" not in r.body, (path, r.status, r.body)
        assert p.get("/" + "a" * 2000).status == 414
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
            r = p.get("/index.html", method)
            assert r.status == 405 and r.getheader("Allow") == "GET, HEAD", (method, r.status, r.getheaders())
        r = p.get("/index.html", "POST", headers={"Content-Length": "5"}, body=b"x=y&z")
        assert r.status == 405, r.status
        # Headers without end are cut off, and cost nobody else anything.
        with socket.create_connection(("127.0.0.1", p.port), timeout=60) as s:
            try:
                s.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 200000)
                while s.recv(1000):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert p.get("/").status == 200
        shutil.rmtree(p.files)
        assert p.get("/").status == 404


@oxt.case
def pages_of_others():
    """A browser's WebSocket is taken from pages of this host alone, of whatever port; what says no origin is no browser."""
    with WebProxy() as p:
        def status(host, origin):
            headers = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                       "Sec-WebSocket-Version": "13"}
            if origin is not None:
                headers["Origin"] = origin
            with socket.create_connection(("127.0.0.1", p.port), timeout=60) as s:
                s.sendall(b"GET / HTTP/1.1\r\n" + b"".join(("%s: %s\r\n" % h).encode() for h in headers.items()) + b"\r\n")
                return int(s.recv(1000).split()[1])
        for host, origin in [("1.0.0.0:8080", "http://1.0.0.0"), ("1.0.0.0:8080", "http://1.0.0.0:80"), ("ui", "https://UI"),
                             ("[::1]:8080", "http://[::1]"), ("127.0.0.1:8080", None)]:
            assert status(host, origin) == 101, (host, origin)
        for host, origin in [("1.0.0.0:8080", "http://1.0.0.01"), ("1.0.0.0:8080", "http://1.0.0"), ("1.0.0.0", "http://evil.example"),
                             ("1.0.0.0", "null"), ("1.0.0.0", "file://"), ("1.0.0.0", ""), (":8080", "http://:8080"),
                             ("ui", "http://ui.evil.example"), ("[::1]:8080", "http://[::2]")]:
            assert status(host, origin) == 403, (host, origin)


def browser():
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if shutil.which(name):
            return name
    raise oxt.Skip("there is no browser here (package chromium-headless-shell)")


@oxt.case
def real_browser():
    """A page that the proxy serves calls services over a WebSocket: allowed, denied, 30 at once, and long ones."""
    name = browser()
    with WebProxy() as p:
        command = [name, "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                   "--disable-dev-shm-usage", "--user-data-dir=" + os.path.join(p.stack.root, "browser"), "--remote-debugging-port=0",
                   "http://127.0.0.1:%d/" % p.port]
        if name != "chromium-headless-shell":
            command.insert(1, "--headless=new")
        errors = os.path.join(p.stack.root, "browser-log")
        with open(errors, "w") as f:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True,
                                       env=dict(os.environ, HOME=p.stack.root))
        try:
            def reported():
                if process.poll() is not None:
                    raise AssertionError("the browser ended: " + open(errors).read())
                return [m for m in p.allowed.calls if m.member == "Report"]
            got = json.loads(oxt.wait_for(reported, 90, "the page's report")[0].args[0])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        got = [g for g in got if g[0] != "signal"]
        assert got == [["protocol", "", ""], ["response", "\u00e4\u2028\U0001f600"],
                       ["error", "org.freedesktop.DBus.Error.AccessDenied"], ["many", True], ["long", 200000]], got
        assert p.canary.members() == []


oxt.main()
