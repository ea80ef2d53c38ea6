# SPDX-License-Identifier: MIT
"""The certificate in use is looked at; where it is time for the next one, `renew` fetches that.

Rules kept:
 * Nothing happens on trial or between activation and reset (the turn sees to it), and
   beside a download only when the certificate is about to end.
 * A look is all that most boots need, and loads neither the identity machine nor what reads certificates.
"""

from agent import life
from agent.errors import AgentError, RefusedError
from agent.uplink import ENROLLED, PROBATION

BLAMED = 3  # dials in a row that servers refused us: then the certificate is taken for over, whatever our clock says
URGENT = 10  # a download waits once no more than one part in so many of the life is left
LEAST_MS = 1000


def run(agent):
    left_ms = 0
    if agent.foreign:
        return  # its service renews nothing
    try:
        if agent.identity["phase"] == PROBATION:
            _again(agent)
            return
        left_ms, is_due = _look(agent)
        if agent.identity["phase"] == ENROLLED:
            if not is_due:
                return
            agent.identity_event(("due",))
        yield from agent.module("tasks.renew").run(agent, left_ms)
    except AgentError as error:
        agent.module("tasks.renew").failed(agent, error, left_ms)


def later(agent, tries, refused, left_ms=0):
    """When it is tried again."""
    from agent import session

    wait_ms = session.wait_ms(tries, agent.platform.chance.random(1)[0], refused)
    agent.renew_at = agent.platform.clock.ticks_ms() + life.pause_ms(tries, wait_ms, left_ms)


def given_up(agent):
    """Servers refused the new certificate, for good: each such renewal wears the flash, so they are ever rarer while there is time."""
    from agent import session

    uplink, platform = agent.uplink, agent.platform
    uplink.given_up += 1
    left_ms = _look(agent)[0]
    wait_ms = session.wait_ms(3 * uplink.given_up, platform.chance.random(1)[0], True)
    long_ms = min(60_000 << min(2 * uplink.given_up, 12), life.MAX_PAUSE_MS, left_ms // 4)
    agent.renew_at = platform.clock.ticks_ms() + max(wait_ms, long_ms)


def _plan(agent, leaf):
    """See `life.plan`.  What had to be read anew is saved with whatever is saved next: it can be read again."""
    record = agent.record
    record["life"] = dates = life.dates(leaf, record.get("life"))
    return life.plan(dates, agent.identity.get("since", 0), agent.platform.clock.wall(), agent.config["renew_percent"])


def _again(agent):
    """On probation: a certificate that ended before it was used; or what is in use was dialled for once, now the new one."""
    state, platform = agent.identity, agent.platform
    now_s = platform.clock.wall()
    why, _, end_ms = _plan(agent, agent.credentials(state["label"])[1][0])
    if not why and now_s * 1000 >= end_ms:
        agent.renew_at = 0
        agent.identity_event(("expired",))
        return
    if not why:
        agent.renew_at = min(agent.renew_at, platform.clock.ticks_ms() + max(LEAST_MS, end_ms - now_s * 1000))
    if agent.uplink.online and agent.uplink.label == agent.label() != agent.identity["label"]:
        agent.module("talk").redial(agent)


def _look(agent):
    """(ms that are left of the certificate in use, whether to renew).  Says what it found, once."""
    state, platform = agent.identity, agent.platform
    now_s = platform.clock.wall()
    label, chain = agent.credentials()
    try:
        why, due_ms, end_ms = _plan(agent, chain[0])
    except RefusedError as error:
        why, due_ms, end_ms = error.detail, 0, 0
    left_ms = 0 if why else end_ms - now_s * 1000
    asked = state.get("asked") or state.get("kept") or agent.uplink.refusals >= BLAMED
    if agent.update_state["phase"] == "fetching" and not why:
        due_ms = end_ms - (end_ms - due_ms) // URGENT
        asked = False
    is_due = asked or not why and now_s * 1000 >= due_ms
    said = why or "until %d" % (end_ms // 1000)
    if said != agent.uplink.life:
        agent.uplink.life = said
        if why:
            platform.log("identity.clock", {"label": label, "why": why})
        else:
            platform.log("identity.life", {"label": label, "renew": due_ms // 1000, "end": end_ms // 1000})
    if not is_due and not why:
        agent.renew_at = min(agent.renew_at, platform.clock.ticks_ms() + max(LEAST_MS, due_ms - now_s * 1000))
    return left_ms, is_due
