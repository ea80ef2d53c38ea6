# SPDX-License-Identifier: MIT
"""Runs the device contract on a platform class of yours, on either interpreter: docs/porting.md.

    micropython tests/portable/contract.py MODULE CLASS

MODULE is looked for in the current folder.  CLASS is made with a device's root, an empty folder with a configuration.
Slots and network have contracts of their own (contract_slots, contract_network): they want a boot loader and servers.
"""

import os
import sys

HERE = __file__[: __file__.rfind("/")] if "/" in __file__ else "."
sys.path[:0] = [".", HERE, HERE + "/../.."]

import contract_device  # noqa: E402
from scratch import folder  # noqa: E402


def new_root():
    root = folder("contract")
    if not root.startswith("/"):
        root = os.getcwd() + "/" + root
    for name, data in (("trueboot.json", b"{}"), ("ca.der", b"ca"), ("root.json", b"{}")):
        with open(root + "/" + name, "wb") as file:
            file.write(data)
    return root


def main(module, name):
    make = getattr(__import__(module), name)
    broken = 0
    for check in contract_device.CHECKS:
        root = new_root()
        try:
            check(lambda root=root: make(root))
            print("holds   " + check.__name__)
        except Exception as error:
            broken += 1
            print("BROKEN  %s: %s %s" % (check.__name__, type(error).__name__, error))
    print("%d of %d checks hold" % (len(contract_device.CHECKS) - broken, len(contract_device.CHECKS)))
    return 1 if broken else 0


if len(sys.argv) != 3:
    print("usage: contract.py MODULE CLASS")
    sys.exit(2)
sys.exit(main(sys.argv[1], sys.argv[2]))
