# SPDX-License-Identifier: MIT
"""`trueboot release`: sign and publish releases."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    CaOption,
    JsonOption,
    KeyOption,
    KeysOption,
    OfflineOption,
    PasswordOption,
    ServerOption,
    StateOption,
    TokenOption,
    YesOption,
    api_of,
    confirm,
    group,
    keys_of,
    maybe_api,
)

app = group("Sign and publish releases.")


@app.command("add")
def release_add(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|IMAGE", help="The files of an app or a system, or an image.")
    ],
    version: Annotated[str, typer.Option(help="Semantic version, such as 1.1.0.")],
    hardware: Annotated[str, typer.Option(help="Hardware that it is for.")] = "sim",
    kind: Annotated[str, typer.Option(help="Kind of release: app, firmware or system.")] = "app",
    security: Annotated[
        int, typer.Option(help="Security floor; devices never go below the floor of what they confirmed.")
    ] = 0,
    requires: Annotated[
        str,
        typer.Option(help='Versions from which a device may come, such as ">=1.0.0 <2.0.0".', show_default=False),
    ] = "",
    prerequisite: Annotated[
        str, typer.Option(help="The version that a device must run to take this one.", show_default=False)
    ] = "",
    stage: Annotated[
        Path | None,
        typer.Option(help="Do not publish; put image and metadata into this folder.", show_default=False),
    ] = None,
    offline: OfflineOption = False,
    keys: KeysOption = None,
    key: KeyOption = None,
    password_file: PasswordOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Build an image, sign it on this machine with the release key, and publish it."""
    from . import releases, staging
    from .problem import Problem
    from .tables import show_facts, show_json

    if offline and stage is None:
        raise Problem("usage", "--offline goes with --stage: a release is published by a server.")
    made = releases.make(source, kind, hardware, version, security, requires, prerequisite)
    if stage is None:
        api = api_of(server, ca, token, state)
        folder = keys_of(keys, password_file, key, api.server.keys_dir)
        added = releases.add(api, made, folder.path, folder)
        return show_json(added) if json else show_facts(added.items())
    session = maybe_api(server, ca, token, state, offline)
    folder = keys_of(keys, password_file, key, session.server.keys_dir if session else "")
    base = staging.current(session, folder) if session else staging.offline_base(folder)
    staged = releases.stage(base, made, folder, stage)
    if json:
        return show_json(staged)
    show_facts((name, value) for name, value in staged.items() if name != "lacking")
    _tell_lacking(staged["lacking"], f"trueboot release publish {stage}")


@app.command("ls")
def release_ls(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the signed releases."""
    from .fleet import list_releases

    list_releases(api_of(server, ca, token, state), json)


@app.command("revoke")
def release_revoke(
    release: Annotated[str, typer.Argument(metavar="VERSION|TARGET", help="Its version, or its target path.")],
    yes: YesOption = False,
    keys: KeysOption = None,
    key: KeyOption = None,
    password_file: PasswordOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Take a release back: no device installs it any more.  Devices that run it keep it."""
    from . import releases, staging
    from .tables import show_facts, show_json

    api = api_of(server, ca, token, state)
    folder = keys_of(keys, password_file, key, api.server.keys_dir)
    now = staging.current(api, folder)
    path, _ = releases.find(now, release)
    confirm(f"Revoke {path}?  Devices that run it keep it; no other device installs it any more.", yes)
    done = releases.revoke(api, folder, now, path)
    if json:
        return show_json(done)
    show_facts([("revoked", path), ("role", done["role"]), ("role_version", done["role_version"])])
    typer.echo("Devices that run it keep it, until they are updated.", err=True)


@app.command("sign")
def release_sign(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Staged metadata, such as 3.bin-0f.json.")],
    yes: YesOption = False,
    keys: KeysOption = None,
    key: KeyOption = None,
    password_file: PasswordOption = None,
    json: JsonOption = False,
) -> None:
    """Add a signature to staged metadata, offline.  What they change is shown first."""
    sign_files(files, keys, key, password_file, yes, json)


@app.command("publish")
def release_publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `release add --stage` made.")],
    keys: KeysOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Publish a stage: images and metadata, all or nothing."""
    from . import staging
    from .problem import Problem
    from .tables import show_facts, show_json

    api = api_of(server, ca, token, state)
    try:
        known = keys_of(keys, None, None, api.server.keys_dir)
    except Problem as problem:
        if keys is not None or problem.code != "keys_missing":
            raise
        known = None  # a machine without keys can publish what others signed
    stage = staging.Stage(folder)
    if not stage.metadata.is_dir():
        raise Problem("file_unusable", f"{folder} is not a stage.", "it has no folder metadata")
    draft = staging.draft_of(staging.current(api, known), known, stage)
    images = {path.relative_to(stage.targets).as_posix(): path for path in stage.targets.rglob("*") if path.is_file()}
    files = list(draft.files)
    staging.publish(api, draft, known, images)
    done = {"published": files, "images": sorted(images)}
    show_json(done) if json else show_facts([("published", " ".join(files)), ("images", " ".join(sorted(images)))])


def sign_files(
    files: list[Path], keys: Path | None, key: list[Path] | None, password_file: Path | None, yes: bool, json: bool
) -> None:
    from .keyfiles import Passwords
    from .keyfolder import KeyFolder
    from .problem import Problem
    from .tables import printable, show_facts, show_json
    from .turns import Turn

    try:
        folder = keys_of(keys, password_file, key)
    except Problem as problem:
        if keys is not None or not key or problem.code != "keys_missing":
            raise
        folder = KeyFolder(Path("."), Passwords(password_file), key)  # a holder with nothing but a key
    turns = [Turn(path, folder) for path in files]
    for turn in turns:
        turn.judges()
        for name, value in turn.review():
            typer.echo(f"{name.ljust(9)}  {printable(value)}", err=True)
    confirm("Sign this?", yes)
    done = [turn.sign() for turn in turns]
    if json:
        return show_json(done)
    for one in done:
        more = "complete" if one["complete"] else f"{one['lacking']} more needed"
        show_facts([("signed", one["file"]), ("by", " ".join(k[:12] for k in one["signed_by"])), ("signatures", more)])


def _tell_lacking(lacking: list[dict], publish: str) -> None:
    for lack in lacking:
        typer.echo(
            f"{lack['name']} has {lack['signed']} of {lack['threshold']} signatures; others sign it: trueboot release sign",
            err=True,
        )
    if not lacking:
        typer.echo(f"Publish it: {publish}", err=True)
