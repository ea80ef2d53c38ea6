# SPDX-License-Identifier: MIT
"""Certificate requests (PKCS #10) for P-256 keys.

A request names the device and proves that it holds the key; it asks for
nothing but the right to sign (keyUsage digitalSignature), as DECADA's devices
do.  All else in a certificate is the server's choice.  Source: RFC 2986;
RFC 5280, 4.2.1.3 (keyUsage); RFC 2985, 5.4.2 (extensionRequest).
"""

from agent.errors import MisuseError
from agent.wire import der, ecdsa

MAX_NAME_CHARS = 64  # RFC 5280, ub-common-name

_COMMON_NAME = "2.5.4.3"
_BEFORE = {"C": 6, "ST": 8, "L": 7, "O": 10, "OU": 11}
_PRINTABLE_STRING = 0x13  # of a country, RFC 5280, appendix A
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_KEY_USAGE = "2.5.29.15"


def build(common_name: str, point: bytes, sign, before=()) -> bytes:
    """The request in DER.

    `point` is the public key (65 bytes); `sign(message)` returns ECDSA with SHA-256 over `message` as 64 raw bytes,
    as the port `keys` does.  `before`: pairs (C, ST, L, O or OU, text) that come before the common name, where a CA wants
    them.  MisuseError("csr_subject") for a name that no certificate can hold.
    """
    if not 0 < len(common_name) <= MAX_NAME_CHARS:
        raise MisuseError("csr_subject", "a common name has 1 to %d characters" % MAX_NAME_CHARS)
    names = [_attribute(kind, text) for kind, text in before]
    names.append(_name(_COMMON_NAME, der.UTF8_STRING, common_name))
    information = der.sequence(
        der.integer(0),
        der.sequence(*names),
        ecdsa.public_to_der(point),
        der.tlv(0xA0, _request_of_extensions()),
    )
    signature = ecdsa.signature_to_der(sign(information))
    return der.sequence(information, der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256)), der.bits(signature))


def _attribute(kind, text):
    number = _BEFORE.get(kind)
    if number is None or not 0 < len(text) <= MAX_NAME_CHARS or (kind == "C" and len(text) != 2):
        raise MisuseError(
            "csr_subject", "a subject has C (two letters), ST, L, O, OU; each at most %d long" % MAX_NAME_CHARS
        )
    return _name("2.5.4.%d" % number, _PRINTABLE_STRING if kind == "C" else der.UTF8_STRING, text)


def _name(oid, kind, text):
    return der.tlv(der.SET, der.sequence(der.oid(oid), der.tlv(kind, text.encode())))


def _request_of_extensions() -> bytes:
    critical = b"\x01\x01\xff"
    digital_signature = b"\x03\x02\x07\x80"  # a bit string: bit 0, seven bits unused
    usage = der.sequence(der.oid(_KEY_USAGE), critical, der.tlv(der.OCTET_STRING, digital_signature))
    return der.sequence(der.oid(_EXTENSION_REQUEST), der.tlv(der.SET, der.sequence(usage)))
