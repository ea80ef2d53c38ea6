# SPDX-License-Identifier: MIT
"""What a failed try costs, and how long to wait for the next.

A download's tries are a budget, and what they are spent on is told apart:
 * A try that brought the image on by 1/PARTS of it, and by PART_BYTES, is no fruitless one:
   the machine counts from zero again.  There are at most PARTS of them, and then an end.
   Progress counts from the furthest byte on that ever was durable.
 * The cloud being away as a whole, or a server that asks for patience, spends none; there is a limit to that, too.
 * An address that is refused spends one, and a fresh offer is asked for (`fresh`).
"""

from agent import session
from agent.errors import RefusedError, UnreachableError
from agent.tasks import asked_s, is_outage, reason

PARTS = 64
PART_BYTES = 4096


def pause_ms(agent, failures, local, after_s):
    """The rest before try number `failures` + 1: with jitter, so that a fleet does not come back in one wave."""
    # A stick that was pulled takes longer to come back than a network.
    return session.wait_ms(failures, agent.platform.chance.random(1)[0], local) + 1000 * after_s


def spend(agent, release, memory, tries, error):
    """The number of fruitless tries to go on with, or None: the machine has heard of the failure, and this task has ended."""
    if not isinstance(error, UnreachableError):
        agent.download = None
        agent.update_event(("failed", -3 if isinstance(error, RefusedError) else -4, reason(error), True))
        return None
    memory["after_s"] = asked_s(error)
    memory["refused"] = error.code == "url_refused"
    memory["misled"] = error.code == "http_range" and tries > 0
    if memory["at"] - memory["mark"] >= max(PART_BYTES, release["length"] // PARTS):
        memory["mark"] = memory["at"]
        memory["outages"], memory["advances"] = 0, 1
        if tries:
            agent.update_event(("advanced",))
        return 0
    if is_outage(agent, error, "file" in (release.get("source") or ()), memory["outages"]):
        memory["outages"] += 1
        return tries
    agent.update_event(("failed", -2, reason(error), False))  # which begins the next try, if there is one
    if agent.update_state["phase"] != "fetching":
        agent.download = None
    return None
