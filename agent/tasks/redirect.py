# SPDX-License-Identifier: MIT
"""Where a redirect leads: the next of a few steps, over https, in no circle.

Who may be redirected, and what is sent along, is `source`'s to decide.
Source: RFC 9110, 10.2.2 and 15.4; of RFC 3986, 5.2 what servers use: absolute
URLs, and references that begin with "//" or "/", or with a name.
"""

from agent.errors import RefusedError
from agent.wire.url import split_url

MAX_REDIRECTS = 3


def follow(met, location):
    """The next URL after those of `met`, to which it is added.  RefusedError("http_redirect")."""
    if len(met) > MAX_REDIRECTS:
        raise _refused("more than %d times" % MAX_REDIRECTS)
    url = _resolved(met[-1], location).partition("#")[0]
    try:
        split_url(url)
    except RefusedError:
        raise _refused("to what is no URL of https")
    if url in met:
        raise _refused("in a circle")
    met.append(url)
    return url


def _resolved(base, location):
    base = base.partition("?")[0]
    start = base.find("/", 8)  # behind https://
    origin, path = (base, "/") if start < 0 else (base[:start], base[start:])
    if location[:2] == "//":
        return "https:" + location
    if location[:1] == "/":
        return origin + location
    head = location.partition("/")[0]
    if not location or ":" in head:
        return location
    return origin + path.rpartition("/")[0] + "/" + location


def _refused(how):
    return RefusedError("http_redirect", "the server of the file sends the device elsewhere " + how)
