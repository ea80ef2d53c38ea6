# SPDX-License-Identifier: MIT
"""Attested enrolment: what a TPM proves, and every way in which the proof can be wrong, one at a time."""

import base64
import random
import struct

import pytest
import requests
import software_tpm as tpm
from attesting import AttestingDevice
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from server_client import PATIENCE_S, Device, ServerThread, base64url, csr, jws

from trueboot_server.attestation import BadAttestation, statement
from trueboot_server.limits import Limits
from trueboot_server.names import Identity
from trueboot_server.store.schema import certificates

MAKER = tpm.Maker()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=10_000))
    folder = server.server._options.state / "ek-roots"
    folder.mkdir()
    (folder / "maker.pem").write_bytes(MAKER.root.public_bytes(Encoding.PEM))
    (folder / "nonsense.pem").write_bytes(b"not a certificate")
    yield server
    server.stop()


@pytest.fixture
def server(running):
    return running


class TpmDevice(AttestingDevice):
    """With a TPM in software."""

    def __init__(self, first, device_key, folder, kind="ecc", maker=MAKER):
        super().__init__(first, device_key, folder)
        self.tpm = tpm.SoftwareTpm(maker, kind)
        self.key = self.tpm.key.private

    def request(self):
        return base64.b64decode(csr(self.key, self.name))

    def begin(self, **changed):
        told = self.tpm.statement(changed.pop("nonce", None) or self.nonce(), self.name, self.request(), **changed)
        return self.ask("attest", told)

    def open(self, begun):
        told = begun.json()
        return self.tpm.activate(base64.b64decode(told["credential"]), base64.b64decode(told["secret"]))

    def attest(self):
        begun = self.begin()
        assert begun.status_code == 200, begun.text
        return self.finish(begun, self.open(begun))

    def attested(self):
        """Keeps the certificate that this gives."""
        answer = self.attest()
        assert answer.status_code == 200, answer.text
        chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
        self.keep(next(one for one in chain if one.public_key() == self.key.public_key()), self.key)
        return self

    def new_key(self):
        self.tpm.key = self.tpm.make()
        self.key = self.tpm.key.private


@pytest.fixture
def board(server, device, tmp_path):
    found = TpmDevice(server.first, device.device_key, tmp_path)
    found.activate()
    return found


@pytest.fixture
def policy(operator):
    path = f"/api/v1/products/{operator.first['product_key']}/policy"
    yield lambda word: operator.post(path, {"attestation": word})
    operator.post(path, {"attestation": "none"})


def error(answer):
    return answer.status_code, answer.json()["error"]["code"]


# What is proven


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_key_in_a_tpm_gets_its_certificate_and_is_shown_as_such(server, operator, device, tmp_path, kind):
    board = TpmDevice(server.first, device.device_key, tmp_path, kind)
    board.activate()
    assert board.attested().connect().online
    shown = operator.device(board.device_key)["key"]
    assert shown["attested"] and shown["storage"] == "tpm" and shown["attested_at"]
    assert shown["tpm"] == {"manufacturer": "id:54455354", "model": "software", "version": "id:00000001"}


def test_without_attestation_nothing_is_said_of_the_key(operator, device):
    device.ready().close()
    assert operator.device(device.device_key)["key"] == {
        "storage": "unknown", "attested": False, "attested_at": None, "tpm": None, "ek": None,
    }  # fmt: skip


def test_a_certificate_buys_the_next_attested_one(board, policy):
    policy("required")
    board.attested().connect().close()
    board.by_certificate = True
    board.new_key()
    assert board.attested().connect().online


def test_after_its_end_the_secret_will_do_for_the_same_tpm(server, board):
    board.attested().connect().close()

    def expire(s):
        with s.store.transaction() as t:
            own = certificates.c.device_key == board.device_key
            t.execute(certificates.update().where(own).values(not_after=t.now - 1))

    server.call(expire)
    board.new_key()
    assert board.attested().connect().online


def test_the_secret_of_a_device_with_a_software_key_buys_no_later_key(board):
    board.key = ec.generate_private_key(ec.SECP256R1())
    board.enrol()
    board.key = board.tpm.key.private
    assert error(board.attest()) == (403, "another_key")


# Policy


def test_a_product_that_requires_attestation_takes_no_other_road(board, policy):
    policy("required")
    assert error(board.post_csr(csr(board.key))) == (403, "attestation_required")
    board.attested().connect().close()
    new = ec.generate_private_key(ec.SECP256R1())
    with requests.Session() as session:
        session.trust_env = False
        url = board.first["https"] + "/.well-known/est/simplereenroll"
        more = {"verify": board.ca_file, "timeout": PATIENCE_S}
        plain = session.post(
            url, data=csr(new), headers={"Content-Type": "application/pkcs10"}, cert=board.identity, **more
        )
        claims = {
            "aud": board.product_key,
            "sub": board.name,
            "nonce": board.nonce(),
            "csr": base64.b64encode(base64.b64decode(csr(new))).decode(),
        }
        signed = jws(board.key, claims, {"typ": "trueboot-renewal+jwt"})
        late = session.post(url, data=signed, headers={"Content-Type": "application/jose"}, **more)
    assert error(plain) == error(late) == (403, "attestation_required")


def test_optional_means_that_a_known_tpm_has_no_way_around_it(board, device, policy, tmp_path):
    policy("optional")
    plain = Device(board.first, board.device_key + "-plain", tmp_path)
    plain.activate()
    plain.enrol()
    board.attested()
    assert error(board.post_csr(csr(board.key))) == (403, "attestation_required")


# One TPM, one device


def test_another_tpm_is_refused_until_the_operator_says_so(operator, board):
    first = board.tpm
    board.attested().connect().close()
    board.by_certificate = True
    board.tpm = tpm.SoftwareTpm(MAKER)
    board.key = board.tpm.key.private
    assert error(board.attest()) == (403, "another_tpm")
    path = f"/api/v1/devices/{board.name}/replace"
    board.by_certificate = False
    board.device_secret = operator.post(path, {})["device_secret"]
    assert error(board.attest()) == (403, "another_tpm")
    board.device_secret = operator.post(path, {"tpm_too": True})["device_secret"]
    assert board.attested().connect().online
    assert board.tpm is not first


def test_one_tpm_is_no_second_device(board, tmp_path):
    board.attested()
    other = TpmDevice(board.first, board.device_key + "-b", tmp_path)
    other.activate()
    other.tpm.ek, other.tpm.ek_cert = board.tpm.ek, board.tpm.ek_cert
    assert error(other.attest()) == (403, "foreign_ek")


def test_a_tpm_that_was_registered_before_is_the_only_one(operator, server, device, tmp_path):
    import hashlib

    board = TpmDevice(server.first, device.device_key, tmp_path)
    from cryptography.hazmat.primitives.serialization import PublicFormat

    spki = board.tpm.ek.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = {"device_key": board.device_key, "ek": hashlib.sha256(spki).hexdigest()}
    board.device_secret = operator.post("/api/v1/devices", body)["device_secret"]
    own, board.tpm = board.tpm, tpm.SoftwareTpm(MAKER)
    board.key = board.tpm.key.private
    assert error(board.attest()) == (403, "another_tpm")
    board.tpm, board.key = own, own.key.private
    assert board.attested()


# Wrong, one step at a time


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


def unknown_critical():
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def chain_of(*names, ca=0):
    """Certificates below the maker's root, one under the other, and the last one's key."""
    issuer, made = (MAKER.root, MAKER.root_key), []
    for name in names:
        key = tpm.curve_key()
        made.append(MAKER.certify(key, name, issuer, ca=ca))
        issuer = (made[-1], key)
    return made, issuer


def too_deep(b):
    made, issuer = chain_of("one", "two", ca=0)
    return {"ek_cert": der(MAKER.endorse(b.tpm.ek.private, issuer=issuer)), "ek_chain": [der(one) for one in made]}


def under_a_leaf(b):
    made, issuer = chain_of("no CA", ca=None)
    return {"ek_cert": der(MAKER.endorse(b.tpm.ek.private, issuer=issuer)), "ek_chain": [der(one) for one in made]}


def endorsed(b, **changed):
    return {"ek_cert": der(MAKER.endorse(b.tpm.ek.private, **changed))}


def ek_with(b, attributes=tpm.BORN_HERE | tpm.RESTRICTED | tpm.DECRYPT, symmetric=tpm.AES_128_CFB):
    return {"ek_public": tpm.Key(b.tpm.ek.private, attributes, symmetric).public}


def ak_with(b, attributes, scheme=tpm.ECDSA_SHA256):
    key = tpm.Key(b.tpm.ak.private, attributes, scheme=scheme)
    return {"ak_public": key.public, "signer": key}


def key_with(b, attributes):
    return {"key": tpm.Key(b.key, attributes)}


ALL = tpm.BORN_HERE | tpm.WITH_AUTH
WRONG = {
    "another maker": (
        "ek_untrusted",
        lambda b: {"ek_cert": der(tpm.Maker().endorse(b.tpm.ek.private)), "ek_chain": []},
    ),
    "a maker of the same name": (
        "ek_untrusted",
        lambda b: {
            "ek_cert": der((m := tpm.Maker()).endorse(b.tpm.ek.private)),
            "ek_chain": [der(m.issuing), der(m.root)],
        },
    ),
    "no intermediate": ("ek_untrusted", lambda b: {"ek_chain": []}),
    "the EK's certificate has ended": ("ek_untrusted", lambda b: endorsed(b, days=(-9, -2))),
    "the EK's certificate is of the future": ("ek_untrusted", lambda b: endorsed(b, days=(2, 9))),
    "no EK usage": ("ek_untrusted", lambda b: endorsed(b, usage="")),
    "another usage": ("ek_untrusted", lambda b: endorsed(b, usage="1.3.6.1.5.5.7.3.2")),
    "a CA as EK": ("ek_untrusted", lambda b: endorsed(b, ca=0)),
    "an unknown critical extension": ("ek_untrusted", lambda b: endorsed(b, extra=[(unknown_critical(), True)])),
    "a certificate over a short hash": ("ek_untrusted", lambda b: endorsed(b, digest=hashes.SHA224)),
    "a path longer than allowed": ("ek_untrusted", too_deep),
    "an issuer that is no CA": ("ek_untrusted", under_a_leaf),
    "another TPM's EK under this certificate": (
        "ek_refused",
        lambda b: {"ek_public": tpm.SoftwareTpm(MAKER).ek.public},
    ),
    "an EK that signs": ("ek_refused", lambda b: ek_with(b, tpm.BORN_HERE | tpm.RESTRICTED | tpm.DECRYPT | tpm.SIGN)),
    "an EK that is not restricted": ("ek_refused", lambda b: ek_with(b, tpm.BORN_HERE | tpm.DECRYPT)),
    "an EK that can leave": ("ek_refused", lambda b: ek_with(b, tpm.RESTRICTED | tpm.DECRYPT)),
    "an EK without AES": ("ek_refused", lambda b: ek_with(b, symmetric=tpm.NOTHING)),
    "an EK with AES-CBC": ("ek_refused", lambda b: ek_with(b, symmetric=struct.pack(">HHH", 6, 128, 0x42))),
    "an EK with Camellia": ("ek_refused", lambda b: ek_with(b, symmetric=struct.pack(">HHH", 0x26, 128, 0x43))),
    "an EK with AES of 64 bits": ("ek_refused", lambda b: ek_with(b, symmetric=struct.pack(">HHH", 6, 64, 0x43))),
    "an AK that is not restricted": ("ak_refused", lambda b: ak_with(b, ALL | tpm.SIGN)),
    "an AK that decrypts": ("ak_refused", lambda b: ak_with(b, ALL | tpm.SIGN | tpm.RESTRICTED | tpm.DECRYPT)),
    "an AK that does not sign": ("ak_refused", lambda b: ak_with(b, ALL | tpm.RESTRICTED)),
    "an AK that can leave": ("ak_refused", lambda b: ak_with(b, tpm.ORIGIN | tpm.SIGN | tpm.RESTRICTED)),
    "an AK from outside": ("ak_refused", lambda b: ak_with(b, 0x12 | tpm.SIGN | tpm.RESTRICTED)),
    "an AK without scheme": ("ak_refused", lambda b: ak_with(b, ALL | tpm.SIGN | tpm.RESTRICTED, tpm.NOTHING)),
    "a key that can leave the TPM": ("key_refused", lambda b: key_with(b, tpm.FIXED_PARENT | tpm.ORIGIN | tpm.SIGN)),
    "a key that can be duplicated": ("key_refused", lambda b: key_with(b, tpm.FIXED_TPM | tpm.ORIGIN | tpm.SIGN)),
    "a key from outside": ("key_refused", lambda b: key_with(b, tpm.FIXED_TPM | tpm.FIXED_PARENT | tpm.SIGN)),
    "a key that does not sign": ("key_refused", lambda b: key_with(b, ALL)),
    "a restricted key": ("key_refused", lambda b: key_with(b, ALL | tpm.SIGN | tpm.RESTRICTED)),
    "a key that decrypts": ("key_refused", lambda b: key_with(b, ALL | tpm.SIGN | tpm.DECRYPT)),
    "the request is for another key": ("key_refused", lambda b: {"key": b.tpm.make()}),
    "signed by another key": ("certify_refused", lambda b: {"signer": tpm.SoftwareTpm(MAKER).ak}),
    "made by no TPM": ("certify_refused", lambda b: {"magic": 0xFF544348}),
    "a quote": ("certify_refused", lambda b: {"kind": 0x8018}),
    "bound to nothing": ("certify_refused", lambda b: {"extra": b""}),
    "bound to another nonce": ("certify_refused", lambda b: {"extra": bytes(32)}),
    "about another key": ("certify_refused", lambda b: {"key_public": tpm.Key(b.key, ALL | tpm.SIGN | 0x400).public}),
    "a signature over SHA-1": (
        "certify_refused",
        lambda b: {"signature": struct.pack(">HH", 0x18, 4) + tpm.sized(bytes(32)) * 2},
    ),
    "a signature of another scheme": (
        "certify_refused",
        lambda b: {"signature": struct.pack(">HH", 0x14, 0xB) + tpm.sized(bytes(256))},
    ),
    "a public key cut short": ("attestation_unreadable", lambda b: {"ek_public": b.tpm.ek.public[:-1]}),
    "bytes behind a public key": ("attestation_unreadable", lambda b: {"ak_public": b.tpm.ak.public + b"\0"}),
    "bytes inside a public key": ("attestation_unreadable", lambda b: {"ak_public": tpm.sized(b.tpm.ak.area + b"\0")}),
    "a name by SHA-1": (
        "attestation_unreadable",
        lambda b: {"ak_public": tpm.Key(b.tpm.ak.private, 0, name_algorithm=4).public},
    ),
    "another curve": (
        "attestation_unreadable",
        lambda b: {"key_public": tpm.Key(ec.generate_private_key(ec.SECP256K1()), ALL).public},
    ),
    "a short RSA key": (
        "attestation_unreadable",
        lambda b: {"ak_public": tpm.Key(rsa.generate_private_key(65537, 1024), 0).public},
    ),
    "a point that is on no curve": (
        "attestation_unreadable",
        lambda b: {"key_public": b.tpm.key.public[:-32] + bytes(32)},
    ),
    "no certificate": ("attestation_unreadable", lambda b: {"ek_cert": b"\x30\x03\x02\x01\x01"}),
    "a chain without end": ("attestation_unreadable", lambda b: {"ek_chain": [der(MAKER.issuing)] * 6}),
    "a huge structure": ("attestation_unreadable", lambda b: {"certify": bytes(5000)}),
}


@pytest.fixture(scope="module")
def wronged(running, tmp_path_factory):
    board = TpmDevice(running.first, "wronged", tmp_path_factory.mktemp("wronged"))
    board.activate()
    return board


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_statement_is_refused(operator, wronged, name):
    code, wrong = WRONG[name]
    assert error(wronged.begin(**wrong(wronged))) == (400 if code == "attestation_unreadable" else 403, code)
    assert operator.device("wronged")["certificate"] is None


def test_a_statement_for_another_device_is_refused(wronged):
    wronged.name, own = f"{wronged.product_key}/somebody", wronged.name
    told = wronged.tpm.statement(wronged.nonce(), wronged.name, base64.b64decode(csr(wronged.key)))
    wronged.name = own
    assert error(wronged.ask("attest", told)) == (403, "certify_refused")


def test_a_statement_for_another_request_is_refused(wronged):
    told = wronged.tpm.statement(wronged.nonce(), wronged.name, wronged.request())
    told["csr"] = base64.b64encode(wronged.request()).decode()  # the same key, signed again
    assert error(wronged.ask("attest", told)) == (403, "certify_refused")


def test_a_nonce_is_good_once(wronged):
    nonce = wronged.nonce()
    assert wronged.begin(nonce=nonce).status_code == 200
    assert error(wronged.begin(nonce=nonce)) == (401, "nonce_stale")
    assert error(wronged.begin(nonce=base64url(bytes(40)))) == (401, "nonce_stale")


def test_padding_from_the_tpms_memory_is_cut(wronged):
    assert wronged.begin(ek_cert=der(wronged.tpm.ek_cert) + b"\xff" * 200).status_code == 200


def test_members_are_exactly_those(wronged):
    told = wronged.tpm.statement(wronged.nonce(), wronged.name, wronged.request())
    for wrong in (
        {**told, "more": ""},
        {name: value for name, value in told.items() if name != "ek_chain"},
        {**told, "csr": 7},
        {**told, "csr": "?"},
        {**told, "ek_chain": "x"},
        {**told, "ek_chain": [7]},
        {**told, "nonce": None},
    ):
        assert error(wronged.ask("attest", wrong)) == (400, "attestation_unreadable")


def test_who_proves_nothing_attests_nothing(wronged):
    secret, wronged.device_secret = wronged.device_secret, "wrong"
    try:
        assert error(wronged.ask("attest", {})) == (401, "device_unproven")
    finally:
        wronged.device_secret = secret
    url = wronged.first["https"] + "/api/device/v1/attest"
    assert error(requests.post(url, json={}, verify=wronged.ca_file, timeout=9)) == (401, "device_unproven")


# The credential


def test_a_tpm_opens_nothing_for_a_key_that_it_does_not_hold(operator, wronged):
    """Everything is right but for this: EK and certificate are a real TPM's, and the keys are in another."""
    real = tpm.SoftwareTpm(MAKER)
    begun = wronged.begin(ek_cert=der(real.ek_cert), ek_public=real.ek.public)
    assert begun.status_code == 200
    told = {name: base64.b64decode(begun.json()[name]) for name in ("credential", "secret")}
    with pytest.raises(ValueError, match="INTEGRITY"):
        wronged.tpm.activate(told["credential"], told["secret"])
    with pytest.raises(ValueError, match="INTEGRITY"):
        real.activate(told["credential"], told["secret"])
    assert error(wronged.finish(begun, bytes(32))) == (403, "credential_wrong")
    assert operator.device("wronged")["certificate"] is None
    found = [e for e in operator.events() if e["event"] == "attestation.refused"]
    assert found[-1]["why"] == "credential_wrong"


def test_a_session_is_for_one_try(wronged):
    begun = wronged.begin()
    opened = wronged.open(begun)
    assert error(wronged.finish(begun, opened[:-1])) == (403, "credential_wrong")
    assert error(wronged.finish(begun, opened)) == (401, "attestation_session")


def test_a_second_attestation_ends_the_first(wronged):
    first = wronged.begin()
    opened = wronged.open(first)
    second = wronged.begin()
    assert error(wronged.finish(first, opened)) == (401, "attestation_session")
    assert second.status_code == 200


def test_a_device_that_is_replaced_meanwhile_gets_nothing(operator, board):
    begun = board.begin()
    board.ask("nonce")
    opened = board.open(begun)
    board.attested().connect().close()
    begun = board.begin()
    opened = board.open(begun)
    operator.post(f"/api/v1/devices/{board.name}/replace", {})
    assert error(board.finish(begun, opened)) == (401, "device_unproven")


@pytest.mark.parametrize("body", [{}, {"secret": 7}, {"secret": "?"}, {"secret": "A" * 400}, {"secret": "", "x": 1}])
def test_an_answer_that_is_none_is_refused(wronged, body):
    assert error(wronged.ask("attest/x", body)) == (400, "attestation_unreadable")


def test_sessions_end_and_are_bounded():
    from trueboot_server.attestation.sessions import Sessions

    now = [0.0]
    sessions = Sessions(60, 3, clock=lambda: now[0])
    board = tpm.SoftwareTpm(MAKER)
    checked = statement.Checked(None, *map(statement.structures.public, (board.ek.public, board.ak.public)))
    names = [sessions.begin(Identity("p", str(n)), None, checked, None)[0] for n in range(3)]
    assert sessions.begin(Identity("p", "one too many"), None, checked, None) is None
    assert sessions.begin(Identity("p", "0"), None, checked, None) is not None  # in the place of its first
    assert sessions.take(names[0]) is None and sessions.take(names[1]) is not None
    now[0] = 61
    assert sessions.take(names[2]) is None
    assert sessions.begin(Identity("p", "later"), None, checked, None) is not None


def test_no_input_makes_a_check_fail_in_another_way():
    """Bytes changed, cut and added in every member: refused, or as good as before, and nothing else."""
    chance = random.Random(1)
    board, identity = tpm.SoftwareTpm(MAKER), Identity("pk", "dk")
    request = base64.b64decode(csr(board.key.private))
    good = board.statement("n", "pk/dk", request)
    wanted = x509.load_der_x509_csr(request).public_key()
    assert statement.check(statement.read(good), identity, wanted, [MAKER.root])
    passed = set()
    for member in ("ek_cert", "ek_public", "ak_public", "key_public", "certify", "signature"):
        for changed in tpm.mutated(chance, base64.b64decode(good[member]), 250):
            told = {**good, member: base64.b64encode(changed).decode()}
            try:
                statement.check(statement.read(told), identity, wanted, [MAKER.root])
                passed.add(member)
            except BadAttestation:
                pass
    # The AK's area is vouched for by the credential, bytes behind the EK's certificate are padding, and of the EK's
    # area the key and its attributes count.
    assert passed <= {"ak_public", "ek_cert", "ek_public"}
