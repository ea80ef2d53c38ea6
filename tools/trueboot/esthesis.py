# SPDX-License-Identifier: MIT
"""Commands to devices that speak esthesis, on top of the operator's REST interface."""

from __future__ import annotations

from typing import Any

from .api import Api
from .fleet import find_device
from .problem import Problem
from .tables import moment, printable, show_json, show_table

_SHOWN_CHARS = 60


def _road(api: Api, device: str) -> str:
    found = find_device(api, device)
    return f"/api/v1/devices/{found['product_key']}/{found['device_key']}/esthesis-commands"


def command(api: Api, device: str, kind: str, words: list[str], asynchronous: bool, wait_s: int, as_json: bool) -> None:
    body: dict[str, Any] = {"type": kind, "asynchronous": asynchronous, "wait_s": wait_s}
    if words:
        body |= {"command": words[0], "arguments": " ".join(words[1:])}
    sent = api.post(_road(api, device), body)
    if as_json:
        show_json(sent)
    if sent["replied_at"] is None:
        if wait_s:
            raise Problem(
                "device_silent",
                f"{device} did not reply within {wait_s} s.",
                todo=f"A later reply is kept: trueboot esthesis commands {device}",
            )
        if not as_json:
            print(f"Command {sent['id']} is sent.")
        return
    if not as_json:
        print("\n".join(printable(line) for line in sent["output"].split("\n")) + (" (cut)" if sent["trimmed"] else ""))
    if not sent["succeeded"]:
        raise Problem("device_refused", f"{device} did not do it.", todo="What it says is above.")


def list_commands(api: Api, device: str, as_json: bool) -> None:
    found = api.get(_road(api, device))["commands"]
    if as_json:
        return show_json(found)
    show_table(
        ("SENT", "TYPE", "COMMAND", "REPLIED", "DONE", "OUTPUT"),
        (
            (
                moment(c["created_at"]),
                c["type"] + (" (async)" if c["asynchronous"] else ""),
                f"{c['command']} {c['arguments']}".strip(),
                moment(c["replied_at"]),
                c["succeeded"],
                printable((c["output"] or "").split("\n")[0][:_SHOWN_CHARS]),
            )
            for c in found
        ),
    )
