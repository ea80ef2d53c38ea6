# SPDX-License-Identifier: MIT
"""P-256 keys and signatures in their DER forms; only forms, no arithmetic.

A *point* is 65 bytes, 0x04 and both coordinates (SEC 1, 2.3.3); whether it
lies on the curve is for `agent.crypto.p256` to say.  A *raw* signature is r
and s, 32 bytes each (RFC 7518, 3.4); `agent.wire.signature` reads one from DER.
A *secret* is 32 bytes.
Sources: RFC 3279, 2.2.3 (signatures); RFC 5480 (public keys); RFC 5915 and
RFC 5958 (private keys).
"""

from agent.errors import MisuseError
from agent.wire import der

EC_PUBLIC_KEY = "1.2.840.10045.2.1"
PRIME256V1 = "1.2.840.10045.3.1.7"
ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"

_POINT_TAG = 0xA1  # [1] of ECPrivateKey
_PARAMETERS_TAG = 0xA0  # [0] of ECPrivateKey
_ATTRIBUTES_TAG = 0xA0  # [0] of PrivateKeyInfo


def signature_to_der(raw: bytes) -> bytes:
    if len(raw) != 64:
        raise MisuseError("signature_length", "a raw signature has 64 bytes")
    return der.sequence(der.integer(int.from_bytes(raw[:32], "big")), der.integer(int.from_bytes(raw[32:], "big")))


def public_to_der(point: bytes) -> bytes:
    """SubjectPublicKeyInfo."""
    if len(point) != 65 or point[0] != 4:
        raise MisuseError("public_point", "a public point has 65 bytes and begins with 4")
    return der.sequence(_algorithm(), der.bits(point))


def public_from_der(data: bytes):
    """The point of a SubjectPublicKeyInfo; None for another algorithm or curve, or a compressed point."""
    outer = der.Reader(data)
    point = read_public(outer)
    outer.end()
    return point


def read_public(reader: der.Reader):
    """The same for the next element of `reader`."""
    info = reader.enter(der.SEQUENCE)
    is_p256 = _read_algorithm(info)
    point = info.bits()
    info.end()
    return point if is_p256 and len(point) == 65 and point[0] == 4 else None


def secret_to_der(secret: bytes, point: bytes) -> bytes:
    """PKCS #8 PrivateKeyInfo, which both interpreters' `load_cert_chain` take."""
    if len(secret) != 32 or len(point) != 65:
        raise MisuseError("secret_length", "a secret has 32 bytes, its point 65")
    version = der.integer(1)
    key = der.sequence(version, der.tlv(der.OCTET_STRING, secret), der.tlv(_POINT_TAG, der.bits(point)))
    return der.sequence(der.integer(0), _algorithm(), der.tlv(der.OCTET_STRING, key))


def secret_from_der(data: bytes) -> tuple:
    """(secret, point or None) of a PKCS #8 PrivateKeyInfo or a SEC 1 ECPrivateKey.

    RefusedError("der") for a broken encoding, and for a key of another algorithm or curve.
    """
    outer = der.Reader(data)
    key = outer.enter(der.SEQUENCE)
    outer.end()
    is_sec1 = key.integer() == 1
    if not is_sec1:
        if not _read_algorithm(key):
            raise der.refused("not a P-256 key")
        wrapped = der.Reader(key.contents(der.OCTET_STRING))
        if key.peek() == _ATTRIBUTES_TAG:
            key.skip()
        key.end()
        key = wrapped.enter(der.SEQUENCE)
        wrapped.end()
        if key.integer() != 1:
            raise der.refused("version of the private key")
    secret = key.contents(der.OCTET_STRING)
    if len(secret) != 32:
        raise der.refused("not a P-256 key")
    if key.peek() == _PARAMETERS_TAG:
        parameters = key.enter(_PARAMETERS_TAG)
        if parameters.oid() != PRIME256V1:
            raise der.refused("not a P-256 key")
        parameters.end()
    elif is_sec1:
        raise der.refused("the private key names no curve")
    point = None
    if key.peek() == _POINT_TAG:
        holder = key.enter(_POINT_TAG)
        point = holder.bits()
        holder.end()
        if len(point) != 65 or point[0] != 4:
            raise der.refused("the private key's point is not an uncompressed one")
    key.end()
    return secret, point


def _algorithm() -> bytes:
    return der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(PRIME256V1))


def _read_algorithm(reader: der.Reader) -> bool:
    algorithm = reader.enter(der.SEQUENCE)
    # Parameters of other algorithms may be of any type; those of P-256 are its name.
    if algorithm.oid() != EC_PUBLIC_KEY or algorithm.peek() != der.OBJECT_IDENTIFIER:
        return False
    is_p256 = algorithm.oid() == PRIME256V1
    algorithm.end()
    return is_p256
