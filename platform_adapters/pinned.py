# SPDX-License-Identifier: MIT
"""The key that a device meets most gets a table, kept in the store, with which it verifies in half the time.

Record "comb": a point and its comb (`agent.crypto.p256_comb`).  It is read
when a P-256 signature is checked and held no longer.  What it rests on:
  * A key gets its table when two different signatures of it were good, one
    after the other.  Most visits to a repository check one signature, that of
    the timestamp, so its key wins, and takes the place of an earlier one.
  * A table counts for exactly its own point, and for good news alone: a
    signature that fails with it is checked once more without it.  If it is
    good then, the record is spoilt and goes.
  * No table is ever needed: neither a full store nor a full heap is an error.
"""

from agent.crypto.verify import P256, P256_TYPES, verify_p256
from agent.crypto.verify import verify as by_itself
from agent.errors import DeviceError

RECORD = "comb"
_POINT_BYTES = 65


def verify(met, store, key_type, scheme, public, message, signature):
    """The port `verify`.  `met` is a dict that the platform keeps for us from call to call, empty at first."""
    if key_type not in P256_TYPES or scheme != P256:
        return by_itself(key_type, scheme, public, message, signature)
    record = store.load(RECORD)
    pinned = record is not None and record[:_POINT_BYTES] == public
    if pinned and verify_p256(public, message, signature, record[_POINT_BYTES:]):
        met.pop("last", None)
        return True
    record = None
    if not verify_p256(public, message, signature):
        return False
    if pinned:
        _drop(store)
    last = met.get("last")
    met["last"] = (public, signature)
    if last is not None and last[0] == public and last[1] != signature and not met.get("given_up"):
        del met["last"]
        met["given_up"] = not _pin(store, public)
    return True


def _pin(store, public):
    from agent.crypto import p256_comb

    try:
        store.save(RECORD, public + p256_comb.make(public))
    except (DeviceError, MemoryError):
        return False
    return True


def _drop(store):
    try:
        store.drop(RECORD)
    except DeviceError:
        pass  # it is passed over next time, too
