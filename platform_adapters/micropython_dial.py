# SPDX-License-Identifier: MIT
"""How a connection begins on MicroPython, and how its errors are told.  A board loads it for these alone.

Rules it keeps
  * CERT_REQUIRED and the host name, always; no option turns either off.  (The
    module `ssl` would begin with CERT_NONE; `tls` does not, and we say it again.)
  * A server that fails verification is a ValueError here, told apart by
    mbedTLS's text; what cannot be told apart counts as untrusted.
"""

import socket
import time

from agent.errors import RefusedError, UnreachableError

_ECONNREFUSED = 111
_TIMED_OUT = (110, 115, 116, 11, 119)  # ETIMEDOUT, EINPROGRESS, and lwIP's
_CLOSED = (9, 32, 103, 104, 107, 128)  # EBADF, EPIPE, ECONNABORTED, ECONNRESET, ENOTCONN, and lwIP's
_ALERT = -0x7780  # MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE
_UNVERIFIED = -0x2700  # MBEDTLS_ERR_X509_CERT_VERIFY_FAILED

SERVER_UNAVAILABLE = 3
MEANINGS = (
    "",
    "unsupported protocol version",
    "client id",
    "server unavailable",
    "user name or password",
    "not authorized",
)


def dial(host, port, anchors, credentials, limit_ms):
    """A TLS socket that does not block, before its handshake."""
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
        return context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        raw.close()
        raise explained(error, host, port)


def await_connack(receive, limit_ms, host, port):
    """`receive(ms)` gives the next packet or None; returns when it is a CONNACK that accepts us."""
    started = time.ticks_ms()
    event = None
    while event is None:
        left = limit_ms - time.ticks_diff(time.ticks_ms(), started)
        if left <= 0:
            raise UnreachableError("timeout", "%s:%d sends no CONNACK" % (host, port))
        event = receive(left)
    if event[1]:
        meaning = MEANINGS[event[1]] if event[1] < len(MEANINGS) else "unknown"
        kind = UnreachableError if event[1] == SERVER_UNAVAILABLE else RefusedError
        raise kind("mqtt_refused", "%s:%d answers CONNACK %d (%s)" % (host, port, event[1], meaning))


def explained(error, host, port):
    """The agent's error for an OSError or a ValueError of a socket."""
    peer = "%s:%d" % (host, port)
    number = error.args[0] if error.args else 0
    if isinstance(error, ValueError):
        return _unverified(host, str(error))
    if number == _ECONNREFUSED:
        return UnreachableError("refused_connection", "nothing listens at %s" % peer)
    if number in _TIMED_OUT:
        return UnreachableError("timeout", "%s is silent" % peer)
    if number in _CLOSED:
        return UnreachableError("closed", "%s closed the connection" % peer)
    if number == _UNVERIFIED:
        return _unverified(host, "")
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
