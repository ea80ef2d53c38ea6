# SPDX-License-Identifier: MIT
"""Which delegated roles may speak about a target, in their order.

Source: TUF specification 1.0.x, 4.5 and 5.6.7; TAP 15 for succinct hash bins.
"""

import hashlib
from binascii import hexlify

from agent.trust import canonical
from agent.trust.metadata import Keyring

_TOP_LEVEL = ("", "root", "timestamp", "snapshot", "targets")


def roles(source, path):
    """Yield (name, Keyring, whether it ends the search, whether it is a bin) of each role that `source` delegates `path` to."""
    if source.get("delegations") is None:
        return
    text = source.text
    keys = source.find("delegations", "keys")
    bins = source.find("delegations", "succinct_roles")
    digest = hashlib.sha256(path.encode()).digest()
    if bins is not None:
        name = _bin(source, digest)
        yield name, Keyring(source, keys, bins, name), True, True
        return
    digest = hexlify(digest).decode()
    for _, at in canonical.items(text, source.find("delegations", "roles"), canonical.ARRAY):
        patterns = canonical.find(text, at, "paths")
        prefixes = canonical.find(text, at, "path_hash_prefixes")
        name = canonical.find(text, at, "name")
        if name is None or (patterns is None) == (prefixes is None):
            source.refuse("has a delegation without a name or paths")
        name = canonical.string(text, name)[0]
        if name in _TOP_LEVEL:
            source.refuse("delegates to a top-level role")
        for _, where in canonical.items(text, prefixes if patterns is None else patterns, canonical.ARRAY):
            said = canonical.string(text, where)[0]
            if digest.startswith(said) if patterns is None else matches(said, path):
                ends = canonical.find(text, at, "terminating")
                ends = ends is not None and canonical.load(text, ends) is True
                yield name, Keyring(source, keys, at, name), ends, False
                if ends:
                    return
                break


def _bin(source, digest):
    bits = source.get("delegations", "succinct_roles", "bit_length")
    prefix = source.get("delegations", "succinct_roles", "name_prefix")
    if type(bits) is not int or not 1 <= bits <= 32 or not isinstance(prefix, str):
        source.refuse("has unusable hash bins")
    number = int.from_bytes(digest[:4], "big") >> (32 - bits)
    return "%s-%0*x" % (prefix, (bits + 3) // 4, number)


def matches(pattern, path):
    """Whether a path fits a pattern of `*` and `?`, neither of which stands for a "/"."""
    p = at = 0
    star = -1
    while at < len(path):
        letter = pattern[p : p + 1]
        if letter == "*":
            star, again = p, at
            p += 1
        elif letter == path[at] or (letter == "?" and path[at] != "/"):
            p += 1
            at += 1
        elif star >= 0 and path[again] != "/":
            again += 1
            p, at = star + 1, again
        else:
            return False
    return not pattern[p:].strip("*")
