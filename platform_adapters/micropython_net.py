# SPDX-License-Identifier: MIT
"""TLS on MicroPython: a connection bounded in time.  `micropython_dial` makes it, and says what an error means.

Rule it keeps: no blocking read or write on a TLS socket, since one that times
out poisons the connection.  Everything is polled, the handshake too, which the
first `send` carries out.
"""

import select
import time

from agent.errors import UnreachableError

LIMIT_MS = 20_000  # for a connection, and for a send


class Connection:
    """A TLS connection to host:port.  `credentials`: None, or (private key, certificate chain), all DER."""

    def __init__(self, host, port, anchors, credentials, limit_ms=LIMIT_MS):
        from platform_adapters import micropython_dial

        self._host = host
        self._port = port
        self._limit_ms = limit_ms
        self._socket = micropython_dial.dial(host, port, anchors, credentials, limit_ms)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def send(self, data):
        """All of `data`, or UnreachableError."""
        started = time.ticks_ms()
        data = memoryview(data)
        sent = 0
        while sent < len(data):
            try:
                count = self._socket.write(data[sent:])
            except (OSError, ValueError) as error:
                raise self._translate(error)
            if count:
                sent += count
                continue
            left = self._limit_ms - time.ticks_diff(time.ticks_ms(), started)
            if left <= 0:
                raise UnreachableError("timeout", "%s:%d is silent" % (self._host, self._port))
            self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
            self._poll.poll(left)
            self._poll.modify(self._socket, select.POLLIN)

    def receive(self, size):
        """At most `size` bytes; None when nothing is there; b"" at the end."""
        try:
            return self._socket.read(size)
        except (OSError, ValueError) as error:
            raise self._translate(error)

    def receive_into(self, buffer):
        """Like `receive`: how many bytes of `buffer` were filled, None, or 0 at the end."""
        try:
            return self._socket.readinto(buffer)
        except (OSError, ValueError) as error:
            raise self._translate(error)

    def wait(self, timeout_ms):
        """Until something can be received, for at most `timeout_ms`."""
        try:
            self._poll.poll(timeout_ms)
        except OSError as error:
            raise self._translate(error)

    def close(self):
        try:
            self._socket.close()
        except (OSError, ValueError):
            pass  # it was closed already, or the farewell did not get through

    def _translate(self, error):
        from platform_adapters import micropython_dial

        return micropython_dial.explained(error, self._host, self._port)
