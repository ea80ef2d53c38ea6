# SPDX-License-Identifier: MIT
"""The port `keys` for keys that never come out of something else: a TPM today, PKCS #11 or a secure element tomorrow.

A backend keeps P-256 keys under labels and signs digests; `sign_digest` is the
only cryptography that it has to know.  What the agent wants on top is made
here: signatures in the form of JOSE, and the key as that of an
`ssl.SSLContext`.  Roads from a context to the key, the first that works here:
  "signer"    OpenSSL asks us for each signature (`tls_signer`)
  "provider"  the backend's OpenSSL provider holds the key (`tls_provider`)
None: DeviceError("tls_road").  There is no road that takes the key out.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from typing import Protocol

from agent.errors import DeviceError
from agent.wire import ecdsa
from platform_adapters.keystores import tls_provider, tls_signer
from platform_adapters.keystores.tls_signer import Unsupported

ROADS = ("signer", "provider")


class Backend(Protocol):
    def has(self, label: str) -> bool: ...

    def make(self, label: str) -> None: ...

    def public(self, label: str) -> bytes: ...

    def drop(self, label: str) -> None: ...

    def sign_digest(self, label: str, digest: bytes) -> bytes:
        """ECDSA over a digest of any length (its first 32 bytes count, SEC 1, 4.1.3); r and s, 32 bytes each."""

    # Optional: def provider(self, label: str) -> tls_provider.Provider
    #     What an OpenSSL provider needs to use the key by itself.


class KeyStore:
    def __init__(self, backend: Backend, roads: tuple[str, ...] = ROADS):
        self.backend = backend
        self.has, self.make, self.public = backend.has, backend.make, backend.public
        self._roads = roads
        self._signers: dict[bytes, tls_signer.Signer] = {}  # by public point: a key is given to OpenSSL once
        self._took = ""

    def sign(self, label: str, message: bytes) -> bytes:
        return self.backend.sign_digest(label, hashlib.sha256(message).digest())

    def drop(self, label: str) -> None:
        self.backend.drop(label)

    def attach(self, context: ssl.SSLContext, label: str, chain: list[bytes]) -> None:
        """The key under `label` and the chain (DER, leaf first) become what `context` shows of itself."""
        reasons = []
        for road in self._roads:
            try:
                _ATTACH[road](self, context, label, chain)
            except Unsupported as error:
                reasons.append("%s: %s" % (road, error))
            else:
                self._took = road
                return
        raise DeviceError(
            "tls_road", "no way from OpenSSL to the key %r on this machine (%s)" % (label, "; ".join(reasons))
        )

    def tls_road(self) -> str:
        """The road that the last `attach` took; before the first, the one that would be tried first."""
        return self._took or self._roads[0]

    def _by_signer(self, context: ssl.SSLContext, label: str, chain: list[bytes]) -> None:
        point = self.backend.public(label)
        if point not in self._signers:
            self._signers[point] = tls_signer.Signer(point, self._signing(label))
        self._signers[point].attach(context, chain)

    def _signing(self, label: str) -> Callable[[bytes], bytes]:
        return lambda digest: ecdsa.signature_to_der(self.backend.sign_digest(label, digest))

    def _by_provider(self, context: ssl.SSLContext, label: str, chain: list[bytes]) -> None:
        offer = getattr(self.backend, "provider", None)
        if offer is None:
            raise Unsupported("this key store has none")
        tls_provider.attach(context, offer(label), chain)


_ATTACH = {"signer": KeyStore._by_signer, "provider": KeyStore._by_provider}
