# SPDX-License-Identifier: MIT
"""Faults of a server, on top of its road /api/v1/faults, which is there only with --faults."""

from __future__ import annotations

from typing import Any

from trueboot_server.faults.kinds import KINDS, Word, pairs

from .api import Api
from .problem import Problem
from .tables import show_facts, show_json, show_table

ROAD = "/api/v1/faults"


def add(api: Api, kind: str, words: list[str], as_json: bool) -> None:
    try:
        arguments = pairs(words)
    except ValueError as error:
        raise Problem("usage", f"{error}.", todo="See: trueboot fault add --help") from None
    fault = begin(api, {"kind": kind, **arguments})
    if as_json:
        return show_json(fault)
    show_facts([("fault", fault["id"]), ("kind", fault["kind"]), *fault["arguments"].items()])


def begin(api: Api, wanted: dict[str, str]) -> Any:
    return _call(api, "POST", ROAD, wanted)


def listed(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(api, "GET", ROAD)["faults"]
    return found


def end(api: Api, number: str = "") -> list[dict[str, Any]]:
    ended: list[dict[str, Any]] = _call(api, "DELETE", f"{ROAD}/{number}" if number else ROAD)["cleared"]
    return ended


def show_all(api: Api, as_json: bool) -> None:
    faults = listed(api)
    if as_json:
        return show_json(faults)
    _table(faults)


def clear(api: Api, number: str, as_json: bool) -> None:
    ended = end(api, number)
    if as_json:
        return show_json(ended)
    _table(ended)


def show_kinds(as_json: bool) -> None:
    if as_json:
        return show_json(
            {
                name: {"does": kind.does, "arguments": _defaults(name), "refuses": kind.refuses}
                for name, kind in KINDS.items()
            }
        )
    rows = ((name, _own(name), KINDS[name].does) for name in KINDS)
    show_table(("KIND", "ARGUMENTS", "WHAT IT DOES"), rows)


def _table(faults: list[dict[str, Any]]) -> None:
    rows = ((f["id"], f["kind"], f["state"], f["applied"], f"{f['left_s']:.0f} s", _scope(f)) for f in faults)
    show_table(("FAULT", "KIND", "STATE", "STRUCK", "LEFT", "WHERE"), rows)


def _scope(fault: dict[str, Any]) -> str:
    arguments = fault["arguments"]
    return " ".join(str(arguments[name]) for name in ("path", "device") if arguments.get(name))


def _defaults(name: str) -> dict[str, Any]:
    return {
        argument: about if isinstance(about, str) else about.default
        for argument, about in KINDS[name].arguments().items()
    }


def _own(name: str) -> str:
    words = (
        f"{argument}={'|'.join(about.choices) if isinstance(about, Word) else f'{about.default:g}'}"
        for argument, about in KINDS[name].own.items()
    )
    return " ".join(words)


def _call(api: Api, method: str, road: str, body: Any = None) -> Any:
    import json

    try:
        return json.loads(api.request(method, road, json=body))
    except Problem as problem:
        if problem.code == "not_found" and problem.server_code == "not_found":
            raise Problem("faults_off") from None
        raise
