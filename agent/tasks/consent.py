# SPDX-License-Identifier: MIT
"""The two gates of an update: yes before the download, yes before the activation.

What holds a gate by itself (`hold`) is looked at first: nobody is asked while the
answer could not count.  Then the app's word counts if it has a say
(`approve(stage, release)`), else the policy's; "later" is asked again.  Where the
configuration accepts it, an operator's yes makes a yes of "later", and of
nothing else: the app's no stays a no.

Before the second gate opens, the spare slot has been read back since this boot:
what is activated is what is there now.  An activation that was agreed to and
left no trace ("again") is held like the first, and agreed to still.

The deadline counts the time in which consent was asked for, by ticks.  It is saved
after FIRST_S, then at intervals that double up to MOST_S: a few writes, and a
device that starts often gets there, too.
"""

from agent.errors import AgentError
from agent.tasks import reason
from agent.tasks.readback import verify

LATER_MS = 5000
FIRST_S = 60
MOST_S = 3600


def run(agent, stage):
    """Ends in the update machine's event "consented", "declined", "expired" or "failed"."""
    release = agent.update_state["release"]
    if stage != "download" and agent.verified != release["sha256"]:
        try:
            yield from verify(agent, release)
        except AgentError as error:
            agent.log_error(error)
            agent.update_event(("failed", -4, reason(error), True))
            return
    gate = "download" if stage == "download" else "activate"
    clock, deadline = agent.platform.clock, 1000 * agent.config["consent_deadline_s"]
    asked_ms, idle_ms, save_s = 0, 0, FIRST_S
    while True:
        waits = agent.module("hold").held(agent, gate)
        asks = not waits and stage != "again"
        if asks:
            answer, by = _answer(agent, gate)
            if answer == "no":
                agent.waiting = ""
                what = "download" if gate == "download" else "activation"
                agent.update_event(("declined", "refused by %s: the %s" % (by, what)))
                return
            waits = "" if answer == "yes" else "consent to " + gate
        if not waits:
            agent.waiting = ""
            agent.update_event(("consented", agent.platform.slots.spare()))
            return
        _tell(agent, gate, waits)
        now = clock.ticks_ms()
        yield LATER_MS
        passed = clock.ticks_ms() - now
        if asks:
            asked_ms += passed
        else:
            idle_ms += passed
        if asks and deadline and 1000 * agent.update_state.get("waited", 0) + asked_ms >= deadline:
            agent.waiting = ""
            agent.update_event(("expired",))
            return
        if asked_ms + idle_ms >= 1000 * save_s:
            if deadline and asked_ms >= 1000:
                agent.update_event(("waited", asked_ms // 1000))
            agent.module("hold").count(agent)
            asked_ms, idle_ms, save_s = asked_ms % 1000 if deadline else 0, 0, min(2 * save_s, MOST_S)


def _answer(agent, gate):
    """("yes", "no" or "later", who says so)."""
    answer = "yes" if agent.config["consent_" + gate] == "yes" else "later"
    if gate == "activate" and agent.update_state["release"].get("auto") == "download":
        answer = "later"  # the device fetched it by itself, and was told to go no further
    if agent.approve:
        # An app that fails to answer has not said yes, and not no.
        _, answer = agent.guarded(agent.approve, gate, dict(agent.update_state["release"]))
    return (answer, "app") if answer in ("yes", "no") else (_remote(agent, gate), "operator")


def _remote(agent, gate):
    """What an operator makes of "later"."""
    until = agent.update_state.get("allowed", {}).get(gate)
    if until is None or agent.config["consent_remote"] != "accept":
        return "later"
    if until == 0:
        return "no"
    wall = agent.platform.clock.wall()
    return "yes" if agent.module("hold").clock_is_set(agent) and wall < until else "later"


def _tell(agent, gate, waits):
    """Once for each change: to whoever looks, to the log, and to the cloud."""
    if waits == agent.waiting:
        return
    agent.waiting = waits
    release = agent.update_state["release"]
    agent.platform.log("update.waiting", {"version": release["version"], "gate": gate, "for": waits})
    if "file" not in (release.get("source") or ()):
        agent.uplink.progress(0 if gate == "download" else 80, "waiting for " + waits, release["job"])
