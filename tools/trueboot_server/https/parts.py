# SPDX-License-Identifier: MIT
"""What the HTTPS side is made of, handed to every road of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ..attestation.sessions import Sessions
from ..ca import Authority
from ..ca.crl import Crls
from ..ca.ocsp import Responder
from ..credentials import Credentials
from ..decada.desk import DecadaDesk
from ..limits import Limits
from ..log import Log
from ..nonces import Nonces
from ..proofs import FailedProofs
from ..repo.encodings import Encodings
from ..repo.repository import Repository
from ..store import Store


@dataclass
class Parts:
    store: Store
    authority: Authority
    credentials: Credentials
    desk: DecadaDesk
    repository: Repository
    encodings: Encodings
    proofs: FailedProofs
    limits: Limits
    log: Log
    nonces: Nonces
    nonce_asks: FailedProofs  # how often an address asked for one
    attestations: Sessions
    ek_roots: Path  # the folder of makers of TPMs that are trusted
    base_url: str = ""  # known when the port is
    certify_server: Callable[[], None] = lambda: None  # gets the server another certificate if it needs one

    def __post_init__(self) -> None:
        self.crls = Crls(self.authority, self.limits.crl_life_s)
        self.responder = Responder(self.authority, self.limits.ocsp_life_s)


PARTS: web.AppKey[Parts] = web.AppKey("parts", Parts)
