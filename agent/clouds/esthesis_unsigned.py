# SPDX-License-Identifier: MIT
"""The policy that lets unsigned packages in, by a script: what its configuration must be.  CPython on Linux alone.

The script decides what runs, so it must be as hard to change as the agent: root's, or of the agent's own user, in
such a folder, and writable by nobody else.
"""

import os
import stat

from agent.errors import MisuseError

POLICY = "unsigned-by-script"


def check(config):
    """MisuseError("config").  Called when the agent starts, and again before each run."""
    path = config["esthesis_script"]
    if path[:1] != "/":
        raise _unusable("names the script that installs packages, by an absolute path")
    try:
        found, folder = os.lstat(path), os.stat(os.path.dirname(path))
    except OSError as error:
        raise _unusable("%s: %s" % (path, error.strerror)) from None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        raise _unusable("%s is no plain file that can be run" % path)
    mine = [0, os.geteuid()]
    if os.path.isdir(config["state"]):
        mine.append(os.stat(config["state"]).st_uid)  # the agent's user, when root looks at a configuration
    if found.st_uid not in mine or folder.st_uid not in mine:
        raise _unusable("%s, or its folder, is neither root's nor the agent's" % path)
    if found.st_mode & 0o022 or (folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX):
        raise _unusable("others can write %s, or its folder" % path)


def _unusable(what):
    return MisuseError("config", "key esthesis_script: " + what)
