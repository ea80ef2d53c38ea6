# SPDX-License-Identifier: MIT
"""`trueboot product`: what holds for all devices of a product."""

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
    product: Annotated[str, typer.Option(help="Product key. [default: the only one]", show_default=False)] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Change what holds for a product; what is not named stays.  A claim is never called "updated"."""
    from .products import policy, set_policy

    wanted = policy(claims_count, password_login, attestation, certificate_life, auto_update)
    set_policy(api_of(server, ca, token, state), product, wanted, json)
