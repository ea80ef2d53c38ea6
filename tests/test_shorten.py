# SPDX-License-Identifier: MIT
"""Boards get private names shortened: what is nobody else's changes its name and nothing else; all else keeps it."""

import ast
from pathlib import Path

from trueboot import mpy
from trueboot.device_files import device_files
from trueboot.shorten import shorten, words

ROOT = Path(__file__).parent.parent


def short(keep=(), **sources):
    made = shorten({f"agent/{name}.py": text for name, text in sources.items()}, keep)
    return {path[6:-3]: text for path, text in made.items()}


def test_private_names_and_numbers_become_short_and_the_program_stays():
    source = """
LIMIT = 4 * 1024  # bytes
_COLD = -3
def twice(number, step=2):
    return _sum(number, number) + _COLD - _COLD + LIMIT - LIMIT + step - step
def _sum(first, second):
    return first + second
class Box:
    def __init__(self, content):
        self._content = content
    def open(self):
        return self._unwrapped()
    def _unwrapped(self):
        return twice(self._content)
"""
    made = short(a=source)["a"]
    for name in ("LIMIT", "_COLD", "_sum", "_content", "_unwrapped", "first", "number"):
        assert name not in words(made), name
    assert len(made.split("\n")) == len(source.split("\n"))
    names = {}
    exec(made, names)  # noqa: S102
    assert names["Box"](4).open() == 8 and names["twice"](1, 5) == 2


def test_two_files_share_their_short_names():
    made = short(a="def _one(): return 1\n", b="def _two(): return 2\n")
    assert made["a"].split("(")[0] == made["b"].split("(")[0]


def test_what_somebody_else_may_mean_keeps_its_name():
    kept = {
        "an attribute of another object": ("def _f(): pass\n", "import a\na._f()\n", "_f"),
        "an import": ("_f = [1]\n", "from a import _f\n", "_f"),
        "a text": ("def _f(): pass\n", "getattr(a, '_f')()\n", "_f"),
        "an argument passed by name": ("def f(size): pass\n", "import a\na.f(size=1)\n", "size"),
        "an argument of a constructor": ("class A:\n    def __init__(self, size): pass\n", "", "size"),
        "a capital that another file uses": ("LIMIT = 3\n", "import a\nprint(a.LIMIT)\n", "LIMIT"),
        "a function found by globals": ("def _idle(): pass\ndef step(x): return globals()['_' + x]\n", "", "_idle"),
        "a class that is inherited from": (
            "class A:\n    def f(self): self._at = 1\n",
            "import a\nclass B(a.A):\n    def g(self): self._b = 1\n",
            "_at",
        ),
        "a heir's": ("class A:\n    pass\n", "import a\nclass B(a.A):\n    def g(self): self._b = 1\n", "_b"),
        "a public function": ("def f(): pass\n", "", "f"),
    }
    for what, (a, b, name) in kept.items():
        made = short(a=a, b=b)
        assert name in words(made["a"] + made["b"]), what
    assert "_f" in short(keep=["_f"], a="def _f(): pass\n")["a"]


def test_a_number_that_is_bound_twice_is_no_number():
    made = short(a="LIMIT = 1\ndef f():\n    global LIMIT\n    LIMIT = 2\n")["a"]
    assert "LIMIT = 1" in made and "LIMIT = 2" in made


def test_the_tree_keeps_its_shape():
    """All that the files define in public is still there, line for line."""
    sources = {path: (ROOT / path).read_text("utf-8") for path in device_files(ROOT)}
    made = shorten(sources)
    for path, text in sources.items():
        before, after = _shape(text), _shape(made[path])
        assert [line for line, _ in before] == [line for line, _ in after], path
        for (_, old), (_, new) in zip(before, after, strict=True):
            assert old == new or old.startswith("_"), (path, old, new)
    assert len(_names(sources)) - len(_names(made)) > 300


def _names(sources):
    tree = [node for text in sources.values() for node in ast.walk(ast.parse(text))]
    return {getattr(node, field) for node in tree for field in ("id", "attr", "arg", "name") if hasattr(node, field)}


def _shape(text):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return sorted((node.lineno, node.name) for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))


def test_a_traceback_names_the_module(tmp_path):
    assert mpy.module_name("agent/uplink.py") == "agent.uplink"
    assert mpy.module_name("agent/wire/__init__.py") == "agent.wire"
