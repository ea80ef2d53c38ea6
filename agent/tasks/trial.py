# SPDX-License-Identifier: MIT
"""The trial of the running image: is it the signed one, is the app well, does the server answer?

All three within `trial_timeout_ms`, else the image is given up, and the reason
says what was lacking.  The app is asked again and again: a sensor may need a
moment.  Its check may be one callable, then it is called "app", or a dict of
them by their names; all of them must say yes in the same look.
"""

CHECK_MS = 200


def run(agent):
    """Ends in the update machine's event "healthy" or "failed"."""
    clock = agent.platform.clock
    begun = clock.ticks_ms()
    end = begun + agent.config["trial_timeout_ms"]
    if agent.image != agent.update_state["release"]["sha256"]:
        agent.update_event(("failed", -3, "image: the running one is not the signed one", True))
        return
    while True:
        now = clock.ticks_ms()
        lacking = _unwell(agent)
        if not lacking and not agent.uplink.contact:
            lacking = "no server contact"
        if not lacking:
            agent.update_event(("healthy",))
            return
        if now >= end:
            agent.update_event(("failed", -1, lacking, True))
            return
        yield CHECK_MS


def _unwell(agent):
    """The first check that does not say yes, "" when all do."""
    checks = agent.healthy or {}
    if callable(checks):
        checks = {"app": checks}
    for name in checks:
        ok, well = agent.guarded(checks[name])
        if not ok:
            return "health check %s: %s" % (name, well)
        if not well:
            return "health check %s" % name
    return ""
