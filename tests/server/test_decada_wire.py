# SPDX-License-Identifier: MIT
"""Login signature, envelope and strict JSON, without a server."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueboot_server import strict_json
from trueboot_server.decada import envelope, login
from trueboot_server.names import Identity, is_identity, is_key

# Inputs from the platform's documentation; outputs computed by two independent implementations.
VECTORS = [
    (
        "123456",
        Identity("654321", "test"),
        "1548753362502",
        "b99032d49c706f7b27b22ab5cd2dd3c56a31e1bcbbc83ba0a2a6bb3272fbb166",
    ),
    (
        "123",
        Identity("123", "test"),
        "1524448722000",
        "a4f9ad91051e3ca89440e0157029dd358c3a2c556d3c543b9fd5a38484785ac9",
    ),
]


@pytest.mark.parametrize("client, identity, timestamp, expected", VECTORS)
def test_the_signature_is_the_documented_one(client, identity, timestamp, expected):
    assert login.sign(client, identity, timestamp, "abcdefg") == expected


@pytest.mark.parametrize(
    "client_id, user",
    [
        ("dk|securemode=2,signmethod=sha256,timestamp=1524448722000|", "dk&pk"),
        ("dk|securemode=2, signmethod=hmacsha256, timestamp=1795305999940.764|", "dk&pk"),
        ("pk.dk|securemode=2,signmethod=SHA256,timestamp=2524608000000|", "dk&pk"),
        ("dk{ip=1.2.3.4,version=enos-mqtt-1,compress=DEFAULT}|securemode=2,signmethod=sha256,timestamp=1|", "dk&pk"),
    ],
)
def test_real_clients_are_understood(client_id, user):
    found = login.parse(client_id, user)
    assert found.identity == Identity("pk", "dk") and found.secure_mode == 2
    proof = login.sign(found.client, found.identity, found.timestamp, "s")
    assert found.proven_by(proof.upper().encode(), "s") and not found.proven_by(proof.encode(), "t")
    assert not found.proven_by(None, "s") and not found.proven_by(b"", "s") and not found.proven_by(b"\xff", "s")


@pytest.mark.parametrize(
    "client_id, user",
    [
        ("", "dk&pk"),
        ("dk", "dk&pk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=1", "dk&pk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=1|more", "dk&pk"),
        ("dk|securemode=2,signmethod=sha256|", "dk&pk"),
        ("dk|securemode=2,signmethod=md5,timestamp=1|", "dk&pk"),
        ("dk|securemode=4,signmethod=sha256,timestamp=1|", "dk&pk"),
        ("dk|securemode=2,securemode=3,signmethod=sha256,timestamp=1|", "dk&pk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=" + "1" * 33 + "|", "dk&pk"),
        ("other|securemode=2,signmethod=sha256,timestamp=1|", "dk&pk"),
        ("dk2|securemode=2,signmethod=sha256,timestamp=1|", "dk&pk"),
        ("dk{compress=GZIP}|securemode=2,signmethod=sha256,timestamp=1|", "dk&pk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=1|", None),
        ("dk|securemode=2,signmethod=sha256,timestamp=1|", "dk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=1|", "&pk"),
        ("d/k|securemode=2,signmethod=sha256,timestamp=1|", "d/k&pk"),
        ("dk|securemode=2,signmethod=sha256,timestamp=1|", "dk&p+k"),
        ("..|securemode=2,signmethod=sha256,timestamp=1|", "..&pk"),
        ("d" * 600 + "|securemode=2,signmethod=sha256,timestamp=1|", "dk&pk"),
    ],
)
def test_logins_that_break_the_form_are_refused(client_id, user):
    with pytest.raises(login.BadLogin):
        login.parse(client_id, user)


def test_names_fit_into_topics_paths_and_certificates():
    assert is_key("A-z_0.9") and not any(
        is_key(bad) for bad in ("", ".", "..", "a b", "a/b", "a#", "a+", "ä", "a\n", None, 7, "x" * 65)
    )
    assert is_identity(Identity("p" * 31, "d" * 32)) and not is_identity(Identity("p" * 32, "d" * 32))


@given(st.binary(max_size=300))
def test_any_payload_gives_an_envelope_or_our_error(payload):
    try:
        envelope.parse(payload)
    except envelope.BadEnvelope as error:
        assert error.code in (envelope.EMPTY, envelope.BAD_JSON)


def test_ids_are_echoed_as_they_came():
    assert envelope.parse(b'{"id":"0012"}').id == "0012" and envelope.parse(b'{"id":12}').id == 12
    assert envelope.parse(b"{}").id == ""
    for bad in (b'{"id":true}', b'{"id":null}', b'{"id":1.5}', b'{"id":"' + b"x" * 65 + b'"}', b"[]", b'"x"'):
        with pytest.raises(envelope.BadEnvelope):
            envelope.parse(bad)
    assert json.loads(envelope.reply("7")) == {"id": "7", "code": 200, "message": "", "data": {}}


@pytest.mark.parametrize(
    "value, number",
    [
        ("35", 35),
        (35, 35),
        (-1, -1),
        ("-5", -5),
        (1.0, 1),
        (1.5, None),
        (True, None),
        ("x", None),
        (10**13, None),
        ([], None),
    ],
)
def test_numbers_come_as_texts_too(value, number):
    assert envelope.whole_number(value) == number


@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b'"\\ud800"',
        b"[" * 40 + b"]" * 40,
        b"[" * 100_000,
        b"\xff",
        b"",
        b"{'a':1}",
        b"9" * 5000,
    ],
)
def test_json_that_others_read_differently_is_refused(text):
    with pytest.raises(ValueError):
        strict_json.loads(text)


def test_a_key_that_occurs_twice_is_refused_where_it_matters():
    assert strict_json.loads(b'{"a":1,"a":2}') == {"a": 2}
    with pytest.raises(ValueError):
        strict_json.loads(b'{"b":{"a":1,"a":2}}', unique_keys=True)
