# SPDX-License-Identifier: MIT
"""The `http` port over our own codec.

One connection at a time.  It is kept for the next GET to the same server with
the same identity; when the server has closed it meanwhile, a fresh one is
dialled.  No redirects, cookies or codings.
"""

import sys
import time

from agent.errors import UnreachableError
from agent.wire import http
from agent.wire.url import host_header, split_url
from platform_adapters.micropython_net import LIMIT_MS, Connection

READ_BYTES = 1024
MOMENT_MS = 50


class Http:
    """`credentials(identity)` gives the DER forms for TLS."""

    def __init__(self, anchors, credentials, limit_ms=LIMIT_MS):
        self._anchors = anchors
        self._credentials = credentials
        self._limit_ms = limit_ms
        self._last = None  # (response, what it was for)

    def open(self, method, url, headers, body, identity):
        host, port, target = split_url(url)
        request = http.request(method, host_header(host, port), target, headers, body)
        aim = (host, port, identity)
        last, self._last = self._last, None
        response = None
        if last is not None:
            if method == "GET" and last[1] == aim and last[0].reusable():
                response = self._again(last[0].connection, method, request)
            if response is None:
                last[0].drop()
        if response is None:
            connection = Connection(host, port, self._anchors(), self._credentials(identity), self._limit_ms)
            _forget_dial()
            response = Response(connection, method, request, self._limit_ms)
        self._last = (response, aim)
        return response

    def close(self):
        """Hang up the connection that was kept."""
        last, self._last = self._last, None
        if last is not None:
            last[0].drop()

    def _again(self, connection, method, request):
        """An answer over a connection that was used before, or None when it is of no use any more."""
        try:
            return Response(connection, method, request, self._limit_ms)
        except UnreachableError:
            return None


def _forget_dial():
    """It is needed no more, and what is asked for over this connection may need the room."""
    package = sys.modules["platform_adapters"]
    sys.modules.pop("platform_adapters.micropython_dial", None)
    if hasattr(package, "micropython_dial"):
        del package.micropython_dial


class Response:
    def __init__(self, connection, method, request, limit_ms):
        """Send the request and read the answer's head; the connection is closed when that fails."""
        self.connection = connection
        self._limit_ms = limit_ms
        self._parser = http.Response(method)
        self._open = True
        self._buffer = None
        self._heard = time.ticks_ms()
        done = False
        try:
            connection.send(request)
            while not self._parser.status:
                self._receive(limit_ms)
                # From the request on: a drip of headers must not take for ever.
                if time.ticks_diff(time.ticks_ms(), self._heard) > limit_ms:
                    raise UnreachableError("timeout", "the server sends no answer")
            done = True
        finally:
            if not done:
                self.drop()
        self._heard = time.ticks_ms()
        self.status = self._parser.status
        self.headers = self._parser.headers

    def read(self, size):
        data = self._parser.read(size)
        if data is None and self._open:
            if self._receive(MOMENT_MS):
                self._heard = time.ticks_ms()
            elif time.ticks_diff(time.ticks_ms(), self._heard) > self._limit_ms:
                self.drop()
                raise UnreachableError("timeout", "the server is silent in the middle of an answer")
            data = self._parser.read(size)
        if data is None and not self._open:
            raise UnreachableError("closed", "the answer was given up")
        return data

    def view(self, size):
        """Like `read`, without a new object for each piece: what it gives is good until the next call only."""
        room = self._parser.direct(min(size, READ_BYTES)) if self._open else 0
        if not room:
            return self.read(size)
        if self._buffer is None:
            self._buffer = memoryview(bytearray(READ_BYTES))
        buffer = self._buffer if room == READ_BYTES else self._buffer[:room]
        count = self.connection.receive_into(buffer)
        if count is None:
            self.connection.wait(MOMENT_MS)
            count = self.connection.receive_into(buffer)
        if not count:
            # The end, or nothing yet: that is looked at in one place.
            if count is not None:
                self._parser.feed(b"")
            return self.read(size)
        self._heard = time.ticks_ms()
        self._parser.took(count)
        return buffer if count == room else buffer[:count]

    def reusable(self):
        return self._open and self._parser.reusable()

    def close(self):
        """Give up what was not read; a connection whose answer is read stays for the next request."""
        if self._open and not self._parser.reusable():
            self.drop()

    def drop(self):
        if self._open:
            self._open = False
            self.connection.close()

    def _receive(self, timeout_ms):
        """Feed the parser with what is there, waiting for at most `timeout_ms`; returns whether there was anything."""
        data = self.connection.receive(READ_BYTES)
        if data is None:
            self.connection.wait(timeout_ms)
            data = self.connection.receive(READ_BYTES)
        if data is None:
            return False
        self._parser.feed(data)
        if not data and not self._parser.status:
            raise UnreachableError("closed", "the server closed the connection")
        return True
