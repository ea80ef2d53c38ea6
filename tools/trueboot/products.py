# SPDX-License-Identifier: MIT
"""Products: what holds for all their devices."""

from __future__ import annotations

from typing import Any

from .api import Api
from .problem import Problem
from .tables import show_facts, show_json, show_table


def list_products(api: Api, as_json: bool) -> None:
    products = api.get("/api/v1/products")["products"]
    if as_json:
        return show_json(products)
    headings = ("PRODUCT", "CLAIMS COUNT", "PASSWORD LOGIN")
    show_table(headings, ((p["product_key"], p["claims_count"], p["allow_password_login"]) for p in products))


def set_policy(api: Api, name: str, claims_count: str, password_login: str, as_json: bool) -> None:
    """`name`: a product key; with one product, "" will do.  An option that is "" changes nothing."""
    chosen = {"claims_count": claims_count, "allow_password_login": password_login}
    wanted = {member: word for member, word in chosen.items() if word}
    if not wanted or not set(wanted.values()) <= {"yes", "no"}:
        raise Problem("usage", "--claims-count and --password-login are yes or no, and one has to be there.")
    body = {member: word == "yes" for member, word in wanted.items()}
    product = api.post(f"/api/v1/products/{_find(api, name)}/policy", body)
    if as_json:
        return show_json(product)
    show_facts(
        [
            ("product", product["product_key"]),
            ("claims count", product["claims_count"]),
            ("password login", product["allow_password_login"]),
        ]
    )


def _find(api: Api, name: str) -> Any:
    keys = [product["product_key"] for product in api.get("/api/v1/products")["products"]]
    if name and name not in keys:
        raise Problem("not_found", f"The server knows no product {name}.", todo="List them: trueboot product ls")
    if not name and len(keys) != 1:
        raise Problem("usage", "There is more than one product.", todo="Say which: --product PRODUCT")
    return name or keys[0]
