# SPDX-License-Identifier: MIT
"""What a boot report says of the device; the outcome of an update is added by who tells of it."""


def running(agent):
    """The claims of this boot's own report; None when it was told, or when a report with a later number was."""
    if not agent.running_seq:
        return None
    claims = {"outcome": "running", "seq": agent.running_seq, "target_version": None, "reason": ""}
    claims["job"] = claims["nonce"] = None
    return complete(agent, claims, agent.update_state)


def complete(agent, claims, state):
    claims["version"] = state["version"]
    claims["image"] = agent.image
    claims["slot"] = agent.slot
    claims["boot"] = agent.record["boot"]
    claims["floor"] = state["floor"]
    claims["measured"] = "boot"
    return claims
