# SPDX-License-Identifier: MIT
"""EnOS's REST as an application speaks it: tokens, signed calls, devices, certificates."""

import base64
import itertools
import json
import socket
import ssl
import time

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from enos_client import CERTIFICATES, DEVICES, TOKENS, Enos, csr_pem, now_ms
from server_client import Device, Operator, ServerThread

from trueboot_server.limits import Limits

DAY_MS = 24 * 3600 * 1000
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=1000))
    yield running
    running.stop()


@pytest.fixture
def enos(server):
    return Enos(server.first)


@pytest.fixture
def named(server):
    """Query parameters of a device that does not exist yet."""
    return {"productKey": server.first["product_key"], "deviceKey": f"board-{next(_numbers)}"}


@pytest.fixture
def board(enos, named):
    assert enos.create(deviceKey=named["deviceKey"])["code"] == 0
    return named


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


def certificate(answer):
    assert answer["code"] == 0, answer
    return x509.load_pem_x509_certificate(answer["data"]["cert"].encode())


# Tokens


def test_a_token_may_be_asked_for_by_number_and_by_text(enos):
    by_number = enos.ask_token()
    by_text = enos.ask_token(timestamp=str(now_ms()))
    assert by_number["status"] == 0 and by_number["msg"] == "SUCCESS" and by_number["business"] == "apim-token-service"
    assert by_number["data"]["accessToken"] == by_text["data"]["accessToken"]
    assert 0 < by_text["data"]["expire"] <= 7200


def test_what_is_wrong_with_a_request_for_a_token_is_said(enos):
    body = enos.token_body()
    assert enos.ask_token(body=body)["status"] == 0
    assert enos.ask_token(body=body)["status"] == 1001
    assert enos.ask_token(body=enos.token_body(appKey="x"))["status"] == 1002
    assert enos.ask_token(body=enos.token_body(encryption="x"))["status"] == 1003
    assert enos.ask_token(timestamp=now_ms() - 10**7)["status"] == 1004
    for value in (None, "", [], 1.5, True, 10**17):
        assert enos.ask_token(body=enos.token_body() | {"timestamp": value})["status"] in (1202, 1004)
    assert enos.ask_token("refresh", accessToken="x")["status"] == 1204
    assert enos.ask_token("refresh")["status"] == 1202
    for body in (b"", b"[]", b"{", b'{"appKey": NaN}'):
        assert enos.post(TOKENS + "get", body).json()["status"] in (1004, 1202)


def test_a_refreshed_token_signs_calls(enos, board):
    enos._token = enos.ask_token("refresh", accessToken=enos.token)["data"]["accessToken"]
    assert enos.get(board)["code"] == 0


# Signed calls


def test_values_may_be_signed_decoded_or_as_sent(enos, board):
    for sign_raw in (False, True):
        query = {"action": "get", **board, "note": "a b/ü+"}
        assert enos.call("GET", DEVICES, query, sign_raw=sign_raw).json()["code"] == 0


@pytest.mark.parametrize(
    "change, code",
    [
        ({"apim-accesstoken": "x"}, 1203),
        ({"apim-accesstoken": ""}, 1202),
        ({"apim-signature": ""}, 1202),
        ({"apim-timestamp": ""}, 1202),
        ({"apim-signature": "0" * 64}, 1003),
        ({"apim-timestamp": "1"}, 1004),
        ({"apim-timestamp": "soon"}, 1004),
    ],
)
def test_a_call_whose_headers_prove_nothing_is_refused(enos, board, change, code):
    answer = enos.call("GET", DEVICES, {"action": "get", **board}, headers=change).json()
    assert (answer["code"], answer["status"], answer["data"]) == (code, code, None) and answer["requestId"]


def test_a_call_that_was_changed_on_the_way_is_refused(enos, board, key):
    assert enos.apply(board, key)["code"] == 0
    method, url, data, headers = enos.sent
    assert enos.send(method, url + "&x=1", data, headers).json()["code"] == 1003
    assert enos.send(method, url.replace("board-", "bord-"), data, headers).json()["code"] == 1003
    assert enos.send(method, url, data + b" ", headers).json()["code"] == 1003
    assert enos.send(method, url + "&orgId=o2", data, headers).json()["code"] == 1004
    assert enos.send(method, url, data, headers).json()["code"] == 0  # asked again: the same answer, nothing new


def test_another_organisation_is_not_this_keys(enos, board):
    assert enos.call("GET", DEVICES, {"action": "get", **board, "orgId": "o2"}).json()["code"] == 99400
    assert enos.call("GET", DEVICES, {"action": "get", **board, "orgId": ""}).json()["code"] == 99400


def test_wrong_secret_keys_are_counted_as_guesses(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(failed_proofs=3, failed_proofs_window_s=3600))
    try:
        enos = Enos(server.first)
        for _ in range(3):
            assert enos.ask_token(body=enos.token_body(encryption="x"))["status"] == 1003
        answer = enos.post(TOKENS + "get", json.dumps(enos.token_body()))
        assert (
            answer.status_code == 429 and answer.json()["status"] == 429 and int(answer.headers["Retry-After"]) > 3000
        )
    finally:
        server.stop()


def test_a_body_that_is_too_long_is_not_read(enos, board):
    answer = enos.call("POST", CERTIFICATES, {"action": "apply", **board}, {"csr": "x" * 70_000})
    assert answer.status_code == 413 and answer.json()["code"] == 99400


# Certificates


def test_apply_gives_the_certificate_of_the_key_and_again_the_same(enos, board, key, server):
    answer = enos.apply(board, key, validDay=30, issueAuthority="ecc", timestamp=1)
    issued = certificate(answer)
    assert issued.public_key() == key.public_key()
    assert issued.subject.rfc4514_string() == f"CN={board['productKey']}/{board['deviceKey']}"
    assert abs((issued.not_valid_after_utc.timestamp() - time.time()) - 30 * 86400) < 60
    data = answer["data"]
    assert data["certSN"] == str(data["certSn"]) and 0 < data["certSn"] < 2**31 and data["issueAuthority"] == "ECC"
    issued.verify_directly_issued_by(x509.load_pem_x509_certificates(data["caCert"].encode())[0])
    assert enos.apply(board, key, validDay=30)["data"] == data
    assert enos.apply(board, key)["data"] == data


def test_an_older_spelling_of_the_csr_is_read(enos, board, key):
    assert enos.certificates("apply", board, {"csr": csr_pem(key, old_header=True)})["code"] == 0


def test_a_device_may_be_named_by_its_asset_id(enos, board, key):
    asset = {"assetId": enos.get(board)["data"]["assetId"]}
    assert certificate(enos.apply(asset, key)).public_key() == key.public_key()
    assert enos.get(asset)["data"]["deviceKey"] == board["deviceKey"]
    assert enos.get(asset | {"deviceKey": "other"})["code"] == 99400


def test_an_rsa_key_of_other_peoples_clients_is_certified_by_our_ca(enos, board):
    key = rsa.generate_private_key(65537, 2048)
    answer = enos.apply(board, key)
    assert certificate(answer).public_key() == key.public_key() and answer["data"]["issueAuthority"] == "ECC"
    assert enos.apply(board, key)["data"] == answer["data"]


def broken(pem):
    der = bytearray(base64.b64decode("".join(pem.splitlines()[1:-1])))
    der[-5] ^= 1
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


EC = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "body, words",
    [
        ({}, "csr is missing"),
        ({"csr": 5}, "csr is missing"),
        ({"csr": "no PEM"}, "not one PEM block"),
        ({"csr": csr_pem(EC) * 2}, "not one PEM block"),
        ({"csr": csr_pem(EC) + "A" * 20_000}, "not one PEM block"),
        ({"csr": csr_pem(EC).replace("BEGIN CERT", "BEGIN NEW CERT")}, "not one PEM block"),
        ({"csr": csr_pem(EC).replace("M", "=", 1)}, "csr"),
        ({"csr": broken(csr_pem(EC))}, "signature is wrong"),
        ({"csr": broken(csr_pem(rsa.generate_private_key(65537, 2048)))}, "signature is wrong"),
        ({"csr": csr_pem(ec.generate_private_key(ec.SECP384R1()))}, "P-256"),
        ({"csr": csr_pem(rsa.generate_private_key(65537, 1024))}, "2048"),
        ({"csr": csr_pem(rsa.generate_private_key(3, 2048))}, "65537"),
        ({"csr": csr_pem(EC, "x" * 64, more=16)}, "subject is too long"),
        ({"csr": csr_pem(EC), "issueAuthority": "RSA"}, "CA is ECC"),
        ({"csr": csr_pem(EC), "issueAuthority": 1}, "issueAuthority"),
        ({"csr": csr_pem(EC), "validDay": 100_000}, "more than the product's"),
        ({"csr": csr_pem(EC), "validDay": 0}, "validDay"),
        ({"csr": csr_pem(EC), "validDay": -1}, "validDay"),
        ({"csr": csr_pem(EC), "validDay": True}, "validDay"),
        ({"csr": csr_pem(EC), "validDay": 1.5}, "validDay"),
        ({"csr": csr_pem(EC), "validDay": "1" * 5000}, "validDay"),
    ],
)
def test_what_cannot_be_certified_is_refused_and_leaves_nothing(enos, board, body, words):
    answer = enos.certificates("apply", board, body)
    assert answer["code"] == 99400 and words in answer["msg"] and answer["data"] is None
    assert enos.list(board)["data"] == []


def test_one_key_a_device_and_one_device_a_key(enos, board, key):
    assert enos.apply(board, key)["code"] == 0
    answer = enos.apply(board, ec.generate_private_key(ec.SECP256R1()))
    assert answer["code"] == 99400 and "another_key" in answer["msg"]
    other = {**board, "deviceKey": board["deviceKey"] + "-b"}
    enos.create(deviceKey=other["deviceKey"])
    assert enos.apply(other, key)["code"] == 11833
    name = f"{board['productKey']}/{board['deviceKey']}"
    own = ec.generate_private_key(ec.SECP256R1())
    answer = enos.certificates("apply", other, {"csr": csr_pem(own, name)})
    assert answer["code"] == 11833 and "duplicate subject" in answer["msg"]
    assert enos.list(other)["data"] == []


def test_nothing_is_certified_that_does_not_exist(enos, named, key):
    assert enos.apply(named, key)["code"] == 11404
    assert enos.apply({**named, "deviceKey": "../x"}, key)["code"] == 11404
    assert enos.apply({"assetId": "ffffffff0"}, key)["code"] == 11404
    assert enos.apply({"deviceKey": "x"}, key)["code"] == 99400
    assert enos.certificates("reapply", named, {})["code"] == 99400
    assert enos.call("POST", CERTIFICATES, {**named}).json()["code"] == 99400
    assert enos.certificates("apply", named, [])["code"] == 99400


# Renewal, revocation, list


def renew(enos, board, answer, **more):
    return enos.certificates("renew", board, {"certSn": answer["data"]["certSN"], **more})


def test_renewal_gives_a_new_certificate_for_the_old_key_and_again_the_same(enos, board, key):
    first = enos.apply(board, key, validDay=30)
    second = renew(enos, board, first, validDay=60)
    assert certificate(second).public_key() == key.public_key()
    assert int(second["data"]["certSN"]) > int(first["data"]["certSN"])
    assert renew(enos, board, first)["data"] == second["data"]  # the answer had been lost
    assert renew(enos, board, first, csr=csr_pem(key))["data"] == second["data"]
    assert [found["certStatus"] for found in enos.list(board)["data"]] == [0, 0]  # the old one stays usable
    third = enos.certificates("renew", board, {"certSn": int(second["data"]["certSN"])})
    assert int(third["data"]["certSN"]) > int(second["data"]["certSN"])
    assert [found["certStatus"] for found in enos.list(board)["data"]] == [0, 0, 1]  # two live ones a device
    assert "revoked: apply" in renew(enos, board, first)["msg"]


def test_the_access_key_cannot_give_a_device_another_key(enos, board, key):
    first = enos.apply(board, key)
    answer = renew(enos, board, first, csr=csr_pem(ec.generate_private_key(ec.SECP256R1())))
    assert answer["code"] == 99400 and "another_key" in answer["msg"]
    assert len(enos.list(board)["data"]) == 1


def test_what_has_expired_is_applied_for_anew(enos, board, key, server):
    from trueboot_server.store.schema import certificates

    first = enos.apply(board, key)

    def expire(s):
        with s.store.transaction() as t:
            own = certificates.c.handle == first["data"]["certSn"]
            t.execute(certificates.update().where(own).values(not_after=t.now - 1))

    server.call(expire)
    assert "expired: apply" in renew(enos, board, first)["msg"]
    assert [found["certStatus"] for found in enos.list(board)["data"]] == [2]
    assert int(enos.apply(board, key)["data"]["certSN"]) > int(first["data"]["certSN"])


@pytest.mark.parametrize("number", [None, "", "x", "-1", 1, 1.5, True, "9" * 11, [1], "4294967295"])
def test_a_number_that_is_no_certificate_of_the_device_changes_nothing(enos, board, key, number):
    for action in ("renew", "revoke"):
        answer = enos.certificates(action, board, {"certSn": number} if number is not None else {})
        assert answer["code"] == 99400, answer


def test_a_certificate_of_another_device_is_not_this_ones(enos, board, key):
    other = {**board, "deviceKey": board["deviceKey"] + "-b"}
    enos.create(deviceKey=other["deviceKey"])
    first = enos.apply(other, key)
    assert renew(enos, board, first)["code"] == 99400
    assert enos.certificates("revoke", board, {"certSn": first["data"]["certSN"]})["code"] == 99400
    assert enos.list(other)["data"][0]["certStatus"] == 0


def test_one_certificate_is_revoked_and_the_other_works_on(enos, board, key):
    first = enos.apply(board, key)
    second = renew(enos, board, first)
    for _ in range(2):  # asked again after a cut
        answer = enos.certificates("revoke", board, {"certSn": first["data"]["certSn"], "reason": 4})
        assert (answer["code"], answer["data"]) == (0, None)
    newest, older = enos.list(board)["data"]
    assert (older["certSN"], older["certStatus"], older["revokerReason"]) == (first["data"]["certSN"], 1, "4")
    assert (newest["certSN"], newest["certStatus"], "revoker" in newest) == (second["data"]["certSN"], 0, False)
    assert newest["expireDate"] - newest["signDate"] > DAY_MS > newest["signDate"] - newest["effectiveDate"] > 0
    assert newest["subject"] == f"CN={board['productKey']}/{board['deviceKey']}" and newest["issuer"]
    assert enos.get(board)["data"]["status"] == "inactive"


def test_the_last_certificate_takes_the_device_with_it(enos, board, key):
    answer = enos.apply(board, key)
    query = {"action": "revoke", "certSn": answer["data"]["certSN"], **board}  # the documents have it in the query, too
    assert enos.call("POST", CERTIFICATES, query, {"reason": 5}).json()["code"] == 0
    found = enos.get(board)["data"]
    assert found["status"] == "disable" and "deviceSecret" not in found
    for refused in (enos.apply(board, key), enos.apply(board, EC), renew(enos, board, answer)):
        assert refused["code"] == 99400 and "the device is revoked" in refused["msg"]
    assert len(enos.list(board)["data"]) == 1


@pytest.mark.parametrize("reason", [2, 7, 8, 10, -1, "1", None, True, 1.0])
def test_a_reason_that_is_none_revokes_nothing(enos, board, key, reason):
    answer = enos.apply(board, key)
    assert enos.certificates("revoke", board, {"certSn": answer["data"]["certSN"], "reason": reason})["code"] == 99400
    assert enos.list(board)["data"][0]["certStatus"] == 0


def test_a_session_under_a_revoked_certificate_ends(enos, server, tmp_path):
    device = Device(server.first, f"board-{next(_numbers)}", tmp_path)
    session = device.ready()
    named = {"productKey": device.product_key, "deviceKey": device.device_key}
    (found,) = enos.list(named)["data"]
    assert enos.certificates("revoke", named, {"certSn": found["certSN"]})["code"] == 0
    assert session.ended.wait(10)
    assert device.connect().code == 135


# Devices


def test_a_device_is_created_once_and_shown(enos, named, server):
    more = {"deviceAttributes": {"floor": 3}, "deviceTags": {"a": "b"}, "deviceDesc": "in the hall", "license": "L-1"}
    created = enos.create(deviceKey=named["deviceKey"], unknown=1, **more)["data"]
    assert set(created) == {"assetId", "productKey", "deviceKey", "deviceSecret"}
    again = enos.create(deviceKey=named["deviceKey"])
    assert (again["code"], again["data"]) == (11702, None)
    found = enos.get(named)["data"]
    assert {name: found[name] for name in more} == more and found["timezone"] == "+08:00"
    assert {name: found[name] for name in created} == created
    assert found["deviceName"] == {"defaultValue": "zephyr-x", "i18nValue": None}
    assert found["orgId"] == server.first["org_id"] and found["status"] == "inactive" and found["createTime"] > 0


def test_an_unknown_device_has_no_secret(enos, named):
    answer = enos.get(named)
    assert answer["code"] == 11404 and answer["data"] is None


def test_a_device_without_a_key_is_given_one(enos):
    made = [enos.create(deviceKey=key)["data"]["deviceKey"] for key in (None, "")]
    assert len(set(made)) == 2 and all(made)


def test_a_product_whose_key_leaves_no_room_for_a_devices(enos, server):
    from trueboot_server.store.schema import products

    def add(s):
        with s.store.transaction() as t:
            (row,) = t.rows(products.select())
            t.execute(products.insert().values({**row._mapping, "product_key": "p" * 60}))

    server.call(add)
    assert enos.create(productKey="p" * 60)["code"] == 11714
    assert enos.create(productKey="p" * 60, deviceKey="dk1")["code"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"deviceKey": "a/b"},
        {"deviceKey": "x" * 65},
        {"deviceKey": 5.5},
        {"deviceKey": ["x"]},
        {"deviceKey": ".."},
        {"productKey": "pk-none"},
        {"productKey": None},
        {"productKey": ["x"]},
        {"timezone": "Asia/Singapore"},
        {"timezone": None},
        {"deviceName": "zephyr"},
        {"deviceName": {"defaultValue": ""}},
        {"deviceName": {"defaultValue": "x", "i18nValue": "y" * 9000}},
        {"deviceAttributes": []},
        {"deviceAttributes": {"x": "y" * 60_000}},
        {"deviceTags": "x"},
        {"deviceDesc": "x" * 300},
        {"license": 5},
    ],
)
def test_what_a_device_cannot_be_is_refused_and_leaves_nothing(enos, server, change):
    before = server.call(lambda s: _count(s))
    answer = enos.create(**{"deviceKey": "odd", **change})
    assert answer["code"] == 99400 and answer["data"] is None
    assert server.call(lambda s: _count(s)) == before


def _count(server):
    from trueboot_server.store.schema import devices

    with server.store.transaction() as t:
        return len(t.rows(devices.select().where(devices.c.product_key == server.credentials.product_key)))


def test_a_full_product_takes_no_more(enos, server):
    room = server.call(lambda s: _count(s))
    parts = server.call(lambda s: s.desk._limits)
    object.__setattr__(parts, "devices_per_product", room)
    try:
        assert enos.create(deviceKey="one-more")["code"] == 11739
    finally:
        object.__setattr__(parts, "devices_per_product", 10_000)


def test_a_secret_is_told_until_the_device_has_used_it(enos, server, tmp_path):
    """And after that only for products whose devices log in by it alone."""
    device = Device(server.first, f"board-{next(_numbers)}", tmp_path)
    named = {"productKey": device.product_key, "deviceKey": device.device_key}
    device.device_secret = enos.create(deviceKey=device.device_key)["data"]["deviceSecret"]
    assert enos.get(named)["data"]["deviceSecret"] == device.device_secret
    device.enrol()
    assert "deviceSecret" not in enos.get(named)["data"]

    def by_password(allowed):
        path = f"/api/v1/products/{device.product_key}/policy"
        Operator(server.first).post(path, {"allow_password_login": allowed})

    by_password(True)
    try:
        assert enos.get(named)["data"]["deviceSecret"] == device.device_secret
    finally:
        by_password(False)


def test_a_device_made_over_rest_logs_in(enos, server, tmp_path):
    """EnOS's whole road: create, certificate for the board's key, session with both."""
    device = Device(server.first, f"board-{next(_numbers)}", tmp_path)
    device.device_secret = enos.create(deviceKey=device.device_key)["data"]["deviceSecret"]
    named = {"productKey": device.product_key, "deviceKey": device.device_key}
    store(device, enos.apply(named, device.key)["data"]["cert"])
    assert device.connect().online


# The CA's public files


def public(enos, path, accept="*/*"):
    return requests.get(enos.url + path, headers={"Accept": accept}, verify=enos.first["ca_file"], timeout=10)


def test_the_root_and_the_crl_are_public(enos, board, key, server):
    root = open(server.first["ca_file"], "rb").read()
    for path in ("/enos/CA/cacert", "/enos/CA/cacert/ECC", "/enos/CA/cacert/ecc"):
        assert public(enos, path).content == root
    der = x509.load_pem_x509_certificates(root)[0].public_bytes(Encoding.DER)
    assert public(enos, "/enos/CA/cacert", "application/pkix-cert").content == der
    first = enos.apply(board, key)
    second = renew(enos, board, first)
    enos.certificates("revoke", board, {"certSn": first["data"]["certSN"], "reason": 1})
    text, data = public(enos, "/enos/CA/crl"), public(enos, "/enos/CA/crl/ECC", "application/pkix-crl;q=1, */*")
    assert text.content.startswith(b"-----BEGIN X509 CRL-----\n")
    for crl in (x509.load_pem_x509_crl(text.content), x509.load_der_x509_crl(data.content)):
        assert crl.get_revoked_certificate_by_serial_number(certificate(first).serial_number)
        assert not crl.get_revoked_certificate_by_serial_number(certificate(second).serial_number)
    issuer = x509.load_pem_x509_certificates(public(enos, first["data"]["certChainURL"][len(enos.url) :]).content)[0]
    certificate(first).verify_directly_issued_by(issuer)


def test_there_is_no_rsa_ca(enos):
    for name in ("cacert", "crl", "chain"):
        answer = public(enos, f"/enos/CA/{name}/RSA")
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "no_such_ca"


# Cuts


def test_an_apply_that_was_cut_anywhere_is_asked_for_again(enos, board, key, server):
    """Whatever fails in the server: before the commit nothing is there, after it the same certificate is."""
    from trueboot_server.ca import Authority
    from trueboot_server.fleet import registry

    def failing(*_arguments):
        raise OSError("the disk is full")

    for owner, name in ((Authority, "issue"), (registry, "store_certificate"), (registry, "update")):
        kept = getattr(owner, name)
        setattr(owner, name, failing)
        try:
            answer = enos.apply(board, key)
        finally:
            setattr(owner, name, kept)
        assert answer["code"] == 99500 and "disk" not in answer["msg"]
        assert enos.list(board)["data"] == [] and enos.get(board)["data"]["status"] == "inactive"
    first = enos.apply(board, key)
    method, url, data, headers = enos.sent
    enos.session.close()  # the connection is gone, and the answer with it
    assert enos.send(method, url, data, headers).json()["data"] == first["data"]
    assert len(enos.list(board)["data"]) == 1


def test_a_board_that_was_erased_gets_a_certificate_by_an_operators_order_only(enos, server, tmp_path):
    operator = Operator(server.first)
    device = Device(server.first, f"board-{next(_numbers)}", tmp_path)
    named = {"productKey": device.product_key, "deviceKey": device.device_key}
    device.ready().close()
    erased = ec.generate_private_key(ec.SECP256R1())
    assert "another_key" in enos.apply(named, erased)["msg"] and "deviceSecret" not in enos.get(named)["data"]
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/replace", {})
    assert certificate(enos.apply(named, erased)).public_key() == erased.public_key()
    assert enos.get(named)["data"]["deviceSecret"] != device.device_secret


@pytest.mark.parametrize(
    "line",
    [
        b"GET /connect-service/v2.1/devices?action=\xff&orgId=%ff",
        b"GET /connect-service/v2.1/devices?%",
        b"GET /connect-service/v2.1/devices?=&&==&a=%00&b=%ED%A0%80",
        b"POST /connect-service/v2.0/certificates?action=apply&action=apply",
        b"POST /connectService/products/%FF/devices/%2e%2e/certificates/apply?accessKey=\xfe&sign=%80&requestTimestamp=1",
        b"GET /connectService/products/x/devices/x/certificates/list?accessKey=x&sign=\xe9&requestTimestamp=%s",
    ],
)
def test_odd_bytes_in_an_address_are_refused_like_others(server, line):
    line = line.replace(b"%s", str(now_ms()).encode())
    context = ssl.create_default_context(cafile=server.first["ca_file"])
    host, port = server.first["https"].removeprefix("https://").rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        headers = b"apim-accesstoken: \xff\xfe\r\napim-signature: \xff\r\napim-timestamp: %d\r\n" % now_ms()
        tls.sendall(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n" + headers + b"\r\n")
        answer = tls.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 500 " not in head.splitlines()[0] and b"Traceback" not in body
    if b" 200 " in head.splitlines()[0]:
        found = json.loads(body)
        assert found.get("code", found.get("status")) in (1002, 1003, 1004, 1202, 1203) and found["data"] is None


def test_no_secret_is_in_log_or_events(enos, board, key, server):
    created = enos.create(deviceKey=board["deviceKey"] + "-s")["data"]
    enos.apply(board, key)
    enos.call("GET", DEVICES, {"action": "get", **board}, headers={"apim-signature": "0" * 64})
    told = server.log() + json.dumps(Operator(server.first).events())
    for canary in (enos.secret_key, enos.access_key, enos.token, created["deviceSecret"]):
        assert canary not in told


def test_decadas_example_from_first_boot_to_telemetry_and_again(enos, server, tmp_path):
    """Its calls in its order, with its oddities: times as texts, a stray member, the secret asked for at each boot."""
    operator, pk = Operator(server.first), server.first["product_key"]
    operator.post(f"/api/v1/products/{pk}/policy", {"allow_password_login": True})
    try:
        device = Device(server.first, "3030343738375138", tmp_path)
        named = {"productKey": pk, "deviceKey": device.device_key}
        for boot in range(2):
            assert enos.ask_token(timestamp=str(now_ms()))["status"] == 0
            found = enos.get(named)
            if boot == 0:
                assert "deviceSecret" not in (found["data"] or {})
                assert enos.create(deviceKey=device.device_key, timezone="+08:00")["code"] == 0
                found = enos.get(named)
                csr = csr_pem(device.key, f"{device.device_key}{now_ms()}")
                body = {"csr": csr, "issueAuthority": "ECC", "timestamp": str(now_ms()), "validDay": 365}
                issued = enos.certificates("apply", named, body)["data"]
                store(device, issued["cert"])
                assert int(issued["certSN"]) < 2**31  # mbed reads it into an int
            device.device_secret = found["data"]["deviceSecret"]
            session = device.connect(subscribe=[device.sys + "thing/service/sensorpollrate"])
            assert session.online
            payload = {"id": device.device_key, "version": "1.0", "method": "thing.measurepoint.post"}
            payload["params"] = {"measurepoints": {"chronos_s": str(boot)}}
            sent = session.client.publish(device.sys + "thing/measurepoint/post", json.dumps(payload), 0)
            sent.wait_for_publish(10)
            session.close()
        operator.wait_for("device.offline", device_key=device.device_key)
        operator.wait_for("device.offline", device_key=device.device_key)
        assert operator.device(device.device_key)["telemetry"]["chronos_s"]["value"] == "1"
    finally:
        operator.post(f"/api/v1/products/{pk}/policy", {"allow_password_login": False})


def store(device, certificate_pem):
    cert, private = device.folder / "device.pem", device.folder / "device.key"
    cert.write_text(certificate_pem)
    private.write_bytes(device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    device.identity = (str(cert), str(private))


def test_a_product_that_demands_a_tpm_gets_nothing_here(enos, board, key, server):
    operator, pk = Operator(server.first), server.first["product_key"]
    operator.post(f"/api/v1/products/{pk}/policy", {"attestation": "required"})
    try:
        answer = enos.apply(board, key)
        assert answer["code"] == 99400 and "attestation_required" in answer["msg"]
        assert enos.list(board)["data"] == []
    finally:
        operator.post(f"/api/v1/products/{pk}/policy", {"attestation": "none"})
