# SPDX-License-Identifier: MIT
"""`trueboot keys`: signing keys, who may sign, and for how long."""

from pathlib import Path
from typing import Annotated, Any

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
    group,
    keys_of,
    maybe_api,
)
from .problem import Problem

app = group("Signing keys: who may sign releases, and for how long.")

KeyTypeOption = Annotated[str, typer.Option("--key-type", help="ecdsa (P-256), ed25519 or rsa.")]
NoPasswordOption = Annotated[bool, typer.Option("--no-password", help="Leave new keys unencrypted.")]
RootDaysOption = Annotated[int, typer.Option(min=1, max=7300, help="Days until the new root expires.")]
DaysOption = Annotated[int, typer.Option(min=1, max=7300, help="Days until targets and bins signed now expire.")]
RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, release or online.")]
ThresholdOption = Annotated[
    int | None, typer.Option(min=1, help="How many of the role's keys must sign.", show_default=False)
]


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
    _tell_staged(known, found["staged"], found["lacking"])
    for path in found["unused"]:
        typer.echo(f"{path} may sign nothing (any more).", err=True)


@app.command("add")
def keys_add(
    role: RoleArgument,
    public: Annotated[Path, typer.Argument(metavar="PUBLIC.pem", help="The holder's public key.")],
    threshold: ThresholdOption = None,
    root_days: RootDaysOption = 3650,
    days: DaysOption = 365,
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
    """Add another holder's key to a role."""
    from . import ceremony
    from .keyfiles import load_public

    _known(role)
    if role == "online":
        raise Problem(
            "usage", "A server has one online key.", todo="Replace it: trueboot keys rotate online PUBLIC.pem."
        )
    work = _Work(keys, key, password_file, server, ca, token, state, offline)
    new = load_public(public)
    if new.keyid in ceremony.keys_of(work.draft, role)[0]:
        raise Problem("usage", f"{public} is a key of the {role} role already.")
    ceremony.change(work.draft, work.keys, role, [new], (), threshold, (), root_days, days)
    work.finish({"role": role, "added": new.keyid}, json)


@app.command("remove")
def keys_remove(
    role: RoleArgument,
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="The beginning of the key's id: see `keys show`.")],
    threshold: ThresholdOption = None,
    root_days: RootDaysOption = 3650,
    days: DaysOption = 365,
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
    """Take a key out of a role, for a holder who leaves."""
    from . import ceremony

    _known(role)
    work = _Work(keys, key, password_file, server, ca, token, state, offline)
    gone = ceremony.the_one(ceremony.keys_of(work.draft, role)[0], keyid, role)
    ceremony.change(work.draft, work.keys, role, (), [gone], threshold, (), root_days, days)
    work.finish({"role": role, "removed": gone}, json)


@app.command("rotate")
def keys_rotate(
    role: RoleArgument,
    public: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PUBLIC.pem]", help="The new public key; without it a new key is made here.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        str, typer.Option(metavar="KEYID", help="Which key, where the role has several.", show_default=False)
    ] = "",
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="A release not to sign anew (a thief's); repeat.", show_default=False),
    ] = None,
    key_type: Annotated[
        str, typer.Option("--key-type", help="ecdsa (P-256), ed25519 or rsa. [default: as the old]", show_default=False)
    ] = "",
    no_password: NoPasswordOption = False,
    threshold: ThresholdOption = None,
    root_days: RootDaysOption = 3650,
    days: DaysOption = 365,
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
    """Replace a key of a role by a new one, and sign anew what the old one vouched for."""
    from . import ceremony
    from .keyfiles import check_type, load_public, read_public

    _known(role)
    if drop and role != "release":
        raise Problem("usage", "--drop goes with the release role.")
    check_type(key_type or "ecdsa")
    given = load_public(public) if public else None
    work = _Work(keys, key, password_file, server, ca, token, state, offline)
    old = ceremony.to_replace(work.draft, work.keys, role, replace)
    if role == "release" and drop:
        ceremony.check_releases(work.draft, drop)
    work.keys.signers([old])  # a wrong password shows before a key is made
    if given is None and role == "online":
        if work.api is None:
            raise Problem("usage", "Say the server's new public key: trueboot keys rotate online PUBLIC.pem.")
        given = read_public(work.api.post("/api/v1/repo/online-key")["public"].encode(), "the server")
    if given is None:
        book = work.draft.root.signed.keys | (work.draft.targets.signed.delegations.keys if role == "release" else {})
        kind = key_type or book[old].keytype
        password = None if no_password else work.keys.passwords.for_new()
        given = work.keys.make(role, "ecdsa" if kind.startswith("ecdsa") else kind, password).public_key
    ceremony.change(work.draft, work.keys, role, [given], [old], threshold, drop or (), root_days, days)
    signed = (
        {path for data in work.draft.roles.values() for path in ceremony.targets_in(data)} if role == "release" else ()
    )
    if signed and not json:
        typer.echo("Signed anew: " + ", ".join(sorted(signed)), err=True)
    work.finish({"role": role, "added": given.keyid, "removed": old, "releases": sorted(signed)}, json)


@app.command("renew")
def keys_renew(
    roles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROLE]...", help="root, targets, release. [default: all]", show_default=False),
    ] = None,
    within: Annotated[
        int | None, typer.Option(min=0, help="Only what expires within so many days.", show_default=False)
    ] = None,
    root_days: RootDaysOption = 3650,
    days: DaysOption = 365,
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
    """Sign metadata anew before they expire."""
    from . import ceremony
    from .turns import overview

    work = _Work(keys, key, password_file, server, ca, token, state, offline)
    for role in roles or []:
        _known(role)
        if role == "online":
            raise Problem("usage", "The server renews timestamp and snapshot by itself.")
    left = {role: facts["days"] for role, facts in overview(work.keys, work.draft)["roles"].items()}
    due = []
    for role in ("root", "targets", "release"):
        if role not in (roles or left) or left.get(role) is None or (within is not None and left[role] > within):
            continue
        if not roles and not work.keys.signers(ceremony.keys_of(work.draft, role)[0]):
            typer.echo(f"The {role} metadata stay as they are: no {role} key is here.", err=True)
            continue
        ceremony.renew(work.draft, work.keys, role, root_days, days)
        due.append(role)
    work.finish({"renewed": due}, json)


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
    work = _Work(folder or keys, key, password_file, server, ca, token, state, offline=False)
    if work.api is None:
        work.api = api_of(server, ca, token, state)  # says what is missing
    work.finish({}, json, must=True)


class _Work:
    """One change: on top of what is published (or was last seen), staged, and published when it can be."""

    def __init__(self, keys, key, password_file, server, ca, token, state, offline: bool):
        from . import staging

        self.api = maybe_api(server, ca, token, state, offline)
        self.keys = keys_of(keys, password_file, key, self.api.server.keys_dir if self.api else "")
        base = staging.current(self.api, self.keys) if self.api else staging.offline_base(self.keys)
        self.draft = staging.draft_of(base, self.keys)

    def finish(self, facts: dict, json: bool, must: bool = False) -> None:
        from . import ceremony, staging
        from .tables import show_facts, show_json

        stage = staging.Stage(self.keys.staged)
        if must:
            ceremony.catch_up(self.draft, self.keys)
        files, lacks = self.draft.files, self.draft.lacking()
        stage.write(files)
        published = self.api is not None and bool(files) and (must or not lacks)
        if published:
            staging.publish(self.api, self.draft, self.keys)
            stage.drop()
        facts |= {"files": list(files), "published": published, "lacking": [lack._asdict() for lack in lacks]}
        if json:
            return show_json(facts)
        shown = {
            name: value for name, value in facts.items() if name not in ("files", "published", "lacking", "releases")
        }
        told = [
            (
                name,
                " ".join(value) if isinstance(value, list) else value[:12] if name in ("added", "removed") else value,
            )
            for name, value in shown.items()
        ]
        show_facts([*told, ("published" if published else "staged", " ".join(files) or "nothing")])
        if not published:
            _tell_staged(self.keys, list(files), facts["lacking"])
        return None


def _tell_staged(keys, files: list[str], lacking: list[dict]) -> None:
    lines = dict.fromkeys(
        f"{lack['name']} has {lack['signed']} of {lack['threshold']} signatures; its holders sign it: trueboot keys sign."
        for lack in lacking
    )
    for line in lines:
        typer.echo(line, err=True)
    if files and not lacking:
        typer.echo(f"{len(files)} staged: trueboot keys publish {keys.path}", err=True)


def _known(role: str) -> None:
    from .ceremony import ROLES

    if role not in ROLES:
        raise Problem("usage", f"{role} is not a role.", todo=f"It is one of {', '.join(ROLES)}.")


def _days(days: int | None) -> str:
    if days is None:
        return "-"
    return f"in {days} days" if days >= 0 else f"{-days} days ago"


def _elsewhere(role: str) -> str:
    return "at the server" if role == "online" else "not here"
