# SPDX-License-Identifier: MIT
"""Every parser of the agent's wire, as functions from bytes to a value, with samples that it accepts.

Streaming parsers appear with a step: how many bytes are fed at a time, 0 for all at once.
Each function returns what was read or the AgentError that ended it.  Any other exception is a bug.
"""

import encodings_by_hand as encodings
import tuf_repository
import vectors
from agent import version
from agent.errors import AgentError
from agent.trust import canonical
from agent.trust.walk import Walk
from agent.wire import appimage, ecdsa, encoded, http, mqtt, pem, signature, url, utf8, x509

CONNACK = b"\x20\x02\x00\x00"
CHUNKED = b"HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\n\r\n"


def pieces(data, step):
    if not step:
        return [data]
    return [data[at : at + step] for at in range(0, len(data), step)]


def read_mqtt(data, step):
    decoder = mqtt.Decoder(200)
    events = []
    try:
        for piece in pieces(data, step):
            decoder.feed(piece)
            event = decoder.event()
            while event:
                events.append(event)
                event = decoder.event()
    except AgentError as error:
        events.append(error.code)
    return events


def read_http(data, step):
    response = http.Response("GET", 400)
    body = b""
    try:
        for piece in pieces(data, step) + [b""]:
            response.feed(piece)
            piece = response.read(50)
            while piece:
                body += piece
                piece = response.read(50)
    except AgentError as error:
        return response.status, body, error.code
    return response.status, body, response.headers


def read_index(data, step):
    index = appimage.Index()
    used = 0
    try:
        for piece in pieces(data, step):
            used += index.feed(piece)
    except AgentError as error:
        return error.code
    return index.complete, used, index.size, index.files


def read_encoded(kind, left):
    def read(data, step):
        decoder = encoded.decoder(kind, lambda at, size: encodings.BASE[at : at + size], len(encodings.BASE), left)
        made = b""
        try:
            for piece in pieces(data, step):
                for part in decoder.feed(piece):
                    made += part
            decoder.end()
        except AgentError as error:
            return made, error.code
        return made

    return read


PATCH = encodings.instruction(200, bytes(8) + b"\1\xff", b"new", 1200) + encodings.instruction(80, b"", b"at last")

STREAMING = (
    (
        read_mqtt,
        CONNACK + b"\x90\x03\x00\x0a\x01" + mqtt.publish("a/b", b"payload", 1, 7) + mqtt.puback(3) + b"\xd0\x00",
    ),
    (read_mqtt, CONNACK + mqtt.publish("\u00fc\u20ac", bytes(130))),
    (read_http, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"),
    (read_http, CHUNKED + b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: t\r\n\r\n"),
    (read_http, b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nbody to the end"),
    (read_encoded(encoded.PATCH, 300), encodings.frames(PATCH, 20)),
    (read_encoded(encoded.DEFLATE, len(encodings.WORDS)), encodings.frame(encodings.WORDS_DEFLATED)),
    (read_index, appimage.build({"main.py": b"x", "lib/a.py": b"", "lib/b.py": b"contents"})),
)


def _decoded(function):
    """For parsers of text: bytes that are no text are not their business."""

    def parse(data):
        return function("".join([chr(byte) for byte in data]))

    return parse


def _delegating():
    repository = tuf_repository.Repository()
    repository.delegate("targets", "d")
    repository.bins(3, "d")
    repository.signed["d"]["targets"] = {"a/b": repository.signed["targets"]["targets"].pop("a/b")}
    repository.publish()
    return repository.files


def walk_with(name, files):
    """A walk through a repository of which one file is damaged, and nobody looks at signatures."""

    def parse(data):
        there = dict(files)
        there[name] = data
        walk = Walk({"root": there["1.root.json"]}, tuf_repository.NOW, lambda *_: True)
        for path in ("a/b", "c/d"):
            wanted = walk.wanted()
            while wanted:
                walk.feed(there.get(wanted[0]))
                wanted = walk.wanted()
            walk.seek(path)
        return walk.take()

    return parse, files[name]


FILES = _delegating()
UNORDERED = b' {"b" : [1, {"z":"\\u00e9\\n", "a" : null}], "a":{"y":-1,"x":true} } '
WALKS = [walk_with(name, FILES) for name in sorted(FILES)]

WHOLE = tuple(WALKS) + (
    (canonical.ordered, UNORDERED),
    (utf8.decode, "gr\u00fc\u00df \u20ac \U0001f600".encode()),
    (x509.read, vectors.CERTIFICATE),
    (x509.certificates_of_pkcs7, vectors.PKCS7),
    (ecdsa.public_from_der, vectors.PUBLIC),
    (ecdsa.public_from_der, vectors.PUBLIC_P384),
    (ecdsa.secret_from_der, vectors.PKCS8),
    (ecdsa.secret_from_der, vectors.SEC1),
    (signature.from_der, ecdsa.signature_to_der(vectors.SECRET * 2)),
    (pem.from_base64, pem.to_base64(vectors.SECRET)),
    (lambda data: pem.decode_all(data, "A"), pem.encode("A", vectors.SECRET).encode() * 2),
    (_decoded(url.split_url), b"https://[2001:db8::1]:8443/path?query#fragment"),
    (_decoded(url.split_url), b"https://host.example:8443/path?query#fragment"),
    (_decoded(http.content_range), b"bytes 100-199/1000"),
    (_decoded(http.retry_after), b"120"),
    (_decoded(version.parse), b"1.20.3-rc.1+build.7"),
    (_decoded(lambda text: version.satisfies("1.2.3", text)), b">=1.2.0-a <2.0.0 !=1.5.0"),
)
