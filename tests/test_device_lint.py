# SPDX-License-Identifier: MIT
"""The device lint finds each fault that it is there for, and nothing in sound code."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("device_lint", ROOT / "tools" / "check" / "device_lint.py")
device_lint = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(device_lint)

HEAD = '# SPDX-License-Identifier: MIT\n"""A module."""\n'


def rules(source, path="agent/planted.py"):
    return [rule for _, rule, _ in device_lint.check_source(HEAD + source, path)]


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("assert", "def f(a):\n    assert a"),
        ("raise-from", "def f(a):\n    raise ValueError from a"),
        ("bare-except", "def f():\n    try:\n        f()\n    except:\n        pass"),
        ("catch-all", "def f():\n    try:\n        f()\n    except Exception:\n        pass"),
        ("catch-all", "def f():\n    try:\n        f()\n    except (ValueError, BaseException):\n        pass"),
        ("match", "def f(a):\n    match a:\n        case 1:\n            pass"),
        ("global", "def f():\n    global A"),
        ("import", "import typing"),
        ("import", "from dataclasses import dataclass"),
        ("import", "from __future__ import annotations"),
        ("import", "import trueboot"),
        ("import", "from . import errors"),
        ("import", "def f():\n    import logging"),
        ("positional-only", "def f(a, /):\n    pass"),
        ("name", "def f():\n    try:\n        f()\n    except ConnectionError:\n        pass"),
        ("unpacking", "def f(a):\n    return [*a]"),
        ("unpacking", "def f(a):\n    return {**a}"),
        ("slice-step", "def f(a):\n    return a[::-1]"),
        ("method", "def f(a):\n    return a.hexdigest()"),
        ("method", "def f(a):\n    return map(hashlib.hexdigest, a)"),
        ("method", "def f(a):\n    return a.removeprefix('x')"),
        ("method", "def f(a):\n    return a.bit_length()"),
        ("method", "def f(time):\n    return time.monotonic()"),
        ("int-bytes", "def f(a):\n    return a.to_bytes(length=2, byteorder='big')"),
        ("int-bytes", "def f(a):\n    return int.from_bytes(a, byteorder='big')"),
        ("int-bytes", "def f(a):\n    return int.from_bytes(a, 'big', signed=True)"),
        ("codec", "def f(a):\n    return a.decode('latin-1')"),
        ("codec", "def f(a):\n    return a.decode(errors='replace')"),
        ("json", "def f(a):\n    return json.dumps(a, sort_keys=True)"),
        ("pow", "def f(a, m):\n    return pow(a, -1, m)"),
        ("print", "def f():\n    print()"),
        ("top-level-state", "cache = {}"),
        ("top-level-state", "seen = set()"),
        ("top-level-state", "seen: list = []"),
        ("top-level-state", "if True:\n    seen = []"),
        ("top-level-state", "class A:\n    seen = []"),
        ("top-level-state", "TABLE = {}\ndef f():\n    TABLE[1] = 2"),
        ("top-level-state", "TABLE = []\ndef f():\n    TABLE.append(2)"),
        ("top-level-call", "from machine import Pin\nLED = Pin(2)"),
        ("top-level-call", "A = (1, make(2))"),
        ("top-level-call", "if ready():\n    A = 1"),
        ("top-level", "start()"),
        ("top-level", "for i in range(3):\n    pass"),
        ("decorator", "@register\ndef f():\n    pass"),
        ("mutable-default", "def f(a=[]):\n    pass"),
    ],
)
def test_each_fault_is_found(rule, source):
    assert rules(source) == [rule]


@pytest.mark.parametrize(
    "source",
    [
        "from micropython import const\nA = const(3)\nB = (1, 2)\nC = b'x' * 32\nD = 'a b'.split()",
        "TABLE = {1: 2}\ndef f():\n    return TABLE[1]",
        "try:\n    import machine\nexcept ImportError:\n    machine = None",
        "class A:\n    LIMIT = 3\n    @property\n    def f(self):\n        self.x = []",
        "def f(a):\n    return a.to_bytes(2, 'big') + a.encode() + str(a[1:2], 'utf-8').encode('utf-8')",
        "def f(a):\n    return pem.decode(a, 'CERTIFICATE')",
        "def f(a, *b, c=None, **d):\n    return g(*b, **d)",
    ],
)
def test_sound_code_passes(source):
    assert rules(source) == []


def test_outermost_guards_may_catch_everything():
    guard = "def f():\n    try:\n        f()\n    except Exception:\n        pass"
    assert rules(guard, "agent/runtime.py") == []
    assert rules(guard, "agent/update.py") == ["catch-all"]


def test_a_file_has_its_licence_its_docstring_and_an_end():
    assert [rule for _, rule, _ in device_lint.check_source("A = 1\n", "agent/x.py")] == ["docstring", "licence"]
    assert rules("\n" * device_lint.MAX_LINES) == ["length"]


def test_what_does_not_compile_for_boards_is_found(tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "planted.py").write_text(
        HEAD + "def f():\n    try:\n        f()\n    except* ValueError:\n        pass\n"
    )
    assert any(line.startswith("agent/planted.py:1: mpy-cross: ") for line in device_lint.check_tree(tmp_path))


def test_the_tree_is_clean():
    assert device_lint.check_tree(ROOT) == []
