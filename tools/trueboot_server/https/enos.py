# SPDX-License-Identifier: MIT
"""What EnOS's roads have in common: who calls, and answers in EnOS's form, whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .. import strict_json
from ..enos import answers
from ..enos.access import Access, readings
from ..enos.answers import EnosError
from ..errors import ApiError
from ..fleet import registry
from ..log import tell_fault
from ..names import Identity, is_identity
from ..store import Transaction
from ..store.schema import devices
from .parts import PARTS, Parts
from .request import address, read_body, refuse_guessing

ACCESS: web.AppKey[Access] = web.AppKey("access", Access)

_Handler = Callable[[web.Request], Awaitable[Any]]


def open_access(app: web.Application, parts: Parts) -> None:
    held = parts.credentials
    app[ACCESS] = Access(held.access_key, held.secret_key, parts.limits)


def answered(handler: _Handler, form: answers.Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """`handler` gives the data of a success; what it raises becomes an answer too."""

    async def answer(request: web.Request) -> web.StreamResponse:
        status, headers = 200, {"Cache-Control": "no-store"}
        parts = request.app[PARTS]
        try:
            refuse_guessing(request, parts)
            body = form(answers.OK, "", await handler(request))
        except EnosError as error:
            if error.guess:
                parts.proofs.failed(address(request))
            body = form(error.code, error.text, None)
        except ApiError as error:
            if error.status in (408, 413, 429):
                status, headers = error.status, headers | error.headers
            body = form(_code(error, form), f"{error.message} ({error.code}). {error.hint}".rstrip(), None)
        except (ConnectionError, TimeoutError, web.HTTPException):
            raise
        except Exception as error:  # noqa: BLE001 - the fault is told to the log, not to the caller
            tell_fault(parts.log, error)
            failed = answers.GATEWAY_FAILED if form is answers.of_tokens else answers.FAILED
            status, body = 500, form(failed, "the server failed: look at its log", None)
        response = web.json_response(body, status=status, headers=headers)
        if status in (408, 413):
            response.force_close()  # the rest of the body is not worth reading
        return response

    return answer


def _code(error: ApiError, form: answers.Answer) -> int:
    """The refusals of what serves other roads too, in EnOS's numbers; the message keeps our own code."""
    if error.status == 429:
        return answers.TOO_MANY
    if form is answers.of_tokens:
        return answers.BAD_PARAMETER
    return answers.BOUND_TO_ANOTHER if error.code == "foreign_key" else answers.BAD_ARGUMENT


async def signed_call(request: web.Request) -> bytes:
    """The body of a call that the organisation's key has signed."""
    body = await read_body(request, request.app[PARTS].limits.json_body_bytes)
    headers = request.headers
    request.app[ACCESS].check_call(
        headers.get("apim-accesstoken", ""),
        headers.get("apim-signature", ""),
        headers.get("apim-timestamp", ""),
        readings(request.rel_url.raw_query_string),
        body,
    )
    check_organisation(request)
    return body


async def signed_upload(request: web.Request, max_bytes: int) -> bytes:
    """A multipart body.  Its call is signed with the body, as all are, or without: clients leave a stream of a file out."""
    parts, headers, access = request.app[PARTS], request.headers, request.app[ACCESS]
    access.check_token(headers.get("apim-accesstoken", ""))
    body = await read_body(request, max_bytes)
    proof = (headers.get("apim-accesstoken", ""), headers.get("apim-signature", ""), headers.get("apim-timestamp", ""))
    queries = readings(request.rel_url.raw_query_string)
    try:
        access.check_call(*proof, queries, body)
    except EnosError as error:
        if not error.guess:
            raise
        access.check_call(*proof, queries, b"")
    check_organisation(request)
    parts.log("enos.upload", bytes=len(body))
    return body


def check_organisation(request: web.Request) -> None:
    org_id = request.query.get("orgId", "")
    if not org_id:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: orgId is missing")
    if org_id != request.app[PARTS].credentials.org_id:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: orgId is not that of this access key")


def read_object(body: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(body)
    except ValueError as error:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: the body is not JSON") from error
    if not isinstance(value, dict):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: the body is not a JSON object")
    return value


def find(t: Transaction, request: web.Request) -> tuple[Identity, Any]:
    """The device that the query names, by asset id or by product and device key."""
    query = request.query
    asset_id, product_key, device_key = (query.get(name, "") for name in ("assetId", "productKey", "deviceKey"))
    if asset_id:
        row = t.row(devices.select().where(devices.c.asset_id == asset_id))
        if row is not None and (product_key or row.product_key, device_key or row.device_key) != (
            row.product_key,
            row.device_key,
        ):
            raise EnosError(answers.BAD_ARGUMENT, "invalid argument: assetId and keys are of different devices")
    elif product_key and device_key:
        identity = Identity(product_key, device_key)
        row = registry.device(t, identity) if is_identity(identity) else None
    else:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: give assetId, or productKey and deviceKey")
    if row is None:
        raise EnosError(answers.NO_DEVICE, "device not found")
    return Identity(row.product_key, row.device_key), row
