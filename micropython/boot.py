# SPDX-License-Identifier: MIT
"""The trampoline of a MicroPython device: chooses the slot to run, counts trial boots, falls back by itself.

It lives outside the slots and rarely changes.  Layout of a device's root:

    boot.py  main.py  bootrecord.py        this file, the guard, and a copy of platform_adapters/bootrecord.py
    trueboot.json  ca.der  root.json       configuration and trust
    state/                                 boot record, journal, keys
    slots/a/  slots/b/                     app images, each with its main.py

On a board nothing needs to be done: its firmware runs boot.py and then
main.py at every start.  On the unix port the same two steps are, with the
root as current folder (a reset is exit code 3: run it again):

    micropython -X heapsize=256k -c "execfile('boot.py'); execfile('main.py')"
"""

import os
import sys


def boot(root):
    """Put the slot to run first on the module path, and keep the host's libraries off it."""
    import bootrecord

    slot, _ = bootrecord.start(root + "/state")
    own = [entry for entry in ("", ".frozen", "/lib") if entry in sys.path]
    if sys.platform == "linux":
        own = ["", ".frozen"]
    sys.path[:] = [root + "/slots/" + slot] + own


boot(os.getcwd().rstrip("/"))
del sys.modules["bootrecord"]  # the heap is the app's now
