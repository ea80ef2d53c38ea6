# SPDX-License-Identifier: MIT
"""What the reference pages tell of the code, read from its syntax trees: events and their fields, members of records.

An event is found where its name is written: in a call of `log`, `event` or the like, in a ("log", name, fields) command of
a machine, or in a pair (name, fields) that is logged later.  Names that are put together stand in PREFIXES, with the
function that puts them together.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[a-z_]+(\.[a-z_]+)?\Z")
CALLS = ("log", "_log", "event")
FAULT_CALLS = (*CALLS, "tell", "_tell")
# (file, function) -> what it puts before the name, and which argument that is.
PREFIXES = {
    ("agent/identity.py", "_log"): ("identity.", 0),
    ("agent/states.py", "end"): ("update.", 1),
    ("agent/update.py", "end"): ("update.", 1),
    ("tools/trueboot_server/fleet/jobs.py", "_tell"): ("attempt.", 2),
    ("tools/trueboot_server/decada/uplink.py", "_tell"): ("", 2),
}
JOB = ("note", "finish")  # of trueboot_server/fleet/course.py, wherever they are called: ("job.", 2)
IMPLIED = {"_tell": {"job", "attempt"}, "end": {"version", "reason"}, "_log": {"label"}}
# Those whose very word is worked out; the file must still hold the word.
WORKED_OUT = {
    "agent": {"agent/identity.py": {"identity.renewed": {"label"}, "identity.enrolled": {"label"}}},
    "server": {
        "tools/trueboot_server/fleet/proof.py": {
            f"attempt.{state}": {"attempt", "job", "proven"}
            for state in ("updated", "failed", "rolled_back", "refused")
        }
    },
}
SKIPPED = ("device", "said")  # names that are no events of ours


@cache
def _trees(folder: str) -> dict[str, ast.AST]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


@cache
def agent_events() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for folder in ("agent", "platform_adapters"):
        _collect(folder, found)
    return _with_worked_out("agent", found)


@cache
def server_events() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    _collect("tools/trueboot_server", found)
    return _with_worked_out("server", found)


def _with_worked_out(who: str, found: dict[str, set[str]]) -> dict[str, set[str]]:
    for file, names in WORKED_OUT[who].items():
        text = (ROOT / file).read_text("utf-8")
        for name, fields in names.items():
            if f'"{name.rpartition(".")[2]}"' in text:
                found.setdefault(name, set()).update(fields)
    return found


def _collect(folder: str, found: dict[str, set[str]]) -> None:
    for file, tree in _trees(folder).items():
        for node in ast.walk(tree):
            for name, fields in _events(file, node):
                found.setdefault(name, set()).update(fields)


def _events(file: str, node: ast.AST) -> Iterator[tuple[str, set[str]]]:
    if isinstance(node, ast.Call):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        prefix, position = PREFIXES.get((file, function), ("", 0))
        if function in JOB and file.startswith("tools/trueboot_server/"):
            words = {word.arg for word in node.keywords if word.arg}
            if len(node.args) > 2 and (name := _name(node.args[2])):
                yield "job." + name, words | {"job"}
            return
        calls = FAULT_CALLS if file.startswith("tools/trueboot_server/faults/") else CALLS
        if (file, function) not in PREFIXES and function not in calls:
            return
        named = {word.arg for word in node.keywords if word.arg}
        if (file, function) in PREFIXES:
            named |= IMPLIED.get(function, set()) if prefix else set()
        if len(node.args) > position and (name := _name(node.args[position])):
            more = node.args[position + 1] if len(node.args) > position + 1 else None
            if isinstance(more, ast.Name):
                more = _assigned(file, more.id)
            yield prefix + name, named | _keys(more)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 3 and _name(node.elts[0]) == "log":
        if name := _name(node.elts[1]):
            yield name, _keys(node.elts[2])
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and "trueboot_server/repo/care" in file:
        if (name := _name(node.elts[0])) and "." in name:
            yield name, _keys(node.elts[1])


def _assigned(file: str, name: str) -> ast.AST | None:
    """The dict that a variable of this file is given."""
    for node in ast.walk(_trees(file.rpartition("/")[0])[file]):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name and _keys(node.value):
            return node.value
    return None


def _name(node: ast.AST) -> str:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text if NAME.match(text) and text not in SKIPPED else ""


def _keys(node: ast.AST | None) -> set[str]:
    if not isinstance(node, ast.Dict):
        return set()
    return {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


# The configuration

REQUIRED = ("product_key", "mqtt")  # by the dialect without keys of its own; another may be told them by its service


def dialects() -> dict[str, ModuleType]:
    """Name of a dialect -> the module with the keys that it alone has."""
    return {
        path.stem.removesuffix("_config"): import_module("agent.clouds." + path.stem)
        for path in sorted((ROOT / "agent/clouds").glob("*_config.py"))
    }


# The journal


@cache
def journal_members() -> list[str]:
    """What is given to `agent.save(name=...)`, and what a blank device's record holds."""
    found = {"format"}
    for tree in _trees("agent").values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "save":
                if getattr(node.func.value, "id", "") in ("agent", "self"):
                    found |= {word.arg for word in node.keywords if word.arg}
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "changes" and _keys(node.value):
                found |= _keys(node.value) & {"last", "clock"}
    return sorted(found | {"last"})


def update_members() -> list[str]:
    from agent import states

    return sorted(states.initial("", ""))


def identity_members() -> list[str]:
    from agent import identity

    found = set(identity.initial())
    for node in ast.walk(_trees("agent")["agent/identity.py"]):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_enter":
            found |= {word.arg for word in node.keywords if word.arg}
    return sorted(found | {"reason"})


@cache
def store_records() -> list[str]:
    """Names that are given to a store's `save` and `load`; what stands for a label or a slot is <...>."""
    from agent.journal import COPIES

    found: set[str] = set(COPIES)
    for folder in ("agent", "platform_adapters"):
        for file, tree in _trees(folder).items():
            constants = {
                getattr(node.targets[0], "id", ""): node.value.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                    continue
                holder = node.func.value
                called = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
                if node.func.attr in ("save", "load") and called in ("store", "_store"):
                    name = _record_name(node.args[0], constants)
                    if name and "memory" not in file:
                        found.add(name)
    return sorted(found | set(_trust_records()))


def _trust_records() -> tuple[str, ...]:
    from agent.tasks.trusted import RECORDS

    return tuple(RECORDS)


def _record_name(node: ast.AST, constants: dict[str, object]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return str(constants.get(node.id, ""))
    if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant):
        return f"{node.left.value}<{'label' if node.left.value == 'cert.' else ast.unparse(node.right)}>"
    return ""
