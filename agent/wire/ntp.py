# SPDX-License-Identifier: MIT
"""NTP's shortest use: one packet out, one packet in, the time to the second.

Source: RFC 5905, 7.3 and 14 (a client that asks now and then), RFC 4330, 5.  The
packet that goes out carries chance where a time would stand (RFC 8915's authors'
data minimisation, draft-ietf-ntp-data-minimization): only who has seen it can
answer, and it tells nothing of this device.  That is all the protection there is:
whoever sits on the way can answer as well, so the caller believes it for one boot.
"""

from agent.errors import RefusedError

PORT = 123
PACKET_BYTES = 48
NONCE_BYTES = 8
_TO_1970 = 2_208_988_800  # seconds from 1900
_ERA = 1 << 32  # seconds, until February 2036


def request(nonce: bytes) -> bytes:
    """A client's packet of version 4; `nonce`: 8 random bytes."""
    return b"\x23" + bytes(39) + nonce


def read(packet: bytes, nonce: bytes) -> int:
    """Seconds since 1970, from the answer to `request(nonce)`.  RefusedError("ntp")."""
    if len(packet) < PACKET_BYTES:
        raise _refused("the answer is too short")
    leap, version, mode = packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7
    if mode != 4 or version not in (3, 4) or packet[24:32] != nonce:
        raise _refused("that is no answer to this question")
    if packet[1] == 0:
        raise _refused("the server does not want to be asked")  # kiss of death
    if leap == 3 or packet[1] > 15:
        raise _refused("the server does not know the time itself")
    seconds = int.from_bytes(packet[40:44], "big")
    if packet[40:48] == bytes(8):
        raise _refused("the answer holds no time")
    if seconds < 1 << 31:
        seconds += _ERA
    return seconds - _TO_1970


def _refused(detail: str) -> RefusedError:
    return RefusedError("ntp", detail)
