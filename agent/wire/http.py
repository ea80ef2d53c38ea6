# SPDX-License-Identifier: MIT
"""HTTP/1.1 for a client, without a socket: a request's bytes, and a response out of bytes.

Strict where leniency has let two parties read one message differently: line
ends, field names, lengths and transfer codings (RFC 9112, 11.2).  All that a
server sizes is bounded.  Redirects, retries, time-outs and what a status means
are the caller's.  Sources: RFC 9110, RFC 9112; clauses in brackets.
"""

from agent.errors import MisuseError, RefusedError, UnreachableError
from agent.wire.url import decimal, is_plain

MAX_HEAD_BYTES = 8 * 1024  # status line and headers together; trailers, too
MAX_HEADERS = 64
MAX_CHUNK_LINE_BYTES = 256
MAX_INTERIM = 8  # 1xx responses before the real one

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_OWN_FIELDS = ("host", "content-length", "transfer-encoding")

# What the parser reads next.
_STATUS, _FIELDS, _BODY, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILERS, _DONE = range(8)


def request(method: str, authority: str, target: str, headers: dict, body: bytes = b"") -> bytes:
    """The bytes of a request.  Host and Content-Length are written here and must not be among `headers`.

    MisuseError("http_header") for anything that could begin another line or another request.
    """
    fields = {"host": authority}
    for name in headers:
        if name.lower() in _OWN_FIELDS or not _is_token(name):
            raise _misuse("a header must not be named %r" % name)
        fields[name] = headers[name]
    if body or method in ("POST", "PUT", "PATCH"):
        fields["content-length"] = str(len(body))
    if not _is_token(method) or not is_plain(authority, 0x21) or not target or not is_plain(target, 0x21):
        raise _misuse("method, host or target with blanks or control characters")
    lines = ["%s %s HTTP/1.1" % (method, target)]
    for name in fields:
        if not is_plain(fields[name], 0x20):
            raise _misuse("the value of %s has control or non-ASCII characters" % name)
        lines.append("%s: %s" % (name, fields[name]))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def content_range(text: str) -> tuple:
    """(first, last, total) of "bytes 0-99/200"; total is None for "*".  RefusedError("http_response")."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    found = decimal(first), decimal(last), None if total == "*" else decimal(total)
    if unit.lower() != "bytes" or found[0] is None or found[1] is None or (found[2] is None and total != "*"):
        raise _refused("Content-Range")
    if found[0] > found[1] or (found[2] is not None and found[1] >= found[2]):
        raise _refused("Content-Range beyond its total")  # [14.4]
    return found


def retry_after(text: str):
    """Seconds, or None for a date or nonsense: boards have no trustworthy clock to compare it with."""
    return decimal(text.strip(), 9)


class Response:
    """A response being read.

    Loop: `read` gives body bytes; when it gives None, `feed` what the socket has, b"" at its end.
    status: int, 0 until the head is complete      headers: dict, names in lower case, repeated ones joined by ", "
    """

    def __init__(self, method: str = "GET", max_head_bytes: int = MAX_HEAD_BYTES):
        self.status = 0
        self.headers = {}
        self._method = method
        self._max_head_bytes = max_head_bytes
        self._state = _STATUS
        self._line = bytearray()
        self._head_bytes = 0  # of the head or the trailers being read
        self._interim = 0
        self._status = 0
        self._fields = 0
        self._left = 0  # of the body or chunk being read; -1: until the connection closes
        self._data = b""
        self._at = 0
        self._closed = False
        self._is_1_0 = False
        self._persistent = True

    def feed(self, data: bytes) -> None:
        """Take what the socket gave; b"" says that the server closed the connection.

        RefusedError("http_response") for a malformed head; "http_too_big" beyond the limits.
        """
        if data:
            self._data = self._data[self._at :] + data if self._at < len(self._data) else data
            self._at = 0
        else:
            self._closed = True
        self._advance()

    def read(self, size: int):
        """At most `size` bytes of the body; None: feed more; b"": the end.

        UnreachableError("http_truncated") when the server closed the connection too early.
        """
        self._advance()
        if self._state in (_BODY, _CHUNK):
            stop = min(len(self._data), self._at + size)
            if self._left >= 0:
                stop = min(stop, self._at + self._left)
            piece = self._data[self._at : stop]
            if piece:
                self._at = stop
                if self._left >= 0:
                    self._left -= len(piece)
                return bytes(piece)
        if self._state == _DONE:
            return b""
        if self._closed and self._at == len(self._data):
            if self._state == _BODY and self._left < 0:
                self._state = _DONE
                return b""
            raise UnreachableError("http_truncated", "the connection closed before the end of the response")
        return None

    def direct(self, size: int) -> int:
        """How many bytes, at most `size`, the socket can give straight to the caller; 0: go on with `read` and `feed`.

        They are body bytes to the last.  `took` has to hear how many there were.
        """
        if self._at < len(self._data) or self._closed or self._state not in (_BODY, _CHUNK):
            return 0
        return size if self._left < 0 else min(size, self._left)

    def took(self, count: int) -> None:
        if self._left >= 0:
            self._left -= count

    def reusable(self) -> bool:
        """Whether another request may follow on the connection: the body is read, and nothing came behind it."""
        self._advance()
        return self._state == _DONE and self._persistent and not self._closed and self._at == len(self._data)

    def _advance(self) -> None:
        """Read everything up to the next body bytes."""
        while True:
            if self._state in (_BODY, _CHUNK):
                if self._left:
                    return
                self._state = _CHUNK_END if self._state == _CHUNK else _DONE
            if self._state == _DONE:
                return
            line = self._next_line()
            if line is None:
                return
            if self._state == _STATUS:
                self._read_status(line)
            elif self._state == _FIELDS:
                if line:
                    self._read_field(line)
                else:
                    self._end_head()
            elif self._state == _CHUNK_SIZE:
                self._read_chunk_size(line)
            elif self._state == _CHUNK_END:
                if line:
                    raise _refused("a chunk is longer than it says")
                self._state = _CHUNK_SIZE
            elif not line:  # trailers are dropped unread
                self._state = _DONE

    def _next_line(self):
        """The next line without its end, or None."""
        if self._at == len(self._data):
            return None
        end = self._data.find(b"\n", self._at)
        stop = len(self._data) if end < 0 else end + 1
        taken = stop - self._at
        chunks = self._state in (_CHUNK_SIZE, _CHUNK_END)
        self._head_bytes = (len(self._line) if chunks else self._head_bytes) + taken
        if self._head_bytes > (MAX_CHUNK_LINE_BYTES if chunks else self._max_head_bytes):
            raise RefusedError(
                "http_too_big", "head of more than %d bytes, or the line of a chunk" % self._max_head_bytes
            )
        self._line.extend(self._data[self._at : stop])
        self._at = stop
        if end < 0:
            return None
        line = bytes(self._line)
        self._line = bytearray()
        if line[-2:] != b"\r\n" or line.find(b"\r") != len(line) - 2:
            raise _refused("a line does not end in CR LF")  # [9112, 2.2]
        return line[:-2]

    def _read_status(self, line: bytes) -> None:
        """HTTP/1.x NNN reason."""
        if (
            line[:7] != b"HTTP/1."
            or line[7:8] not in (b"0", b"1")
            or line[8:9] != b" "
            or line[12:13] not in (b"", b" ")
        ):
            raise _refused("not an HTTP/1.1 status line")
        status = decimal(_text(line[9:12]))
        if status is None or not 100 <= status <= 599 or status == 101:
            raise _refused("status code")
        self._status = status
        self._is_1_0 = line[7:8] == b"0"
        self._persistent = not self._is_1_0
        self._state = _FIELDS

    def _read_field(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if not colon or not _is_token_bytes(name):  # so also a folded line [5.2] and a blank before the colon [5.1]
            raise _refused("a header line is malformed")
        value = value.strip(b" \t")
        for byte in value:
            if byte < 32 and byte != 9 or byte == 127:
                raise _refused("a header has control characters")
        self._fields += 1
        if self._fields > MAX_HEADERS:
            raise RefusedError("http_too_big", "more than %d headers" % MAX_HEADERS)
        key = _text(name).lower()
        text = _text(value)
        if key in self.headers:
            text = self.headers[key] + ", " + text  # which no Content-Length and no Transfer-Encoding survives
        self.headers[key] = text

    def _end_head(self) -> None:
        if self._status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise _refused("more than %d interim responses" % MAX_INTERIM)
            self.headers = {}
            self._fields = 0
            self._head_bytes = 0
            self._state = _STATUS
            return
        self._frame()
        self._head_bytes = 0
        self.status = self._status

    def _frame(self) -> None:
        """Where the body ends [9112, 6.3]."""
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if "close" in self.headers.get("connection", "").lower():
            self._persistent = False
        if coding is not None and (length is not None or self._is_1_0 or coding.lower() != "chunked"):
            raise _refused("Transfer-Encoding is not chunked alone")
        size = None if length is None else decimal(length)
        if length is not None and size is None:
            raise _refused("Content-Length")
        if self._method == "HEAD" or self._status in (204, 304):
            self._state = _DONE
        elif coding is not None:
            self._state = _CHUNK_SIZE
        elif size is not None:
            self._state = _BODY
            self._left = size
        else:
            self._state = _BODY
            self._left = -1
            self._persistent = False

    def _read_chunk_size(self, line: bytes) -> None:
        """Hexadecimal digits, perhaps an extension, which is ignored [9112, 7.1.1]."""
        digits = line.partition(b";")[0].rstrip(b" \t")
        size = 0
        for byte in digits:
            digit = b"0123456789abcdef".find(bytes((byte | 32 if byte > 64 else byte,)))
            if digit < 0:
                raise _refused("size of a chunk")
            size = size << 4 | digit
        if not 0 < len(digits) <= 12:
            raise _refused("size of a chunk")
        self._head_bytes = 0
        self._left = size
        self._state = _CHUNK if size else _TRAILERS


def _is_token(text: str) -> bool:
    return _is_token_bytes(text.encode())


def _is_token_bytes(data: bytes) -> bool:
    for byte in data:
        if byte not in _TOKEN:
            return False
    return len(data) > 0


def _text(data: bytes) -> str:
    return "".join([chr(byte) for byte in data])  # Latin-1, which MicroPython cannot decode


def _misuse(detail: str) -> MisuseError:
    return MisuseError("http_header", detail)


def _refused(detail: str) -> RefusedError:
    return RefusedError("http_response", detail)
