# SPDX-License-Identifier: MIT
"""A file on the device, or on a stick that may be pulled: UnreachableError, since it may come back."""

import os

from agent.errors import RefusedError, UnreachableError

_KIND, _PLAIN = 0xF000, 0x8000  # of a file's mode (POSIX, S_IFMT and S_IFREG; MicroPython has the same)


class File:
    """A file, read like the answer to a request."""

    def __init__(self, path, offset, length):
        """`length`: what the file must have, None for any."""
        self.status = 206 if offset else 200
        try:
            if os.stat(path)[0] & _KIND != _PLAIN:
                raise RefusedError("no_bundle", "%s is no plain file" % path)  # a pipe would block for ever
            self._file = open(path, "rb")
            self.length = self._file.seek(0, 2)
            self._file.seek(offset)
        except OSError as error:
            raise _gone(path, error)
        self._path = path
        if length not in (None, self.length):
            self._file.close()
            raise RefusedError("bundle_length", "%s has %d bytes now, not %d" % (path, self.length, length))

    def read(self, size):
        try:
            return self._file.read(size)
        except OSError as error:
            raise _gone(self._path, error)

    def close(self):
        self._file.close()


def _gone(path, error):
    return UnreachableError("bundle_gone", "cannot read %s: %s" % (path, error))
