# SPDX-License-Identifier: MIT
"""`trueboot token ...` and `trueboot audit`."""

from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, YesOption, api_of, confirm, group
from .problem import Problem

app = group("Operators' tokens: who may look, and who may change.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will hold it; the audit log says it.")],
    scope: Annotated[str, typer.Option(help="read: look; operate: change as well.")] = "read",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0: never.")] = 0,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Make a token.  It is shown once: the server keeps its hash."""
    from .operators import create

    if scope not in ("read", "operate"):
        raise Problem("usage", "--scope is read or operate.")
    create(api_of(server, ca, token, state), name, scope, days, json)


@app.command("list")
def list_tokens(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the tokens; the admin token of operator.json is not among them."""
    from .operators import list_tokens

    list_tokens(api_of(server, ca, token, state), json)


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    yes: YesOption = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """End a token, and the sessions of the page that were opened with it."""
    from .operators import revoke

    api = api_of(server, ca, token, state)
    confirm(f"Revoke the token {name}?", yes)
    revoke(api, name, json)


def audit(
    who: Annotated[str, typer.Option(help="Only what this token did.", show_default=False)] = "",
    what: Annotated[str, typer.Option(help="Only operations that begin so, such as devices.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show who changed what, the newest first."""
    from .operators import show_audit

    show_audit(api_of(server, ca, token, state), who, what, limit, json)
