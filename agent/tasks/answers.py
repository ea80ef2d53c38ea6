# SPDX-License-Identifier: MIT
"""What an answer means that is not simply the file: "not now", "not by this address", another part, or no success at all."""

from agent.errors import RefusedError, UnreachableError
from agent.wire.http import content_range, retry_after

MAX_RETRY_AFTER_S = 1800  # a server that wants to be left alone for longer is asked again all the same
REFUSED = (401, 403, 404, 410)  # what is said of an address that has expired
BUSY = (429, 503)
REDIRECTS = (301, 302, 303, 307, 308)  # which the configured server does not use


def unusable(response, what, offset=0):
    """The error that a status other than success means.  Its `after_s`: seconds that the server wants to be left alone."""
    status = response.status
    if status == 416 and offset:
        return UnreachableError("http_range", "the server has nothing from byte %d on" % offset)
    if status in REDIRECTS:
        return RefusedError("http_redirect", "the configured server sends the device elsewhere (%d)" % status)
    error = UnreachableError("url_refused" if status in REFUSED else "http_status", "%d for %s" % (status, what))
    if status in BUSY:
        error.after_s = min(retry_after(response.headers.get("retry-after", "")) or 0, MAX_RETRY_AFTER_S)
    return error


def wrong_part(response, url, offset, length, memory):
    """The error of an answer with a part, or None when it is the one that was asked for."""
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
