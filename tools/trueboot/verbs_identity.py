# SPDX-License-Identifier: MIT
"""The verbs of `trueboot device` for its identity: register, replace, renew."""

from pathlib import Path
from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, YesOption, api_of, confirm

Name = Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")]


def add_to(device: typer.Typer) -> None:
    device.command("register")(device_register)
    device.command("replace")(device_replace)
    device.command("renew")(device_renew)


def device_register(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="The new device key.")],
    ek: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Its TPM's endorsement certificate or public key: no other TPM may enrol.",
            show_default=False,
        ),
    ] = None,
    product: Annotated[str, typer.Option(help="Product key. [default: the server's own]", show_default=False)] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Register a device; its secret is shown this once."""
    from .lifecycle import register

    register(api_of(server, ca, token, state), name, product, ek, json)


def device_replace(
    name: Name,
    tpm_too: Annotated[
        bool, typer.Option("--tpm-too", help="Forget its TPM as well: the board was exchanged.")
    ] = False,
    yes: YesOption = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Let a board that was erased or exchanged be the same device: new secret, no key, certificates revoked."""
    from .lifecycle import replace

    api = api_of(server, ca, token, state)
    confirm(f"Its secret, key and certificates of {name} end now. Go on?", yes)
    replace(api, name, tpm_too, json)


def device_renew(
    name: Name,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Ask a connected device to get a new key and certificate; it begins when no update is under way."""
    from .lifecycle import renew

    renew(api_of(server, ca, token, state), name, json)
