#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed is whole, and works from where it was installed."""
import glob
import os
import shutil
import subprocess

import oxt


class Installed(oxt.Stack):
    def __init__(self):
        super().__init__(bus=False)
        subprocess.run(["meson", "install", "-C", oxt.BUILD, "--no-rebuild", "--quiet", "--destdir", os.path.join(self.root, "dest")],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        units = glob.glob(os.path.join(self.root, "dest", "**", "lib", "systemd", "system"), recursive=True)
        self.prefix = os.path.dirname(os.path.dirname(os.path.dirname(units[0])))

    def path(self, *names):
        return os.path.join(self.prefix, *names)


@oxt.case
def files():
    """Programs, man pages, policy, rules, users, units and completion are there."""
    installed = Installed()
    try:
        for name in ("bin/oxt", "bin/dbd", "bin/rpc-proxy", "bin/xenmgr", "bin/xenvm", "bin/xec", "bin/db-ls", "libexec/oxt/oxt-helper",
                     "libexec/oxt/rpc-proxy-web",
                     "share/man/man1/oxt.1", "share/oxt/dbus-1/private-root.conf", "share/dbus-1/system.d/org.oxt.conf",
                     "share/oxt/rpc-proxy.rules", "lib/sysusers.d/oxt.conf", "share/oxt/sysusers.d/oxt.conf", "share/bash-completion/completions/oxt"):
            assert os.path.isfile(installed.path(name)), name
    finally:
        installed.stop()


@oxt.case
def stack():
    """A stack comes up from the installed programs and data alone."""
    installed = Installed()
    program = installed.path("bin", "oxt")
    try:
        r = installed.run([program, "up"])
        assert r.returncode == 0, r.stdout + r.stderr + installed.run([program, "logs"]).stdout
        owner = installed.run(["busctl", "--address=" + installed.address, "status", "com.citrix.xenclient.db"]).stdout
        assert "Exe=" + installed.path("bin", "dbd") in owner or "bin/dbd" in owner, owner
        assert oxt.SOURCE not in open(os.path.join(installed.runtime, "bus.conf")).read()
    finally:
        r = installed.run([program, "down"])
        installed.stop()
        assert r.returncode == 0, r.stdout + r.stderr


@oxt.case
def units():
    """systemd knows every line of the units."""
    if not shutil.which("systemd-analyze"):
        raise oxt.Skip("no systemd-analyze")
    installed = Installed()
    try:
        root = os.path.join(installed.root, "dest")
        host = next(d for d in ("/usr/lib/systemd/system", "/lib/systemd/system") if os.path.isdir(d))
        shutil.copytree(host, root + host, symlinks=True, dirs_exist_ok=True)
        # As on a Xen host.
        drop_in = os.path.join(root, "etc/systemd/system/oxt-helper.service.d")
        os.makedirs(drop_in)
        shutil.copy(installed.path("share", "oxt", "systemd", "oxt-helper-xen.conf"), drop_in + "/xen.conf")
        found = glob.glob(installed.path("lib", "systemd", "system", "oxt*"))
        assert len(found) >= 7, found
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", "--root=" + root, *found], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wrong = [line for line in r.stdout.splitlines() if "oxt" in line and "not found" not in line and "not executable" not in line]
        assert not wrong, r.stdout
    finally:
        installed.stop()


oxt.main()
