#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service for the tests of xec and xec-vm: echo methods of every type, properties, a few VMs, errors."""
import sys

import dbus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib

XENMGR = "com.citrix.xenclient.xenmgr"
VM = XENMGR + ".vm"
PROPERTIES = "org.freedesktop.DBus.Properties"

ECHO = {"s": "s", "o": "o", "b": "b", "y": "y", "n": "n", "q": "q", "i": "i", "u": "u", "x": "x", "t": "t", "d": "d",
        "v": "v", "g": "g", "h": "h", "as": "as", "ai": "ai", "ay": "ay", "ab": "ab", "ao": "ao", "aas": "aas", "a_ss": "a{ss}",
        "a_sv": "a{sv}", "a_is": "a{is}", "a_sas": "a{sas}", "r": "(sib)", "ar": "a(si)", "av": "av"}

ROOT_XML = """<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<!-- a comment <interface name="not.this"/> -->
<node>
 <interface name="com.citrix.xenclient.first">
  <method name="same"><arg type="s" direction="out"/></method>
  <property name="shared" type="s" access="read"><annotation name="x" value="&lt;y&gt;"/></property>
 </interface>
 <interface name='com.citrix.xenclient.xenmgr'>
  <method name="list_vms"><arg name="paths" type="ao" direction="out"/></method>
  <method name="find_vm_by_uuid"><arg name="uuid" type="s" direction="in"/><arg name="p" type="o" direction="out"/></method>
  <method name="find_vm_by_domid"><arg name="domid" type="i"/><arg name="p" type="o" direction="out"/></method>
  <method name="same"/>
  <method name="two_results"><arg type="b" direction="out"/><arg type="s" direction="out"/></method>
  <method name="nothing"/>
  <method name="many_args">
   <arg name="arg" type="s" direction="in"/><arg name="other" type="i" direction="in"/>
   <arg name="result" type="b" direction="out"/>
  </method>
  <method name="give"><arg name="what" type="s" direction="in"/><arg type="v" direction="out"/></method>
  <method name="fail"><arg name="what" type="s" direction="in"/></method>
  <method name="fail_more"/><method name="fail_empty"/>
  <method name="hang"/>
  {echo}
  <property name="language" type="s" access="readwrite"/>
  <property name="autolock-cd-drives" type="b" access="readwrite"/>
  <property name="number" type="i" access="readwrite"/>
  <property name="shared" type="s" access="read"/>
  <signal name="changed"><arg type="s"/></signal>
 </interface>
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get"><arg name="interface" type="s" direction="in"/><arg name="property" type="s" direction="in"/>
   <arg name="value" type="v" direction="out"/></method>
  <method name="Set"><arg name="interface" type="s" direction="in"/><arg name="property" type="s" direction="in"/>
   <arg name="value" type="v" direction="in"/></method>
 </interface>
 <node name="vm"><interface name="not.here"/></node>
</node>
"""

VM_XML = """<node>
 <interface name="com.citrix.xenclient.xenmgr.vm">
  <method name="start"/><method name="add_pt_rule_bdf"><arg name="bdf" type="s" direction="in"/></method>
  <method name="list_disks"><arg type="ao" direction="out"/></method>
  <method name="list_nics"><arg type="ao" direction="out"/></method>
  <property name="name" type="s" access="readwrite"/><property name="uuid" type="s" access="read"/>
  <property name="domid" type="i" access="read"/><property name="state" type="s" access="read"/>
  <property name="flask-label" type="s" access="readwrite"/><property name="stubdom" type="b" access="readwrite"/>
 </interface>
</node>
"""

DEVICE_XML = """<node><interface name="com.citrix.xenclient.vm%s">
 <property name="phys-type" type="s" access="readwrite"/></interface></node>"""

GIVE = {
    "byte": dbus.Byte(200), "bytes": dbus.ByteArray(b'a"\\\n\x00\x1b\xc8\x31\x0eH\x7f'), "empty": dbus.Array([], signature="s"),
    "no-bytes": dbus.Array([], signature="y"), "dict": dbus.Dictionary({"name": "foo", "länge": "x"}, signature="ss"),
    "no-dict": dbus.Dictionary({}, signature="ss"), "nested": dbus.Array([dbus.Array(["a", "b"]), dbus.Array(["c"])], signature="as"),
    "struct": dbus.Struct(("x", dbus.Int32(-5), True), signature="sib"), "signature": dbus.Signature("s"),
    "signatures": dbus.Signature("a{sv}(ii)ay"),
    "variant": dbus.Array([dbus.Int32(1, variant_level=1), dbus.String("t", variant_level=1)], signature="v"),
    "text": "a\nb\"ü", "nan": float("nan"), "infinity": float("inf"), "minus-infinity": float("-inf"),
    "long-key": dbus.Dictionary({"a-key-that-is-longer-than-30-characters": "foo"}, signature="ss"),
}


class Service:
    def __init__(self):
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        self.bus = dbus.SystemBus()
        self.props = {
            "/": {"com.citrix.xenclient.first": {"shared": "first's"},
                  XENMGR: {"language": "en-us", "autolock-cd-drives": False, "number": dbus.Int32(5), "shared": "xenmgr's"}},
        }
        self.props["/broken"] = self.props["/"]
        self.vms = []
        self.calls = []
        self.bus.add_message_filter(self.on_message)
        for name in (XENMGR, "com.citrix.xenclient.input"):
            self.bus.request_name(name)

    def add_vm(self, name, uuid, domid, state):
        path = "/vm/" + uuid.replace("-", "_")
        self.vms.append(path)
        self.props[path] = {VM: {"name": name, "uuid": uuid, "domid": dbus.Int32(domid), "state": state,
                                 "flask-label": "label of " + name, "stubdom": False}}
        self.props[path + "/disk/0"] = {"com.citrix.xenclient.vmdisk": {"phys-type": "vhd"}}
        self.props[path + "/nic/0"] = {"com.citrix.xenclient.vmnic": {"phys-type": "-"}}

    def introspect(self, path):
        if path == "/":
            echo = "".join('<method name="echo_%s"><arg type="%s" direction="in"/><arg type="%s" direction="out"/></method>'
                           % (n, t, t) for n, t in ECHO.items())
            return ROOT_XML.replace("{echo}", echo)
        if path == "/broken":
            return "<node><interface name="
        if path not in self.props:
            raise KeyError("org.freedesktop.DBus.Error.UnknownObject", path)
        return DEVICE_XML % path.split("/")[3] if path.count("/") > 2 else VM_XML

    def handle(self, m):
        path, interface, member, args = m.get_path(), m.get_interface(), m.get_member(), m.get_args_list()
        if member == "Introspect":
            return "s", [self.introspect(path)]
        if interface == PROPERTIES:
            return self.handle_property(path, member, args)
        if member.startswith("echo_"):
            return ECHO[member[5:]], args
        if member == "list_vms":
            return "ao", [self.vms]
        if member in ("find_vm_by_uuid", "find_vm_by_domid"):
            key = member[11:]
            for v in self.vms:
                if self.props[v][VM][key] == args[0]:
                    return "o", [v]
            raise KeyError("org.freedesktop.DBus.Error.Failed", "no such vm")
        if member in ("list_disks", "list_nics"):
            return "ao", [[path + "/%s/0" % member[5:-1], path + "/%s/1" % member[5:-1]]]
        if member == "same":
            return "s", [interface]
        if member == "two_results":
            return "bs", [True, "two words"]
        if member == "many_args":
            return "b", [len(args) == 2]
        if member == "give":
            return "v", [GIVE[args[0]]]
        if member == "fail":
            raise KeyError("com.example.Error", args[0])
        if member == "fail_more":
            raise KeyError("com.example.Error", 5, "more", True)
        if member == "fail_empty":
            raise KeyError("com.example.Empty", None)
        if member in ("nothing", "start", "add_pt_rule_bdf", "add_vif", "unlisted"):
            self.calls.append([member] + [str(a) for a in args])
            return "", []
        if member == "calls":
            return "aas", [self.calls]
        if member == "clear_vms":
            del self.vms[:]
            return "", []
        raise KeyError("org.freedesktop.DBus.Error.UnknownMethod", member)

    def handle_property(self, path, member, args):
        if path == "/vm/gone":
            raise KeyError("org.freedesktop.DBus.Error.UnknownObject", path)
        table = self.props[path].get(args[0], {})
        if member == "GetAll":
            return "a{sv}", [dbus.Dictionary(table, signature="sv")]
        if args[1] not in table:
            raise KeyError("org.freedesktop.DBus.Error.InvalidArgs", "no property " + args[1])
        if member == "Get":
            return "v", [table[args[1]]]
        if args[2] == "refuse":
            raise KeyError("com.example.Error", "204:refused")
        table[args[1]] = args[2]
        return "", []

    def on_message(self, _connection, m):
        if not isinstance(m, dbus.lowlevel.MethodCallMessage):
            return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
        if m.get_member() == "hang":
            return dbus.lowlevel.HANDLER_RESULT_HANDLED
        try:
            signature, values = self.handle(m)
            reply = dbus.lowlevel.MethodReturnMessage(m)
            if signature:
                reply.append(signature=signature, *values)
        except KeyError as e:
            name, text, *more = e.args if len(e.args) > 1 else ("org.freedesktop.DBus.Error.UnknownObject", str(e))
            reply = dbus.lowlevel.ErrorMessage(m, name, text if isinstance(text, str) else None)
            if not isinstance(text, str) and text is not None:
                reply.append(text, *more)
        self.bus.send_message(reply)
        return dbus.lowlevel.HANDLER_RESULT_HANDLED


if __name__ == "__main__":
    service = Service()
    for row in sys.argv[1:]:
        name, uuid, domid, state = row.split("|")
        service.add_vm(name, uuid, int(domid), state)
    GLib.MainLoop().run()
