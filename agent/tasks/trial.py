# SPDX-License-Identifier: MIT
"""The trial of the running image: is it the signed one, is the app well, does the server answer?

All three within `trial_timeout_ms`, else the image is given up.  The app is
asked again and again: a sensor may need a moment.
"""

CHECK_MS = 200


def run(agent):
    """Ends in the update machine's event "healthy" or "failed"."""
    clock = agent.platform.clock
    end = clock.ticks_ms() + agent.config["trial_timeout_ms"]
    if agent.image != agent.update_state["release"]["sha256"]:
        agent.update_event(("failed", -3, "the running image is not the signed one", True))
        return
    while True:
        ok, well = agent.guarded(agent.healthy) if agent.healthy else (True, True)
        if ok and well and agent.uplink.contact:
            agent.update_event(("healthy",))
            return
        if clock.ticks_ms() >= end:
            reason = "no answer from the server"
            if not ok:
                reason = well
            elif not well:
                reason = "the application is not healthy"
            agent.update_event(("failed", -1, reason, True))
            return
        yield CHECK_MS
