# SPDX-License-Identifier: MIT
"""Trust anchors beside the provisioned ones: the record "anchors" of a device's store.

    SHA-256 of the provisioned anchors, one behind the other      32 bytes
    the DER of each root that one of them has vouched for         one behind the other

Which root is vouched for is for the agent to find out; here is only where it lies.
The hash ties the record to what it rests on: another ca_file, and it counts no more.
"""

import hashlib

from agent.errors import DeviceError
from agent.wire import elements

RECORD = "anchors"
HASH_BYTES = 32


def read(provisioned, store):
    """`provisioned` and what was kept beside it, in DER."""
    data = store.load(RECORD)
    if not data or data[:HASH_BYTES] != _hash(provisioned):
        return provisioned
    try:
        return provisioned + elements.split(data[HASH_BYTES:])
    except DeviceError:
        return provisioned  # spoilt; the agent asks again


def write(provisioned, store, kept):
    """All that is to be kept beside `provisioned`."""
    if kept:
        store.save(RECORD, _hash(provisioned) + b"".join(kept))
    else:
        store.drop(RECORD)


def _hash(provisioned):
    hasher = hashlib.sha256()
    for der in provisioned:
        hasher.update(der)
    return hasher.digest()
