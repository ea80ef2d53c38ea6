# SPDX-License-Identifier: MIT
"""Changes to a system as one: each is done or, when a later one fails, undone; what was there before is there again.

    plan = Plan(root)
    plan.write("/etc/x", "text", 0o644)      nothing is done yet
    plan.tree("/var/lib/x/slots", source)    a copy of a folder, where there is none
    plan.command(["systemctl", ...], undo)   ends with 0, or it has failed
    plan.carry_out()                         Stop, and nothing has changed

A file is written beside its place and renamed: nobody ever sees half of it.  A power cut may leave the first of the
changes; the verb may be given again.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from platform_adapters.linux_service import UNAVAILABLE, Stop

COMMAND_S = 60
SYSTEM_PATHS = ":/usr/local/sbin:/usr/sbin:/sbin"  # `su` leaves them out

Undo = Callable[[], Any]


class Plan:
    def __init__(self, root: str = ""):
        """`root`: the folder that stands for /, an image's for example; "" is the running system."""
        self.root = root
        self.told: list[str] = []  # one line for each change, in order
        self._acts: list[Callable[[], None]] = []
        self._undo: list[Undo] = []

    def place(self, path: str) -> str:
        return self.root + path

    def folder(self, path: str, mode: int, owner: Callable[[], tuple[int, int]] | None = None) -> None:
        """A folder with this mode and owner; what is there keeps what it has."""
        if not os.path.isdir(self.place(path)):
            self._add("make   %s" % path, lambda: self._make(path, mode, owner))

    def write(
        self, path: str, text: str | bytes, mode: int, owner: Callable[[], tuple[int, int]] | None = None
    ) -> None:
        data = text.encode() if isinstance(text, str) else text
        before = self._read(path)
        if before == data:
            self.told.append("keep   %s" % path)
        else:
            self._add("write  %s" % path, lambda: self._write(path, data, before, mode, owner))

    def remove(self, path: str) -> None:
        before = self._read(path)
        if before is not None:
            self._add("remove %s" % path, lambda: self._remove(path, before))

    def tree(self, path: str, source: str, owner: Callable[[], tuple[int, int]] | None = None) -> None:
        """`source`, copied; a folder that is there is kept."""
        if os.path.isdir(self.place(path)):
            self.told.append("keep   %s" % path)
        else:
            self._add("copy   %s" % path, lambda: self._copy(path, source, owner))

    def on_failure(self, words: list[str]) -> None:
        """A command for when all is undone."""
        self._acts.append(lambda: self._undo.append(lambda: call(words)))

    def command(self, words: list[str], undo: list[str] | None = None) -> None:
        self._add("run    %s" % " ".join(words), lambda: self._run(words, undo))

    def carry_out(self) -> None:
        try:
            for act in self._acts:
                act()
        except BaseException as error:
            for undo in reversed(self._undo):
                try:
                    undo()
                except (OSError, subprocess.SubprocessError):
                    pass  # what cannot be taken back is still said below
            if isinstance(error, OSError):
                text = "%s: %s; nothing was changed" % (error.filename or "the system", error.strerror)
                raise Stop(UNAVAILABLE, text, "service_failed") from None
            raise

    # What is done, and how it is undone

    def _add(self, told: str, act: Callable[[], None]) -> None:
        self.told.append(told)
        self._acts.append(act)

    def _make(self, path: str, mode: int, owner: Callable[[], tuple[int, int]] | None) -> None:
        place = self.place(path)
        above = os.path.dirname(path)
        if above != path and not os.path.isdir(self.place(above)):
            self._make(above, 0o755, None)
        os.mkdir(place)
        self._undo.append(lambda: os.rmdir(place))
        os.chmod(place, mode)  # whatever the umask is
        if owner is not None:
            own(place, owner())

    def _write(
        self, path: str, data: bytes, before: bytes | None, mode: int, owner: Callable[[], tuple[int, int]] | None
    ) -> None:
        place = self.place(path)
        if not os.path.isdir(os.path.dirname(place)):
            self._make(os.path.dirname(path), 0o755, None)
        if before is None:
            self._undo.append(lambda: os.unlink(place) if os.path.exists(place) else None)
        else:
            old = os.stat(place)
            self._undo.append(lambda: put(place, before, old.st_mode & 0o7777, (old.st_uid, old.st_gid)))
        put(place, data, mode, owner() if owner is not None else None)

    def _remove(self, path: str, before: bytes) -> None:
        place = self.place(path)
        old = os.stat(place)
        self._undo.append(lambda: put(place, before, old.st_mode & 0o7777, (old.st_uid, old.st_gid)))
        os.unlink(place)

    def _copy(self, path: str, source: str, owner: Callable[[], tuple[int, int]] | None) -> None:
        place = self.place(path)
        aside = place + "~"
        shutil.rmtree(aside, ignore_errors=True)  # of a power cut
        self._undo.append(lambda: shutil.rmtree(aside, ignore_errors=True))
        shutil.copytree(source, aside, symlinks=True)
        for folder, _, files in os.walk(aside):
            os.chmod(folder, 0o700)
            if owner is not None:
                for name in [folder, *(os.path.join(folder, file) for file in files)]:
                    own(name, owner())
        os.rename(aside, place)
        self._undo.append(lambda: shutil.rmtree(place))

    def _run(self, words: list[str], undo: list[str] | None) -> None:
        run(words)
        if undo is not None:
            self._undo.append(lambda: call(undo))

    def _read(self, path: str) -> bytes | None:
        try:
            with open(self.place(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Stop(UNAVAILABLE, "cannot read %s: %s" % (path, error.strerror), "service_failed") from None


def put(place: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    aside = place + "~"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if owner is not None:
            own(aside, owner)
        os.chmod(aside, mode)
        os.rename(aside, place)
    except BaseException:
        os.unlink(aside)
        raise


def own(place: str, owner: tuple[int, int]) -> None:
    if os.geteuid() == 0:  # else an image is made by somebody who cannot give files away
        os.lchown(place, *owner)


def account(root: str, name: str) -> tuple[int, int] | None:
    """(uid, gid) of a user of this system, or of the image in the folder `root`."""
    if not root:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None
        return found.pw_uid, found.pw_gid
    with contextlib.suppress(FileNotFoundError), open(root + "/etc/passwd", encoding="utf-8") as file:
        for line in file:
            words = line.split(":")
            if words[0] == name:
                return int(words[2]), int(words[3])
    return None


def call(words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": os.environ.get("PATH", "/usr/bin:/bin") + SYSTEM_PATHS}
    program = shutil.which(words[0], path=environment["PATH"]) or words[0]
    return subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=COMMAND_S, env=environment)


def run(words: list[str]) -> None:
    """Stop when it fails."""
    try:
        done = call(words)
    except FileNotFoundError:
        raise Stop(
            UNAVAILABLE, "%s is not installed: this needs systemd; nothing was changed" % words[0], "service_failed"
        ) from None
    except subprocess.TimeoutExpired:
        raise Stop(
            UNAVAILABLE, "%s did not end in %d s; nothing was changed" % (words[0], COMMAND_S), "service_failed"
        ) from None
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines()
        told = why[-1][:200] if why else "exit code %d" % done.returncode
        raise Stop(UNAVAILABLE, "%s: %s; nothing was changed" % (" ".join(words[:3]), told), "service_failed") from None
