# SPDX-License-Identifier: MIT
"""Says what is wrong with the folders of boards.

    python tools/check/boards.py [BOARDS]

A board is data (boards/README.md).  Checked is what a machine can know: the
schema, the adapter's class and its kinds of slots, what must agree of a chip,
partition tables by Espressif's own rules, and that a README begins with wiring.
What only the board knows is not: whether its flash is as large as that.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esp_idf_defs.partitions import PARTITION_TABLE_OFFSET, InputError, PartitionTable, ValidationError
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SLOT_ALIGNMENT = 0x10000  # an app's flash is mapped in pages of 64 KB
SECTOR = 0x1000
OTA = [("ota_0", 0x10), ("ota_1", 0x11)]
# chip -> where esptool puts the firmware, or the UF2 family, and what native code of an .mpy would be for
CHIPS: dict[str, tuple[int | str, str]] = {
    "esp32": (0x1000, "xtensawin"),
    "esp32s2": (0x1000, "xtensawin"),
    "esp32s3": (0, "xtensawin"),
    "esp32c3": (0, "rv32imc"),
    "esp32c6": (0, "rv32imc"),
    "rp2040": ("0xe48bff56", "armv6m"),
    "rp2350": ("0xe48bff59", "armv7emsp"),
}
SECTIONS = ("## Wire it", "## Put the agent on it")


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with one board's folder, a line each."""
    try:
        about = json.loads((folder / "board.json").read_text("utf-8"))
        schema = json.loads((ROOT / "boards" / "board.schema.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield "board.json: %s" % error
        return
    broken = list(Draft202012Validator(schema).iter_errors(about))
    for error in broken:
        yield "board.json: %s%s" % ("".join("%s: " % part for part in error.path), error.message)
    if broken:
        return
    if about["name"] != folder.name:
        yield "board.json: name: %s, and the folder is %s" % (about["name"], folder.name)
    yield from _adapter(about)
    yield from _chip(about)
    yield from _partitions(folder, about)
    yield from _readme(folder, about)
    if (folder / "manifest.py").exists() != (about["runtime"] == "micropython"):
        yield "manifest.py: there is one where a firmware freezes it, on MicroPython, and nowhere else"


def _adapter(about: dict[str, Any]) -> Iterator[str]:
    for dotted in [about["adapter"], *(slot["adapter"] for slot in about["slots"] if "adapter" in slot)]:
        if _class(dotted) is None:
            yield "board.json: adapter: there is no %s" % dotted
            return
    kinds = [slot["kind"] for slot in about["slots"]]
    if about["runtime"] == "micropython" and kinds != kinds_of(about["adapter"]):
        yield "board.json: slots: %s has %s" % (about["adapter"], ", ".join(kinds_of(about["adapter"])))


def _class(dotted: str) -> ast.ClassDef | None:
    """As a syntax tree: it may be for MicroPython alone."""
    module, _, name = dotted.rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    body = ast.parse(path.read_text("utf-8")).body if path.exists() else []
    return next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)


def kinds_of(dotted: str) -> list[str]:
    """The class variable `kinds` of a board's class, or of Board."""
    for name in (dotted, "platform_adapters.micropython_board.Board"):
        made = _class(name)
        for node in made.body if made else []:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "kinds":
                return list(ast.literal_eval(node.value))
    return []


def _chip(about: dict[str, Any]) -> Iterator[str]:
    if about["runtime"] != "micropython" or about["chip"] not in CHIPS:
        return
    place, arch = CHIPS[about["chip"]]
    firmware = about["firmware"]
    if firmware.get("offset", firmware.get("family")) != place:
        yield "board.json: firmware: on this chip it is at %s" % place
    if about["mpy"]["arch"] != arch:
        yield "board.json: mpy: arch: this chip is %s" % arch
    if about["file_system_bytes"] >= about["flash_bytes"]:
        yield "board.json: file_system_bytes: more than the flash"


def _partitions(folder: Path, about: dict[str, Any]) -> Iterator[str]:
    path = folder / "partitions.csv"
    wanted = about["firmware"]["tool"] == "esptool" and about["slots"][0]["kind"] == "firmware"
    if path.exists() != wanted:
        yield "partitions.csv: there is one where esptool flashes two firmwares, and nowhere else"
    elif wanted:
        for text in table_problems(path.read_text("utf-8"), about["flash_bytes"]):
            yield "partitions.csv: " + text
        stock = about["slots"][0]["needs"] == "stock"
        if stock and "%#x" % about["file_system_bytes"] not in path.read_text("utf-8").split("vfs,")[-1]:
            yield "board.json: file_system_bytes: not what partitions.csv says"


def table_problems(text: str, flash_bytes: int) -> Iterator[str]:
    """Espressif's rules, then ours: two firmwares of one size, one vfs, and nothing left over."""
    try:
        table = PartitionTable.from_csv(text)
        table.verify(partition_table_offset=PARTITION_TABLE_OFFSET)
        table.verify_size_fits(flash_bytes)
    except (InputError, ValidationError, ValueError) as error:
        yield str(error)
        return
    slots = [part for part in table if part.type == 0]  # apps
    if [(part.name, part.subtype) for part in slots] != OTA or len({part.size for part in slots}) != 1:
        yield "two apps are wanted, ota_0 and ota_1, of one size"
    for part in slots:
        if part.offset % SLOT_ALIGNMENT:
            yield "%s: begins at no multiple of 64 KB" % part.name
    if not list(table.find_by_type("data", "ota")):
        yield "otadata is missing: the boot loader would know no slots"
    files = table.find_by_name("vfs")
    if files is None or files.size % SECTOR or files.offset + files.size != flash_bytes:
        yield "vfs is wanted, in whole sectors, up to the end of the flash"


def _readme(folder: Path, about: dict[str, Any]) -> Iterator[str]:
    path = folder / "README.md"
    text = path.read_text("utf-8") if path.exists() else ""
    if not text.startswith("# %s\n" % folder.name):
        yield "README.md: begins with the board's name"
    for section in SECTIONS:
        if section not in text:
            yield 'README.md: a section "%s" is missing' % section
    module, _, name = about["adapter"].rpartition(".")
    if "from %s import %s\n" % (module, name) not in text:
        yield "README.md: does not say how %s is imported" % name
    for word in sorted(
        set(re.findall(r"`([0-9a-f]{4}:[0-9a-f]{4})`", text)) - {one["id"] for one in about.get("usb", [])}
    ):
        yield "README.md: USB %s is not in board.json" % word
    if about["firmware"]["tool"] == "esptool":
        offset = about["firmware"]["offset"]
        if "write-flash %s " % (hex(offset) if offset else "0") not in text:
            yield "README.md: flashes to another offset than board.json"
    file = about["firmware"].get("file", "").format(date="DATE", version="VERSION")
    if file not in text:
        yield "README.md: does not name %s" % file


def check(boards: Path) -> list[str]:
    folders = sorted(path for path in boards.iterdir() if path.is_dir())
    return ["%s: %s" % (folder.name, line) for folder in folders for line in problems(folder)]


def main(arguments: list[str]) -> int:
    boards = Path(arguments[0]) if arguments else ROOT / "boards"
    lines = check(boards)
    for line in lines:
        print(line)
    print("boards: %d finding(s)" % len(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
