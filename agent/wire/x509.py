# SPDX-License-Identifier: MIT
"""Reads what a device needs to know of a certificate; trusts nothing by itself.

`read` takes a certificate apart.  Whether its signature is good, whether it
fits a key and whether it chains to an anchor is for the caller to decide, with
these parts; TLS does its own checks.  Source: RFC 5280, 4.1 and 4.2; RFC 7030,
4.1.3 (certs-only); RFC 5652, 5.1.
"""

from agent.errors import AgentError, RefusedError
from agent.wire import der, ecdsa, utf8

MAX_CERTIFICATES = 8  # of one PKCS #7 message

_COMMON_NAME = "2.5.4.3"
_BASIC_CONSTRAINTS = "2.5.29.19"
_KEY_USAGE = "2.5.29.15"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_STRING_TAGS = (0x0C, 0x13, 0x16)  # UTF8String, PrintableString, IA5String
_DAYS_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)


class Certificate:
    """The parts of a certificate; `read` makes them.

    serial: int                  issuer, subject: bytes, DER, to be compared as they are
    common_name: str or None     public: bytes, P-256 point of 65 bytes, or None for another kind of key
    not_before, not_after: int, seconds since 1970      is_ca: bool (basicConstraints)
    tbs: bytes, what is signed   signature: bytes      signature_algorithm: str, dotted
    may_sign, may_certify: bool (keyUsage digitalSignature and keyCertSign; both true when there is no such extension)
    path_length: int or None (basicConstraints, pathLenConstraint)
    unknown_critical: bool, whether it has critical extensions other than basicConstraints and keyUsage
    """


def read(data: bytes) -> Certificate:
    """RefusedError("certificate") for whatever is not one X.509 certificate in DER."""
    try:
        return _read(data)
    except AgentError as error:
        raise _refused(error.detail)


def certificates_of_pkcs7(data: bytes) -> list:
    """DER of each certificate in a certs-only message, in its order.  RefusedError("certificate")."""
    try:
        return _read_pkcs7(data)
    except AgentError as error:
        raise _refused(error.detail)


def _read(data: bytes) -> Certificate:
    certificate = Certificate()
    outer = der.Reader(data)
    whole = outer.enter(der.SEQUENCE)
    outer.end()
    certificate.tbs = whole.element()
    algorithm = whole.element()
    certificate.signature = whole.bits()
    whole.end()
    certificate.signature_algorithm = der.Reader(algorithm).enter(der.SEQUENCE).oid()

    fields = der.Reader(certificate.tbs).enter(der.SEQUENCE)
    version = 0
    if fields.peek() == 0xA0:
        holder = fields.enter(0xA0)
        version = holder.integer()
        holder.end()
    certificate.serial = fields.integer()
    if fields.element() != algorithm:  # 4.1.1.2: they must agree
        raise _refused("two signature algorithms")
    certificate.issuer = fields.element()
    validity = fields.enter(der.SEQUENCE)
    certificate.not_before = time(validity)
    certificate.not_after = time(validity)
    validity.end()
    certificate.subject = fields.element()
    certificate.common_name = _common_name(certificate.subject)
    certificate.public = ecdsa.read_public(fields)
    for unique_identifier in (0x81, 0x82):
        if fields.peek() == unique_identifier:
            fields.skip()
    certificate.is_ca = certificate.unknown_critical = False
    certificate.may_sign = certificate.may_certify = True
    certificate.path_length = None
    if fields.peek() == 0xA3 and version == 2:
        holder = fields.enter(0xA3)
        _read_extensions(certificate, holder.enter(der.SEQUENCE))
        holder.end()
    fields.end()
    return certificate


def _read_extensions(certificate: Certificate, extensions: der.Reader) -> None:
    seen = []
    while extensions.more():
        extension = extensions.enter(der.SEQUENCE)
        name = extension.oid()
        critical = extension.boolean() if extension.peek() == 0x01 else False
        value = extension.contents(der.OCTET_STRING)
        extension.end()
        if name in seen:
            raise _refused("extension %s twice" % name)
        seen.append(name)
        if name == _BASIC_CONSTRAINTS:
            constraints = der.Reader(value).enter(der.SEQUENCE)
            certificate.is_ca = constraints.boolean() if constraints.peek() == 0x01 else False
            if constraints.more():
                certificate.path_length = constraints.integer()
            constraints.end()
        elif name == _KEY_USAGE:
            bits = der.Reader(value).contents(der.BIT_STRING)
            if len(bits) < 2 or bits[0] > 7:
                raise _refused("key usage")
            certificate.may_sign, certificate.may_certify = bool(bits[1] & 0x80), bool(bits[1] & 0x04)
        elif critical:
            certificate.unknown_critical = True


def _common_name(name: bytes):
    """The last one, being the most specific; None when there is none."""
    found = None
    parts = der.Reader(name).enter(der.SEQUENCE)
    while parts.more():
        part = parts.enter(der.SET)
        while part.more():
            attribute = part.enter(der.SEQUENCE)
            kind = attribute.oid()
            tag = attribute.peek()
            value = attribute.contents(tag)
            attribute.end()
            if kind == _COMMON_NAME and tag in _STRING_TAGS:
                found = utf8.decode(value)
    return found


def time(validity: der.Reader) -> int:
    """Seconds since 1970 of a UTCTime or GeneralizedTime, in the only forms that 4.1.2.5 allows."""
    tag = validity.peek()
    text = validity.contents(tag)
    digits = text[:-1]
    if (tag, len(text)) not in ((der.UTC_TIME, 13), (der.GENERALIZED_TIME, 15)) or text[-1:] != b"Z":
        raise _refused("form of a time")
    for byte in digits:
        if not 48 <= byte <= 57:
            raise _refused("form of a time")
    if tag == der.UTC_TIME:
        digits = (b"19" if digits[0] >= 53 else b"20") + digits  # 50 to 99 are years of the last century
    year = int(digits[:4])
    month, day, hour, minute, second = [int(digits[at : at + 2]) for at in range(4, 14, 2)]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        raise _refused("a time that does not exist")
    days_of_month = _DAYS_BEFORE_MONTH[month] - _DAYS_BEFORE_MONTH[month - 1] + (leap and month == 2)
    if not 1 <= day <= days_of_month:
        raise _refused("a day that does not exist")
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719162  # days of the years up to 1970
    days += _DAYS_BEFORE_MONTH[month - 1] + (leap and month > 2) + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def _read_pkcs7(data: bytes) -> list:
    outer = der.Reader(data)
    message = outer.enter(der.SEQUENCE)
    outer.end()
    if message.oid() != _SIGNED_DATA:
        raise _refused("not a PKCS #7 message of certificates")
    holder = message.enter(0xA0)
    message.end()
    signed = holder.enter(der.SEQUENCE)
    holder.end()
    signed.integer()  # version
    signed.enter(der.SET)  # digest algorithms: nothing is signed
    signed.enter(der.SEQUENCE)  # content: none
    certificates = []
    if signed.peek() == 0xA0:
        holder = signed.enter(0xA0)
        while holder.more():
            if len(certificates) == MAX_CERTIFICATES:
                raise _refused("more than %d certificates" % MAX_CERTIFICATES)
            certificates.append(holder.element())
    if signed.peek() == 0xA1:  # revocation lists
        signed.skip()
    signed.enter(der.SET).end()  # nobody signed
    signed.end()
    return certificates


def _refused(detail: str) -> RefusedError:
    return RefusedError("certificate", detail)
