# SPDX-License-Identifier: MIT
"""Options that many verbs take, and how they become a session with the server or a folder of keys."""

from pathlib import Path
from typing import Annotated

import typer

from .problem import Problem


def group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


ServerOption = Annotated[
    str, typer.Option("--server", help="Address, https://HOST:PORT. [env TRUEBOOT_SERVER]", show_default=False)
]
CaOption = Annotated[str, typer.Option("--ca", help="The server's CA file, PEM. [env TRUEBOOT_CA]", show_default=False)]
TokenOption = Annotated[
    str,
    typer.Option("--token", help="Admin token; rather in the environment. [env TRUEBOOT_TOKEN]", show_default=False),
]
StateOption = Annotated[
    str,
    typer.Option(
        "--state", help="The server's state folder. [env TRUEBOOT_STATE, else ./trueboot-state]", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def api_of(server: str, ca: str, token: str, state: str):
    from .api import Api, find_server

    return Api(find_server(server, ca, token, state))


KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        help="Folder of signing keys. [env TRUEBOOT_KEYS, else that of a --dev server, else ./keys]",
        show_default=False,
    ),
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--key", help="A private key file from elsewhere; repeat for more.", show_default=False),
]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="Its first line opens encrypted keys. [env TRUEBOOT_KEY_PASSWORD, else it is asked for]",
        show_default=False,
    ),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Ask no server; stage what is made in the keys' folder.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the file if there is one.")]


def keys_of(named: Path | None, password_file: Path | None, extra: list[Path] | None, server_keys: str = ""):
    from .keyfiles import Passwords
    from .keyfolder import KeyFolder, find_folder

    return KeyFolder(find_folder(named, server_keys), Passwords(password_file), extra or [])


def maybe_api(server: str, ca: str, token: str, state: str, offline: bool):
    """A session with the server, None with --offline or when no server is known."""
    import os

    if offline:
        return None
    named = server or state or os.environ.get("TRUEBOOT_SERVER") or os.environ.get("TRUEBOOT_STATE")
    try:
        return api_of(server, ca, token, state)
    except Problem as problem:
        if problem.code == "server_unknown" and not named:
            return None
        raise


def confirm(question: str, yes: bool) -> None:
    """Problem unless a person says yes."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise Problem("not_confirmed", todo="Say --yes, or run this at a terminal.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Problem("not_confirmed")
