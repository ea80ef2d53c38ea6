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
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_KEY_USAGE = "2.5.29.15"


def build(common_name: str, point: bytes, sign) -> bytes:
    """The request in DER.

    `point` is the public key (65 bytes); `sign(message)` returns ECDSA with SHA-256 over `message` as 64 raw bytes,
    as the port `keys` does.  MisuseError("csr_subject") for a name that no certificate can hold.
    """
    if not 0 < len(common_name) <= MAX_NAME_CHARS:
        raise MisuseError("csr_subject", "a common name has 1 to %d characters" % MAX_NAME_CHARS)
    name = der.sequence(der.oid(_COMMON_NAME), der.tlv(der.UTF8_STRING, common_name.encode()))
    information = der.sequence(
        der.integer(0),
        der.sequence(der.tlv(der.SET, name)),
        ecdsa.public_to_der(point),
        der.tlv(0xA0, _request_of_extensions()),
    )
    signature = ecdsa.signature_to_der(sign(information))
    return der.sequence(information, der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256)), der.bits(signature))


def _request_of_extensions() -> bytes:
    critical = b"\x01\x01\xff"
    digital_signature = b"\x03\x02\x07\x80"  # a bit string: bit 0, seven bits unused
    usage = der.sequence(der.oid(_KEY_USAGE), critical, der.tlv(der.OCTET_STRING, digital_signature))
    return der.sequence(der.oid(_EXTENSION_REQUEST), der.tlv(der.SET, der.sequence(usage)))
