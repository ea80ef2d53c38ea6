# SPDX-License-Identifier: MIT
"""A certificate by EST: requests and answers of Enrolment over Secure Transport.

Source: RFC 7030, 4.2 (simpleenroll and simplereenroll), with an arbitrary label
(3.2.2) that names the product.  The device proves itself by HTTP Basic with its
own key and secret the first time, by its certificate (the TLS session) later,
and by a statement that its last key has signed (`agent.token.renewal`) when the
certificate has expired.  What comes back must fit the device's key and chain to
a trust anchor; `check` decides that, whatever the server says.
"""

import binascii
import json

from agent.errors import RefusedError

_ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"
_ACCEPT = "application/pkcs7-mime"


def request(product_key, device_key, device_secret, csr):
    """(path, headers, body) of a simpleenroll."""
    path, headers, body = renewal(product_key, csr)
    headers["Authorization"] = basic(device_key, device_secret)
    return path.replace("reenroll", "enroll"), headers, body


def basic(device_key, device_secret):
    """The value of Authorization by which a device proves itself with its secret (RFC 7617)."""
    return "Basic " + binascii.b2a_base64(("%s:%s" % (device_key, device_secret)).encode()).decode().strip()


def renewal(product_key, csr):
    """The same of a simplereenroll, whose proof is the TLS session's client certificate."""
    headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64", "Accept": _ACCEPT}
    return "/.well-known/est/%s/simplereenroll" % product_key, headers, binascii.b2a_base64(csr)


def renewal_by_statement(product_key, jws):
    """The same after the certificate's end: the CSR is in what the last key has signed."""
    headers = {"Content-Type": "application/jose", "Accept": _ACCEPT}
    return "/.well-known/est/%s/simplereenroll" % product_key, headers, jws.encode()


def nonce(body):
    """What the server's nonce road answered.  RefusedError("nonce")."""
    try:
        text = json.loads(body)["nonce"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str) or not 16 <= len(text) <= 128:
        raise RefusedError("nonce", "the server's answer holds no nonce")
    return text


def answer(body):
    """The certificates (DER) of an answer's body."""
    from agent.wire import pem, x509

    return x509.certificates_of_pkcs7(pem.from_base64(body))


def check(certificates, public, anchors, verify, floor=0):
    """The device's chain, leaf first and without the anchor, or RefusedError("certificate").

    The leaf must hold `public`.  An anchor signed it, or an intermediate did that is among `certificates` and that an
    anchor signed: by name, by signature and by what each is for (RFC 5280, 6.1, for chains of one or two).  Of time a
    device without a clock knows that nothing is valid that ended before `floor` (seconds since 1970).
    `verify(key type, scheme, public, data, signature)` -> bool, data: the bytes that were signed.
    """
    from agent.wire import x509

    leaf = None
    others = []
    for der in certificates:
        read = x509.read(der)
        if read.public == public and leaf is None:
            leaf, chain = read, [der]
        else:
            others.append((read, der))
    if leaf is None:
        raise RefusedError("certificate", "it is not for this device's key")
    if leaf.is_ca or leaf.unknown_critical or not leaf.may_sign or not _is_timely(leaf, floor):
        raise RefusedError("certificate", "it is of a kind that a device does not use, or is over")
    roots = [x509.read(anchor) for anchor in anchors]
    for root in roots:
        if _signed(leaf, root, verify, 0):
            return chain
    for issuer, der in others:
        if _is_timely(issuer, floor) and _signed(leaf, issuer, verify, 0):
            for root in roots:
                if _signed(issuer, root, verify, 1):
                    return chain + [der]
    raise RefusedError("certificate", "no trust anchor signed it, nor a CA that one has signed")


def _is_timely(certificate, floor):
    return certificate.not_before <= certificate.not_after and certificate.not_after > floor


def _signed(certificate, issuer, verify, below):
    """Whether `issuer` is a CA that signed it; `below`: how many CAs are under this issuer."""
    if not (issuer.is_ca and issuer.may_certify and issuer.public) or issuer.unknown_critical:
        return False
    if issuer.subject != certificate.issuer or (issuer.path_length is not None and issuer.path_length < below):
        return False
    if certificate.not_before > issuer.not_after or certificate.not_after < issuer.not_before:
        return False  # there is no time at which both are valid
    if certificate.signature_algorithm != _ECDSA_WITH_SHA256:
        return False
    return verify("ecdsa", "ecdsa-sha2-nistp256", issuer.public, certificate.tbs, certificate.signature)
