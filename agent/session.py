# SPDX-License-Identifier: MIT
"""The connection to the cloud, as a pure machine: when to dial, and how long to wait after a failure.

Rules kept: waits double from FIRST_WAIT_MS to a cap, with jitter (half fixed,
half by chance), so that a fleet does not come back in one wave; a refusal (the
peer or its certificate is wrong) waits longer than a network fault, since
asking again rarely helps; a session that lasted resets the count.  Time and
chance come in with the events: `now` in ms, `chance` in 0..255.

Nothing here is durable: a reset dials again at once, and the boot itself takes time.

Events: ("tick", now) ("opened", now) ("lost", now, chance, refused)
Commands: ("dial",) ("wait", ms)
"""

from agent.errors import MisuseError

OFFLINE = "offline"
DIALING = "dialing"
ONLINE = "online"

FIRST_WAIT_MS = 1000
MAX_WAIT_MS = 300_000
FIRST_REFUSED_WAIT_MS = 8000
STABLE_MS = 60_000  # a session this long forgets earlier failures

# phase, event -> the phases it may lead to; see agent/update.py for why this is a text.
TRANSITIONS = """
offline tick -> offline dialing
dialing tick -> dialing
dialing opened -> online
dialing lost -> offline
online tick -> online
online lost -> offline
"""


def initial():
    return {"phase": OFFLINE, "failures": 0, "until": 0, "since": 0}


def wait_ms(failures, chance, refused):
    """The pause before try number `failures` + 1: half of it fixed, half by chance."""
    base = FIRST_REFUSED_WAIT_MS if refused else FIRST_WAIT_MS
    cap = min(MAX_WAIT_MS, base << min(failures - 1, 12))
    return cap // 2 + cap * chance // 510


def step(state, event):
    """One event in, the next state and the commands out.  MisuseError for an event that the phase does not know."""
    phase, name = state["phase"], event[0]
    if "\n%s %s ->" % (phase, name) not in TRANSITIONS:
        raise MisuseError("session_event", "%s in phase %s" % (name, phase))
    new = dict(state)
    if name == "tick":
        if phase == ONLINE:
            return state, []
        if phase == OFFLINE and event[1] < state["until"]:
            return state, [("wait", state["until"] - event[1])]
        new["phase"] = DIALING
        return new, [("dial",)]
    if name == "opened":
        new["phase"] = ONLINE
        new["since"] = event[1]
        return new, []
    now, chance, refused = event[1:]
    if phase == ONLINE and now - state["since"] >= STABLE_MS:
        new["failures"] = 0
    new["phase"] = OFFLINE
    new["failures"] += 1
    wait = wait_ms(new["failures"], chance, refused)
    new["until"] = now + wait
    return new, [("wait", wait)]
