# SPDX-License-Identifier: MIT
"""What waits to be sent: reports, which must arrive, and telemetry, which should.

Rules kept: both are bounded; telemetry gives way to newer telemetry and never
displaces a report; reports live in the journal (the caller stores `reports` in
the very save that changed the state they tell of) and leave only when the cloud
acknowledged them; telemetry lives in RAM and, over a planned reset, in a record
of the store.  Pure but for its own lists.
"""

MAX_REPORTS = 6
MAX_TELEMETRY = 32
MAX_TELEMETRY_CHARACTERS = 8192


def add_report(reports, report):
    """A new list with `report` at its end; when full, the oldest gives way: the newest tells what is true now."""
    return (list(reports) + [report])[-MAX_REPORTS:]


def drop_report(reports, seq):
    """A new list without the report that was acknowledged."""
    return [r for r in reports if r["seq"] != seq]


class Telemetry:
    """A bounded queue of texts; the oldest is dropped first, and counted."""

    def __init__(self):
        self._items = []
        self._size = 0
        self.dropped = 0

    def __len__(self):
        return len(self._items)

    def put(self, text):
        self._items.append(text)
        self._size += len(text)
        while len(self._items) > MAX_TELEMETRY or self._size > MAX_TELEMETRY_CHARACTERS:
            self.pop()
            self.dropped += 1

    def peek(self):
        """The oldest, or None."""
        return self._items[0] if self._items else None

    def pop(self):
        text = self._items.pop(0)
        self._size -= len(text)
        return text

    def items(self):
        return list(self._items)
