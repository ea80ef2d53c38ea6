# SPDX-License-Identifier: MIT
"""Packages of esthesis, on top of the operator's REST interface: add, list, offer or not, remove."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from .api import Api
from .problem import Problem
from .products import find_product
from .tables import moment, show_facts, show_json, show_table

_ROAD = "/api/v1/packages"
_SCHEMES = ("https://", "http://")
_ID = re.compile(r"[0-9a-f]{24}\Z")


def add(
    api: Api,
    source: str,
    version: str,
    name: str,
    sha256: str,
    copy: Path | None,
    tags: list[str],
    prerequisite: str,
    product: str,
    as_json: bool,
) -> None:
    """`sha256` or `copy`: for a URL, whose content nobody here has."""
    body: dict[str, Any] = {"version": version, "tags": tags, "prerequisite": prerequisite or None}
    if source.startswith(_SCHEMES):
        if bool(sha256) == bool(copy):
            raise Problem("usage", "Say what lies at the URL: --sha256 HEX, or --copy FILE.")
        body |= {"url": source, "sha256": sha256.lower() or _sha256(Path(str(copy)))}
    else:
        if sha256 or copy:
            raise Problem("usage", "--sha256 and --copy go with a URL.")
        body["sha256"] = _sha256(Path(source))
    body |= {
        "name": name or source.rstrip("/").rpartition("/")[2],
        "product_key": find_product(api, product, "esthesis"),
    }
    if "url" not in body:
        try:
            with open(source, "rb") as file:
                api.request("PUT", f"{_ROAD}/files/{body['sha256']}", body=file)
        except OSError as error:
            raise _unreadable(source, error) from None
    _show(api.post(_ROAD, body), as_json)


def list_packages(api: Api, as_json: bool) -> None:
    packages = api.get(_ROAD)["packages"]
    if as_json:
        return show_json(packages)
    show_table(
        ("ID", "PRODUCT", "NAME", "VERSION", "TYPE", "TAGS", "NEEDS", "OFFERED"),
        (
            (
                p["id"],
                p["product_key"],
                p["name"],
                p["version"],
                p["type"],
                " ".join(p["tags"]),
                p["prerequisite"] or "",
                p["available"],
            )
            for p in packages
        ),
    )


def set_available(api: Api, number: str, available: str, as_json: bool) -> None:
    if available not in ("yes", "no"):
        raise Problem("usage", "--available is yes or no.")
    _show(api.post(f"{_ROAD}/{_id(number)}/available", {"available": available == "yes"}), as_json)


def remove(api: Api, number: str, as_json: bool) -> None:
    api.request("DELETE", f"{_ROAD}/{_id(number)}")
    show_json({"removed": number}) if as_json else show_facts([("removed", number)])


def _show(package: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(package)
    show_facts(
        [
            ("package", package["id"]),
            ("product", package["product_key"]),
            ("name", package["name"]),
            ("version", package["version"]),
            ("type", package["type"]),
            ("sha256", package["sha256"]),
            ("url", package["url"]),
            ("tags", " ".join(package["tags"])),
            ("needs", package["prerequisite"]),
            ("offered", package["available"]),
            ("since", moment(package["created_at"])),
        ]
    )


def _id(number: str) -> str:
    """It becomes part of an address."""
    if not _ID.match(number):
        raise Problem("usage", f"{number} is no package's id.", todo="List them: trueboot package ls")
    return number


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(str(path), error) from None


def _unreadable(path: str, error: OSError) -> Problem:
    return Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error))
