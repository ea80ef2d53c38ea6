# SPDX-License-Identifier: MIT
"""How the demo is told: one JSON object a line for programs, plain lines for a pipe, a live log with bars for a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any, Protocol

from ..tables import printable

Event = dict[str, Any]

# What a person is told; an event that is not listed is left to --json.  {fields} are the event's own.
WORDS = {
    ("demo", "demo.started"): "everything lives in {folder}",
    ("demo", "demo.chapter"): "{title}",
    ("demo", "server.ready"): "listening: {https}, {mqtt}",
    ("demo", "release.signed"): "release {version} signed, {bytes} bytes, sha256 {sha256:.12}…",
    ("demo", "release.broken"): "release {version} is broken on purpose: it imports a driver that it does not ship",
    ("demo", "server.stolen"): "BROKEN INTO: the thief's own {version} is published, sha256 {sha256:.12}…",
    ("demo", "power.reset"): "reset; start {start}",
    ("demo", "power.cut"): "power cut ({signal}); start {start}",
    ("demo", "power.off"): "off (exit code {code})",
    ("demo", "power.budget_spent"): "does not come up: {starts} starts",
    ("demo", "device.said"): "{text}",
    ("demo", "command.answered"): "command {service} answered: {data}",
    ("demo", "command.failed"): "command {service} failed: {reason}",
    ("device", "identity.registered"): "registered: the cloud gave it a device secret",
    ("device", "identity.key_made"): "key pair made on the device; the private key stays there",
    ("device", "identity.csr_sent"): "CSR sent",
    ("device", "identity.attested"): "ATTESTED: the TPM has shown whose maker's it is, and that the key lives in it",
    ("device", "identity.not_attested"): "not attested: {why}",
    ("device", "identity.certificate_stored"): "certificate stored",
    ("device", "session.online"): "MQTT session, TLS {tls}",
    ("device", "version.reported"): "runs {version}: told the cloud",
    ("device", "update.offered"): "offered {version}",
    ("device", "update.consented"): "consent to {gate}: yes",
    ("device", "update.staged"): "{version} is in the spare slot: length, hash and signature hold",
    ("device", "update.activated"): "slot {slot} activated",
    ("device", "update.trial"): "TRIAL of {version} in slot {slot}",
    ("device", "update.confirmed"): "CONFIRMED {version}",
    ("device", "update.rolled_back"): "ROLLED BACK from {version}: {reason}",
    ("device", "update.failed"): "update failed: {reason}",
    ("device", "update.waiting"): "{version} waits for {for}",
    ("device", "update.refused"): "update refused: {reason}",
    ("device", "report.accepted"): "signed report accepted: {outcome} {version}",
    ("device", "command"): "command {name}",
    ("device", "error"): "{code}: {detail}",
    ("server", "device.registered"): "knows {device}",
    ("server", "device.tpm_bound"): "{device} has the TPM whose endorsement key is {ek:.12}…",
    ("server", "attestation.refused"): "attestation of {device} refused: {why}",
    ("server", "certificate.issued"): "certificate issued to {device}",
    ("server", "telemetry"): "telemetry of {device}: {points}",
    ("server", "job.created"): "job {job}: update to {version}",
    ("server", "attempt.on_trial"): "{device} runs {version} on trial, by its signed report",
    ("server", "device.fell_back"): "{device} FELL BACK to {version}: {reason}",
    ("server", "device.unknown_image"): "{device} runs {version}: {reason}",
    ("server", "attempt.claimed"): "{device} claims {version}",
    ("server", "attempt.updated"): "{device} UPDATED: proven by its signed report",
    ("server", "attempt.rolled_back"): "{device} rolled back: {reason}",
    ("server", "attempt.failed"): "{device} failed: {reason}",
    ("server", "attempt.refused"): "{device} refused: {reason}",
    ("server", "report.rejected"): "report of {device} rejected: {reason}",
    ("server", "fault.added"): "MISBEHAVES on command: {kind}",
    ("server", "fault.ended"): "no more {kind}: it struck {applied} times",
    ("server", "job.done"): "job {job} done",
    ("server", "job.halted"): "job {job} HALTED: nobody else is offered this release",
}
GOOD = ("update.confirmed", "attempt.updated", "job.done")
BAD = (
    "update.rolled_back",
    "attempt.rolled_back",
    "attempt.failed",
    "job.halted",
    "device.fell_back",
    "device.unknown_image",
    "update.failed",
    "server.stolen",
    "fault.added",
    "report.rejected",
    "error",
)
WHO_WIDTH = 14


class Screen(Protocol):
    def tell(self, event: Event) -> None: ...

    def close(self) -> None: ...


class _Blank(dict):
    def __missing__(self, key: str) -> str:
        return "?"


def words(event: Event) -> str | None:
    pattern = WORDS.get((event["source"], event["event"]))
    if pattern is None:
        return None
    shown = {key: value if isinstance(value, int | float) else printable(value) for key, value in event.items()}
    return pattern.format_map(_Blank(shown))


def who(event: Event) -> str:
    return event["source"] if event["source"] == "server" or not event["device"] else event["device"]


class JsonLines:
    def tell(self, event: Event) -> None:
        sys.stdout.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        pass


class Plain:
    """Lines for people, on stdout: here the story is the data."""

    def __init__(self) -> None:
        self._telemetry_of: set[str] = set()

    def tell(self, event: Event) -> None:
        line = self.line(event)
        if line is not None:
            self.write(line, event)

    def line(self, event: Event) -> str | None:
        if event["event"] == "telemetry":  # once a device: it comes every second
            if event["device"] in self._telemetry_of:
                return None
            self._telemetry_of.add(event["device"])
        if event["event"] == "update.progress" and event["source"] == "device":
            done, total = event.get("done", 0), event.get("total", 0)
            text = f"{bar(done, total)} {total} bytes downloaded" if done == total and total else None
        else:
            text = words(event)
        if text is None:
            return None
        if event["event"] == "demo.chapter":
            return f"\n{text}"
        return f"{event['at']:7.2f}  {who(event).ljust(WHO_WIDTH)}  {text}"

    def write(self, line: str, event: Event) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        pass


class Live(Plain):
    """On a terminal: the same lines, coloured, and below them one bar for each download that runs."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._console = Console(highlight=False)
        self._bars = Progress(
            TextColumn("         {task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            console=self._console,
            transient=True,
        )
        self._rows: dict[str, Any] = {}
        self._bars.start()

    def tell(self, event: Event) -> None:
        if event["event"] == "update.progress" and event["source"] == "device":
            self._bar(event["device"], event.get("done", 0), event.get("total", 0))
        super().tell(event)

    def _bar(self, device: str, done: int, total: int) -> None:
        if device not in self._rows:
            self._rows[device] = self._bars.add_task(device.ljust(WHO_WIDTH), total=total)
        self._bars.update(self._rows[device], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._rows.pop(device))

    def write(self, line: str, event: Event) -> None:
        style = "green" if event["event"] in GOOD else "red" if event["event"] in BAD else None
        if event["event"] == "demo.chapter":
            style = "bold"
        self._console.print(line, style=style, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()


def bar(done: int, total: int, width: int = 20) -> str:
    full = width * done // total if total else 0
    return "█" * full + "░" * (width - full)


def choose(as_json: bool) -> Screen:
    if as_json:
        return JsonLines()
    return Live() if sys.stdout.isatty() else Plain()
