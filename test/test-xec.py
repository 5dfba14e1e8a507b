#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xec and xec-vm against a live service: values, formats, errors, the choice of a VM."""
import json
import os

import oxt

U1, U2, U3 = ("00000000-0000-0000-0000-00000000000%d" % i for i in (1, 2, 3))
VMS = ["work|%s|-1|stopped" % U1, "Network|%s|2|running" % U2, "twin|%s|1|running" % U3,
       "twin|00000000-0000-0000-0000-000000000004|-1|stopped"]

stack = oxt.Stack()
service = stack.start([os.path.join(oxt.SOURCE, "test/lib/xec_service.py"), *VMS],
                      ready=lambda: stack.owned("com.citrix.xenclient.input"))


def xec(*words, program="xec"):
    r = stack.run([oxt.program(program), *words])
    return r.returncode, r.stdout, r.stderr


def good(*words, program="xec"):
    status, out, err = xec(*words, program=program)
    assert status == 0 and err == "", (words, status, out, err)
    return out


def bad(*words, program="xec"):
    status, out, err = xec(*words, program=program)
    assert status == 1 and out == "" and err, (words, status, out, err)
    return err


@oxt.case
def accepted_values():
    """Every type takes its text and gives it back."""
    rows = [
        ("echo-s", "a b [1]", "a b [1]"), ("echo-s", "", ""), ("echo-s", "ü", "ü"), ("echo-o", "/a/b", "/a/b"),
        ("echo-y", "255", "255"), ("echo-n", "-32768", "-32768"), ("echo-q", "65535", "65535"),
        ("echo-i", "-2147483648", "-2147483648"), ("echo-u", "4294967295", "4294967295"),
        ("echo-x", "-9223372036854775808", "-9223372036854775808"), ("echo-t", "18446744073709551615", "18446744073709551615"),
        ("echo-b", "true", "true"), ("echo-b", "1", "true"), ("echo-b", "false", "false"), ("echo-b", "0", "false"),
        ("echo-d", "3", "3.0"), ("echo-d", "0.25", "0.25"), ("echo-d", "-1234567.5", "-1234567.5"),
        ("echo-d", "10000000", "1.0e7"), ("echo-d", "0.05", "5.0e-2"), ("echo-d", "0.1", "0.1"), ("echo-d", "0", "0.0"),
        ("echo-d", "123456789.5", "1.234567895e8"), ("echo-d", "100", "100.0"),
        ("echo-as", '["a","b c"]', "a\nb c"), ("echo-as", "[ 'it\"s' , \"x\\\"\\\\y\\z\" ]", 'it"s\nx"\\y\\z'),
        ("echo-as", "[]", ""), ("echo-as", " [ ] ", ""), ("echo-ai", "[1, -2,3 ]", "1\n-2\n3"), ("echo-ab", "[true,0]", "true\nfalse"),
        ("echo-ao", "['/a','/b']", "/a\n/b"), ("echo-aas", '[["a"],[],["b","c"]]', "a\n\nb\nc"),
        ("echo-ay", "[1,2]", '"\\SOH\\STX"'), ("echo-ay", "[]", '""'),
        ("echo-a_ss", '{"k":"v","x":"y"}', '{\n  "k"                            = v\n  "x"                            = y\n}'),
        ("echo-a_ss", "{}", "{\n}"), ("echo-a_is", "{ 1 : 'a' }", '{\n  "1"                            = a\n}'),
        ("echo-a_sas", "{'k':['a','b']}", '{\n  "k"                            = a\nb\n}'),
        ("echo-a_sv", "{'k':u:5}", '{\n  "k"                            = 5\n}'),
        ("echo-r", "['x',5,true]", "x\n5\ntrue"), ("echo-ar", "[['x',5],['y',6]]", "x\n5\ny\n6"),
        ("echo-v", "s:a:b c", "a:b c"), ("echo-v", "u:7", "7"), ("echo-v", "as:['p','q']", "p\nq"), ("echo-v", "v:b:true", "true"),
        ("echo-av", "[s:'x',i:-1]", "x\n-1"), ("echo-g", "a{sv}", "[SigDict SigString SigVariant]"),
    ]
    for method, text, expected in rows:
        assert good(method, text) == expected + "\n", (method, text, good(method, text))


@oxt.case
def refused_values():
    """What is not wholly a value is refused, with what was expected."""
    rows = [("echo-y", "300"), ("echo-y", "-1"), ("echo-u", "-1"), ("echo-i", "2147483648"), ("echo-i", "5x"), ("echo-i", " 5"),
            ("echo-i", ""), ("echo-n", "40000"), ("echo-q", "65536"), ("echo-t", "18446744073709551616"), ("echo-b", "truex"),
            ("echo-b", "True"), ("echo-b", ""), ("echo-d", "1."), ("echo-d", "1e5"), ("echo-d", ".5"), ("echo-o", "a/b"),
            ("echo-as", "a"), ("echo-as", "['a'"), ("echo-as", "['a',]"), ("echo-as", "[a]"), ("echo-as", "['a'] x"), ("echo-as", "['a"),
            ("echo-a_ss", "['a']"), ("echo-a_ss", "{'a'}"), ("echo-r", "['x',5]"), ("echo-r", "['x',5,true,1]"),
            ("echo-v", "text"), ("echo-v", "ss:a"), ("echo-g", "a"), ("echo-aas", "[" * 100)]
    for method, text in rows:
        err = bad(method, text)
        assert "error parsing argument 1" in err and "expected" in err, (method, text, err)


@oxt.case
def printed_values():
    """Byte arrays, empty containers and signatures print as xec's always did."""
    rows = [("byte", "200"), ("bytes", '"a\\"\\\\\\n\\NUL\\ESC\\200\\&1\\SO\\&H\\DEL"'), ("empty", ""), ("no-bytes", '""'),
            ("dict", '{\n  "name"                         = foo\n  "länge"                        = x\n}'), ("no-dict", "{\n}"),
            ("nested", "a\nb\nc"), ("struct", "x\n-5\ntrue"), ("signature", "[SigString]"),
            ("signatures", "[SigDict SigString SigVariant,SigStruct [SigInt32,SigInt32],SigArray SigByte]"),
            ("variant", "1\nt"), ("text", 'a\nb"ü')]
    for what, expected in rows:
        assert good("give", what) == expected + "\n", (what, good("give", what))


@oxt.case
def several_results():
    """Several results follow each other, none prints nothing."""
    assert good("two-results") == "true\ntwo words\n"
    assert good("nothing") == ""


@oxt.case
def methods():
    """Dashes are underscores, the first interface with the member counts, -i chooses."""
    assert good("list_vms") == good("list-vms") and good("list-vms").count("\n") == 4
    assert good("same") == "com.citrix.xenclient.first\n"
    assert good("-i", "com.citrix.xenclient.xenmgr", "same") == "com.citrix.xenclient.xenmgr\n"
    assert good("many-args", "a", "-5") == "true\n"


@oxt.case
def properties():
    """get, -g, set, -x; the first option counts; -g alone gets all."""
    assert good("get", "language") == good("-g", "language") == good("-g", "language", "-g", "number") == "en-us\n"
    assert good("get", "shared") == "first's\n"
    assert good("-i", "com.citrix.xenclient.xenmgr", "get", "shared") == "xenmgr's\n"
    assert good("set", "autolock-cd-drives", "true") == "" and good("get", "autolock-cd-drives") == "true\n"
    assert good("-x", "number", "-7") == "" and good("-g", "number") == "-7\n"
    assert good("-x", "number", "8", "-x", "number", "9") == "" and good("-g", "number") == "8\n"
    assert good("-i", "com.citrix.xenclient.xenmgr", "--signature", "i", "set", "number", "5") == ""
    assert good("-i", "org.freedesktop.DBus.Properties", "Set", "com.citrix.xenclient.xenmgr", "number", "i:6") == ""
    assert good("get", "number") == "6\n"
    expected = ('com.citrix.xenclient.first\n{\n  "shared"                            = first\'s\n}\n'
                'com.citrix.xenclient.xenmgr\n{\n  "language"                          = en-us\n'
                '  "autolock-cd-drives"                = true\n  "number"                            = 6\n'
                '  "shared"                            = xenmgr\'s\n}\n')
    assert good("getall") == good("-g") == expected, good("getall")
    assert good("-i", "com.citrix.xenclient.first", "getall").count("{") == 1


@oxt.case
def listings():
    """Interfaces, methods and properties, in the order of the XML."""
    interfaces = good("--list-interfaces").splitlines()
    assert interfaces == ["com.citrix.xenclient.first", "com.citrix.xenclient.xenmgr", "org.freedesktop.DBus.Properties"]
    assert "list-vms" in good("--list-methods").splitlines()
    assert good("--list-properties").splitlines() == ["shared", "language", "autolock-cd-drives", "number", "shared"]
    assert good("-i", "com.citrix.xenclient.first", "--list-methods") == "same\n"
    assert "interface no.such not found" in bad("-i", "no.such", "--list-methods")


@oxt.case
def introspection():
    """Without words the object is shown."""
    out = good()
    assert out.startswith("/------- com.citrix.xenclient.first\n|     -  shared                       read:s\n"
                          "|     +  same                         ( OUT :s )\n\n/------- com.citrix.xenclient.xenmgr\n"), out
    assert "|     +  many-args                    ( arg:s, other:i, OUT result:b )\n" in out
    assert "|     +  nothing                      (  )\n" in out
    assert "|     -  language                     readwrite:s\n" in out
    assert "changed" not in out and "not.here" not in out and "not.this" not in out and out.endswith("\n\n")
    assert out.index("-  language") < out.index("+  list-vms")


@oxt.case
def errors():
    """Each failure says what it is on stderr and ends with 1."""
    assert bad("fail", "204:no").startswith("com.example.Error: 204:no\n")
    assert "property nope not found in any of the interfaces" in bad("get", "nope")
    assert "property nope not found in any of the interfaces" in bad("set", "nope", "1")
    assert "method nope not found in any of the interfaces" in bad("nope")
    assert "method get not found" in bad("get")
    assert "interface no.such not found" in bad("-i", "no.such", "same")
    assert "interface no.such not found" in bad("-i", "no.such", "set", "number", "1")
    assert "property com.citrix.xenclient.first.number not found" in bad("-i", "com.citrix.xenclient.first", "set", "number", "1")
    assert "method com.citrix.xenclient.first.nothing not found" in bad("-i", "com.citrix.xenclient.first", "nothing")
    assert "method many_args expects 2 args, but 1 were given" in bad("many-args", "a")
    assert "com.example.Error: 204:refused" in bad("set", "language", "refuse")
    assert "no.such.service" in bad("-s", "no.such.service", "x")
    assert "introspection data" in bad("-o", "/broken", "x")
    assert "unknown option '--nonsense'" in bad("--nonsense", "x")
    assert "needs a property and a value" in bad("-x", "number")
    assert "Argo" in bad("-t", "5", "list-vms")
    env = dict(stack.env, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent/bus")
    r = oxt.subprocess.run([oxt.program("xec"), "list-vms"], env=env, capture_output=True, text=True, timeout=10)
    assert r.returncode == 1 and "cannot connect" in r.stderr and "/nonexistent/bus" in r.stderr, r.stderr


@oxt.case
def without_introspection():
    """-i and --signature need no introspection data; time-outs end a call."""
    assert good("-o", "/broken", "-i", "com.citrix.xenclient.xenmgr", "--signature", "ss", "unlisted", "a", "b") == ""
    assert "expects 1 args" in bad("-o", "/broken", "-i", "x.y", "--signature", "s", "unlisted")
    assert bad("--timeout", "1", "hang")


@oxt.case
def other_uses():
    """The bus itself, and words that look like options behind the method."""
    names = good("-s", "org.freedesktop.DBus", "-o", "/org/freedesktop/DBus", "ListNames").splitlines()
    assert "com.citrix.xenclient.xenmgr" in names
    owner = good("-s", "org.freedesktop.DBus", "-o", "/org/freedesktop/DBus", "GetNameOwner", "com.citrix.xenclient.xenmgr")
    assert owner.startswith(":1.")
    assert good("echo-s", "-s") == "-s\n" and good("echo-i", "-1") == "-1\n"
    session = stack.run(["env", "DBUS_SESSION_BUS_ADDRESS=" + stack.address, "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent",
                         oxt.program("xec"), "--session", "echo-s", "x"])
    assert session.returncode == 0 and session.stdout == "x\n", session.stderr
    assert "Usage: xec" in good("--help")


@oxt.case
def json_output():
    """--json prints the same as JSON."""
    assert json.loads(good("--json", "two-results")) == [True, "two words"]
    assert json.loads(good("--json", "nothing")) == []
    assert json.loads(good("--json", "get", "number")) == 6
    assert json.loads(good("--json", "give", "text")) == ['a\nb"ü']
    assert json.loads(good("--json", "give", "dict")) == [{"name": "foo", "länge": "x"}]
    assert json.loads(good("--json", "give", "bytes"))[0][:2] == [97, 34]
    assert json.loads(good("--json", "echo-d", "0.1")) == [0.1]
    assert json.loads(good("--json", "echo-aas", "[['a'],[]]")) == [[["a"], []]]
    assert json.loads(good("--json", "getall"))["com.citrix.xenclient.xenmgr"]["language"] == "en-us"
    assert json.loads(good("--json", "--list-interfaces"))[0] == "com.citrix.xenclient.first"
    shown = json.loads(good("--json"))
    assert shown[1]["properties"][0] == {"name": "language", "type": "s", "access": "readwrite"}
    assert any(m["name"] == "many_args" and m["arguments"][1]["type"] == "i" for m in shown[1]["methods"])


def vm(*words):
    return good(*words, program="xec-vm")


TABLE = (" ID  | Name               | UUID                                 | State     \n"
         "-----+--------------------+--------------------------------------+--------\n"
         "   1 | twin               | %s | running   \n"
         "   2 | Network            | %s | running   \n"
         "     | work               | %s | stopped   \n"
         "     | twin               | 00000000-0000-0000-0000-000000000004 | stopped   \n" % (U3, U2, U1))


@oxt.case
def vm_table():
    """Without a choice xec-vm prints the table, running VMs first."""
    assert vm() == TABLE, vm()
    assert vm("-q") == TABLE and vm("get", "name") == TABLE
    assert [v["domid"] for v in json.loads(vm("--json"))] == [1, 2, None, None]


@oxt.case
def vm_choice():
    """By name, uuid, domid and object; equal names are told."""
    assert vm("-n", "work", "get", "uuid") == U1 + "\n"
    assert vm("--name", "work", "-g", "flask-label") == "label of work\n"
    assert vm("-u", U2, "get", "name") == vm("-d", "2", "get", "name") == vm("--domid", "2", "-g", "name") == "Network\n"
    assert vm("-u", U2, "-n", "work", "get", "name") == "work\n"
    path = "/vm/" + U2.replace("-", "_")
    assert vm("-o", path, "get", "state") == "running\n"
    assert vm("-n", "Network", "add_pt_rule_bdf", "0000:00:1b.0") == vm("-n", "Network", "add-pt-rule-bdf", "0000:00:1b.0") == ""
    assert "/------- com.citrix.xenclient.xenmgr.vm" in vm("-n", "work")
    status, out, err = xec("-n", "twin", "get", "uuid", program="xec-vm")
    assert status == 0 and out == U3 + "\n" and "2 VMs are named 'twin'" in err
    for choice in (["-n", "nobody"], ["-u", "00000000-0000-0000-0000-00000000000f"], ["-d", "77"], ["-d", "x"]):
        assert "vm '%s' not found" % choice[1] in bad(*choice, "get", "name", program="xec-vm")
    assert "cannot" in bad("-t", "5", "-n", "work", program="xec-vm") or "Argo" in bad("-t", "5", "-n", "work", program="xec-vm")


@oxt.case
def vm_devices():
    """Disks and nics, and words behind the method that look like choices."""
    path = "/vm/" + U1.replace("-", "_")
    assert vm("-n", "work", "--list-disks") == "%s/disk/0\n%s/disk/1\n" % (path, path)
    assert vm("-n", "work", "--list-nics") == "%s/nic/0\n%s/nic/1\n" % (path, path)
    assert vm("-n", "work", "-k", "0", "get", "phys-type") == "vhd\n"
    assert vm("-n", "work", "--disk", "0", "set", "phys-type", "phy") == ""
    assert vm("-n", "work", "-k", "0", "get", "phys-type") == "phy\n"
    assert vm("-n", "work", "set", "name", "-n") == "" and vm("-n", "-n", "get", "name") == "-n\n"
    assert vm("-n", "-n", "set", "name", "work") == ""


@oxt.case
def completion():
    """What may follow is asked of the service, and no word that is completed is ever called."""
    def words(program, *typed):
        return good("--complete", *typed, program=program).splitlines()
    assert {"list-vms", "get", "getall", "--object"} <= set(words("xec"))
    assert "language" in words("xec", "get") and "language" in words("xec", "-g") and "number" in words("xec", "set")
    assert "com.citrix.xenclient.first" in words("xec", "-i") and "com.citrix.xenclient.input" in words("xec", "-s")
    assert words("xec", "-i", "com.citrix.xenclient.first")[-1] == "same"
    assert "flask-label" in words("xec", "-o", "/vm/" + U1.replace("-", "_"), "get")
    assert set(words("xec-vm", "-n")) == {"work", "Network", "twin"} and U2 in words("xec-vm", "-u")
    assert words("xec-vm", "-d") == ["2", "1"]
    assert "add-pt-rule-bdf" in words("xec-vm", "-n", "work") and "flask-label" in words("xec-vm", "-n", "work", "get")
    before = good("-i", "com.citrix.xenclient.xenmgr", "--signature", "", "calls")
    for typed in (["nothing"], ["many-args", "a"], ["-i", "com.citrix.xenclient.xenmgr", "nothing"], ["set", "number", "1"]):
        words("xec", *typed)
    words("xec-vm", "-n", "work", "start")
    assert good("-i", "com.citrix.xenclient.xenmgr", "--signature", "", "calls") == before
    assert good("get", "number") != "1\n"


@oxt.case
def vm_without_any():
    """No VM at all is an empty table, a VM that goes meanwhile is left out."""
    assert good("-i", "com.citrix.xenclient.xenmgr", "--signature", "", "clear-vms") == ""
    assert vm() == "".join(TABLE.splitlines(True)[:2])
    assert vm("--json") == "[]\n"


try:
    oxt.main()
finally:
    stack.stop()
