# SPDX-License-Identifier: MIT
"""Products: what holds for all devices of one."""

from __future__ import annotations

from typing import Any

from .api import Api
from .problem import Problem
from .tables import show_facts, show_json, show_table

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_ATTESTATION = ("none", "optional", "required")


def list_products(api: Api, as_json: bool) -> None:
    products = api.get("/api/v1/products")["products"]
    if as_json:
        return show_json(products)
    show_table(
        ("PRODUCT", "CLAIMS COUNT", "PASSWORD LOGIN", "ATTESTATION", "AUTO UPDATE", "CERTIFICATE LIFE"),
        (
            (
                p["product_key"],
                p["claims_count"],
                p["allow_password_login"],
                p["attestation"],
                p["auto_update"],
                _life(p),
            )
            for p in products
        ),
    )


def policy(
    claims_count: str, password_login: str, attestation: str, certificate_life: str, auto_update: str = ""
) -> dict[str, Any]:
    """What the options ask to be changed; "" is not asked for."""
    wanted: dict[str, Any] = {}
    for option, member, word in (
        ("--claims-count", "claims_count", claims_count),
        ("--password-login", "allow_password_login", password_login),
    ):
        if word:
            if word not in ("yes", "no"):
                raise Problem("usage", f"{option} is yes or no.")
            wanted[member] = word == "yes"
    if attestation:
        if attestation not in _ATTESTATION:
            raise Problem("usage", f"--attestation is one of {', '.join(_ATTESTATION)}.")
        wanted["attestation"] = attestation
    if auto_update:
        if auto_update not in ("off", "latest"):
            raise Problem("usage", "--auto-update is off or latest.")
        wanted["auto_update"] = auto_update
    if certificate_life:
        wanted["certificate_life_s"] = None if certificate_life == "default" else seconds(certificate_life)
    if not wanted:
        raise Problem("usage", "Say what is to be changed.", todo="See: trueboot product set --help")
    return wanted


def seconds(text: str) -> int:
    """90, 90s, 30m, 12h, 730d."""
    number, unit = text.rstrip("smhd"), text[len(text.rstrip("smhd")) :]
    if not (number.isascii() and number.isdecimal() and unit in _UNITS_S and len(number) <= 9):
        raise Problem("usage", f"--certificate-life {text}: seconds, or a number with m, h or d; or default.")
    return int(number) * _UNITS_S[unit]


def set_policy(api: Api, name: str, wanted: dict[str, Any], as_json: bool) -> None:
    """`name`: a product key; with one product, "" will do."""
    product = api.post(f"/api/v1/products/{_find(api, name)}/policy", wanted)
    if as_json:
        return show_json(product)
    show_facts(
        [
            ("product", product["product_key"]),
            ("claims count", product["claims_count"]),
            ("password login", product["allow_password_login"]),
            ("attestation", product["attestation"]),
            ("auto update", product["auto_update"]),
            ("certificate life", _life(product)),
        ]
    )


def _life(product: dict[str, Any]) -> str:
    life_s = product["certificate_life_s"]
    if life_s is None:
        return "default"
    return f"{life_s // 86400} d" if life_s % 86400 == 0 else f"{life_s} s"


def _find(api: Api, name: str) -> Any:
    keys = [product["product_key"] for product in api.get("/api/v1/products")["products"]]
    if name and name not in keys:
        raise Problem("not_found", f"The server knows no product {name}.", todo="List them: trueboot product ls")
    if not name and len(keys) != 1:
        raise Problem("usage", "There is more than one product.", todo="Say which: --product PRODUCT")
    return name or keys[0]
