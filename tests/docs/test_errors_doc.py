# SPDX-License-Identifier: MIT
"""The table of codes, the sources and docs/errors.md say the same."""

import ast
import functools
import importlib.util
import json
from pathlib import Path

from trueboot.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("agent", "platform_adapters", "micropython", "tools/trueboot", "tools/trueboot_server")
# What a person can meet, and where the code stands among the arguments.
SHOWN = {"RefusedError": 0, "UnreachableError": 0, "DeviceError": 0, "MisuseError": 0, "Problem": 0, "ApiError": 1}
SHOWN |= {"Stop": 2}


@functools.cache
def codes_in_sources():
    return list(_found())


def _found():
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                position = SHOWN.get(node.func.id)
                if position is not None and len(node.args) > position:
                    argument = node.args[position]
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_code_in_the_sources_is_explained():
    missing = {code: place for code, place in codes_in_sources() if code not in CODES}
    assert missing == {}


def test_every_code_is_explained_by_the_command(capsys):
    """What stands in brackets behind a message can be typed behind `trueboot explain`, with them or without."""
    from trueboot.verbs import explain

    for code in dict(codes_in_sources()):
        explain(f"[{code}]", json=True)
        told = json.loads(capsys.readouterr().out)
        assert told["code"] == code and told["todo"] and told["exit"] in (1, 2, 69, 73, 75, 77, 78)
    explain("", json=False)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(CODES)


def test_every_explained_code_is_in_the_sources():
    text = "".join(p.read_text() for folder in SOURCES for p in sorted((ROOT / folder).rglob("*.py")))
    stale = [code for code in CODES if f'"{code}"' not in text]
    assert stale == []


def test_errors_page_is_made_from_the_table():
    spec = importlib.util.spec_from_file_location("error_docs", ROOT / "tools" / "check" / "error_docs.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = (ROOT / "docs" / "errors.md").read_text()
    assert page == made.render(), "make it again: tools/check/error_docs.py --write"


def test_rows_are_sentences():
    for code, row in CODES.items():
        for text in (row.what, row.why, row.todo):
            assert text and text[0] != " " and text.rstrip("`")[-1] in ".?!", (code, text)
        assert row.exit in (1, 2, 69, 73, 75, 77, 78), code
