# SPDX-License-Identifier: MIT
"""What a dialect is to the server: who speaks it, who of them is let in, what they mean, and how they are told to update.

One dialect a product (`products.dialect`).  A dialect knows its words and no socket; `fleet.desk` owns the endpoint.
"""

from __future__ import annotations

from typing import Protocol

from ..mqtt.codec import Connect
from ..mqtt.desk import Admitted, Message, Peer, Refused
from ..names import Identity

DECADA = "decada"
ESTHESIS = "esthesis"


class Dialect(Protocol):
    name: str

    def speaks(self, connect: Connect) -> bool:
        """Whether a CONNECT is in this dialect, by its form alone."""

    def admit(self, peer: Peer, connect: Connect) -> Admitted | Refused:
        """See `mqtt.desk.Desk`; so are the next three."""

    def connected(self, admitted: Admitted) -> list[Message]: ...

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]: ...

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]: ...

    def due(self, identity: Identity) -> list[Message]:
        """What a connected device is to be told now of its job, written down as pushed."""
