# SPDX-License-Identifier: MIT
"""The organisation's access key: its tokens, and the signatures of calls made with it (enos-decada, 8.1, 8.2, 8.4).

Rules kept:

- Every proof names a time; one that is too far from ours proves nothing, and an `encryption` counts once.
- Asked again, the token service gives the same token until its end.  A refreshed token keeps its own end.
- Proofs are compared in constant time, hex in either case.  All are plain digests over the secret key: that is EnOS's
  choice, and why the key is kept in clear.

Tokens and seen proofs are in memory: after a restart clients ask for a new token, as they do at its end.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from ..clock import now_ms
from ..limits import Limits
from .answers import (
    BAD_PARAMETER,
    BAD_PROOF,
    EMPTY_PARAMETER,
    REFRESH_FAILED,
    REPEATED,
    TOKEN_EXPIRED,
    UNKNOWN_KEY,
    EnosError,
)

_LIVE_TOKENS = 2  # the newest, and the one that it was refreshed from
_TIME_DIGITS = 16

Pairs = list[tuple[str, str]]


class Token(NamedTuple):
    text: str
    end_ms: int


def encryption(access_key: str, timestamp: str, secret_key: str) -> str:
    return hashlib.sha256(f"{access_key}{timestamp}{secret_key}".encode()).hexdigest()


def signature(token: str, pairs: Pairs, body: bytes, timestamp: str, secret_key: str) -> str:
    params = "".join(name + value for name, value in sorted(pairs))
    return hashlib.sha256(_bytes(token + params) + body + _bytes(timestamp + secret_key)).hexdigest()


def signature_of_2018(access_key: str, pairs: Pairs, body: bytes, secret_key: str) -> str:
    params = "".join(name + value for name, value in sorted(pairs))
    digest = hashlib.sha1(_bytes(access_key + params) + body + _bytes(secret_key), usedforsecurity=False)
    return digest.hexdigest().upper()


def readings(raw_query: str) -> list[Pairs]:
    """The ways to read a query: values decoded (which is what most clients sign), or as they were sent."""
    raw: Pairs = []
    for part in raw_query.split("&") if raw_query else ():
        name, _, value = part.partition("=")
        raw.append((name, value))
    if len({unquote(name) for name, _ in raw}) != len(raw):
        raise EnosError(BAD_PARAMETER, "a parameter occurs twice")
    found: list[Pairs] = []
    for read in (unquote, unquote_plus, str):
        pairs = [(read(name), read(value)) for name, value in raw]
        if pairs not in found:
            found.append(pairs)
    return found


class Access:
    def __init__(self, access_key: str, secret_key: str, limits: Limits, clock: Callable[[], int] = now_ms):
        self._access_key = access_key
        self._secret_key = secret_key
        self._limits = limits
        self._clock = clock
        self._tokens: list[Token] = []  # oldest first
        self._seen: OrderedDict[str, None] = OrderedDict()

    def get_token(self, access_key: str, proof: str, timestamp: str) -> tuple[str, int]:
        """(token, seconds that it has left)."""
        self._prove(access_key, proof, timestamp)
        newest = self._live()[-1:] or [self._make()]
        return newest[0].text, self._left_s(newest[0])

    def refresh(self, access_key: str, proof: str, timestamp: str, token: str) -> tuple[str, int]:
        self._prove(access_key, proof, timestamp)
        live = self._live()
        if not any(_same(known.text, token) for known in live):
            raise EnosError(REFRESH_FAILED, "the accessToken is not one that lives: get a new one")
        # Whoever refreshes the older one again has not heard of the newer.
        newest = self._make() if _same(live[-1].text, token) else live[-1]
        return newest.text, self._left_s(newest)

    def check_token(self, token: str) -> None:
        """Before a large body is read; it proves nothing yet."""
        if not any(_same(known.text, token) for known in self._live()):
            raise EnosError(TOKEN_EXPIRED, "the access token has expired or is unknown: get a new one")

    def check_call(self, token: str, proof: str, timestamp: str, queries: Iterable[Pairs], body: bytes) -> None:
        """EnosError unless this is a signed call of now."""
        for name, value in (("accesstoken", token), ("signature", proof), ("timestamp", timestamp)):
            if not value:
                raise EnosError(EMPTY_PARAMETER, f"the header apim-{name} is missing")
        self._check_time(timestamp)
        self.check_token(token)
        made = [signature(token, pairs, body, timestamp, self._secret_key) for pairs in queries]
        if not _is_one_of(proof, made):
            raise EnosError(BAD_PROOF, "apim-signature is wrong", guess=True)

    def check_call_of_2018(self, queries: Iterable[Pairs], body: bytes) -> None:
        """The same for the interface of 2018: a digest over access key, parameters and body, in the query."""
        proof, made = "", []
        for pairs in queries:
            given = dict(pairs)
            for name in ("accessKey", "sign", "requestTimestamp"):
                if not given.get(name):
                    raise EnosError(EMPTY_PARAMETER, f"{name} is missing")
            self._check_time(given["requestTimestamp"])
            self._check_key(given["accessKey"])
            proof = given["sign"]
            signed = [pair for pair in pairs if pair[0] not in ("accessKey", "sign")]
            made.append(signature_of_2018(self._access_key, signed, body, self._secret_key))
        if not _is_one_of(proof, made):
            raise EnosError(BAD_PROOF, "sign is wrong", guess=True)

    def _prove(self, access_key: str, proof: str, timestamp: str) -> None:
        self._check_time(timestamp)
        self._check_key(access_key)
        expected = encryption(access_key, timestamp, self._secret_key)
        if not _same(expected, proof.lower()):
            raise EnosError(BAD_PROOF, "encryption is wrong", guess=True)
        if expected in self._seen:
            raise EnosError(REPEATED, "this encryption was used before: take the present time")
        self._seen[expected] = None
        while len(self._seen) > self._limits.enos_proofs:
            self._seen.popitem(last=False)

    def _check_key(self, access_key: str) -> None:
        if not _same(self._access_key, access_key):
            raise EnosError(UNKNOWN_KEY, "the access key is not known", guess=True)

    def _check_time(self, timestamp: str) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIME_DIGITS):
            raise EnosError(BAD_PARAMETER, "the timestamp is not milliseconds since 1970")
        if abs(int(timestamp) - self._clock()) > self._limits.enos_clock_s * 1000:
            raise EnosError(BAD_PARAMETER, f"the timestamp is off by more than {self._limits.enos_clock_s} s")

    def _live(self) -> list[Token]:
        self._tokens = [token for token in self._tokens if self._left_s(token) > 0]
        return self._tokens

    def _make(self) -> Token:
        token = Token(secrets.token_urlsafe(24), self._clock() + self._limits.enos_token_s * 1000)
        self._tokens = [*self._live(), token][-_LIVE_TOKENS:]
        return token

    def _left_s(self, token: Token) -> int:
        return (token.end_ms - self._clock() + 999) // 1000


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _is_one_of(proof: str, made: list[str]) -> bool:
    return any(_same(one.lower(), proof.lower()) for one in made)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # what came as bytes that are no UTF-8 goes into a digest as such
