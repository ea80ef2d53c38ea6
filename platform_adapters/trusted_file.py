# SPDX-License-Identifier: MIT
"""The files that a device trusts from the beginning, read whole: configuration, CA, root.

Apart from `micropython_files`, because a board reads its CA with every
connection of a walk through the signed metadata, when its heap is fullest.
"""

from agent.errors import MisuseError
from platform_adapters import files

TRUST_BYTES = 64 * 1024


def read_trusted(path, what, limit=TRUST_BYTES):
    """MisuseError("config") unless the file is there and has at most `limit` bytes."""
    try:
        data = files.read(path, limit)
    except OSError as error:
        raise MisuseError("config", "cannot read %s, %s: %s" % (what, path, error))
    if data is None or len(data) > limit:
        raise MisuseError("config", "%s, %s, is %s" % (what, path, "missing" if data is None else "too big"))
    return data
