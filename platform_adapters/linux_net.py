# SPDX-License-Identifier: MIT
"""TLS on CPython: one way to make a context, one way to dial, one table from failures to our errors.

Rules it keeps
  * CERT_REQUIRED and the host name, always; no option turns either off.
  * Trust is the configured anchors and nothing else: no environment variable,
    no system store, no certifi.
  * TLS 1.2 or newer.
  * What cannot get better by itself is RefusedError; what can is
    UnreachableError.  The caller slows down on both.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable

from agent.errors import AgentError, MisuseError, RefusedError, UnreachableError
from platform_adapters.keystores import tls_signer
from platform_adapters.linux_lists import Lists, checked
from platform_adapters.ports import Identity, Keys

LIMIT_S = 20  # for one connection: name, TCP, TLS

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID = 9
_HAS_EXPIRED = 10
_HOSTNAME_MISMATCH = 62
_IP_ADDRESS_MISMATCH = 64


class Net:
    """Makes contexts from the anchors and the key store, and dials with them."""

    def __init__(
        self, anchors: Callable[[], list[bytes]], keys: Keys, limit_s: float = LIMIT_S, lists: Lists | None = None
    ):
        self._anchors = anchors
        self._keys = keys
        self._lists = lists
        self.limit_s = limit_s

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)  # unlike create_default_context it reads no environment
        context.check_hostname = True
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._lists is not None:
            context.sslsocket_class = checked(self._lists.judge)
        try:
            context.load_verify_locations(cadata=b"".join(self._anchors()))
        except (ssl.SSLError, ValueError) as error:
            raise MisuseError("config", "ca_file holds no usable certificate: %s" % error) from None
        if identity is not None:
            self._present(context, identity)
        return context

    def _present(self, context: ssl.SSLContext, identity: Identity) -> None:
        label, chain = identity
        try:
            self._keys.attach(context, label, chain)
        except ssl.SSLError as error:
            raise MisuseError("identity", "certificate and key %r do not fit: %s" % (label, error)) from None

    def dial(self, host: str, port: int, identity: Identity | None) -> ssl.SSLSocket:
        """A connected TLS socket, in blocking mode with a time-out."""
        context = self.context(identity)
        try:
            raw = _connect(resolve(host, port, self.limit_s), self.limit_s)
            try:
                return context.wrap_socket(raw, server_hostname=host)
            except BaseException:
                raw.close()
                raise
        except (OSError, ValueError) as error:
            raise translate(error, host, port) from None

    def dial_plain(self, host: str, port: int) -> socket.socket:
        """Without TLS: only for what a policy with a loud name lets in (`mqtt_plaintext`)."""
        try:
            return _connect(resolve(host, port, self.limit_s), self.limit_s)
        except OSError as error:
            raise translate(error, host, port) from None


class Context(ssl.SSLContext):
    """A handshake that failed for our own key store's sake says so."""

    def wrap_socket(self, *arguments, **named):
        tls_signer.failure_here()  # an old one does not count
        try:
            return super().wrap_socket(*arguments, **named)
        except OSError as error:
            error.__cause__ = tls_signer.failure_here()
            raise


def _connect(addresses: list, limit_s: float) -> socket.socket:
    """The first address that answers."""
    failure: OSError = TimeoutError("no address")
    for family, kind, protocol, _, address in addresses[:4]:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(limit_s)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure


def resolve(host: str, port: int, limit_s: float) -> list:
    """`getaddrinfo`, which knows no time-out, with one."""
    answer: list = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit_s)
    if not answer:
        raise UnreachableError("dns", "no answer about %s within %d s" % (host, limit_s))
    if isinstance(answer[0], Exception):
        raise UnreachableError("dns", "%s: %s" % (host, answer[0]))
    return answer[0]


def translate(error: BaseException, host: str, port: int) -> AgentError:
    """Our error for whatever a socket, ssl, urllib3 or requests raised."""
    cause = _root(error)
    peer = "%s:%d" % (host, port)
    if isinstance(cause, AgentError):
        return cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _unverified(cause, host)
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or str(cause)
        if "ALERT" in reason:
            return UnreachableError(
                "tls_refused", "%s ended TLS: %s (does it accept our certificate?)" % (peer, reason)
            )
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return UnreachableError("closed", "%s closed the connection" % peer)
        return UnreachableError("tls_failed", "%s: %s" % (peer, reason))
    if isinstance(cause, socket.gaierror):
        return UnreachableError("dns", "%s: %s" % (host, cause.strerror))
    if isinstance(cause, ConnectionRefusedError):
        return UnreachableError("refused_connection", "nothing listens at %s" % peer)
    if isinstance(cause, TimeoutError):
        return UnreachableError("timeout", "%s is silent" % peer)
    if isinstance(cause, ConnectionError):
        return UnreachableError("closed", "%s closed the connection" % peer)
    if isinstance(cause, OSError) and cause.errno is not None:
        return UnreachableError("network", "%s: %s" % (peer, os.strerror(cause.errno)))
    return UnreachableError("network", "%s: %s" % (peer, type(error).__name__))


def _unverified(error: ssl.SSLCertVerificationError, host: str) -> AgentError:
    if error.verify_code == _HAS_EXPIRED:
        return UnreachableError(
            "tls_expired", "the certificate of %s has expired; or is this device's clock ahead?" % host
        )
    if error.verify_code == _NOT_YET_VALID:
        return UnreachableError(
            "clock_unset", "the certificate of %s is from the future: set this device's clock" % host
        )
    if error.verify_code in (_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH):
        return RefusedError("tls_name", "the certificate that answers is not for %s" % host)
    return RefusedError("tls_untrusted", "%s is not vouched for by ca_file: %s" % (host, error.verify_message))


def _root(error: BaseException) -> BaseException:
    """The socket's own exception inside the wrappings of urllib3 and requests."""
    seen: list[BaseException] = []
    queue: list = [error]
    while queue and len(seen) < 20:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        if isinstance(current.__cause__, AgentError):
            return current.__cause__
        if isinstance(current, AgentError) or (isinstance(current, OSError) and _telling(current)):
            return current
        seen.append(current)
        queue += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
    return error


def _telling(error: OSError) -> bool:
    """requests' own exceptions are OSErrors too, without an errno."""
    return error.errno is not None or isinstance(error, (TimeoutError, ConnectionError))
