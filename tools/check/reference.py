#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages of docs/reference, made from the code: the commands, the configuration, the events and the journal.

    python tools/check/reference.py            say what is not as the code has it; exit 1
    python tools/check/reference.py --write    write the pages

What the code cannot say (the meaning of a key, an event or a record) stands in reference_notes.txt beside this file, one
line each; a test finds lines that are missing, and lines of what is no more.  docs/errors.md has a maker of its own.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any, get_type_hints

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"
NOTES = Path(__file__).with_name("reference_notes.txt")
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(Path(__file__).parent)]

import reference_sources as sources  # noqa: E402

MADE = "Made from the code by `tools/check/reference.py --write`; do not edit.\n"


def notes() -> dict[str, dict[str, str]]:
    """section -> name -> meaning."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for number, line in enumerate(NOTES.read_text("utf-8").splitlines(), 1):
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line.strip() and not line.startswith("#"):
            name, bar, meaning = (part.strip() for part in line.partition("|"))
            if not bar or not meaning or name in section:
                raise SystemExit(f"{NOTES.name}:{number}: name | meaning, each name once")
            section[name] = meaning
    return found


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# The commands


def cli() -> str:
    text = f"# The commands\n\n{MADE}\n`VERB --help` says the same. "
    text += "Exit codes: 0 well, 1 the operation failed, 2 wrong usage, 69 a peer is unavailable, 75 try later, "
    text += "77 not permitted, 78 the configuration is wrong ([all errors](../errors.md)).\n"
    text += "\n# trueboot\n"
    from trueboot.verbs import app

    for words, function in sorted(_commands(app, ("trueboot",)), key=lambda one: one[0]):
        text += _typer_verb(words, function)
    text += "\n# trueboot-agent\n"
    from platform_adapters.linux_service import parser

    verbs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name in sorted(verbs.choices):
        text += _argparse_verb(name, verbs.choices[name])
    return text


def _commands(app: Any, words: tuple[str, ...]) -> Any:
    """(words, function) of each verb.  From typer's own lists, since what it makes of them is click's one year and its own the next."""
    for one in app.registered_commands:
        name = one.name or one.callback.__name__.replace("_", "-")
        if not one.hidden:
            yield (*words, name), one.callback
    for group in app.registered_groups:
        yield from _commands(group.typer_instance, (*words, group.name))


def _typer_verb(words: tuple[str, ...], function: Any) -> str:
    arguments, rows = [], []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        info = next(one for one in hints[name].__metadata__ if hasattr(one, "param_decls"))
        kind = hints[name].__origin__
        if type(info).__name__ == "ArgumentInfo":
            shown = info.metavar or name.upper()
            needed = parameter.default is inspect.Parameter.empty or shown.startswith("[")
            arguments.append(shown if needed else f"[{shown}]")
            if info.help:
                rows.append((f"`{shown}`", _text(info.help)))
        else:
            rows.append((f"`{_spelled(name, info, kind)}`", _text(info.help) + _default(parameter.default, info)))
    usage = " ".join([*words, *(["[OPTIONS]"] if rows else []), *arguments])
    return f"\n## {' '.join(words)}\n\n    {usage}\n\n{_text(function.__doc__)}\n" + (
        "\n" + table(("option", "what"), rows) if rows else ""
    )


def _spelled(name: str, info: Any, kind: Any) -> str:
    first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
    names = ", ".join([*first, *(info.param_decls or ())] or ["--" + name.replace("_", "-")])
    text = str(kind)
    if kind is bool:
        return names
    value = info.metavar or ("N" if "int" in text else "PATH" if "Path" in text else "TEXT")
    return f"{names} {value}" + (" ..." if "list" in text else "")


def _default(value: Any, info: Any) -> str:
    if value is inspect.Parameter.empty:
        return " Required."
    if value is None or isinstance(value, bool) or value == "" or info.show_default is False:
        return ""
    return f" Default: {value}."


def _argparse_verb(name: str, verb: argparse.ArgumentParser) -> str:
    words, rows = [], []
    for action in verb._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if action.option_strings:
            spelled = ", ".join(action.option_strings) + (f" {action.metavar}" if action.metavar else "")
            default = (
                f" Default: {action.default}." if isinstance(action.default, int | float) and action.metavar else ""
            )
            rows.append((f"`{spelled}`", _text(action.help) + default))
        else:
            words.append(str(action.metavar))
            rows.append((f"`{action.metavar}`", _text(action.help)))
    usage = " ".join(["trueboot-agent", name, *(["[OPTIONS]"] if rows else []), *words])
    return f"\n## trueboot-agent {name}\n\n    {usage}\n\n{_text(verb.description)}\n\n" + table(
        ("option", "what"), rows
    )


def _text(words: str | None) -> str:
    text = " ".join((words or "").replace("\b", "").split())
    head = text[:1] if "." in text.partition(" ")[0].rstrip(".;") else text[:1].upper()
    return head + text[1:] + ("" if not text or text.endswith((".", "?", "]", ")")) else ".")


# The configuration


def config(told: dict[str, str]) -> str:
    from agent import config as schema

    text = f"# The configuration of a device\n\n{MADE}\n"
    text += (
        "On Linux `agent.toml`, where paths are relative to the file; on boards `trueboot.json`, with the same keys. "
    )
    text += "What is not known, or of the wrong kind, is refused by name at the start (`config`).\n\n"
    text += table(("key", "values", "default", "meaning"), _keys(schema, told))
    for name, dialect in sources.dialects().items():
        text += f'\n## With `cloud = "{name}"`\n\n' + table(
            ("key", "values", "default", "meaning"), _keys(dialect, told)
        )
    text += "\nOn a Raspberry Pi whose slots are whole systems there is also a table `[raspberry_pi]`: "
    return text + "[its keys](../slots-raspberry-pi.md).\n"


def _keys(schema: Any, told: dict[str, str]) -> list[tuple[str, ...]]:
    rows = []
    for name, (kind, default) in schema.KEYS.items():
        what = "text" if kind is str else "number"
        if name in schema.CHOICES:
            what = " ".join(f'`"{one}"`' for one in schema.CHOICES[name])
        elif name in schema.BOUNDS:
            what = "{} to {}".format(*schema.BOUNDS[name])
        shown = f'`"{default}"`' if kind is str else f"`{default}`"
        if default is None or name in sources.REQUIRED:
            shown = "required"
        rows.append((f"`{name}`", what, shown, told.get(name, "-")))
    return rows


# The events


def events(agent: dict[str, str], server: dict[str, str]) -> str:
    text = f"# The events of the logs\n\n{MADE}\nNames and fields are stable: they are taken away or given "
    text += "another meaning only with a new major version; fields may be added. No field ever holds a secret.\n"
    text += (
        "\n## The agent\n\nOne a line on standard output: JSON (`event`, `t` in ms since the start, fields), or text "
    )
    text += 'with `log = "text"`. An app\'s own output stands between them.\n\n'
    text += table(("event", "fields", "meaning"), _event_rows(sources.agent_events(), agent))
    text += "\n## The server\n\nOne a line on standard error, with `--json` as JSON (`time`, `event`, fields). Those of devices, "
    text += "jobs and releases are also kept, for `GET /api/v1/events`; the device is named in `product_key` and `device_key`.\n\n"
    return text + table(("event", "fields", "meaning"), _event_rows(sources.server_events(), server))


def _event_rows(found: dict[str, set[str]], told: dict[str, str]) -> list[tuple[str, ...]]:
    return [
        (f"`{name}`", ", ".join(f"`{field}`" for field in sorted(found[name])) or "-", told.get(name, "-"))
        for name in sorted(found)
    ]


# The journal


def journal(told: dict[str, dict[str, str]]) -> str:
    from agent import journal as module

    text = f"# What a device remembers\n\n{MADE}\nAll of it lies in the folder `state`, on Linux and on boards. "
    text += f"The journal is one record in two copies, `{'` and `'.join(module.COPIES)}`, written in turn: a torn write leaves "
    text += f"the other. It is at most {module.MAX_BYTES} bytes of JSON, format {module.FORMAT}; members that an agent does not "
    text += "know are kept. `trueboot-agent status --json` shows it.\n\n## Members of the journal\n\n"
    text += _rows(sources.journal_members(), told["journal"])
    text += "\n## Its member `update`\n\n" + _rows(sources.update_members(), told["update"])
    text += "\n## Its member `identity`\n\n" + _rows(sources.identity_members(), told["identity"])
    return text + "\n## Records beside it\n\n" + _rows(sources.store_records(), told["record"])


def _rows(names: list[str], told: dict[str, str]) -> str:
    return table(("name", "meaning"), [(f"`{name}`", told.get(name, "-")) for name in names])


# The operator's interface


def operator_api() -> str:
    from aiohttp import web

    from trueboot_server.https import front, openapi

    app = web.Application()
    for road in front.ROADS:
        app.add_routes(road.routes())
    document = openapi.document(app.router.routes(), "")
    rows, asked = [], {}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            scope = told.get("x-trueboot-scope", "none")
            rows.append((f"`{method.upper()} {path}`", scope, _text(told["summary"])))
            asked[f"{method.upper()} {path}"] = told
    text = f"# The operator's interface\n\n{MADE}\n"
    text += "REST over HTTPS with JSON. `GET /api/openapi.json` of a server says all of this with its schemas, as OpenAPI 3.1. "
    text += "Send `Authorization: Bearer TOKEN`, with the admin token of `operator.json` or one of `trueboot token create`; "
    text += (
        "a token of scope `read` may use the roads of that scope, one of scope `operate` all. A failure has one form, "
    )
    text += '`{"error": {"code", "message", "hint"}}`, with a code of [these](../errors.md).\n\n'
    text += table(("road", "scope", "what"), rows)
    for name, told in asked.items():
        body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        members = body.get("properties", {})
        query = [one["name"] for one in told.get("parameters", []) if one["in"] == "query"]
        if not (members or query or told.get("description")):
            continue
        text += f"\n## {name}\n\n"
        if told.get("description"):
            text += _text(told["description"]) + "\n"
        if query:
            text += f"\nQuery: {', '.join(f'`{one}`' for one in query)}.\n"
        if members:
            needed = body.get("required", [])
            words = [f"`{one}`" + (" (required)" if one in needed else "") for one in members]
            text += f"\nBody: {', '.join(words)}.\n"
    return text


def made() -> dict[str, str]:
    told = notes()
    return {
        "cli.md": cli(),
        "config.md": config(told["config"]),
        "events.md": events(told["agent event"], told["server event"]),
        "journal.md": journal(told),
        "operator-api.md": operator_api(),
    }


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in made().items():
        path = PAGES / name
        if "--write" in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"docs/reference/{name} is not what the code says: tools/check/reference.py --write")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
