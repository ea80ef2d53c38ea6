# SPDX-License-Identifier: MIT
"""New trust anchors out of what a CA sends: a root counts because one that is trusted already has signed for it.

Source: RFC 7030, 4.1.3, and RFC 4210, 4.4 (root CA key update).  "New with old", here
the *link*, is a certificate of the new root's name and key that an old root
signed; "new with new" is the new root by itself, and becomes the anchor.  The
other two say nothing to whoever holds the old root.

A link looks like an issuing CA's certificate, and a root like one that an
issuing CA has made for itself.  So whoever holds an issuing key, which is
online, could make itself a root: a link therefore has no path length (an issuing
CA's is 0), and no key of an issuing CA that is known is taken for a root's.

Pure: what is valid, by `verify`, the time and what is known, is in the arguments.
"""

from agent.errors import RefusedError
from agent.wire import x509

MAX_ANCHORS = 4  # beside the provisioned ones
MAX_BYTES = 2048  # of one root
_ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"


def linked(certificates, anchors, issuing, now, verify):
    """The roots (DER) among `certificates` that are new, and for which one of `anchors` has signed.

    certificates: DER, of any kind, as they came      anchors: DER, which are trusted      now: seconds, at least
    issuing: DER of CAs below a root; their keys are never anchors
    verify: (key type, scheme, public, data, signature) -> bool
    What cannot be read, or is of no use, is passed over.
    """
    trusted = [x509.read(der) for der in anchors]
    known = [one.public for one in trusted] + [x509.read(der).public for der in issuing]
    read = []
    for der in certificates:
        try:
            one = x509.read(der)
        except RefusedError:
            continue
        if _is_root_like(one, now) and len(der) <= MAX_BYTES and one.public not in known:
            read.append((one, der))
    found = []
    for root, der in read:
        if root.subject != root.issuer or not _signed(root, root, verify):
            continue
        for link, _ in read:
            if (link.subject, link.public) == (root.subject, root.public) and _is_linked(link, trusted, now, verify):
                found.append(der)
                break
    return found


def _is_linked(link, trusted, now, verify):
    for old in trusted:
        if old.is_ca and old.not_after > now and old.subject == link.issuer and _signed(link, old, verify):
            return True
    return False


def _is_root_like(one, now):
    """A CA's, of our kind of key, with no bound on what is below it; not over, and not before its time by itself."""
    if not (one.is_ca and one.public and one.may_certify) or one.unknown_critical or one.path_length is not None:
        return False
    return one.signature_algorithm == _ECDSA_WITH_SHA256 and one.not_before < one.not_after and one.not_after > now


def _signed(one, issuer, verify):
    return bool(issuer.public) and verify("ecdsa", "ecdsa-sha2-nistp256", issuer.public, one.tbs, one.signature)
