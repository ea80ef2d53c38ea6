# SPDX-License-Identifier: MIT
"""A certificate by EST: requests and answers of Enrolment over Secure Transport.

Source: RFC 7030, 4.2 (simpleenroll), with an arbitrary label (3.2.2) that names
the product.  The device proves itself by HTTP Basic with its own key and
secret.  What comes back must fit the device's key and chain to a trust anchor;
`check` decides that, whatever the server says.
"""

import binascii

from agent.errors import RefusedError

_ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"


def request(product_key, device_key, device_secret, csr):
    """(path, headers, body) of a simpleenroll."""
    basic = binascii.b2a_base64(("%s:%s" % (device_key, device_secret)).encode()).decode().strip()
    headers = {
        "Authorization": "Basic " + basic,
        "Content-Type": "application/pkcs10",
        "Content-Transfer-Encoding": "base64",
        "Accept": "application/pkcs7-mime",
    }
    return "/.well-known/est/%s/simpleenroll" % product_key, headers, binascii.b2a_base64(csr)


def answer(body):
    """The certificates (DER) of an answer's body."""
    from agent.wire import pem, x509

    return x509.certificates_of_pkcs7(pem.from_base64(body))


def check(certificates, public, anchors, verify):
    """The device's chain, leaf first, or RefusedError("certificate").

    The leaf must hold `public`; it must be signed by an anchor, by name and
    by signature (RFC 5280, 6.1, for a chain of one: our profile has no intermediates).
    `verify(key type, scheme, public, data, signature)` -> bool, data: the bytes that were signed.
    """
    from agent.wire import x509

    for der in certificates:
        leaf = x509.read(der)
        if leaf.public != public:
            continue
        if leaf.is_ca or leaf.unknown_critical or leaf.signature_algorithm != _ECDSA_WITH_SHA256:
            raise RefusedError("certificate", "it is of a kind that a device does not use")
        for anchor in anchors:
            issuer = x509.read(anchor)
            if issuer.subject == leaf.issuer and issuer.is_ca and issuer.public:
                if verify("ecdsa", "ecdsa-sha2-nistp256", issuer.public, leaf.tbs, leaf.signature):
                    return [der]
        raise RefusedError("certificate", "no trust anchor signed it")
    raise RefusedError("certificate", "it is not for this device's key")
