# SPDX-License-Identifier: MIT
"""Shorter private names for boards: the same program, with fewer names to keep.

MicroPython interns every name and never frees one, so that a name costs a board some 20 bytes for as long as it runs, even
when its module is gone.  What is nobody's but a module's own is renamed to a few short names that all modules share:

  * names with a leading underscore: functions, methods, attributes, variables;
  * module-level names in capitals that no other file uses; where such a name is a number, the number takes its place;
  * arguments that nobody passes by name, but not of constructors and of what users call (`PUBLIC`).

Whatever might be reached in another way keeps its name: what another file or a text mentions, what is asked of an object
other than `self`, classes that inherit across files, functions of a module that asks `globals()`.  Lines stay lines, so that
the place in a reason is the source's.  The files in the repository are not touched; only `.mpy` are made of the result.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

PUBLIC = ("agent/__init__.py", "agent/runtime.py")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def shorten(sources: dict[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """`sources` are all files that belong together, by path; `keep`: names that somebody else relies on."""
    modules = {path: _Module(text) for path, text in sources.items()}
    kept = set(keep)
    bases = {base for module in modules.values() for base in module.foreign_bases}
    for module in modules.values():
        kept |= module.reached | module.words
        if module.foreign_bases or bases & module.classes:
            kept |= module.names
        kept |= {name for name in module.names - module.defined if _is_private(name)}
    used_in = Counter(name for module in modules.values() for name in module.names)
    elsewhere = {name for module in modules.values() for name in module.names - module.variables} | kept
    elsewhere |= {name for path, module in modules.items() if path.startswith(PUBLIC) for name in module.arguments}
    shortened = {}
    for path, module in modules.items():
        capitals = {name for name in module.top if _is_capital(name) and used_in[name] == 1}
        private = {name for name in module.defined if _is_private(name)}
        arguments = set() if path.startswith(PUBLIC) else module.arguments - elsewhere
        shortened[path] = module.rewritten((capitals | private | arguments) - kept - module.own)
    return shortened


def words(*texts: str) -> set[str]:
    """All that could be a name in `texts`: for `keep`."""
    return {word for text in texts for word in _WORD.findall(text)}


def _is_private(name: str) -> bool:
    return len(name) > 1 and name[0] == "_" and not name.startswith("__")


def _is_capital(name: str) -> bool:
    return len(name) > 2 and name == name.upper() and not name.startswith("__")


class _Module:
    def __init__(self, text: str):
        self._lines = text.encode().split(b"\n")
        tree = ast.parse(text)
        self.places: dict[str, list[tuple[int, int]]] = {}  # name -> (line, column) of each appearance
        self.names: set[str] = set()  # all
        self.defined: set[str] = set()  # what is bound here
        self.arguments: set[str] = set()
        self.variables: set[str] = set()  # of functions: arguments and what is bound there, and nothing else
        self.top: set[str] = set()  # what is bound once, at the module's level
        self.numbers: dict[str, ast.Assign] = {}
        self.reached: set[str] = set()  # attributes of other objects than self
        self.words: set[str] = set()  # texts that could be names
        self.own: set[str] = set()  # not to be renamed in this module alone
        self.classes: set[str] = set()
        self.foreign_bases: set[str] = set()
        self._marked: set[str] = set()  # more than a variable
        stores: Counter[str] = Counter()
        for node in ast.walk(tree):
            self._look(node, stores)
        self.variables -= self._marked | set(dir(builtins)) | set(_bound(tree.body))
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if stores[name] == 1:
                    self.top.add(name)
                    if _number(node.value) is not None and node.lineno == node.end_lineno:
                        self.numbers[name] = node
        if "globals" in self.names:
            self.own |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} | {
                n for n in self.defined if n.startswith("_") and n not in self.numbers
            }

    def _look(self, node: ast.AST, stores: Counter[str]) -> None:
        if isinstance(node, ast.Name):
            self._place(node.id, node.lineno, node.col_offset)
            self.variables.add(node.id)
            if not isinstance(node.ctx, ast.Load):
                self.defined.add(node.id)
                stores[node.id] += 1
        elif isinstance(node, ast.Attribute):
            assert node.end_lineno is not None and node.end_col_offset is not None
            self._place(node.attr, node.end_lineno, node.end_col_offset - len(node.attr))
            self._marked.add(node.attr)
            if not isinstance(node.value, ast.Name) or node.value.id != "self":
                self.reached.add(node.attr)
            elif not isinstance(node.ctx, ast.Load):
                self.defined.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            line = self._lines[node.lineno - 1]
            self._place(node.name, node.lineno, line.index(node.name.encode(), node.col_offset + 4))
            if node.name == "__init__" and isinstance(node, ast.FunctionDef):
                self._marked |= {argument.arg for argument in node.args.args + node.args.kwonlyargs}
            self.defined.add(node.name)
            self._marked.add(node.name)
            stores[node.name] += 1
            if isinstance(node, ast.ClassDef):
                self.classes.add(node.name)
                known = self.classes | {"Exception", "object"}
                self.foreign_bases |= {base for base in map(_last, node.bases) if base not in known}
        elif isinstance(node, ast.arg):
            self._place(node.arg, node.lineno, node.col_offset)
            self.defined.add(node.arg)
            self.arguments.add(node.arg)
            self.variables.add(node.arg)
            stores[node.arg] += 1
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self.own.update(node.names)
            self._marked.update(node.names)
        elif isinstance(node, ast.alias):
            self.reached.update((node.asname or node.name).split("."))
        elif isinstance(node, ast.keyword) and node.arg:
            self.reached.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _WORD.fullmatch(node.value):
            self.words.add(node.value)

    def _place(self, name: str, line: int, column: int) -> None:
        self.names.add(name)
        self.places.setdefault(name, []).append((line, column))

    def rewritten(self, names: set[str]) -> str:
        lines = list(self._lines)
        edits: list[tuple[int, int, bytes, bytes]] = []
        free = _free(self.names)
        for name in sorted(names, key=lambda name: (-len(self.places[name]), name)):
            if name in self.numbers:
                node = self.numbers[name]
                number = _number(node.value)
                assert number is not None
                new = b"%d" % number if number >= 0 else b"(%d)" % number
                line = lines[node.lineno - 1]
                edits.append((node.lineno, 0, line, b"pass"))
                places = [place for place in self.places[name] if place != (node.lineno, node.col_offset)]
            else:
                new, places = next(free).encode(), self.places[name]
            edits += [(line, column, name.encode(), new) for line, column in places]
        for at, column, old, new in sorted(edits, reverse=True):
            line = lines[at - 1]
            if line[column : column + len(old)] != old:
                raise ValueError("%r is not at %d:%d" % (old, at, column))
            lines[at - 1] = line[:column] + new + line[column + len(old) :]
        return b"\n".join(lines).decode()


def _free(taken: set[str]) -> Iterator[str]:
    for length in count():
        for letter in LETTERS:
            name = "_" + letter + (str(length) if length else "")
            if name not in taken:
                yield name


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """Names that statements outside of functions bind."""
    nodes: list[ast.AST] = list(body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes.extend(ast.iter_child_nodes(node))


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _number(node: ast.expr) -> int | None:
    """The value of an expression of whole numbers alone."""
    allowed = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    if not all(isinstance(part, allowed) for part in ast.walk(node)):
        return None
    value = eval(compile(ast.Expression(node), "number", "eval"), {})  # noqa: S307  (our own numbers)
    return value if type(value) is int else None
