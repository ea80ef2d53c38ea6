# SPDX-License-Identifier: MIT
"""How a device stands, for its app and for whoever asks it.  Loaded for the question."""


def of(agent):
    state = agent.update_state
    return {
        "device": "%s/%s" % (agent.config["product_key"], agent.config["device_key"]),
        "version": state["version"],
        "phase": state["phase"],
        "waiting": agent.waiting,
        "slot": agent.slot,
        "identity": agent.identity["phase"],
        "revoked": agent.identity.get("reason", ""),
        "online": agent.uplink.online,
        "reports": len(agent.reports()),
        "floor": state["floor"],
        "freshness": agent.record.get("freshness", ""),
        "image": agent.image,
        "measured": agent.when,
        "below_floor": agent.below_floor,
    }
