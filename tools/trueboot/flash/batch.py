# SPDX-License-Identifier: MIT
"""A batch: a CSV file, a row a device.  What is wrong is named by row and column, and the good rows go on.

    serial          the device key: 1 to 64 letters, digits, '-', '_', '.'; each once
    board           a board's name; empty: any that fits
    group           a tag at the server
    wifi_ssid       a network
    wifi_psk_ref    where its password is, env:NAME or file:PATH; never the password itself
    label_*         printed on the label, and kept in the record

UTF-8, any order of columns.  There is no column for a private key, and none will be: keys are made on the boards.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..problem import Problem
from . import boards

COLUMNS = ("serial", "board", "group", "wifi_ssid", "wifi_psk_ref")
LABEL = "label_"
RESULT = ("chip_id", "fw", "cert_sha256", "started", "finished", "result", "error")
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000
MAX_LABELS = 16
SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,64}\Z")


class Row(NamedTuple):
    line: int
    serial: str
    board: str
    group: str
    wifi: dict[str, Any] | None
    labels: dict[str, str]


class Bad(NamedTuple):
    line: int
    column: str
    why: str

    def __str__(self) -> str:
        return f"row {self.line}, column {self.column}: {self.why}"


class Batch(NamedTuple):
    rows: list[Row]
    bad: list[Bad]
    sha256: str


def read(path: Path) -> Batch:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unusable(path, f"it has more than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise _unusable(path, f"it is not UTF-8, from byte {error.start} on") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    bad: list[Bad] = []
    seen: dict[str, int] = {}
    names = boards.load()
    try:
        header = _header(path, next(reader, []))
        for cells in reader:
            if not any(cells):
                continue
            if len(rows) + len(bad) >= MAX_ROWS:
                raise _unusable(path, f"it has more than {MAX_ROWS} rows")
            found = _row(reader.line_num, cells, header, seen, names, path.parent)
            if isinstance(found, Bad):
                bad.append(found)
            else:
                seen[found.serial] = found.line
                rows.append(found)
    except csv.Error as error:
        raise _unusable(path, f"row {reader.line_num}: {error}") from None
    return Batch(rows, bad, hashlib.sha256(data).hexdigest())


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "serial" not in header:
        raise _unusable(path, "its first row has no column serial")
    for name in header:
        if name not in COLUMNS and not re.match(LABEL + r"[a-z0-9_]{1,32}\Z", name):
            raise _unusable(path, f"column {name[:40]!r} is not known; there are {', '.join(COLUMNS)} and label_NAME")
        if header.count(name) > 1:
            raise _unusable(path, f"column {name} is there twice")
    if len(header) > len(COLUMNS) + MAX_LABELS:
        raise _unusable(path, f"it has more than {MAX_LABELS} columns of labels")
    return header


def _row(
    line: int, cells: list[str], header: list[str], seen: dict[str, int], names: dict[str, boards.Board], folder: Path
) -> Row | Bad:
    if len(cells) != len(header):
        return Bad(line, header[min(len(cells), len(header) - 1)], f"{len(cells)} cells, and {len(header)} columns")
    found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    serial = found["serial"]
    if not SERIAL.match(serial):
        return Bad(line, "serial", "1 to 64 letters, digits, '-', '_' or '.'")
    if serial in seen:
        return Bad(line, "serial", f"{serial} is in row {seen[serial]} already")
    board = found.get("board", "")
    if board and board not in names:
        return Bad(line, "board", f"no board is called {board[:40]!r}")
    for name, text in found.items():
        if not TEXT.match(text):
            return Bad(line, name, "at most 64 characters, none of them a control character")
    wifi = _wifi(line, found.get("wifi_ssid", ""), found.get("wifi_psk_ref", ""), folder)
    if isinstance(wifi, Bad):
        return wifi
    labels = {name.removeprefix(LABEL): text for name, text in found.items() if name.startswith(LABEL) and text}
    return Row(line, serial, board, found.get("group", ""), wifi, labels)


def _wifi(line: int, ssid: str, reference: str, folder: Path) -> dict[str, Any] | Bad | None:
    if not ssid:
        return Bad(line, "wifi_ssid", "a password needs a network") if reference else None
    if len(ssid.encode()) > 32:
        return Bad(line, "wifi_ssid", "at most 32 bytes")
    network = {"ssid": ssid}
    if reference:
        kind, _, place = reference.partition(":")
        password = None
        if kind == "env":
            password = os.environ.get(place)
        elif kind == "file":
            try:
                password = (folder / place).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                pass
        else:
            return Bad(line, "wifi_psk_ref", "env:NAME or file:PATH")
        if password is None:
            return Bad(line, "wifi_psk_ref", f"nothing is at {reference}")
        if not 8 <= len(password.encode()) <= 63:
            return Bad(line, "wifi_psk_ref", "the password has 8 to 63 bytes")
        network["password"] = password
    return {"networks": [network]}


def _unusable(path: Path, why: str) -> Problem:
    return Problem("csv_unusable", f"{path} cannot be used.", why)
