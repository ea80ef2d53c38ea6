# SPDX-License-Identifier: MIT
"""P-256 keys that were born in a TPM 2.0 and cannot leave it: the backend of `store.KeyStore`.

What lies in the state folder is a blob, a file a label: the public key, and the
private one encrypted by this TPM under its storage root key.  fixedTPM,
fixedParent and sensitiveDataOrigin: no other TPM loads it, nobody can duplicate
it, and it was not brought in from outside (TPM 2.0, part 1, 23 and 25).

Rules it keeps
  * Nothing durable in the TPM belongs to one key.  The parent (0x81000001, the
    TCG's ECC template) and the endorsement key are made of the TPM's own seeds:
    made again, they are the same.  So a cut before the blob's file leaves nothing.
  * A blob appears whole or not at all, and is never replaced (see `keyfile`).
  * Keys have no password and no dictionary-attack protection: nobody would be
    there to type one, and nobody can lock them.
  * A blob names its parent and its TPM: a blob that does not load is told apart
    as that of a cleared TPM, of another TPM, or damaged.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from agent.errors import DeviceError, MisuseError
from platform_adapters.keystores import keyfile, tpm_ek
from platform_adapters.keystores.tls_provider import Provider
from platform_adapters.keystores.tpm_link import HANDLE, INTEGRITY, Link, base, library, passing

PARENT = 0x81000001  # TCG, "TPM v2.0 Provisioning Guidance", 7.5.1
PROVIDER = "tpm2"  # of OpenSSL: tpm2-openssl
BLOB_BYTES = 4096
_LIBRARY = (7, 8, 9)  # layers of tpm2-tss: ESAPI, SAPI, MU
_BAD = (0x05, 0x06, 0x0B)  # bad reference, insufficient buffer, bad value: of tss2_common.h
_KNOWN = "trueboot_parent"  # of a connection: an attribute of its ESAPI
_KEY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
_STORAGE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"


class TpmBackend:
    def __init__(self, folder: str | Path, link: Link):
        self.folder = Path(folder)
        self.link = link

    def has(self, label: str) -> bool:
        return self.file(label).exists()

    def make(self, label: str) -> None:
        if self.has(label):
            return
        blob = self.link.run(_create)
        data = json.dumps(blob).encode()
        keyfile.put(self.file(label), data)

    def public(self, label: str) -> bytes:
        library()
        _, public = _parts(self.blob(label), self.file(label))
        return point(public)

    def drop(self, label: str) -> None:
        keyfile.remove(self.file(label))

    def sign_digest(self, label: str, digest: bytes) -> bytes:
        return self.link.run(_sign, self.blob(label), self.file(label), digest[:32].rjust(32, b"\x00"))

    def provider(self, label: str) -> Provider:
        from tpm2_pytss.tsskey import TSSPrivKey

        private, public = _parts(self.blob(label), self.file(label))
        pem = TSSPrivKey(private, public, empty_auth=True, parent=PARENT).to_pem().decode()
        return Provider(PROVIDER, {"TPM2OPENSSL_TCTI": self.link.tcti}, pem)

    def file(self, label: str) -> Path:
        return keyfile.path(self.folder, label, ".tpm")

    def blob(self, label: str) -> dict[str, str]:
        try:
            with self.file(label).open("rb") as file:
                return unpacked(file.read(BLOB_BYTES), self.file(label))
        except FileNotFoundError:
            raise MisuseError("no_key", "the key store has no key %r" % label) from None
        except OSError as error:
            raise _damaged(self.file(label), error) from None


def parent(esapi: Any, fresh: bool = False) -> Any:
    """The persistent storage key, made if it is not there.  DeviceError when something else sits in its place.

    It is looked at once a connection, unless `fresh`: a chip takes its time for each command.
    """
    if fresh or getattr(esapi, _KNOWN, None) is None:
        setattr(esapi, _KNOWN, _parent(esapi))
    return getattr(esapi, _KNOWN)


def _parent(esapi: Any) -> Any:
    from tpm2_pytss import ESYS_TR, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT, TPMT_PUBLIC

    with passing(HANDLE):
        handle = esapi.tr_from_tpmpublic(PARENT)
        public, _, _ = esapi.read_public(handle)
        attributes = public.publicArea.objectAttributes
        wanted = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT | TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT
        if attributes & wanted != wanted:
            raise DeviceError("tpm_failed", "what lies at 0x%x in the TPM is no storage key" % PARENT)
        return handle
    template = TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC.parse("ecc256:aes128cfb", objectAttributes=TPMA_OBJECT.parse(_STORAGE))
    )
    with esapi.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)[0] as made:
        return esapi.evict_control(ESYS_TR.OWNER, made, PARENT)


def create(esapi: Any, kind: str, attributes: str, scheme: str = "", data: bytes = b"") -> tuple[Any, Any]:
    """(private, public) of a new object under the parent, as the TPM gives them."""
    from tpm2_pytss import TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT, TPMS_SENSITIVE_CREATE, TPMT_PUBLIC

    template = TPM2B_PUBLIC(publicArea=TPMT_PUBLIC.parse(kind + scheme, objectAttributes=TPMA_OBJECT.parse(attributes)))
    sensitive = TPM2B_SENSITIVE_CREATE(sensitive=TPMS_SENSITIVE_CREATE(data=data))
    private, public, _, _, _ = esapi.create(parent(esapi), sensitive, template)
    return private, public


def _create(esapi: Any) -> dict[str, str]:
    private, public = create(esapi, "ecc256", _KEY)
    return packed(esapi, private, public)


def packed(esapi: Any, private: Any, public: Any) -> dict[str, str]:
    return {
        "public": base64.b64encode(public.marshal()).decode(),
        "private": base64.b64encode(private.marshal()).decode(),
        "parent": tpm_ek.name_of(esapi, parent(esapi)).hex(),
        "ek": tpm_ek.name(esapi).hex(),
    }


def unpacked(data: bytes, where: object) -> dict[str, str]:
    try:
        blob = json.loads(data)
        return {name: str(blob[name]) for name in ("public", "private", "parent", "ek")}
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(where, "no blob of a TPM (%s)" % type(error).__name__) from None


def load(esapi: Any, blob: dict[str, str], where: object) -> Any:
    """The loaded object, for `with`; DeviceError that says why this TPM does not load it."""
    from tpm2_pytss import TSS2_Exception

    private, public = _parts(blob, where)
    try:
        return esapi.load(parent(esapi), private, public)
    except TSS2_Exception as error:
        if not _unfit(int(error.rc)):
            raise
    if tpm_ek.name(esapi).hex() != blob["ek"]:
        raise DeviceError("tpm_swapped", "%s is of another TPM than the one in this device" % where)
    if tpm_ek.name_of(esapi, parent(esapi, fresh=True)).hex() != blob["parent"]:
        raise DeviceError("tpm_cleared", "%s was lost when this TPM was cleared" % where)
    raise _damaged(where, "the TPM finds it changed")


def _unfit(rc: int) -> bool:
    """Whether the TPM, or the library before it, finds that the blob's own bytes are wrong."""
    return base(rc) == INTEGRITY or (rc >> 16 in _LIBRARY and rc & 0xFFFF in _BAD) or rc & 0xFFC0 == 0xC0


def _sign(esapi: Any, blob: dict[str, str], where: object, digest: bytes) -> bytes:
    from tpm2_pytss import TPM2_ALG, TPM2_RH, TPM2_ST, TPMT_SIG_SCHEME, TPMT_TK_HASHCHECK

    scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.ECDSA)
    scheme.details.any.hashAlg = TPM2_ALG.SHA256
    outside = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)  # the digest was not made by the TPM
    with load(esapi, blob, where) as key:
        data = esapi.sign(key, digest, scheme, outside).marshal()
    # TPMT_SIGNATURE: algorithm, hash, r, s, the latter two behind their lengths.
    size = int.from_bytes(data[4:6], "big")
    r, s = data[6 : 6 + size], data[8 + size :]
    return r.rjust(32, b"\x00") + s.rjust(32, b"\x00")


def point(public: Any) -> bytes:
    unique = public.publicArea.unique.ecc
    return b"\x04" + bytes(unique.x).rjust(32, b"\x00") + bytes(unique.y).rjust(32, b"\x00")


def _parts(blob: dict[str, str], where: object) -> tuple[Any, Any]:
    from tpm2_pytss import TPM2B_PRIVATE, TPM2B_PUBLIC, TSS2_Exception

    try:
        private, _ = TPM2B_PRIVATE.unmarshal(base64.b64decode(blob["private"], validate=True))
        public, _ = TPM2B_PUBLIC.unmarshal(base64.b64decode(blob["public"], validate=True))
        return private, public
    except (ValueError, TSS2_Exception) as error:
        raise _damaged(where, error) from None


def _damaged(where: object, why: object) -> DeviceError:
    return DeviceError("key_store", "cannot read %s: %s" % (where, why))
