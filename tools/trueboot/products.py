# SPDX-License-Identifier: MIT
"""Products: what holds for all devices of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .api import Api
from .problem import Problem
from .tables import show_facts, show_json, show_table

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_SWITCHES = ("claims_count", "allow_password_login", "pushed_tags", "generated_keys")
_WORDS = {
    "attestation": ("none", "optional", "required"),
    "auto_update": ("off", "latest"),
    "registration": ("DISABLED", "OPEN", "OPEN_WITH_SECRET", "ID"),
    "tokens": ("required", "optional", "off"),
}
_OPTIONS = {"allow_password_login": "--password-login"}
_DIALECTS = ("decada", "esthesis")


def list_products(api: Api, as_json: bool) -> None:
    products = api.get("/api/v1/products")["products"]
    if as_json:
        return show_json(products)
    show_table(
        ("PRODUCT", "DIALECT", "CLAIMS COUNT", "PASSWORD LOGIN", "ATTESTATION", "AUTO UPDATE", "CERTIFICATE LIFE"),
        (
            (
                p["product_key"],
                p["dialect"],
                p["claims_count"],
                p["allow_password_login"],
                p["attestation"],
                p["auto_update"],
                _life(p),
            )
            for p in products
        ),
    )


def create(api: Api, name: str, dialect: str, as_json: bool) -> None:
    if dialect not in _DIALECTS:
        raise Problem("usage", f"--dialect is one of {', '.join(_DIALECTS)}.")
    made = api.post("/api/v1/products", {"product_key": name, "dialect": dialect})
    _show(made, as_json)


def policy(words: dict[str, str], certificate_life: str = "", secret_file: Path | None = None) -> dict[str, Any]:
    """What the options ask to be changed; `words` are those of single words by the policy's member, "" not asked for."""
    wanted: dict[str, Any] = {}
    for member, word in words.items():
        if not word:
            continue
        option, told = _OPTIONS.get(member, "--" + member.replace("_", "-")), word
        if member == "registration":
            told = word.upper().replace("-", "_")
        allowed = ("yes", "no") if member in _SWITCHES else _WORDS[member]
        if told not in allowed:
            raise Problem(
                "usage", f"{option} is {' or '.join(allowed) if len(allowed) < 3 else 'one of ' + ', '.join(allowed)}."
            )
        wanted[member] = told == "yes" if member in _SWITCHES else told
    if certificate_life:
        wanted["certificate_life_s"] = None if certificate_life == "default" else seconds(certificate_life)
    if secret_file is not None:
        wanted["registration_secret"] = _first_line(secret_file)
    if not wanted:
        raise Problem("usage", "Say what is to be changed.", todo="See: trueboot product set --help")
    return wanted


def seconds(text: str, option: str = "--certificate-life") -> int:
    """90, 90s, 30m, 12h, 730d."""
    number, unit = text.rstrip("smhd"), text[len(text.rstrip("smhd")) :]
    if not (number.isascii() and number.isdecimal() and unit in _UNITS_S and len(number) <= 9):
        raise Problem("usage", f"{option} {text}: seconds, or a number with m, h or d; or default.")
    return int(number) * _UNITS_S[unit]


def set_policy(api: Api, name: str, wanted: dict[str, Any], as_json: bool) -> None:
    """`name`: a product key; with one product, "" will do."""
    _show(api.post(f"/api/v1/products/{find_product(api, name)}/policy", wanted), as_json)


def _show(product: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(product)
    facts = [
        ("product", product["product_key"]),
        ("dialect", product["dialect"]),
        ("claims count", product["claims_count"]),
        ("password login", product["allow_password_login"]),
        ("attestation", product["attestation"]),
        ("auto update", product["auto_update"]),
        ("certificate life", _life(product)),
    ]
    if product["dialect"] == "esthesis":
        facts += [
            ("registration", product["registration"]),
            ("registration secret", product["registration_secret"]),
            ("tokens", product["tokens"]),
            ("pushed tags", product["pushed_tags"]),
            ("generated keys", product["generated_keys"]),
        ]
    show_facts(facts)


def find_product(api: Api, name: str, dialect: str = "") -> Any:
    """Its key: the one that is named, or the only one, of `dialect` if that is given."""
    keys = [p["product_key"] for p in api.get("/api/v1/products")["products"] if dialect in ("", p["dialect"])]
    kind = f" that speaks {dialect}" if dialect else ""
    if (name and name not in keys) or not keys:
        raise Problem(
            "not_found",
            f"The server knows no product {name}{kind}.".replace("  ", " "),
            todo="List them: trueboot product ls",
        )
    if not name and len(keys) != 1:
        raise Problem("usage", f"There is more than one product{kind}.", todo="Say which: --product PRODUCT")
    return name or keys[0]


def _life(product: dict[str, Any]) -> str:
    life_s = product["certificate_life_s"]
    if life_s is None:
        return "default"
    return f"{life_s // 86400} d" if life_s % 86400 == 0 else f"{life_s} s"


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(4096).rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise Problem(
            "file_unusable", f"{path} cannot be read.", getattr(error, "strerror", "") or str(error)
        ) from None
