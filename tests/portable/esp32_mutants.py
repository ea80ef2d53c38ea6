# SPDX-License-Identifier: MIT
"""Planted defects of the ESP32's slots.  Contract and sweeps must catch every one, on both interpreters."""

import json

import contract_slots
import esp32_sweep
from agent.errors import AgentError
from platform_adapters import esp32_otadata as otadata
from platform_adapters.esp32_flash import SECTOR
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_power import Illegal


class ProgressFirst(Esp32Slots):
    def sync(self):
        if self._filling is not None:
            self._keep(self._filling.at)
        super().sync()


class TornTailKept(Esp32Slots):
    """What is behind the last sync is taken for erased."""

    def _resume(self, offset):
        filling = super()._resume(offset)
        filling.done = filling.at
        filling._erased = filling.at > filling._sector
        return filling


class SectorErasedWhileItCounts(Esp32Slots):
    def _resume(self, offset):
        keep, self._keep = self._keep, lambda filled: None
        try:
            return super()._resume(offset)
        finally:
            self._keep = keep


class TakenBackByChoosing(Esp32Slots):
    """The running slot is chosen again, which overwrites the entry that it runs by."""

    def _take_back(self):
        if otadata.chosen(self._entries())[0] != self._running:
            self._choose(self._running)
            self._type.mark_app_valid_cancel_rollback()


class ActivationForgottenByBegin(Esp32Slots):
    def _take_back(self):
        pass


class MarkUnseen(Esp32Slots):
    """`confirm` marks whatever is chosen."""

    def confirm(self):
        self._type.mark_app_valid_cancel_rollback()


class NoMark(Esp32Slots):
    def confirm(self):
        pass


class StateOfTheChosen(Esp32Slots):
    """The state of what boots next is taken for that of what runs."""

    def _own(self):
        return otadata.chosen(self._entries())[1]


class RollbackByChoosing(Esp32Slots):
    """The old image is chosen anew, and so put on trial itself."""

    def rollback(self):
        if self._own() == otadata.PENDING:
            self._given_up = True
            self._parts[self.spare()].set_boot()


class BeginOnTrial(Esp32Slots):
    def _must_be_confirmed(self):
        pass


class HalfAnImage(Esp32Slots):
    """What is there is activated, whole or not."""

    def activate(self):
        self._choose(self.spare())


class WholePartition(Esp32Slots):
    """The running image is read to the end of its partition."""

    def _end(self, slot):
        return super()._end(slot) if slot == self.spare() else self.capacity()


class NoteAlone(Esp32Slots):
    """`begin` keeps the progress of the release before."""

    def _save(self, slot, record):
        if record["filled"] == 0:
            record["filled"] = self._record(slot).get("filled", 0)
        super()._save(slot, record)


class NotErased(Esp32Slots):
    def _resume(self, offset):
        filling = super()._resume(offset)
        filling._erased = True
        return filling


class WholeSlotErased(Esp32Slots):
    """Also when a download goes on."""

    def _resume(self, offset):
        filling = super()._resume(offset)
        for sector in range(self.capacity() // SECTOR):
            self._parts[self.spare()].ioctl(6, sector)
        return filling


class RecordInTwoWrites(Esp32Slots):
    def _save(self, slot, record):
        if record["filled"] == 0:  # the note after the progress: a cut leaves the old note with it
            self._store.save("firmware." + slot, json.dumps(dict(record, filled=record["note"]["length"])).encode())
        super()._save(slot, record)


def _unchecked(partition):
    """Entries without a look at their CRC."""
    found = []
    data = bytearray(otadata.SIZE)
    for copy in (0, 1):
        partition.readblocks(copy, data)
        seq = int.from_bytes(data[:4], "little")
        found.append(None if seq == 0xFFFFFFFF else (seq, int.from_bytes(data[24:28], "little")))
    return found


def contract(check):
    def notices(make):
        try:
            check(esp32_sweep.World(make=make))
        except (AssertionError, AgentError, Illegal) as error:
            return repr(error)
        return ""

    return notices


def update(make):
    problems = esp32_sweep.sweep(["2.0.0"], esp32_sweep.GOOD, make, first_only=True)[2]
    return problems[0] if problems else ""


def update_without_crc(make):
    entries = otadata.entries
    otadata.entries = _unchecked
    try:
        return update(make)
    finally:
        otadata.entries = entries


# what is wrong: (the adapter that does it, what notices)
DEFECTS = {
    "progress saved before the bytes": (ProgressFirst, update),
    "a torn tail is written over": (TornTailKept, esp32_sweep.torn_tail),
    "a sector is erased while it counts": (SectorErasedWhileItCounts, esp32_sweep.torn_tail),
    "taken back by choosing the running slot": (TakenBackByChoosing, esp32_sweep.take_back),
    "begin leaves the slot activated": (
        ActivationForgottenByBegin,
        contract(contract_slots.check_only_what_is_synced_survives),
    ),
    "confirm marks what is chosen": (MarkUnseen, contract(contract_slots.check_confirm_is_for_what_runs)),
    "confirm marks nothing": (NoMark, contract(contract_slots.check_a_trial_that_is_confirmed_stays)),
    "the state of the chosen slot": (StateOfTheChosen, contract(contract_slots.check_activation_waits_for_the_reset)),
    "rollback puts the old image on trial": (RollbackByChoosing, contract(contract_slots.check_rollback)),
    "begin on trial": (BeginOnTrial, contract(contract_slots.check_rollback)),
    "half an image is activated": (HalfAnImage, contract(contract_slots.check_a_wrong_order_of_calls)),
    "the whole partition is the image": (WholePartition, update),
    "begin keeps the old progress": (NoteAlone, contract(contract_slots.check_begin_empties_the_spare_slot_alone)),
    "sectors are not erased": (NotErased, contract(contract_slots.check_on_trial_the_way_back_is_not_touched)),
    "the slot is erased when a download goes on": (
        WholeSlotErased,
        contract(contract_slots.check_only_what_is_synced_survives),
    ),
    "note and progress in two writes": (RecordInTwoWrites, update),
    "the CRC of entries is not checked": (Esp32Slots, update_without_crc),
}


def caught(name):
    """What was noticed; "" if nothing."""
    make, notices = DEFECTS[name]
    return notices(make)


def main(name):
    """Prints what a sweep prints."""
    found = caught(name)
    print(json.dumps({"count": int(bool(found)), "problems": [[[], found]] if found else []}))
