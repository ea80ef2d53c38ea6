# SPDX-License-Identifier: MIT
"""`trueboot bundle`: one file that carries signed metadata and an image."""

from pathlib import Path
from typing import Annotated

import typer

from .options import CaOption, ForceOption, JsonOption, ServerOption, StateOption, TokenOption, api_of, group

app = group("Bundles: a release with its signed metadata as one file, for sticks and for other clouds.")


@app.command("make")
def bundle_make(
    release: Annotated[
        str, typer.Argument(metavar="VERSION|TARGET", help="A release: its version, or its target path.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    repo: Annotated[
        Path | None,
        typer.Option(
            help="A repository's folder, instead of a server: its metadata/ and targets/.", show_default=False
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Root metadata to verify from. [default: what is known of the server]", show_default=False),
    ] = None,
    force: ForceOption = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Make a bundle of a published release."""
    from . import bundles
    from .keyfiles import write_new
    from .tables import show_facts, show_json

    if repo is not None:
        now, image_of = bundles.from_folder(repo, root)
    else:
        now, image_of = bundles.from_server(api_of(server, ca, token, state), root)
    data, facts = bundles.make(now, release, image_of)
    write_new(output, data, force=force)
    facts = {"bundle": str(output)} | facts
    show_json(facts) if json else show_facts((name, value) for name, value in facts.items() if name != "entries")


@app.command("show")
def bundle_show(file: Annotated[Path, typer.Argument(metavar="BUNDLE")], json: JsonOption = False) -> None:
    """Say what a bundle holds.  Nothing is verified: see `bundle verify`."""
    from .bundles import describe
    from .tables import show_facts, show_json, show_table

    facts = describe(file)
    if json:
        return show_json(facts)
    custom = facts["custom"] or {}
    show_facts(
        [
            ("target", facts["target"]),
            ("length", facts["length"]),
            ("sha256", facts["sha256"]),
            *((name, ", ".join(value) if isinstance(value, list) else value) for name, value in sorted(custom.items())),
        ]
    )
    show_table(("ENTRY", "BYTES", "EXPIRES"), ((e["name"], e["length"], e.get("expires")) for e in facts["entries"]))


@app.command("verify")
def bundle_verify(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    root: Annotated[Path, typer.Option(help="The root metadata that a device holds, such as 1.root.json.")],
    running: Annotated[str, typer.Option(help="The version that the device runs.", show_default=False)] = "",
    hardware: Annotated[str, typer.Option(help="The device's hardware.", show_default=False)] = "",
    json: JsonOption = False,
) -> None:
    """Check a bundle as a device does: signatures, expiry, hashes; with --running and --hardware its rules too."""
    from .bundle_check import verify
    from .tables import show_facts, show_json

    facts = verify(file, root, running, hardware)
    show_json(facts) if json else show_facts(facts.items())
