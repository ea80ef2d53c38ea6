# SPDX-License-Identifier: MIT
"""Fresh folders for portable tests, on both interpreters."""

import os
import sys

from platform_adapters import files


def folder(name):
    """An empty folder, absolute."""
    if sys.implementation.name == "micropython":
        path = os.getcwd() + "/files/" + name
    else:
        import atexit
        import shutil
        import tempfile

        base = tempfile.mkdtemp(prefix="trueboot-")
        atexit.register(shutil.rmtree, base, True)
        path = base + "/" + name
    files.make_folder(path)
    files.empty(path)
    return path
