# SPDX-License-Identifier: MIT
"""What a TPM says of a key in it, and how it shows that it is the TPM that its maker's certificate is for.

The statement is TPM2_Certify over the device key by an attestation key: a
restricted one, which signs nothing but what the TPM itself has made.  That this
key and the endorsement key are in one TPM is shown by TPM2_ActivateCredential:
only that TPM reads what the server has encrypted for both.
Source: TPM 2.0, part 1, 24; IEEE 802.1AR; TCG "TPM 2.0 Keys for Device Identity and Attestation", 6.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from platform_adapters.keystores import tpm, tpm_ek

_RESTRICTED = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda"


def begin(esapi: Any, blob: dict[str, str], where: object, nonce: str, binding: bytes) -> tuple[dict[str, Any], Any]:
    """(the members of the request, the attestation key for `activate`)."""
    from tpm2_pytss import TPM2_ALG, TPMT_SIG_SCHEME

    endorsement, _, _ = esapi.read_public(tpm_ek.load(esapi))
    private, public = tpm.create(esapi, "ecc256", _RESTRICTED, ":ecdsa-sha256:null")
    qualifying = hashlib.sha256(nonce.encode() + b"\x00" + binding).digest()
    with esapi.load(tpm.parent(esapi), private, public) as signer, tpm.load(esapi, blob, where) as key:
        statement, signature = esapi.certify(key, signer, qualifying, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL))
        subject, _, _ = esapi.read_public(key)
    members = {
        "ek_cert": tpm_ek.certificate(esapi),
        "ek_public": endorsement.marshal(),
        "ak_public": public.marshal(),
        "key_public": subject.marshal(),
        "certify": statement.marshal(),
        "signature": signature.marshal(),
    }
    told: dict[str, Any] = {name: _text(data) for name, data in members.items()}
    told["ek_chain"] = [_text(der) for der in tpm_ek.chain(esapi)]
    return told, (private, public)


def activate(esapi: Any, attestation: Any, credential: bytes, secret: bytes) -> bytes:
    from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_SE, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPMA_OBJECT

    handle = tpm_ek.load(esapi)
    public, _, _ = esapi.read_public(handle)
    wrapped, _ = TPM2B_ID_OBJECT.unmarshal(credential)
    seed, _ = TPM2B_ENCRYPTED_SECRET.unmarshal(secret)
    with esapi.load(tpm.parent(esapi), *attestation) as signer:
        if public.publicArea.objectAttributes & TPMA_OBJECT.USERWITHAUTH:
            return bytes(esapi.activate_credential(signer, handle, wrapped, seed))
        # A key of the low range is used by the endorsement hierarchy's password only (EK profile, B.3.3).
        with esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, None, TPM2_ALG.SHA256) as session:
            esapi.policy_secret(ESYS_TR.ENDORSEMENT, session)
            return bytes(esapi.activate_credential(signer, handle, wrapped, seed, session2=session))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
