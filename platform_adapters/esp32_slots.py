# SPDX-License-Identifier: MIT
"""Firmware slots in the two OTA partitions of an ESP32: the `slots` port over `esp32.Partition`.

Slot "a" is the partition ota_0, "b" is ota_1; images are of kind firmware, and
their bytes are what `esptool` would flash.  What a release is, and how much of
it is there, stands in the store: records `firmware.a` and `firmware.b`.

Rules it keeps
  * The boot loader's word is the only one on what boots: its `otadata` is read
    each time, never remembered.  One boot is a trial; a reset ends it.
  * Progress is saved after the bytes are in flash, and lowered before a sector
    is erased that holds bytes which count.  So it never counts a torn write.
  * A sector is erased right before its first byte is written: no call erases
    more than what it writes.
  * An activation is taken back by erasing its entry, which is safe at any byte;
    choosing the running slot again would erase the entry that it runs by.
  * `confirm` marks what is on trial and runs, and nothing else: the call below
    marks whatever is chosen, be it an image that never ran.

It leaves to others what is signed, and whether an image is the signed one.
Source: ESP-IDF's "App Rollback"; MicroPython's `esp32.Partition`.
"""

import json

from agent.errors import DeviceError, MisuseError, RefusedError
from platform_adapters import esp32_flash as flash
from platform_adapters import esp32_otadata as otadata

FAILURE_CHARACTERS = 64

_VALIDATE_FAILED = -5379  # ESP_ERR_OTA_VALIDATE_FAILED
_NO_ROLLBACK = "firmware.unsafe"


class Esp32Slots:
    kind = "firmware"

    def __init__(self, partition, store):
        """`partition` is the class `esp32.Partition`; DeviceError("slot_layout") where there are no two slots."""
        self._type = partition
        self._store = store
        self._records = {}
        self._filling = None
        self._given_up = False
        try:
            self._parts, self._otadata = flash.layout(partition)
            address = partition(partition.RUNNING).info()[2]
        except OSError as error:
            raise _failed(error)
        self._running = None
        for name in otadata.SLOTS:
            if self._parts[name].info()[2] == address:
                self._running = name
        if self._running is None:
            raise DeviceError("slot_layout", "what runs is in neither ota_0 nor ota_1")

    def running(self):
        return self._running

    def spare(self):
        return "b" if self._running == "a" else "a"

    def state(self):
        """Unconfirmed while the boot loader would fall back.  A failure beside `confirmed` on the running slot's own
        account says that it was given up and runs again, since the other image does not boot."""
        own = self._own()
        on_trial = self._given_up or own in (otadata.PENDING, otadata.NEW)
        if own in (otadata.INVALID, otadata.ABORTED):
            return {"confirmed": not on_trial, "failure": "the other image does not boot"}
        failure = self._record(self._running if on_trial else self.spare()).get("failure", "")
        return {"confirmed": not on_trial, "failure": failure}

    def capacity(self):
        return self._parts[self.spare()].info()[3]

    def release(self, slot):
        return self._record(slot).get("note")

    def begin(self, release):
        self._must_be_confirmed()
        self._must_roll_back()
        length = release.get("length")
        if not isinstance(length, int) or length <= 0:
            raise MisuseError("slot_note", "a firmware's length must be known")
        if max(length, release.get("size") or 0) > self.capacity():
            raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (length, self.capacity()))
        self._filling = None
        try:
            self._hold_on()
            self._take_back()
        except OSError as error:
            raise _failed(error)
        self._save(self.spare(), {"note": release, "filled": 0})

    def filled(self):
        return self._record(self.spare()).get("filled", 0)

    def write(self, offset, data):
        done = False
        try:
            filling = self._filling = self._filling or self._resume(offset)
            if offset != filling.at:
                raise MisuseError("slot_offset", "%d, where %d is next" % (offset, filling.at))
            if offset + len(data) > self._length():
                raise RefusedError("image_length", "more than the signed %d bytes" % self._length())
            filling.append(data)
            done = True
        except OSError as error:
            raise _failed(error)
        finally:
            if not done:
                self._filling = None  # what was not synced is given up

    def sync(self):
        filling = self._filling
        if filling is None:
            return
        try:
            filling.flush()
        except OSError as error:
            self._filling = None
            raise _failed(error)
        if filling.done != self.filled():
            self._keep(filling.done)

    def read(self, slot, offset, size):
        size = min(size, self._end(slot) - offset)
        if size <= 0:
            return b""
        end = offset + size
        filling = self._filling if slot == self.spare() else None
        stored = end if filling is None else max(offset, min(end, filling.done))
        data = bytearray(stored - offset)
        try:
            if data:
                self._parts[slot].readblocks(offset // flash.SECTOR, data, offset % flash.SECTOR)
        except OSError as error:
            raise _failed(error)
        if stored < end:
            data += filling.in_ram(stored, end)
        return bytes(data)

    def activate(self):
        self._must_be_confirmed()
        self._must_roll_back()
        spare, record = self.spare(), self._record(self.spare())
        if not record or record["filled"] != self._length() or (self._filling and self._filling.at != record["filled"]):
            raise MisuseError("slot_incomplete", "slot %s holds %d bytes" % (spare, self.filled()))
        if record.get("failure"):
            self._save(spare, {"note": record["note"], "filled": record["filled"]})
        try:
            if otadata.chosen(self._entries()) == (spare, otadata.NEW):
                return
            self._choose(spare)
            state = otadata.chosen(self._entries())
            if state != (spare, otadata.NEW):
                self._take_back()
                raise DeviceError("no_rollback", "this firmware was built without app rollback")
        except OSError as error:
            raise _failed(error)

    def confirm(self):
        own = self._own()
        if self._given_up:
            raise MisuseError("rolled_back", "slot %s has been given up" % self._running)
        if own not in (otadata.PENDING, otadata.NEW):
            return
        if otadata.chosen(self._entries())[0] != self._running:
            raise MisuseError("rolled_back", "slot %s is not the one that boots next" % self._running)
        if own == otadata.NEW:
            self._store.save(_NO_ROLLBACK, b"the boot loader left an image NEW")
        try:
            self._type.mark_app_valid_cancel_rollback()
        except OSError as error:
            raise _failed(error)
        if self._own() != otadata.VALID:
            raise DeviceError("slot", "the boot loader's mark did not hold")
        record = self._record(self._running)
        if record.get("failure"):
            self._save(self._running, {"note": record["note"], "filled": record["filled"]})

    def rollback(self):
        """On trial: the boot loader gives an unconfirmed image up at the next reset, by itself."""
        own = self._own()
        if own == otadata.PENDING:
            self._given_up = True
        elif own == otadata.NEW:  # this boot loader never will, so what it runs by is taken away
            self._store.save(_NO_ROLLBACK, b"the boot loader left an image NEW")
            self._given_up = True
            found = self._entries()
            copy = otadata.active(found)
            if otadata.slot(found[copy]) == self._running:
                self._erase_entry(copy)

    def fail(self, reason):
        """For the guard around the app: note why this trial ends.  Not on trial: no effect."""
        record = self._record(self._running)
        if self._own() in (otadata.PENDING, otadata.NEW) and record:
            self._save(self._running, dict(record, failure=reason[:FAILURE_CHARACTERS]))

    # what the store holds

    def _record(self, slot):
        """{"note", "filled", "failure"?}, or {} without a whole one."""
        if slot not in otadata.SLOTS:
            raise MisuseError("slot_name", repr(slot))
        if slot not in self._records:
            data = self._store.load("firmware." + slot)
            try:
                record = json.loads(data) if data else {}
                whole = isinstance(record["note"]["length"], int) and isinstance(record["filled"], int)
            except (ValueError, KeyError, TypeError):
                whole = False
            self._records[slot] = record if whole else {}
        return self._records[slot]

    def _save(self, slot, record):
        self._records.pop(slot, None)
        self._store.save("firmware." + slot, json.dumps(record).encode())

    def _keep(self, filled):
        self._save(self.spare(), dict(self._record(self.spare()), filled=filled))

    def _length(self):
        return self.release(self.spare())["length"]

    def _end(self, slot):
        """Bytes of the image that `slot` gives."""
        if slot == self.spare():
            return self._filling.at if self._filling else self.filled()
        record = self._record(slot)
        if record and record["filled"] == record["note"]["length"]:
            return record["filled"]
        try:
            return flash.image_length(self._parts[slot])
        except OSError as error:
            raise _failed(error)

    # the boot loader's memory

    def _entries(self):
        return otadata.entries(self._otadata)

    def _own(self):
        try:
            return otadata.state(self._entries(), self._running)
        except OSError as error:
            raise _failed(error)

    def _must_be_confirmed(self):
        if not self.state()["confirmed"]:
            raise MisuseError("on_trial", "the running image is not confirmed")

    def _must_roll_back(self):
        if self._store.load(_NO_ROLLBACK):
            raise DeviceError("no_rollback", "the boot loader was built without app rollback")

    def _choose(self, slot):
        try:
            self._parts[slot].set_boot()
        except OSError as error:
            if error.args[0] == _VALIDATE_FAILED:
                raise RefusedError("image_rejected", "the boot loader's check refuses the image")
            raise

    def _hold_on(self):
        """The running image has an entry to fall back to, also when the boot loader runs it for want of another."""
        found = self._entries()
        if not any(otadata.selectable(entry) and otadata.slot(entry) == self._running for entry in found):
            self._choose(self._running)
            self._type.mark_app_valid_cancel_rollback()

    def _take_back(self):
        found = self._entries()
        copy = otadata.active(found)
        if copy is not None and otadata.slot(found[copy]) != self._running:
            self._erase_entry(copy)

    def _erase_entry(self, copy):
        try:
            otadata.erase(self._otadata, copy)
        except OSError as error:
            raise _failed(error)

    def _resume(self, offset):
        """Writing goes on at `offset`, of a release that was begun in this boot or an earlier one."""
        self._must_be_confirmed()
        record = self._record(self.spare())
        if not record:
            raise MisuseError("slot_not_begun", "begin comes before write")
        if offset != record["filled"]:
            raise MisuseError("slot_offset", "%d, where %d is next" % (offset, record["filled"]))
        if otadata.chosen(self._entries())[0] == self.spare():
            raise MisuseError("slot_activated", "slot %s boots next" % self.spare())
        filling = flash.Filling(self._parts[self.spare()], offset, flash.chip(self._parts[self._running]))
        if filling.done < offset:
            self._keep(filling.done)
        return filling


def _failed(error):
    return DeviceError("slot", "flash: %s" % error)
