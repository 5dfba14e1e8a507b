#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Platform daemons for tests: a process that owns their names, writes down each call, and answers as a file says.

    peers.py ADDRESS FOLDER NAME…

FOLDER/answers.json maps "member", "member argument" or "object member" (the last that fits wins) to [signature, value…];
null: no answer comes; ["!", text]: an error. What is not in it gets an empty answer. FOLDER/calls has a line of JSON for each call.
"""
import json
import os
import subprocess
import sys

import dbus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib

import oxt


class Peers:
    """The test's side: starts the process and says what it answers."""

    def __init__(self, stack, *names, answers=()):
        self.folder = os.path.join(stack.root, "peers-%s" % names[0])
        os.makedirs(self.folder, exist_ok=True)
        self.bus = dbus.bus.BusConnection(stack.address)
        self.answers = {}
        self.answer(dict(answers))
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), stack.address, self.folder, *names])
        for name in names:
            oxt.wait_for(lambda: self.bus.name_has_owner(name), what=name)

    def answer(self, answers):
        """More answers, or others, from now on."""
        self.answers.update(answers)
        path = os.path.join(self.folder, "answers.json")
        with open(path + ".new", "w") as f:
            json.dump(self.answers, f)
        os.rename(path + ".new", path)

    def calls(self, member=None):
        """[(name without com.citrix.xenclient, path, member, arguments…)…] so far."""
        try:
            with open(os.path.join(self.folder, "calls")) as f:
                all_calls = [tuple(json.loads(line)) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [c for c in all_calls if member in (None, c[2])]

    def signal(self, interface, member, signature, *args):
        """Sent by the process, whose name counts."""
        self.bus.get_object(self.name(), "/", introspect=False).Emit(json.dumps([interface, member, signature, args]),
                                                                   dbus_interface="test.Peers")

    def name(self):
        return os.path.basename(self.folder)[len("peers-"):]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.bus.close()


def main(address, folder, *names):
    bus = dbus.bus.BusConnection(address)

    def on_message(_bus, message):
        if message.get_type() != 1 or message.get_destination() == "org.freedesktop.DBus":
            return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
        member, path, args = str(message.get_member()), str(message.get_path()), message.get_args_list()
        if member == "Emit":
            interface, name, signature, values = json.loads(args[0])
            s = dbus.lowlevel.SignalMessage("/", interface, name)
            s.append(signature=signature, *values)
            bus.send_message(s)
        else:
            with open(os.path.join(folder, "calls"), "a") as f:
                f.write(json.dumps([str(message.get_destination()).rsplit(".", 1)[-1], path, member, *args]) + "\n")
        with open(os.path.join(folder, "answers.json")) as f:
            answers = json.load(f)
        answer = []
        for key in [member] + ["%s %s" % (member, a) for a in args if isinstance(a, str)] + ["%s %s" % (path, member)]:
            answer = answers.get(key, answer)
        if answer is None or message.get_no_reply():
            return dbus.lowlevel.HANDLER_RESULT_HANDLED
        if answer[:1] == ["!"]:
            bus.send_message(dbus.lowlevel.ErrorMessage(message, "org.freedesktop.DBus.Error.Failed", answer[1]))
            return dbus.lowlevel.HANDLER_RESULT_HANDLED
        reply = dbus.lowlevel.MethodReturnMessage(message)
        if answer:
            reply.append(signature=answer[0], *answer[1:])
        bus.send_message(reply)
        return dbus.lowlevel.HANDLER_RESULT_HANDLED

    bus.add_message_filter(on_message)
    for name in names:
        bus.request_name(name)
    GLib.MainLoop().run()


if __name__ == "__main__":
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    main(*sys.argv[1:])
