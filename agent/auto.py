# SPDX-License-Identifier: MIT
"""The device asks by itself what there is for it: `auto_update`.  Part of the shell; loaded for the moment.

    off       only on demand              check     what is found is told, in status and log
    download  up to the last gate, which then wants an explicit yes           install  as if it had been offered

Rules kept:
 * Each interval is spread by a quarter either way, the first one over an hour at most, so that a fleet does not come in
   one wave; a service's Retry-After is taken at its word.
 * Nothing is asked on trial, and nothing while an update is under way.
 * What was refused before, and what is not newer, is passed over without a write; gates, windows and floors are those of
   every other offer.
 * When it was asked last goes into the journal with the next write that is made anyway: no check costs a write.
"""

from agent.errors import MisuseError, RefusedError

HOW = ("check", "download", "install")
FIRST_MS = 3_600_000
AGAIN_MS = 60_000
ANSWER_MS = 180_000  # then it is given up until the next time


def wish(agent, how):
    """`Agent.check_for_update`."""
    if how is None:
        how = agent.config["auto_update"]
        how = "check" if how == "off" else how
    if how not in HOW:
        raise MisuseError("auto_update", "how is one of: " + ", ".join(HOW))
    agent.uplink.wish = how
    agent.uplink.chore_at = 0


def due(agent, now):
    """Called while there is a session and no trial; the ticks at which it wants to be called next."""
    uplink, every_ms = agent.uplink, 1000 * agent.config["auto_update_interval_s"]
    if uplink.asking and uplink.asking is not True and now >= uplink.auto_until:
        uplink.asking = False
    wanted, periodic = uplink.wish, agent.config["auto_update"] != "off"
    if periodic and not uplink.auto_at:
        uplink.auto_at = now + 1 + _first(agent, every_ms)
    if not wanted and periodic and now >= uplink.auto_at:
        wanted = agent.config["auto_update"]
    if wanted:
        if agent.update_state["phase"] != "idle" or agent.considering or uplink.asking:
            return now + AGAIN_MS
        if now < uplink.patience_until:
            return uplink.patience_until
        uplink.wish = ""
        uplink.auto_at = now + every_ms * 3 // 4 + every_ms * agent.platform.chance.random(1)[0] // 510
        agent.record["checked"] = agent.platform.clock.wall()  # in RAM: see above
        _ask(agent, now, wanted)
    return uplink.auto_at if periodic else now + (1 << 40)


def _first(agent, every_ms):
    """Milliseconds: what is left since the boot before, as far as that is known, and a part of an hour."""
    spread_ms = min(FIRST_MS, every_ms) * agent.platform.chance.random(1)[0] // 255
    checked = agent.record.get("checked")
    if type(checked) is int and agent.module("hold").clock_is_set(agent):
        passed_ms = 1000 * (agent.platform.clock.wall() - checked)
        if 0 <= passed_ms < every_ms:
            return every_ms - passed_ms + spread_ms // 4
    return spread_ms


def _ask(agent, now, how):
    agent.platform.log("update.check", {"how": how})
    if agent.cloud.name == "esthesis":
        agent.begin("find", None, how)
    else:
        agent.uplink.asking = how
        agent.uplink.auto_until = now + ANSWER_MS


def question(agent):
    """What is said with the `decada` question; of a download in progress nothing, since it is known."""
    if agent.uplink.asking is True:
        return {}
    return {"version": agent.update_state["version"], "wanted": agent.config["auto_update_version"]}


def answered(agent, offers, how):
    """The best of what is offered, if it is news."""
    best = None
    for offer in offers:
        if _suits(agent, offer) and (best is None or _is_newer(offer["version"], best["version"])):
            best = offer
    if best is None:
        agent.uplink.available = ""
        agent.platform.log("update.none", {})
        return
    agent.uplink.available = best["version"]
    agent.platform.log("update.available", {"version": best["version"]})
    if how != "check":
        agent.module("offers").offered(agent, dict(best, auto=how))


def _suits(agent, offer):
    state, wanted = agent.update_state, agent.config["auto_update_version"]
    if wanted != "latest" and offer["version"] != wanted:
        return False
    if not offer.get("retry") and offer["digest"] in [sha256 for sha256, _ in state["refused"]]:
        return False
    return bool(offer.get("downgrade")) or _is_newer(offer["version"], state["version"])


def _is_newer(new, old):
    from agent import version

    try:
        return version.compare(new, old) > 0
    except RefusedError:
        return False
