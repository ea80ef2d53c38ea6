# SPDX-License-Identifier: MIT
"""`trueboot product`: what holds for all devices of a product."""

from pathlib import Path
from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, api_of, group

app = group("What holds for all devices of a product.")


@app.command("ls")
def product_ls(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the products."""
    from .products import list_products

    list_products(api_of(server, ca, token, state), json)


@app.command("create")
def product_create(
    name: Annotated[str, typer.Argument(metavar="PRODUCT", help="Product key: letters, digits, - and _.")],
    dialect: Annotated[str, typer.Option(help="What its devices speak: decada, or esthesis.")] = "decada",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Make a product."""
    from .products import create

    create(api_of(server, ca, token, state), name, dialect, json)


@app.command("set")
def product_set(
    claims_count: Annotated[
        str,
        typer.Option(
            help="yes: a device that cannot sign ends its part of a job by claiming the version; no: it fails.",
            show_default=False,
        ),
    ] = "",
    attestation: Annotated[
        str,
        typer.Option(
            help="Proof that a device's key is in its TPM: none (not needed), optional, required.", show_default=False
        ),
    ] = "",
    certificate_life: Annotated[
        str,
        typer.Option(
            help="Of certificates from now on: seconds, or 730d, 12h, 30m; default: the CA's own.", show_default=False
        ),
    ] = "",
    password_login: Annotated[
        str,
        typer.Option(
            help="yes: the device secret alone opens a session, as on EnOS; no: a certificate is needed, too.",
            show_default=False,
        ),
    ] = "",
    auto_update: Annotated[
        str,
        typer.Option(
            help="What devices that ask by themselves are offered, beside what is ordered: off, or latest.",
            show_default=False,
        ),
    ] = "",
    registration: Annotated[
        str,
        typer.Option(
            help="esthesis, who may register: disabled, id (who is pre-registered), open-with-secret, open.",
            show_default=False,
        ),
    ] = "",
    registration_secret_file: Annotated[
        Path | None, typer.Option(help="esthesis: its first line is the registration secret.", show_default=False)
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(
            help="esthesis, whether a device proves who it is when it asks for updates: required, optional, off.",
            show_default=False,
        ),
    ] = "",
    pushed_tags: Annotated[
        str, typer.Option(help="esthesis: yes: tags that a device names at registration are kept.", show_default=False)
    ] = "",
    generated_keys: Annotated[
        str,
        typer.Option(
            help="esthesis: yes: a device that sends no certificate request is given an RSA key; no: it is refused.",
            show_default=False,
        ),
    ] = "",
    product: Annotated[str, typer.Option(help="Product key. [default: the only one]", show_default=False)] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Change what holds for a product; what is not named stays.  A claim is never called "updated"."""
    from .products import policy, set_policy

    words = {
        "claims_count": claims_count,
        "allow_password_login": password_login,
        "attestation": attestation,
        "auto_update": auto_update,
        "registration": registration,
        "tokens": tokens,
        "pushed_tags": pushed_tags,
        "generated_keys": generated_keys,
    }
    wanted = policy(words, certificate_life, registration_secret_file)
    set_policy(api_of(server, ca, token, state), product, wanted, json)
