# SPDX-License-Identifier: MIT
"""The trampoline of a MicroPython device: chooses the slot to run, counts trial boots, falls back by itself.

It lives outside the slots and rarely changes.  Layout of a device's root:

    boot.py  main.py  bootrecord.py        this file, the guard, and a copy of platform_adapters/bootrecord.py
    trueboot.json  ca.der  root.json       configuration and trust
    wifi.json  wifi.py                     networks, on a board; and what joins them
    state/                                 boot record, journal, keys
    slots/a/  slots/b/                     app images, each with its main.py
    lib/                                   what the images do not bring: an agent, if `mip` put it there

A board runs boot.py and then main.py at every start, in one namespace.  This
file only says how; main.py does it.  A board also runs this file, and not
main.py, whenever a tool (mpremote, Thonny) resets it to look at its files: that
must neither count as a boot of a trial nor take time.  On the unix port the same
two steps are, with the root as current folder (a reset is exit code 3: run it again):

    micropython -X heapsize=256k -c "execfile('boot.py'); execfile('main.py')"
"""

import sys


def boot(root):
    """Put the slot to run first on the module path, and keep the host's libraries off it."""
    import bootrecord

    slot, _ = bootrecord.start(root + "/state")
    sys.path[:] = [root + "/slots/" + slot, "", ".frozen", root + "/lib"]
    del sys.modules["bootrecord"]  # the heap is the app's now
