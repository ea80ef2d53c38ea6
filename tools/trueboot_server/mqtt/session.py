# SPDX-License-Identifier: MIT
"""What the server holds for one device: its subscriptions, and QoS 1 messages on their way to it.

A session belongs to an identity, never to a client id.  With clean_session=0 it outlives the connection (in
memory only: after a restart CONNACK says that there is none, and what must not be lost is in the database).
Everything is bounded; a message that finds no room is refused to its sender, who knows what to do.
"""

from __future__ import annotations

from collections import deque

from ..limits import Limits
from . import codec, topics


class Session:
    def __init__(self, limits: Limits):
        self._limits = limits
        self._filters: dict[str, int] = {}
        self._inflight: dict[int, tuple[str, bytes]] = {}
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._last_id = 0

    def subscribe(self, topic_filter: str, qos: int) -> int:
        """The return code for SUBACK (3.9.3)."""
        full = topic_filter not in self._filters and len(self._filters) >= self._limits.subscriptions
        if full or len(topic_filter) > self._limits.filter_bytes:
            return codec.SUBSCRIBE_FAILED
        self._filters[topic_filter] = min(qos, 1)
        return self._filters[topic_filter]

    def unsubscribe(self, topic_filter: str) -> None:
        self._filters.pop(topic_filter, None)

    def qos_for(self, topic: str, unasked: bool = True) -> int | None:
        """QoS with which `topic` reaches the device, once however many filters match; None when it does not.

        `unasked`: commands do without a subscription.
        """
        granted = [qos for wanted, qos in self._filters.items() if topics.matches(wanted, topic)]
        if granted:
            return max(granted)
        return None if topics.is_reply(topic) or not unasked else 1

    def accept(self, topic: str, payload: bytes) -> bool:
        """Take a QoS 1 message into the queue, if there is room."""
        limits = self._limits
        if len(self._queue) >= limits.queue_messages or self._queued_bytes + len(payload) > limits.queue_bytes:
            return False
        self._queue.append((topic, payload))
        self._queued_bytes += len(payload)
        return True

    def due(self) -> list[bytes]:
        """Packets that may be sent now."""
        packets = []
        while self._queue and len(self._inflight) < self._limits.inflight_messages:
            topic, payload = self._queue.popleft()
            self._queued_bytes -= len(payload)
            packet_id = self._free_id()
            self._inflight[packet_id] = (topic, payload)
            packets.append(codec.publish(topic, payload, 1, packet_id))
        return packets

    def again(self) -> list[bytes]:
        """On a new connection: what was sent and not acknowledged, marked as a repetition (4.4)."""
        return [codec.publish(topic, payload, 1, i, True) for i, (topic, payload) in self._inflight.items()]

    def acknowledged(self, packet_id: int) -> None:
        self._inflight.pop(packet_id, None)

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self._inflight:
                return self._last_id
