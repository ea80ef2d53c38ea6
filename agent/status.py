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
        "available": agent.uplink.available,
        "weak": weak(agent),
    }


def weak(agent):
    """Policies in use that make less of the promises, in words; "" as a rule."""
    found = []
    if agent.foreign:
        found.append("the service made this device's key, which is not renewed")
    if agent.config["mqtt"][:6] == "tcp://":
        found.append("MQTT is not encrypted")
    found.extend(getattr(agent.platform, "weak", ()))
    return "; ".join(found)
