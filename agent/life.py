# SPDX-License-Identifier: MIT
"""When a certificate is renewed, and when it is over.  Pure.

Rules kept:
 * Due at `percent` of the life, less up to a tenth by the certificate's own
   hash: a fleet that enrolled in one hour does not renew in one hour, and a
   restart does not shift it.
 * The life begins when the certificate came, if the clock was right then;
   issuers date certificates back, and of a short one nothing would be left.
 * Time decides only where the clock can be right.  Before notBefore it is not:
   nothing is due, and nothing over, but on request or when servers refuse.  A
   certificate that was over by the clock when it came shows that the clock was
   ahead; asking for another would give another such.
"""

import hashlib

from agent.wire import x509

MAX_PAUSE_MS = 21_600_000
BEHIND = "the clock is before this certificate's begin"
AHEAD = "the clock was behind this certificate's end when it was issued"


def plan(leaf, since, now_s, percent):
    """(why time does not count or "", due, end): the latter two in ms since 1970.

    `leaf`: DER; `since`: seconds, by the clock of then, when the certificate came, 0 if not known.
    RefusedError("certificate") for what is none.
    """
    certificate = x509.read(leaf)
    begin, end = certificate.not_before, certificate.not_after
    if begin <= since <= end:
        begin = since
    life_ms = (end - begin) * 1000
    drawn = int.from_bytes(hashlib.sha256(leaf).digest()[:2], "big")
    due_ms = life_ms * percent // 100
    due_ms -= due_ms // 10 * drawn // 65536
    why = ""
    if now_s < certificate.not_before:
        why = BEHIND
    elif since > end and now_s >= since:
        why = AHEAD
    return why, begin * 1000 + due_ms, end * 1000


def pause_ms(tries, wait_ms, left_ms, patience=6):
    """Between two tries of a renewal: as for any other request (`wait_ms`); later, while there is time, a part of what is left."""
    if tries > patience and left_ms > 0:
        return max(wait_ms, min(left_ms // 20, MAX_PAUSE_MS))
    return wait_ms
