# SPDX-License-Identifier: MIT
"""Planted defects in slots, boot record and files.  The cuts on littlefs must bring every one to light.

Left out is what littlefs itself makes harmless: a file is replaced whole at its
flush there, so that one copy of a record, or one without a checksum, survives.
"""

import littlefs_cuts as littlefs
from platform_adapters import bootrecord, dirslots, files, slotfiles


def plant(name):
    DEFECTS[name]()


def _sync_does_not_flush():
    files.sync = lambda file: None


def _begin_leaves_the_activation():
    begin, load = dirslots.DirSlots.begin, bootrecord.load

    def careless(self, release):
        bootrecord.load = lambda folder: dict(load(folder), trial=None)
        try:
            begin(self, release)
        finally:
            bootrecord.load = load

    dirslots.DirSlots.begin = careless


def _trial_boot_not_counted():
    def start(folder):
        return bootrecord.choose(bootrecord.load(folder))[:2]

    bootrecord.start = start


def _emptied_in_the_wrong_order():
    def empty(self, path):
        files.make_folder(path)
        for name in (".release", ".index", ".progress"):
            files.remove(path + "/" + name)
        files.empty(path)

    dirslots.DirSlots._empty = empty


def _replaced_by_removing_first():
    def replace(path, data):
        files.remove(path)
        with open(path, "wb") as file:
            file.write(data)

    files.replace = replace


def _confirmed_behind_the_journal():
    def trial(self, kind):
        self.save(phase="confirmed" if kind == littlefs.HEALTHY else "trial")
        if kind == littlefs.HEALTHY:
            self.slots.confirm()
            self.world.done(boots="b", attempts=0)
        return kind == littlefs.HEALTHY

    littlefs.Device.trial = trial


def _resumed_in_a_fresh_file():
    resume = dirslots.DirSlots._open
    dirslots.DirSlots._open = lambda self, path, name, position: resume(self, path, name, 0)


def _progress_ahead_of_the_data():
    write = dirslots.DirSlots.write

    def hasty(self, offset, data):
        write(self, offset, data)
        if self._walk.size is not None:
            with open(self._path("b") + "/.progress", "wb") as file:
                file.write(slotfiles.progress_entry(self._walk.offset))

    dirslots.DirSlots.write = hasty
    slotfiles.present = lambda path, durable: durable


def _rolled_back_in_ram():
    dirslots.DirSlots.rollback = lambda self: None


DEFECTS = {
    "sync does not flush": _sync_does_not_flush,
    "begin leaves the activation": _begin_leaves_the_activation,
    "trial boot not counted": _trial_boot_not_counted,
    "emptied in the wrong order": _emptied_in_the_wrong_order,
    "replaced by removing first": _replaced_by_removing_first,
    "confirmed behind the journal": _confirmed_behind_the_journal,
    "resumed in a fresh file": _resumed_in_a_fresh_file,
    "progress ahead of the data": _progress_ahead_of_the_data,
    "rolled back in RAM": _rolled_back_in_ram,
}
