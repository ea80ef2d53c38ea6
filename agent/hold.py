# SPDX-License-Identifier: MIT
"""What keeps a gate of an update shut, whoever agrees: it was put off, the hour is wrong, the device is busy.

Part of the shell; loaded when it is needed.  Rules kept:
 * A deferral is durable.  It ends after so much time with power, counted by
   ticks and saved now and then, or when a clock that is set says so: never too
   early, and late at worst by what was not saved.
 * A clock that nobody set opens no window.
 * A lock lives in RAM: a device that starts is busy with nothing.
 * No lock holds a trial's end back: an image that is not well has no say in it.
"""

from agent import BUILT, window
from agent.errors import MisuseError

MAX_DEFER_S = 2_592_000  # 30 days
MAX_REASON_CHARACTERS = 64
MAX_LOCKS = 16
SURE_S = 60  # a clock that differs by more from what it began with was set


def held(agent, gate):
    """Why the gate stays shut now, in words; "" when nothing holds it."""
    config = agent.config
    if deferred(agent):
        return "the end of a deferral"
    text = config["window"]
    if text and (gate == "activate" or config["window_gates"] == "both"):
        if not clock_is_set(agent):
            return "the clock to be set, for the window " + text
        if not window.is_open(text, agent.platform.clock.wall()):
            return "the window " + text
    if gate == "activate" and agent.locks:
        return "the device, which is busy: " + agent.locks[-1]
    return ""


def floor(agent):
    """Seconds: no clock is believed that is before it."""
    return max(BUILT, agent.record.get("clock", 0))


def offset(agent):
    """Seconds of the wall clock at this boot's beginning; another once somebody has set it."""
    clock = agent.platform.clock
    return clock.wall() - clock.ticks_ms() // 1000


def clock_is_set(agent):
    """A clock at its floor was never set: it stands in 1970, or was told no more than a time that is past.

    Nor was one that the agent began with its floor, and that nobody has set since.
    """
    return not _is_guessed(agent) and agent.platform.clock.wall() > floor(agent)


def _is_guessed(agent):
    return agent.uplink.guessed is not None and abs(offset(agent) - agent.uplink.guessed) < SURE_S


def own_time(agent):
    """Seconds: what the clock says by itself, whatever floor it was held to, or set to at this boot."""
    clock = agent.platform.clock
    if _is_guessed(agent):
        return max(BUILT, agent.uplink.unset + clock.ticks_ms() // 1000)
    clock.set_floor(BUILT)
    own = clock.wall()
    clock.set_floor(floor(agent))
    return own


def drop_floor(agent):
    """The time that was signed by keys that are void now: it may have been a thief's, of any year."""
    own, guessed = own_time(agent), _is_guessed(agent)
    agent.save(clock=0)
    clock = agent.platform.clock
    clock.set_floor(BUILT)
    if guessed:
        clock.set(own)
        agent.uplink.guessed = offset(agent) if own <= BUILT else None


# Deferral.  Journal: "defer", [seconds left when it was saved, time of day at which it ends or 0].


def defer(agent, duration_s):
    """`Agent.defer`."""
    if type(duration_s) is not int or not 0 <= duration_s <= MAX_DEFER_S:
        raise MisuseError("defer", "a duration is a whole number of seconds, at most %d" % MAX_DEFER_S)
    until = agent.platform.clock.wall() + duration_s if clock_is_set(agent) else 0
    if duration_s or agent.record.get("defer"):
        agent.save(defer=[duration_s, until] if duration_s else None)
    agent.deferred_ms = agent.platform.clock.ticks_ms()


def deferred(agent):
    """Seconds that are left.  Its end is saved, else the next boot would wait for it again."""
    found = agent.record.get("defer")
    if not found:
        return 0
    clock = agent.platform.clock
    if agent.deferred_ms is None:
        agent.deferred_ms = clock.ticks_ms()  # of what went by earlier in this boot nobody knows
    left = found[0] - (clock.ticks_ms() - agent.deferred_ms) // 1000
    if left <= 0 or (found[1] and clock_is_set(agent) and clock.wall() >= found[1]):
        agent.save(defer=None)
        return 0
    return left


def count(agent):
    """Save how much of the deferral is over."""
    left = deferred(agent)
    if left:
        agent.save(defer=[left, agent.record["defer"][1]])
        agent.deferred_ms = agent.platform.clock.ticks_ms()


class Lock:
    """`Agent.busy`: a context manager; locks may be nested, and overlap."""

    def __init__(self, agent, reason):
        if not isinstance(reason, str) or not 0 < len(reason) <= MAX_REASON_CHARACTERS:
            raise MisuseError("busy", "a reason is a text of at most %d characters" % MAX_REASON_CHARACTERS)
        self._agent = agent
        self._reason = reason

    def __enter__(self):
        if len(self._agent.locks) >= MAX_LOCKS:
            raise MisuseError("busy", "more than %d locks at once" % MAX_LOCKS)
        self._agent.locks.append(self._reason)
        return self

    def __exit__(self, *error):
        self._agent.locks.remove(self._reason)
