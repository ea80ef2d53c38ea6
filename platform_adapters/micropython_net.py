# SPDX-License-Identifier: MIT
"""TLS on MicroPython: one way to dial, bounded in time, with errors that say what is wrong.

Rules it keeps
  * CERT_REQUIRED and the host name, always; no option turns either off.  (The
    module `ssl` would begin with CERT_NONE; `tls` does not, and we say it again.)
  * No blocking read or write on a TLS socket: one that times out poisons the
    connection.  Everything is polled, the handshake too, which the first
    `send` carries out.
  * A server that fails verification is a ValueError here, told apart by
    mbedTLS's text; what cannot be told apart counts as untrusted.
"""

import select
import socket
import time

from agent.errors import RefusedError, UnreachableError

LIMIT_MS = 20_000  # for a connection, and for a send
_ECONNREFUSED = 111
_TIMED_OUT = (110, 115, 116, 11, 119)  # ETIMEDOUT, EINPROGRESS, and lwIP's
_CLOSED = (9, 32, 103, 104, 107, 128)  # EBADF, EPIPE, ECONNABORTED, ECONNRESET, ENOTCONN, and lwIP's
_ALERT = -0x7780  # MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE
_UNVERIFIED = -0x2700  # MBEDTLS_ERR_X509_CERT_VERIFY_FAILED


class Connection:
    """A TLS connection to host:port.  `credentials`: None, or (private key, certificate chain), all DER."""

    def __init__(self, host, port, anchors, credentials, limit_ms=LIMIT_MS):
        self._host = host
        self._port = port
        self._limit_ms = limit_ms
        self._socket = None
        try:
            address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        except OSError as error:
            raise UnreachableError("dns", "%s: %s" % (host, error))
        raw = socket.socket(address[0], socket.SOCK_STREAM)
        try:
            raw.settimeout(limit_ms / 1000)
            raw.connect(address[-1])
            raw.setblocking(False)
            context = _context(anchors, credentials)
            self._socket = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raw.close()
            raise self._translate(error)
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
        peer = "%s:%d" % (self._host, self._port)
        number = error.args[0] if error.args else 0
        if isinstance(error, ValueError):
            return _unverified(self._host, str(error))
        if number == _ECONNREFUSED:
            return UnreachableError("refused_connection", "nothing listens at %s" % peer)
        if number in _TIMED_OUT:
            return UnreachableError("timeout", "%s is silent" % peer)
        if number in _CLOSED:
            return UnreachableError("closed", "%s closed the connection" % peer)
        if number == _UNVERIFIED:
            return _unverified(self._host, "")
        if number == _ALERT:
            return UnreachableError("tls_refused", "%s ended TLS (does it accept our certificate?)" % peer)
        if isinstance(number, int) and number < -0x1000:
            return UnreachableError("tls_failed", "%s: mbedTLS error -0x%x" % (peer, -number))
        return UnreachableError("network", "%s: error %s" % (peer, number))


def _context(anchors, credentials):
    import tls

    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED
    for anchor in anchors:
        context.load_verify_locations(anchor)
    if credentials is not None:
        key, chain = credentials
        for certificate in chain:  # one call each: mbedTLS ignores what follows the first in one buffer
            context.load_cert_chain(certificate, key)
    return context


def _unverified(host, text):
    if "not correctly signed" in text:
        return RefusedError("tls_untrusted", "%s is not vouched for by ca_file" % host)
    if "does not match" in text:
        return RefusedError("tls_name", "the certificate that answers is not for %s" % host)
    if "future" in text:
        return UnreachableError(
            "clock_unset", "the certificate of %s is from the future: set this device's clock" % host
        )
    if "expired" in text:
        return UnreachableError(
            "tls_expired", "the certificate of %s has expired; or is this device's clock ahead?" % host
        )
    return RefusedError("tls_untrusted", "%s is not trusted: %s" % (host, text.strip()))
