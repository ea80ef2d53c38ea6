# SPDX-License-Identifier: MIT
"""What is looked after now and then, and what is asked when the cloud turns the device away.  Part of the shell.

Loaded for a moment; what it remembers is the uplink's.

Rules kept:
 * A refusal proves nothing: whoever sits between can fake one.  After REFUSALS of them in a row the server is asked, over
   verified TLS, how the certificate stands; then ever more rarely, at last once a day.
 * On trial nothing of this is done: the image that may be gone tomorrow changes neither identity nor trust.
 * A revoked device asks once a day, with jitter, and does nothing else.
"""

from agent.errors import RefusedError
from agent.uplink import REVOKED, TRIAL

REFUSALS = 2
FIRST_PAUSE_MS = 60_000  # between two questions, at first
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
REST_MS = 60_000  # until the next look, while something else is under way


def trouble(agent, error):
    """A try to reach the cloud failed with `error`."""
    # CONNACK 3 (the server is unavailable) has the code, too, and is not meant for this device.
    refused = error.code == "mqtt_refused" and isinstance(error, RefusedError)
    if refused or error.code in ("tls_refused", "enrol_refused"):
        _refused(agent)
    elif error.code == "clock_unset" and hasattr(agent.platform.clock, "set"):
        agent.begin("clock", False)
    elif error.code == "crl_stale":
        agent.begin("lists")
    elif error.code == "tls_untrusted":
        _untrusted(agent)


def _refused(agent):
    uplink = agent.uplink
    if agent.foreign:
        return  # nobody is there to ask
    uplink.refusals += 1
    now = agent.platform.clock.ticks_ms()
    if uplink.refusals < REFUSALS or now < uplink.ask_at or agent.update_state["phase"] == TRIAL:
        return
    uplink.ask_at = now + _jittered(agent, min(FIRST_PAUSE_MS << min(uplink.questions, 12), DAY_MS))
    uplink.questions += 1
    agent.begin("standing")


def _untrusted(agent):
    """Perhaps the CA has another root.  In vain where the HTTPS server is not vouched for either: TLS is never unverified."""
    uplink, now = agent.uplink, agent.platform.clock.ticks_ms()
    if agent.update_state["phase"] != TRIAL and (not uplink.roots_asked or now - uplink.roots_asked >= DAY_MS):
        uplink.roots_asked = now or 1
        agent.begin("anchors")


def due(agent, now):
    """It is time to look; gives the ticks of the next time."""
    uplink, rest = agent.uplink, now + REST_MS
    if agent.identity["phase"] == REVOKED:
        if not uplink.ask_at:  # since this boot: a device that resets all the time asks no oftener
            uplink.ask_at = now + _jittered(agent, DAY_MS)
        elif now >= uplink.ask_at:
            uplink.ask_at = now + _jittered(agent, DAY_MS)
            agent.begin("standing")
        return uplink.ask_at
    if not uplink.online or agent.update_state["phase"] == TRIAL:
        return rest
    if uplink.wish or uplink.asking or agent.config["auto_update"] != "off":
        rest = min(rest, max(now + 1, agent.module("auto").due(agent, now)))
        if agent._tasks:
            return rest
    if agent.foreign:
        return rest  # a service that knows neither our lists nor our roots
    if uplink.guessed is not None and not agent.module("hold").clock_is_set(agent):
        agent.begin("clock", True)
        return now + HOUR_MS
    if now >= uplink.lists_at and getattr(agent.platform, "lists", None):
        agent.begin("lists")
        return rest
    if not uplink.roots_at:  # spread over a fleet that came up together
        uplink.roots_at = now + 1 + HOUR_MS * agent.platform.chance.random(1)[0] // 255
    elif now >= uplink.roots_at:
        uplink.roots_at = now + _jittered(agent, WEEK_MS)
        agent.begin("anchors")
    return rest


def _jittered(agent, wait_ms):
    """From 3/4 to 5/4 of it."""
    return wait_ms * 3 // 4 + wait_ms * agent.platform.chance.random(1)[0] // 510
