# SPDX-License-Identifier: MIT
"""EnOS's access key by itself: tokens and signatures, with the protocol's own vectors."""

import pytest

from trueboot_server.enos.access import Access, encryption, readings, signature, signature_of_2018
from trueboot_server.enos.answers import EnosError
from trueboot_server.limits import Limits

NOW = 1572574909697
LIMITS = Limits(enos_proofs=3)


@pytest.fixture
def time():
    return [NOW]


@pytest.fixture
def access(time):
    return Access("ak1", "sk1", LIMITS, lambda: time[0])


def refused(call, *arguments):
    with pytest.raises(EnosError) as caught:
        call(*arguments)
    return caught.value.code


def proof(at):
    return "ak1", encryption("ak1", str(at), "sk1"), str(at)


def test_the_vectors_of_the_protocol():
    assert encryption("ak1", str(NOW), "sk1") == "5ea7eea03918a0c2e03dfa268e8730ea3bdc29e31de50573c15e5ea69ef225a7"
    query = [("orgId", "o1"), ("productKey", "pk1"), ("deviceKey", "dk1"), ("action", "apply")]
    body = b'{"csr":"X","validDay":365}'
    made = signature("tok1", query, body, str(NOW), "sk1")
    assert made == "2a962f4858525e5dc3eed712004a4a12d43f098b26a8027e045609a0e8b3335e"
    old = signature_of_2018("ak1", [("requestTimestamp", str(NOW)), ("orgId", "o1")], b'"X"', "sk1")
    assert old == "091DDE46CE46C9DCD08FB579EF3AF110C33F0A82"


def test_the_same_token_until_its_end_and_then_another(access, time):
    first, left = access.get_token(*proof(NOW))
    time[0] += 7000 * 1000
    again, less = access.get_token(*proof(time[0]))
    assert (again, left, less) == (first, 7200, 200)
    time[0] += 201 * 1000
    assert access.get_token(*proof(time[0])) != (first, 0)


def test_a_refreshed_token_and_the_one_before_it_live_to_their_own_ends(access, time):
    first, _ = access.get_token(*proof(NOW))
    time[0] += 3600 * 1000
    second, left = access.refresh(*proof(time[0]), first)
    assert second != first and left == 7200
    time[0] += 1
    assert access.refresh(*proof(time[0]), first)[0] == second  # the answer had been lost
    assert access.get_token(*proof(time[0] + 1))[0] == second
    for token in (first, second):
        access.check_call(token, signature(token, [], b"", str(time[0]), "sk1"), str(time[0]), [[]], b"")
    time[0] += 3600 * 1000
    assert refused(access.refresh, *proof(time[0]), first) == 1204
    assert refused(access.check_call, first, "x", str(time[0]), [[]], b"") == 1203


def test_a_proof_counts_once_and_the_memory_of_proofs_is_bounded(access):
    access.get_token(*proof(NOW))
    assert refused(access.get_token, *proof(NOW)) == 1001
    for at in range(NOW + 1, NOW + 5):
        access.get_token(*proof(at))
    assert len(access._seen) == LIMITS.enos_proofs


@pytest.mark.parametrize(
    "key, secret, timestamp, code",
    [
        ("ak1", "sk1", str(NOW - 901_000), 1004),
        ("ak1", "sk1", str(NOW + 901_000), 1004),
        ("ak1", "sk1", "-1", 1004),
        ("ak1", "sk1", "١٢", 1004),
        ("ak1", "sk1", "9" * 17, 1004),
        ("ak1", "sk1", "1.5e12", 1004),
        ("ak2", "sk1", str(NOW), 1002),
        ("ak1", "sk2", str(NOW), 1003),
    ],
)
def test_a_wrong_proof_gets_no_token(access, key, secret, timestamp, code):
    assert refused(access.get_token, key, encryption(key, timestamp, secret), timestamp) == code
    assert access._seen == {}


def test_hex_is_hex_in_either_case(access):
    key, made, at = proof(NOW)
    token, _ = access.get_token(key, made.upper(), at)
    access.check_call(token, signature(token, [], b"", at, "sk1").upper(), at, [[]], b"")


def test_a_query_is_signed_decoded_or_as_it_was_sent():
    assert readings("a=1&b=x%20y+z") == [
        [("a", "1"), ("b", "x y+z")],
        [("a", "1"), ("b", "x y z")],
        [("a", "1"), ("b", "x%20y+z")],
    ]
    assert readings("a=1&b") == [[("a", "1"), ("b", "")]] and readings("") == [[]]
    assert refused(readings, "a=1&%61=2") == 1004


@pytest.mark.parametrize("missing", ["accessKey", "sign", "requestTimestamp"])
def test_the_interface_of_2018_wants_all_of_its_parameters(access, missing):
    query = {"accessKey": "ak1", "sign": "x", "requestTimestamp": str(NOW), "orgId": "o1"}
    assert refused(access.check_call_of_2018, [list(query.items())], b"") == 1003
    query.pop(missing)
    assert refused(access.check_call_of_2018, [list(query.items())], b"") == 1202


def test_the_interface_of_2018_refuses_what_was_changed(access):
    def check(key="ak1", at=NOW, org="o1", body=b'"X"'):
        sign = "091dde46ce46c9dcd08fb579ef3af110c33f0a82"
        pairs = [("accessKey", key), ("requestTimestamp", str(at)), ("orgId", org), ("sign", sign)]
        access.check_call_of_2018([pairs], body)

    check()
    assert refused(check, "ak2") == 1002
    assert refused(check, "ak1", NOW + 1) == refused(check, "ak1", NOW, "o2") == 1003
    assert refused(check, "ak1", NOW, "o1", b'"Y"') == 1003
    assert refused(check, "ak1", NOW + 901_000) == 1004
