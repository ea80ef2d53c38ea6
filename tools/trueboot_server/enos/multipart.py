# SPDX-License-Identifier: MIT
"""The parts of a multipart/form-data body that is wholly here (RFC 7578), by name.  Strict and small."""

from __future__ import annotations

import re

from .answers import BAD_ARGUMENT, EnosError

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*\bboundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70}?)"?\s*(;.*)?\Z', re.I)
_NAME = re.compile(rb'content-disposition:\s*form-data\s*;[^\r\n]*?\bname="([^"\r\n]{1,64})"', re.I)
_MAX_PARTS, _MAX_HEAD_BYTES = 8, 2048


def parts(content_type: str, body: bytes) -> dict[str, bytes]:
    boundary = _BOUNDARY.match(content_type)
    if boundary is None:
        raise EnosError(BAD_ARGUMENT, "invalid argument: the body is multipart/form-data with a boundary")
    mark = b"--" + boundary[1].encode()
    # Each part begins behind a line with the mark; the last mark ends in two more hyphens.
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)[1:]
    if not 2 <= len(pieces) <= _MAX_PARTS + 1 or not pieces[-1].startswith(b"--"):
        raise EnosError(BAD_ARGUMENT, "invalid argument: the multipart body is cut short, or has too many parts")
    found: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        head, empty, data = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head) if len(head) <= _MAX_HEAD_BYTES else None
        if not empty or name is None or name[1].decode("latin-1") in found:
            raise EnosError(BAD_ARGUMENT, "invalid argument: a part without a name of its own")
        found[name[1].decode("latin-1")] = data
    return found
