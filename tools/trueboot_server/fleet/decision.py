# SPDX-License-Identifier: MIT
"""What a job does next, from its plan, its counts and the time.  Pure; `course` carries it out.

    running, in phase p, for each look:
    1. more failures in a phase that has begun than it may have          -> Halt
    2. phase p can no longer reach its threshold                         -> Halt
    3. it has reached it, and had not yet                                -> Reach (the soak begins)
    4. it has soaked: is there another phase?                            -> Advance, else End when nobody is waited for
    5. its time is over and it has not reached it                        -> Halt; reached: End, with who is still waited for
    6. there is room, and it is time                                     -> Release (the next devices may be told)

A device that proved the release and then fell back counts as failed.  Phases that have passed are still looked at
by rule 1: a bad release may show late.  Everything else (paused, halted, ...) does nothing by itself.  The actions
of one look are carried out together; looking again at what came of them ends, since each moves one way only.
"""

from __future__ import annotations

from dataclasses import dataclass

from .plan import AUTO, Plan

_FEW = 2  # failures of devices that ask by themselves: so many prove nothing of a release


@dataclass(frozen=True, slots=True)
class Counts:
    """A phase's devices, each once."""

    devices: int = 0
    waiting: int = 0  # not to be told yet
    queued: int = 0  # to be told as soon as they are there
    begun: int = 0  # told, and not at an end
    proven: int = 0
    claimed: int = 0  # by the device's word alone, of products where that counts
    failed: int = 0
    cancelled: int = 0

    @property
    def open(self) -> int:
        return self.queued + self.begun


@dataclass(frozen=True, slots=True)
class Course:
    """Where a running job is."""

    phase: int  # from 0
    phase_at: int  # ms
    reached_at: int | None = None


@dataclass(frozen=True, slots=True)
class Halt:
    reason: str
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    pass


@dataclass(frozen=True, slots=True)
class Advance:
    phase: int


@dataclass(frozen=True, slots=True)
class Release:
    devices: int


@dataclass(frozen=True, slots=True)
class End:
    pass


Action = Halt | Reach | Advance | Release | End


def decide(kind: str, plan: Plan, course: Course, counts: list[Counts], now: int) -> Action | None:
    """`counts`: of every phase of the plan, in order.  None: there is nothing to do now."""
    many = len(plan.phases) > 1
    for number in range(course.phase + 1):
        phase, count = plan.phases[number], counts[number]
        allowed = phase.max_failures.within(count.devices)
        if count.failed > max(allowed, _FEW if kind == AUTO else 0):
            failed = f"{count.failed} of {count.devices} failed, and {allowed} may"
            reason = f"phase {number + 1}: {failed}" if many else failed
            return Halt(reason, sum(one.failed for one in counts))
    phase, count = plan.phases[course.phase], counts[course.phase]
    good = count.proven + count.claimed
    needed = phase.needed(count.devices)
    possible = good + count.waiting + count.open
    name = f"phase {course.phase + 1}" if many else "it"
    if possible < needed:
        return Halt(f"{name} cannot reach {phase.success} %: {good} of {count.devices} have it, {possible} can")
    if course.reached_at is None and good >= needed and (count.devices or not _may_join(plan, course)):
        return Reach()
    over = phase.phase_s is not None and now >= course.phase_at + phase.phase_s * 1000
    last = course.phase == len(plan.phases) - 1
    soaked = course.reached_at is not None and (
        not phase.soak_s  # whatever a clock that was set back says
        or now >= course.reached_at + phase.soak_s * 1000
        or (count.devices == 0 and not last)
    )
    if soaked and not last:
        return Advance(course.phase + 1)
    if soaked and last and kind != AUTO:
        nobody = not any(one.waiting or one.open for one in counts)
        if over or (nobody and not plan.dynamic):
            return End()
    if over and course.reached_at is None:
        if good >= needed:  # nobody joined
            return End()
        return Halt(f"{name} did not reach {phase.success} % in time: {good} of {count.devices} have it")
    waiting = sum(one.waiting for one in counts[: course.phase + 1])
    room = waiting if plan.at_once is None else plan.at_once - sum(one.open for one in counts)
    if waiting and room > 0 and plan.in_window(now):
        return Release(min(waiting, room))
    return None


def _may_join(plan: Plan, course: Course) -> bool:
    return plan.dynamic and course.phase == len(plan.phases) - 1
