# SPDX-License-Identifier: MIT
"""What the HTTPS side is made of, handed to every road of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from ..attestation.sessions import Sessions
from ..ca import Authority
from ..ca.crl import Crls
from ..ca.ocsp import Responder
from ..credentials import Credentials
from ..fleet.desk import FleetDesk
from ..limits import Limits
from ..log import Log
from ..metrics import Metrics
from ..nonces import Nonces
from ..proofs import FailedProofs
from ..repo.encodings import Encodings
from ..repo.repository import Repository
from ..store import Store
from ..store.kept import Memory
from ..store.schema import attempts, devices, jobs, members, packages, products, releases


@dataclass
class Parts:
    store: Store
    authority: Authority
    credentials: Credentials
    desk: FleetDesk
    repository: Repository
    encodings: Encodings
    proofs: FailedProofs
    limits: Limits
    log: Log
    nonces: Nonces
    nonce_asks: FailedProofs  # how often an address asked for one
    attestations: Sessions
    package_files: Path  # the folder of packages' files
    ek_roots: Path  # the folder of makers of TPMs that are trusted
    metrics: Metrics = field(default_factory=Metrics)
    metrics_open: bool = False  # /metrics asks for no token
    base_url: str = ""  # known when the port is
    certify_server: Callable[[], None] = lambda: None  # gets the server another certificate if it needs one
    stream: type[web.StreamResponse] = web.StreamResponse  # what files are sent by; another one with `faults`
    asked: FailedProofs = field(init=False)  # questions for a certificate's standing, per address

    registrations: FailedProofs = field(init=False)  # as esthesis's devices do, per address

    def __post_init__(self) -> None:
        limits = self.limits
        self.registrations = FailedProofs(
            limits.registrations, limits.registrations_window_s, limits.failed_proofs_addresses
        )
        # (device, version) of questions that were answered "nothing newer": true until one of these tables is written.
        self.nothing_newer: Memory[bool] = self.store.memory(
            attempts, devices, jobs, members, packages, products, releases
        )
        self.heard: Memory[int] = Memory()  # when a device's last question was written down
        self.crls = Crls(self.authority, limits.crl_life_s)
        self.responder = Responder(self.authority, limits.ocsp_life_s)
        self.asked = FailedProofs(limits.status_questions, limits.status_window_s, limits.failed_proofs_addresses)

    def image_of(self, sha256: str) -> Path | None:
        """A published image, or a package's file, by its hash."""
        path = self.repository.image_file(sha256) or self.package_files / sha256
        return path if path.is_file() else None


PARTS: web.AppKey[Parts] = web.AppKey("parts", Parts)
