# SPDX-License-Identifier: MIT
"""P-256 is most of a life's time, and is asked the same things in every life: its answers are kept.

On MicroPython each file of tests has a process of its own.  On CPython all share one, and those of P-256 itself want the
real one: there a file says `REMEMBERS = True`, and tests/conftest.py keeps the answers for as long as its tests run.
"""

import sys

from agent.crypto import p256, p256_comb, p256_sign


class Remembered:
    """A pure function that is asked the same thing in every life: P-256 is most of a life's time otherwise."""

    def __init__(self, function):
        self._function = function
        self._known = {}

    def __call__(self, *arguments):
        if arguments not in self._known:
            if len(self._known) > 200:
                self._known.clear()
            self._known[arguments] = self._function(*arguments)
        return self._known[arguments]


PLACES = ((p256_sign, "public"), (p256_sign, "sign"), (p256, "verify"), (p256_comb, "verify"), (p256_comb, "make"))


def signatures():
    """From now on, in this process."""
    for module, name in PLACES:
        if not isinstance(getattr(module, name), Remembered):
            setattr(module, name, Remembered(getattr(module, name)))


def signatures_of_file():
    """At the top of a file with REMEMBERS."""
    if sys.implementation.name == "micropython":
        signatures()
