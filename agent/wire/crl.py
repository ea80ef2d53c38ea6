# SPDX-License-Identifier: MIT
"""Reads a certificate revocation list; trusts nothing by itself.

`read` takes a list apart, without an object for each of its entries; `entries`
walks through them.  Whose list it is, whether its signature is good and whether
it is of today is for the caller to decide, with these parts.
Source: RFC 5280, 5.1 to 5.3, of which a list for all certificates of one CA is
all that is understood: one with a critical extension (a part of a list, a change
of one, an entry of another CA's) is refused, and so is one that does not say
when the next comes.
"""

from agent.errors import AgentError, RefusedError
from agent.wire import der, x509

MAX_BYTES = 1 << 20  # some 25,000 entries

_NUMBER = "2.5.29.20"
_REASON = "2.5.29.21"
_ENUMERATED = 0x0A
_REASONS = {
    1: "keyCompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    9: "privilegeWithdrawn",
}


class List:
    """The parts of a list; `read` makes them.

    issuer: bytes, DER, to be compared as it is      number: int or None
    this_update, next_update: int, seconds since 1970
    tbs: bytes, what is signed   signature: bytes      signature_algorithm: str, dotted
    """


def read(data: bytes, most: int = MAX_BYTES) -> List:
    """RefusedError("crl") for whatever is not one list in DER, of at most `most` bytes, of a kind that is understood."""
    try:
        return _read(data, most)
    except AgentError as error:
        raise _refused(error.detail)


def entries(found: List):
    """(serial, seconds since 1970, reason) of each certificate that is revoked.  Cannot fail: `read` has looked."""
    at = found.revoked
    reader = der.Reader(found.tbs, at[0], at[1], len(found.tbs)) if at else None
    while reader is not None and reader.more():
        yield _entry(reader.enter(der.SEQUENCE))


def find(found: List, serial: int):
    """(seconds, reason) of a revoked certificate, or None."""
    for entry in entries(found):
        if entry[0] == serial:
            return entry[1:]
    return None


def _read(data: bytes, most: int) -> List:
    found = List()
    outer = der.Reader(data, 0, -1, most)
    whole = outer.enter(der.SEQUENCE)
    outer.end()
    found.tbs = whole.element()
    algorithm = whole.element()
    found.signature = whole.bits()
    whole.end()
    found.signature_algorithm = der.Reader(algorithm).enter(der.SEQUENCE).oid()

    fields = der.Reader(found.tbs, 0, -1, most).enter(der.SEQUENCE)
    if fields.integer() != 1:
        raise _refused("not version 2")
    if fields.element() != algorithm:  # 5.1.1.2: they must agree
        raise _refused("two signature algorithms")
    found.issuer = fields.element()
    found.this_update = x509.time(fields)
    if fields.peek() not in (der.UTC_TIME, der.GENERALIZED_TIME):
        raise _refused("it does not say when the next comes")
    found.next_update = x509.time(fields)
    if found.next_update <= found.this_update:
        raise _refused("it ends before it begins")
    found.revoked = None
    if fields.peek() == der.SEQUENCE:
        found.revoked = fields.span(der.SEQUENCE)
    found.number = None
    if fields.peek() == 0xA0:
        holder = fields.enter(0xA0)
        extensions = holder.enter(der.SEQUENCE)
        holder.end()
        while extensions.more():
            name, value = _extension(extensions)
            if name == _NUMBER:
                found.number = der.Reader(value).integer()
    fields.end()
    for _ in entries(found):
        pass
    return found


def _entry(fields: der.Reader):
    serial = fields.integer()
    seconds = x509.time(fields)
    reason = "unspecified"
    if fields.more():
        extensions = fields.enter(der.SEQUENCE)
        while extensions.more():
            name, value = _extension(extensions)
            if name == _REASON:
                number = der.Reader(value).contents(_ENUMERATED)
                reason = _REASONS.get(number[0] if len(number) == 1 else 0, reason)
    fields.end()
    return serial, seconds, reason


def _extension(extensions: der.Reader):
    one = extensions.enter(der.SEQUENCE)
    name = one.oid()
    if one.peek() == 0x01 and one.boolean():
        raise _refused("critical extension " + name)
    value = one.contents(der.OCTET_STRING)
    one.end()
    return name, value


def _refused(detail: str) -> RefusedError:
    return RefusedError("crl", detail)
