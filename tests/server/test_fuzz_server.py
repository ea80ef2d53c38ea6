# SPDX-License-Identifier: MIT
"""The server's own readers, with Hypothesis looking for what they do not foresee: a value or their own error, and what was
written is read again.  (The MQTT codec has its own, in test_mqtt_codec; the device's are in tests/test_fuzz.)"""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from server_client import jws as signed
from server_client import thumbprint

from trueboot_server import jws, strict_json
from trueboot_server.decada import envelope, login
from trueboot_server.enos.access import readings
from trueboot_server.enos.answers import EnosError
from trueboot_server.faults import kinds
from trueboot_server.https import ranges
from trueboot_server.names import Identity, is_identity
from trueboot_server.nonces import Nonces

QUICK = settings(max_examples=60, deadline=None)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20)
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def damaged(sample):
    """A sample with one part replaced, or anything at all."""
    cut = st.tuples(st.integers(0, len(sample)), st.integers(0, 8), st.binary(max_size=8))
    return st.binary(max_size=200) | cut.map(lambda c: sample[: c[0]] + c[2] + sample[c[0] + c[1] :])


@QUICK
@given(damaged(b'{"id":"1","version":"1.0","method":"x","params":{"a":[1,2.5,null]},"code":"200"}'))
def test_envelopes(data):
    try:
        found = envelope.parse(data)
    except envelope.BadEnvelope as error:
        assert error.code in (envelope.BAD_JSON, envelope.EMPTY)
        return
    assert found.code is None or isinstance(found.code, int)
    again = json.loads(envelope.reply(found.id, 200, found.message, found.params))
    assert set(again) == {"id", "code", "message", "data"} and again["id"] == found.id


@QUICK
@given(TREE)
def test_whatever_is_read_can_be_written(value):
    try:
        read = strict_json.loads(json.dumps(value).encode())
    except ValueError:
        return  # NaN, a lone surrogate, too deep
    json.dumps(read, ensure_ascii=False, allow_nan=False).encode()


@QUICK
@given(TREE)
def test_whole_numbers(value):
    found = envelope.whole_number(value)
    assert found is None or (isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**12)


KEYS = st.text("abcXYZ019._-", min_size=1, max_size=12)


@QUICK
@given(KEYS, KEYS, st.sampled_from(["2", "3"]), st.text("0123456789", min_size=1, max_size=13))
def test_logins_as_they_are_written(product_key, device_key, mode, timestamp):
    if not is_identity(Identity(product_key, device_key)):
        return
    found = login.parse(
        f"{device_key}|securemode={mode},signmethod=sha256,timestamp={timestamp}|", f"{device_key}&{product_key}"
    )
    assert found.identity == (product_key, device_key) and str(found.secure_mode) == mode
    right = login.sign(device_key, found.identity, timestamp, "secret").upper().encode()
    assert (
        found.proven_by(right, "secret")
        and not found.proven_by(right, "another")
        and not found.proven_by(None, "secret")
    )


@QUICK
@given(damaged(b"a|securemode=2,signmethod=sha256,timestamp=1|"), damaged(b"a&pk"))
def test_logins_that_are_damaged(client, user):
    try:
        found = login.parse(client.decode("utf-8", "replace"), user.decode("utf-8", "replace"))
    except login.BadLogin:
        return
    assert is_identity(found.identity) and found.client.startswith(
        (found.identity.device_key, found.identity.product_key)
    )


@QUICK
@given(
    st.integers(0, 2000),
    damaged(b"bytes=10-20") | st.tuples(st.integers(0, 3000), st.integers(0, 3000)).map(lambda p: b"bytes=%d-%d" % p),
)
def test_ranges(size, header):
    try:
        part = ranges.parse(header.decode("latin-1"), size)
    except ranges.NotSatisfiable:
        return
    assert part is None or 0 <= part[0] < part[1] <= size


SIGNER = ec.derive_private_key(6, ec.SECP256R1())
POINT = bytes([4]) + b"".join(
    n.to_bytes(32, "big") for n in (SIGNER.public_key().public_numbers().x, SIGNER.public_key().public_numbers().y)
)
STATEMENT = signed(SIGNER, {"aud": "pk", "seq": 1})
KIND = "trueboot-report+jwt"


def test_the_statement_is_a_good_one():
    assert jws.parse(STATEMENT, KIND, 4096).verified(POINT) == {"aud": "pk", "seq": 1}
    assert jws.parse(STATEMENT, KIND, 4096).kid == thumbprint(POINT)


@QUICK
@given(damaged(STATEMENT.encode()))
def test_no_other_spelling_of_a_statement_is_believed(data):
    text = data.decode("latin-1")
    try:
        claims = jws.parse(text, KIND, 4096).verified(POINT)
    except jws.BadJws:
        return
    assert text == STATEMENT and claims == {"aud": "pk", "seq": 1}


@QUICK
@given(LEAF | st.binary().map(lambda b: b.decode("latin-1")))
def test_what_is_no_statement(value):
    with pytest.raises(jws.BadJws):
        jws.parse(value, KIND, 4096)


@QUICK
@given(st.data())
def test_no_other_nonce_is_taken(data):
    nonces = Nonces(60, 100)
    made = nonces.make()
    other = data.draw(damaged(made.encode())).decode("latin-1")
    assert nonces.take(other) is (other == made)
    assert nonces.take(made) is (other != made)


@QUICK
@given(st.text(max_size=60) | damaged(b"orgId=o&a=1%20b&b=%e4").map(lambda b: b.decode("latin-1")))
def test_queries_that_are_signed(query):
    try:
        found = readings(query)
    except EnosError:
        return
    assert 1 <= len(found) <= 3


@QUICK
@given(st.text(max_size=60) | damaged(b"latency:ms=5,path=/a*").map(lambda b: b.decode("latin-1")))
def test_faults_in_one_word(spec):
    try:
        found = kinds.parse(spec)
    except ValueError:
        return
    assert all(isinstance(value, str) for value in found.values()) and spec.startswith(found["kind"])
