# SPDX-License-Identifier: MIT
"""A command down to a device, and its reply: `thing.service.{name}` (enos-decada, 5).

A reply without a code, or with 0, which the SDKs' builders write when nobody sets one, means 200.

Nothing of it is durable: who asked is still waiting, or has been told that the device is silent.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any

from ..errors import ApiError
from ..fleet.dialect import DECADA
from ..limits import Limits
from ..names import Identity
from . import envelope

Push = Callable[[Identity, str, bytes], bool]

_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_RESERVED = ("measurepoint/set", "measurepoint/get")


def is_service(name: object) -> bool:
    """A service id must not end in "_reply": its topic would be another's answer."""
    if not isinstance(name, str) or name.endswith("_reply"):
        return False
    return name in _RESERVED or _SERVICE.match(name) is not None


class Commands:
    """Commands on their way, and who waits for each."""

    def __init__(self, push: Push, dialect_of: Callable[[Identity], str], limits: Limits):
        self._push = push
        self._dialect_of = dialect_of
        self._limits = limits
        self._waiting: dict[Identity, dict[str, asyncio.Future[envelope.Envelope]]] = {}
        self._last = secrets.randbelow(2**30)

    async def invoke(self, identity: Identity, service: str, params: Any, timeout_s: float) -> tuple[int, Any, str]:
        """(code, data, message) of the device's reply; ApiError when there is none."""
        if self._dialect_of(identity) != DECADA:
            raise ApiError(
                409,
                "wrong_dialect",
                "the device speaks esthesis, which has no services",
                "Its commands: trueboot esthesis command.",
            )
        waiting = self._waiting.setdefault(identity, {})
        if len(waiting) >= self._limits.commands_pending_per_device:
            raise ApiError(429, "too_many_commands", "the device has not answered earlier commands", "Wait for them.")
        self._last += 1
        number = str(self._last)
        topic = f"/sys/{identity.product_key}/{identity.device_key}/thing/service/{service}"
        method = "thing.service." + service.replace("/", ".")
        future = waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._push(identity, topic, envelope.request(number, method, params)):
                raise ApiError(409, "device_offline", "the device is not connected", "Send the command when it is.")
            async with asyncio.timeout(timeout_s):
                reply = await future
        except TimeoutError as error:
            raise ApiError(
                504,
                "device_silent",
                f"the device did not answer within {timeout_s:g} s",
                "Try again, or look at its log.",
            ) from error
        finally:
            waiting.pop(number, None)
            if not waiting:
                self._waiting.pop(identity, None)
        return reply.code or envelope.OK, reply.data, reply.message

    def answered(self, identity: Identity, reply: envelope.Envelope) -> None:
        """A device's reply; one that nobody waits for is dropped."""
        future = self._waiting.get(identity, {}).get(str(reply.id))
        if future is not None and not future.done():
            future.set_result(reply)
