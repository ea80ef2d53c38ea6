# SPDX-License-Identifier: MIT
"""Attested enrolment with a TPM that others have written: swtpm, libtpms and tpm2-tss on the device's side.

The server's side and the software TPM of the other tests are both ours; this says that they have understood the
TPM's structures as its makers do.
"""

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import time

import pytest
from attesting import AttestingDevice
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from server_client import Operator, ServerThread

os.environ.setdefault("TSS2_LOG", "all+none")  # the library's own lines on stderr
pytss = pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed")
tpm_ecc_private_key = pytest.importorskip("tpm2_pytss.cryptography").tpm_ecc_private_key
BORN = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth"

EK = {"rsa": (0x81010001, 0x01C00002), "ecc": (0x81010016, 0x01C00016)}  # handle, and where its certificate lies
WAIT_S = 20


def free_ports():
    """Two in a row: the TPM's, and its control's."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return first.getsockname()[1]


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """(swtpm's configuration, the folder of its CA)"""
    folder = tmp_path_factory.mktemp("maker")
    (folder / "ca").mkdir()
    names = ("statedir = {0}", "signingkey = {0}/key.pem", "issuercert = {0}/issuer.pem", "certserial = {0}/serial")
    (folder / "ca.conf").write_text("\n".join(names).format(folder / "ca") + "\n")
    (folder / "ca.options").write_text("--platform-manufacturer Tests\n--platform-version 1\n--platform-model none\n")
    (folder / "setup.conf").write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {folder / 'ca.conf'}\n"
        f"create_certs_tool_options = {folder / 'ca.options'}\n"
    )
    return folder


@pytest.fixture(scope="module")
def esapi(maker):
    state = maker / "state"
    state.mkdir()
    made = subprocess.run(
        ["swtpm_setup", "--tpm2", "--tpmstate", state, "--create-ek-cert", "--config", maker / "setup.conf"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    port = free_ports()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=tcp,port={port},disconnect", "--ctrl", f"type=tcp,port={port + 1}"]
    with (maker / "swtpm.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(port, process)
            with pytss.ESAPI(f"swtpm:host=127.0.0.1,port={port}") as opened:
                yield opened
        finally:
            process.kill()


def wait_for(port, process):
    """Until it listens; it ends by itself when it cannot."""
    end = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port + 1), WAIT_S).close()
            return
        except ConnectionRefusedError:
            continue
    raise AssertionError("swtpm does not listen")


@pytest.fixture(scope="module")
def server(tmp_path_factory, maker, esapi):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    folder = running.server._options.state / "ek-roots"
    folder.mkdir()
    shutil.copy(maker / "ca" / "swtpm-localca-rootca-cert.pem", folder / "maker.pem")
    yield running
    running.stop()


def key(esapi, template, attributes):
    """A key under a primary one of the owner's: (handle, TPM2B_PUBLIC)."""
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
        issuing = x509.load_pem_x509_certificate((maker / "ca" / "issuer.pem").read_bytes())
        chain = [base64.b64encode(issuing.public_bytes(Encoding.DER)).decode()]
        begun = board.ask("attest", {**body, "nonce": nonce, "ek_chain": chain})
        assert begun.status_code == 200, begun.text
        answer = board.finish(begun, activate(esapi, kind, ak, ek, begun.json()))
    assert answer.status_code == 200, answer.text
    issued = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    assert x509.load_der_x509_csr(request).public_key() in [one.public_key() for one in issued]
    shown = Operator(server.first).device(board.device_key)["key"]
    assert shown["attested"] and set(shown["tpm"]) == {"manufacturer", "model", "version"}
