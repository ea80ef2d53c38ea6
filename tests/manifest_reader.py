# SPDX-License-Identifier: MIT
"""Reads a manifest.py as MicroPython's makemanifest does when it freezes, and says what would be frozen.

Its words and what they do with paths are those of MicroPython 1.28, tools/manifestfile.py; `require` only notes the name,
since micropython-lib is not here.
"""

from __future__ import annotations

import os
from pathlib import Path


class Options:
    def __init__(self, given):
        self._given, self._defaults = given, {}

    def defaults(self, **values):
        self._defaults = values

    def __getattr__(self, name):
        return self._given.get(name, self._defaults.get(name))


class Manifest:
    """After `Manifest(path, PORT_DIR=...)`: `files`, module path on the device -> source; `required`, names."""

    def __init__(self, path: Path, **variables: Path):
        self.files: dict[str, Path] = {}
        self.required: list[str] = []
        self._variables = variables
        self._visited: set[str] = set()
        self._metadata: dict | None = None
        self._include(str(path))

    def _resolve(self, path):
        for name, value in self._variables.items():
            path = path.replace("$(%s)" % name, str(value))
        return os.path.abspath(path)

    def _include(self, path, **given):
        if not isinstance(path, str):
            for one in path:
                self._include(one, **given)
            return
        path = self._resolve(path)
        if os.path.isdir(path):
            path = os.path.join(path, "manifest.py")
        if path in self._visited:
            return
        self._visited.add(path)
        text = Path(path).read_text("utf-8")
        words = {
            "options": Options(given),
            "metadata": self._say,
            "include": self._include,
            "require": lambda name, **more: self.required.append(name),
            "package": self._package,
            "module": self._module,
            "freeze": self._freeze,
        }
        before = os.getcwd()
        os.chdir(os.path.dirname(path))
        try:
            exec(compile(text, path, "exec"), words)
        finally:
            os.chdir(before)

    def _say(self, **about):
        if self._metadata is not None:
            raise ValueError("Duplicate call to metadata().")
        self._metadata = about

    def _add(self, source, target):
        os.stat(source)
        self.files[target] = Path(source)

    def _package(self, package_path, files=None, base_path=".", opt=None):
        self._search(self._resolve(base_path), package_path, files)

    def _module(self, module_path, base_path=".", opt=None):
        if os.path.splitext(module_path)[1].lower() != ".py":
            raise ValueError("module must be .py file")
        self._search(self._resolve(base_path), "", [module_path])

    def _freeze(self, path, script=None, opt=None):
        self._search(self._resolve(path), "", [script] if isinstance(script, str) else script)

    def _search(self, base, package, files):
        if files is not None:
            for name in files:
                inner = os.path.join(package, name) if package else name
                self._add(os.path.join(base, inner), inner)
            return
        for folder, _, names in os.walk(os.path.join(base, package)):
            for name in names:
                if name.lower().endswith(".py"):
                    source = os.path.join(folder, name)
                    self._add(source, os.path.relpath(source, base))
