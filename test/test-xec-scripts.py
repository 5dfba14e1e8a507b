#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The uses of xec and xec-vm that OpenXT's scripts make, on a live manager: the rows of test/data/xec/scripts."""
import oxt
import shellrows
from peers import Peers
from xenmgr import Host, XM, uuid_of

INPUT, NETWORK = "com.citrix.xenclient.input", "com.citrix.xenclient.networkdaemon"


def method(name, types):
    return '<method name="%s">%s</method>' % (name, "".join('<arg type="%s" direction="in"/>' % t for t in types))


host = Host("--no-autostart")
peers = [Peers(host.stack, name) for name in (INPUT, NETWORK)]
for peer, members in zip(peers, ((("switch_focus", "ib"), ("auth_rm_platform_user", "")), (("add_vif", "iis"),))):
    peer.answer({"Introspect": ["s", '<node><interface name="%s">%s</interface></node>' % (
        peer.name(), "".join(method(*m) for m in members))]})
vm = host.create(tree={"name": "work", "config": {"disk": {"0": {"path": "", "type": "file", "device": "xvda"}}}})
shellrows.cases("xec/scripts", host.stack, {"VM": vm, "UUID": uuid_of(vm)})


@oxt.case
def what_arrived():
    """What those services were called with is what was typed."""
    calls = [c[1:] for p in peers for c in p.calls() if c[2] in ("switch_focus", "auth_rm_platform_user", "add_vif")]
    assert calls == [("/", "switch_focus", -1, 0), ("/", "auth_rm_platform_user"), ("/", "add_vif", 0, 7, "00:16:3e:00:00:01")], calls


try:
    oxt.main()
finally:
    for p in peers:
        p.stop()
    host.stop()
