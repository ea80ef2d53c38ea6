# SPDX-License-Identifier: MIT
"""Absolute URLs, of https unless said otherwise: where to connect, and what to ask there.

Only what can be read in one way: no user information, no percent-encoded or
international host.  Whether the host may be talked to at all
is the caller's to decide.  Source: RFC 3986, 3.
"""

from agent.errors import RefusedError

MAX_URL_CHARS = 2048
MAX_HOST_CHARS = 255  # RFC 1035, 2.3.4
MAX_DIGITS = 15

_HOST = "abcdefghijklmnopqrstuvwxyz0123456789-._"
_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_ADDRESS = "0123456789abcdef:."


def split_url(url: str, scheme: str = "https", default_port: int = 443) -> tuple:
    """(host, port, target) of an absolute URL of that scheme; an IPv6 host comes without its brackets.

    RefusedError("url"): URLs come from clouds.
    """
    start = len(scheme) + 3
    if url[:start].lower() != scheme + "://" or len(url) > MAX_URL_CHARS or not is_plain(url, 0x21):
        raise _refused("not a URL of %s" % scheme)
    rest = url[start:].partition("#")[0]
    end = len(rest)
    for mark in "/?":
        at = rest.find(mark)
        if 0 <= at < end:
            end = at
    target = rest[end:]
    if target[:1] != "/":
        target = "/" + target
    host, _, port = rest[:end].partition(":")
    allowed = _HOST
    if host[:1] == "[":
        host, bracket, port = rest[1:end].partition("]")
        if not bracket or ":" not in host or port[:1] not in ("", ":"):
            raise _refused("IPv6 address")
        port = port[1:]
        allowed = _ADDRESS
    number = decimal(port, 5) if port else default_port
    if not 0 < len(host) <= MAX_HOST_CHARS or not _has_only(host.lower(), allowed) or not number or number > 0xFFFF:
        raise _refused("host or port")  # a user's name before "@" ends up here, too
    return host, number, target


def host_header(host: str, port: int) -> str:
    """Host and port as `request` wants its authority."""
    name = "[%s]" % host if ":" in host else host
    return name if port == 443 else "%s:%d" % (name, port)


def quote(text: str, safe: str = "") -> str:
    """Percent-encoded (RFC 3986, 2.1), but for unreserved characters and those in `safe`: by default one component of a path."""
    return "".join(
        [chr(byte) if chr(byte) in safe or chr(byte) in _UNRESERVED else "%%%02X" % byte for byte in text.encode()]
    )


def is_plain(text: str, least: int) -> bool:
    """Whether all characters are ASCII from `least` up, without DEL."""
    for character in text:
        if not least <= ord(character) < 127:
            return False
    return True


def decimal(text: str, max_digits: int = MAX_DIGITS):
    """A number of ASCII digits alone, else None; int() would take signs, blanks and underscores."""
    return int(text) if 0 < len(text) <= max_digits and _has_only(text, "0123456789") else None


def _has_only(text: str, allowed: str) -> bool:
    for character in text:
        if character not in allowed:
            return False
    return True


def _refused(detail: str) -> RefusedError:
    return RefusedError("url", detail)
