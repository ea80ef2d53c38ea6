# SPDX-License-Identifier: MIT
"""How devices spell a road of esthesis's agent service: direct, behind its ingress, and with the slashes that strings
glued together leave (a provisioning URL that ends in one; the ingress's own rewriting)."""

from __future__ import annotations


def both(path: str) -> list[str]:
    """All spellings of `path`, which begins with /api/v1/; the first is the plain one."""
    rest = path.removeprefix("/api")
    spelt = [path, "/api/agent" + rest, "/api/" + rest, "/api/agent/" + rest]
    return [*spelt, *("/" + one for one in spelt)]
