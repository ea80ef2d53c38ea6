# SPDX-License-Identifier: MIT
"""Which encoding of an image is sent: a patch when it is ready and smaller, else deflate when that is smaller.

Bodies are made once and kept as files below one folder, the least recently used leave when it is full.  Patches are
made by a process of its own (`repo.patches`), one after the other, with a bound on size, memory and time; nobody waits
for them.  For deflate, which takes a moment, a request waits that moment.  What cannot be made is not tried again
for a while, and never fails a request: there is the plain image.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.wire.encoded import DEFLATE, PATCH

from ..limits import Limits
from ..log import Log, tell_fault
from ..state import write_atomically
from .frames import BadFrames, Framed, Plain, State, deflated_from, pack
from .patches import NOT_SMALLER, patch_from

_AGAIN_S = 3600.0
_REMEMBERED = 1000  # failures


@dataclass(frozen=True)
class Image:
    sha256: str
    path: Path


class Encodings:
    """The bodies below `folder`.  `close` ends what is being made."""

    def __init__(self, folder: Path, limits: Limits, log: Log):
        self._folder = folder
        self._limits = limits
        self._log = log
        self._making: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, float] = {}
        self._held: weakref.WeakValueDictionary[str, Framed] = weakref.WeakValueDictionary()
        self._patching = asyncio.Semaphore(1)
        self._deflating = asyncio.Semaphore(1)
        folder.mkdir(mode=0o700, exist_ok=True)
        for leftover in folder.glob(".*.tmp"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)

    async def body(
        self, image: Image, base: Image | None, offset: int, accept: set[str]
    ) -> tuple[str, list[bytes]] | None:
        """(content type, frames) of the image from `offset` on; None: send it as it is."""
        if _size(image.path) > self._limits.encoded_image_bytes:
            return None
        if "patch" in accept and base and _size(base.path) <= self._limits.encoded_image_bytes:
            framed = await self._ready(_patch_name(base, image), lambda name: self._make_patch(name, base, image), 0)
            if framed is not None:
                return PATCH, await asyncio.to_thread(_patched, framed, image.path, offset)
        if "deflate" in accept:
            wait_s = self._limits.encoding_wait_s
            framed = await self._ready(f"{image.sha256}.deflate", lambda name: self._make_deflated(name, image), wait_s)
            if framed is not None:
                return DEFLATE, await asyncio.to_thread(deflated_from, framed, _reader(image.path), offset)
        return None

    async def close(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ready(self, name: str, make: Callable[[str], Awaitable[str]], wait_s: float) -> Framed | None:
        """A kept body; else it is being made from now on, and waited for `wait_s`."""
        framed = await asyncio.to_thread(self._load, name)
        if framed is None and self._may_make(name):
            if name not in self._making:
                self._making[name] = asyncio.create_task(self._make(name, make))
            if wait_s:
                await asyncio.wait([self._making[name]], timeout=wait_s)
                framed = await asyncio.to_thread(self._load, name)
        return framed

    def _may_make(self, name: str) -> bool:
        failed = self._failed.get(name)
        if failed is not None and time.monotonic() - failed < _AGAIN_S:
            return False
        return name in self._making or len(self._making) < self._limits.encodings_waiting

    async def _make(self, name: str, make: Callable[[str], Awaitable[str]]) -> None:
        started = time.monotonic()
        try:
            why = await make(name)
        except Exception as error:  # noqa: BLE001 - of a task that nobody asks; there is the plain image
            tell_fault(self._log, error)
            why = "the server failed"
        finally:
            del self._making[name]
        seconds = round(time.monotonic() - started, 3)
        if why:
            self._failed.pop(name, None)
            self._failed[name] = time.monotonic()
            while len(self._failed) > _REMEMBERED:
                del self._failed[next(iter(self._failed))]
            self._log("encoding.failed", name=name, reason=why, seconds=seconds)
            return
        await asyncio.to_thread(self._make_room)
        self._log("encoding.made", name=name, seconds=seconds)

    async def _make_deflated(self, name: str, image: Image) -> str:
        async with self._deflating:
            return await asyncio.to_thread(self._write_deflated, name, image)

    def _write_deflated(self, name: str, image: Image) -> str:
        data = image.path.read_bytes()
        framed = pack(Plain(data), State(0, 0))
        if framed.size >= len(data):
            return NOT_SMALLER
        write_atomically(self._folder / name, framed.to_bytes(), 0o600)
        return ""

    async def _make_patch(self, name: str, base: Image, image: Image) -> str:
        limits = self._limits
        async with self._patching:
            # -P: what lies in the working folder is none of ours.
            command = [sys.executable, "-P", "-m", "trueboot_server.repo.patches", str(base.path), str(image.path)]
            command += [
                str(self._folder / name),
                str(limits.patch_memory_bytes),
                str(int(limits.patch_s)),
                str(os.getpid()),
            ]
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(limits.patch_s):
                    said, _ = await process.communicate()
            except TimeoutError:
                return "it takes too long"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return "" if process.returncode == 0 else said.decode("utf-8", "replace")[:100] or f"exit {process.returncode}"

    def _load(self, name: str) -> Framed | None:
        framed = self._held.get(name)
        path = self._folder / name
        try:
            if framed is None:
                framed = Framed.from_bytes(path.read_bytes())
                self._held[name] = framed
            os.utime(path)
        except FileNotFoundError:
            return None
        except BadFrames:
            path.unlink(missing_ok=True)
            return None
        return framed

    def _make_room(self) -> None:
        """The least recently used go until the rest fits."""
        kept = []
        for path in self._folder.iterdir():
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            kept.append((found.st_mtime_ns, path.name, found.st_size))
        total = sum(size for _, _, size in kept)
        for _, name, size in sorted(kept):
            if total <= self._limits.encodings_bytes:
                break
            (self._folder / name).unlink(missing_ok=True)
            total -= size


def _patch_name(base: Image, image: Image) -> str:
    return f"{base.sha256}-{image.sha256}.patch"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # collected since it was looked for: what is not there is too large
        return sys.maxsize


def _patched(framed: Framed, path: Path, offset: int) -> list[bytes]:
    return patch_from(framed, _reader(path)(offset, offset + 1), offset)


def _reader(path: Path) -> Callable[[int, int], bytes]:
    def read(start: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    return read
