# SPDX-License-Identifier: MIT
"""Devices, jobs and how to follow them, on top of the operator's REST interface."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from .api import Api
from .problem import Problem
from .tables import moment, printable, show_facts, show_json, show_table

ENDED = ("done", "halted", "cancelled")
SUCCEEDED = ("updated",)
FAILED_ATTEMPTS = ("failed", "rolled_back", "refused", "timed_out", "cancelled")
COUNTED = ("proven", "claimed", "failed", "cancelled", "waiting")
POLL_S = 2


def list_devices(api: Api, as_json: bool) -> None:
    devices = api.get("/api/v1/devices")["devices"]
    if as_json:
        return show_json(devices)
    show_table(
        ("DEVICE", "STATE", "ONLINE", "SLOT", "VERSION", "PROVEN", "LAST SEEN", "WHY"),
        (
            (
                d["device_key"],
                d["state"],
                d["online"],
                d.get("slot"),
                d.get("claimed_version"),
                d.get("proven_version"),
                moment(d.get("last_seen")),
                remark(d),
            )
            for d in devices
        ),
    )


def find_device(api: Api, name: str) -> dict[str, Any]:
    """`name` is a device key, or PRODUCT/DEVICE where two products share the key."""
    product, _, key = name.rpartition("/")
    found = [
        d
        for d in api.get("/api/v1/devices")["devices"]
        if d["device_key"] == key and (not product or d["product_key"] == product)
    ]
    if not found:
        raise Problem("not_found", f"The server knows no device {name}.", todo="List them: trueboot device ls")
    if len(found) > 1:
        names = ", ".join(f"{d['product_key']}/{key}" for d in found)
        raise Problem("usage", f"{name} is in more than one product.", f"they are {names}", "Name one of these.")
    return found[0]


def show_device(api: Api, name: str, as_json: bool) -> None:
    found = find_device(api, name)
    device = api.get(f"/api/v1/devices/{found['product_key']}/{found['device_key']}")
    if as_json:
        return show_json(device)
    certificate, now = device.get("certificate") or {}, device.get("running") or {}
    show_facts(
        [
            ("device", f"{device['product_key']}/{device['device_key']}"),
            ("state", device["state"]),
            ("online", device["online"]),
            ("claimed version", device.get("claimed_version")),
            ("proven version", device.get("proven_version")),
            ("runs", runs(now)),
            ("why", why(now)),
            ("slot", now.get("slot")),
            ("image", now.get("image")),
            ("measured", f"{moment(now['at'])}, {now['measured']}, boot {now['boot']}" if now else None),
            ("certificate", certificate.get("serial")),
            ("valid until", moment(certificate.get("not_after"))),
            ("key", key(device)),
            ("reflashed", reflashed(device)),
            ("last seen", moment(device.get("last_seen"))),
            ("last report", now.get("outcome")),
        ]
    )


def key(device: dict[str, Any]) -> str | None:
    """Where the key in use is, as far as it is proven."""
    known = device["key"]
    if not known["attested"]:
        return None
    model = " ".join(str(part) for part in (known["tpm"] or {}).values() if part)
    return f"in TPM, attested{f' ({model})' if model else ''}"


def remark(device: dict[str, Any]) -> str | None:
    """Why a person should look at the device; None when all is well."""
    words = ["asked to begin anew: see device show"] if device["reflashed_at"] else []
    return "; ".join([*words, *filter(None, [why(device.get("running"))])]) or None


def reflashed(device: dict[str, Any]) -> str | None:
    """What to do when somebody with the right secret began anew where a device is known."""
    if not device["reflashed_at"]:
        return None
    return (
        f"{moment(device['reflashed_at'])}: a board asked to begin anew. If it was erased on purpose: "
        f"trueboot device replace {device['device_key']}; if not, somebody else has its secret."
    )


def runs(now: dict[str, Any] | None) -> str | None:
    """What a device runs by its last report."""
    if not now:
        return None
    return f"{now['version']} on trial" if now["on_trial"] else now["version"]


def why(now: dict[str, Any] | None) -> str | None:
    """What is remarkable in what a device runs, and its own words for it; None when all is well."""
    if not now:
        return None
    words, reason = [remark for remark in now["remarks"] if remark != "on trial"], now["reason"]
    if reason:
        words = [word for word in words if not reason.startswith(word)] + [reason]
    return "; ".join(words) or None


def list_releases(api: Api, as_json: bool) -> None:
    releases = api.get("/api/v1/releases")["releases"]
    if as_json:
        return show_json(releases)
    show_table(
        ("TARGET", "VERSION", "KIND", "BYTES", "SHA-256"),
        ((r["target"], r["version"], r["kind"], r["length"], r["sha256"][:16]) for r in releases),
    )


def find_release(api: Api, name: str) -> str:
    """A target path, or a version that only one release has."""
    paths = [r["target"] for r in api.get("/api/v1/releases")["releases"] if name in (r["target"], r["version"])]
    if not paths:
        raise Problem("release_unknown", f"No signed release is called {name}.")
    if len(paths) > 1:
        raise Problem(
            "usage", f"{name} is more than one release.", "they are " + ", ".join(paths), "Name its target path."
        )
    return paths[0]


def create_job(api: Api, release: str, devices: list[str], max_failures: int, **orders: bool) -> dict[str, Any]:
    """`devices` are device keys; an empty list means all.  `orders`: retry, downgrade."""
    wanted: dict[str, Any] = {"target": find_release(api, release), "max_failures": max_failures}
    if devices:
        found = [find_device(api, name) for name in devices]
        products = {d["product_key"] for d in found}
        if len(products) > 1:
            raise Problem("usage", "One job is for the devices of one product.", todo="Make a job for each product.")
        wanted |= {"devices": [d["device_key"] for d in found], "product_key": products.pop()}
    else:
        wanted["devices"] = "all"
    return api.post("/api/v1/jobs", wanted | {name: True for name, ordered in orders.items() if ordered})


def roll_back(api: Api, name: str) -> dict[str, Any]:
    """The job that takes a device to the release that it ran before."""
    return api.post(_path(api, name) + "/rollback", {})


def consent(api: Api, name: str, job: str, gate: str, valid_s: int, answer: str, as_json: bool) -> None:
    given = api.post(_path(api, name) + "/consent", {"job": job, "gate": gate, "valid_s": valid_s, "answer": answer})
    if as_json:
        return show_json(given)
    show_facts([("gate", given["gate"]), ("answer", given["answer"]), ("valid until", moment(given["expires"]))])


def _path(api: Api, name: str) -> str:
    found = find_device(api, name)
    return f"/api/v1/devices/{found['product_key']}/{found['device_key']}"


def list_jobs(api: Api, as_json: bool) -> None:
    jobs = api.get("/api/v1/jobs")["jobs"]
    if as_json:
        return show_json(jobs)
    show_table(
        ("JOB", "STATE", "VERSION", "ATTEMPTS", "RUN IT"),
        (
            (j["id"], j["state"], j["version"], _count(j), f"{j['counts']['running']} of {len(j['attempts'])}")
            for j in jobs
        ),
    )


def _count(job: dict[str, Any]) -> str:
    states = [a["state"] for a in job.get("attempts", [])]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def show_job(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(job)
    show_facts(
        [("job", job["id"]), ("release", job["target"]), ("state", job["state"]), ("devices", _sum(job["counts"]))]
    )
    show_table(
        ("DEVICE", "STATE", "PROVEN", "DONE", "RUNS", "REASON"),
        (
            (a["device_key"], a["state"], a["proven"], f"{percent(a)} %", runs(a.get("running")), told(a))
            for a in job["attempts"]
        ),
    )


def _sum(counts: dict[str, int]) -> str:
    ends = [f"{counts[name]} {name}" for name in COUNTED if counts[name]]
    return f"{counts['devices']}: {', '.join(ends)}; {counts['running']} run it"


def told(attempt: dict[str, Any]) -> str:
    """Why it ended so, and what became of it since; while it runs, what it does."""
    if attempt.get("now"):
        return attempt["now"]
    if attempt.get("reason") or attempt["state"] in SUCCEEDED:
        return attempt.get("reason") or ""
    return attempt.get("desc") or ""


def get_job(api: Api, number: str) -> dict[str, Any]:
    return api.get(f"/api/v1/jobs/{number}")


def follow_job(api: Api, number: str, timeout_s: float) -> dict[str, Any]:
    """Show progress on stderr until the job ends; raises Problem("job_timeout") when it does not in time."""
    deadline = time.monotonic() + timeout_s
    _, last = api.events(0, 0)
    with progress_display() as show:
        while True:
            job = get_job(api, number)
            for attempt in job["attempts"]:
                show(attempt["device_key"], attempt["state"], percent(attempt), attempt.get("reason") or "")
            if job["state"] in ENDED and not _unsettled(job):
                return job
            if time.monotonic() > deadline:
                raise Problem("job_timeout", todo=f"Follow it: trueboot status {number} --follow")
            _, last = api.events(last, min(POLL_S, max(0.1, deadline - time.monotonic())))


def _unsettled(job: dict[str, Any]) -> bool:
    """A halted job pushes to nobody else, but those who had begun still end."""
    return (
        any(
            a["state"] in ("pushed", "in_progress", "on_trial", "claimed") and not a["settled"] for a in job["attempts"]
        )
        and job["state"] == "halted"
    )


def percent(attempt: dict[str, Any]) -> int:
    if attempt["state"] in SUCCEEDED:
        return 100
    try:
        return max(0, min(99, int(attempt.get("step") or 0)))
    except ValueError:
        return 0


def failed(job: dict[str, Any]) -> bool:
    """A claim fails when its time for a proof is over, an update when the device has fallen back from it."""
    return any(
        a["state"] in FAILED_ATTEMPTS or a["fell_back"] or (a["state"] == "claimed" and a["settled"] and a["reason"])
        for a in job["attempts"]
    )


class progress_display:  # noqa: N801 - used as a function
    """A bar a device on a terminal, else a line for each change of state."""

    def __enter__(self) -> Callable[[str, str, int, str], None]:
        self._bars = None
        self._rows: dict[str, Any] = {}
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("{task.fields[device]}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self._show

    def _show(self, device: str, state: str, done: int, reason: str) -> None:
        text = f"{state} {printable(reason)}" if reason else state
        if self._bars is None:
            if self._rows.get(device) != state:
                self._rows[device] = state
                print(f"{device}: {text}", file=sys.stderr, flush=True)
            return
        if device not in self._rows:
            self._rows[device] = self._bars.add_task(text, total=100, device=device)
        self._bars.update(self._rows[device], completed=done, description=text)

    def __exit__(self, *_exc: object) -> None:
        if self._bars is not None:
            self._bars.stop()
