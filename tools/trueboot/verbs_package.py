# SPDX-License-Identifier: MIT
"""`trueboot package`: what devices that speak esthesis are offered beside signed releases."""

from pathlib import Path
from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, api_of, group

app = group("Packages for devices that speak esthesis and verify nothing; every signed release is offered without one.")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `package ls` shows it.")]


@app.command("add")
def package_add(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="INTERNAL: a file; EXTERNAL: where it lies.")],
    version: Annotated[str, typer.Option(help="Semantic version, such as 1.1.0.")],
    name: Annotated[str, typer.Option(help="A label. [default: the file's name]", show_default=False)] = "",
    sha256: Annotated[str, typer.Option(help="Of what lies at the URL, 64 hex digits.", show_default=False)] = "",
    copy: Annotated[
        Path | None, typer.Option(help="A copy of what lies at the URL: its SHA-256 is taken.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only for devices with this tag; repeat for more. [default: all]", show_default=False),
    ] = None,
    prerequisite: Annotated[
        str, typer.Option(help="The version that a device must have reached before.", show_default=False)
    ] = "",
    product: Annotated[
        str, typer.Option(help="Product key. [default: the only one that speaks esthesis]", show_default=False)
    ] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Offer a file, or an address elsewhere, to devices.  Nothing signs it: prefer `trueboot release add`."""
    from .packages import add

    add(
        api_of(server, ca, token, state),
        source,
        version,
        name,
        sha256,
        copy,
        tag or [],
        prerequisite,
        product,
        json,
    )


@app.command("ls")
def package_ls(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the packages."""
    from .packages import list_packages

    list_packages(api_of(server, ca, token, state), json)


@app.command("set")
def package_set(
    number: IdArgument,
    available: Annotated[str, typer.Option(help="yes: it is offered; no: it is kept, and no device gets it.")],
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Stop offering a package, or offer it again."""
    from .packages import set_available

    set_available(api_of(server, ca, token, state), number, available, json)


@app.command("remove")
def package_remove(
    number: IdArgument,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Remove a package, and its file if no other has the same."""
    from .packages import remove

    remove(api_of(server, ca, token, state), number, json)
