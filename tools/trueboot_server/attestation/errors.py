# SPDX-License-Identifier: MIT
"""The one way in which an attestation fails: a stable code, and which of its claims does not hold."""

from __future__ import annotations


class BadAttestation(Exception):
    def __init__(self, code: str, why: str):
        super().__init__(why)
        self.code = code


def unreadable(why: str) -> BadAttestation:
    return BadAttestation("attestation_unreadable", why)
