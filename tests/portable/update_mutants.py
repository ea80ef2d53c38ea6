# SPDX-License-Identifier: MIT
"""Planted defects of what an update rests on: the journal's copies, the floor, the order of report and confirm.

For the sweep to catch, as those of mutants.py.  They wrap `update.step` and the
ports rather than single functions of the machine, so that they outlive changes of it.
"""

import struct

from agent import journal, states, update
from platform_adapters import memory


def _no_crc():
    """A copy counts for its head."""

    def whole(data):
        return struct.unpack(journal._HEAD, data[: journal._HEAD_BYTES])[1] if data and data[:3] == b"TBJ" else 0

    journal._whole = whole


def _compared_by_wrap():
    whole = journal._whole
    journal._whole = lambda data: (whole(data) - 1) % 8 + 1 if whole(data) else 0


def _both_copies_at_once():
    """One write for both copies, as with two copies in one sector of flash."""
    save = memory.Store.save

    def together(self, name, data):
        if name not in journal.COPIES:
            return save(self, name, data)
        records = self._life.device.records

        def write(size):
            for copy in journal.COPIES:
                records[copy] = bytes(data[:size])

        return self._life.effect("store.save both", lambda: write(len(data)), lambda: write(len(data) // 2))

    memory.Store.save = together


def _unknown_keys_dropped():
    save = journal.save
    known = ("identity", "update", "outbox", "seq", "boot", "clock", "last", "considered", "format")

    def tidy(store, record):
        save(store, {name: record[name] for name in record if name in known})

    journal.save = tidy


def _unknown_keys_of_the_update_dropped():
    step = update.step

    def tidy(state, event):
        known = states.initial("", "")
        new, commands = step({name: state[name] for name in state if name in known}, event)
        return new, commands

    update.step = tidy


def _floor_in_ram():
    step = update.step

    def forgetful(state, event):
        new, commands = step(state, event)
        kept = [(c[0], dict(c[1], floor=state["floor"]), c[2]) if c[0] == "save" else c for c in commands]
        return new, kept

    update.step = forgetful


def _report_before_confirm():
    step = update.step

    def hasty(state, event):
        new, commands = step(state, event)
        if (state["phase"], new["phase"]) == (update.STAGED, update.TRIAL):
            report = states.report(state["release"], "updated", 100, "")
            commands = [("save", c[1], report) if c[0] == "save" else c for c in commands]
        return new, commands

    update.step = hasty


def _act_before_save():
    step = update.step

    def hasty(state, event):
        new, commands = step(state, event)
        acts = [c for c in commands if c[0] in ("activate", "rollback")]
        return new, acts + [c for c in commands if c not in acts]

    update.step = hasty


def _outbox_in_ram():
    """Reports are added to a list that no save keeps."""
    save = journal.save
    journal.save = lambda store, record: save(store, dict(record, outbox=[]))


DEFECTS = {
    "no CRC on the journal": (_no_crc, "repository"),
    "sequence compared by wrap": (_compared_by_wrap, "repository"),
    "both copies at once": (_both_copies_at_once, "repository"),
    "unknown keys dropped": (_unknown_keys_dropped, "repository"),
    "unknown keys of the update dropped": (_unknown_keys_of_the_update_dropped, "repository"),
    "floor kept in RAM": (_floor_in_ram, "repository"),
    "report before confirm": (_report_before_confirm, "repository"),
    "act before save": (_act_before_save, "repository"),
    "outbox kept in RAM": (_outbox_in_ram, "repository"),
}
# Torn copies count, so that the whole one is written over; the second tear is the end of it.
SECOND_EVERY = {"no CRC on the journal": 1}
