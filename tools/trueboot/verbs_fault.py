# SPDX-License-Identifier: MIT
"""`trueboot fault`: a server that misbehaves on command."""

from typing import Annotated

import typer

from trueboot_server.faults.kinds import described

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, api_of, group

_KINDS = "\n\n".join(described())
_ALL = (
    "Every kind has for=SECONDS, after which it ends by itself. Kinds that hit requests have times=N (0: as often as it "
    "fits), path=PATTERN[,PATTERN], device=NAME (as its certificate or its download's ticket tells), percent=N and seed=N."
)

app = group("Have a server misbehave on command, to see what devices do; it has to run with --faults.")


@app.command("add", help=f"Begin to misbehave.\n\n{_KINDS}\n\n{_ALL}")
def fault_add(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="See below.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="See below.", show_default=False)
    ] = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    from .faults import add

    add(api_of(server, ca, token, state), kind, arguments or [], json)


@app.command("list")
def fault_list(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the faults, those in force and those that are over, and how often each has struck."""
    from .faults import show_all

    show_all(api_of(server, ca, token, state), json)


@app.command("clear")
def fault_clear(
    number: Annotated[
        str, typer.Argument(metavar="[ID]", help="One of them; without it, all.", show_default=False)
    ] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Behave again."""
    from .faults import clear

    clear(api_of(server, ca, token, state), number, json)


@app.command("kinds")
def fault_kinds(json: JsonOption = False) -> None:
    """List what a server can do wrong, with each kind's arguments and their defaults."""
    from .faults import show_kinds

    show_kinds(json)
