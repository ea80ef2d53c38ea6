# SPDX-License-Identifier: MIT
"""`trueboot ca ek-root`: whose TPMs attestation trusts."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, StateOption, group

app = group("Makers of TPMs that attestation trusts; a running server sees a change at once.")


@app.command("add")
def ek_root_add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Certificates of makers, PEM or DER.")],
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Trust TPMs whose endorsement certificates chain to these."""
    from .ek_roots import add

    add(state, file, json)


@app.command("ls")
def ek_root_ls(state: StateOption = "", json: JsonOption = False) -> None:
    """List the makers that are trusted."""
    from .ek_roots import show

    show(state, json)


@app.command("remove")
def ek_root_remove(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `ls` shows it.")],
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Trust a maker no longer; devices that are attested already stay so."""
    from .ek_roots import remove

    remove(state, name, json)
