# SPDX-License-Identifier: MIT
"""Where an image comes from: the repository's targets, the URL of a bundle, or a file on the device.

A release with "source" comes in a bundle: {"url" or "file", "prefix": bytes before
the image, "length": of the whole file, "sha256": of the whole file as the offer
says, or None}.  Others have "address", where the repository keeps their image.

Rules kept
 * Only https.  The client certificate goes to the configured server alone, and to
   nobody any more once a redirect has led elsewhere, not even back.
 * The URL of an offer may be redirected, a few times (`redirect`); the configured
   server answers itself, for metadata and for images.
 * An answer to a Range request must be exactly that range, of the same file as
   before, as far as ETag and If-Range tell: the signed hash decides in the end.
 * What says "not now" or "not by this address" is told apart from other faults.

Errors are UnreachableError: the other side, or the stick, may come back.
"""

import os

from agent.errors import RefusedError, UnreachableError
from agent.wire.http import content_range, retry_after
from agent.wire.url import split_url

MAX_RETRY_AFTER_S = 1800  # a server that wants to be left alone for longer is asked again all the same
MAX_ETAG_CHARACTERS = 128
REFUSED = (401, 403, 404, 410)  # what is said of an address that has expired
BUSY = (429, 503)
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
    return _get(agent, offer["url"], 0, 0, True)


def open_image(agent, release, offset, memory):
    """The rest of the image from `offset`, or a whole file: (response, bytes in front of what was asked for).

    `memory`: of the download; keeps which file it was, by its ETag.
    """
    source = release.get("source")
    if source is None:
        url = agent.config["https"] + "/repo/targets/" + release["address"]
        return _get(agent, url, offset, release["length"], False, memory), 0
    at = source["prefix"] + offset if offset else 0
    if "file" in source:
        response = File(source["file"], at, source["length"])
    else:
        response = _get(agent, source["url"], at, source["length"], True, memory)
    return response, 0 if response.status == 206 else source["prefix"]


def unusable(response, what):
    """The error that a status other than success means.  Its `after_s`: seconds that the server wants to be left alone."""
    status = response.status
    error = UnreachableError("url_refused" if status in REFUSED else "http_status", "%d for %s" % (status, what))
    if status in BUSY:
        error.after_s = min(retry_after(response.headers.get("retry-after", "")) or 0, MAX_RETRY_AFTER_S)
    return error


def _get(agent, url, offset, length, named, memory=None):
    """`named`: by an offer."""
    response = _open(agent, url, offset, named, memory)
    problem = None
    if response.status == 206 and offset:
        problem = _wrong_part(response, url, offset, length, memory)
    elif response.status == 416 and offset:
        problem = UnreachableError("http_range", "the server has nothing from byte %d on" % offset)
    elif response.status in REDIRECTS:
        problem = RefusedError(
            "http_redirect", "the configured server sends the device elsewhere (%d)" % response.status
        )
    elif response.status != 200:
        problem = unusable(response, "the image")
    if problem:
        response.close()
        raise problem
    if memory:
        etag = response.headers.get("etag", "")
        strong = etag[:1] == '"' and len(etag) <= MAX_ETAG_CHARACTERS  # RFC 9110, 13.1.5: If-Range takes no weak one
        memory["file"] = (url, etag) if strong else None
    return response


def _open(agent, url, offset, named, memory):
    own = split_url(agent.config["https"])[:2]
    headers = {}
    if offset:
        headers["Range"] = "bytes=%d-" % offset
        if memory and memory["file"] and memory["file"][0] == url:
            headers["If-Range"] = memory["file"][1]
    met, trusted = [url], True
    while True:
        trusted = trusted and split_url(url)[:2] == own
        response = agent.platform.http.open("GET", url, headers, b"", agent.credentials() if trusted else None)
        if not named or response.status not in REDIRECTS:
            return response
        from agent.tasks import redirect

        location = response.headers.get("location", "")
        response.close()
        url = redirect.follow(met, location)


def _wrong_part(response, url, offset, length, memory):
    try:
        part = content_range(response.headers.get("content-range", ""))
    except RefusedError:
        part = None
    if part != (offset, length - 1, length):
        return UnreachableError("http_range", "the server answered with another range")
    known, etag = memory and memory["file"], response.headers.get("etag")
    if known and etag and known != (url, etag) and known[0] == url:
        return UnreachableError("http_range", "the server answered with a part of another file")
    return None


def _gone(path, error):
    return UnreachableError("bundle_gone", "cannot read %s: %s" % (path, error))
