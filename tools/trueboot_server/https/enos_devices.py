# SPDX-License-Identifier: MIT
"""Devices over EnOS's REST: get and create (enos-decada, 8.3), for calls that the access key has signed.

A device's secret is in the answer, in clear, as in EnOS up to version 2.3, until the device has proven that it has it;
after that only for products whose devices may log in by secret alone, whose clients ask again at every boot.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from aiohttp import web

from ..enos import answers
from ..enos.answers import EnosError
from ..fleet import registry, shadow
from ..limits import Limits
from ..names import Identity, is_identity
from .enos import answered, find, read_object, signed_call
from .parts import PARTS, Parts

_PATH = "/connect-service/v2.1/devices"
_TIMEZONE = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d\Z")


def routes() -> list[web.RouteDef]:
    return [
        web.get(_PATH, answered(show, answers.of_services)),
        web.post(_PATH, answered(change, answers.of_services)),
    ]


async def show(request: web.Request) -> dict[str, Any]:
    await signed_call(request)
    if request.query.get("action") != "get":
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is get")
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        identity, row = find(t, request)
        product = registry.product(t, identity.product_key)
    shown = {
        "orgId": parts.credentials.org_id,
        "assetId": row.asset_id,
        "modelId": row.product_key,
        "modelIdPath": "/" + row.product_key,
        "productKey": row.product_key,
        "productName": {"defaultValue": row.product_key, "i18nValue": {}},
        "productType": "Device",
        "dataFormat": "Json",
        "deviceKey": row.device_key,
        "deviceName": row.name or {"defaultValue": row.device_key, "i18nValue": {}},
        "deviceDesc": row.description or "",
        "timezone": row.timezone or "+00:00",
        "deviceAttributes": row.attributes or {},
        "deviceTags": row.tags or {},
        "license": row.license,
        "createTime": row.created_at,
        "status": _status(parts, identity, row),
    }
    secret_is_told = row.secret_used_at is None or (product is not None and product.allow_password_login)
    return shown | ({"deviceSecret": row.device_secret} if secret_is_told and row.state != "revoked" else {})


async def change(request: web.Request) -> dict[str, Any]:
    body = read_object(await signed_call(request))
    if request.query.get("action") != "create":
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is create")
    parts = request.app[PARTS]
    values = _values(body, parts.limits)
    product_key, device_key = body.get("productKey"), body.get("deviceKey")
    with parts.store.transaction() as t:
        if not isinstance(product_key, str) or registry.product(t, product_key) is None:
            raise EnosError(answers.BAD_ARGUMENT, "invalid argument: there is no such productKey")
        made = device_key in (None, "")
        identity = Identity(product_key, secrets.token_hex(8) if made else device_key)  # type: ignore[arg-type]
        if not is_identity(identity):
            if made:
                raise EnosError(answers.NO_KEY, "cannot make a device key: the product key is too long")
            raise EnosError(
                answers.BAD_ARGUMENT,
                "invalid argument: a deviceKey has 1 to 64 of A-Z a-z 0-9 . _ -, and 64 with the product key and a slash",
            )
        if registry.device(t, identity) is not None:
            raise EnosError(answers.KEY_EXISTS, "the deviceKey exists already")
        if not registry.room_for_another(t, product_key, parts.limits):
            raise EnosError(answers.PRODUCT_FULL, f"a product may have {parts.limits.devices_per_product} devices")
        row = registry.register(t, identity)
        registry.update(t, identity, **values)
        try:
            if body.get("deviceAttributes") is not None:
                shadow.set_attributes(t, identity, body["deviceAttributes"], parts.limits)
            if body.get("deviceTags") is not None:
                shadow.set_tags(t, identity, body["deviceTags"], parts.limits)
        except shadow.BadShadow as error:
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: {error}") from error
    return {
        "assetId": row.asset_id,
        "productKey": row.product_key,
        "deviceKey": row.device_key,
        "deviceSecret": row.device_secret,
    }


def _status(parts: Parts, identity: Identity, row: Any) -> str:
    if row.state == "revoked":
        return "disable"
    if row.last_seen is None:
        return "inactive"
    return "online" if parts.desk.endpoint.online(identity) else "offline"


def _values(body: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The columns that a new device's body fills.  What is not known is ignored, as EnOS does."""
    name = body.get("deviceName")
    if not isinstance(name, dict) or not isinstance(name.get("defaultValue"), str) or not name["defaultValue"]:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: deviceName.defaultValue is missing")
    timezone = body.get("timezone")
    if not isinstance(timezone, str) or not _TIMEZONE.match(timezone):
        raise EnosError(answers.BAD_ARGUMENT, 'invalid argument: timezone is like "+08:00"')
    values: dict[str, Any] = {"timezone": timezone}
    for member, column in (("deviceDesc", "description"), ("license", "license")):
        text = body.get(member)
        if text is not None and not (isinstance(text, str) and len(text) <= limits.text_chars):
            raise EnosError(
                answers.BAD_ARGUMENT, f"invalid argument: {member} has at most {limits.text_chars} characters"
            )
        values[column] = text
    if len(json.dumps(name)) > limits.enos_document_bytes:
        raise EnosError(
            answers.BAD_ARGUMENT, f"invalid argument: deviceName is longer than {limits.enos_document_bytes} bytes"
        )
    return values | {"name": name}
