# SPDX-License-Identifier: MIT
"""What a device calls a release: 24 hex digits, as esthesis's own ids are."""

from __future__ import annotations

import hashlib


def package_id(target: str, sha256: str) -> str:
    """The same for as long as the path means the same image."""
    return hashlib.sha256(f"{target}\n{sha256}".encode()).hexdigest()[:24]
