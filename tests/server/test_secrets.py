# SPDX-License-Identifier: MIT
"""Secrets as canaries: after a whole life, good and bad, they are searched for in everything that was written or said."""

import json
import sqlite3

import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from server_client import Device, Operator, ServerProcess, csr

MAY_HOLD = {  # table.column -> what may lie there, and why: see store.schema
    "products.product_secret": {"product_secret"},
    "devices.device_secret": {"device_secret"},
    "meta.value": {"secret_key", "access_key"},
}


def life(server, folder):
    """Everything that a device and an operator do, with mistakes; returns the device, and all that devices were told."""
    device = Device(server.first, "canary", folder)
    wrong = Device(server.first, "canary", folder, product_secret="wrong")
    assert wrong.activate() != 0
    session = device.ready()
    told = []
    operator = Operator(server.first)
    told.append(device.post_csr(csr(device.key), secret="wrong").text)
    told.append(device.post_csr(b"x").text)
    image = b"image"
    operator.publish("app/sim/1.1.0/app.img", image)
    operator.post("/api/v1/jobs", {"target": "app/sim/1.1.0/app.img", "devices": "all"})
    push = session.get(device.sys + "ota/device/upgrade")
    told += [session.request(device.sys + path, params) for path, params in (
        ("ota/device/inform", {"version": "1.0.0"}),
        ("ota/device/inform", {"version": "1.1.0", "report": device.proof(push, b"other", "1.1.0")}),
        ("ota/device/inform", {"version": "1.1.0", "report": device.proof(push, image, "1.1.0")}),
        ("thing/measurepoint/post", {"measurepoints": {"t": 1}}), ("nowhere", {}),
    )]  # fmt: skip
    told.append(requests.get(server.first["https"] + "/api/v1/devices", verify=device.ca_file, timeout=9).text)
    pages = [
        "/api/v1/devices",
        "/api/v1/releases",
        "/api/v1/jobs",
        "/api/v1/events",
        f"/api/v1/devices/{device.product_key}/canary",
    ]
    told += [operator.get(page) for page in pages]
    session.close()
    return device, json.dumps(told)


def test_no_secret_leaves_its_place(tmp_path):
    server = ServerProcess(tmp_path / "state")
    try:
        device, told = life(server, tmp_path)
    finally:
        assert server.stop() == 0
    secrets = {
        name: server.first[name] for name in ("product_secret", "secret_key", "registration_secret", "admin_token")
    }
    secrets["device_secret"] = device.device_secret
    for name, value in secrets.items():
        assert len(value) >= 24
        assert value not in server.log(), f"{name} in the log"
        assert value not in told, f"{name} in an answer"
    assert_database_keeps_them(tmp_path / "state/server.db", secrets)


def assert_database_keeps_them(path, secrets):
    with sqlite3.connect(path) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = database.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for column, value in zip(columns, row, strict=True):
                    held = {name for name, secret in secrets.items() if secret in str(value)}
                    assert held <= MAY_HOLD.get(f"{table}.{column}", set()), f"{held} in {table}.{column}"


def test_the_private_key_of_a_device_never_reached_the_server(tmp_path):
    server = ServerProcess(tmp_path / "state")
    try:
        device, told = life(server, tmp_path)
    finally:
        server.stop()
    number = device.key.private_numbers().private_value
    forms = [
        number.to_bytes(32, "big"),
        f"{number:064x}".encode(),
        device.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    ]
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()] + [server.log_path]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert not any(form in content for form in forms), path


def test_private_keys_lie_in_their_folders_only(tmp_path):
    server = ServerProcess(tmp_path / "state")
    try:
        life(server, tmp_path)
    finally:
        server.stop()
    found = {
        str(path.relative_to(tmp_path / "state"))
        for path in (tmp_path / "state").rglob("*")
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    }
    assert found - {"private/issuing.pem"} == {
        "private/ca-key.pem", "private/server-key.pem", "private/online.pem", "dev-keys/root.pem", "dev-keys/targets.pem",
            "dev-keys/release.pem",
    }  # fmt: skip


def test_tokens_that_are_only_compared_are_hashes_and_die_with_the_operators_file(tmp_path):
    server = ServerProcess(tmp_path / "state")
    server.stop()
    (tmp_path / "state/operator.json").unlink()
    again = ServerProcess(tmp_path / "state")
    try:
        assert again.first["admin_token"] != server.first["admin_token"]
        assert again.first["product_secret"] == server.first["product_secret"]
        assert (
            Operator(again.first, token=server.first["admin_token"]).call("GET", "/api/v1/devices").status_code == 401
        )
        assert Operator(again.first).get("/api/v1/devices")
    finally:
        again.stop()
