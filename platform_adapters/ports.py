# SPDX-License-Identifier: MIT
"""The ports between the agent and a platform, as promises.

The agent asks for nothing but these objects; an adapter keeps these promises;
`tests/contract` checks them on every adapter.  Duck-typed: nobody needs to
inherit from these classes, and this file is in no board's manifest.

Every call is bounded in time.  Every failure is one of the errors of
`agent.errors`: `UnreachableError` for the network, `DeviceError` for the
device's own parts, `MisuseError` for a wrong call.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Protocol

Identity = tuple[str, list[bytes]]
"""A TLS client identity: the key's label in the key store, and the certificate chain in DER, leaf first."""


class Slots(Protocol):
    """Where images live.  Slots are named "a" and "b"; one runs, the other is spare."""

    kind: str
    """What images are here: "app" (a folder's files), "firmware" (of a microcontroller) or "system" (of a Linux).  One
    agent drives one kind, and takes no release of another."""

    def running(self) -> str: ...

    def spare(self) -> str: ...

    def state(self) -> dict[str, Any]:
        """{"confirmed": bool, "failure": str}: whether the running image is confirmed, and why the last trial ended, if known."""

    def capacity(self) -> int:
        """Bytes that the spare slot can take."""

    def release(self, slot: str) -> dict[str, Any] | None:
        """The note that `begin` (or the factory) left with the slot's image."""

    def begin(self, release: dict[str, Any]) -> None:
        """Empty the spare slot and note what it is for.  MisuseError("on_trial") while the running image is on trial."""

    def filled(self) -> int:
        """Bytes of the image that the spare slot durably holds; survives a reset, never counts a torn write."""

    def write(self, offset: int, data: bytes) -> None:
        """Append; `offset` must equal what was written so far.  `data` stays the caller's: it may be a view, and is not kept.

        RefusedError for an image that breaks its format.
        """

    def sync(self) -> None:
        """Make all that was written durable."""

    def read(self, slot: str, offset: int, size: int) -> bytes:
        """Bytes of the image as it was written, at most `size`; b"" at its end."""

    # Optional: def digest(self, slot: str) -> tuple[int, bytes] | None
    #     (bytes, SHA-256) of the whole image as `read` would give it, read back beside the download; None: ask again.

    # Optional: at_install: bool
    #     True where the running image changes while it runs (a root file system that is written to): it is then not
    #     measured again, and reports give the hash that was verified before it was activated.

    def activate(self) -> None:
        """The next reset boots the spare slot on trial; unconfirmed it falls back by itself."""

    def confirm(self) -> None:
        """The running image stays.  Idempotent."""

    def rollback(self) -> None:
        """The next reset boots the other slot.  Only while the running image is on trial, else no effect."""


class Store(Protocol):
    """Small named records.  Names: [a-z0-9._-]{1,32}."""

    def load(self, name: str) -> bytes | None: ...

    def save(self, name: str, data: bytes) -> None:
        """All or nothing across a power cut; durable when it returns; 0600 where the system has modes."""

    def drop(self, name: str) -> None: ...


class Keys(Protocol):
    """P-256 keys that never leave the store."""

    def has(self, label: str) -> bool: ...

    def make(self, label: str) -> None:
        """Make a key unless the label has one.  Durable when it returns."""

    def public(self, label: str) -> bytes:
        """Uncompressed point, 65 bytes, 0x04 first (SEC 1, 2.3.3)."""

    def sign(self, label: str, message: bytes) -> bytes:
        """ECDSA with SHA-256 over `message`; r and s, 32 bytes each, big-endian (RFC 7518, 3.4)."""

    def drop(self, label: str) -> None: ...

    def attach(self, context: ssl.SSLContext, label: str, chain: list[bytes]) -> None:
        """CPython only.  Key and chain (DER, leaf first) become what `context` shows of itself; ssl.SSLError when they do
        not fit, DeviceError("tls_road") when this machine has no way to use the key for TLS."""

    def tls_road(self) -> str:
        """CPython only.  How TLS uses the keys here: "file", "signer" or "provider"."""

    # Where the key can be attested (a TPM), the two halves of it; see agent/tasks/attest.py:
    # Optional: def attest_begin(self, label: str, nonce: str, binding: bytes) -> dict[str, Any]
    #     Certificates and publics of the TPM's keys, and its statement that the key under `label` lives in it; the
    #     statement holds SHA-256(nonce, 0x00, binding).  Bytes are in base64, names as on the wire.
    # Optional: def activate_credential(self, credential: bytes, secret: bytes) -> bytes
    #     What only the TPM of the last `attest_begin` can read.
    # Where a key from outside may be taken in (SECURITY: an esthesis service's own, under a label of its own):
    # Optional: def adopt(self, label: str, private: bytes) -> None
    #     Keep the RSA-2048 key (PKCS #8, DER) under the label, as private as the others.  RefusedError("rsa_key").
    # Optional: def sign_rsa(self, label: str, message: bytes) -> bytes
    #     RSASSA-PKCS1-v1_5 with SHA-256; verified before it is given.  DeviceError("rsa_fault").
    # Where certificates outlive a lost file:
    # Optional: def keep(self, label: str, chain: bytes) -> None
    #     The chain was accepted by a server: remember it.  The store gives it back when its file is lost.


class Floor(Protocol):
    """Optional port `floor`: a security floor that no restored backup takes back."""

    def read(self) -> int:
        """0 before the first `raise_to`."""

    def raise_to(self, floor: int) -> None:
        """Never lowers it."""


class Mqtt(Protocol):
    """One MQTT 3.1.1 session over TLS; the server's certificate and name are always verified."""

    # Optional: plaintext: bool
    #     False.  Set to True by the agent alone, under `mqtt_plaintext`: then there is no TLS, and no identity.

    def connect(
        self,
        host: str,
        port: int,
        client_id: str,
        username: str,
        password: str,
        keepalive_s: int,
        identity: Identity | None,
    ) -> None:
        """Handshake and CONNACK, within the adapter's time limit.  RefusedError("mqtt_refused") when the server says no."""

    def subscribe(self, topics: list[str]) -> int:
        """QoS 1 for all; returns the packet id that a later ("subscribed", id, granted) names."""

    def publish(self, topic: str, payload: bytes, qos: int) -> int:
        """Hand over one message; returns the packet id that a later ("acked", id) names; 0 for QoS 0."""

    def poll(self, timeout_ms: int) -> tuple | None:
        """Wait for at most `timeout_ms`: ("message", topic, payload), ("acked", id), ("subscribed", id, granted) with
        `granted` a list of codes, ("closed", code, detail), or None.  Keeps the session alive; after "closed" only connect() is of use."""

    def close(self) -> None: ...


class Response(Protocol):
    """An HTTP answer whose body is read piecemeal."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""

    def read(self, size: int) -> bytes | None:
        """At most `size` bytes; None when nothing is there yet (ask again later); b"" at the end.  UnreachableError
        when the peer is silent for too long, or ends before Content-Length is met."""

    def close(self) -> None: ...


class Http(Protocol):
    """HTTP/1.1 over TLS; no redirects are followed: the caller decides."""

    def open(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        identity: Identity | None,
    ) -> Response:
        """Send the request and read the answer's head.  Only https URLs."""


class Clock(Protocol):
    def ticks_ms(self) -> int:
        """Milliseconds from an arbitrary start; never goes back, never wraps."""

    def sleep_ms(self, duration_ms: int) -> None: ...

    def wall(self) -> int:
        """Seconds since 1970 (UTC), never before the floor."""

    def set_floor(self, seconds: int) -> None:
        """From now on `wall` is never before `seconds`; a later call may lower that.  Kept in RAM: the agent stores the floor."""

    # Optional, where the system does not look after its clock itself: def set(self, seconds: int) -> None
    #     From now on, and for this boot, it is `seconds` since 1970: for `wall`, and for what TLS takes for the time.


class Power(Protocol):
    def reboot(self, reason: str) -> None:
        """Does not return."""

    def cause(self) -> str:
        """Why the device started: "power", "reset", "watchdog" or "unknown"."""

    def feed(self) -> None:
        """Feed the watchdog, if there is one."""


class Chance(Protocol):
    def random(self, size: int) -> bytes:
        """Cryptographically strong."""


class Message(Protocol):
    """What was signed; `agent.crypto.verify.Whole` is one for bytes in memory."""

    def sha256(self) -> bytes: ...

    def emit(self, update: Callable[[bytes], object]) -> None:
        """Call `update(piece)` for all of its bytes, in order; any number of times."""


class Platform(Protocol):
    config: dict[str, Any]
    slots: Slots
    store: Store
    keys: Keys
    mqtt: Mqtt
    http: Http
    clock: Clock
    power: Power
    chance: Chance

    def anchors(self) -> list[bytes]:
        """The trust anchors of TLS and of the device's own certificate, in DER: the provisioned ones first."""

    def anchors_kept(self) -> list[bytes]:
        """Those beside the provisioned ones."""

    def keep_anchors(self, kept: list[bytes]) -> None:
        """From now on these are trusted beside the provisioned ones, until those are others.  Durable when it returns."""

    def root(self) -> bytes:
        """The provisioned TUF root metadata, verbatim."""

    def verify(self, key_type: str, scheme: str, public: bytes, message: Message, signature: bytes) -> bool:
        """True only for a valid signature of `message`.  Never raises for what it does not know or cannot read: an
        unknown key type or scheme is False.  By key type and scheme, which are TUF's words:

        "ecdsa" or, in older repositories, "ecdsa-sha2-nistp256"; "ecdsa-sha2-nistp256"
            public: the uncompressed point, 65 bytes; signature: DER
        "ed25519"; "ed25519"
            public: 32 bytes; signature: 64 bytes
        "rsa"; "rsassa-pss-sha256"
            public: SubjectPublicKeyInfo in DER, 2048 to 4096 bits; signature: as long as the modulus, salt of any length
        """

    # Optional, beside a clock that can be set: def datagram(self, host: str, port: int, data: bytes) -> bytes
    #     Send `data` by UDP; the first datagram that comes back from there within some seconds, else UnreachableError.

    # Optional: lists, where TLS can look at revocation lists of the server's certificate; see linux_lists.Lists

    def requested(self) -> bool:
        """Optional.  Whether somebody beside the app may have asked for a file to be installed: the agent then looks at its
        store's record "install".  Cheap: it is asked at every turn."""

    # Optional: def health(self) -> dict[str, int | float]
    #     Bytes of memory (memoryTotal, memoryUsed, memoryFree) and load (loadAverage1, 5, 15), as far as they are known.

    def idle(self, busy: bool = False) -> None:
        """Optional.  Nothing is under way: let go of what can be made again at its next use; `busy`: of what a task in the
        middle of its work comes back to by name alone, such as the store, not of slots or a connection."""

    def log(self, event: str, fields: dict[str, Any]) -> None: ...
