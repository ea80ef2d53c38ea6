# SPDX-License-Identifier: MIT
"""The verbs of `trueboot keys` that change who may sign, and for how long."""

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
    keys_of,
    maybe_api,
)
from .problem import Problem

KeyTypeOption = Annotated[str, typer.Option("--key-type", help="ecdsa (P-256), ed25519 or rsa.")]
NoPasswordOption = Annotated[bool, typer.Option("--no-password", help="Leave new keys unencrypted.")]
RootDaysOption = Annotated[int, typer.Option(min=1, max=7300, help="Days until the new root expires.")]
DaysOption = Annotated[int, typer.Option(min=1, max=7300, help="Days until targets and bins signed now expire.")]
RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, release or online.")]
ThresholdOption = Annotated[
    int | None, typer.Option(min=1, help="How many of the role's keys must sign.", show_default=False)
]


def add(
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
    work = Work(keys, key, password_file, server, ca, token, state, offline)
    new = load_public(public)
    if new.keyid in ceremony.keys_of(work.draft, role)[0]:
        raise Problem("usage", f"{public} is a key of the {role} role already.")
    ceremony.change(work.draft, work.keys, role, [new], (), threshold, (), root_days, days)
    work.finish({"role": role, "added": new.keyid}, json)


def remove(
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
    work = Work(keys, key, password_file, server, ca, token, state, offline)
    gone = ceremony.the_one(ceremony.keys_of(work.draft, role)[0], keyid, role)
    ceremony.change(work.draft, work.keys, role, (), [gone], threshold, (), root_days, days)
    work.finish({"role": role, "removed": gone}, json)


def rotate(
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
    work = Work(keys, key, password_file, server, ca, token, state, offline)
    old = ceremony.to_replace(work.draft, work.keys, role, replace)
    if role == "release" and drop:
        ceremony.check_releases(work.draft, drop)
    work.keys.signers([old])  # a wrong password shows before a key is made
    if given is None and role == "online":
        if work.api is None:
            raise Problem("usage", "Say the server's new public key: trueboot keys rotate online PUBLIC.pem.")
        given = read_public(work.api.post("/api/v1/repo/online-key")["public"].encode(), "the server")
    if given is None:
        kind = key_type or ceremony.key_type_of(work.draft, role, old)
        password = None if no_password else work.keys.passwords.for_new()
        given = work.keys.make(role, kind, password).public_key
    ceremony.change(work.draft, work.keys, role, [given], [old], threshold, drop or (), root_days, days)
    signed = (
        {path for data in work.draft.roles.values() for path in ceremony.targets_in(data)} if role == "release" else ()
    )
    if signed and not json:
        typer.echo("Signed anew: " + ", ".join(sorted(signed)), err=True)
    work.finish({"role": role, "added": given.keyid, "removed": old, "releases": sorted(signed)}, json)


def renew(
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

    work = Work(keys, key, password_file, server, ca, token, state, offline)
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


class Work:
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
        from .turns import SHOWN_KEYID

        stage = staging.Stage(self.keys.staged)
        if must:
            ceremony.catch_up(self.draft, self.keys)
        files, lacks = self.draft.files, self.draft.lacking()
        if files:
            stage.write(files)
        else:
            stage.drop()
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
                " ".join(value) or "nothing"
                if isinstance(value, list)
                else value[:SHOWN_KEYID]
                if name != "role"
                else value,
            )
            for name, value in shown.items()
        ]
        if files or must:
            told.append(("published" if published or must else "staged", " ".join(files) or "nothing"))
        show_facts(told)
        if not published:
            tell_staged(self.keys, list(files), facts["lacking"])


def tell_staged(keys, files: list[str], lacking: list[dict]) -> None:
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
