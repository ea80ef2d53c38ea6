# SPDX-License-Identifier: MIT
"""The road with less to send: the image packed, or as a patch of the one that runs.

Asked for at the configured server, as /images/<hash of the image>; whatever is
not what was asked for leads to the plain road.  Nothing of it is trusted:
`agent.wire.encoded` unpacks within bounds, and the result is hashed like every
image.  What is counted and made durable are bytes of the image.
"""

from agent.errors import DeviceError, RefusedError, UnreachableError
from agent.tasks.pace import Pace

PLAIN = "application/octet-stream"
PREFIX = "application/vnd.trueboot."
READ_BYTES = 4096
TURN_BYTES = 4096  # of the image, between two looks at everything else
OVERHEAD_BYTES = 65_536  # beyond the image's own length and an eighth of it, no packing needs more
SILENT_MS = 10


def take(agent, release, filling):
    """The rest of the image into `filling`; False when the plain road has to be taken, with the slot as that needs it."""
    kinds = agent.config["encodings"].split(",")
    base, base_bytes = agent.image, agent.image_bytes
    if "patch" in kinds and (len(base) != 64 or not base_bytes):
        kinds.remove("patch")  # nothing to patch is known
    if kinds in ([], [""]):
        return False
    url = "%s/images/%s?offset=%d" % (agent.config["https"], release["sha256"], filling.offset)
    if "patch" in kinds:
        url += "&base=" + base
    response = agent.platform.http.open("GET", url + "&accept=" + ",".join(kinds), {}, b"", agent.credentials())
    try:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        known = kind == PLAIN or kind in [PREFIX + name for name in kinds]
        if response.status != 200 or not known:
            return False
        try:
            decoder = None
            if kind != PLAIN:
                codec = _codec(agent)
                reader = _reader(agent) if "patch" in kinds else None
                decoder = codec.decoder(kind, reader, base_bytes, release["length"] - filling.offset)
            yield from _stream(agent, release, response, decoder, filling)
            return True
        except RefusedError as error:
            agent.log_error(error)  # what came before may be as wrong
            filling.restart()
            return False
    finally:
        response.close()


def _codec(agent):
    try:
        return agent.module("wire.encoded")
    except ImportError:
        raise RefusedError("encoded", "this firmware cannot unpack")


def _reader(agent):
    slots, running = agent.platform.slots, agent.slot

    def read(offset, size):
        try:
            data = slots.read(running, offset, size)
            while 0 < len(data) < size:  # a slot may give less, at the end of a file
                more = slots.read(running, offset + len(data), size - len(data))
                if not more:
                    break
                data += more
            return data
        except DeviceError as error:
            raise RefusedError("encoded", "the running slot cannot be read: %s" % error.code)

    return read


def _stream(agent, release, response, decoder, filling):
    length = release["length"]
    left = length - filling.offset
    left += left // 8 + OVERHEAD_BYTES
    pace = Pace(agent.platform.clock, agent.config["bandwidth_bytes_s"])
    size = pace.piece(agent.chunk if decoder is None else min(agent.chunk, READ_BYTES))
    turn = 0
    while True:
        data = response.read(size)
        if data is None:
            pace.rest_ms(0)
            yield SILENT_MS
            continue
        if not data:
            break
        rest = pace.rest_ms(len(data))
        left -= len(data)
        if left < 0:
            raise RefusedError("encoded", "longer than the image")
        if decoder is None:
            filling.put(data)
        else:
            for piece in decoder.feed(data):
                filling.put(piece)
                turn += len(piece)
                if turn >= TURN_BYTES:
                    turn = 0
                    yield 0
        yield rest
    if decoder is not None:
        decoder.end()
    if filling.offset != length:
        text = "%d of %d bytes" % (filling.offset, length)
        raise RefusedError("encoded", text) if decoder else UnreachableError("http_truncated", text)
