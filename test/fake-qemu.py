#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU that lies: it takes xenvm's descriptors and speaks QMP badly, as the VM's name says."""
import json
import os
import socket
import sys
import threading
import time

mode = sys.argv[sys.argv.index("-name") + 1][len("guest="):]
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}


def say(c, o):
    try:
        c.sendall(json.dumps(o).encode() + b"\r\n")
    except OSError:  # the monitor has had enough
        time.sleep(600)


def events():
    path = [a for a in sys.argv if a.startswith("pipe,id=events,path=")][0]
    return open(path[len("pipe,id=events,path="):] + ".out", "wb")


def flood():
    with events() as f:
        while True:
            f.write(b'{"event": "SUSPEND"}\r\n{"event": "WAKEUP"}\r\n' * 1000)


if mode == "die":
    print("qemu-system-x86_64: -drive: it is \033[1mbroken", file=sys.stderr)
    sys.exit(1)
server = socket.socket(fileno=3)
server.setblocking(True)
client, _ = server.accept()
if mode == "silent":
    time.sleep(600)
if mode == "garbage":
    client.sendall(b"\x00\xff{{{\r\n")
    time.sleep(600)
if mode == "oversized":
    try:
        client.sendall(b'{"QMP": "' + b"x" * (8 << 20))
    except OSError:
        pass
    time.sleep(600)
if mode == "deep":
    client.sendall(b"[" * 100000 + b"\r\n")
    time.sleep(600)
if mode == "event-first":
    say(client, {"event": "RESUME"})
    time.sleep(600)
say(client, GREETING)
if mode == "greet-twice":
    say(client, GREETING)
    time.sleep(600)  # who reads on may see the monitor hang up, and would end of that
if mode == "leave":
    client.close()
    time.sleep(600)
held = []
for line in client.makefile():
    request = json.loads(line)
    answer = {"return": {}, "id": request["id"]}
    name = request["execute"]
    if name == "query-status":
        answer["return"] = {"status": "prelaunch", "running": False}
    if mode == "mute" and name != "qmp_capabilities":
        continue
    if mode == "wrong-types":
        answer = {"return": [[1]], "id": request["id"]} if name == "query-status" else answer
    if mode == "error":
        answer = {"error": {"class": 7, "desc": None}, "id": request["id"]} if name == "query-status" else answer
    if mode == "die-later" and name == "query-status":
        sys.exit(0)
    if mode == "strangers":
        # Answers to nobody, to others, and in text where a number belongs.
        for i in (999, -1, "1", None, [1], 1.5):
            say(client, {"return": {"status": "running"}, "id": i})
        say(client, {"return": {}})
    if mode == "flood":
        for i in range(20000):
            say(client, {"event": "X" * 100, "data": {"a": i}})
    if mode == "late" and name == "cont":
        time.sleep(1)
    if mode == "mute-cont" and name == "cont":
        continue
    if mode == "flood-events" and name == "cont":
        threading.Thread(target=flood, daemon=True).start()
    if name == "device_del":
        with events() as f:
            f.write(json.dumps({"event": "DEVICE_DELETED", "data": {"device": request["arguments"]["id"], "path": "/"}}).encode() + b"\r\n")
    if mode == "ends-first" and name == "cont":
        with events() as f:
            f.write(b'{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n')
        time.sleep(1)  # so that the answer comes when the end is known
    say(client, answer)
    if name == "quit":
        break
time.sleep(600 if mode not in ("honest", "ends-first") else 0)
