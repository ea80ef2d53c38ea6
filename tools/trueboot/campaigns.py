# SPDX-License-Identifier: MIT
"""Campaigns, on top of the operator's REST interface: make one, look at it, follow it, order it about."""

from __future__ import annotations

import sys
import time
from typing import Any

from .api import Api
from .fleet import POLL_S, find_release
from .problem import Problem
from .tables import moment, printable, show_facts, show_json, show_table

RESTS = ("done", "halted", "cancelled")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def wanted(api: Api, release: str) -> dict[str, Any]:
    """ "newest", "newest:KIND/HARDWARE", a version, or a target path."""
    name, _, line = release.partition(":")
    if name == "newest":
        return {"newest": line or True}
    return {"target": find_release(api, release)}


def scope(products: list[str], devices: list[str], tags: list[str], proven: str, claimed: str) -> dict[str, Any]:
    found: dict[str, Any] = {"devices": devices or "all"}
    if products:
        found["products"] = "all" if products == ["all"] else products
    pairs = [tag.partition("=") for tag in tags]
    if bad := [name for name, equals, _ in pairs if not name or not equals]:
        raise Problem("usage", f"--tag {bad[0]}: KEY=VALUE.")
    if pairs:
        found["tags"] = {name: value for name, _, value in pairs}
    for member, text in (("proven_version", proven), ("claimed_version", claimed)):
        if text:
            found[member] = text
    return found


def phases(told: list[str]) -> list[Any]:
    """ "5%" and "25" as the server takes them."""
    return [int(text) if text.isascii() and text.isdecimal() else text for text in told]


def share(text: str) -> Any:
    return phases([text])[0]


def seconds(option: str, text: str) -> int:
    """90, 90s, 30m, 12h, 7d."""
    number = text.rstrip("smhd")
    unit = text[len(number) :]
    if not (number.isascii() and number.isdecimal() and unit in _UNITS_S and len(number) <= 9):
        raise Problem("usage", f"{option} {text}: seconds, or a number with m, h or d.")
    return int(number) * _UNITS_S[unit]


def create(api: Api, body: dict[str, Any], as_json: bool) -> dict[str, Any]:
    made = api.post("/api/v1/campaigns", {name: value for name, value in body.items() if value is not None})
    show(made, as_json)
    return made


def list_campaigns(api: Api, as_json: bool) -> None:
    found = api.get("/api/v1/campaigns")["campaigns"]
    if as_json:
        return show_json(found)
    show_table(
        ("CAMPAIGN", "NAME", "STATE", "VERSION", "PHASE", "DEVICES", "PROVEN", "FAILED"),
        (
            (
                c["id"],
                c["name"] or (c["kind"] if c["kind"] != "campaign" else None),
                c["state"],
                c["version"] or release(c),
                f"{c['phase']} of {len(c['phases'])}",
                c["counts"]["devices"],
                c["counts"]["proven"],
                c["counts"]["failed"],
            )
            for c in found
        ),
    )


def get(api: Api, number: str) -> dict[str, Any]:
    if not (number.isascii() and number.isdecimal()):
        raise Problem("usage", f"{number} is no campaign's number.", todo="List them: trueboot campaign list")
    return api.get(f"/api/v1/campaigns/{number}")


def order(api: Api, number: str, verb: str, as_json: bool) -> None:
    get(api, number)
    show(api.post(f"/api/v1/campaigns/{number}/{verb}", {}), as_json)


def release(campaign: dict[str, Any]) -> str:
    if campaign["target"]:
        return campaign["target"]
    newest = campaign["wanted"].get("newest")
    return f"newest {newest}" if isinstance(newest, str) else "newest"


def show(campaign: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(campaign)
    name, window = campaign["name"], campaign["window"]
    state = campaign["state"] + (f": {campaign['reason']}" if campaign["reason"] else "")
    facts = [("campaign", f"{campaign['id']} {name}" if name else campaign["id"]), ("release", release(campaign))]
    facts += [("state", state), ("devices", _scope(campaign))]
    if campaign["state"] == "scheduled":
        facts.append(("begins", moment(campaign["start_at"])))
    if window:
        facts.append(("window", f"{window} UTC, {'open' if campaign['in_window'] else 'shut'} now"))
    if campaign["at_once"]:
        facts.append(("at once", campaign["at_once"]))
    show_facts(facts)
    show_table(
        ("PHASE", "UP TO", "STATE", "DEVICES", "WAITING", "TOLD", "PROVEN", "CLAIMED", "FAILED", "GOES ON AT"),
        (
            (
                p["phase"],
                p["size"],
                p["state"],
                p["devices"],
                p["waiting"],
                p["queued"] + p["begun"],
                p["proven"],
                p["claimed"],
                f"{p['failed']}, may {p['allowed']}",
                p["needed"],
            )
            for p in campaign["phases"]
        ),
    )
    for device in campaign.get("failures", []):
        _line(f"{device['device_key']} {device['state']}: {device['reason'] or device['desc'] or ''}".rstrip(": "))


def _line(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")


def _scope(campaign: dict[str, Any]) -> str:
    whom, words = campaign["scope"], []
    if whom.get("products"):
        told = whom["products"]
        words.append("all products" if told == "all" else " and ".join(told))
    keys = whom.get("devices", "all")
    if isinstance(keys, list):
        words.append(", ".join(keys))
    elif keys != "all":
        words.append(f"{keys} by key")
    words += [f"{name}={value}" for name, value in whom.get("tags", {}).items()]
    words += [f"{name} {whom[f'{name}_version']}" for name in ("proven", "claimed") if f"{name}_version" in whom]
    return f"{campaign['counts']['devices']} ({'; '.join(words) or 'all'}{'; who joins, too' if campaign['dynamic'] else ''})"


def watch(api: Api, number: str, timeout_s: float) -> dict[str, Any]:
    """Tell each change on stderr until it rests; Problem("job_timeout") when it does not in time."""
    deadline = time.monotonic() + timeout_s
    _, last = api.events(0, 0)
    told = ""
    while True:
        campaign = get(api, number)
        line = _progress(campaign)
        if line != told:
            told = line
            print(printable(line), file=sys.stderr, flush=True)
        if campaign["state"] in RESTS:
            return campaign
        left = deadline - time.monotonic()
        if left <= 0:
            raise Problem(
                "job_timeout",
                "The campaign is still running.",
                todo=f"Go on watching: trueboot campaign watch {number}",
            )
        _, last = api.events(last, min(POLL_S, left))


def _progress(campaign: dict[str, Any]) -> str:
    phase, counts = campaign["phases"][campaign["phase"] - 1], campaign["counts"]
    words = [f"{counts[name]} {name}" for name in ("proven", "claimed", "failed") if counts[name]]
    state = phase["state"] if campaign["state"] == "running" else campaign["state"]
    where = f"phase {campaign['phase']} of {len(campaign['phases'])}"
    return f"{where} {state}: {', '.join(words) or '0 proven'} of {counts['devices']}"


def check_end(campaign: dict[str, Any]) -> None:
    if campaign["state"] != "done":
        raise Problem(
            "campaign_ended_early",
            f"Campaign {campaign['id']} was {campaign['state']}.",
            campaign["reason"] or "",
            f"See: trueboot campaign show {campaign['id']}",
        )
