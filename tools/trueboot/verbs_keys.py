# SPDX-License-Identifier: MIT
"""`trueboot keys`: signing keys, who may sign, and for how long."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import verbs_change
from .options import (
    CaOption,
    JsonOption,
    KeyOption,
    KeysOption,
    PasswordOption,
    ServerOption,
    StateOption,
    TokenOption,
    YesOption,
    api_of,
    group,
    keys_of,
)
from .problem import Problem
from .verbs_change import DaysOption, KeyTypeOption, NoPasswordOption, RootDaysOption, Work, tell_staged

app = group("Signing keys: who may sign releases, and for how long.")


@app.command("init")
def keys_init(
    folder: Annotated[Path, typer.Argument(help="A new folder; the keys in it are private (0600).")],
    online: Annotated[
        Path, typer.Option(help="The server's public key: STATE/online.pub, which its first start leaves.")
    ],
    root_keys: Annotated[int, typer.Option(min=1, max=16, help="Root keys to make here.")] = 1,
    root_threshold: Annotated[int, typer.Option(min=1, help="How many root keys must sign a root.")] = 1,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Another holder's public root key; repeat for more.", show_default=False),
    ] = None,
    bits: Annotated[int, typer.Option(min=1, max=8, help="Releases are spread over 2 to the power of this bins.")] = 5,
    key_type: KeyTypeOption = "ecdsa",
    no_password: NoPasswordOption = False,
    password_file: PasswordOption = None,
    root_days: RootDaysOption = 3650,
    days: DaysOption = 365,
    json: JsonOption = False,
) -> None:
    """Make root, targets and release keys, and the first metadata, on the machine where releases are signed."""
    from . import ceremony
    from .keyfiles import Passwords, check_type, load_public
    from .tables import show_facts, show_json

    check_type(key_type)
    server_key, holders = load_public(online), [load_public(path) for path in root or []]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Problem("keys_exist", f"{folder} is not empty.", "a folder of keys is made new, and keys are kept")
    password = None if no_password else Passwords(password_file).for_new()
    made = ceremony.init(
        folder, server_key, password, key_type, root_keys, root_threshold, holders, bits, root_days, days
    )
    if json:
        return show_json(made)
    lines = [("root metadata", made["root_file"])]
    lines += [(f"{role} key", keyid[:12]) for role, keyids in made["keyids"].items() for keyid in keyids]
    show_facts(lines)
    mine = root_keys
    if mine < root_threshold:
        typer.echo(f"{made['root_file']} needs {root_threshold - mine} more: trueboot keys sign.", err=True)
    typer.echo(
        "Copy the root metadata to STATE/repo/metadata/1.root.json and onto the devices; keep the folder safe.",
        err=True,
    )


@app.command("make")
def keys_make(
    file: Annotated[Path, typer.Argument(metavar="FILE.pem", help="The private key to make; FILE.pub goes beside it.")],
    key_type: KeyTypeOption = "ecdsa",
    no_password: NoPasswordOption = False,
    password_file: PasswordOption = None,
    json: JsonOption = False,
) -> None:
    """Make one key pair, for one more holder.  Give the public half to whoever runs `keys add` or `keys init`."""
    from .ceremony import make_pair
    from .keyfiles import Passwords, check_type
    from .tables import show_facts, show_json

    check_type(key_type)
    if file.suffix != ".pem":
        raise Problem("usage", f"{file}: the name of a private key ends in .pem.")
    if file.exists():
        raise Problem("file_exists", f"{file} exists already.", todo="A key is never overwritten; choose another name.")
    password = None if no_password else Passwords(password_file).for_new()
    keyid, public = make_pair(file, key_type, password)
    if json:
        return show_json({"keyid": keyid, "private": str(file), "public": str(public)})
    show_facts([("key", keyid[:12]), ("private", file), ("public", public)])


@app.command("show")
def keys_show(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A folder of keys. [default: as --keys]", show_default=False),
    ] = None,
    keys: KeysOption = None,
    password_file: PasswordOption = None,
    json: JsonOption = False,
) -> None:
    """Show roles, thresholds, keys, expiry, and which private keys are here.  Asks no server: see `keys pull`."""
    from . import staging
    from .tables import show_json, show_table
    from .turns import overview

    known = keys_of(folder or keys, password_file, None)
    found = overview(known, staging.draft_of(staging.offline_base(known, strict=False), known))
    if json:
        return show_json(found)
    rows = []
    for role, facts in found["roles"].items():
        for number, key in enumerate(facts["keys"]):
            first = (role, f"{facts['threshold']} of {len(facts['keys'])}", _days(facts["days"]))
            rows.append(
                (
                    *(first if not number else (" ", " ", " ")),
                    key["keyid"][:12],
                    key["type"],
                    key["file"] or _elsewhere(role),
                )
            )
    show_table(("ROLE", "SIGN", "EXPIRES", "KEY", "TYPE", "PRIVATE KEY"), rows)
    tell_staged(known, found["staged"], found["lacking"])
    for path in found["unused"]:
        typer.echo(f"{path} may sign nothing (any more).", err=True)


app.command("add")(verbs_change.add)
app.command("remove")(verbs_change.remove)
app.command("rotate")(verbs_change.rotate)
app.command("renew")(verbs_change.renew)


@app.command("sign")
def keys_sign(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Staged metadata, such as 2.root.json.")],
    yes: YesOption = False,
    keys: KeysOption = None,
    key: KeyOption = None,
    password_file: PasswordOption = None,
    json: JsonOption = False,
) -> None:
    """Add your signature to staged metadata, offline.  What they change is shown first."""
    from .verbs_release import sign_files

    sign_files(files, keys, key, password_file, yes, json)


@app.command("pull")
def keys_pull(
    keys: KeysOption = None,
    repo: Annotated[
        Path | None,
        typer.Option(
            help="Copied metadata in a folder, instead of a server: for a machine without network.", show_default=False
        ),
    ] = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Verify what is published and keep it in the keys' folder: what changes offline are made on top of."""
    from . import published, staging
    from .tables import show_facts, show_json

    if repo is not None:
        known = keys_of(keys, None, None)
        folder = repo / "metadata" if (repo / "metadata").is_dir() else repo
        anchor = known.read("1.root.json")
        now = published.load(published.read_folder(folder), anchor, published.read_seen(known.seen, anchor))
        now.save(known.seen)
    else:
        api = api_of(server, ca, token, state)
        known = keys_of(keys, None, None, api.server.keys_dir)
        now = staging.current(api, known)
    facts: dict[str, Any] = {"root": max(now.roots)}
    facts |= {"targets": published.version_of(now.targets) if now.targets else None}
    facts |= {"releases": len(now.releases()), "kept": str(known.seen)}
    show_json(facts) if json else show_facts(facts.items())


@app.command("publish")
def keys_publish(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A folder of keys. [default: as --keys]", show_default=False),
    ] = None,
    keys: KeysOption = None,
    key: KeyOption = None,
    password_file: PasswordOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Publish what is staged in the keys' folder, all or nothing."""
    work = Work(folder or keys, key, password_file, server, ca, token, state, offline=False)
    if work.api is None:
        work.api = api_of(server, ca, token, state)  # says what is missing
    work.finish({}, json, must=True)


def _days(days: int | None) -> str:
    if days is None:
        return "-"
    return f"in {days} days" if days >= 0 else f"{-days} days ago"


def _elsewhere(role: str) -> str:
    return "at the server" if role == "online" else "not here"
