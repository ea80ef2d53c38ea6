# SPDX-License-Identifier: MIT
"""EnOS's REST as an application speaks it: tokens, signed calls, devices, certificates."""

import base64
import itertools
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from enos_client import CERTIFICATES, DEVICES, TOKENS, Enos, csr_pem, now_ms
from server_client import ServerThread

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
