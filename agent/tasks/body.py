# SPDX-License-Identifier: MIT
"""A small body, whole."""

from agent.errors import RefusedError
from agent.tasks.pace import Pace


def read_body(response, limit, clock):
    """The body of a response, at most `limit` bytes, else RefusedError("too_large")."""
    pace = Pace(clock)
    body = bytearray()
    while True:
        data = response.read(1024)
        pace.rest_ms(len(data or b""))
        if data is None:
            yield 5
        elif not data:
            return bytes(body)
        else:
            body += data
            if len(body) > limit:
                raise RefusedError("too_large", "more than %d bytes" % limit)
