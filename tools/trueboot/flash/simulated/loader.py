# SPDX-License-Identifier: MIT
"""The ROM loader of a simulated ESP32: the protocol is `esp32-mock-bootloader`'s, the wire and the flash are ours.

Ours is what that package leaves out: bytes take the time that the port's baud rate says; the flash is a file, of the size
that the chip tells, and a write erases first; every board has its own MAC.  Leaving the loader is by the first byte that is
none of its protocol's, for a pty has no RTS to reset it by.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import termios
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYNC = b"\xc0\x00\x08\x24\x00"  # how esptool's first packet begins
END = b"\xc0"
SECTOR_BYTES = 4096
BITS_PER_BYTE = 10  # a start bit and a stop bit
LEAST_SLEEP_S = 0.001
_BAUDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class Flash:
    """As `FlashImage` of the package, over a file."""

    def __init__(self, path: Path, size: int, erased: Callable[[int, int], None] = lambda offset, end: None):
        """`erased(offset, end)`: told of every erase."""
        self._erased = erased
        if not path.exists():
            path.write_bytes(b"\xff" * size)
        with path.open("r+b") as file:
            self.data = mmap.mmap(file.fileno(), size)
        self._at = 0
        self._unpack: Any = None

    def begin_defl(self, payload: bytes) -> None:
        self._begin(payload)
        self._unpack = zlib.decompressobj()

    def begin_plain(self, payload: bytes) -> None:
        self._begin(payload)

    def _begin(self, payload: bytes) -> None:
        size, _, _, offset = struct.unpack_from("<IIII", payload, 0)
        self._at = offset
        self.erase_region(offset, -(-size // SECTOR_BYTES) * SECTOR_BYTES)

    def write_defl_block(self, payload: bytes) -> None:
        if self._unpack is not None:
            (size,) = struct.unpack_from("<I", payload, 0)
            self._put(self._unpack.decompress(payload[16 : 16 + size]))

    def write_plain_block(self, payload: bytes) -> None:
        (size,) = struct.unpack_from("<I", payload, 0)
        self._put(payload[16 : 16 + size])

    def _put(self, data: bytes) -> None:
        data = data[: max(0, len(self.data) - self._at)]
        self.data[self._at : self._at + len(data)] = data
        self._at += len(data)

    def end_defl(self) -> None:
        self._unpack = None

    def erase_all(self) -> None:
        self.erase_region(0, len(self.data))

    def erase_region(self, offset: int, size: int) -> None:
        end = min(offset + size, len(self.data))
        if offset < end:
            self._erased(offset, end)
            self.data[offset:end] = b"\xff" * (end - offset)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def md5_stub_response(self, payload: bytes, *, stub: bool = False) -> bytes:
        from esp32_mock_bootloader.server import FlashImage

        return FlashImage.md5_stub_response(self, payload, stub=stub)  # type: ignore[arg-type]


class Wire:
    """The connection that the package's server talks over.  Whole frames only; it reads the rest again at each piece."""

    def __init__(self, master: int, slave: int, first: bytes, stop: threading.Event):
        self._master, self._slave, self._stop = master, slave, stop
        self._timeout_s = 0.05
        self._free_at = 0.0
        self._rest = first
        self.left = b""  # what was typed once the loader was left
        self.received = 0

    def set_timeout(self, timeout: float) -> None:
        self._timeout_s = timeout

    def recv(self, size: int) -> bytes:
        if not self._rest.count(END):
            ready, _, _ = select.select([self._master], [], [], self._timeout_s)
            if not ready:
                raise TimeoutError
            self._read()
        while self._rest.count(END) % 2:  # in the middle of a frame
            ready, _, _ = select.select([self._master], [], [], 1)
            if not ready:
                self._rest = b""
                raise TimeoutError
            self._read()
        data, self._rest = self._rest, b""
        before, end, after = data.rpartition(END)
        if after or not end:
            self.left = after if end else data
            self._stop.set()
        if not before + end:
            raise TimeoutError
        return before + end

    def _read(self) -> None:
        data = os.read(self._master, 4096)
        self.received += len(data)
        self._take_time(len(data))
        self._rest += data

    def sendall(self, data: bytes) -> None:
        self._take_time(len(data))
        while data:
            if not select.select([], [self._master], [], 1)[1]:
                return  # nobody reads
            data = data[os.write(self._master, data) :]

    def _take_time(self, size: int) -> None:
        """Bytes cost what they cost on a wire at the rate that the port is set to."""
        baud = _BAUDS.get(termios.tcgetattr(self._slave)[5], 115200)
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size * BITS_PER_BYTE / baud
        if self._free_at - now > LEAST_SLEEP_S:
            time.sleep(self._free_at - now)

    def close(self) -> None:
        pass  # the port outlives a session

    def ignore_eof_for_disconnect(self) -> bool:
        return False

    def abort_empty_session(self) -> bool:
        return False


def be(chip: str, mac: bytes, flash_bytes: int) -> None:
    """What the package tells of every chip alike, this process's own."""
    from esp32_mock_bootloader import protocol, registers

    registers.mac_bytes_for_chip = lambda _: tuple(mac)  # type: ignore[assignment, return-value]
    registers.rom_profile.cache_clear()
    protocol.MOCK_FLASH_ID = (flash_bytes.bit_length() - 1) << 16 | 0x4020


def serve(master: int, slave: int, chip: str, flash: Flash, first: bytes, pulled: int = 0) -> bytes:
    """Play the loader until it is left; returns what was typed then.  `pulled`: after so many bytes the cable is."""
    from esp32_mock_bootloader.server import handle_client

    stop = threading.Event()
    wire = Wire(master, slave, first, stop)
    if pulled:
        wire = _Pulled(master, slave, first, stop, pulled)
    while not stop.is_set():
        # Without this flag it forgets its stub three seconds after the first of several files.
        handle_client(wire, stop, chip, flash=flash, exit_on_disconnect=True)  # type: ignore[arg-type]
    return wire.left


class _Pulled(Wire):
    def __init__(self, master: int, slave: int, first: bytes, stop: threading.Event, limit: int):
        super().__init__(master, slave, first, stop)
        self._limit = limit

    def _read(self) -> None:
        super()._read()
        if self.received > self._limit:
            os._exit(0)
