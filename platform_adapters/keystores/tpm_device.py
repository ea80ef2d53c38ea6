# SPDX-License-Identifier: MIT
"""What a TPM gives a device, as the ports that the agent asks for: keys, floor, chance, and a store around the store.

Rules it keeps
  * The device secret is sealed: under the TPM's storage key, without PCRs, which
    an update of the system would change.  A record from before the TPM is read
    as it is, and sealed when it is saved next.
  * A certificate whose file is lost comes from the TPM's memory, if it is for
    the key of its label.
  * Random bytes are those of the system and those of the TPM, together: neither
    alone has to be good.  The system's do when the TPM does not answer.
"""

from __future__ import annotations

import json
import os
from typing import Any

from agent.errors import AgentError, DeviceError, MisuseError, RefusedError
from platform_adapters.keystores import tpm, tpm_attest, tpm_nv
from platform_adapters.keystores.store import KeyStore
from platform_adapters.keystores.tpm_link import Link
from platform_adapters.ports import Store

SEALED = ("secret",)
SEALED_BYTES = 128  # that a TPM takes
MIXED_BYTES = 16  # from here on the TPM is asked; less is a pause's jitter
_MARK = b"trueboot-sealed\n"
_SEAL = "fixedtpm|fixedparent|userwithauth|noda"


class TpmKeys(KeyStore):
    """A `KeyStore` whose keys can be attested, and which remembers certificates."""

    def __init__(self, folder: str, link: Link):
        self._tpm = tpm.TpmBackend(folder, link)
        super().__init__(self._tpm)
        self._link = link
        self._attestation: Any = None

    def attest_begin(self, label: str, nonce: str, binding: bytes) -> dict[str, Any]:
        blob, where = self._tpm.blob(label), self._tpm.file(label)
        told, self._attestation = self._link.run(tpm_attest.begin, blob, where, nonce, binding)
        return told

    def activate_credential(self, credential: bytes, secret: bytes) -> bytes:
        if self._attestation is None:
            raise MisuseError("attest_order", "activate_credential follows attest_begin")
        return self._link.run(tpm_attest.activate, self._attestation, credential, secret)

    def keep(self, label: str, chain: bytes) -> None:
        if label in tpm_nv.CERTIFICATES:
            self._link.run(tpm_nv.keep, label, chain)


class TpmStore:
    """A store whose secrets are sealed, and whose certificates have a copy in the TPM."""

    def __init__(self, inner: Any, keys: TpmKeys, link: Link):
        self.folder = inner.folder
        self._inner: Store = inner
        self._keys = keys
        self._link = link

    def load(self, name: str) -> bytes | None:
        data = self._inner.load(name)
        if data is None:
            return self._recall(name)
        if name not in SEALED or not data.startswith(_MARK):
            return data
        where = self.folder + "/" + name
        blob = tpm.unpacked(data[len(_MARK) :], where)
        return self._link.run(_unseal, blob, where)

    def save(self, name: str, data: bytes) -> None:
        if name in SEALED:
            if len(data) > SEALED_BYTES:
                raise MisuseError("record_size", "%s: a TPM seals at most %d bytes" % (name, SEALED_BYTES))
            data = _MARK + json.dumps(self._link.run(_seal, data)).encode()
        self._inner.save(name, data)

    def drop(self, name: str) -> None:
        label = _label(name)
        if label:
            self._link.run(tpm_nv.forget, label)  # first: what is dropped must not come back
        self._inner.drop(name)

    def _recall(self, name: str) -> bytes | None:
        label = _label(name)
        if not label or not self._keys.has(label):
            return None
        from agent.wire import x509

        data = self._link.run(tpm_nv.recall, label)
        try:
            return data if data and x509.read(data[: _first(data)]).public == self._keys.public(label) else None
        except RefusedError:
            return None


class TpmChance:
    def __init__(self, link: Link):
        self._link = link

    def random(self, size: int) -> bytes:
        ours = os.urandom(size)
        if size < MIXED_BYTES:
            return ours
        try:
            theirs = self._link.run(_random, size)
        except AgentError:
            return ours
        return bytes(one ^ other for one, other in zip(ours, theirs, strict=True))


def _label(name: str) -> str:
    label = name[5:] if name.startswith("cert.") else ""
    return label if label in tpm_nv.CERTIFICATES else ""


def _first(chain: bytes) -> int:
    """Bytes of the first DER element."""
    width = chain[1] & 0x7F if len(chain) > 1 and chain[1] & 0x80 else 0
    return 2 + width + (int.from_bytes(chain[2 : 2 + width], "big") if width else chain[1])


def _seal(esapi: Any, data: bytes) -> dict[str, str]:
    return tpm.packed(esapi, *tpm.create(esapi, "keyedhash", _SEAL, data=data))


def _unseal(esapi: Any, blob: dict[str, str], where: str) -> bytes:
    with tpm.load(esapi, blob, where) as item:
        return bytes(esapi.unseal(item))


def _random(esapi: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = bytes(esapi.get_random(min(32, size - len(data))))
        if not piece:
            raise DeviceError("tpm_failed", "the TPM has no random bytes")
        data += piece
    return data
