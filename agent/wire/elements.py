# SPDX-License-Identifier: MIT
"""Certificates one after another in one record, leaf first: where each of them ends."""

from agent.errors import DeviceError

SEQUENCE = 0x30


def split(data):
    """The DER of each certificate of a stored chain; a record of one certificate is a chain of one.

    DeviceError("certificate_lost") for what is not whole, or empty.
    """
    found = []
    at = 0
    while at < len(data) or not found:
        stop = _end(data, at)
        if not at < stop <= len(data):
            raise DeviceError("certificate_lost", "the stored certificate cannot be read")
        found.append(bytes(data[at:stop]))
        at = stop
    return found


def _end(data, at):
    """Where the element at `at` ends; -1 when it is not one of ours."""
    if at + 4 > len(data) or data[at] != SEQUENCE:
        return -1
    length = data[at + 1]
    if length < 128:
        return at + 2 + length
    width = length & 127
    if width not in (1, 2):
        return -1
    return at + 2 + width + int.from_bytes(data[at + 2 : at + 2 + width], "big")
