# SPDX-License-Identifier: MIT
"""Topics: what a device may publish and subscribe to, and what reaches it.

A device lives in two trees, /sys/{pk}/{dk}/ and /ext/session/{pk}/{dk}/, and sees nothing else.  What it
publishes goes to the server alone; no device's message is ever routed to a device, so that its own `_reply`
cannot come back to it (enos-decada, 3: the SDKs answer such an echo, for ever).

Commands reach a device without a subscription, as on EnOS; replies to its own requests need one.
"""

from __future__ import annotations

from ..names import Identity


def trees(identity: Identity) -> tuple[str, str]:
    product_key, device_key = identity
    return f"/sys/{product_key}/{device_key}/", f"/ext/session/{product_key}/{device_key}/"


def is_own(identity: Identity, topic_or_filter: str) -> bool:
    """Names hold no "+", "#" or "/", so a literal prefix keeps wildcards inside the device's tree."""
    return topic_or_filter.startswith(trees(identity))


def is_reply(topic: str) -> bool:
    return topic.endswith("_reply")


def matches(topic_filter: str, topic: str) -> bool:
    """4.7 for topics that do not begin with "$", which ours never do."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(given) or level not in ("+", given[i]):
            return False
    return len(wanted) == len(given)
