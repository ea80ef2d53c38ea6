# SPDX-License-Identifier: MIT
"""One question and one answer by UDP, bounded in time; a board loads it when it asks for the time."""

import select
import socket

from agent.errors import UnreachableError

LIMIT_MS = 3000
MOST_BYTES = 512


def ask(host, port, data, limit_ms=LIMIT_MS):
    """The first datagram that comes back from where `data` went."""
    try:
        there = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise UnreachableError("dns", "%s: %s" % (host, error))
    peer = "%s:%d" % (host, port)
    sock = socket.socket(there[0], socket.SOCK_DGRAM)
    try:
        # Connected, so that nobody else's datagram is taken; not everywhere that is enough, so an answer carries a nonce.
        sock.connect(there[-1])
        sock.send(data)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(limit_ms):
            raise UnreachableError("timeout", "%s is silent" % peer)
        return sock.recv(MOST_BYTES)
    except OSError as error:
        raise UnreachableError("network", "%s: error %s" % (peer, error.args[0] if error.args else ""))
    finally:
        sock.close()
