# SPDX-License-Identifier: MIT
"""What has to happen in the demo, in which order, and what never may happen.  Pure: a list of events in, findings out.

The list is in an order that respects cause and effect: whatever a device said before it told the server stands before
what the server made of it (`world.World.pump` sees to that).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Event = dict[str, Any]


class Step(NamedTuple):
    words: str
    source: str
    event: str
    fields: dict[str, Any] = {}
    nonempty: tuple[str, ...] = ()
    telling: dict[str, str] = {}  # field -> what its text has to contain

    def fits(self, event: Event) -> bool:
        return (
            event["source"] == self.source
            and event["event"] == self.event
            and all(event.get(name) == value for name, value in self.fields.items())
            and all(event.get(name) for name in self.nonempty)
            and all(text in str(event.get(name)) for name, text in self.telling.items())
        )


def first_boot(version: str) -> list[Step]:
    return [
        Step("key made on the device", "device", "identity.key_made"),
        Step("CSR sent", "device", "identity.csr_sent"),
        Step("certificate stored", "device", "identity.certificate_stored"),
        Step("mutual-TLS session", "device", "session.online", {"tls": "mutual"}),
        Step(f"version {version} reported", "device", "version.reported", {"version": version}),
    ]


def until_activated(version: str) -> list[Step]:
    return [
        Step(f"{version} offered", "device", "update.offered", {"version": version}),
        Step("consent to download", "device", "update.consented", {"gate": "download"}),
        Step("spare slot verified", "device", "update.staged", {"version": version}),
        Step("consent to activate", "device", "update.consented", {"gate": "activate"}),
        Step("spare slot activated", "device", "update.activated"),
        Step("reset", "demo", "power.reset"),
    ]


def good_update(version: str) -> list[Step]:
    return [
        *until_activated(version),
        Step("booted on trial", "device", "update.trial", {"version": version}),
        Step("confirmed", "device", "update.confirmed", {"version": version}),
        Step("signed report accepted", "device", "report.accepted", {"outcome": "updated", "version": version}),
        Step(f"version {version} informed", "device", "version.reported", {"version": version}),
    ]


def bad_update(version: str) -> list[Step]:
    return [
        *until_activated(version),
        Step("trial failed, reset", "demo", "power.reset"),
        Step("rolled back, with a reason", "device", "update.rolled_back", {"version": version}, ("reason",)),
        Step("signed report accepted", "device", "report.accepted", {"outcome": "rolled_back", "version": version}),
    ]


# What a device says of metadata that only strangers have signed.
UNSIGNED = {"reason": "metadata_signature"}


def attack(version: str, stays: str, cloud: str = "decada") -> list[Step]:
    # What runs tells its version only where a command reaches the app.
    answer = {"data": {"blinked": 3, "app": stays}} if cloud == "decada" else {"code": 200}
    return [
        Step("the server is the thief's", "demo", "server.stolen", {"version": version}),
        Step(
            f"the thief's {version} refused: not signed", "device", "update.failed", {"version": version}, (), UNSIGNED
        ),
        Step(f"{stays} still runs", "demo", "command.answered", answer),
    ]


def server_first_boot() -> list[Step]:
    return [
        Step("server: certificate issued", "server", "certificate.issued"),
        Step("server: device online", "server", "device.online"),
    ]


def server_good_update() -> list[Step]:
    return [
        Step("server: offer pushed", "server", "attempt.pushed"),
        Step("server: update proven", "server", "attempt.updated"),
    ]


def server_bad_update() -> list[Step]:
    return [
        Step("server: offer pushed", "server", "attempt.pushed"),
        Step("server: rolled back, with a reason", "server", "attempt.rolled_back", {}, ("reason",)),
    ]


def server_attack() -> list[Step]:
    return [
        Step("server: offer pushed", "server", "attempt.pushed"),
        Step("server: not signed, says the device", "server", "attempt.failed", {}, (), UNSIGNED),
    ]


def missing(events: Iterable[Event], steps: list[Step], cut: bool = False) -> list[str]:
    """The steps that did not happen in this order, each with what came last before it.

    With `cut`, the power of the device went now and then: that is as good as a reset, and with each cut one line of the
    device's may have been lost, which it had not told yet.  What the server knows is never lost.
    """
    told = list(events)
    losses = sum(event["event"] == "power.cut" for event in told) if cut else 0
    passed, lacking = "the start", []
    for step, found in zip(steps, _places(told, steps, cut), strict=True):
        if found:
            passed = step.words
        elif losses and step.source == "device":
            losses -= 1
        else:
            lacking.append(f"{step.words}, after {passed}")
    return lacking


def _places(events: list[Event], steps: list[Step], cut: bool) -> list[bool]:
    """Which steps have their place among the events, in this order.

    Without cuts each takes the first that fits.  With them a line may be lost, and the next that fits be another release's:
    so they are laid over the events as most of them fit, those that cannot be lost first.
    """
    if not cut:
        found, at = [], 0
        for step in steps:
            index = next((index for index in range(at, len(events)) if step.fits(events[index])), None)
            found.append(index is not None)
            at = at if index is None else index + 1
        return found
    worth = [1 if step.source == "device" else len(steps) + 1 for step in steps]
    best = [[0] * (len(events) + 1) for _ in range(len(steps) + 1)]
    fit = [[_fits_under_cuts(step, event) for event in events] for step in steps]
    for i in reversed(range(len(steps))):
        for j in reversed(range(len(events))):
            taken = worth[i] + best[i + 1][j + 1] if fit[i][j] else 0
            best[i][j] = max(taken, best[i][j + 1], best[i + 1][j])
    found, j = [], 0
    for i in range(len(steps)):
        while j < len(events) and best[i][j] == best[i][j + 1]:
            j += 1
        has = j < len(events) and fit[i][j] and best[i][j] == worth[i] + best[i + 1][j + 1]
        found.append(has)
        j += has
    return found


def _fits_under_cuts(step: Step, event: Event) -> bool:
    return step.fits(event) or (step.event == "power.reset" and event["event"] == "power.cut")


class Confirmed:
    """Which versions a device has confirmed, as far as its own words tell, in their order.

    A power cut after the confirm may take the line that tells of it; the next boot then says that the slot of the trial
    is confirmed.
    """

    def __init__(self) -> None:
        self.versions: set[str] = set()
        self._trials: dict[str, str] = {}

    def hear(self, event: Event) -> None:
        if event["event"] == "update.confirmed":
            self.versions.add(event["version"])
        elif event["event"] == "update.trial":
            self._trials[event["slot"]] = event["version"]
        elif event["event"] == "boot" and event["confirmed"] and event["slot"] in self._trials:
            self.versions.add(self._trials[event["slot"]])


def lies(events: Iterable[Event], device: str, versions: tuple[str, ...]) -> list[str]:
    """Any word of one of `versions` in the cloud's version field before the device confirmed it."""
    found, confirmed = [], Confirmed()
    for event in events:
        if event.get("device") != device:
            continue
        confirmed.hear(event)
        version = event.get("version")
        if (
            version in versions
            and version not in confirmed.versions
            and event["event"] in ("version.reported", "attempt.claimed")
        ):
            found.append(f"{event['source']}: {event['event']} {version} before it was confirmed")
    return found


def taken(events: Iterable[Event], device: str, version: str) -> list[str]:
    """Anything that a device did with `version` which it must refuse."""
    steps = ("update.offered", "update.staged", "update.trial", "update.confirmed", "version.reported")
    return [
        f"{event['event']} of {version}, which nobody has signed"
        for event in events
        if event["device"] == device and event["event"] in steps and event.get("version") == version
    ]


def unproven(events: Iterable[Event], device: str) -> list[str]:
    """An attempt that the server calls updated must have been confirmed, and its report accepted, before."""
    found, confirmed = [], Confirmed()
    for event in events:
        if event.get("device") == device:
            confirmed.hear(event)
            if event["event"] == "attempt.updated" and not confirmed.versions:
                found.append("the server said updated before the device had confirmed")
    return found
