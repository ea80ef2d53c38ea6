# SPDX-License-Identifier: MIT
"""The `http` port over requests: a thread reads ahead, the agent never waits for longer than a moment.

Rules it keeps
  * TLS as `linux_net` has it: `trust_env` off (an environment's CA bundle
    would replace ours, seen), requests' own certificate options unused.
  * No redirect, cookie, netrc entry, proxy or content coding.
  * A bounded queue between reader and agent: a download overlaps its hashing
    and its writing, in READ_AHEAD * CHUNK_BYTES of memory.  Where bandwidth is
    limited, no more than half a second of it is read ahead.
  * Pieces grow with the link's speed, so that what came over a slow one is not
    kept from the agent, and the threads of a fast one seldom wait for each other.
"""

from __future__ import annotations

import queue
import threading
import time
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from agent.errors import AgentError, MisuseError, RefusedError, UnreachableError
from agent.wire.url import split_url
from platform_adapters.linux_net import Net, translate
from platform_adapters.ports import Identity

CHUNK_BYTES = 1024 * 1024
LEAST_BYTES = 1024
READ_AHEAD = 4
MOMENT_S = 0.05
LONG_S = 0.2  # for a piece: the next one is smaller
MALFORMED = (
    "BadStatusLine",
    "LineTooLong",
    "InvalidChunkLength",
    "InvalidHeader",
    "UnknownTransferEncoding",
    "headers",
)
SILENCE_S = 20.0  # of a server, in the middle of an answer


class _Pinned(HTTPAdapter):
    """Our SSL context, whatever requests thinks of certificates."""

    def __init__(self, context):
        self._context = context
        super().__init__(pool_connections=2, pool_maxsize=2, max_retries=0)

    def init_poolmanager(self, connections, maxsize, block=False, **kwargs):
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(self, request, verify, cert=None):
        parts = urlsplit(request.url)
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, {}

    def cert_verify(self, conn, url, verify, cert):
        pass


DROPPED = ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError")


class RequestsHttp:
    def __init__(self, net: Net, silence_s: float = SILENCE_S, bandwidth_bytes_s: int = 0):
        """`bandwidth_bytes_s`: what the agent will read at most, 0 for no limit."""
        self._net = net
        self._silence_s = silence_s
        self._ahead = (CHUNK_BYTES, READ_AHEAD)
        if bandwidth_bytes_s:
            self._ahead = (min(CHUNK_BYTES, max(1024, bandwidth_bytes_s // 4)), 1)
        self._session: requests.Session | None = None
        self._identity: Identity | None = None

    def open(self, method: str, url: str, headers: dict[str, str], body: bytes, identity: Identity | None) -> Response:
        host, port, _ = split_url(url)
        response = Response(host, port, self._silence_s, self._ahead)
        session = self._session_for(identity)
        request = requests.Request(method, url, {"Accept-Encoding": "identity", **headers}, data=body or None)
        try:
            prepared = session.prepare_request(request)
        except (requests.RequestException, UnicodeError) as error:
            raise MisuseError("request", str(error)) from None
        response.start(session, prepared, self._net.limit_s)
        return response

    def forget(self) -> None:
        """What is trusted has changed: the next request makes a connection of its own."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _session_for(self, identity: Identity | None) -> requests.Session:
        """One session an identity, so that requests in a row share a connection."""
        if self._session is None or identity != self._identity:
            context = self._net.context(identity)
            if self._session is not None:
                self._session.close()
            session = requests.Session()
            session.trust_env = False
            session.headers.clear()
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.adapters.clear()
            session.mount("https://", _Pinned(context))
            self._session, self._identity = session, identity
        return self._session


class Response:
    """One answer; the thread puts bytes, b"" at the end, or the error that ended it."""

    def __init__(self, host: str, port: int, silence_s: float, ahead: tuple[int, int]):
        """`ahead`: bytes of a piece, and pieces that are read before they are asked for."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self._peer = (host, port)
        self._silence_s = silence_s
        self._most_bytes = ahead[0]
        self._queue: queue.Queue[bytes | AgentError] = queue.Queue(ahead[1])
        self._rest: bytes | memoryview = b""
        self._ended: bytes | AgentError | None = None
        self._head = threading.Event()
        self._given_up = threading.Event()
        self._answer: urllib3.HTTPResponse | None = None

    def start(self, session: requests.Session, prepared: requests.PreparedRequest, limit_s: float) -> None:
        """Returns when the head of the answer is there."""
        limits = (limit_s, self._silence_s)
        threading.Thread(target=self._run, args=(session, prepared, limits), daemon=True).start()
        if not self._head.wait(limit_s + self._silence_s):
            self.close()
            raise UnreachableError("timeout", "%s:%d is silent" % self._peer)
        if not self.status:
            self.close()
            raise self._queue.get()

    def read(self, size: int) -> bytes | None:
        if not self._rest:
            if self._ended is None:
                try:
                    item = self._queue.get(timeout=MOMENT_S)
                except queue.Empty:
                    return None
                if isinstance(item, AgentError) or not item:
                    self._ended = item
                else:
                    self._rest = item if len(item) <= size else memoryview(item)
            if isinstance(self._ended, AgentError):
                raise self._ended
            if self._ended is not None:
                return b""
        if len(self._rest) <= size:
            data, self._rest = self._rest, b""
        else:
            data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def close(self) -> None:
        self._given_up.set()
        if self._answer is not None and self._ended is None:
            try:
                self._answer.shutdown()  # wakes the reader
            except (OSError, ValueError, RuntimeError):
                pass  # it has ended by itself
        self._rest = b""

    def _run(self, session: requests.Session, prepared: requests.PreparedRequest, limits: tuple) -> None:
        try:
            with _send(session, prepared, limits) as answer:
                raw = answer.raw
                self._answer = raw
                self.headers = {name.lower(): value for name, value in answer.headers.items()}
                self.status = answer.status_code
                self._head.set()
                size = LEAST_BYTES
                began = time.monotonic()
                while data := raw.read(size, decode_content=False):
                    size = self._next_size(size, time.monotonic() - began)
                    if not self._put(data):
                        raw.close()
                        return
                    began = time.monotonic()
            self._put(b"")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError, AgentError) as error:
            self._put(_failure(error, self._peer))
        finally:
            self._head.set()

    def _next_size(self, size: int, took_s: float) -> int:
        if took_s < MOMENT_S:
            size *= 4
        elif took_s > LONG_S:
            size //= 4
        return min(max(size, LEAST_BYTES), self._most_bytes)

    def _put(self, item: bytes | AgentError) -> bool:
        while not self._given_up.is_set():
            try:
                self._queue.put(item, timeout=MOMENT_S)
                return True
            except queue.Full:
                continue
        if isinstance(item, AgentError) and self._queue.empty():
            self._queue.put(item)
        return False


def _send(session: requests.Session, prepared: requests.PreparedRequest, limits: tuple) -> requests.Response:
    """Once more when a connection ends before an answer: a kept one may have been closed just now (RFC 9112, 9.3.1)."""
    try:
        return session.send(prepared, stream=True, timeout=limits, allow_redirects=False, verify=True)
    except requests.ConnectionError as error:
        if prepared.method not in ("GET", "HEAD") or not any(word in repr(error) for word in DROPPED):
            raise
    return session.send(prepared, stream=True, timeout=limits, allow_redirects=False, verify=True)


def _failure(error: Exception, peer: tuple[str, int]) -> AgentError:
    if "IncompleteRead" in repr(error):
        return UnreachableError("http_truncated", "%s:%d ended the answer early" % peer)
    if any(word in repr(error) for word in MALFORMED):
        return RefusedError("http_response", "%s:%d does not speak HTTP" % peer)
    return translate(error, *peer)
