# SPDX-License-Identifier: MIT
"""P-256 is most of a life's time, and is asked the same things in every life: its answers are kept."""

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


def signatures():
    """From now on, in this process."""
    if isinstance(p256.verify, Remembered):
        return
    p256_sign.public = Remembered(p256_sign.public)
    p256_sign.sign = Remembered(p256_sign.sign)
    p256.verify = Remembered(p256.verify)
    p256_comb.verify = Remembered(p256_comb.verify)
    p256_comb.make = Remembered(p256_comb.make)
