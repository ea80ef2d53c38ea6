# SPDX-License-Identifier: MIT
"""The operator's interface as an OpenAPI 3.1 document, made from the declarations beside the roads.

Source: OpenAPI Specification 3.1.0.  It holds nothing of this server but its address, and so is for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from aiohttp import web

from . import operations
from . import schemas as s
from .operations import Operation
from .parts import PARTS

ROAD = "/api/openapi.json"
_PREFIX = "/api/v1/"
_DEVICES = ("/api/v1/register", "/api/v1/provisioning/", "/api/v1/nonce")  # esthesis's roads, for its devices
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_TEXT = """The operator's interface of the Trueboot reference server.

Authorization: Bearer TOKEN, with the admin token of operator.json or one of `trueboot token create`.  A token of scope
`read` may use the roads that say so; `operate` may use all.  Errors have one form; docs/errors.md lists the codes."""
_MEANINGS = {
    400: "The request cannot be used.",
    401: "The token is missing or wrong.",
    403: "The token's scope does not permit this.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "What is there now does not allow it.",
    413: "The body is too long.",
    429: "Too many failed proofs from this address.",
    503: "Too much is under way.",
    504: "The device did not answer in time.",
}


def routes() -> list[web.RouteDef]:
    return [web.get(ROAD, show)]


async def show(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    return web.json_response(document(request.app.router.routes(), parts.base_url))


def is_public(path: str) -> bool:
    """Whether the document has to describe this road."""
    return path.startswith(_PREFIX) and not path.startswith(_DEVICES)


def document(routes: Iterable[web.AbstractRoute], base_url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        resource = route.resource
        declared = operations.of(route.handler)
        if resource is None or declared is None or not is_public(resource.canonical) or route.method == "HEAD":
            continue
        path = _PARAMETER.sub(r"{\1}", resource.canonical)
        paths.setdefault(path, {})[route.method.lower()] = _shown(declared, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trueboot operator's interface",
            "version": _version(),
            "description": _TEXT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base_url or "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": s.COMPONENTS,
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
            "responses": {
                f"Refused{status}": {"description": text, "content": _json(s.ref("Error"))}
                for status, text in _MEANINGS.items()
            },
        },
    }


def _version() -> str:
    try:
        return metadata.version("trueboot")
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return "0"


def _shown(declared: Operation, path: str) -> dict[str, Any]:
    names = _PARAMETER.findall(path)
    parameters = [_parameter(name, "path", {"type": "string", "minLength": 1}) for name in names]
    parameters += [_parameter(name, "query", schema) for name, schema in declared.query.items()]
    content = _content(declared.answer, declared.answer_type)
    shown: dict[str, Any] = {
        "operationId": declared.name,
        "tags": [declared.name.partition(".")[0]],
        "summary": declared.summary,
        "responses": {
            str(status): {"description": "It is done.", **content} for status in (declared.status, *declared.also)
        },
    }
    if declared.description:
        shown["description"] = declared.description
    if parameters:
        shown["parameters"] = parameters
    if declared.scope is not None:
        shown["security"] = [{"operator": []}]
        shown["x-trueboot-scope"] = declared.scope
    if declared.body is not None:
        shown["requestBody"] = {
            "required": declared.body_required,
            **_content(declared.body, declared.body_type),
        }
    for status in sorted(_refusals(declared, bool(names))):
        shown["responses"][str(status)] = {"$ref": f"#/components/responses/Refused{status}"}
    return shown


def _refusals(declared: Operation, named: bool) -> set[int]:
    found = {429, *declared.refusals}
    if declared.scope is not None:
        found.add(401)
    if declared.scope == operations.OPERATE:
        found.add(403)
    if declared.body is not None or declared.query:
        found.add(400)
    if declared.body is not None:
        found |= {408, 413}
    if named:
        found.add(404)
    return found


def _parameter(name: str, place: str, schema: operations.Schema) -> dict[str, Any]:
    return {"name": name, "in": place, **({"required": True} if place == "path" else {}), "schema": schema}


def _content(schema: operations.Schema | None, kind: str) -> dict[str, Any]:
    return {} if schema is None else {"content": {kind: {"schema": schema}}}


def _json(schema: operations.Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
