# SPDX-License-Identifier: MIT
"""Labels: a QR code that leads to the device at its server, and what a person reads beside it.  Nothing secret.

    https://SERVER/ui/devices/PRODUCT/DEVICE#FINGERPRINT     its page, for who may log in there; the first 16 digits of its
                                                             first certificate's SHA-256 can be compared, and open nothing

One SVG a device, and a sheet of HTML to print.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..problem import Problem

QUIET = 4  # modules around the code, by ISO/IEC 18004
LINES_MAX = 5
LINE_CHARS = 28
# Sheets by the labels on one: columns, rows, width and height in mm, margins at left and top.
SHEETS = {
    "A4-21": (3, 7, 63.5, 38.1, 7.2, 15.1),
    "A4-24": (3, 8, 70.0, 37.0, 0.0, 0.5),
    "A4-65": (5, 13, 38.1, 21.2, 4.7, 10.7),
}


class Label(NamedTuple):
    device: str
    url: str
    lines: tuple[str, ...]


def of_line(line: dict) -> Label:
    """From a record's `board.finished`."""
    more = [f"{name}: {value}" for name, value in (line.get("labels") or {}).items()]
    return Label(line["device"], line["url"], (line["board"], f"chip {line['chip_id']}", f"app {line['app']}", *more))


def svg(label: Label) -> str:
    """160 by 80 units: the code at the left, words at the right."""
    import segno

    matrix = segno.make(label.url, error="m", micro=False).matrix
    side = len(matrix) + 2 * QUIET
    path = []
    for y, row in enumerate(matrix):
        x = 0
        while x < len(row):
            width = 0
            while x + width < len(row) and row[x + width]:
                width += 1
            if width:
                path.append(f"M{x + QUIET} {y + QUIET}h{width}v1h-{width}z")
            x += width + 1
    lines = [label.device, *label.lines][:LINES_MAX]
    words = "".join(
        f'<text x="84" y="{16 + number * 13}" font-size="{9 if number == 0 else 7}"'
        f"{' font-weight=' + chr(34) + 'bold' + chr(34) if number == 0 else ''}>{_short(text)}</text>"
        for number, text in enumerate(lines)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 80" font-family="sans-serif">'
        '<rect width="200" height="80" fill="#fff"/>'
        f'<svg x="0" y="0" width="80" height="80" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path d="{"".join(path)}"/></svg>{words}</svg>\n'
    )


def sheet(labels: Iterable[Label], kind: str = "A4-24") -> str:
    if kind not in SHEETS:
        raise Problem("usage", f"--sheet {kind}: one of {', '.join(SHEETS)}.")
    columns, rows, width, height, left, top = SHEETS[kind]
    drawn = [f'<div class="label">{svg(label).strip()}</div>' for label in labels]
    pages = [drawn[at : at + columns * rows] for at in range(0, len(drawn), columns * rows)]
    body = "\n".join('<section class="page">\n' + "\n".join(page) + "\n</section>" for page in pages)
    style = (
        "@page{size:A4;margin:0}body{margin:0}"
        f".page{{width:210mm;height:296mm;padding:{top}mm 0 0 {left}mm;box-sizing:border-box;display:grid;"
        f"grid-template-columns:repeat({columns},{width}mm);grid-auto-rows:{height}mm;break-after:page}}"
        ".label{overflow:hidden;padding:1mm;box-sizing:border-box}.label svg{width:100%;height:100%}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Labels</title>'
        f"<style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, "utf-8")
        new.replace(path)
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be written.", error.strerror or str(error)) from None


def _short(text: str) -> str:
    return html.escape(text if len(text) <= LINE_CHARS else text[: LINE_CHARS - 1] + "…")
