# SPDX-License-Identifier: MIT
"""The store of every platform with a file system: one file a record.

Rules it keeps: a save is all or nothing (`files.replace`); 0600 where the
system has modes; a name never leaves the folder.  On MicroPython's unix port
files get the umask of whoever started it.
"""

from agent.errors import DeviceError, MisuseError
from platform_adapters import files

RECORD_BYTES = 256 * 1024
NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-"


class FileStore:
    def __init__(self, folder):
        self.folder = folder

    def load(self, name):
        try:
            data = files.read(self._path(name), RECORD_BYTES)
        except OSError as error:
            raise _failed("read", self._path(name), error)
        if data is not None and len(data) > RECORD_BYTES:
            raise DeviceError("store", "%s is too big to be a record" % self._path(name))
        return data

    def save(self, name, data):
        if len(data) > RECORD_BYTES:
            raise MisuseError("record_size", "%s: %d bytes" % (name, len(data)))
        path = self._path(name)
        try:
            files.make_folder(self.folder)
            files.replace(path, data)
        except OSError as error:
            raise _failed("write", path, error)

    def drop(self, name):
        path = self._path(name)
        try:
            files.remove(path)
            if files.size(self.folder) is not None:
                files.sync_folder(self.folder)
        except OSError as error:
            raise _failed("remove", path, error)

    def _path(self, name):
        if not 1 <= len(name) <= 32 or name in (".", "..") or any(c not in NAME_CHARACTERS for c in name):
            raise MisuseError("store_name", repr(name))
        return self.folder + "/" + name


def _failed(verb, path, error):
    return DeviceError("store", "cannot %s %s: %s" % (verb, path, error))
