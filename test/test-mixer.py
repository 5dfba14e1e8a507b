#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mixers of /host on a sound card of the kernel's own (snd-dummy): a guest has it, whatever the host has. One boot."""
import base64

import oxt
import whole
from xenvm import Machine, Monitors

SCRIPT = """
until [ -e /dev/snd/controlC0 ]; do sleep 0.1; done
m() { echo "oxt: $ $*"; oxt-mixer-probe /dev/snd/controlC0 "$@" | sed 's/^/oxt: /'; }
m
m Master
m Master 50%
m Master
m 'CD Capture' on
m 'CD Capture'
m 'External I/O Box' None
m 'External I/O Box'
m Nothing
m Master loud
m Master 101%
m Master '70% on'
m Master ''
m 'External I/O Box' Loudspeaker
m Master
m 'External I/O Box'
echo 'oxt: $ another card'
oxt-mixer-probe /dev/snd/controlC7 | sed 's/^/oxt: /'
echo "oxt: end"
"""


@oxt.case
def mixer():
    """Controls are listed with direction, type and value; a set value is read back; what is wrong changes nothing"""
    stack = Monitors()
    folder = whole.image("guest-image-sound", ["oxt-mixer-probe"], "soundcore snd snd-timer snd-pcm snd-dummy")
    m = Machine(stack, memory="192", hvm="false", kernel=folder + "/vmlinux", initrd=folder + "/initrd", disk=[],
                cmdline="console=ttyS0 quiet oxt.run=" + base64.b64encode(SCRIPT.encode()).decode(), on_halt="destroy")
    try:
        m.monitor()
        m.cmd("start")
        oxt.wait_for(lambda: "oxt: end" in m.output(), 120, "the guest's last line")
        lines = [line[5:] for line in m.output().replace("\r", "").splitlines() if line.startswith("oxt: ")]
        print("# " + "\n# ".join(lines))
        said = {}
        for line in lines:
            if line.startswith("$"):
                said.setdefault(line[2:], []).append([])
                last = said[line[2:]][-1]
            elif said:
                last.append(line)
        controls = {line.split("|")[0]: line.split("|")[1:] for line in said[""][0]}
        assert controls["Master"] == ["playback", "volume", "33%"], controls
        assert controls["CD"][:2] == ["playback", "volume"] and controls["CD Capture"] == ["capture", "switch", "off"], controls
        assert controls["External I/O Box"] == ["playback", "choice", "CD Player"], controls
        assert said["Master"] == [["33%"], ["50%"], ["50%"]], "the last is behind three values that were refused"
        assert said["CD Capture"] == [["on"]]
        assert said["External I/O Box"] == [["None"], ["None"]]
        assert said["Nothing"] == [["failed: No such file or directory"]]
        for bad in ("Master loud", "Master 101%", "Master 70% on", "Master ", "External I/O Box Loudspeaker"):
            assert said[bad] == [["failed: Invalid argument"]], (bad, said[bad])
        assert said["another card"][0][0] == "failed: No such file or directory"
    finally:
        m.cmd("destroy")
        stack.stop()


if __name__ == "__main__":
    oxt.main()
