# SPDX-License-Identifier: MIT
"""What MicroPython's unix port lacks of `machine`: its end, with a code that says what for, and who it is."""

import binascii
import os
import sys

simulated = os.getenv("SIMULATED_MACHINE") or ""


def reset():
    sys.exit(3)


def bootloader():
    sys.exit(4)


def unique_id():
    return binascii.unhexlify(os.getenv("SIMULATED_ID") or "")
