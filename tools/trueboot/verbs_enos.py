# SPDX-License-Identifier: MIT
"""`trueboot enos`: devices and certificates over EnOS's REST, for EnOS, DECADA, and our own server."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, StateOption, group
from .problem import Problem

app = group("Devices and certificates over EnOS's REST: for EnOS, DECADA, or a Trueboot server.")
device = group("Devices, as EnOS knows them.")
certificate = group("Certificates of a device.")
app.add_typer(device, name="device")
app.add_typer(certificate, name="certificate")

AccountOption = Annotated[
    Path | None,
    typer.Option(
        "--account",
        help="JSON file, 0600: url, org_id, access_key, secret_key, ca_file. [env TRUEBOOT_ENOS_URL, _ORG, _ACCESS_KEY, "
        "_SECRET_KEY, _CA; else operator.json of --state]",
        show_default=False,
    ),
]
ProductOption = Annotated[
    str,
    typer.Option(
        help="Product key. [default: the part of DEVICE before a slash, or the server's own]", show_default=False
    ),
]
DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")]
CsrOption = Annotated[str, typer.Option("--csr", help="The certificate request, PEM; - for standard input.")]
DaysOption = Annotated[int, typer.Option("--days", min=0, max=36500, help="Life of the certificate; 0: EnOS's choice.")]
NumberOption = Annotated[str, typer.Option("--sn", help="EnOS's number of the certificate (certSN).")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the certificate and what follows it here.", show_default=False),
]
NameOption = Annotated[str, typer.Option("--name", help="The device's name. [default: its key]", show_default=False)]
TimezoneOption = Annotated[str, typer.Option("--timezone", help="The device's offset from UTC.")]
LicenseOption = Annotated[str, typer.Option("--license", help="The license that the device runs under.")]


def _open(account: Path | None, state: str):
    from .enos import Enos, find_account

    return Enos(find_account(account, state))


def _named(enos, name: str, product: str) -> dict[str, str]:
    before, _, key = name.rpartition("/")
    product_key = before or product or enos.account.product_key
    if not product_key:
        raise Problem("usage", "The product is not known.", todo="Say PRODUCT/DEVICE, or --product PRODUCT")
    return {"productKey": product_key, "deviceKey": key}


def _about(name: str, timezone: str, license: str, key: str) -> dict:
    about = {"timezone": timezone, "deviceName": {"defaultValue": name or key, "i18nValue": {}}}
    return about | ({"license": license} if license else {})


def _number(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Problem("usage", f"--sn {text}: it is a number.", todo="List them: trueboot enos certificate ls DEVICE")
    return text


def _show_certificate(answer: dict, output: Path | None, json: bool) -> None:
    from .keyfiles import write_new
    from .tables import show_facts, show_json

    if output:
        write_new(output, answer["chain"].encode(), force=True)
    if json:
        return show_json({name: value for name, value in answer.items() if name != "chain"})
    facts = [
        ("certificate", answer["certSN"]),
        ("authority", answer.get("issueAuthority")),
        ("until", answer["notAfter"]),
    ]
    show_facts(facts + ([("written", output)] if output else []))


@app.command("login")
def login(account: AccountOption = None, state: StateOption = "", json: JsonOption = False) -> None:
    """Try the access key: get a token with it, and forget it again."""
    from .tables import show_facts, show_json

    enos = _open(account, state)
    _, left_s = enos.token()
    facts = {"url": enos.account.url, "organisation": enos.account.org_id, "token": f"good for {left_s} s"}
    show_json(facts | {"token": left_s}) if json else show_facts(facts.items())


@device.command("get")
def device_get(
    name: DeviceArgument,
    product: ProductOption = "",
    secret: Annotated[bool, typer.Option("--secret", help="Show the device secret as well, if EnOS tells it.")] = False,
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show a device."""
    from .tables import show_facts, show_json

    enos = _open(account, state)
    found = enos.get_device(_named(enos, name, product))
    if found is None:
        raise Problem("not_found", f"EnOS knows no device {name}.", todo="Create it: trueboot enos device create")
    told = found.pop("deviceSecret", None)
    found = {**found, "secretIsTold": bool(told)} | ({"deviceSecret": told} if secret and told else {})
    if json:
        return show_json(found)
    named = found.get("deviceName")
    found["deviceName"] = named.get("defaultValue") if isinstance(named, dict) else named
    shown = ("productKey", "deviceKey", "assetId", "deviceName", "status", "timezone", "license")
    show_facts([(key, found.get(key)) for key in (*shown, "secretIsTold", *(("deviceSecret",) if secret else ()))])


@device.command("create")
def device_create(
    name: DeviceArgument,
    product: ProductOption = "",
    shown_name: NameOption = "",
    timezone: TimezoneOption = "+00:00",
    license: LicenseOption = "",
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Create a device.  Its secret is for its board: `provision` gets it."""
    from .tables import show_facts, show_json

    enos = _open(account, state)
    named = _named(enos, name, product)
    made = enos.create_device(named | _about(shown_name, timezone, license, named["deviceKey"]))
    made.pop("deviceSecret", None)
    show_json(made) if json else show_facts(made.items())


@certificate.command("apply")
def certificate_apply(
    name: DeviceArgument,
    csr: CsrOption,
    product: ProductOption = "",
    days: DaysOption = 0,
    output: OutputOption = None,
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Get a certificate for a request.  The same request gets the same certificate."""
    from . import enos_board

    request = enos_board.read_csr(csr)
    enos = _open(account, state)
    _show_certificate(enos_board.apply(enos, _named(enos, name, product), request, days), output, json)


@certificate.command("renew")
def certificate_renew(
    name: DeviceArgument,
    number: NumberOption,
    csr: Annotated[str, typer.Option("--csr", help="A request; without one the old key is certified again.")] = "",
    product: ProductOption = "",
    days: DaysOption = 0,
    output: OutputOption = None,
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Get the certificate that follows one."""
    from . import enos_board

    request = enos_board.read_csr(csr) if csr else None
    enos = _open(account, state)
    answer = enos_board.renew(enos, _named(enos, name, product), _number(number), request, days)
    _show_certificate(answer, output, json)


@certificate.command("revoke")
def certificate_revoke(
    name: DeviceArgument,
    number: NumberOption,
    reason: Annotated[str, typer.Option(help="keyCompromise, superseded, cessationOfOperation, ...")] = "unspecified",
    product: ProductOption = "",
    account: AccountOption = None,
    state: StateOption = "",
) -> None:
    """Revoke one certificate.  On a Trueboot server, a device without another is revoked with it."""
    from .enos_board import REASONS
    from .tables import show_facts

    if reason not in REASONS:
        raise Problem("usage", f"--reason {reason}: it is one of {', '.join(REASONS)}.")
    enos = _open(account, state)
    body = {"certSn": int(_number(number)), "reason": REASONS[reason]}
    enos.certificates("revoke", _named(enos, name, product), body)
    show_facts([("revoked", number), ("reason", reason)])


@certificate.command("ls")
def certificate_ls(
    name: DeviceArgument,
    product: ProductOption = "",
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List a device's certificates."""
    from .enos_board import STATES
    from .tables import show_json, show_table

    enos = _open(account, state)
    found = enos.certificates("list", _named(enos, name, product)) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Problem("enos_answer", why="its data are no list")
    if json:
        return show_json(found)
    show_table(
        ("SN", "STATE", "UNTIL", "SUBJECT"),
        ((one.get("certSN"), _state(one, STATES), _day(one.get("expireDate")), one.get("subject")) for one in found),
    )


def _state(one: dict, states: tuple[str, ...]) -> str:
    status = one.get("certStatus")
    return states[status] if type(status) is int and 0 <= status < len(states) else str(status)


def _day(ms: object) -> str:
    from datetime import UTC, datetime

    if type(ms) is not int or not 0 <= ms < 2**47:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


@app.command("provision")
def provision(
    name: DeviceArgument,
    csr: CsrOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for device.json and device.pem.")],
    product: ProductOption = "",
    shown_name: NameOption = "",
    timezone: TimezoneOption = "+00:00",
    license: LicenseOption = "",
    days: DaysOption = 0,
    account: AccountOption = None,
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Walk the whole road for a board: device, secret, certificate.  May be given again after any cut."""
    from . import enos_board
    from .tables import show_facts, show_json

    request = enos_board.read_csr(csr)
    enos = _open(account, state)
    named = _named(enos, name, product)
    about = _about(shown_name, timezone, license, named["deviceKey"])
    made = enos_board.provision(enos, named, request, output, about, days)
    facts = {
        "device": f"{made['product_key']}/{made['device_key']}",
        "asset": made["asset_id"],
        "certificate": made["cert_sn"],
        "until": made["not_after"],
        "written": str(output / enos_board.DOCUMENT),
    }
    show_json(facts) if json else show_facts(facts.items())
