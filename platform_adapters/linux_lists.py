# SPDX-License-Identifier: MIT
"""Whether the *server's* certificate was revoked: its CA's lists, and a look at them in every handshake.

Rules it keeps
  * A certificate that a list names is refused for ever, however old that list is, before a byte is sent.
  * No list of that CA is known yet: open, and one is asked for.  A list whose next one is due: open, for GRACE_S.
    After that whoever keeps lists from the device has no more from it: nothing but the question for a list is sent.
  * A list replaces an older one of the same CA only.  The last MAX_LISTS CAs are remembered.

Why not OpenSSL's own check (VERIFY_CRL_CHECK_LEAF): it takes a list that is an hour late, and one that is not there because the
CA has a new issuing key, for the same failure as a revoked certificate.  A device that cannot tell these apart is either
cut off by them for good, or learns to overlook all three.

Which list is genuine is decided by the agent (`agent/tasks/lists.py`) before it is kept here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from agent.errors import RefusedError, UnreachableError
from agent.wire import crl, x509

RECORD = "crl"
MAX_LISTS = 3
GRACE_S = 7 * 86_400
LENGTH_BYTES = 4


class Lists:
    def __init__(self, store, wall: Callable[[], int]):
        self._store = store
        self._wall = wall
        self._known: list[tuple[crl.List, dict[int, str]]] | None = None
        self.forget: Callable[[], None] = lambda: None  # hang up what `asking` let through
        self.asking = False  # for a list: the one thing that goes to a server whose list is too old
        self.issuer = b""  # of the server's certificate that was met last, DER
        self.path = self.issuer_path = ""  # where its list is, and its issuer's certificate; "" when it does not say
        self.server = ""  # what the last handshake came to, for the log

    def known(self) -> list[tuple[crl.List, dict[int, str]]]:
        """Newest first: each list, and {serial: reason}."""
        if self._known is None:
            self._known = []
            data = self._store.load(RECORD) or b""
            while len(data) > LENGTH_BYTES:
                stop = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
                try:
                    found = crl.read(data[LENGTH_BYTES:stop])
                except RefusedError:
                    break  # spoilt; another one is asked for
                self._known.append((found, {serial: reason for serial, _, reason in crl.entries(found)}))
                data = data[stop:]
        return self._known

    def of(self, issuer: bytes) -> tuple[crl.List, dict[int, str]] | None:
        return next((one for one in self.known() if one[0].issuer == issuer), None)

    def keep(self, der: bytes) -> None:
        """A genuine list, from now on.  Durable when it returns."""
        found = crl.read(der)
        rest = [one for one in self._copies() if crl.read(one).issuer != found.issuer][: MAX_LISTS - 1]
        copies = [der, *rest]
        self._store.save(RECORD, b"".join(len(one).to_bytes(LENGTH_BYTES, "big") + one for one in copies))
        self._known = None

    def _copies(self) -> list[bytes]:
        data, copies = self._store.load(RECORD) or b"", []
        for _ in self.known():
            stop = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
            copies.append(data[LENGTH_BYTES:stop])
            data = data[stop:]
        return copies

    def judge(self, der: bytes, parts: dict[str, Any]) -> None:
        """After a handshake: `der`, the server's verified certificate; `parts`, what ssl says of it."""
        try:
            certificate = x509.read(der)
        except RefusedError as error:  # TLS has verified it: of a form that no CA of ours gives
            self.path, self.server = "", error.detail
            return
        self.issuer = certificate.issuer
        self.path, self.issuer_path = (_path(parts.get(name)) for name in ("crlDistributionPoints", "caIssuers"))
        known = self.of(certificate.issuer)
        if known is None:
            self.server = "no list yet"
            return
        found, revoked = known
        if certificate.serial in revoked:
            raise RefusedError("tls_revoked", "the server's certificate is revoked: %s" % revoked[certificate.serial])
        late = self._wall() - found.next_update
        self.server = "good" if late <= 0 else "good by an old list"
        if late > GRACE_S and not self.asking:
            raise UnreachableError(
                "crl_stale",
                "no new revocation list for %d days: it is kept away, or the clock is ahead" % (late // 86_400),
            )


def _path(urls: Any) -> str:
    """The path of the first address; where it lies is no matter, since it is signed, and the configured server has it."""
    for url in urls or ():
        path = urlsplit(url).path
        if path.startswith("/") and len(path) <= 200 and path.isascii() and path.isprintable():
            return path
    return ""


def checked(judge: Callable[[bytes, dict[str, Any]], None]) -> type[ssl.SSLSocket]:
    """A socket whose handshake ends with `judge`."""

    class Checked(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            try:
                judge(self.getpeercert(True) or b"", dict(self.getpeercert() or {}))
            except BaseException:
                self.close()
                raise

    return Checked
