# SPDX-License-Identifier: MIT
"""Products over REST: what holds for all devices of one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..errors import ApiError
from ..esthesis.registration import MODES, secret_hash
from ..esthesis.tokens import POLICIES
from ..fleet import jobs, registry
from ..fleet.dialect import DECADA, ESTHESIS
from ..names import is_key
from ..store import Transaction
from ..store.schema import products
from . import schemas as s
from .operations import OPERATE, READ, operation
from .request import only, read_object, require_admin

ATTESTATION = ("none", "optional", "required")
MIN_LIFE_S, MAX_LIFE_S = 5, 20 * 365 * 24 * 3600
_SWITCHES = ("claims_count", "allow_password_login", "pushed_tags", "generated_keys")
_POLICY = (
    *_SWITCHES,
    "attestation",
    "certificate_life_s",
    "auto_update",
    "registration",
    "registration_secret",
    "tokens",
)
_SECRET_CHARS = range(8, 129)
AUTO_UPDATE = ("off", "latest")
DIALECTS = (DECADA, ESTHESIS)
_KEY_CHARS = 50  # a slash and a device key have to fit into a common name beside it


def routes() -> list[web.RouteDef]:
    return [
        web.get("/api/v1/products", list_products),
        web.post("/api/v1/products", create),
        web.get("/api/v1/products/{product_key}", show),
        web.post("/api/v1/products/{product_key}/policy", change),
    ]


@operation(READ, "List products", s.obj(products=s.array(s.ref("Product"))))
async def list_products(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        rows = t.rows(sa.select(products).order_by(products.c.product_key))
    return web.json_response({"products": [_shown(row) for row in rows]})


@operation(
    OPERATE,
    "Make a product",
    s.ref("Product"),
    status=201,
    body=s.obj("product_key", product_key=s.KEY, dialect=s.one_of(*DIALECTS)),
    refusals=(409,),
)
async def create(request: web.Request) -> web.Response:
    """`dialect`: what its devices speak, decada or esthesis, for good.  A new product lets nobody in by itself."""
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "product_key", "dialect")
    key, dialect = body.get("product_key"), body.get("dialect", DECADA)
    if not is_key(key) or len(str(key)) > _KEY_CHARS:
        raise ApiError(400, "bad_key", f"the product key is not usable: 1 to {_KEY_CHARS} of A-Z a-z 0-9 . _ -")
    if dialect not in DIALECTS:
        raise ApiError(400, "bad_parameter", f"dialect must be one of {', '.join(DIALECTS)}")
    with parts.store.transaction() as t:
        if registry.product(t, str(key)) is not None:
            raise ApiError(409, "product_exists", "there is such a product already")
        values = {"allow_password_login": False, "claims_count": False, "attestation": "none", "auto_update": "off"}
        values |= {
            "registration": "ID",
            "pushed_tags": False,
            "generated_keys": dialect == ESTHESIS,
            "tokens": "required",
        }
        secret = {"product_secret": registry.new_secret()}
        t.execute(products.insert().values(product_key=key, created_at=t.now, dialect=dialect, **values, **secret))
        t.event("product.made", product=key, dialect=dialect)
        shown = _shown(registry.product(t, str(key)))
    return web.json_response(shown, status=201)


@operation(READ, "Show a product", s.ref("Product"))
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response(_shown(_find(t, request)))


@operation(
    OPERATE,
    "Change what holds for a product's devices",
    s.ref("Product"),
    body=s.obj(
        "",
        claims_count=s.FLAG,
        allow_password_login=s.FLAG,
        attestation=s.one_of(*ATTESTATION),
        auto_update=s.one_of(*AUTO_UPDATE),
        certificate_life_s=s.null(s.whole(MIN_LIFE_S, MAX_LIFE_S)),
        registration=s.one_of(*MODES),
        registration_secret=s.null(s.text()),
        tokens=s.one_of(*POLICIES),
        pushed_tags=s.FLAG,
        generated_keys=s.FLAG,
    ),
)
async def change(request: web.Request) -> web.Response:
    """Members that are left out stay as they are.

    `claims_count`: whether a device's claim of the target version ends its part of a job.  It never says "updated".
    `allow_password_login`: whether the device secret alone opens a session (EnOS's default scheme).
    `attestation`: whether a device has to prove that its key is in its TPM: none, optional, required.
    `auto_update`: what a device that asks by itself is offered, beside what is ordered: off (nothing), latest.
    `registration`, `registration_secret`, `pushed_tags`, `generated_keys`: who may register in esthesis's language, and
    how; `tokens`: whether a device that asks for a package has to prove who it is; whether tags that a device names are noted; whether a device that sends no certificate request is given an RSA key.
    `certificate_life_s`: of certificates that are issued from now on; null for the CA's own.
    """
    parts = require_admin(request)
    body = await read_object(request)
    only(body, *_POLICY)
    _check(body)
    with parts.store.transaction() as t:
        row = _find(t, request)
        if body.get("registration_secret"):
            body["registration_secret"] = secret_hash(body["registration_secret"])
        changed = {name: value for name, value in body.items() if getattr(row, name) != value}
        if {**row._mapping, **changed}["registration"] == "OPEN_WITH_SECRET" and not {**row._mapping, **changed}[
            "registration_secret"
        ]:
            raise ApiError(400, "bad_policy", "registration OPEN_WITH_SECRET needs a registration_secret")
        if changed:
            t.execute(products.update().where(products.c.product_key == row.product_key).values(**changed))
            told = {**changed, **({"registration_secret": True} if "registration_secret" in changed else {})}
            t.event("product.policy", product=row.product_key, **told)
        if body.get("claims_count"):
            jobs.count_claims(t, row.product_key)
        shown = _shown(_find(t, request))
    if changed.get("allow_password_login") is False:
        parts.desk.forbid_passwords(row.product_key)
    return web.json_response(shown)


def _check(body: dict[str, Any]) -> None:
    if not body:
        raise ApiError(400, "bad_policy", "nothing is to be changed", f"Give one of: {', '.join(_POLICY)}.")
    if not all(isinstance(body.get(name, False), bool) for name in _SWITCHES):
        raise ApiError(400, "bad_policy", f"{' and '.join(_SWITCHES)} must be true or false")
    if body.get("attestation", "none") not in ATTESTATION:
        raise ApiError(400, "bad_policy", f"attestation must be one of {', '.join(ATTESTATION)}")
    if body.get("auto_update", "off") not in AUTO_UPDATE:
        raise ApiError(400, "bad_policy", f"auto_update must be one of {', '.join(AUTO_UPDATE)}")
    if body.get("registration", "ID") not in MODES:
        raise ApiError(400, "bad_policy", f"registration must be one of {', '.join(MODES)}")
    if body.get("tokens", "off") not in POLICIES:
        raise ApiError(400, "bad_policy", f"tokens must be one of {', '.join(POLICIES)}")
    secret = body.get("registration_secret")
    if secret is not None and not (isinstance(secret, str) and len(secret) in _SECRET_CHARS and secret.isprintable()):
        raise ApiError(400, "bad_policy", "registration_secret must be a text of 8 to 128 characters, or null")
    life = body.get("certificate_life_s")
    if life is not None and (type(life) is not int or not MIN_LIFE_S <= life <= MAX_LIFE_S):
        raise ApiError(400, "bad_policy", f"certificate_life_s must be {MIN_LIFE_S} to {MAX_LIFE_S}, or null")


def _find(t: Transaction, request: web.Request) -> Any:
    row = registry.product(t, request.match_info["product_key"])
    if row is None:
        raise ApiError(404, "no_such_product", "there is no such product", "GET /api/v1/products lists them.")
    return row


def _shown(row: Any) -> dict[str, Any]:
    return {
        "product_key": row.product_key,
        "claims_count": bool(row.claims_count),
        "attestation": row.attestation,
        "auto_update": row.auto_update,
        "certificate_life_s": row.certificate_life_s,
        "allow_password_login": bool(row.allow_password_login),
        "dialect": row.dialect,
        "registration": row.registration,
        "registration_secret": row.registration_secret is not None,
        "tokens": row.tokens,
        "pushed_tags": bool(row.pushed_tags),
        "generated_keys": bool(row.generated_keys),
        "created_at": iso(row.created_at),
    }
