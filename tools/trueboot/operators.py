# SPDX-License-Identifier: MIT
"""Operators' tokens and the audit log, from the command line."""

from __future__ import annotations

import urllib.parse

from .api import Api
from .tables import show_facts, show_json, show_table


def create(api: Api, name: str, scope: str, days: int, json: bool) -> None:
    body: dict[str, object] = {"name": name, "scope": scope}
    if days:
        body["life_s"] = days * 24 * 3600
    made = api.post("/api/v1/tokens", body)
    if json:
        return show_json(made)
    show_facts([("token", made["token"]), ("scope", made["scope"]), ("expires", _moment(made["expires_at"]))])


def list_tokens(api: Api, json: bool) -> None:
    found = api.get("/api/v1/tokens")
    if json:
        return show_json(found)
    rows = [
        (t["name"], t["scope"], t["state"], _moment(t["used_at"]), _moment(t["expires_at"])) for t in found["tokens"]
    ]
    show_table(("NAME", "SCOPE", "STATE", "USED", "EXPIRES"), rows)


def revoke(api: Api, name: str, json: bool) -> None:
    gone = api.post(f"/api/v1/tokens/{urllib.parse.quote(name, safe='')}/revoke", {})
    if json:
        return show_json(gone)
    show_facts([("token", gone["name"]), ("state", gone["state"])])


def show_audit(api: Api, who: str, what: str, limit: int, json: bool) -> None:
    found = api.get("/api/v1/audit", params={"limit": limit, "who": who, "what": what})
    if json:
        return show_json(found)
    rows = [
        (_moment(row["time"]), row["who"], row["what"], row["on"], row["result"].replace("_", " "), row["code"] or "")
        for row in found["audit"]
    ]
    show_table(("TIME", "WHO", "WHAT", "ON", "RESULT", "CODE"), rows)


def _moment(text: str | None) -> str:
    return text[:19] + "Z" if text else "never"
