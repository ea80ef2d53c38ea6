# SPDX-License-Identifier: MIT
"""A key that an esthesis service made: taken in by an explicit policy only, and used as little as can be.

The original makes each device's key itself (RSA-2048) and sends it along.  Whoever made it can be this device; so it
has a label of its own, opens TLS and signs the original's token, and never signs a report.  What came is stored before
the identity machine hears of it: a real service registers nobody twice, so the certificate is kept first, then the
place, and the key last, by which all of it counts.
"""

import binascii
import json

from agent.errors import RefusedError
from agent.place import FOREIGN

MAX_CHAIN_BYTES = 6144


def take(agent, answer):
    """RefusedError("service_key") unless the policy allows it, and the key store can."""
    from agent import place
    from agent.crypto import rsa_sign
    from agent.wire import pem

    keys = agent.platform.keys
    if agent.config["esthesis_foreign_key"] != "accept":
        raise RefusedError("service_key", "the service made a key for this device instead of certifying its own")
    if not hasattr(keys, "adopt"):
        raise RefusedError("service_key", "this device's key store takes no key from outside")
    private = pem.decode(answer["privateKey"], "PRIVATE KEY")
    public = rsa_sign.public_to_der(rsa_sign.read(private))
    chain = b""
    if isinstance(answer.get("certificate"), str):
        found = pem.decode_all(answer["certificate"], "CERTIFICATE")
        if not found or public not in found[0]:
            raise RefusedError("certificate", "it is not for the key that came with it")
        chain = b"".join(found)
        if len(chain) > MAX_CHAIN_BYTES:
            raise RefusedError("certificate", "its chain is larger than %d bytes" % MAX_CHAIN_BYTES)
    found = place.read(answer)
    place.usable(agent, found)
    if not chain and found["mqtt"][:6] != "tcp://":
        raise RefusedError("certificate", "the service gave none")
    label, store = FOREIGN, agent.platform.store
    keys.drop(label)  # of a registration before
    store.save("cert." + label, chain)
    store.save(place.RECORD, json.dumps(found).encode())
    keys.adopt(label, private)
    agent.platform.log("identity.foreign", {"policy": "esthesis_foreign_key"})
    agent.identity_event(("issued", agent.platform.clock.wall(), label))
    place.take(agent, found)


def token(agent):
    """The original's token: base64 of RSA with SHA-256 over the raw hardware id.  Replayable, and that for ever."""
    signed = agent.platform.keys.sign_rsa(FOREIGN, agent.config["device_key"].encode())
    return binascii.b2a_base64(signed).decode().strip()
