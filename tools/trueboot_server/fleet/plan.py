# SPDX-License-Identifier: MIT
"""How a job goes through its devices: phases, thresholds, times.  Read once, checked whole, kept as JSON.

A plain job has one phase: everybody at once, and it ends when nobody is waited for.  A campaign's phases say how far
it goes each time: "5%" is up to five in a hundred of its devices, 10 up to ten; the last is everybody.  A phase is
passed when `success` percent of its devices have confirmed the release; more than `max_failures` (a number, or a
share of the phase) halt the campaign.  Success is never counted but from what `proof` accepted, or what is claimed where the
product says that claims count.

Nothing waits without an end: a phase has `phase_s`, and a device `timeout_s` from the moment that it was told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

JOB, CAMPAIGN, AUTO = "job", "campaign", "auto"
MAX_PHASES, MAX_TRIES = 20, 10
MAX_SECONDS = 366 * 24 * 3600
DAY_MS = 24 * 3600 * 1000

_SHARE = re.compile(r"(\d{1,3})\s*%\Z")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z\Z")


class BadPlan(Exception):
    """What is wrong, for whoever wrote the plan."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number, or a share of something: 3, or "5%"."""

    number: int
    share: bool = False

    @property
    def text(self) -> int | str:
        return f"{self.number}%" if self.share else self.number

    def upto(self, of: int) -> int:
        """At least one of a share that is not zero, if there is any."""
        if not self.share:
            return min(self.number, of)
        return -(-self.number * of // 100)

    def within(self, of: int) -> int:
        """Rounded down: how many may fail."""
        return self.number * of // 100 if self.share else self.number


@dataclass(frozen=True, slots=True)
class Phase:
    size: Amount
    success: int = 90  # percent
    max_failures: Amount = Amount(10, True)
    soak_s: int = 0
    phase_s: int | None = 7 * 24 * 3600  # None: a plain job's, which waits for its devices

    def needed(self, devices: int) -> int:
        return -(-self.success * devices // 100)


@dataclass(frozen=True, slots=True)
class Plan:
    phases: tuple[Phase, ...]
    at_once: int | None = None  # None: everybody
    window: tuple[int, int] | None = None  # minutes of the day, UTC, from and until
    dynamic: bool = False  # who begins to match later joins the last phase
    on_request: bool = False  # nothing is pushed: devices ask
    tries: int = 1  # attempts of a device that fails, or is out of time; a refusal or a rollback ends it

    def in_window(self, now_ms: int) -> bool:
        if self.window is None:
            return True
        start, end = self.window
        minute = now_ms % DAY_MS // 60_000
        return start <= minute < end if start < end else minute >= start or minute < end

    def bounds(self, devices: int) -> list[int]:
        """How many devices are in the phases up to each."""
        most, found = 0, []
        for phase in self.phases:
            most = max(most, phase.size.upto(devices))
            found.append(most)
        found[-1] = devices
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "phases": [
                {
                    "size": phase.size.text,
                    "success": phase.success,
                    "max_failures": phase.max_failures.text,
                    "soak_s": phase.soak_s,
                    "phase_s": phase.phase_s,
                }
                for phase in self.phases
            ],
            "at_once": self.at_once,
            "window": window_text(self.window),
            "dynamic": self.dynamic,
            "on_request": self.on_request,
            "tries": self.tries,
        }


EVERYBODY = Amount(100, True)


def plain(max_failures: int) -> Plan:
    """A plain job's: everybody at once, and the job ends when nobody is waited for any more."""
    return Plan((Phase(EVERYBODY, 0, Amount(max_failures), 0, None),))


def automatic() -> Plan:
    """Of devices that ask by themselves: they join when they come, and a release that fails too often is offered no more."""
    return Plan((Phase(EVERYBODY, 0, Amount(10, True), 0, None),), dynamic=True, on_request=True)


def stored(value: dict[str, Any]) -> Plan:
    """What `to_json` gave."""
    phases = tuple(
        Phase(
            amount(p["size"], "size"),
            p["success"],
            amount(p["max_failures"], "max_failures"),
            p["soak_s"],
            p["phase_s"],
        )
        for p in value["phases"]
    )
    return Plan(
        phases,
        value["at_once"],
        window(value["window"]),
        value["dynamic"],
        value["on_request"],
        value["tries"],
    )


def read(body: dict[str, Any]) -> Plan:
    """The plan in a request's members; what they do not say is the default.  BadPlan."""
    common = _phase(Phase(EVERYBODY), {name: body[name] for name in _OF_A_PHASE if body.get(name) is not None}, "")
    told = body.get("phases")
    if told is None:
        told = ["100%"]
    if not isinstance(told, list) or not 1 <= len(told) <= MAX_PHASES:
        raise BadPlan(f'phases must be a list of 1 to {MAX_PHASES}: numbers, shares like "5%", or objects')
    phases = [_one(common, entry, f"phase {number}: ") for number, entry in enumerate(told, 1)]
    for before, after in zip(phases, phases[1:], strict=False):
        if before.size.share == after.size.share and after.size.number <= before.size.number:
            raise BadPlan(f"phases must rise: {after.size.text} comes after {before.size.text}")
    if phases[-1].size != EVERYBODY:
        phases.append(replace(common, size=EVERYBODY))
    for name in ("dynamic", "on_request"):
        if type(body.get(name, False)) is not bool:
            raise BadPlan(f"{name} is true or false")
    at_once = body.get("at_once")
    if at_once is not None:
        at_once = _number(at_once, 1, 1_000_000, "at_once")
    tries = _number(body.get("tries", 1), 1, MAX_TRIES, "tries")
    dynamic, on_request = body.get("dynamic", False), body.get("on_request", False)
    return Plan(tuple(phases), at_once, window(body.get("window")), dynamic, on_request, tries)


_OF_A_PHASE = tuple(field.name for field in fields(Phase) if field.name != "size")
MEMBERS = ("phases", *_OF_A_PHASE, "at_once", "window", "dynamic", "on_request", "tries")


def _one(common: Phase, entry: Any, where: str) -> Phase:
    if not isinstance(entry, dict):
        return replace(common, size=_size(entry, where))
    if unknown := sorted(set(entry) - {"size", *_OF_A_PHASE}):
        raise BadPlan(f"{where}unknown: {', '.join(map(str, unknown))[:100]}")
    return replace(_phase(common, entry, where), size=_size(entry.get("size"), where))


def _phase(phase: Phase, told: dict[str, Any], where: str) -> Phase:
    changed: dict[str, Any] = {}
    if "success" in told:
        changed["success"] = _number(told["success"], 0, 100, where + "success", " percent")
    if "max_failures" in told:
        changed["max_failures"] = amount(told["max_failures"], where + "max_failures")
    if "soak_s" in told:
        changed["soak_s"] = _number(told["soak_s"], 0, MAX_SECONDS, where + "soak_s", " seconds")
    if "phase_s" in told:
        changed["phase_s"] = _number(told["phase_s"], 1, MAX_SECONDS, where + "phase_s", " seconds")
    return replace(phase, **changed)


def _size(value: Any, where: str) -> Amount:
    size = amount(value, where + "size")
    if not size.number:
        raise BadPlan(f"{where}its size is nobody")
    return size


def amount(value: Any, name: str) -> Amount:
    if type(value) is int and 0 <= value <= 1_000_000:
        return Amount(value)
    share = _SHARE.match(value) if isinstance(value, str) else None
    if share is None or int(share[1]) > 100:
        raise BadPlan(f'{name} is a whole number, or a share like "5%"')
    return Amount(int(share[1]), True)


def seconds(value: Any, name: str) -> int:
    return _number(value, 1, MAX_SECONDS, name, " seconds")


def _number(value: Any, least: int, most: int, name: str, unit: str = "") -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadPlan(f"{name} is a whole number from {least} to {most}{unit}")
    return value


def window(value: Any) -> tuple[int, int] | None:
    """ "22:00-04:00": every day, UTC; over midnight where the end comes first."""
    if value is None:
        return None
    found = _WINDOW.match(value) if isinstance(value, str) else None
    if found is None:
        raise BadPlan('window is like "22:00-04:00" (UTC, every day)')
    start, end = (int(found[part]) * 60 + int(found[part + 1]) for part in (1, 3))
    if start == end:
        raise BadPlan("window begins when it ends: leave it out for the whole day")
    return start, end


def window_text(value: tuple[int, int] | None) -> str | None:
    return value and "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in value)


def moment(value: Any, name: str) -> int:
    """Milliseconds since 1970 of "2026-12-01T02:00:00Z"."""
    if not isinstance(value, str) or not _AT.match(value):
        raise BadPlan(f'{name} is a time like "2026-12-01T02:00:00Z" (UTC)')
    try:
        return int(datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadPlan(f"{name}: there is no such time") from None
