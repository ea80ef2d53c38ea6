# SPDX-License-Identifier: MIT
"""What runs, confirmed, is not what the journal believes: a boot loader's fallback, a factory reset, a slot that was
written by cable or rotted.  The journal follows, and says so.

A part of the update machine, and as pure; loaded at the boot that finds it.
"""

from agent import states, version
from agent.errors import RefusedError


def follow(state, boot):
    """The state of what runs, and the commands that tell it.

    `boot`: "image", as measured, "version" as the slot's note says, "failure" and "below_floor"
    """
    image, runs = boot["image"], boot["version"] or "0.0.0"
    if not state["image"]:  # the factory did not say
        return states.enter(state, [], image=image)
    outcome, reason = "running", "image changed"
    if runs != state["version"]:
        reason = "runs %s, not the confirmed %s" % (runs, state["version"])
        try:
            older = version.compare(runs, state["version"]) < 0
        except RefusedError:
            older = False
        if older:
            outcome, reason = "fell_back", "fell back from " + state["version"]
    if boot["failure"]:
        reason += ": " + boot["failure"]
    if boot["below_floor"]:
        outcome = "below_floor"
    report = states.report({"version": None}, outcome, 0, reason)
    report["request"] = None
    log = ("log", "update.fell_back", {"version": runs, "reason": reason})
    return states.enter(state, [log], report, version=runs, image=image)
