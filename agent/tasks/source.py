# SPDX-License-Identifier: MIT
"""Where an image comes from: the repository's targets, the URL of a bundle, or a file on the device.

A release with "source" comes in a bundle: {"url" or "file", "prefix": bytes before
the image, "length": of the whole file, "sha256": of the whole file as the offer
says, or None}.  Others have "address", where the repository keeps their image.

Rules kept: only https; the client certificate goes to the configured server
alone, never to a host that an offer names; no redirect is followed; an answer to
a Range request must be exactly that range.  Errors are UnreachableError: the
other side, or the stick, may come back.
"""

import os

from agent.errors import RefusedError, UnreachableError
from agent.wire.http import content_range
from agent.wire.url import split_url

_KIND, _PLAIN = 0xF000, 0x8000  # of a file's mode (POSIX, S_IFMT and S_IFREG; MicroPython has the same)
REDIRECTS = (301, 302, 303, 307, 308)


class File:
    """A file, read like the answer to a request."""

    def __init__(self, path, offset, length):
        """`length`: what the file must have, None for any."""
        self.status = 206 if offset else 200
        try:
            if os.stat(path)[0] & _KIND != _PLAIN:
                raise RefusedError("no_bundle", "%s is no plain file" % path)  # a pipe would block for ever
            self._file = open(path, "rb")
            self.length = self._file.seek(0, 2)
            self._file.seek(offset)
        except OSError as error:
            raise _gone(path, error)
        self._path = path
        if length not in (None, self.length):
            self._file.close()
            raise RefusedError("bundle_length", "%s has %d bytes now, not %d" % (path, self.length, length))

    def read(self, size):
        try:
            return self._file.read(size)
        except OSError as error:
            raise _gone(self._path, error)

    def close(self):
        self._file.close()


def open_bundle(agent, offer):
    """The file that an offer is about, from its first byte."""
    if offer.get("file"):
        return File(offer["file"], 0, None)
    return _get(agent, offer["url"], 0, 0)


def open_image(agent, release, offset):
    """The rest of the image from `offset`, or a whole file: (response, bytes in front of what was asked for)."""
    source = release.get("source")
    if source is None:
        url = agent.config["https"] + "/repo/targets/" + release["address"]
        return _get(agent, url, offset, release["length"]), 0
    at = source["prefix"] + offset if offset else 0
    if "file" in source:
        response = File(source["file"], at, source["length"])
    else:
        response = _get(agent, source["url"], at, source["length"])
    return response, 0 if response.status == 206 else source["prefix"]


def _get(agent, url, offset, length):
    https = agent.config["https"]
    identity = agent.credentials() if split_url(url)[:2] == split_url(https)[:2] else None
    headers = {"Range": "bytes=%d-" % offset} if offset else {}
    response = agent.platform.http.open("GET", url, headers, b"", identity)
    problem = None
    if response.status == 206 and offset:
        first, last, total = content_range(response.headers.get("content-range", ""))
        if (first, last, total) != (offset, length - 1, length):
            problem = UnreachableError("http_range", "the server answered with another range")
    elif response.status in REDIRECTS:
        problem = RefusedError(
            "http_redirect", "the server of the file sends the device elsewhere (%d)" % response.status
        )
    elif response.status != 200:
        problem = UnreachableError("http_status", "%d for the image" % response.status)
    if problem:
        response.close()
        raise problem
    return response


def _gone(path, error):
    return UnreachableError("bundle_gone", "cannot read %s: %s" % (path, error))
