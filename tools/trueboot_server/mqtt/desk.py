# SPDX-License-Identifier: MIT
"""What stands behind the endpoint: who is let in, and what a message means.

The endpoint owns sockets, packets and sessions and asks these four questions; it knows no dialect, no
database and no certificate authority.  An external broker would be put in the endpoint's place, over the
same four.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..names import Identity
from . import topics
from .codec import Connect


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known about a connection before it says a word."""

    address: str
    certified: bool  # it came in where a client certificate is required
    serial: str | None  # of the certificate that the handshake proved
    encrypted: bool = True
    der: bytes = b""  # that certificate


@dataclass(frozen=True, slots=True)
class Admitted:
    identity: Identity
    activation: bool = False  # may do nothing but be activated
    answers_on: str = ""  # the one topic that an activation session may publish to
    by_password: bool = False  # no certificate stands behind it
    upgrades: bool = True  # it takes pushes of upgrades; else it asks for them
    dialect: str = "decada"
    own: tuple[str, ...] = ()  # all the topics that it has; none: the two trees of `topics`
    unasked: bool = True  # commands reach it without a subscription

    def owns(self, topic_or_filter: str) -> bool:
        if self.own:
            return topic_or_filter in self.own
        return topics.is_own(self.identity, topic_or_filter)


@dataclass(frozen=True, slots=True)
class Refused:
    code: int  # for CONNACK
    reason: str  # for the log


class Message(NamedTuple):
    topic: str
    payload: bytes


class Desk(Protocol):
    def admit(self, peer: Peer, connect: Connect) -> Admitted | Refused:
        """Decides before any session is looked up."""

    def connected(self, admitted: Admitted) -> list[Message]:
        """Called after CONNACK; what to push at once."""

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        """A message.  When this returns, what it says is committed and may be acknowledged; the result is the answer."""

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        """Called after SUBACK; what to push at once."""

    def gone(self, identity: Identity, reason: str) -> None:
        """The session of `identity` is no longer connected.  Not called when another connection takes over."""
