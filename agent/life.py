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
 * What a certificate says is read once and kept, under its own hash: a board has
   no room to take it apart at each boot.
"""

import binascii
import hashlib

MAX_PAUSE_MS = 21_600_000
BEHIND = "the clock is before this certificate's begin"
AHEAD = "the clock was behind this certificate's end when it was issued"


def dates(leaf, kept=None):
    """{"leaf": SHA-256 in hex, "begin", "end": seconds since 1970} of a certificate in DER.

    `kept`: what the journal has, of this certificate, of another or of none.
    RefusedError("certificate") for what is none.
    """
    of = binascii.hexlify(hashlib.sha256(leaf).digest()).decode()
    if isinstance(kept, dict) and kept.get("leaf") == of and type(kept.get("begin")) is type(kept.get("end")) is int:
        return kept
    from agent.wire import x509

    certificate = x509.read(leaf)
    return {"leaf": of, "begin": certificate.not_before, "end": certificate.not_after}


def plan(dates, since, now_s, percent):
    """(why time does not count or "", due, end): the latter two in ms since 1970.

    `since`: seconds, by the clock of then, when the certificate came, 0 if not known.
    """
    begin, end = dates["begin"], dates["end"]
    why = ""
    if now_s < begin:
        why = BEHIND
    elif since > end and now_s >= since:
        why = AHEAD
    if begin <= since <= end:
        begin = since
    drawn = int(dates["leaf"][:4], 16)
    due_ms = (end - begin) * 1000 * percent // 100
    due_ms -= due_ms // 10 * drawn // 65536
    return why, begin * 1000 + due_ms, end * 1000


def pause_ms(tries, wait_ms, left_ms, patience=6):
    """Between two tries of a renewal: as for any other request (`wait_ms`); later, while there is time, a part of what is left."""
    if tries > patience and left_ms > 0:
        return max(wait_ms, min(left_ms // 20, MAX_PAUSE_MS))
    return wait_ms
