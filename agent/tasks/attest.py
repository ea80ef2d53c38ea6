# SPDX-License-Identifier: MIT
"""A certificate for a key that a TPM vouches for: the device's half, where the key store can do it.

Two steps beside EST: what the TPM says of the key, for a nonce of the server's;
then what only this TPM could open.  The answer is that of a simpleenroll.

Rules kept:
 * The statement binds the nonce to this device and this very request.
 * A server that knows nothing of it, or trusts the TPM's maker not, is asked in
   the plain way next: whether that is enough is the server's policy.  What went
   wrong is told.
 * The proof is the certificate in use, else the device's secret, which is enough
   for a later key too where the same TPM speaks.
"""

import binascii
import hashlib
import json

from agent.errors import RefusedError
from agent.tasks import certificate

PATH = "/api/device/v1/attest"
NONCE_PATH = "/api/device/v1/nonce"
MAX_SESSION = 128
_SESSION = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def run(agent, label, headers, body, credentials):
    """The body of the server's answer, or None: then the plain road is left, whose request is given."""
    if headers["Content-Type"] == "application/pkcs10":
        csr = binascii.a2b_base64(body)
    else:
        csr = certificate.request(agent, label)
    try:
        answer = yield from _attested(agent, label, csr, credentials)
    except RefusedError as error:
        agent.platform.log("identity.not_attested", {"code": error.code, "why": error.detail})
        return None
    agent.platform.log("identity.attested", {"label": label})
    return answer


def _attested(agent, label, csr, credentials):
    from agent.clouds import est

    config, keys = agent.config, agent.platform.keys
    headers = {"Content-Type": "application/json"}
    nonce = est.nonce((yield from certificate.post(agent, NONCE_PATH, headers, b"{}")))
    name = "%s/%s" % (config["product_key"], config["device_key"])
    statement = keys.attest_begin(label, nonce, name.encode() + b"\x00" + hashlib.sha256(csr).digest())
    if not statement["ek_cert"]:
        raise RefusedError("tpm_unvouched", "its maker left no certificate in this TPM")
    statement["nonce"] = nonce
    statement["csr"] = _text(csr)
    proof = dict(headers)
    if credentials is None:
        proof["Authorization"] = est.basic(name, agent.device_secret())  # no label names the product here
    yield 0
    answer = yield from certificate.post(agent, PATH, proof, json.dumps(statement).encode(), credentials)
    session, credential, secret = _challenge(answer)
    opened = keys.activate_credential(credential, secret)
    yield 0
    body = json.dumps({"secret": _text(opened)}).encode()
    return (yield from certificate.post(agent, PATH + "/" + session, headers, body, credentials))


def _challenge(answer):
    try:
        told = json.loads(answer)
        session = told["session"]
        if not 0 < len(session) <= MAX_SESSION or [c for c in session if c not in _SESSION]:
            raise ValueError
        return session, binascii.a2b_base64(told["credential"]), binascii.a2b_base64(told["secret"])
    except (ValueError, KeyError, TypeError):
        raise RefusedError("attestation", "the server's answer is no credential for a TPM")


def _text(data):
    return binascii.b2a_base64(data).decode().strip()
