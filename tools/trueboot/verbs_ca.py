# SPDX-License-Identifier: MIT
"""`trueboot ca`: what the server's CA is and has signed, revocation, and ceremonies with its keys."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    CaOption,
    JsonOption,
    PasswordOption,
    ServerOption,
    StateOption,
    TokenOption,
    YesOption,
    api_of,
    confirm,
    group,
)
from .problem import Problem

app = group("The server's certificate authority.")

ReasonOption = Annotated[
    str,
    typer.Option(
        help="unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, certificateHold "
        "or privilegeWithdrawn."
    ),
]
RootKeyOption = Annotated[
    Path | None,
    typer.Option("--root-key", help="The root's key. [default: in the state folder]", show_default=False),
]
NoPasswordOption = Annotated[bool, typer.Option("--no-password", help="Do not encrypt the copy.")]


@app.command("show")
def ca_show(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show the CA: roots, issuing CA, where the root's key is."""
    from .ca import show

    show(api_of(server, ca, token, state), json)


@app.command("ls")
def ca_ls(
    device: Annotated[str, typer.Option(help="Only of this device key.", show_default=False)] = "",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the certificates, the newest first."""
    from .ca import list_certificates

    list_certificates(api_of(server, ca, token, state), device, json)


@app.command("revoke")
def ca_revoke(
    serial: Annotated[str, typer.Argument(metavar="SERIAL|HANDLE", help="Serial number in hex, or the short handle.")],
    reason: ReasonOption = "unspecified",
    yes: YesOption = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Revoke one certificate; with its last one a device is revoked.  There is no way back."""
    from .ca import check_reason, revoke

    check_reason(reason)
    api = api_of(server, ca, token, state)
    confirm(f"Revoke the certificate {serial}?  It cannot be taken back.", yes)
    revoke(api, serial, reason, json)


@app.command("crl")
def ca_crl(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, replaced in one step.")] = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
) -> None:
    """The CRLs in PEM, as other servers (Mosquitto, nginx) want them: of the issuing CAs and of the root."""
    from .ca import crls
    from .keyfiles import write_new

    data = crls(api_of(server, ca, token, state))
    if output is None:
        typer.echo(data.decode(), nl=False)
    else:
        write_new(output, data, force=True)


@app.command("issue-server")
def ca_issue_server(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="DNS names or addresses; the first is its name.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="For key.pem, chain.pem and trusted.pem (whom it trusts)."
        ),
    ],
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """A certificate for another server of yours, such as an MQTT broker.  Its key is made here and stays here."""
    from .ca import issue_server
    from .tables import moment, show_facts, show_json

    made = issue_server(api_of(server, ca, token, state), names, output)
    if json:
        return show_json(made)
    show_facts([("serial", made["serial"]), ("until", moment(made["not_after"])), ("folder", made["folder"])])


@app.command("export-root-key")
def ca_export_root_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, encrypted with a password.")],
    no_password: NoPasswordOption = False,
    password_file: PasswordOption = None,
    state: StateOption = "",
) -> None:
    """Copy the root's key, to be kept elsewhere."""
    from .ca import export_root_key
    from .keyfiles import Passwords

    export_root_key(state, file, None if no_password else Passwords(password_file).for_new())
    typer.echo(
        f"Keep {file} and a second copy in two safe places: without it no other issuing CA can be made.", err=True
    )


@app.command("remove-root-key")
def ca_remove_root_key(
    copy: Annotated[Path, typer.Option(help="The copy that you keep: it is opened and compared.")],
    password_file: PasswordOption = None,
    yes: YesOption = False,
    state: StateOption = "",
) -> None:
    """Delete the root's key from the state folder, once a copy is proven good.  The server runs without it."""
    from .ca import ceremony
    from .keyfiles import Passwords

    with ceremony(state, lock=False) as work:
        password = Passwords(password_file).for_file(copy)
        confirm("Delete the root's key here?", yes)
        work.remove_root_key(copy, password)


@app.command("renew")
def ca_renew(
    root_key: RootKeyOption = None,
    password_file: PasswordOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Sign the issuing CA's certificate and the root's CRL anew, same keys.  Done at a start where the root's key is here."""
    from .ca import ceremony, tell_ca
    from .keyfiles import Passwords

    with ceremony(state, root_key, Passwords(password_file)) as work:
        tell_ca(work.renew(), "issuing", json)


@app.command("rotate-issuing")
def ca_rotate_issuing(
    root_key: RootKeyOption = None,
    revoke: Annotated[
        str, typer.Option(metavar="REASON", help="Revoke the present one as well.", show_default=False)
    ] = "",
    password_file: PasswordOption = None,
    yes: YesOption = False,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Another issuing CA.  Certificates of the present one stay good, unless it is revoked."""
    from .ca import ceremony, check_reason, tell_ca
    from .keyfiles import Passwords

    reason = None
    if revoke:
        from trueboot_server.ca.lists import REASONS

        check_reason(revoke)
        reason = REASONS[revoke]
        confirm("Revoke the issuing CA?  Every device has to renew its certificate before it can connect.", yes)
    with ceremony(state, root_key, Passwords(password_file)) as work:
        tell_ca(work.rotate_issuing(reason), "issuing", json)


@app.command("rotate-root")
def ca_rotate_root(
    step: Annotated[str, typer.Argument(metavar="begin|finish")],
    root_key: RootKeyOption = None,
    no_bridge: Annotated[
        bool, typer.Option("--no-bridge", help="Finish: the old root's key is in wrong hands, sign nothing off it.")
    ] = False,
    password_file: PasswordOption = None,
    yes: YesOption = False,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Replace the root: begin makes another beside it, devices learn of it, finish leaves the new one alone."""
    from .ca import ceremony, tell_ca
    from .keyfiles import Passwords

    if step not in ("begin", "finish"):
        raise Problem("usage", "The step is begin or finish.")
    if step == "finish":
        confirm("Do all devices know the new root?  One that does not may have to be provisioned again.", yes)
    with ceremony(state, root_key, Passwords(password_file)) as work:
        made = work.begin_root() if step == "begin" else work.finish_root(bridge=not no_bridge)
        tell_ca(made, "root", json)


@app.command("import")
def ca_import(
    key: Annotated[Path, typer.Option(help="The issuing CA's private key, PEM.")],
    chain: Annotated[Path, typer.Option(help="Its certificate, PEM.")],
    root: Annotated[Path, typer.Option(help="The root that signed it, PEM.")],
    password_file: PasswordOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Use an existing CA, before the server's first start; later, another issuing CA of the same root."""
    from .ca import ceremony, tell_ca
    from .keyfiles import Passwords

    with ceremony(state, new=True) as work:
        tell_ca(work.import_ca(key, chain, root, Passwords(password_file).for_file(key)).certificate, "issuing", json)
