# SPDX-License-Identifier: MIT
"""Attested enrolment of a device with no code of ours: swtpm, libtpms and tpm2-tss on its side.

The software TPM of the other tests is ours, as the server is; this says that both have understood the TPM's structures
as its makers do, and that other people's devices can enrol with the documented requests.
"""

import base64
import hashlib
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from attesting import AttestingDevice  # noqa: E402
from server_client import Operator, ServerThread  # noqa: E402

from trueboot.demo.swtpm import Swtpm  # noqa: E402

EK = {"rsa": (0x81010001, 0x01C00002), "ecc": (0x81010016, 0x01C00016)}  # handle, and where its certificate lies
BORN = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth"


@pytest.fixture(scope="module")
def esapi(maker, tmp_path_factory):
    import tpm2_pytss

    chip = Swtpm(tmp_path_factory.mktemp("chip") / "chip", maker).start()
    try:
        with tpm2_pytss.ESAPI(chip.tcti) as opened:
            yield opened
    finally:
        chip.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, maker, esapi):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    folder = running.server._options.state / "ek-roots"
    folder.mkdir()
    root, _ = x509.load_pem_x509_certificates(maker.roots().encode())
    (folder / "maker.pem").write_bytes(root.public_bytes(Encoding.PEM))
    yield running
    running.stop()


def key(esapi, template, attributes):
    """A key under a primary one of the owner's: (handle, TPM2B_PUBLIC)."""
    import tpm2_pytss as pytss

    parent, _, _, _, _ = esapi.create_primary(None, "ecc256")
    with parent:
        public = pytss.TPM2B_PUBLIC.parse(template, objectAttributes=attributes)
        private, public, _, _, _ = esapi.create(parent, None, public)
        return esapi.load(parent, private, public), public


def endorsement_certificate(esapi, index):
    handle = esapi.tr_from_tpmpublic(index)
    public, _ = esapi.nv_read_public(handle)
    size, at, data = public.nvPublic.dataSize, 0, b""
    while at < size:
        data += bytes(esapi.nv_read(handle, min(512, size - at), at))
        at += 512
    return data


def activate(esapi, kind, ak, ek, told):
    """TPM2_ActivateCredential.  The RSA template asks for the endorsement hierarchy's policy, the other for no password."""
    import tpm2_pytss as pytss

    blob, secret = (base64.b64decode(told[name]) for name in ("credential", "secret"))
    blob, _ = pytss.TPM2B_ID_OBJECT.unmarshal(blob)
    secret, _ = pytss.TPM2B_ENCRYPTED_SECRET.unmarshal(secret)
    if kind == "ecc":
        return bytes(esapi.activate_credential(ak, ek, blob, secret))
    nothing = pytss.TPMT_SYM_DEF(algorithm=pytss.TPM2_ALG.NULL)
    session = esapi.start_auth_session(
        pytss.ESYS_TR.NONE, pytss.ESYS_TR.NONE, pytss.TPM2_SE.POLICY, nothing, pytss.TPM2_ALG.SHA256
    )
    with session:
        esapi.policy_secret(pytss.ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
        return bytes(esapi.activate_credential(ak, ek, blob, secret, session2=session))


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
def test_the_key_of_a_tpm_is_attested_and_certified(server, maker, esapi, tmp_path, kind):
    import tpm2_pytss as pytss
    from tpm2_pytss.cryptography import tpm_ecc_private_key

    board = AttestingDevice(server.first, f"swtpm-{kind}", tmp_path)
    board.activate()
    ak, ak_public = key(esapi, "ecc256:ecdsa-sha256:null", f"{BORN}|restricted|sign")
    own, own_public = key(esapi, "ecc256", f"{BORN}|sign")
    handle, index = EK[kind]
    with ak, own:
        ek = esapi.tr_from_tpmpublic(handle)
        ek_public, _, _ = esapi.read_public(ek)
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = builder.sign(tpm_ecc_private_key(esapi, own), hashes.SHA256()).public_bytes(Encoding.DER)
        nonce = board.nonce()
        bound = b"\0".join((nonce.encode(), board.name.encode(), hashlib.sha256(request).digest()))
        scheme = pytss.TPMT_SIG_SCHEME(scheme=pytss.TPM2_ALG.NULL)
        attest, signature = esapi.certify(own, ak, hashlib.sha256(bound).digest(), scheme)
        told = {
            "csr": request,
            "ek_cert": endorsement_certificate(esapi, index),
            "ek_public": ek_public.marshal(),
            "ak_public": ak_public.marshal(),
            "key_public": own_public.marshal(),
            "certify": attest.marshal(),
            "signature": signature.marshal(),
        }
        body = {name: base64.b64encode(value).decode() for name, value in told.items()}
        _, issuing = x509.load_pem_x509_certificates(maker.roots().encode())
        chain = [base64.b64encode(issuing.public_bytes(Encoding.DER)).decode()]
        begun = board.ask("attest", {**body, "nonce": nonce, "ek_chain": chain})
        assert begun.status_code == 200, begun.text
        answer = board.finish(begun, activate(esapi, kind, ak, ek, begun.json()))
    assert answer.status_code == 200, answer.text
    issued = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    assert x509.load_der_x509_csr(request).public_key() in [one.public_key() for one in issued]
    shown = Operator(server.first).device(board.device_key)["key"]
    assert shown["attested"] and set(shown["tpm"]) == {"manufacturer", "model", "version"}
