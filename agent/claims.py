# SPDX-License-Identifier: MIT
"""What a boot report says of the device; the outcome of an update is added by who tells of it.

Rules kept:
 * The image is what was read, the version what the running slot's note says of it (the machine follows both).
 * A number is used for one report.  A boot's own report, "running", "below_floor" or, on trial, "trial", has the number
   that was saved with the boot counter: so a trial writes nothing.  It is not said once a later number was used, and
   not on trial while reports wait, whose numbers are lower.
 * An image whose signed security is below the floor says so in each boot's report.
"""


def running(agent):
    """The claims of this boot's own report; None when it was told, or when a report with a later number was."""
    if not agent.running_seq:
        return None
    return _at_boot(complete(agent, _own(agent, "running", "", agent.running_seq), agent.update_state))


def trial(agent):
    """The claims of a trial's report: what runs, for which attempt.  None while reports wait."""
    if not agent.running_seq or agent.reports():
        return None
    state = agent.update_state
    release = state["release"]
    claims = {"outcome": "trial", "seq": agent.running_seq, "target_version": release["version"], "reason": ""}
    for name in ("job", "nonce"):
        claims[name] = release.get(name)
    complete(agent, claims, state)
    claims["version"] = release["version"]
    return _at_boot(claims)


def changed(agent, image):
    """(state, claims) to be saved in one: the running image was measured again and is another one, which is told at once."""
    agent.image = image
    agent.platform.log("image.changed", {"version": agent.update_state["version"], "image": image})
    state = dict(agent.update_state, image=image)
    agent.running_seq = 0  # its number is lower than this one's
    return state, complete(agent, _own(agent, "running", "image changed", agent.record["seq"] + 1), state)


def _at_boot(claims):
    """A report that is said twice is the same one, though the image was measured again in between."""
    if claims["measured"] == "daily":
        claims["measured"] = "boot"
    return claims


def _own(agent, outcome, reason, seq):
    if agent.below_floor:
        outcome = "below_floor"
        low = "security %d is below the floor %d" % (agent.security, agent.update_state["floor"])
        reason = reason + "; " + low if reason else low
    return {"outcome": outcome, "seq": seq, "target_version": None, "reason": reason, "job": None, "nonce": None}


def complete(agent, claims, state):
    claims["version"] = state["version"]
    claims["image"] = agent.image
    claims["slot"] = agent.slot
    claims["boot"] = agent.record["boot"]
    claims["floor"] = state["floor"]
    claims["measured"] = agent.when
    return claims
