# SPDX-License-Identifier: MIT
"""Labels: another library reads the code from what we draw."""

import re
from xml.etree import ElementTree

import pytest
import zxingcpp

from trueboot.flash import labels
from trueboot.problem import Problem

SVG = "{http://www.w3.org/2000/svg}"
SCALE = 4
URL = "https://fleet.example:8443/ui/devices/pk-1/RB-2026-00001#2eee8f2917d9488c"
LINE = {"device": "RB-2026-00001", "url": URL, "board": "ESP32_GENERIC", "chip_id": "d0cf13e1a2b4", "app": "1.0.0"}


def drawn(svg):
    """The code's own picture, as rows of grey."""
    inner = ElementTree.fromstring(svg).find(SVG + "svg")
    side = int(inner.get("viewBox").split()[2])
    rows = [bytearray(b"\xff" * side * SCALE) for _ in range(side * SCALE)]
    for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", inner.find(SVG + "path").get("d")):
        for row in range(int(y) * SCALE, int(y) * SCALE + SCALE):
            rows[row][int(x) * SCALE : (int(x) + int(width)) * SCALE] = bytes(int(width) * SCALE)
    return memoryview(b"".join(rows)).cast("B", (side * SCALE, side * SCALE))


def decoded(svg):
    return [found.text for found in zxingcpp.read_barcodes(drawn(svg))]


def test_another_library_reads_the_code():
    assert decoded(labels.svg(labels.of_line(LINE))) == [URL]


def test_words_beside_it_are_words():
    line = LINE | {"labels": {"customer": "<script>&Söhne</script>"}}
    svg = labels.svg(labels.of_line(line))
    texts = [text.text for text in ElementTree.fromstring(svg).iter(SVG + "text")]
    assert texts == ["RB-2026-00001", "ESP32_GENERIC", "chip d0cf13e1a2b4", "app 1.0.0", "customer: <script>&Söhne</s…"]


@pytest.mark.parametrize("kind", labels.SHEETS)
def test_a_sheet_has_each_label_once(kind):
    many = [labels.of_line(LINE | {"device": f"RB-{n}", "url": f"{URL}{n}"}) for n in range(70)]
    page = labels.sheet(many, kind)
    found = re.findall(r'<div class="label">(<svg.*?)</div>', page)
    assert [decoded(svg)[0] for svg in found[::23]] == [f"{URL}{n}" for n in range(0, 70, 23)]
    columns, rows = labels.SHEETS[kind][:2]
    assert len(found) == 70 and page.count('class="page"') == -(-70 // (columns * rows))


def test_a_sheet_that_is_not_known():
    with pytest.raises(Problem):
        labels.sheet([], "A5")
