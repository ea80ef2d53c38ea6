# SPDX-License-Identifier: MIT
"""Products: what a job makes of devices that cannot sign."""

from __future__ import annotations

from typing import Any

from .api import Api
from .problem import Problem
from .tables import show_facts, show_json, show_table


def list_products(api: Api, as_json: bool) -> None:
    products = api.get("/api/v1/products")["products"]
    if as_json:
        return show_json(products)
    show_table(("PRODUCT", "CLAIMS COUNT"), ((p["product_key"], p["claims_count"]) for p in products))


def set_policy(api: Api, name: str, claims_count: str, as_json: bool) -> None:
    """`name`: a product key; with one product, "" will do."""
    if claims_count not in ("yes", "no"):
        raise Problem("usage", "--claims-count is yes or no.")
    product = api.post(f"/api/v1/products/{_find(api, name)}/policy", {"claims_count": claims_count == "yes"})
    if as_json:
        return show_json(product)
    show_facts([("product", product["product_key"]), ("claims count", product["claims_count"])])


def _find(api: Api, name: str) -> Any:
    keys = [product["product_key"] for product in api.get("/api/v1/products")["products"]]
    if name and name not in keys:
        raise Problem("not_found", f"The server knows no product {name}.", todo="List them: trueboot product ls")
    if not name and len(keys) != 1:
        raise Problem("usage", "There is more than one product.", todo="Say which: --product PRODUCT")
    return name or keys[0]
