# SPDX-License-Identifier: MIT
"""Operators' tokens and their scopes, the audit log, and the description of the interface that all of them use."""

import json
import re

import jsonschema
import pytest
from openapi_spec_validator import validate
from server_client import Operator, ServerThread

from trueboot_server.https import openapi, operations
from trueboot_server.limits import Limits

PUBLIC = ("POST /api/device/v1/",)  # of devices: each asks for a proof of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=10_000, audit_rows=640))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def operator(server):
    return Operator(server.first)


@pytest.fixture(scope="module")
def reader(server, operator):
    return Operator(server.first, operator.post("/api/v1/tokens", {"name": "reader", "scope": "read"})["token"])


def routes(server):
    return server.call(lambda running: list(running.app.router.routes()))


def roads(server):
    """(method, path with something in the place of each parameter, operation) of every road that an operator has."""
    for route in routes(server):
        declared = operations.of(route.handler)
        if declared is not None and declared.scope is not None:
            yield route.method, re.sub(r"\{[^}]*\}", "x", route.resource.canonical), declared


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


# Scopes


def test_a_read_token_changes_nothing_on_any_road(server, operator, reader):
    before = server.call(_everything)
    changing = 0
    for method, path, declared in roads(server):
        if path.startswith("/ui"):
            continue  # a page's road takes a session; tests/server/test_page.py walks them
        answer = reader.call(method, path, data=b"{}")
        if declared.scope == "operate":
            changing += 1
            assert answer.status_code == 403, (method, path)
            assert code(answer) == (403, "scope_missing")
        else:
            assert method in ("GET", "HEAD") and answer.status_code in (200, 400, 404), (method, path)
    assert changing > 15
    assert server.call(_everything) == before


def test_every_changing_method_is_of_a_declared_scope(server):
    for route in routes(server):
        if openapi.is_public(route.resource.canonical):
            declared = operations.of(route.handler)
            assert declared is not None, f"{route.method} {route.resource.canonical} declares nothing"
            if route.method not in ("GET", "HEAD") and declared.scope is not None:
                assert declared.scope == operations.OPERATE, route.resource.canonical


def test_a_token_is_told_once_and_dies_when_it_is_revoked(server, operator):
    made = operator.post("/api/v1/tokens", {"name": "ci", "scope": "operate", "life_s": 3600})
    assert made["token"].startswith("trueboot_") and made["state"] == "good" and made["expires_at"]
    ours = Operator(server.first, made["token"])
    assert ours.call("GET", "/api/v1/devices").status_code == 200
    assert made["token"] not in operator.call("GET", "/api/v1/tokens").text
    assert code(operator.call("POST", "/api/v1/tokens", {"name": "ci", "scope": "read"})) == (409, "token_exists")
    assert operator.post("/api/v1/tokens/ci/revoke", {})["state"] == "revoked"
    assert code(ours.call("GET", "/api/v1/devices")) == (401, "token_wrong")
    assert code(operator.call("POST", "/api/v1/tokens", {"name": "ci", "scope": "read"})) == (409, "token_exists")


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"name": "admin", "scope": "read"}, (409, "token_exists")),
        ({"name": "a b", "scope": "read"}, (400, "bad_token_name")),
        ({"name": "x" * 65, "scope": "read"}, (400, "bad_token_name")),
        ({"name": ["x"], "scope": "read"}, (400, "bad_token_name")),
        ({"name": "x", "scope": "root"}, (400, "bad_scope")),
        ({"name": "x", "scope": ["read"]}, (400, "bad_scope")),
        ({"name": "x", "scope": "read", "life_s": 0}, (400, "bad_parameter")),
        ({"name": "x", "scope": "read", "life_s": True}, (400, "bad_parameter")),
        ({"name": "x", "scope": "read", "admin": 1}, (400, "unknown_member")),
    ],
)
def test_tokens_that_are_not_made(operator, body, expected):
    assert code(operator.call("POST", "/api/v1/tokens", body)) == expected


# The audit log


def test_what_was_done_refused_and_not_permitted_is_written_down(operator, reader):
    operator.post("/api/v1/devices", {"device_key": "audited"})
    operator.call("POST", "/api/v1/devices", {"device_key": "audited"})
    reader.call("POST", "/api/v1/devices/x/audited/revoke", {})
    rows = operator.get("/api/v1/audit")["audit"][:3]
    assert [(row["who"], row["what"], row["result"], row["code"]) for row in rows] == [
        ("reader", "devices.revoke", "not_permitted", None),
        ("admin", "devices.register", "refused", "device_exists"),
        ("admin", "devices.register", "done", None),
    ]
    assert rows[0]["on"] == "x/audited" and rows[0]["via"] == "api"
    assert operator.get("/api/v1/audit?who=reader&what=devices.&limit=1")["audit"] == rows[:1]


def test_refusals_push_nothing_out_of_the_log_and_the_log_is_bounded(server, operator, reader):
    operator.post("/api/v1/tokens", {"name": "kept-in-sight", "scope": "read"})
    for _ in range(80):
        reader.call("POST", "/api/v1/tokens", {})
    denied = operator.get("/api/v1/audit?limit=1000&who=reader")["audit"]
    assert 60 <= len(denied) <= 66  # a tenth
    assert operator.get("/api/v1/audit?what=tokens.create&who=admin")["audit"]


def test_the_log_holds_no_secret(server, operator):
    made = operator.post("/api/v1/devices", {"device_key": "canary"})
    token = operator.post("/api/v1/tokens", {"name": "canary", "scope": "read"})["token"]
    log = operator.call("GET", "/api/v1/audit?limit=1000").text
    for secret in (made["device_secret"], token, server.first["admin_token"]):
        assert secret not in log and secret not in server.log()


# The description


@pytest.fixture(scope="module")
def document(operator):
    return operator.get("/api/openapi.json")


def test_the_description_is_openapi_and_describes_every_road(server, document):
    validate(document)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (route.method, re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.resource.canonical))
        for route in routes(server)
        if route.method != "HEAD" and openapi.is_public(route.resource.canonical)
    }
    assert described == served
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path",
    ["devices", "products", "tokens", "audit", "certificates", "releases", "repo", "jobs", "campaigns", "events", "ca", "devices/{product_key}/{device_key}"],
)  # fmt: skip
def test_answers_are_as_described(server, operator, document, path):
    key = server.first["product_key"]
    operator.call("POST", "/api/v1/devices", {"device_key": "described"})
    answer = operator.get("/api/v1/" + path.format(product_key=key, device_key="described"))
    success = document["paths"]["/api/v1/" + path]["get"]["responses"]["200"]
    schema = success["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer)
    listed = next((value for value in answer.values() if isinstance(value, list) and value), None)
    if listed is not None and "properties" in schema:
        name = schema["properties"][next(k for k, v in answer.items() if v is listed)]["items"]["$ref"].rpartition("/")[
            2
        ]
        if name != "Event":  # its other members are the event's own
            assert set(listed[0]) == set(document["components"]["schemas"][name]["properties"])


def _everything(running):
    """Every table but the audit log, as text."""
    from trueboot_server.store import schema

    with running.store.transaction() as t:
        tables = (table for table in schema.metadata.sorted_tables if table.name not in ("audit", "operator_tokens"))
        return json.dumps({table.name: [list(map(str, row)) for row in t.rows(table.select())] for table in tables})
